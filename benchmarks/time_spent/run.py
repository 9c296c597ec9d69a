"""The measurement: one server after the other, each at saturation, with one client, and at half load."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from tritonclient.grpc import InferenceServerClient
from tritonclient.utils import InferenceServerException

from benchmarks import report
from benchmarks.answers import Answers, failures, latencies
from benchmarks.intervals import Interval
from benchmarks.load import Load, Plan, saturated_rate
from benchmarks.pictures import pictures_for
from benchmarks.ranges import check_range
from benchmarks.served import own_server
from benchmarks.time_spent import traces, twin
from benchmarks.time_spent.counters import Counters, counted_since, read_counters
from benchmarks.time_spent.processor import Processor, spent_between
from benchmarks.time_spent.traces import Traced
from trident.errors import SetupError
from trident.launcher import TritonServer
from trident.layout import DEFAULT_REPOSITORY

ONE_CLIENT, HALF_LOAD = "one client", "half load"
TRIDENT, TWIN, TWIN_WITHOUT_CALLS = "trident", "twin", "twin without inner calls"
_WARM_S = 1.0
_LONGEST_S = 600.0
_SHORTEST_S = 0.5
_TRACE_ORDER = (False, True, True, False)
"""Untraced, traced, traced, untraced: what drifts meanwhile falls on both alike."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What to measure."""

    requests: int = 150
    """With one client, and again at half load."""
    twin_requests: int = 400
    """The same of the twins, which are quick."""
    saturation_s: float = 15.0
    """How long to measure each server's saturated rate."""
    callers: int = 8
    """Who wait for their answers, while it is measured."""
    seed: int = 0
    pictures: Path | None = None
    """Folder with the pictures to send; None for the sample pictures."""
    repository: Path = DEFAULT_REPOSITORY

    def __post_init__(self) -> None:
        for name, low, high in (
            ("requests", 2, 10_000),
            ("twin_requests", 4, 100_000),
            ("saturation_s", 0.5, 600),
            ("callers", 1, 1000),
        ):
            check_range(name, getattr(self, name), low, high)


@dataclass(frozen=True, slots=True)
class Measured:
    """One load, and what the server counted meanwhile."""

    name: str
    answers: Answers
    counters: Mapping[str, Counters]
    processor_s: Mapping[str, float]
    """Processor time by model, and of Triton's own process."""
    begin_ns: int
    end_ns: int
    """Of the clock that the traces have. Nothing was in flight at either moment."""
    traced: tuple[Traced, ...] = ()
    """Every request of it."""

    @property
    def processor_ms(self) -> float:
        """Processor time a request, of the server and all its models, in milliseconds."""
        return 1000 * sum(self.processor_s.values()) / len(self.answers.records)


@dataclass(frozen=True, slots=True)
class TracingCost:
    """What tracing every request adds to the median latency of one client, in milliseconds."""

    untraced_ms: float
    traced_ms: float
    interval: Interval
    """Of the difference."""


@dataclass(frozen=True, slots=True)
class Served:
    """One server, measured."""

    name: str
    command: str
    saturated: float
    """Answers a second at most."""
    saturated_processor_ms: float
    """Processor time a request meanwhile."""
    loads: tuple[Measured, ...]
    """With one client, and at half of the saturated rate."""
    about: Mapping[str, Any] | None = None
    """What answered, as ``report.served_by`` tells it; None of a twin, which tells nothing."""
    tracing: TracingCost | None = None


@dataclass(frozen=True, slots=True)
class Run:
    """What was measured."""

    settings: Settings
    pictures: tuple[str, ...]
    detail: tuple[int, int]
    """Height and width of the detail that the twin hands around."""
    servers: tuple[Served, ...]
    """Trident, its twin, and the twin whose recognizer calls nothing."""


def measure(settings: Settings, tell: Callable[[str], None]) -> Run:
    """Measure.

    Args:
        settings: What.
        tell: Is told what happens, a line at a time.

    Raises:
        TridentError: A server or the load cannot be started, there is no picture, or a request failed.
    """
    with tempfile.TemporaryDirectory(prefix="trident-time-spent-") as name:
        folder = Path(name)
        pictures = pictures_for(settings.pictures, folder / "pictures")
        detail = twin.detail_of(pictures)
        real = _Server(TRIDENT, settings.repository, pictures, settings, folder, tell).measure()
        twins = []
        quick = replace(settings, requests=settings.twin_requests)
        for number, (title, calls) in enumerate(((TWIN, True), (TWIN_WITHOUT_CALLS, False))):
            models = twin.write_twin(settings.repository, folder / f"twin-{number}", detail=detail, calls=calls)
            twins.append(_Server(title, models, pictures, quick, folder, tell).measure())
    return Run(settings, tuple(path.name for path in pictures), detail, (real, *twins))


@dataclass(frozen=True, slots=True)
class _Server:
    """Measures one repository, in a server of its own."""

    title: str
    repository: Path
    pictures: Sequence[Path]
    settings: Settings
    folder: Path
    tell: Callable[[str], None]

    def measure(self) -> Served:
        """Start it, measure it, stop it, and read what it has written."""
        file = self.folder / f"{self._slug}-traces.json"
        server = own_server(self.folder, self.repository, arguments=traces.server_arguments(file))
        try:
            served = self._measured(server)
        except InferenceServerException as error:
            raise SetupError(f"{self.title}: Triton does not answer any more: {error}") from error
        everything = traces.read_traces(file)
        loads = tuple(self._with_traces(load, everything) for load in served.loads)
        return replace(served, loads=loads)

    @property
    def _slug(self) -> str:
        return self.title.replace(" ", "-")

    def _measured(self, server: TritonServer) -> Served:
        real = self.title == TRIDENT
        begun = time.monotonic()
        with server, InferenceServerClient(server.grpc_url) as client:
            self.tell(f"{self.title}: Triton answers after {time.monotonic() - begun:.1f} s.")
            processor = Processor(str(server.name), self.repository)
            about = report.served_by(server.grpc_url) if real else None
            files = self.folder / self._slug
            files.mkdir()
            asked = _Asked(server.grpc_url, client, processor, self.pictures, files, self.settings.seed)
            saturated, saturated_ms = self._saturated(asked)
            requests = self.settings.requests
            half_s = min(_LONGEST_S, max(_SHORTEST_S, 2 * requests / saturated))
            traces.switch(client, on=True)
            one = asked(ONE_CLIENT, Plan(seconds=_LONGEST_S, workers=1, requests=requests))
            half = asked(HALF_LOAD, Plan(seconds=half_s, rate=saturated / 2))
            traces.switch(client, on=False)
            cost = tracing_cost(asked, max(2, requests // 2)) if self.title == TWIN else None
            return Served(self.title, processor.command, saturated, saturated_ms, (one, half), about, cost)

    def _with_traces(self, load: Measured, everything: Sequence[Traced]) -> Measured:
        traced = tuple(one for one in everything if load.begin_ns <= one.begin < load.end_ns)
        requests = len(load.answers.records)
        if len(traced) != requests:
            raise SetupError(
                f"{self.title}, {load.name}: expected a trace of each of {requests} requests, got {len(traced)}: this "
                "Triton does not trace every request"
            )
        self.tell(
            f"{self.title}, {load.name}: {requests} requests, p50 {np.median(latencies(load.answers.records)):.1f} ms, "
            f"{load.processor_ms:.1f} ms of processor time a request."
        )
        return replace(load, traced=traced)

    def _saturated(self, asked: _Asked) -> tuple[float, float]:
        """Answers a second at most, and processor time a request meanwhile."""
        settings = self.settings
        load = asked("saturated", Plan(seconds=_WARM_S + settings.saturation_s, workers=settings.callers))
        rate = saturated_rate(load.answers, leave_out_s=_WARM_S)
        self.tell(f"{self.title}: saturated at {rate:.2f} requests a second, with {settings.callers} callers.")
        return rate, load.processor_ms


@dataclass(slots=True)
class _Asked:
    """Sends loads to one server, one at a time, and reads what it says of each."""

    url: str
    client: InferenceServerClient
    processor: Processor
    pictures: Sequence[Path]
    folder: Path
    seed: int
    _number: int = 0

    def __call__(self, name: str, plan: Plan) -> Measured:
        """Send one load, and wait until all of it is answered and counted.

        Raises:
            SetupError: A request failed: then nothing adds up.
        """
        self._number += 1
        file = self.folder / f"{self._number}.jsonl"
        before, spent, begin = read_counters(self.client), self.processor.seconds(), time.monotonic_ns()
        with Load(self.url, self.pictures, replace(plan, seed=self.seed + self._number), file) as load:
            answers = load.wait()
        if failed := failures(answers.records):
            raise SetupError(
                f"{name}: {len(failed)} requests failed, the first with {failed[0].code}: {failed[0].message}"
            )
        if not answers.records:
            raise SetupError(f"{name}: nothing was sent in {plan.seconds:.1f} s: give it more requests")
        counters = counted_since(self.client, before, len(answers.records))
        processor_s = spent_between(spent, self.processor.seconds())
        return Measured(name, answers, counters, processor_s, begin, time.monotonic_ns())


def tracing_cost(asked: _Asked, requests: int) -> TracingCost:
    """What tracing costs, by one client and in the order untraced, traced, traced, untraced.

    Args:
        asked: Of a server that traces nothing now; nor does it afterwards.
        requests: In each of the four runs.
    """
    found: dict[bool, list[float]] = {False: [], True: []}
    for on in _TRACE_ORDER:
        traces.switch(asked.client, on=on)
        load = asked(f"traced: {on}", Plan(seconds=_LONGEST_S, workers=1, requests=requests))
        found[on] += latencies(load.answers.records).tolist()
    traces.switch(asked.client, on=False)
    return difference_of_medians(np.array(found[False]), np.array(found[True]))


def difference_of_medians(
    untraced_N: npt.NDArray[np.float64], traced_M: npt.NDArray[np.float64], *, resamples: int = 1000, seed: int = 0
) -> TracingCost:
    """Compare latencies in milliseconds (percentile bootstrap; Efron and Tibshirani 1993, ch. 13)."""
    chance = np.random.default_rng(seed)

    def medians(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        drawn: npt.NDArray[np.float64] = np.median(chance.choice(values, (resamples, len(values))), axis=1)
        return drawn

    low, high = np.percentile(medians(traced_M) - medians(untraced_N), [2.5, 97.5])
    return TracingCost(float(np.median(untraced_N)), float(np.median(traced_M)), Interval(float(low), float(high)))
