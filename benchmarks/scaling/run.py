"""The measurement: one setup after the other, in rounds, each with servers of its own."""

from __future__ import annotations

import math
import os
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]

from benchmarks import report
from benchmarks.pictures import pictures_for
from benchmarks.ranges import check_range
from benchmarks.scaling import variants
from benchmarks.scaling.replicas import Replica, serving
from benchmarks.scaling.setups import AS_SERVED, Setup, cores_first, default_setups, order_of
from benchmarks.scaling.traffic import Sizes, sizes_of
from benchmarks.scaling.variants import Places, Variant
from benchmarks.scaling.windows import Window, window
from trident.errors import SetupError, TridentError
from trident.layout import DEFAULT_REPOSITORY

MB_OF_A_SERVER = 1500.0
"""No setup of one's own machine has more servers than there is memory for at this size; see the report for what one
really takes."""
_CALLERS_OF_A_CORE, _LEAST_CALLERS, _MOST_CALLERS = 4, 8, 24
"""So that no core runs out of work between two answers. More than 24 callers of a server may be refused (``burst`` in
``model_repository/preprocess/config.pbtxt``)."""
_START_S, _BEGIN_S, _STOP_S = 20.0, 2.0, 4.0
"""About what these take, for telling how long all of it will."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What to measure."""

    rounds: int = 2
    """Each has every setup once; every second one goes backwards."""
    seconds: float = 15.0
    """How long each setup's saturated rate is measured in a round."""
    one_s: float = 10.0
    """How long one caller alone asks one server."""
    settle_s: float = 2.0
    """After the first answers, before what counts begins."""
    setups: tuple[Setup, ...] | None = None
    """None for those that ``default_setups`` gives for this machine."""
    instances: tuple[int, ...] = (2,)
    """Also, on all of the cores, one server with so many processes of each network that takes much time."""
    threads: tuple[int, ...] = (2,)
    """Also one with so many threads in each network."""
    overlays: tuple[Path, ...] = ()
    """Also one with each of these overlays."""
    seed: int = 0
    pictures: Path | None = None
    """Folder with the pictures to send; None for the sample pictures."""
    repository: Path = DEFAULT_REPOSITORY

    def __post_init__(self) -> None:
        for name, low, high in (
            ("rounds", 1, 100),
            ("seconds", 0.5, 600),
            ("one_s", 0.5, 600),
            ("settle_s", 0, 600),
        ):
            check_range(f"scaling: {name}", getattr(self, name), low, high)
        for name in ("instances", "threads"):
            for value in getattr(self, name):
                check_range(f"scaling: {name}", value, 1, 64)
        if self.setups is not None and not self.setups:
            raise SetupError("scaling: expected at least one setup, got none")

    def variants(self) -> list[Variant]:
        """Ways to run the models that are measured beside the repository's own."""
        return [
            *map(variants.more_instances, self.instances),
            *map(variants.more_threads, self.threads),
            *map(variants.from_folder, self.overlays),
        ]

    def chosen(self, cores: int, most_servers: int) -> list[Setup]:
        """All setups of this run.

        Args:
            cores: How many this process may use.
            most_servers: How many servers its memory holds.

        Raises:
            SetupError: One needs more cores than there are.
        """
        plain = list(self.setups) if self.setups is not None else default_setups(cores, most_servers)
        if over := [setup for setup in plain if setup.cores > cores]:
            raise SetupError(f"setup: expected at most the {cores} cores that there are, got {over[0].name}")
        most = max(setup.cores for setup in plain)
        # On one core there is nothing that more processes or threads could use.
        more = self.variants() if most > 1 else []
        names = [variant.name for variant in more]
        if len(set(names)) < len(names):
            raise SetupError(f"scaling: expected every variant once, got {', '.join(names)}")
        return [*dict.fromkeys(plain), *(Setup(most, variant=name) for name in names)]


def callers_of(setup: Setup) -> int:
    """How many callers each server has while it is saturated.

    >>> callers_of(Setup(1)), callers_of(Setup(2, 2)), callers_of(Setup(64)), callers_of(Setup(64, 32))
    (8, 4, 24, 8)
    """
    cores = setup.cores / setup.servers
    least = max(_CALLERS_OF_A_CORE, math.ceil(_LEAST_CALLERS / setup.servers))
    return min(_MOST_CALLERS, max(least, math.ceil(_CALLERS_OF_A_CORE * cores)))


@dataclass(frozen=True, slots=True)
class Visit:
    """One setup in one round."""

    setup: Setup
    round: int
    start_s: float
    """From the start of its servers until all of them answered."""
    one: Window
    """One caller asks one of the servers."""
    saturated: Window
    """Callers are always waiting at each of them."""
    memory_mb: Mapping[str, float]
    """Proportional set size by model, and of Triton itself, of all servers, right after they were saturated."""
    shared_memory_mb: float
    """What the first server holds in ``/dev/shm``."""
    held: bool
    """Whether every process kept to its cores."""


@dataclass(slots=True)
class Run:
    """What was measured."""

    settings: Settings
    setups: Sequence[Setup]
    cpus: Sequence[int]
    """Processors of the system in the order in which they are given out."""
    cores_of_their_own: int
    """So many of them, at the beginning, are the only thread of their core that is given out."""
    pictures: Mapping[str, int]
    """Their sizes in bytes, by name."""
    places: Mapping[str, Mapping[str, Places]]
    """Of every component, by variant."""
    visits: list[Visit] = field(default_factory=list)
    refused: dict[Setup, str] = field(default_factory=dict)
    """Why a setup could not be measured."""
    left_out: int = 0
    """Setups that the machine has no memory for."""
    server: Mapping[str, Any] = field(default_factory=dict)
    """What answered first, as ``report.served_by`` tells it."""
    sizes: Sizes | None = None
    seconds: float = 0.0
    """All of it took."""

    def visits_of(self, setup: Setup) -> list[Visit]:
        """Of one setup, in their order."""
        return [visit for visit in self.visits if visit.setup == setup]


def measure(settings: Settings, tell: Callable[[str], None]) -> Run:
    """Measure.

    Args:
        settings: What.
        tell: Is told what happens, a line at a time.

    Raises:
        TridentError: A picture, a variant or a setup is not as it must be, or no setup at all can be measured. One of
            several that cannot be is left out, and the run says why.
    """
    begun = time.monotonic()
    cpus, own = cores_first(os.sched_getaffinity(0))
    most = max(1, int(psutil.virtual_memory().available / 1e6 / MB_OF_A_SERVER))
    setups = settings.chosen(len(cpus), most)
    left_out = len(settings.chosen(len(cpus), len(cpus) + 2)) - len(setups)
    with tempfile.TemporaryDirectory(prefix="trident-scaling-") as text:
        folder = Path(text)
        pictures = pictures_for(settings.pictures, folder / "pictures")
        repositories = {AS_SERVED: settings.repository}
        used = {setup.variant for setup in setups}
        for number, variant in enumerate(one for one in settings.variants() if one.name in used):
            repositories[variant.name] = variants.write_variant(
                variant, settings.repository, folder / f"variant-{number}"
            )
        places = {name: variants.read_places(repository) for name, repository in repositories.items()}
        run = Run(settings, setups, cpus, own, {one.name: one.stat().st_size for one in pictures}, places)
        run.left_out = left_out
        tell(f"{len(setups)} setups, {settings.rounds} times each, in about {_whole_s(settings, setups) / 60:.0f} min.")
        (folder / "answers").mkdir()
        bench = _Bench(settings, repositories, pictures, folder, run)
        for number in range(settings.rounds):
            for setup in order_of(setups, number):
                if setup in run.refused:
                    continue
                try:
                    visit = bench.visit(setup, number)
                except TridentError as error:
                    # What was measured in minutes is not thrown away for one that does not work here.
                    run.refused[setup] = str(error)
                    run.visits = [one for one in run.visits if one.setup != setup]
                    tell(f"{setup.name}: left out: {error}")
                    continue
                run.visits.append(visit)
                tell(
                    f"Round {number + 1}, {setup.name}: {visit.saturated.rate:.2f} a second, "
                    f"{visit.saturated.processor_ms:.0f} ms of processor time each; one caller: {_p50(visit.one)} ms"
                )
    if not run.visits:
        raise SetupError(f"scaling: no setup could be measured; {next(iter(run.refused.values()))}")
    run.seconds = time.monotonic() - begun
    return run


def _whole_s(settings: Settings, setups: Sequence[Setup]) -> float:
    once = _START_S + 2 * (_BEGIN_S + settings.settle_s) + settings.one_s + settings.seconds + _STOP_S
    return len(setups) * settings.rounds * once


def _p50(one: Window) -> str:
    return "–" if one.latency is None else f"{one.latency.p50:.0f}"


@dataclass(frozen=True, slots=True)
class _Bench:
    """Measures one setup at a time."""

    settings: Settings
    repositories: Mapping[str, Path]
    """By variant."""
    pictures: Sequence[Path]
    folder: Path
    run: Run

    def visit(self, setup: Setup, number: int) -> Visit:
        """Start its servers, measure, and stop them.

        Raises:
            TridentError: A server does not start, or not one request was answered.
        """
        settings, repository = self.settings, self.repositories[setup.variant]
        with serving(repository, setup.parts(self.run.cpus), self.folder) as (replicas, start_s):
            if self.run.sizes is None:
                self.run.sizes = sizes_of(replicas[0].url, self.pictures)
                self.run.server = report.served_by(replicas[0].url)

            def measured(asked: Sequence[Replica], callers: int, seconds: float) -> Window:
                # All setups of a round get the same pictures in the same order, the next round gets others.
                seed, settle_s = settings.seed + 1000 * number, settings.settle_s
                files = self.folder / "answers"
                return window(
                    asked, self.pictures, files, callers=callers, seconds=seconds, settle_s=settle_s, seed=seed
                )

            one = measured(replicas[:1], 1, settings.one_s)
            saturated = measured(replicas, callers_of(setup), settings.seconds)
            memory_mb: dict[str, float] = defaultdict(float)
            for replica in replicas:
                for name, size in replica.memory_mb().items():
                    memory_mb[name] += size
            shared_mb = replicas[0].scale(0).shm_mb
            held = all(replica.held() for replica in replicas)
        return Visit(setup, number, start_s, one, saturated, dict(memory_mb), shared_mb, held)
