"""One stretch of time under load: what was answered in it, and what answering took."""

from __future__ import annotations

import contextlib
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import psutil  # type: ignore[import-untyped]
from tritonclient.utils import InferenceServerException

from benchmarks.answers import Answer, Latency, failures, latencies, summarise
from benchmarks.load import Load, Plan
from benchmarks.scaling.replicas import Replica
from benchmarks.time_spent.counters import Counters, read_counters
from trident.errors import SetupError

_TIMEOUT_S = 60.0
_BEGIN_S = 120.0
"""Within so many seconds every generator has its first answer."""
_LOOK_S = 0.05


@dataclass(frozen=True, slots=True)
class Window:
    """What happened between two looks, while the callers of a closed loop were always asking."""

    seconds: float
    callers: int
    """Of all servers that were asked."""
    by_server: tuple[int, ...]
    """Answers of each."""
    failed: Mapping[str, int]
    """Requests that were not answered, by code; also those before and after the window."""
    latency: Latency | None
    """Of the answers, in milliseconds from sending."""
    processor_s: Mapping[str, float]
    """Processor time by model, and of Triton itself, of all servers that were asked."""
    counters: Mapping[str, Counters]
    """What those servers counted, by model."""
    generator_s: float
    """Processor time of what sent the requests."""
    others_cores: float
    """Cores that all but the servers and the benchmark kept busy."""

    @property
    def answered(self) -> int:
        """By all servers."""
        return sum(self.by_server)

    @property
    def rate(self) -> float:
        """Answers a second."""
        return self.answered / self.seconds

    @property
    def busy_cores(self) -> float:
        """Cores that the servers kept busy."""
        return sum(self.processor_s.values()) / self.seconds

    @property
    def processor_ms(self) -> float:
        """Processor time an answer."""
        return 1000 * sum(self.processor_s.values()) / self.answered if self.answered else 0.0


@dataclass(frozen=True, slots=True)
class Look:
    """What the clocks say at one moment."""

    at: float
    """Seconds of the Unix clock."""
    processor_s: Mapping[str, float]
    counters: Mapping[str, Counters]
    generator_s: float


def window(
    replicas: Sequence[Replica],
    pictures: Sequence[Path],
    folder: Path,
    *,
    callers: int,
    seconds: float,
    settle_s: float,
    seed: int,
) -> Window:
    """Let callers ask each server, wait until that has settled, and measure for a while.

    Each server is asked from a process of its own, by as many callers as the others: so all get the same load, and no
    generator is too slow for many of them.

    Args:
        replicas: Those that are asked.
        pictures: What they are asked about, drawn by the seed.
        folder: For the records.
        callers: Of each server.
        seconds: How long it is measured.
        settle_s: How long after the first answers that begins.
        seed: Of the first generator; the next has the next one.

    Raises:
        SetupError: A generator ended, none of its requests was answered, or a server tells nothing of itself.
    """
    with ExitStack() as stack:
        loads = []
        for number, replica in enumerate(replicas):
            plan = Plan(
                seconds=_BEGIN_S + settle_s + seconds, workers=callers, seed=seed + number, timeout_s=_TIMEOUT_S
            )
            file = folder / f"answers-{number}.jsonl"
            file.unlink(missing_ok=True)  # or the answers of the window before would be taken for its own
            loads.append(stack.enter_context(Load(replica.url, pictures, plan, file)))
        _wait_for_answers(loads)
        time.sleep(settle_s)
        replicas[0].scale(0)  # others are counted from here on
        before = _look(replicas, loads)
        time.sleep(seconds)
        after = _look(replicas, loads)
        others_cores = replicas[0].scale(0).others_cores
        records = [load.stop().records for load in loads]
    return window_of(records, before, after, callers=callers * len(replicas), others_cores=others_cores)


def window_of(
    records: Sequence[Sequence[Answer]], before: Look, after: Look, *, callers: int, others_cores: float
) -> Window:
    """What lies between two looks.

    Args:
        records: All requests of each server that was asked, also those before and after.
        before: When it began.
        after: When it ended.
        callers: Of all servers.
        others_cores: As in ``Window``.
    """
    counted = [[one for one in some if before.at <= one.done < after.at] for some in records]
    return Window(
        seconds=after.at - before.at,
        callers=callers,
        by_server=tuple(sum(answer.ok for answer in some) for some in counted),
        failed=_failed(one for some in records for one in some),
        latency=summarise(latencies(one for some in counted for one in some)),
        processor_s={name: spent - before.processor_s.get(name, 0.0) for name, spent in after.processor_s.items()},
        counters={name: now - before.counters.get(name, Counters()) for name, now in after.counters.items()},
        generator_s=after.generator_s - before.generator_s,
        others_cores=others_cores,
    )


def _wait_for_answers(loads: Sequence[Load]) -> None:
    deadline = time.monotonic() + _BEGIN_S
    while not all(load.count() for load in loads):
        if time.monotonic() > deadline:
            raise SetupError(f"expected an answer from every server within {_BEGIN_S:.0f} s, got none from one")
        if not all(load.running for load in loads):
            raise SetupError("a load came to its end before every server had answered")
        time.sleep(_LOOK_S)


def _look(replicas: Sequence[Replica], loads: Sequence[Load]) -> Look:
    at = time.time()
    generator_s = 0.0
    for load in loads:
        with contextlib.suppress(psutil.Error):  # an end of its own is seen by `stop`
            times = psutil.Process(load.pid).cpu_times()
            generator_s += times.user + times.system
    processor_s: dict[str, float] = defaultdict(float)
    counters: dict[str, Counters] = {}
    for replica in replicas:
        for name, spent in replica.processor.seconds().items():
            processor_s[name] += spent
        try:
            counted = read_counters(replica.client)
        except InferenceServerException as error:
            raise SetupError(f"{replica.url}: Triton does not tell its statistics: {error}") from error
        for name, counter in counted.items():
            counters[name] = counters.get(name, Counters()) + counter
    return Look(at, processor_s, counters, generator_s)


def _failed(records: Iterable[Answer]) -> dict[str, int]:
    return dict(sorted(Counter(answer.code for answer in failures(tuple(records))).items()))
