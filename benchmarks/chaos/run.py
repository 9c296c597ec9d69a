"""The run itself: a server of its own, three streams of requests, and faults until the time is over."""

from __future__ import annotations

import random
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path
from typing import TypeVar

import psutil  # type: ignore[import-untyped]

from benchmarks.chaos.accounting import Expected
from benchmarks.chaos.callers import Callers
from benchmarks.chaos.course import AFTER_S, Course
from benchmarks.chaos.faults import Scene, until
from benchmarks.chaos.inputs import add_hooks, write_bad_pictures
from benchmarks.chaos.kinds import Kind, draw
from benchmarks.chaos.record import BY_HAND, Run, Settings
from benchmarks.chaos.rollouts import COMPONENT, Rollouts
from benchmarks.chaos.serving import Served, cleared
from benchmarks.chaos.shared_memory import SharedMemory, in_private, why_not_private
from benchmarks.chaos.starving import Starving
from benchmarks.chaos.watch import Watch
from benchmarks.load import LONGEST_S, Load, Plan, find_saturation, send_all
from benchmarks.peers.processes import Family
from benchmarks.peers.same import ask_all
from benchmarks.pictures import first_pictures, pictures_for
from benchmarks.swaps.repository import copy_repository
from trident.errors import SetupError, TridentError
from trident.provenance import Provenance

SHARE, CLIENT_SHARE = 0.4, 0.25
"""What is offered where no rate is given: of the saturated rate, and by the client, of that."""
GOLDEN = 4
"""So many of the pictures are asked after each fault."""
_WORKERS, _WARM_S = 8, 3.0
_GONE_WITHIN_S = 3.0
_ROLLED_WITH = 2
"""So many pictures a rollout's shadow asks."""

_Done = TypeVar("_Done")


def measure(settings: Settings, tell: Callable[[str], None]) -> Run:
    """Do it.

    Args:
        settings: What.
        tell: Is told what happens, a line at a time.

    Raises:
        SetupError: The server or a load cannot be started, or nothing of what is asked for can be done here.
    """
    with tempfile.TemporaryDirectory(prefix="trident-chaos-", ignore_cleanup_errors=True) as text:
        folder = Path(text)
        with cleared(folder), Family() as family:
            return _measure(settings, folder, family, tell)


def _measure(settings: Settings, folder: Path, family: Family, tell: Callable[[str], None]) -> Run:
    pictures = pictures_for(settings.pictures, folder / "pictures")
    bad = write_bad_pictures(folder / "bad", pictures)
    repository = copy_repository(settings.repository, folder / "models")
    hang_files = add_hooks(repository, folder)
    golden = pictures[:GOLDEN]
    with ExitStack() as stack:
        left_out: dict[Kind, str] = {}
        private = _private_memory(settings.kinds, left_out)
        starving = _starving(settings.kinds, left_out, stack)
        kinds = [kind for kind in settings.kinds if kind not in left_out]
        for kind, reason in left_out.items():
            tell(f"Left out: {kind}: {reason}")
        if not kinds:
            raise SetupError("none of the kinds of faults that are asked for can be done here")
        rollouts = None
        if Kind.ROLLOUT in kinds:
            rollouts = Rollouts(repository, first_pictures(pictures, _ROLLED_WITH, folder / "golden"), folder)
        served = stack.enter_context(Served(repository.path, folder, in_private() if private else ()))
        shared = stack.enter_context(SharedMemory(served.pid if private else None))
        watch = stack.enter_context(Watch(served, shared))
        answers = ask_all(served.url, None, golden)
        first = {
            name: Provenance(int(made_by["version"]), str(made_by["digest"]))
            for answer in answers.values()
            for name, made_by in answer["models"].items()
        }
        scene = Scene(
            served=served,
            watch=watch,
            shared=shared,
            starving=starving,
            rollouts=rollouts,
            hang_files=hang_files,
            pictures=pictures,
            folder=folder,
            within_s=settings.within_s,
            chance=random.Random(settings.seed),  # noqa: S311 - no secret
        )
        other = {} if rollouts is None else {COMPONENT: rollouts.other_provenance()}
        saturated = None
        if settings.rate is None:
            saturated = find_saturation(
                partial(send_all, served.url, pictures, folder / "closed.jsonl"),
                tell,
                seconds=settings.saturation_s,
                callers=_WORKERS,
                seed=settings.seed,
                warm_s=_WARM_S,
            )
        rate = settings.rate if settings.rate is not None else SHARE * (saturated or 0.0)
        run = Run(
            settings=settings,
            command=f"trident serve {' '.join(served.options)}",
            private=private,
            left_out=left_out,
            pictures=tuple(picture.name for picture in pictures),
            bad_pictures=tuple(picture.name for picture in bad),
            expected=Expected(first, other, scene.moving),
            saturated=saturated,
            rate=rate,
            client_rate=CLIENT_SHARE * rate if settings.client_rate is None else settings.client_rate,
            plan=Plan(seconds=LONGEST_S, rate=rate, seed=settings.seed, timeout_s=settings.deadline_s),
            bad_plan=Plan(
                seconds=LONGEST_S, rate=settings.bad_rate, seed=settings.seed + 1, timeout_s=settings.deadline_s
            ),
        )
        tell(
            f"{rate:.2f} requests a second, {settings.bad_rate:g} bad ones, {run.client_rate:.2f} by the client "
            f"with retries; faults for {settings.seconds / 60:.1f} minutes."
        )
        callers = Callers(
            served.url,
            {picture.name: picture.read_bytes() for picture in golden},
            answers,
            rate=run.client_rate,
            seed=settings.seed,
        )
        run.begin = time.time()
        with (
            Load(served.url, pictures, run.plan, folder / "load.jsonl") as load,
            Load(served.url, bad, run.bad_plan, folder / "bad.jsonl") as bad_load,
            callers,
        ):
            course = Course(scene, golden, answers, settings.rest_s)
            run.broken_off = _go_on(run, course, kinds, (load, bad_load), tell)
            _end_load(run, callers, load, bad_load)
        run.end = time.time()
        run.left = tuple(scene.left)
        _stop(run, served, watch, shared, family)
    run.changes = tuple(watch.readiness.changes)
    run.longest_gap_s = watch.readiness.longest_gap_s
    run.samples = tuple(watch.samples)
    run.others_cores = watch.others_cores()
    return run


def _go_on(run: Run, course: Course, kinds: Sequence[Kind], loads: Sequence[Load], tell: Callable[[str], None]) -> str:
    """Fault after fault until the time is over; why it ended before, empty if it did not."""
    settings = run.settings
    try:
        time.sleep(max(settings.rest_s, AFTER_S))
        for planned in draw(kinds, settings.seed):
            if time.time() > run.begin + settings.seconds or len(run.faults) == settings.faults:
                break
            _check(loads)
            run.faults.append(course.go(planned, tell))
            _check(loads)
            if run.faults[-1].recovered is None:
                return f"the server did not get over fault {planned.number}, {planned.kind} {planned.victim}".rstrip()
    except KeyboardInterrupt:
        return BY_HAND
    except (TridentError, OSError, psutil.Error) as error:
        # Whatever it was, what has been seen is worth a report.
        return " ".join(f"{type(error).__name__}: {error}".split())
    return ""


def _check(loads: Sequence[Load]) -> None:
    """Raise SetupError if one has ended by itself: on a server that nobody asks, a fault shows nothing."""
    for load in loads:
        runs = load.running
        count = load.count()  # raises, where it has ended with an error
        if not runs:
            raise SetupError(f"the load ended by itself, after {count} requests")


def _through(do: Callable[[], _Done]) -> _Done:
    """Do what ends something: an impatient Ctrl-C has it asked once more, and takes nothing from the report."""
    try:
        return do()
    except KeyboardInterrupt:
        return do()


def _end_load(run: Run, callers: Callers, load: Load, bad_load: Load) -> None:
    """Have nothing more asked, and take home what became of all that was."""
    # From now on the loads need not send: Ctrl-C on a terminal has told them already, and the client takes its time.
    run.stopped = time.time()
    run.client, run.client_asked = tuple(_through(callers.stop)), callers.asked
    run.bad, run.answers = _through(bad_load.stop), _through(load.stop)


def _stop(run: Run, served: Served, watch: Watch, shared: SharedMemory, family: Family) -> None:
    """Stop the server, and see what is still there afterwards."""
    begun = time.monotonic()
    last = served.name()
    run.exit_code = _through(served.stop)
    run.stop_s = time.monotonic() - begun
    until(lambda: not _living(family), _GONE_WITHIN_S)
    names = [*watch.names, *([last] if last else [])]
    run.orphans = (
        *_living(family),
        *shared.files(names),
        *(str(folder.name) for folder in served.temporary.glob("trident-*")),
        *(["the admin key"] if served.key_file.exists() else []),
    )


def _living(family: Family) -> list[str]:
    """The processes that have been started from here and still live."""
    found = []
    for process in family.members():
        with suppress(psutil.Error):  # it has ended meanwhile
            if process.status() != psutil.STATUS_ZOMBIE:
                found.append(f"process {process.pid}, {process.name()}")
    return found


def _private_memory(kinds: Sequence[Kind], left_out: dict[Kind, str]) -> bool:
    """Whether the server gets a /dev/shm of its own, so that it may be filled; says why it cannot be otherwise."""
    if Kind.SHARED_MEMORY not in kinds:
        return False
    reason = why_not_private()
    if not reason:
        return True
    with SharedMemory() as shared:
        if too_large := shared.why_not_filled():
            left_out[Kind.SHARED_MEMORY] = f"{too_large}; one of the server's own cannot be mounted ({reason})"
    return False


def _starving(kinds: Sequence[Kind], left_out: dict[Kind, str], stack: ExitStack) -> Starving | None:
    if Kind.OUT_OF_MEMORY not in kinds:
        return None
    try:
        return stack.enter_context(Starving())
    except (SetupError, OSError) as error:
        left_out[Kind.OUT_OF_MEMORY] = str(error)
        return None
