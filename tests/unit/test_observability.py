"""The alert rules and the dashboard: what Prometheus and Grafana can read, and metrics and labels that are ours.

Whether a server really exposes each of them is asked of a real one, in ``tests/live/test_sight.py``.
"""

from __future__ import annotations

import re

import pytest

from tests import observability
from tests.observability import FOLDER, dashboard, expressions, load_yaml, rules, uses
from trident.contract import COMPONENTS, ENSEMBLE
from trident.launcher.server import METRICS_PORT
from trident.metrics import METRICS, REASONS

EXPRESSIONS = [pytest.param(expression, id=where) for where, expression in expressions()]


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_every_expression_can_be_read_and_names_metrics_of_the_job_alone(expression):
    found = uses(expression)
    assert found
    for use in found:
        assert use.labels.get("job") == "trident", f"{use.name} may be another's"
        if use.name in METRICS:
            assert use.asked <= {"job", "instance", *METRICS[use.name].labels}
        if "model" in use.labels:
            assert use.labels["model"] in (ENSEMBLE, *COMPONENTS)
        if "reason" in use.labels and use.name in METRICS:
            assert use.labels["reason"] in REASONS


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_counters_are_looked_at_by_their_rate_and_gauges_as_they_are(expression):
    for name, spec in METRICS.items():
        for place in re.finditer(rf"{name}\{{", expression):
            before = expression[: place.start()]
            assert before.endswith(("rate(", "increase(")) == (spec.kind == "COUNTER"), name


def test_a_broken_expression_would_be_found():
    with pytest.raises(ValueError, match="unclosed"):
        uses('sum(rate(trident_objects_total{job="trident"}[5m])')
    assert [use.name for use in uses("trident_object_total / 2")] == ["trident_object_total"]


def test_every_metric_of_ours_has_a_place():
    shown = {use.name for _, expression in expressions() for use in uses(expression)}
    assert set(METRICS) <= shown


def test_rules_say_for_how_long_how_bad_and_what_to_do():
    names = [rule["alert"] for rule in rules()]
    assert len(set(names)) == len(names)
    for rule in rules():
        assert set(rule) == {"alert", "expr", "for", "labels", "annotations"}, rule["alert"]
        assert re.fullmatch(r"Trident[A-Z][A-Za-z]+", rule["alert"])
        assert re.fullmatch(r"\d+[smh]", rule["for"])
        assert rule["labels"]["severity"] in ("critical", "warning")
        assert set(rule["annotations"]) == {"summary", "description"}
        labels = re.findall(r"\$labels\.(\w+)", " ".join(rule["annotations"].values()))
        kept = re.findall(r"by \((\w+)\)", rule["expr"])
        assert all(label in (kept or ["instance"]) for label in labels), rule["alert"]


def test_prometheus_collects_from_the_port_that_the_launcher_opens():
    configuration = load_yaml(FOLDER / "prometheus.yml")
    (job,) = configuration["scrape_configs"]
    assert job["job_name"] == "trident"
    assert all(target.endswith(f":{METRICS_PORT}") for target in job["static_configs"][0]["targets"])
    assert [(FOLDER / name).is_file() for name in configuration["rule_files"]] == [True]


def test_panels_stand_beside_each_other_and_explain_themselves():
    panels = dashboard()["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        assert place["x"] + place["w"] <= 24
        taken |= cells
        if panel["type"] != "row":
            assert panel["description"].endswith(".") or "=" in panel["description"], panel["title"]
            assert panel["targets"]
            references = [target["refId"] for target in panel["targets"]]
            assert len(set(references)) == len(references)
            assert {target["datasource"]["uid"] for target in panel["targets"]} == {"${datasource}"}


def test_the_dashboard_shows_what_was_asked_for():
    titles = {panel["title"] for panel in dashboard()["panels"] if panel["type"] == "row"}
    parts = "Overview, Traffic and latency, Components, Failures, Versions, What pictures show, Gallery, Machine"
    assert titles == set(parts.split(", "))
    assert {one["name"] for one in dashboard()["templating"]["list"]} == {"datasource", "instance"}
    assert observability.DASHBOARD.read_text(encoding="utf-8").endswith("}\n")
