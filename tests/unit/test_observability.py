"""The alert rules and the dashboard: what Prometheus and Grafana can read, and metrics and labels that are ours.

Whether a server really exposes each of them is asked of a real one, in ``tests/live/test_sight.py``.
"""

from __future__ import annotations

import re

import pytest

from tests import observability
from tests.observability import (
    FOLDER,
    FROM_LAUNCHERS,
    FROM_PROMETHEUS,
    LAUNCHERS,
    PORTS,
    SERVERS,
    collected,
    dashboard,
    expressions,
    load_yaml,
    rules,
    uses,
)
from trident.contract import COMPONENTS, ENSEMBLE
from trident.metrics import METRICS, REASONS, SUPERVISION

OURS = METRICS | SUPERVISION
EXPRESSIONS = [pytest.param(expression, id=where) for where, expression in expressions()]


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_every_expression_can_be_read_and_names_metrics_of_their_job_alone(expression):
    found = uses(expression)
    assert found
    for use in found:
        if use.name in FROM_PROMETHEUS:
            assert use.labels.get("job") in PORTS
        else:
            job = LAUNCHERS if use.name in FROM_LAUNCHERS else SERVERS
            assert use.labels.get("job") == job, f"{use.name} may be another's, or of another port"
        if use.name in OURS:
            assert use.asked <= {"job", "instance", *OURS[use.name].labels}
        if "model" in use.labels:
            assert use.labels["model"] in (ENSEMBLE, *COMPONENTS)
        if "reason" in use.labels and use.name in METRICS:
            assert use.labels["reason"] in REASONS


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_counters_are_looked_at_by_their_rate_and_gauges_as_they_are(expression):
    for name, spec in OURS.items():
        for place in re.finditer(rf"{name}\{{", expression):
            before = expression[: place.start()]
            assert before.endswith(("rate(", "increase(")) == (spec.kind == "COUNTER"), name


def test_a_broken_expression_would_be_found():
    with pytest.raises(ValueError, match="unclosed"):
        uses('sum(rate(trident_objects_total{job="trident"}[5m])')
    assert [use.name for use in uses("trident_object_total / 2")] == ["trident_object_total"]


def test_every_metric_of_ours_has_a_place():
    shown = {use.name for _, expression in expressions() for use in uses(expression)}
    assert set(OURS) <= shown


def test_a_restart_is_told_of_by_a_rule():
    told = {use.name for rule in rules() for use in uses(rule["expr"])}
    assert {"trident_server_ready", "trident_server_restarts_total", "trident_model_revivals_total"} <= told


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
        named = {label for use in uses(rule["expr"]) if use.name in OURS for label in OURS[use.name].labels}
        assert all(label in (kept or {"instance", *named}) for label in labels), rule["alert"]


def test_prometheus_collects_from_the_ports_that_the_launcher_opens():
    configuration = load_yaml(FOLDER / "prometheus.yml")
    jobs = {job["job_name"]: job for job in configuration["scrape_configs"]}
    assert jobs.keys() == PORTS.keys()
    instances = set()
    for name, job in jobs.items():
        ((address,),) = (one["targets"] for one in job["static_configs"])
        labels = collected(job, {"__address__": address})
        assert labels["__address__"] == address
        assert address.endswith(f":{PORTS[name]}")
        instances.add(labels["instance"])
    assert instances == {f"trident:{PORTS[SERVERS]}"}, "a server and its launcher are one instance"
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
    parts = "Overview, Traffic and latency, Components, Failures, Supervision, Versions, What pictures show"
    assert titles == {*parts.split(", "), "Gallery", "Machine"}
    assert {one["name"] for one in dashboard()["templating"]["list"]} == {"datasource", "instance"}
    assert observability.DASHBOARD.read_text(encoding="utf-8").endswith("}\n")
