"""The measurement itself: a server of its own, a steady load from another process, and swap after swap."""

from __future__ import annotations

import itertools
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from benchmarks.answers import Answers
from benchmarks.load import LONGEST_S, Load, Plan, find_saturation, send_all
from benchmarks.pictures import first_pictures, write_pictures
from benchmarks.served import empty_gallery, own_server
from benchmarks.swaps.repository import ORDER, copy_repository, digests_on_disk, origins, second_versions
from benchmarks.swaps.resources import Sample, Scale
from benchmarks.swaps.rollouts import Swap, flips_of, options_for, swap
from benchmarks.swaps.timeline import Digests, Timeline, Wrong, judge_all
from trident.access.restrictions import without_key
from trident.background import step_back
from trident.errors import SetupError, TridentError
from trident.layout import DEFAULT_REPOSITORY
from trident.rollout.disk import Repository
from trident.rollout.journal import Journal
from trident.rollout.options import Options
from trident.rollout.release import Release, check_component
from trident.rollout.serving import Serving, TritonServing
from trident.supervisor.leftovers import shared_memory_files, stub_processes

WORKERS = 8
"""Callers of the closed loop that finds the saturated rate."""
_WARM_S = 3.0
_LEAD_SHARE, _LEAD_S = 0.05, 60.0
_LOOK_S = 0.5
_ROLLED_WITH = 2
"""The shadow rests between its calls, so that sixteen pictures would make hours of a run."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What to measure."""

    requests: int = 10_000
    """At least so many."""
    swaps: int = 108
    """Just so many, the components in turn."""
    components: tuple[str, ...] = ORDER
    rate: float | None = None
    """Requests a second; None for half of the saturated rate, which is measured first."""
    saturation_s: float = 20.0
    """How long to measure it."""
    rest_s: float = 8.0
    """Least time from the end of one swap to the begin of the next."""
    golden: Path | None = None
    """Folder with pictures for the shadow; None for two of the load's, which have a face and a plate each."""
    seed: int = 0
    repository: Path = DEFAULT_REPOSITORY

    def __post_init__(self) -> None:
        if self.requests < 1 or self.swaps < 1 or self.rest_s < 0:
            got = f"{self.requests}, {self.swaps} and {self.rest_s:g}"
            raise SetupError(f"requests, swaps and rest: expected at least 1, 1 and 0, got {got}")
        if not self.components:
            raise SetupError("components: expected at least one, got none")
        for component in self.components:
            check_component(component)


@dataclass(frozen=True, slots=True)
class Run:
    """What was measured."""

    settings: Settings
    server: str
    """Its command line."""
    first: Release
    pairs: Mapping[str, tuple[int, int]]
    origins: Mapping[str, str]
    saturated: float | None
    """Requests a second; None where the rate was given."""
    rate: float
    answers: Answers
    swaps: tuple[Swap, ...]
    samples: tuple[Sample, ...]
    wrong: tuple[Wrong, ...]
    failed_swap: str
    """Why the swapping ended early; empty if it did not."""
    changed: tuple[str, ...]
    """Versions whose files changed meanwhile, so that nothing can be said of their digests."""
    orphans: tuple[str, ...]
    """What the server left behind."""
    begin: float
    end: float


def schedule(components: Sequence[str], pairs: Mapping[str, tuple[int, int]]) -> Iterator[tuple[str, int]]:
    """Component and version of one swap after the other, for ever: a round to the second versions, a round back."""
    ordered = [name for name in ORDER if name in components]
    for round_number in itertools.count():
        there = round_number % 2 == 0
        for name in ordered if there else reversed(ordered):
            yield name, pairs[name][1 if there else 0]


def measure(settings: Settings, tell: Callable[[str], None]) -> Run:
    """Measure.

    Args:
        settings: What.
        tell: Is told what happens, a line at a time.

    Raises:
        SetupError: The server or the load cannot be started.
    """
    with tempfile.TemporaryDirectory(prefix="trident-swaps-") as folder:
        return _measure(settings, Path(folder), tell)


def _measure(settings: Settings, folder: Path, tell: Callable[[str], None]) -> Run:
    repository = copy_repository(settings.repository, folder / "models")
    pairs = second_versions(repository, settings.components)
    first, about = repository.release(), origins(repository, pairs)
    digests = digests_on_disk(repository)
    photos = folder / "pictures"
    pictures = write_pictures(photos, other_sizes=False)  # the shadow asks each of them in every swap
    golden = settings.golden or first_pictures(pictures, _ROLLED_WITH, folder / "golden")
    begun = time.monotonic()
    server = own_server(folder, repository.path)
    with server, TritonServing(server.grpc_url) as serving:
        name = str(server.name)
        tell(f"Triton answers after {time.monotonic() - begun:.1f} s.")
        saturated = _saturated(server.grpc_url, pictures, settings, folder, tell)
        rate = settings.rate if settings.rate is not None else (saturated or 0.0) / 2
        seconds = settings.requests / rate
        if seconds > LONGEST_S / 2:
            raise SetupError(f"{settings.requests} requests at {rate:g} a second take too long: give a higher rate")
        tell(f"An open loop of {rate:.2f} requests a second; {settings.requests} take {seconds / 60:.1f} minutes.")
        # Half as long again, for swaps that take their time; it is stopped when both numbers are reached.
        plan = Plan(seconds=min(LONGEST_S, 1.5 * seconds + 60 * settings.swaps), rate=rate, seed=settings.seed)
        options, begin = options_for(golden, empty_gallery(folder)), time.time()
        with Load(server.grpc_url, pictures, plan, folder / "answers.jsonl") as load:
            step_back()  # as `trident rollout` does; the server and the load keep their priority
            swapping = _Swapping(repository, serving, options, load, Scale(name), tell)
            command = " ".join(without_key(swapping.scale.server.cmdline()))
            lead_s = min(_LEAD_S, _LEAD_SHARE * seconds)
            swapping.go(settings, pairs, lead_s, seconds - 2 * lead_s)
            answers = load.stop()
        end = time.time()
        if not server.running:
            swapping.failure += f" (Triton has ended: {server.failure()})"
    orphans = [f"process {pid}" for pid in stub_processes(name)] + [str(file) for file in shared_memory_files(name)]
    wrong, changed = _judged(repository, first, digests, answers, end)
    return Run(
        settings=settings,
        server=command,
        first=first,
        pairs=pairs,
        origins=about,
        saturated=saturated,
        rate=rate,
        answers=answers,
        swaps=tuple(swapping.swaps),
        samples=tuple(swapping.samples),
        wrong=tuple(wrong),
        failed_swap=swapping.failure,
        changed=changed,
        orphans=tuple(orphans),
        begin=begin,
        end=end,
    )


def _saturated(
    url: str, pictures: Sequence[Path], settings: Settings, folder: Path, tell: Callable[[str], None]
) -> float | None:
    """Requests a second that the server answers when there is always one waiting. Warms it up in any case."""
    send = partial(send_all, url, pictures, folder / "closed.jsonl")
    if settings.rate is not None:
        send(Plan(seconds=2 * _WARM_S, workers=WORKERS, seed=settings.seed))
        return None
    return find_saturation(
        send, tell, seconds=settings.saturation_s, callers=WORKERS, seed=settings.seed, warm_s=_WARM_S
    )


@dataclass(slots=True)
class _Swapping:
    """Swaps under load, and what came of it so far."""

    repository: Repository
    serving: Serving
    options: Options
    load: Load
    scale: Scale
    tell: Callable[[str], None]
    swaps: list[Swap] = field(default_factory=list)
    samples: list[Sample] = field(default_factory=list)
    failure: str = ""

    def go(self, settings: Settings, pairs: Mapping[str, tuple[int, int]], lead_s: float, seconds: float) -> None:
        """Swap until both numbers are reached, or something fails, which is noted: what was measured is worth a report.

        Args:
            settings: What to measure.
            pairs: The versions of each component.
            lead_s: How long nothing is swapped at first.
            seconds: What all swaps are spread over.
        """
        try:
            _sleep(self.load, lead_s)
            self._swap_all(settings, pairs, seconds)
            while self.load.count() < settings.requests:
                _sleep(self.load, _LOOK_S)
        except KeyboardInterrupt:
            self.failure = "stopped by hand"
        except Exception as error:  # noqa: BLE001 - whatever it was, it ends the swapping and goes into the report
            self.failure = str(error) if isinstance(error, TridentError) else repr(error)
        if self.failure:
            self.tell(f"Ended early: {self.failure}")

    def _swap_all(self, settings: Settings, pairs: Mapping[str, tuple[int, int]], seconds: float) -> None:
        begin = time.monotonic()
        steps = itertools.islice(schedule(settings.components, pairs), settings.swaps)
        for number, (component, version) in enumerate(steps):
            _sleep(self.load, begin + number * seconds / settings.swaps - time.monotonic())
            done = swap(self.repository, self.serving, component, version, self.options)
            self.swaps.append(done)
            self.tell(
                f"{number + 1:>4}/{settings.swaps}  {component} {done.before} → {done.after} in {done.seconds:.1f} s, "
                f"flip {done.flip_ms:.0f} ms; {self.load.count()} requests so far"
            )
            _sleep(self.load, settings.rest_s)
            self.samples.append(self.scale(number + 1))


def _sleep(load: Load, seconds: float) -> None:
    """Wait, and raise SetupError if the load ends meanwhile."""
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        if not load.running:
            load.count()  # raises, where the load has failed
            raise SetupError("the load came to its end before the swaps: they take too long for this rate")
        time.sleep(min(left, _LOOK_S))


def _judged(
    repository: Repository, first: Release, digests: Digests, answers: Answers, until: float
) -> tuple[list[Wrong], tuple[str, ...]]:
    """What is wrong among the answers, and the versions whose files are not what they were."""
    now = digests_on_disk(repository)
    changed = tuple(f"{name} {version}" for (name, version), digest in digests.items() if now[name, version] != digest)
    timeline = Timeline(first, flips_of(Journal(repository.path).records(), until))
    # Versions of the recognizer that the rollouts have made are only in the later list.
    return judge_all(answers.records, timeline, {**now, **digests}), changed
