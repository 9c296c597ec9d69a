"""How each kind of fault is done to a server."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from benchmarks.answers import Answer, read_answers
from benchmarks.chaos.kinds import DELAYED, STORM_KILLS, STORM_MOST, Kind, Planned
from benchmarks.chaos.readiness import Span, noticed_at
from benchmarks.chaos.rollouts import STEPS, Rollouts
from benchmarks.chaos.serving import Served, has_ended
from benchmarks.chaos.shared_memory import SharedMemory
from benchmarks.chaos.starving import Starving
from benchmarks.chaos.watch import Watch
from benchmarks.load import Load, Plan
from trident.errors import SetupError

LEAVERS = 8
"""Callers who leave, each with a request under way."""
FULL_S = 8.0
"""How long /dev/shm is full."""
HUNGRY = "preprocess"
"""Asks for memory with every picture: starved where the victim lives without any."""
LEFT = "LEFT"
"""Code of a request whose caller left before it was answered."""
_STARVED_WITHIN_S = 10.0
"""A process that asks for no memory for so long is given it back."""
_LEAVERS_START_S, _LEAVERS_ASK_S = 30.0, 2.0
_LATER_S = 0.5
"""A step of a rollout is met somewhere in its first moments."""
_NOTICED_WITHIN_S = 3.0
_LOOK_S, _DEATH_S, _MORE_S = 0.02, 0.005, 0.2


@dataclass(frozen=True, slots=True)
class Strike:
    """What was done. Times are seconds of the Unix clock."""

    moments: tuple[float, ...]
    """Of harm; none if it did not come about."""
    over: float | None = None
    """When the cause was taken away again; None where it is up to the server to get rid of it."""
    note: str = ""
    failed: str = ""
    """What did not end as it must."""


@dataclass(slots=True)
class Scene:
    """What faults are done to, and with."""

    served: Served
    watch: Watch
    shared: SharedMemory
    starving: Starving | None
    """None where there is none."""
    rollouts: Rollouts | None
    hang_files: Mapping[str, Path]
    """By component: the processes that the file names hang."""
    pictures: Sequence[Path]
    folder: Path
    within_s: float
    """How long anything may take that the server has to do about a fault."""
    chance: random.Random
    moving: list[Span] = field(default_factory=list)
    """When rollouts were under way."""
    left: list[Answer] = field(default_factory=list)
    """The requests of those who left, the last of each unanswered."""


def strike(planned: Planned, scene: Scene) -> Strike:
    """Do it, and whatever belongs to it until the server is left to itself.

    Raises:
        SetupError: It cannot be done: there is no such process, or the server tells nothing of itself.
    """
    return _HOW[planned.kind](scene, planned)


def until(condition: Callable[[], bool], seconds: float, *, look_s: float = _LOOK_S) -> bool:
    """Whether a condition comes true in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(look_s)
    return True


def _process_of(scene: Scene, model: str, but: Sequence[int] = ()) -> int:
    """A process of a model, once there is one. Raises SetupError if there is none in time."""
    found: list[int] = []

    def there() -> bool:
        found[:] = [pid for pid in scene.served.stubs(model) if pid not in but]
        return bool(found)

    if not until(there, scene.within_s):
        raise SetupError(f"expected a process of {model}, got none within {scene.within_s:.0f} s")
    return found[-1]  # the newest, where an old one is on its way out


def _hit(scene: Scene, model: str, number: signal.Signals) -> float:
    while True:
        pid = _process_of(scene, model)
        with contextlib.suppress(ProcessLookupError):  # what was told of it is half a second old
            return _sent(pid, number)


def _hit_triton(scene: Scene, number: signal.Signals) -> float:
    pid = scene.served.triton()
    if pid is None:
        raise SetupError("expected Triton's process, got none")
    return _sent(pid, number)


def _sent(pid: int, number: signal.Signals) -> float:
    moment = time.time()
    os.kill(pid, number)
    return moment


def _hang(scene: Scene, model: str) -> Strike:
    file, pids = scene.hang_files[model], scene.served.stubs(model)
    moment = time.time()
    # Renamed into place: no process reads half of it.
    new = file.with_suffix(".new")
    new.write_text(" ".join(map(str, pids)), encoding="ascii")
    new.rename(file)
    try:
        killed = until(lambda: all(map(has_ended, pids)), scene.within_s)
    finally:
        file.unlink()
    if killed:
        return Strike((moment,), note=f"killed after {time.time() - moment:.1f} s")
    return Strike((moment,), time.time(), failed=f"it was not found within {scene.within_s:.0f} s")


def _starve(scene: Scene, model: str) -> Strike:
    if scene.starving is None:
        raise SetupError("there is no control group to starve a process in")
    tried = []
    for victim in dict.fromkeys((model, HUNGRY)):
        pid, begun = _process_of(scene, victim), time.time()
        try:
            scene.starving.take(pid)
        except OSError as error:
            raise SetupError(f"process {pid} of {victim} cannot be starved: {error.strerror}") from error
        if until(partial(has_ended, pid), _STARVED_WITHIN_S, look_s=_DEATH_S):
            moment = time.time()
            tried.append(f"{victim} was killed {moment - begun:.1f} s after it got no more memory")
            return Strike((moment,), note="; ".join(tried))
        scene.starving.give_back(pid)
        tried.append(f"{victim} asked for no memory within {_STARVED_WITHIN_S:.0f} s")
    return Strike((), time.time(), note="; ".join(tried))


def _fill(scene: Scene) -> Strike:
    with scene.shared.filled() as filling:
        moment = time.time()
        while time.time() < moment + FULL_S:
            time.sleep(_MORE_S)
            filling.more()
        note = f"{filling.bytes / 1e6:.0f} MB taken for {FULL_S:.0f} s"
    return Strike((moment,), time.time(), note)


def _leave(scene: Scene, number: int) -> Strike:
    file = scene.folder / f"leavers-{number}.jsonl"
    plan = Plan(seconds=_LEAVERS_START_S + _LEAVERS_ASK_S, workers=LEAVERS, seed=number)
    with Load(scene.served.url, scene.pictures, plan, file) as load:
        if not until(lambda: load.count() >= LEAVERS, _LEAVERS_START_S):
            raise SetupError(f"the callers who were to leave got no answers within {_LEAVERS_START_S:.0f} s")
        time.sleep(_LEAVERS_ASK_S)
        moment = _sent(load.pid, signal.SIGKILL)
    answered = read_answers(file).records
    # Each of them asks again once answered, so that each has left one request behind: not one of them is on record.
    left = [Answer(len(answered) + one, "", moment, moment, moment, LEFT) for one in range(LEAVERS)]
    scene.left += [*answered, *left]
    return Strike((moment,), moment, f"{len(answered)} requests before it, {LEAVERS} left behind")


def _roll_out(scene: Scene, model: str) -> Strike:
    rollouts = scene.rollouts
    if rollouts is None:
        raise SetupError("there is nothing to roll out")
    begun = time.time()
    try:
        return _met(scene, rollouts, model)
    finally:
        scene.moving.append((begun, time.time()))


def _met(scene: Scene, rollouts: Rollouts, model: str) -> Strike:
    moments: tuple[float, ...] = ()
    process = rollouts.begin(scene.served)
    try:
        met = rollouts.wait_for(scene.chance.choice(STEPS), process)
        if met:
            time.sleep(scene.chance.uniform(0.0, _LATER_S))
            moments = (_hit(scene, model, signal.SIGKILL),)
        code, said = rollouts.end(process)
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
    until(lambda: scene.watch.ready_for(1.0), scene.within_s)
    failed = rollouts.put_back(scene.served)
    stayed = "" if failed else rollouts.retire(scene.served)
    where = f"met at {met}" if met else "it was over before it was met"
    return Strike(moments, None, "; ".join(filter(None, (f"{where}, exit code {code}: {said}", stayed))), failed)


def _storm(scene: Scene, model: str) -> Strike:
    moments: list[float] = []
    killed: list[int] = []
    while len(killed) < STORM_KILLS or (len(killed) < STORM_MOST and not _slowed_down(scene, moments)):
        pid = _process_of(scene, model, killed)
        with contextlib.suppress(ProcessLookupError):
            moments.append(_sent(pid, signal.SIGKILL))
        killed.append(pid)
        until(partial(_noticed, scene, time.time()), _NOTICED_WITHIN_S)
        if not until(lambda: scene.watch.ready_for(0.0), scene.within_s):
            return Strike(tuple(moments), failed=f"it was not back within {scene.within_s:.0f} s after {len(moments)}")
    lasted = moments[-1] - moments[0] if moments else 0.0
    return Strike(tuple(moments), note=f"killed {len(moments)} times in {lasted:.0f} s")


def _slowed_down(scene: Scene, moments: Sequence[float]) -> bool:
    return any(event.kind in DELAYED and event.at >= moments[0] for event in scene.watch.events)


def _noticed(scene: Scene, since: float) -> bool:
    return noticed_at(scene.watch.readiness.changes, since, time.time()) is not None


_HOW: Mapping[Kind, Callable[[Scene, Planned], Strike]] = {
    Kind.KILL: lambda scene, planned: Strike((_hit(scene, planned.victim, signal.SIGKILL),)),
    Kind.HALT: lambda scene, planned: Strike((_hit(scene, planned.victim, signal.SIGSTOP),)),
    Kind.HANG: lambda scene, planned: _hang(scene, planned.victim),
    Kind.OUT_OF_MEMORY: lambda scene, planned: _starve(scene, planned.victim),
    Kind.SHARED_MEMORY: lambda scene, _: _fill(scene),
    Kind.KILL_SERVER: lambda scene, _: Strike((_hit_triton(scene, signal.SIGKILL),)),
    Kind.HALT_SERVER: lambda scene, _: Strike((_hit_triton(scene, signal.SIGSTOP),)),
    Kind.VANISH: lambda scene, planned: _leave(scene, planned.number),
    Kind.ROLLOUT: lambda scene, planned: _roll_out(scene, planned.victim),
    Kind.STORM: lambda scene, planned: _storm(scene, planned.victim),
}
