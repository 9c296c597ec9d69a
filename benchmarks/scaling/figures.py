"""What is made of the measurements: a row for each setup, what limits one server, and a law of growth."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from benchmarks.scaling.law import LEAST_COUNTS, Law, fit
from benchmarks.scaling.limits import Limits, limits_of
from benchmarks.scaling.run import Run, Visit
from benchmarks.scaling.setups import AS_SERVED, CORES_OF_A_SERVER, Layout, Setup
from benchmarks.scaling.windows import Window
from benchmarks.verdict import Verdict, left_alone

_GENERATOR_SHARE = 0.1
"""Of the cores that were at work: more than that, and the generator is a part of what was measured."""
_SPREAD = 0.1
"""Between rounds."""


@dataclass(frozen=True, slots=True)
class Span:
    """One quantity over the rounds."""

    mean: float
    low: float
    high: float

    def text(self, digits: int = 0) -> str:
        """The mean, and from where to where the rounds lie.

        >>> Span(7.94, 7.9, 7.98).text(2), Span(3.0, 3.0, 3.0).text()
        ('7.94 (7.90–7.98)', '3')
        """
        low, high = f"{self.low:.{digits}f}", f"{self.high:.{digits}f}"
        return f"{self.mean:.{digits}f}" if low == high else f"{self.mean:.{digits}f} ({low}–{high})"


def span(values: Sequence[float]) -> Span:
    """Of at least one value."""
    return Span(sum(values) / len(values), min(values), max(values))


@dataclass(frozen=True, slots=True)
class Row:
    """One setup over all rounds."""

    setup: Setup
    rate: Span
    """Answers a second, saturated, of all its servers together."""
    gain: float
    """Mean rate over that of the first setup."""
    p50_ms: Span | None
    """Of one caller who asks one of its servers; None if nothing was answered meanwhile."""
    processor_ms: Span
    """Of the servers for an answer, saturated."""
    busy_cores: Span
    """That the servers kept busy, saturated."""
    generator_cores: Span
    """That the generator kept busy meanwhile, wherever it ran."""
    memory_mb: Span
    """Of all its servers."""
    start_s: Span
    least_share: float
    """The least that one of the servers answered, as a share of an even part."""


@dataclass(frozen=True, slots=True)
class Growth:
    """How throughput grew along one line of setups."""

    name: str
    setups: tuple[Setup, ...]
    law: Law | None
    """None where there are too few core counts."""

    def sentence(self) -> str:
        """What it says, or why it says nothing."""
        counts = sorted({setup.cores for setup in self.setups})
        if self.law is None:
            return (
                f"{self.name}: no law is fitted to {len(counts)} numbers of cores "
                f"({', '.join(map(str, counts))}): at least {LEAST_COUNTS} are needed, or any curve fits."
            )
        law = self.law
        limit = "no limit" if law.limit is None else f"a limit of {law.limit:.1f} a second"
        best = "" if law.best is None else f", reached with {law.best:.0f} cores"
        return (
            f"{self.name}: {law.one:.2f} answers a second for the first core, contention σ = {law.contention:.4f}, "
            f"coherency κ = {law.coherency:.6f} (Universal Scalability Law over {law.counts} numbers of cores; the "
            f"worst measurement is {100 * law.worst:.0f} % off): {limit}{best}."
        )


@dataclass(frozen=True, slots=True)
class Figures:
    """A run, worked out."""

    rows: tuple[Row, ...]
    limits: Limits | None
    """Of one server of the repository as it is, on the most cores that one was measured on."""
    growths: tuple[Growth, ...]
    verdicts: tuple[Verdict, ...]


def work_out(run: Run) -> Figures:
    """Everything that is counted out of a run."""
    measured = [setup for setup in run.setups if run.visits_of(setup)]
    base = span([visit.saturated.rate for visit in run.visits_of(measured[0])]).mean
    rows = tuple(row_of(setup, run.visits_of(setup), base) for setup in measured)
    plain = [setup for setup in measured if setup.plain]
    limits = None
    if plain:
        most = max(plain, key=lambda setup: setup.cores)
        visits = run.visits_of(most)
        saturated, alone = [visit.saturated for visit in visits], [visit.one for visit in visits]
        limits = limits_of(most, saturated, alone, run.places[AS_SERVED])
    return Figures(rows, limits, growths_of(run, measured), tuple(verdicts_of(run, rows)))


def row_of(setup: Setup, visits: Sequence[Visit], base: float) -> Row:
    """One line of the table.

    Args:
        setup: Which.
        visits: At least one.
        base: The rate that gains are counted from.
    """

    def over(quantity: Callable[[Visit], float]) -> Span:
        return span([quantity(visit) for visit in visits])

    rate = over(lambda visit: visit.saturated.rate)
    alone = [visit.one.latency.p50 for visit in visits if visit.one.latency is not None]
    return Row(
        setup=setup,
        rate=rate,
        gain=rate.mean / base if base else 0.0,
        p50_ms=span(alone) if alone else None,
        processor_ms=over(lambda visit: visit.saturated.processor_ms),
        busy_cores=over(lambda visit: visit.saturated.busy_cores),
        generator_cores=over(lambda visit: visit.saturated.generator_s / visit.saturated.seconds),
        memory_mb=over(lambda visit: sum(visit.memory_mb.values())),
        start_s=over(lambda visit: visit.start_s),
        least_share=min(_least_share(visit.saturated) for visit in visits),
    )


def _least_share(one: Window) -> float:
    return min(one.by_server) * len(one.by_server) / one.answered if one.answered else 0.0


def growths_of(run: Run, measured: Sequence[Setup]) -> tuple[Growth, ...]:
    """How throughput grew with the cores: of one server, and with a server for every two cores."""
    lines = {
        "One server": [setup for setup in measured if setup.plain],
        f"A server for every {CORES_OF_A_SERVER} cores": [
            setup
            for setup in measured
            if setup.variant == AS_SERVED
            and setup.layout is Layout.SPLIT
            and setup.cores == CORES_OF_A_SERVER * setup.servers
        ],
    }
    found = []
    for name, setups in lines.items():
        if len(setups) < 2:
            continue
        points = [(visit.setup.cores, visit.saturated.rate) for setup in setups for visit in run.visits_of(setup)]
        law = fit([cores for cores, _ in points], [rate for _, rate in points])
        found.append(Growth(name, tuple(setups), law))
    return tuple(found)


def verdicts_of(run: Run, rows: Sequence[Row]) -> list[Verdict]:
    """What the run shows, and whether the generator or the machine got in the way."""
    windows = [one for visit in run.visits for one in (visit.one, visit.saturated)]
    failed: dict[str, int] = defaultdict(int)
    for one in windows:
        for code, count in one.failed.items():
            failed[code] += count
    lost = ", ".join(f"{count} {code}" for code, count in sorted(failed.items())) or "none"
    astray = [visit.setup.name for visit in run.visits if not visit.held]
    found = [
        Verdict(not failed, f"{sum(one.answered for one in windows)} requests answered, failed: {lost}"),
        Verdict(
            not run.refused,
            f"{len(rows)} of {len(run.setups)} setups measured"
            + "".join(f"; {setup.name}: {why}" for setup, why in run.refused.items()),
        ),
        Verdict(
            not astray,
            "every process of every server kept to its cores" + (f", but not with {astray[0]}" if astray else ""),
        ),
    ]
    most = max(rows, key=lambda row: row.generator_cores.mean / max(row.busy_cores.mean, 1e-9))
    share = most.generator_cores.mean / max(most.generator_cores.mean + most.busy_cores.mean, 1e-9)
    found.append(
        Verdict(
            share <= _GENERATOR_SHARE,
            f"the generator took at most {100 * share:.1f} % of the processor time "
            f"({most.generator_cores.mean:.2f} cores, {most.setup.name}; up to {100 * _GENERATOR_SHARE:.0f} % it is "
            "not what was measured)",
            required=False,
        )
    )
    if run.settings.rounds > 1:
        widest = max(rows, key=_spread)
        found.append(
            Verdict(
                _spread(widest) <= _SPREAD,
                f"between rounds a rate differed by at most {100 * _spread(widest):.1f} % ({widest.setup.name}; within "
                f"{100 * _SPREAD:.0f} % the means can be compared)",
                required=False,
            )
        )
    weight = sum(one.seconds for one in windows)
    others = sum(one.others_cores * one.seconds for one in windows) / weight
    return [*found, left_alone(others, "on average")]


def _spread(row: Row) -> float:
    return (row.rate.high - row.rate.low) / row.rate.mean if row.rate.mean else 0.0
