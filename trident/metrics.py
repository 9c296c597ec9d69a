"""Every metric that Trident gives to Prometheus beside Triton's own: the one place of their names and meanings.

Pure: what is counted and how it is gathered. ``trident.triton_metrics`` hands what models count to Triton, the launcher
tells of its supervision itself (``trident.supervisor.exposition``), and ``docs/observability.md`` explains all of it to
readers. Labels hold words of a bounded set, versions and digests; never a name, a plate, or anything else of a picture.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from trident.errors import InvalidInput

COUNTED_ABOVE = 0.3
"""Objects, entities and categories of at least this score are counted: those that clients show by default."""
FUSION = "fusion"
LAUNCHER = "launcher"
"""Stands among the components for ``trident serve``, which outlives its server."""


class Kind(StrEnum):
    """What Prometheus is told of a metric's values."""

    COUNTER = "COUNTER"
    """Only grows, from 0 at the server's start."""
    GAUGE = "GAUGE"
    """Goes up and down."""


@dataclass(frozen=True, slots=True, eq=False)
class MetricSpec:
    """One metric; each set of its labels' values is a series of its own. Each stands once in this module."""

    name: str
    kind: Kind
    help: str
    component: str
    """The model that gives it, or ``LAUNCHER``."""
    labels: tuple[str, ...] = ()
    """Names of its labels."""


REFUSED = MetricSpec(
    "trident_pictures_refused_total",
    Kind.COUNTER,
    "Requests refused for a picture that cannot be served, by the kind of its fault",
    "preprocess",
    ("reason",),
)
SHED = MetricSpec(
    "trident_requests_shed_total",
    Kind.COUNTER,
    "Requests turned away by preprocess because more is asked than can be answered in time",
    "preprocess",
)
ANSWERED = MetricSpec(
    "trident_pictures_answered_total", Kind.COUNTER, "Pictures that got a fused answer, all batch sizes", FUSION
)
OBJECTS = MetricSpec(
    "trident_objects_total",
    Kind.COUNTER,
    f"Objects in the answers, of a fused score of at least {COUNTED_ABOVE}",
    FUSION,
)
ENTITIES = MetricSpec(
    "trident_entities_total",
    Kind.COUNTER,
    f"Faces and plates in the answers, of a score of at least {COUNTED_ABOVE}",
    FUSION,
    ("type",),
)
CATEGORIES = MetricSpec(
    "trident_categories_total",
    Kind.COUNTER,
    f"Pictures that show a category, by its fused score of at least {COUNTED_ABOVE}",
    FUSION,
    ("category",),
)
COMPONENT_ANSWERS = MetricSpec(
    "trident_component_answers_total",
    Kind.COUNTER,
    "Pictures whose answer a version of a component had a part in",
    FUSION,
    ("component", "version"),
)
COMPONENT_INFO = MetricSpec(
    "trident_component_info",
    Kind.GAUGE,
    "1 for each version of a component that has answered since the server started",
    FUSION,
    ("component", "version", "digest"),
)
GALLERY_PEOPLE = MetricSpec(
    "trident_gallery_people", Kind.GAUGE, "People in the gallery who can be recognized", "entity_recognizer"
)
GALLERY_EMBEDDINGS = MetricSpec(
    "trident_gallery_embeddings", Kind.GAUGE, "Face embeddings in the gallery, of all networks", "entity_recognizer"
)
GALLERY_CHANGED = MetricSpec(
    "trident_gallery_changed_timestamp_seconds",
    Kind.GAUGE,
    "Unix time at which the server last saw the gallery change, at its start that of the newest embedding; 0 if empty",
    "entity_recognizer",
)
GALLERY_READABLE = MetricSpec(
    "trident_gallery_readable",
    Kind.GAUGE,
    "1 if the gallery could be read when it was last looked at, else 0",
    "entity_recognizer",
)

METRICS: dict[str, MetricSpec] = {
    spec.name: spec
    for spec in (
        REFUSED,
        SHED,
        ANSWERED,
        OBJECTS,
        ENTITIES,
        CATEGORIES,
        COMPONENT_ANSWERS,
        COMPONENT_INFO,
        GALLERY_PEOPLE,
        GALLERY_EMBEDDINGS,
        GALLERY_CHANGED,
        GALLERY_READABLE,
    )
}
"""Every metric that a model gives, by its name."""

SERVER_READY = MetricSpec(
    "trident_server_ready", Kind.GAUGE, "1 while the server answers requests, as far as its launcher knows", LAUNCHER
)
SERVER_RESTARTS = MetricSpec(
    "trident_server_restarts_total",
    Kind.COUNTER,
    "Times that the launcher has started the whole server again, after which it answered",
    LAUNCHER,
)
SERVER_FAILED_STARTS = MetricSpec(
    "trident_server_failed_starts",
    Kind.GAUGE,
    "Restarts of the server in a row that have failed; 0 once one succeeds",
    LAUNCHER,
)
MODEL_REVIVALS = MetricSpec(
    "trident_model_revivals_total",
    Kind.COUNTER,
    "Times that a model was loaded again because a process of it had ended or hung",
    LAUNCHER,
    ("model",),
)
LAUNCHER_LIVE = MetricSpec(
    "trident_launcher_live",
    Kind.GAUGE,
    "1 while the launcher looks after its server; 0 if it hangs, or the server has failed to start again and again",
    LAUNCHER,
)
SHARED_MEMORY_FREE = MetricSpec(
    "trident_shared_memory_free_bytes", Kind.GAUGE, "Free space in /dev/shm, where models hand on tensors", LAUNCHER
)

SUPERVISION: dict[str, MetricSpec] = {
    spec.name: spec
    for spec in (
        SERVER_READY,
        SERVER_RESTARTS,
        SERVER_FAILED_STARTS,
        MODEL_REVIVALS,
        LAUNCHER_LIVE,
        SHARED_MEMORY_FREE,
    )
}
"""Every metric that the launcher gives, by its name."""

_FAULTS: tuple[type[InvalidInput], ...] = (*InvalidInput.__subclasses__(), InvalidInput)
REASONS: tuple[str, ...] = tuple(fault.reason for fault in _FAULTS)
"""What ``REFUSED`` may say: the kinds of ``InvalidInput``."""
ENTITY_TYPES = ("face", "plate")

Series = tuple[MetricSpec, tuple[str, ...]]
"""A metric and the values of its labels, in their order."""


class Tally:
    """Values that wait to be handed on: counters as what was added since, gauges as they are. Safe between threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: dict[Series, float] = {}

    def count(self, spec: MetricSpec, *labels: str, by: float = 1.0) -> None:
        """Add to a counter. ``by=0`` makes its series known, so that it is there before anything happens.

        Args:
            spec: The counter.
            labels: The values of its labels, in their order.
            by: What to add, 0 or more.
        """
        series = _series(spec, labels, Kind.COUNTER)
        if by < 0:
            raise ValueError(f"{spec.name}: a counter only grows, expected 0 or more, got {by}")
        with self._lock:
            self._waiting[series] = self._waiting.get(series, 0.0) + by

    def set(self, spec: MetricSpec, value: float, *labels: str) -> None:
        """Say what a gauge is now."""
        series = _series(spec, labels, Kind.GAUGE)
        with self._lock:
            self._waiting[series] = float(value)

    def take(self) -> dict[Series, float]:
        """What has gathered since it was last taken."""
        with self._lock:
            taken, self._waiting = self._waiting, {}
        return taken


def _series(spec: MetricSpec, labels: tuple[str, ...], kind: Kind) -> Series:
    if spec.kind is not kind:
        raise ValueError(f"{spec.name}: expected a {kind.lower()}, got a {spec.kind.lower()}")
    if len(labels) != len(spec.labels):
        raise ValueError(f"{spec.name}: expected labels {spec.labels}, got {len(labels)} values")
    return spec, labels


def expect_refusals(tally: Tally) -> None:
    """Make the series of what preprocess counts known."""
    for reason in REASONS:
        tally.count(REFUSED, reason, by=0)
    tally.count(SHED, by=0)


def expect_answers(tally: Tally) -> None:
    """Make the series of what fusion counts known; those of categories and versions appear with the first of them."""
    for spec in (ANSWERED, OBJECTS):
        tally.count(spec, by=0)
    for kind in ENTITY_TYPES:
        tally.count(ENTITIES, kind, by=0)


def count_answer(tally: Tally, result: Mapping[str, Any], models: Mapping[str, Mapping[str, Any]]) -> None:
    """Count one picture's fused answer.

    Args:
        tally: Where.
        result: ``RESULT`` without ``models``.
        models: ``RESULT["models"]``. Where it names nobody before fusion, it is fusion's own warm-up, which is no
            picture, and nothing is counted.
    """
    if not set(models) - {FUSION}:
        return
    tally.count(ANSWERED)
    if objects := sum(one["score"] >= COUNTED_ABOVE for one in result["objects"]):
        tally.count(OBJECTS, by=objects)
    for entity in result["entities"]:
        if entity["score"] >= COUNTED_ABOVE:
            tally.count(ENTITIES, entity["type"])
    for category in result["categories"]:
        if category["score"] >= COUNTED_ABOVE:
            tally.count(CATEGORIES, category["name"])
    for component, answered in models.items():
        version = str(answered["version"])
        tally.count(COMPONENT_ANSWERS, component, version)
        tally.set(COMPONENT_INFO, 1, component, version, str(answered["digest"]))


def set_gallery(tally: Tally, *, people: int, embeddings: int, changed: float, readable: bool) -> None:
    """Say what the gallery is like now.

    Args:
        tally: Where.
        people: Those who can be recognized.
        embeddings: Theirs, of all networks.
        changed: Unix time of the last change that is known; 0 for none.
        readable: Whether the database could be read last.
    """
    tally.set(GALLERY_PEOPLE, people)
    tally.set(GALLERY_EMBEDDINGS, embeddings)
    tally.set(GALLERY_CHANGED, changed)
    tally.set(GALLERY_READABLE, readable)
