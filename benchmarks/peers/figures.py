"""A run, worked out: one line of figures for each server."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from benchmarks.answers import Latency, failures, latencies, summarise
from benchmarks.peers import lines
from benchmarks.peers.measure import Phase, Run, Visit
from benchmarks.peers.peer import Protocol
from benchmarks.peers.serving import Served, Subject


class Measure(StrEnum):
    """What servers are ranked by."""

    RATE = "throughput, answers a second"
    MEDIAN = "the median at one client, ms"
    ONE_P99 = "p99 at one client, ms"
    P99 = "p99 at half load, ms"
    CPU = "processor time an answer, s"
    MEMORY = "memory, MB"

    @property
    def largest_first(self) -> bool:
        """Whether more is better."""
        return self is Measure.RATE

    def of(self, visit: Visit) -> float:
        """Its value in one round; not a number where every request failed."""
        match self:
            case Measure.RATE:
                return visit.rate
            case Measure.MEMORY:
                return visit.memory_mb
            case Measure.CPU:
                return _cpu_s([visit.saturated])
            case Measure.MEDIAN:
                return _latency([visit.one]).p50
            case Measure.ONE_P99:
                return _latency([visit.one]).p99
            case _:
                return _latency([visit.half]).p99


@dataclass(frozen=True, slots=True)
class Row:
    """One server over all rounds."""

    name: str
    title: str
    version: str
    protocol: Protocol
    by_round: Mapping[Measure, tuple[float, ...]]
    """What each round gave by itself."""
    one: Latency
    """At one client, milliseconds, the requests of all rounds together."""
    half: Latency
    """At half load."""
    half_rate: float
    """Requests a second that were offered at half load, the mean over the rounds."""
    failed: int
    """Of the requests at one client and at half load."""
    busiest: float
    """Share of the processor time that the busiest process of the server took, saturated, in the round where it was the
    largest: two workers that share the work have half each."""
    cpu_s: float
    """Processor seconds of the server for each answer at saturation."""
    one_cpu_s: float
    half_cpu_s: float
    memory_mb: float
    """After the saturated loop, the mean over the rounds."""
    start_s: float
    own_lines: int
    """Lines of the server, with its settings; of the ensemble, its configurations and Python models."""
    pipeline_lines: int
    """Lines of the pipeline that a peer's server calls; none of the ensemble."""

    @property
    def rate(self) -> float:
        """Answers a second at saturation, the mean over the rounds."""
        return float(np.mean(self.by_round[Measure.RATE]))


@dataclass(frozen=True, slots=True)
class Figures:
    """All servers, in the order in which they were first measured."""

    rows: tuple[Row, ...]
    others_cores: float
    """Cores that others kept busy, the mean over all loads."""
    most_others_cores: float
    late_ms: float
    """p99 of how late the generator was with requests of half load: what a plan cannot keep, a server did not cause."""
    faces: int
    plates: int
    """How many the answers hold that were compared."""


def work_out(run: Run) -> Figures:
    """Every figure of the report."""
    rows = tuple(_row(run, subject) for subject in run.subjects if run.visits_of(subject.name))
    phases = [phase for visit in run.visits for phase in (visit.one, visit.saturated, visit.half)]
    busy = [phase.others_cores for phase in phases] or [0.0]
    delays = [answer.delay_ms for visit in run.visits for answer in visit.half.answers] or [0.0]
    kinds = [entity["type"] for result in run.results.values() for entity in result["entities"]]
    return Figures(
        rows=rows,
        others_cores=float(np.mean(busy)),
        most_others_cores=max(busy),
        late_ms=float(np.percentile(delays, 99)),
        faces=kinds.count("face"),
        plates=kinds.count("plate"),
    )


def _row(run: Run, subject: Subject) -> Row:
    visits = run.visits_of(subject.name)
    one, half = _latency([visit.one for visit in visits]), _latency([visit.half for visit in visits])
    if isinstance(subject, Served):
        own, called = lines.of_peer(subject.peer), lines.of_pipeline()
    else:
        own, called = lines.of_ensemble(run.settings.repository), 0
    return Row(
        name=subject.name,
        title=subject.title,
        version=subject.version,
        protocol=subject.protocol,
        by_round={measure: tuple(measure.of(visit) for visit in visits) for measure in Measure},
        one=one,
        half=half,
        half_rate=float(np.mean([visit.rate / 2 for visit in visits])),
        failed=sum(len(failures(phase.answers)) for visit in visits for phase in (visit.one, visit.half)),
        busiest=max(visit.saturated.busiest for visit in visits),
        cpu_s=_cpu_s(visit.saturated for visit in visits),
        one_cpu_s=_cpu_s(visit.one for visit in visits),
        half_cpu_s=_cpu_s(visit.half for visit in visits),
        memory_mb=_mean(visits, "memory_mb"),
        start_s=_mean(visits, "start_s"),
        own_lines=own,
        pipeline_lines=called,
    )


def _latency(phases: Sequence[Phase]) -> Latency:
    """Percentiles over the requests of several loads; not a number where every request failed."""
    found = summarise(latencies(answer for phase in phases for answer in phase.answers))
    nothing = float("nan")
    return Latency(0, nothing, nothing, nothing, nothing, nothing) if found is None else found


def _cpu_s(phases: Iterable[Phase]) -> float:
    seconds, answered = np.sum([(phase.cpu_s, phase.answered) for phase in phases], axis=0)
    return float(seconds / answered) if answered else float("nan")


def _mean(visits: Sequence[Visit], name: str) -> float:
    return float(np.mean([getattr(visit, name) for visit in visits]))
