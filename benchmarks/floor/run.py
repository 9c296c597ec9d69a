"""The measurement itself: the best variants of the floor, and then floor and server in turn, block by block."""

from __future__ import annotations

import asyncio
import itertools
import random
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]

from benchmarks.answers import Answers, failures, read_answers
from benchmarks.floor.same import check_same
from benchmarks.floor.trials import Trial, latency_variants, throughput_variants, try_out
from benchmarks.floor.workers import Floor, Job
from benchmarks.load import LONGEST_S, Generator, Plan, drawn_pictures
from benchmarks.pictures import pictures_for
from benchmarks.ranges import check_range
from benchmarks.report import served_by
from benchmarks.served import ServedModels, empty_gallery, own_server
from benchmarks.swaps.resources import Scale
from trident.errors import SetupError
from trident.layout import DEFAULT_REPOSITORY

_REST_S = 0.2
"""Between two blocks, so that nothing of one is still running in the next."""
_TRIAL_S = 3.0
MOST_PICTURES = 32
"""More of a folder would make the shortest block long; so many are drawn."""


class Side(StrEnum):
    """What answers."""

    FLOOR = "in one process"
    SERVED = "served"


class Regime(StrEnum):
    """How much is asked at a time."""

    ONE = "one at a time"
    SATURATED = "saturated"


@dataclass(frozen=True, slots=True)
class Settings:
    """What to measure."""

    rounds: int = 8
    """Each has four blocks of each regime: floor, served, served, floor, or the other way round."""
    block_s: float = 8.0
    """About how long a block takes."""
    workers: int = 2
    """Pictures at a time of the saturated floor."""
    callers: int = 8
    """Of the saturated server. Each waits for its answer before it asks again."""
    seed: int = 0
    pictures: Path | None = None
    """Folder; None for the sample pictures."""
    repository: Path = DEFAULT_REPOSITORY

    def __post_init__(self) -> None:
        """Raise SetupError for a value that cannot be measured with."""
        for name, value, low, high in (
            ("rounds", self.rounds, 2, 100),
            ("block", self.block_s, 0.1, 60),
            ("workers", self.workers, 1, 64),
            ("callers", self.callers, 1, 256),
        ):
            check_range(f"floor: {name}", value, low, high)


@dataclass(frozen=True, slots=True)
class Turn:
    """One block of one side."""

    round: int
    regime: Regime
    side: Side
    seed: int
    """Of the order of its pictures. The two sides have the same two orders in a round."""
    latencies_ms: tuple[float, ...]
    """Of each request: from its sending to its answer, or around the call in the process."""
    elapsed_s: float
    cpu_s: float
    """Processor time of all that answered: the process or processes, or the server and its stubs."""
    client_cpu_s: float
    """Of the one that asked the server; the floor has none."""
    others_cores: float
    """Cores that neither side nor the benchmark kept busy meanwhile."""


@dataclass(frozen=True, slots=True)
class Run:
    """What was measured."""

    settings: Settings
    pictures: Mapping[str, int]
    """Their sizes in bytes, by name."""
    trials: Mapping[Regime, tuple[Trial, ...]]
    chosen: Mapping[Regime, Trial]
    requests: Mapping[Regime, int]
    """In each block."""
    server: Mapping[str, Any]
    """What answered, as ``served_by`` tells it."""
    turns: tuple[Turn, ...]
    seconds: float
    """All of it took."""


def schedule(rounds: int) -> Iterator[tuple[int, Regime, Side, int]]:
    """Round, regime, side and order of one block after the other.

    ABBA: what drifts steadily hits both sides alike. The next round is BAAB, and the sides of a pair have one order.

    >>> [(side.name, order) for _, regime, side, order in schedule(2) if regime is Regime.ONE]
    ... # doctest: +NORMALIZE_WHITESPACE
    [('FLOOR', 0), ('SERVED', 0), ('SERVED', 1), ('FLOOR', 1),
     ('SERVED', 2), ('FLOOR', 2), ('FLOOR', 3), ('SERVED', 3)]
    """
    for number in range(rounds):
        first, second = (Side.FLOOR, Side.SERVED) if number % 2 == 0 else (Side.SERVED, Side.FLOOR)
        for regime in Regime:
            for place, side in enumerate((first, second, second, first)):
                yield number, regime, side, 2 * number + place // 2


def measure(settings: Settings, tell: Callable[[str], None]) -> Run:
    """Measure.

    Args:
        settings: What.
        tell: Is told what happens, a line at a time.

    Raises:
        SetupError: The networks, the server or a picture are not as they must be, or the sides answer differently.
    """
    with tempfile.TemporaryDirectory(prefix="trident-floor-") as folder:
        return _measure(settings, Path(folder), tell)


def _measure(settings: Settings, folder: Path, tell: Callable[[str], None]) -> Run:
    begun = time.monotonic()
    files = pictures_for(settings.pictures, folder / "pictures")
    if len(files) > MOST_PICTURES:
        tell(f"{MOST_PICTURES} of the {len(files)} pictures are drawn.")
        files = random.Random(settings.seed).sample(files, MOST_PICTURES)  # noqa: S311 - no secret
    pictures = {file.name: file.read_bytes() for file in sorted(files)}
    job = Job(settings.repository, empty_gallery(folder), pictures)
    trials, chosen = {}, {}
    for regime, variants in (
        (Regime.ONE, latency_variants(settings.workers)),
        (Regime.SATURATED, throughput_variants(settings.workers)),
    ):
        trials[regime], chosen[regime] = try_out(variants, job, min(_TRIAL_S, settings.block_s), tell)
        tell(f"{regime.capitalize()}, the floor is: {chosen[regime].variant.name}.")
    least = max(len(pictures), settings.workers, settings.callers)
    requests = {regime: max(least, round(trial.block.rate * settings.block_s)) for regime, trial in chosen.items()}
    server = own_server(folder, settings.repository)
    with ExitStack() as stack:
        floors = {regime: stack.enter_context(Floor(trial.variant, job)) for regime, trial in chosen.items()}
        stack.enter_context(server)
        with ServedModels(server.grpc_url) as models:
            for trial in chosen.values():
                check_same(trial.block.answers, models, pictures)
        tell(f"Both sides give the same answers to all {len(pictures)} pictures.")
        about = served_by(server.grpc_url)
        client = _Client(server.grpc_url, pictures, folder / "answers.jsonl", stack.enter_context(asyncio.Runner()))
        sides = _Sides(settings, floors, requests, client, Scale(str(server.name)))
        sides.warm_up()
        turns = list(_turns(sides, tell))
    return Run(
        settings=settings,
        pictures={name: len(data) for name, data in pictures.items()},
        trials=trials,
        chosen=chosen,
        requests=requests,
        server=about,
        turns=tuple(turns),
        seconds=time.monotonic() - begun,
    )


def _turns(sides: _Sides, tell: Callable[[str], None]) -> Iterator[Turn]:
    rounds = sides.settings.rounds
    for number, blocks in itertools.groupby(schedule(rounds), key=lambda block: block[0]):
        seen: dict[Regime, dict[Side, list[float]]] = {regime: {side: [] for side in Side} for regime in Regime}
        for _, regime, side, order in blocks:
            turn = sides.turn(number, regime, side, order)
            yield turn
            seen[regime][side].append(len(turn.latencies_ms) / turn.elapsed_s)
        said = (
            f"{regime} " + " and ".join(f"{sum(rates) / len(rates):.2f}" for rates in by_side.values())
            for regime, by_side in seen.items()
        )
        tell(f"{number + 1:>3}/{rounds}  answers a second, {' and '.join(Side)}: {', '.join(said)}")


@dataclass(frozen=True, slots=True)
class _Client:
    """Asks the server, from this process, which does nothing else meanwhile."""

    url: str
    pictures: Mapping[str, bytes]
    file: Path
    """For the records, written anew each time."""
    runner: asyncio.Runner
    """One event loop for all: gRPC ties itself to the first."""

    def ask(self, callers: int, count: int, seed: int) -> Answers:
        """A closed loop of ``count`` requests. Raises SetupError if one fails."""
        plan = Plan(seconds=LONGEST_S, workers=callers, requests=count, seed=seed)

        async def send() -> None:
            with self.file.open("w", encoding="utf-8") as sink:
                await Generator(self.url, dict(self.pictures), plan, sink).run()

        self.runner.run(send())
        answers = read_answers(self.file)
        if failed := failures(answers.records):
            raise SetupError(f"floor: a served request failed with {failed[0].code}: {failed[0].message}")
        return answers


@dataclass(frozen=True, slots=True)
class _Sides:
    """Both sides, ready to be asked in turn."""

    settings: Settings
    floors: Mapping[Regime, Floor]
    requests: Mapping[Regime, int]
    client: _Client
    scale: Scale

    def warm_up(self) -> None:
        """A short block of each side and regime that does not count."""
        for regime, floor in self.floors.items():
            order = self._order(self.settings.seed, len(self.client.pictures))
            floor.block(order)
            self.client.ask(self._callers(regime), len(order), self.settings.seed)

    def turn(self, number: int, regime: Regime, side: Side, order: int) -> Turn:
        """One block of one side, while the other is idle.

        Raises:
            SetupError: A request failed.
        """
        time.sleep(_REST_S)
        self.scale(0)
        seed, count = self.settings.seed + order, self.requests[regime]
        if side is Side.FLOOR:
            block = self.floors[regime].block(self._order(seed, count))
            latencies, elapsed_s, cpu_s, client_s = block.latencies_ms, block.elapsed_s, block.cpu_s, 0.0
        else:
            before_s, client_before_s = cpu_seconds(self.scale.server), time.process_time()
            answers = self.client.ask(self._callers(regime), count, seed)
            client_s = time.process_time() - client_before_s
            time.sleep(_REST_S)  # what the server tidies up after an answer is its work too
            cpu_s = cpu_seconds(self.scale.server) - before_s
            records = sorted(answers.records, key=lambda record: record.number)
            latencies = tuple(1000 * (record.done - record.sent) for record in records)
            elapsed_s = max(record.done for record in records) - min(record.sent for record in records)
        others = self.scale(0).others_cores
        return Turn(number, regime, side, seed, latencies, elapsed_s, cpu_s, client_s, others)

    def _order(self, seed: int, count: int) -> list[str]:
        """The pictures that the client sends with that seed, for the floor."""
        return list(itertools.islice(drawn_pictures(self.client.pictures, seed), count))

    def _callers(self, regime: Regime) -> int:
        return 1 if regime is Regime.ONE else self.settings.callers


def cpu_seconds(server: psutil.Process) -> float:
    """Processor time, user and system, that a server and all its child processes have taken so far."""
    # The times of children that have ended are their parent's.
    return float(sum(sum(process.cpu_times()[:4]) for process in (server, *server.children(recursive=True))))
