"""What holds one server back: its cores, or the component whose instances are the first to have no time left."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from benchmarks.scaling.setups import Setup
from benchmarks.scaling.variants import Places
from benchmarks.scaling.windows import Window
from benchmarks.time_spent.counters import Counters
from benchmarks.time_spent.processor import SERVER
from trident.contract import CALLED, ENSEMBLE, RECOGNIZER, STEPS

COMPONENTS_IN_ORDER = (*STEPS, *CALLED)


@dataclass(frozen=True, slots=True)
class Part:
    """One component of one server, over all rounds of a setup."""

    name: str
    inner: bool
    """Whether it is called by the recognizer."""
    places: Places
    processor_ms: float
    """Processor time of all its instances for an answer of the ensemble."""
    share: float
    """Of the processor time of the whole server."""
    calls: float
    """For an answer of the ensemble."""
    work_ms: float
    """For an answer of the ensemble, by Triton's statistics: what an instance was occupied, its waiting for a core
    included."""
    occupied: float
    """Share of the time in which its instances were."""
    waits: bool
    """Whether it spends that time waiting for other models, with several requests at a time."""
    ceiling: float | None
    """Answers a second at most, if each of its instances had the cores that it can use, and nothing else were slower.
    None if it took no processor time."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What holds one server back."""

    setup: Setup
    processor_ms: float
    """Of the whole server for an answer."""
    parts: tuple[Part, ...]
    server_ms: float
    """Of Triton's own process."""
    slowest: Part
    """The component with the lowest ceiling."""
    ceiling: float
    """Answers a second at most, on any number of cores."""

    @property
    def by_cores(self) -> float:
        """Answers a second that the cores of the setup have time for."""
        return 1000 * self.setup.cores / self.processor_ms

    @property
    def cores_for_ceiling(self) -> float:
        """So many cores does it take to come to the ceiling; more are of no use to one server."""
        return self.ceiling * self.processor_ms / 1000


def limits_of(
    setup: Setup, windows: Sequence[Window], alone: Sequence[Window], places: Mapping[str, Places]
) -> Limits | None:
    """What holds one server back.

    Args:
        setup: What was measured: one server.
        windows: Of all rounds, saturated.
        alone: Of all rounds, with one caller: hardly anything is under way when they begin and end, so calls are
            counted there.
        places: Of every component.

    Returns:
        None if nothing was answered, or no component took any processor time.
    """
    answered = sum(one.answered for one in windows)
    seconds = sum(one.seconds for one in windows)
    spent: dict[str, float] = defaultdict(float)
    for one in windows:
        for name, used_s in one.processor_s.items():
            spent[name] += used_s
    counted, counted_alone = _counted(windows), _counted(alone)
    asked_alone = counted_alone[ENSEMBLE].requests
    whole_s = sum(spent.values())
    if not answered or not whole_s:
        return None
    parts = tuple(
        part_of(
            name,
            places[name],
            spent[name],
            whole_s,
            counted[name],
            calls=counted_alone[name].requests / asked_alone if asked_alone else 0.0,
            cores=setup.cores,
            answered=answered,
            seconds=seconds,
        )
        for name in COMPONENTS_IN_ORDER
    )
    ceilings = {part.name: part.ceiling for part in parts if part.ceiling is not None}
    if not ceilings:
        return None
    slowest = min((part for part in parts if part.name in ceilings), key=lambda part: ceilings[part.name])
    return Limits(
        setup=setup,
        processor_ms=1000 * whole_s / answered,
        parts=parts,
        server_ms=1000 * spent[SERVER] / answered,
        slowest=slowest,
        ceiling=ceilings[slowest.name],
    )


def _counted(windows: Sequence[Window]) -> dict[str, Counters]:
    """What Triton counted in all of them, by model."""
    counted: dict[str, Counters] = defaultdict(Counters)
    for one in windows:
        for name, counters in one.counters.items():
            counted[name] = counted[name] + counters
    return counted


def part_of(
    name: str,
    places: Places,
    processor_s: float,
    whole_s: float,
    counters: Counters,
    *,
    calls: float,
    cores: int,
    answered: int,
    seconds: float,
) -> Part:
    """One component's line.

    Args:
        name: The component.
        places: Where its requests are worked on.
        processor_s: Of all its instances.
        whole_s: Of the whole server.
        counters: What Triton counted of it.
        calls: Of it, for an answer.
        cores: Of the server.
        answered: Requests to the ensemble.
        seconds: How long that took.
    """
    worked_ns = counters.input_ns + counters.infer_ns + counters.output_ns
    # Requests that went through in one call each count the whole of it; an instance was occupied once.
    occupied_s = worked_ns / 1e9 * (counters.executions / counters.requests if counters.requests else 0.0)
    at_once = places.instances * (places.threads or cores)
    return Part(
        name=name,
        inner=name in CALLED,
        places=places,
        processor_ms=1000 * processor_s / answered,
        share=processor_s / whole_s,
        calls=calls,
        work_ms=1000 * occupied_s / answered,
        occupied=occupied_s / (seconds * places.instances),
        waits=name == RECOGNIZER,
        ceiling=at_once * answered / processor_s if processor_s > 0 else None,
    )
