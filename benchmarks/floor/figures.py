"""What the blocks come to: both sides' figures a round, and served as a ratio of the floor."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.stats import ttest_1samp  # type: ignore[import-untyped]

from benchmarks.floor.run import Regime, Run, Side, Turn
from benchmarks.intervals import Ratio
from benchmarks.report import Summary, SummaryTable
from benchmarks.verdict import Verdict, left_alone
from trident.errors import SetupError


@dataclass(frozen=True, slots=True)
class Quantity:
    """What is compared."""

    name: str
    regime: Regime
    unit: str
    digits: int
    """Behind the decimal point, as it is shown."""
    of: Callable[[Sequence[Turn]], float]
    """Its value, from the blocks of one side and regime in one round."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """One quantity on both sides."""

    quantity: Quantity
    floor: tuple[float, ...]
    """One value a round."""
    served: tuple[float, ...]
    ratio: Ratio
    """Served over floor."""

    def cells(self) -> tuple[str, ...]:
        """A row of a table: name, floor, served, their ratio, and its interval."""
        what, ratio = self.quantity, self.ratio
        floor, served = (f"{geometric_mean(values):.{what.digits}f}" for values in (self.floor, self.served))
        name = f"{what.name}, {what.regime}, {what.unit}"
        return (name, floor, served, f"{ratio.value:.3f}", f"{ratio.low:.3f} – {ratio.high:.3f}")

    def to_json(self) -> dict[str, Any]:
        """As the report's JSON holds it."""
        return {
            "quantity": self.quantity.name,
            "regime": self.quantity.regime,
            "unit": self.quantity.unit,
            "floor": self.floor,
            "served": self.served,
            "ratio": asdict(self.ratio),
        }


HEADINGS = ("", str(Side.FLOOR), str(Side.SERVED), "served / floor", "95 %")


def _latencies(turns: Sequence[Turn]) -> npt.NDArray[np.float64]:
    return np.array([latency for turn in turns for latency in turn.latencies_ms], dtype=np.float64)


def _median_ms(turns: Sequence[Turn]) -> float:
    return float(np.median(_latencies(turns)))


def _mean_ms(turns: Sequence[Turn]) -> float:
    return float(np.mean(_latencies(turns)))


def _pictures(turns: Sequence[Turn]) -> int:
    return sum(len(turn.latencies_ms) for turn in turns)


def _rate(turns: Sequence[Turn]) -> float:
    return _pictures(turns) / sum(turn.elapsed_s for turn in turns)


def _cpu_s(turns: Sequence[Turn]) -> float:
    return sum(turn.cpu_s for turn in turns) / _pictures(turns)


LATENCY = Quantity("median latency", Regime.ONE, "ms", 1, _median_ms)
RATE = Quantity("pictures a second", Regime.SATURATED, "1/s", 2, _rate)
CPU = Quantity("processor time a picture", Regime.SATURATED, "s", 3, _cpu_s)
QUANTITIES = (
    LATENCY,
    Quantity("mean latency", Regime.ONE, "ms", 1, _mean_ms),
    Quantity("processor time a picture", Regime.ONE, "s", 3, _cpu_s),
    RATE,
    CPU,
)


def work_out(run: Run) -> dict[Quantity, Comparison]:
    """All quantities of a run, compared."""
    return {quantity: _compare(run, quantity) for quantity in QUANTITIES}


def _compare(run: Run, quantity: Quantity) -> Comparison:
    def by_round(side: Side) -> tuple[float, ...]:
        wanted = (quantity.regime, side)
        return tuple(
            quantity.of([turn for turn in run.turns if turn.round == number and (turn.regime, turn.side) == wanted])
            for number in range(run.settings.rounds)
        )

    floor, served = by_round(Side.FLOOR), by_round(Side.SERVED)
    return Comparison(quantity, floor, served, paired_ratio(served, floor))


def geometric_mean(values: Sequence[float]) -> float:
    """The geometric mean of values above 0; so the ratio of two means is the mean of the ratios.

    >>> round(geometric_mean([1.0, 4.0]), 6)
    2.0
    """
    return float(np.exp(np.mean(np.log(values))))


def paired_ratio(ours_R: Sequence[float], theirs_R: Sequence[float]) -> Ratio:
    """The geometric mean of the ratios of paired values, with its interval of 95 %.

    The interval is Student's, of the mean of the log ratios: with as few as eight pairs a bootstrap's is too narrow
    (Hesterberg 2015, "What Teachers Should Know About the Bootstrap").

    Args:
        ours_R: One value a round, above 0.
        theirs_R: The values that they are compared with, round by round.

    Raises:
        SetupError: There are fewer than two rounds, not as many of both, or a value is not above 0.
    """
    ours, theirs = np.asarray(ours_R, dtype=np.float64), np.asarray(theirs_R, dtype=np.float64)
    if ours.ndim != 1 or ours.shape != theirs.shape or len(ours) < 2:
        raise SetupError(f"paired ratio: expected two lists of one length, 2 or more, got {ours.shape}, {theirs.shape}")
    if not ((ours > 0) & (theirs > 0)).all():
        raise SetupError("paired ratio: expected values above 0, got others: give blocks more seconds")
    logs = np.log(ours / theirs)
    mean = float(logs.mean())
    if np.ptp(logs) == 0:  # Student's interval would divide by nothing
        return Ratio(*[float(np.exp(mean))] * 3)
    interval = ttest_1samp(logs, 0).confidence_interval(0.95)
    return Ratio(*(float(np.exp(value)) for value in (mean, interval.low, interval.high)))


def summary(run: Run, compared: dict[Quantity, Comparison]) -> Summary:
    """What of a run goes into the committed results."""
    latency, rate, cpu = (compared[quantity].ratio.value for quantity in (LATENCY, RATE, CPU))
    one, saturated = (run.chosen[regime].variant.name for regime in Regime)
    requests = " and ".join(str(run.requests[regime]) for regime in Regime)
    return Summary(
        "The floor: the same work in one process, without a server",
        (
            f"One at a time, the server's median answer takes {latency:.2f} times as long as that of one process; "
            f"saturated, the server answers {rate:.2f} times as many pictures a second, at {cpu:.2f} times the "
            "processor time each.",
            "The floor calls the same ONNX files and the same Python functions, in the way that was the fastest in "
            "trials of a few seconds, of those that answer as the server does to the last digit (networks with one "
            f"thread): one at a time {one}; saturated {saturated}.",
            f"Both gave the same answers to all {len(run.pictures)} pictures. Then {run.settings.rounds} rounds, each "
            "of four blocks (floor, served, served, floor, or the other way round) one at a time and four saturated, "
            f"of {requests} pictures; figures are geometric means over rounds, intervals are Student's for "
            "that mean.",
            "Where it falls short: nobody asks the floor, while the client of the server ran on the same cores "
            f"({run.settings.callers} callers where saturated) and took {1000 * client_cpu_s(run):.1f} ms of processor "
            "time a picture, which is not counted as the server's; and at the end of a block the floor's processes "
            f"finish one after the other, which costs it a picture's time or less in {run.settings.block_s:g} s.",
            *(f"{'✓' if one.good else '✗'} {one.sentence}." for one in verdicts(run)),
        ),
        (SummaryTable(HEADINGS, [comparison.cells() for comparison in compared.values()]),),
    )


def client_cpu_s(run: Run) -> float:
    """Processor time of the client for each picture that was served where saturated."""
    turns = [turn for turn in run.turns if (turn.regime, turn.side) == (Regime.SATURATED, Side.SERVED)]
    return sum(turn.client_cpu_s for turn in turns) / _pictures(turns)


def others_cores(run: Run) -> float:
    """Cores that others kept busy, on average over the blocks."""
    return float(np.mean([turn.others_cores for turn in run.turns]))


def verdicts(run: Run) -> list[Verdict]:
    """What has to hold for the figures to count."""
    return [left_alone(others_cores(run), "on average over the blocks", required=True)]
