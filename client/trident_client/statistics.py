"""What a server has done: its counts at two moments, and what flowed between them. No connection in here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tritonclient.grpc import service_pb2

from trident.contract import CANDIDATE, ENSEMBLE, MODELS, STABLE
from trident_client.errors import NotServed, ServerUnavailable
from trident_client.status import Call, Questions

_NS_PER_MS = 1e6
_ENSEMBLES = (ENSEMBLE, STABLE, CANDIDATE)


@dataclass(frozen=True, slots=True)
class VersionCounts:
    """What one version of a model has done since it was loaded; times in nanoseconds, summed over all requests."""

    succeeded: int = 0
    """Requests that were answered."""
    failed: int = 0
    """Requests that were not: refused, cancelled or failed."""
    success_ns: int = 0
    """From arrival to answer, of those that were answered."""
    queue_ns: int = 0
    """Waiting for an instance of the model."""
    compute_ns: int = 0
    """In the model, its input's and output's way included."""

    def since(self, earlier: VersionCounts) -> VersionCounts:
        """What came after ``earlier``; everything where the version was loaded anew meanwhile."""
        if self.succeeded < earlier.succeeded or self.failed < earlier.failed:
            return self
        return VersionCounts(
            self.succeeded - earlier.succeeded,
            self.failed - earlier.failed,
            self.success_ns - earlier.success_ns,
            self.queue_ns - earlier.queue_ns,
            self.compute_ns - earlier.compute_ns,
        )

    def __add__(self, other: VersionCounts) -> VersionCounts:
        return VersionCounts(
            self.succeeded + other.succeeded,
            self.failed + other.failed,
            self.success_ns + other.success_ns,
            self.queue_ns + other.queue_ns,
            self.compute_ns + other.compute_ns,
        )


@dataclass(frozen=True, slots=True)
class ServerStatistics:
    """What a server has done until one moment."""

    ready: bool
    """Whether the ensemble answers."""
    counts: Mapping[tuple[str, int], VersionCounts]
    """By model and version, of all that are loaded."""


@dataclass(frozen=True, slots=True)
class Exposed:
    """What only a server's metrics tell."""

    memory_used: float | None = None
    """Memory in use on its machine, bytes."""
    memory_total: float | None = None
    """Memory of its machine, bytes."""
    cpu: float | None = None
    """Part of its machine's processors that is busy, 0 to 1."""
    pending: Mapping[str, int] = field(default_factory=dict)
    """Requests that wait for an instance, by model."""
    refused: Mapping[str, int] = field(default_factory=dict)
    """Pictures refused since the server's start, by reason."""
    quantiles_ms: Mapping[str, float] = field(default_factory=dict)
    """Latency of the ensemble by quantile (``0.5``); empty unless the server was told to measure them."""


@dataclass(frozen=True, slots=True)
class ModelFlow:
    """What one model did between two moments; None where nothing was answered."""

    name: str
    versions: tuple[int, ...]
    """Loaded."""
    answering: tuple[int, ...]
    """Those among them that answered."""
    per_second: float
    """Requests answered."""
    failed_per_second: float
    """Requests not answered."""
    mean_ms: float | None
    """From arrival to answer."""
    queue_ms: float | None
    """Waiting for an instance, mean; None for an ensemble, too."""
    compute_ms: float | None
    """In the model, mean; None for an ensemble: its steps run side by side, and would count several times."""
    pending: int | None
    """Requests that wait now; None if it is unknown."""


@dataclass(frozen=True, slots=True)
class Flow:
    """What a server did between two moments."""

    seconds: float
    ready: bool
    models: tuple[ModelFlow, ...]
    """The ensembles first, then the components as a picture meets them, then others by name."""
    exposed: Exposed | None
    """At the later moment; None if there are no metrics to look at."""

    def model(self, name: str) -> ModelFlow | None:
        """The model of that name, if it is loaded."""
        return next((one for one in self.models if one.name == name), None)

    def to_json(self) -> dict[str, Any]:
        """What ``json.dumps`` takes."""
        figures = ("per_second", "failed_per_second", "mean_ms", "queue_ms", "compute_ms", "pending")
        exposed = self.exposed
        return {
            "seconds": round(self.seconds, 3),
            "ready": self.ready,
            "models": {
                one.name: {"versions": list(one.versions), "answering": list(one.answering)}
                | {name: _rounded(getattr(one, name)) for name in figures}
                for one in self.models
            },
            "machine": None
            if exposed is None
            else {"memory_used": exposed.memory_used, "memory_total": exposed.memory_total, "cpu": exposed.cpu},
            "refused": {} if exposed is None else dict(exposed.refused),
            "latency_ms": {} if exposed is None else dict(exposed.quantiles_ms),
        }


def questions(ensemble: str = ENSEMBLE) -> Questions:
    """The calls that ``ServerStatistics`` is made of."""
    reply = yield Call("ModelStatistics", service_pb2.ModelStatisticsRequest())
    try:
        ready = (yield Call("ModelReady", service_pb2.ModelReadyRequest(name=ensemble))).ready
    except (ServerUnavailable, NotServed):
        ready = False
    counts = {(one.name, int(one.version)): _counts(one.inference_stats) for one in reply.model_stats}
    return ServerStatistics(ready, counts)


def _counts(told: Any) -> VersionCounts:
    compute = told.compute_input.ns + told.compute_infer.ns + told.compute_output.ns
    return VersionCounts(told.success.count, told.fail.count, told.success.ns, told.queue.ns, compute)


def flow(before: ServerStatistics, after: ServerStatistics, seconds: float, exposed: Exposed | None) -> Flow:
    """What a server did between two moments.

    Args:
        before: The earlier one.
        after: The later one.
        seconds: Between them, above 0.
        exposed: What its metrics said at the later one.
    """
    flow_of_a_picture = dict.fromkeys((*_ENSEMBLES, *MODELS))
    order = {name: place for place, name in enumerate(flow_of_a_picture)}
    names = sorted({name for name, _ in after.counts}, key=lambda name: (order.get(name, len(order)), name))
    return Flow(
        seconds, after.ready, tuple(_model_flow(name, before, after, seconds, exposed) for name in names), exposed
    )


def _model_flow(
    name: str, before: ServerStatistics, after: ServerStatistics, seconds: float, exposed: Exposed | None
) -> ModelFlow:
    done = {
        version: counts.since(before.counts.get((model, version), VersionCounts()))
        for (model, version), counts in after.counts.items()
        if model == name
    }
    total = sum(done.values(), VersionCounts())

    def mean_ms(ns: int) -> float | None:
        return ns / total.succeeded / _NS_PER_MS if total.succeeded else None

    return ModelFlow(
        name=name,
        versions=tuple(sorted(done)),
        answering=tuple(sorted(version for version, counts in done.items() if counts.succeeded)),
        per_second=total.succeeded / seconds,
        failed_per_second=total.failed / seconds,
        mean_ms=mean_ms(total.success_ns),
        queue_ms=None if name in _ENSEMBLES else mean_ms(total.queue_ns),
        compute_ms=None if name in _ENSEMBLES else mean_ms(total.compute_ns),
        pending=None if exposed is None else exposed.pending.get(name),
    )


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 3)
