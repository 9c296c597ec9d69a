"""The files of ``deploy/observability`` as the tests read them: what is collected, and each expression's metrics."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import promql_parser
import yaml

from tests.readme import ROOT
from trident.commands.supervision import HEALTH_PORT
from trident.launcher.server import METRICS_PORT
from trident.metrics import SUPERVISION

FOLDER = ROOT / "deploy" / "observability"
ALERTS = FOLDER / "alerts.yml"
DASHBOARD = FOLDER / "dashboard.json"
FROM_PROMETHEUS = frozenset({"up"})
"""Metrics that Prometheus makes itself."""
SERVERS, LAUNCHERS = "trident", "trident-launcher"
PORTS = {SERVERS: METRICS_PORT, LAUNCHERS: HEALTH_PORT}
"""The jobs of Prometheus, and where each collects."""
FROM_LAUNCHERS = frozenset({*SUPERVISION, "process_start_time_seconds"})

_VARIABLES = {"$__rate_interval": "5m", '"$instance"': '".*"'}
"""What Grafana puts in place of its variables."""


class Use(NamedTuple):
    """A metric in an expression."""

    name: str
    labels: dict[str, str]
    """What its labels must be, by equality."""
    asked: frozenset[str]
    """All labels that it is chosen by."""


def load_yaml(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def collected(job: dict[str, Any], found: dict[str, str]) -> dict[str, str] | None:
    """The labels of a target after a job's relabelling, as Prometheus does it; None where it is left out.

    Args:
        job: Of the ``scrape_configs``.
        found: The labels that the target is found with, ``__address__`` among them.
    """
    labels = {"job": job["job_name"], **found}
    for rule in job.get("relabel_configs", []):
        assert rule.keys() <= {"source_labels", "regex", "action", "target_label", "replacement"}
        value = ";".join(labels.get(name, "") for name in rule["source_labels"])
        match = re.fullmatch(rule.get("regex", "(.*)"), value)
        if rule.get("action", "replace") == "keep":
            if match is None:
                return None
        elif match is not None:
            assert rule.get("action", "replace") == "replace"
            labels[rule["target_label"]] = match.expand(
                re.sub(r"\$\{(\d+)\}", r"\\g<\1>", rule.get("replacement", "${1}"))
            )
    labels.setdefault("instance", labels["__address__"])
    return labels


def rules() -> list[dict[str, Any]]:
    return [rule for group in load_yaml(ALERTS)["groups"] for rule in group["rules"]]


def dashboard() -> dict[str, Any]:
    return dict(json.loads(DASHBOARD.read_text(encoding="utf-8")))


def expressions() -> Iterator[tuple[str, str]]:
    """Where each stands, and the expression."""
    for rule in rules():
        yield rule["alert"], rule["expr"]
    for panel in dashboard()["panels"]:
        for target in panel.get("targets", []):
            expression = target["expr"]
            for variable, value in _VARIABLES.items():
                expression = expression.replace(variable, value)
            yield panel["title"], expression


def uses(expression: str) -> list[Use]:
    """The metrics that an expression names. Raises ValueError if Prometheus could not read it."""
    found: list[Use] = []

    def visit(node: object) -> None:
        if isinstance(node, promql_parser.VectorSelector):
            matchers = node.matchers.matchers
            exact = {one.name: one.value for one in matchers if one.op == promql_parser.MatchOp.Equal}
            found.append(Use(node.name or "", exact, frozenset(one.name for one in matchers)))

    promql_parser.walk(promql_parser.parse(expression), pre_visit=visit)
    return found
