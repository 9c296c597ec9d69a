"""What is made of the measurements: a table of the components, an account of the time, and whether it all agrees."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.answers import Latency, latencies, summarise
from benchmarks.time_spent.account import PARTS, Account, Moment, account_of, timeline
from benchmarks.time_spent.counters import Counters
from benchmarks.time_spent.processor import SERVER
from benchmarks.time_spent.run import Measured, Run, Served
from benchmarks.time_spent.traces import Traced
from benchmarks.verdict import Verdict
from trident.contract import CALLED, ENSEMBLE, STEPS

_SAME_MS = 1e-3
"""Parts have the same timestamps in statistics and in traces."""
_END_APART_MS = 0.5
"""The end has not: a request ends in the statistics a moment before it ends in its trace."""
_ADDS_UP_MS = 1e-3
_NS_PER_MS = 1e6


@dataclass(frozen=True, slots=True)
class Component:
    """One model over one run. Times are milliseconds a call, but where it says otherwise."""

    name: str
    inner: bool
    """Whether it is called by the recognizer, and its time is a part of the recognizer's."""
    calls: float
    """A request to the ensemble."""
    pictures: float
    """A call."""
    executions: int
    queue: float
    input: float
    infer: float
    output: float
    rest: float
    whole: float
    processor: float
    """Milliseconds of processor time a request to the ensemble."""


@dataclass(frozen=True, slots=True)
class LoadFigures:
    """One load, worked out."""

    name: str
    latency: Latency
    account: Account
    components: tuple[Component, ...]
    timeline: tuple[Moment, ...]
    server_processor: float
    """Milliseconds of processor time a request, of Triton's own process."""
    processor: float
    """The same of all processes together."""


@dataclass(frozen=True, slots=True)
class ServerFigures:
    """One server, worked out."""

    served: Served
    loads: tuple[LoadFigures, ...]


@dataclass(frozen=True, slots=True)
class Figures:
    """A run, worked out."""

    servers: tuple[ServerFigures, ...]
    """In the order of the run: Trident, its twin, and the twin without inner calls."""
    verdicts: tuple[Verdict, ...]


def work_out(run: Run) -> Figures:
    """Everything that is counted out of a run."""
    servers = tuple(ServerFigures(served, tuple(map(_load, served.loads))) for served in run.servers)
    verdicts = [verdict for server in servers for verdict in _verdicts(server)]
    return Figures(servers, tuple(verdicts))


def _load(load: Measured) -> LoadFigures:
    requests = len(load.answers.records)
    latency = summarise(latencies(load.answers.records))
    assert latency is not None  # a load without an answer is refused where it is measured
    return LoadFigures(
        name=load.name,
        latency=latency,
        account=account_of(load.answers.records, load.traced),
        components=tuple(
            component_of(name, load.counters.get(name, Counters()), requests, load.processor_s.get(name, 0.0))
            for name in (*STEPS, *CALLED)
        ),
        timeline=tuple(timeline(load.traced)),
        server_processor=1000 * load.processor_s.get(SERVER, 0.0) / requests,
        processor=load.processor_ms,
    )


def component_of(name: str, counters: Counters, requests: int, processor_s: float) -> Component:
    """One component's line.

    Args:
        name: The model.
        counters: What Triton has counted of it over the run.
        requests: To the ensemble.
        processor_s: Of all its instances.
    """
    return Component(
        name=name,
        inner=name in CALLED,
        calls=counters.requests / requests,
        pictures=counters.pictures / counters.requests if counters.requests else 0.0,
        executions=counters.executions,
        **{part: counters.mean_ms(part) for part in ("queue", "input", "infer", "output", "rest", "whole")},
        processor=1000 * processor_s / requests,
    )


def _verdicts(server: ServerFigures) -> list[Verdict]:
    found = []
    for load, figures in zip(server.served.loads, server.loads, strict=True):
        found += [_counted(server.served.name, load), _agree(server.served.name, load), _adds_up(server, figures)]
    return found


def _counted(server: str, load: Measured) -> Verdict:
    """Whether each request was counted once by the ensemble and once by each of its steps, and none as failed."""
    requests = len(load.answers.records)
    names = (ENSEMBLE, *STEPS)
    wrong = [
        f"{name} {counters.requests}"
        for name in names
        if (counters := load.counters.get(name, Counters())).requests != requests or counters.failed
    ]
    return Verdict(
        not wrong,
        f"{server}, {load.name}: {requests} requests answered, and counted as often by the ensemble and each of its "
        f"{len(STEPS)} steps" + (f"; not so: {', '.join(wrong)}" if wrong else ""),
    )


def _agree(server: str, load: Measured) -> Verdict:
    """Whether statistics and traces say the same: of each step's parts, and of the ensemble as a whole."""
    apart = {name: _apart_ms(load.counters.get(name, Counters()), name, load.traced) for name in STEPS}
    whole = load.counters[ENSEMBLE].mean_ms("whole") - float(np.mean([one.whole for one in load.traced])) / _NS_PER_MS
    worst = max(apart, key=lambda name: apart[name])
    return Verdict(
        apart[worst] <= _SAME_MS and abs(whole) <= _END_APART_MS,
        f"{server}, {load.name}: Triton's statistics and its traces agree (at most {1000 * apart[worst]:.1f} µs apart "
        f"on a part of a step, {worst}; {1000 * abs(whole):.0f} µs on the end of a request)",
    )


def _apart_ms(counters: Counters, name: str, traced: Sequence[Traced]) -> float:
    """How far apart the mean of a part of a step is, at most."""
    found = 0.0
    for part in PARTS:
        spans = (one.steps[name].parts[part] for one in traced)
        mean_ms = float(np.mean([end - begin for begin, end in spans])) / _NS_PER_MS
        found = max(found, abs(counters.mean_ms(part) - mean_ms))
    return found


def _adds_up(server: ServerFigures, figures: LoadFigures) -> Verdict:
    """Whether the rows are the latency, and none is negative: no caller is answered before Triton answers."""
    account = figures.account
    least = min(account.rows, key=lambda row: row.ms)
    return Verdict(
        abs(account.sum_ms - account.latency_ms) <= _ADDS_UP_MS and least.ms >= 0,
        f"{server.served.name}, {figures.name}: the parts add up to {account.sum_ms:.2f} ms, the callers' mean latency "
        f"is {account.latency_ms:.2f} ms, and none is negative (the least is {least.name}, {least.ms:.2f} ms)",
    )
