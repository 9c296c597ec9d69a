"""What is made of the measurements: a table of the components, an account of the time, and whether it all agrees."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.answers import Latency, latencies, summarise
from benchmarks.time_spent.account import OUTSIDE, PARTS, Account, Moment, account_of, timeline
from benchmarks.time_spent.counters import Counters
from benchmarks.time_spent.processor import SERVER
from benchmarks.time_spent.run import Measured, Run, Served
from benchmarks.time_spent.traces import Traced
from benchmarks.verdict import Verdict
from trident.contract import CALLED, ENSEMBLE, STEPS

_SAME_MS = 1e-3
"""Parts have the same timestamps in statistics and in traces."""
_END_APART_MS = 0.5
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
        name = server.served.name
        found += [_counted(name, load), _agree(name, load), _adds_up(server, figures)]
        found.append(_ends(name, load, figures.account))
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
    """Whether statistics and traces say the same of each part of each step."""
    apart = {name: _apart_ms(load.counters.get(name, Counters()), name, load.traced) for name in STEPS}
    worst = max(apart, key=lambda name: apart[name])
    return Verdict(
        apart[worst] <= _SAME_MS,
        f"{server}, {load.name}: Triton's statistics and its traces agree on each part of each step (at most "
        f"{1000 * apart[worst]:.1f} µs apart, {worst})",
    )


def _ends(server: str, load: Measured, account: Account) -> Verdict:
    """Whether it is clear when a request ended.

    Triton sends the answer off, then counts the request, then ends its trace. Where others take the processor between
    two of these, a caller may even be answered before: then some of what the account calls ending was waited for by
    nobody, and the row of what is outside of Triton is short of it.
    """
    apart_ms = abs(account.ensemble_ms - load.counters.get(ENSEMBLE, Counters()).mean_ms("whole"))
    outside = next(row.ms for row in account.rows if row.name == OUTSIDE)
    return Verdict(
        apart_ms <= _END_APART_MS and outside >= 0,
        f"{server}, {load.name}: a request ends in the statistics {1000 * apart_ms:.0f} µs before it does in its trace "
        f"(up to {1000 * _END_APART_MS:.0f} µs), and callers have their answer {outside:.2f} ms after",
        required=False,
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
    account = figures.account
    return Verdict(
        abs(account.sum_ms - account.latency_ms) <= _ADDS_UP_MS,
        f"{server.served.name}, {figures.name}: the parts add up to {account.sum_ms:.2f} ms, the callers' mean latency "
        f"is {account.latency_ms:.2f} ms",
    )
