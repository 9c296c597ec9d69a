"""The files of ``deploy/observability`` as the tests read them: every expression, and the metrics that it names."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import promql_parser
import yaml

from tests.readme import ROOT

FOLDER = ROOT / "deploy" / "observability"
ALERTS = FOLDER / "alerts.yml"
DASHBOARD = FOLDER / "dashboard.json"
FROM_PROMETHEUS = frozenset({"up"})
"""Metrics that Prometheus makes itself."""

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
