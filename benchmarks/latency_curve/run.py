"""The measurement: the saturated rate by callers that wait, then one open loop after the other."""

from __future__ import annotations

import math
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import report
from benchmarks.answers import Answers, failures, latencies, summarise
from benchmarks.latency_curve.steps import SETTLED_AFTER, Step, Window, relaxation_s, step_of, window_of
from benchmarks.load import Load, Plan, check_loopback, find_saturation
from benchmarks.pictures import pictures_for
from benchmarks.ranges import check_range
from benchmarks.served import own_server
from benchmarks.swaps.resources import Scale
from trident.errors import SetupError
from trident.layout import DEFAULT_REPOSITORY

LEVELS = tuple(number / 10 for number in range(1, 12))
"""Shares of the saturated rate."""
_MOST_OVER = 3.0
_WARM_S = 2.0


@dataclass(frozen=True, slots=True)
class Settings:
    """What to measure."""

    levels: tuple[float, ...] = LEVELS
    """Shares of the saturated rate that are offered, one after the other."""
    passes: int = 4
    """How many times all shares are offered, upwards and downwards in turn, each time at other moments."""
    requests: int = 400
    """For how many requests, on average, a share is offered, in all passes together."""
    longest_s: float = 150.0
    """No share is offered for longer than that, in all passes together: the lowest ones have fewer requests."""
    settle_s: float = 3.0
    """Seconds at the beginning of a step that do not count, at least: as many as its queue needs to settle do not."""
    longest_settle_s: float = 60.0
    """A step whose queue would need longer than that is not waited for, and is marked."""
    rest_s: float = 2.0
    """From the last answer of a step to the beginning of the next."""
    saturated: float | None = None
    """Answers a second at most; None to measure it."""
    saturation_s: float = 20.0
    """How long to measure it, before the steps and again after them."""
    callers: int = 8
    """Who wait for their answers, while it is measured."""
    timeout_s: float = 30.0
    """Deadline of a request."""
    most_in_flight: int = 200
    """What is planned beyond that is not sent, and counts as failed."""
    seed: int = 0
    pictures: Path | None = None
    """Folder with the pictures to send; None for the sample pictures."""
    repository: Path = DEFAULT_REPOSITORY
    url: str | None = None
    """A server that runs already; None to start one."""

    def __post_init__(self) -> None:
        if not self.levels or not all(0 < level <= _MOST_OVER for level in self.levels):
            got = ", ".join(f"{100 * level:g}" for level in self.levels) or "none"
            raise SetupError(f"levels: expected percentages above 0, to {100 * _MOST_OVER:.0f}, got {got}")
        for name, low, high in (
            ("passes", 1, 100),
            ("requests", 1, 100_000),
            ("longest_s", 0.5, 3600),
            ("settle_s", 0, 600),
            ("longest_settle_s", 0, 3600),
            ("rest_s", 0, 600),
            ("saturation_s", 0.5, 600),
            ("callers", 1, 1000),
        ):
            check_range(name, getattr(self, name), low, high)
        if self.saturated is not None and not 0 < self.saturated <= 10_000:
            raise SetupError(f"saturated: expected a rate above 0, to 10000, got {self.saturated:g}")
        if self.url is not None:
            check_loopback(self.url)

    def window_s(self, rate: float) -> float:
        """How long the window of one pass at ``rate`` requests a second is."""
        return min(self.longest_s, self.requests / rate) / self.passes

    def left_out_s(self, rate: float, saturated: float) -> float:
        """How much of the beginning of a step at ``rate`` does not count, with ``saturated`` as the most."""
        relaxation = relaxation_s(rate, saturated)
        settles_s = math.inf if relaxation is None else SETTLED_AFTER * relaxation
        return max(self.settle_s, settles_s) if settles_s <= self.longest_settle_s else self.settle_s

    def whole_s(self, saturated: float) -> float:
        """How long all steps take together, if every request is answered at once."""
        rates = [level * saturated for level in self.levels]
        whole = sum(self.left_out_s(rate, saturated) + self.window_s(rate) + self.rest_s for rate in rates)
        return self.passes * whole

    def order_of(self, number: int) -> list[int]:
        """Indices of the levels in the order of a pass: upwards, then downwards, so that a drift meets all alike."""
        upwards = list(range(len(self.levels)))
        return upwards if number % 2 == 0 else upwards[::-1]


@dataclass(frozen=True, slots=True)
class Run:
    """What was measured."""

    settings: Settings
    server: Mapping[str, Any]
    """What answered, as ``report.served_by`` tells it."""
    pictures: tuple[str, ...]
    """Names of the pictures that were sent."""
    saturated: float
    """Answers a second that the shares are of."""
    saturated_after: float | None
    """The same after the steps; None where it was given, or could not be measured any more."""
    steps: tuple[Step, ...]


def measure(settings: Settings, tell: Callable[[str], None]) -> Run:
    """Measure.

    Args:
        settings: What.
        tell: Is told what happens, a line at a time.

    Raises:
        TridentError: There is no server or no picture, or a request failed while the saturated rate was measured.
    """
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="trident-latency-curve-")))
        pictures = pictures_for(settings.pictures, folder / "pictures")
        if settings.url is not None:
            loads = _Loads(settings.url, pictures, settings, folder, tell, None)
        else:
            begun = time.monotonic()
            server = stack.enter_context(own_server(folder, settings.repository))
            tell(f"Triton answers after {time.monotonic() - begun:.1f} s.")
            loads = _Loads(server.grpc_url, pictures, settings, folder, tell, str(server.name))
        about = report.served_by(loads.url)
        saturated = loads.saturated() if settings.saturated is None else loads.warmed(settings.saturated)
        tell(
            f"{settings.passes} passes over {len(settings.levels)} rates, in about "
            f"{settings.whole_s(saturated) / 60:.1f} minutes."
        )
        windows: dict[int, list[Window]] = defaultdict(list)
        for number in range(settings.passes):
            for place in settings.order_of(number):
                windows[place].append(loads.window(number, place, saturated))
        steps = tuple(
            step_of(
                windows[place],
                saturated=saturated,
                rate=level * saturated,
                settle_s=settings.left_out_s(level * saturated, saturated),
            )
            for place, level in enumerate(settings.levels)
        )
        after = None
        if settings.saturated is None:
            try:
                after = loads.saturated()
            except SetupError as error:  # the steps are worth a report all the same
                tell(f"The saturated rate could not be measured again: {error}")
        return Run(settings, about, tuple(path.name for path in pictures), saturated, after, steps)


@dataclass(frozen=True, slots=True)
class _Loads:
    """Loads for one server, one at a time."""

    url: str
    pictures: Sequence[Path]
    settings: Settings
    folder: Path
    tell: Callable[[str], None]
    name: str | None
    """The server's, if it is our own."""

    def warmed(self, saturated: float) -> float:
        """Warm the server up, where the rate need not be measured."""
        self._answers(Plan(seconds=_WARM_S, workers=self.settings.callers, seed=self.settings.seed), "warm")
        return saturated

    def saturated(self) -> float:
        """Answers a second when there is always a request waiting."""
        settings = self.settings
        return find_saturation(
            lambda plan: self._answers(plan, "closed")[0],
            self.tell,
            seconds=settings.saturation_s,
            callers=settings.callers,
            seed=settings.seed,
            warm_s=_WARM_S,
        )

    def window(self, number: int, place: int, saturated: float) -> Window:
        """Offer one rate in one pass, wait until all is answered, and rest."""
        settings, level = self.settings, self.settings.levels[place]
        rate = level * saturated
        seconds, settle_s = settings.window_s(rate), settings.left_out_s(rate, saturated)
        plan = Plan(
            seconds=settle_s + seconds,
            rate=rate,
            # Each its own arrivals: one unlucky moment must not shape the whole curve.
            seed=settings.seed + 1000 * (number + 1) + place,
            timeout_s=settings.timeout_s,
            most_in_flight=settings.most_in_flight,
        )
        answers, others_cores = self._answers(plan, f"step-{number}-{place}")
        window = window_of(answers, settle_s=settle_s, seconds=seconds, others_cores=others_cores)
        found = summarise(latencies(window.counted))
        p50, p95 = ("–", "–") if found is None else (f"{found.p50:.0f}", f"{found.p95:.0f}")
        self.tell(
            f"Pass {number + 1}, {100 * level:>3.0f} %, {rate:.2f} a second for {seconds:.0f} s: "
            f"{len(window.counted)} requests, p50 {p50} ms, p95 {p95} ms, {len(failures(window.counted))} failed"
        )
        time.sleep(settings.rest_s)
        return window

    def _answers(self, plan: Plan, name: str) -> tuple[Answers, float | None]:
        """All answers of one load, and how many cores others kept busy meanwhile."""
        with Load(self.url, self.pictures, plan, self.folder / f"{name}.jsonl") as load:
            scale = None if self.name is None else Scale(self.name)
            answers = load.wait()
            return answers, None if scale is None else scale(0).others_cores
