"""What one server takes, as it was measured: the few numbers that a service is sized with."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from benchmarks.results import Report, newest, read_reports
from benchmarks.scaling.setups import AS_SERVED
from benchmarks.scaling.variants import CANVAS_NETWORKS
from benchmarks.time_spent.processor import SERVER
from trident.atomic import replace_text
from trident.contract import COMPONENTS, RECOGNIZER
from trident.errors import SetupError

SCALING, CURVE = "scaling", "latency-curve"
"""Kinds of the reports that they are taken from."""


@dataclass(frozen=True, slots=True)
class Point:
    """One step of the measured latency curve, at which the queue had settled."""

    share: float
    """Of the saturated rate."""
    p50_ms: float
    p99_ms: float


@dataclass(frozen=True, slots=True)
class Inputs:
    """One server on one machine."""

    machine: str
    measured: tuple[str, ...]
    """Names of the reports that these are from."""
    cores: int
    """Of the server."""
    rate: float
    """Answers a second, saturated."""
    processor_ms: float
    """Processor time for an answer, saturated."""
    component_ms: Mapping[str, float]
    """How that divides among the components and Triton's own process. The whole need not be ``processor_ms``: shares
    of it count."""
    canvas_calls: float
    """Calls, for an answer, of the networks that look at a whole canvas."""
    memory_mb: float
    """Of the server."""
    second_version_mb: float
    """Of the component that takes the most memory: so much more, while a rollout has two versions of it loaded."""
    start_s: float
    """Until it answers."""
    recognizers: int
    """Instances of the entity recognizer; each looks at the gallery by itself."""
    request_bytes: float
    answer_bytes: float
    curve: tuple[Point, ...]
    """From the lowest load to the highest."""

    def __post_init__(self) -> None:
        positive = ("cores", "rate", "processor_ms", "memory_mb", "start_s", "recognizers", "request_bytes")
        for name in (*positive, "answer_bytes", "canvas_calls"):
            if not getattr(self, name) > 0:
                raise SetupError(f"inputs: {name}: expected a number above 0, got {getattr(self, name)!r}")
        missing = [name for name in (*COMPONENTS, SERVER) if name not in self.component_ms]
        if missing:
            raise SetupError(f"inputs: component_ms: expected every component, got none of {', '.join(missing)}")
        shares = [point.share for point in self.curve]
        if not shares or shares != sorted(shares):
            raise SetupError(f"inputs: curve: expected shares of the saturated rate that grow, got {shares}")

    def share_at(self, p99_ms: float) -> float:
        """The greatest share of the saturated rate at which p99 is still that low.

        It is where the measured curve first crosses it, linearly between its points, and never more than the highest
        load at which the queue settled.

        Raises:
            SetupError: It is higher than that at every measured load.
        """
        below: Point | None = None
        for point in self.curve:
            if point.p99_ms > p99_ms:
                if below is None:
                    raise SetupError(
                        f"p99: expected more than the {point.p99_ms:,.0f} ms that it takes at {point.share:.0%} of the "
                        f"saturated rate, the lowest load measured, got {p99_ms:,.0f} ms: a server with more cores to "
                        "itself, or faster ones, is needed"
                    )
                part = (p99_ms - below.p99_ms) / (point.p99_ms - below.p99_ms)
                return below.share + part * (point.share - below.share)
            below = point
        return self.curve[-1].share


def read_inputs(file: Path) -> Inputs:
    """Read what ``write_inputs`` wrote. Raises SetupError for anything else."""
    try:
        given = json.loads(file.read_text(encoding="utf-8"))
        wanted = {field.name for field in fields(Inputs)}
        if not isinstance(given, dict) or set(given) != wanted:
            raise SetupError(f"{file}: expected exactly {', '.join(sorted(wanted))}")
        points = tuple(Point(**point) for point in given["curve"])
        return Inputs(**{**given, "curve": points, "measured": tuple(given["measured"])})
    except OSError as error:
        raise SetupError(f"{file}: cannot be read: {error.strerror or error}") from error
    except (ValueError, TypeError) as error:
        raise SetupError(f"{file}: expected the inputs of a sizing as JSON, got something else: {error}") from error


def write_inputs(inputs: Inputs, file: Path) -> None:
    """Write them as JSON. Raises SetupError."""
    replace_text(file, json.dumps(asdict(inputs), indent=2, ensure_ascii=False) + "\n")


def inputs_from(folder: Path) -> Inputs:
    """Take them out of the newest reports in a folder.

    Raises:
        SetupError: A report is missing, lacks something, or the two are of different machines.
    """
    found = newest(read_reports(folder)[0])
    for kind, command in ((SCALING, "make bench-scaling"), (CURVE, "make latency-curve")):
        if kind not in found:
            raise SetupError(f"{folder}: expected a {kind} report, found none: run `{command}` first, or say --inputs")
    scaling, curve = found[SCALING], found[CURVE]
    processors = [report.figures["circumstances"]["machine"]["processor"] for report in (scaling, curve)]
    if len(set(processors)) > 1:
        raise SetupError(
            f"{scaling.stem} and {curve.stem}: expected two reports of the same machine, got "
            f"{' and '.join(processors)}: measure both on one"
        )
    try:
        return _inputs(scaling, curve)
    except (KeyError, TypeError) as error:
        raise SetupError(f"{scaling.stem} or {curve.stem} lacks what a sizing needs: {error!r}") from error


def _inputs(scaling: Report, curve: Report) -> Inputs:
    figures, limits = scaling.figures, scaling.figures["limits"]
    if limits is None or figures["bytes_on_the_network"] is None:
        raise SetupError(f"{scaling.stem}: expected one server of the repository as it is among its setups")
    machine = curve.figures["circumstances"]["machine"]
    row = _one_server(scaling, machine["cores"])
    parts: Sequence[Mapping[str, Any]] = limits["parts"]
    saturated = [curve.figures["saturated_per_second"], curve.figures["saturated_per_second_after"]]
    rates = [rate for rate in saturated if rate is not None]
    points = [
        Point(step["share"], step["latency"]["p50"], step["latency"]["p99"])
        for step in curve.figures["steps"]
        if step["settled"] and step["latency"] is not None
    ]
    return Inputs(
        machine=f"{machine['processor']}, {machine['cores']} cores",
        measured=(scaling.stem, curve.stem),
        cores=machine["cores"],
        # Shares of the curve are of its own saturated rate.
        rate=sum(rates) / len(rates),
        processor_ms=row["processor_ms"]["mean"],
        component_ms={**{part["name"]: part["processor_ms"] for part in parts}, SERVER: limits["server_ms"]},
        canvas_calls=sum(part["calls"] for part in parts if part["name"] in CANVAS_NETWORKS),
        memory_mb=row["memory_mb"]["mean"],
        second_version_mb=max(part["memory_mb"] for part in parts),
        start_s=row["start_s"]["mean"],
        recognizers=sum(part["places"]["instances"] for part in parts if part["name"] == RECOGNIZER),
        request_bytes=figures["bytes_on_the_network"]["request"],
        answer_bytes=figures["bytes_on_the_network"]["answer"],
        curve=tuple(sorted(points, key=lambda point: point.share)),
    )


def _one_server(scaling: Report, cores: int) -> Mapping[str, Any]:
    """What one server took on as many cores as the curve was measured with."""
    for row in scaling.figures["setups"]:
        setup = row["setup"]
        if (setup["cores"], setup["servers"], setup["variant"]) == (cores, 1, AS_SERVED):
            return dict(row)
    raise SetupError(
        f"{scaling.stem}: expected one server on {cores} cores among its setups, as the latency curve is of one, "
        "got none: measure it (--setup), or the curve on other cores (taskset)"
    )
