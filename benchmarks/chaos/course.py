"""One fault after the other: each is done, waited out, and looked at."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.chaos.callers import Result
from benchmarks.chaos.faults import Scene, Strike, strike, until
from benchmarks.chaos.kinds import ABOUT, Kind, Planned
from benchmarks.chaos.readiness import noticed_at, ready_at
from benchmarks.chaos.serving import Instances, run_folders
from benchmarks.chaos.watch import Event
from benchmarks.peers.same import ask_all, differences
from trident.errors import SetupError
from trident.supervisor.leftovers import stub_processes

AFTER_S = 3.0
"""What a fault has left in queues counts as the fault's for so long."""
_STEADY_S = 1.0
"""It is back once it has said for so long that it is ready."""
_NOTICED_WITHIN_S = 5.0
_LOOK_S = 0.1


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault, and how the server got over it. Times are seconds of the Unix clock, or as their names say."""

    number: int
    kind: Kind
    victim: str
    begin: float
    moments: tuple[float, ...]
    """Of harm; none if it did not come about."""
    over: float | None
    """When its cause was taken away; None where that was up to the server."""
    recovered: float | None
    """When all was as before: ready, every process there, the golden pictures' answers the same. None: not in time."""
    end: float
    """When what is left of it in queues counts as over."""
    noticed_s: float | None
    """From the first moment of harm until it said that it is not ready."""
    ready_s: float | None
    """From the last moment of harm, or from when the cause was taken away, until it was ready again."""
    note: str
    failed: str
    """What did not end as it must."""
    wrong: tuple[str, ...]
    """What the golden pictures' answers differed in afterwards."""
    left: tuple[str, ...]
    """What a server that is no more has left behind."""
    lingering: tuple[str, ...]
    """Processes of versions that have been let go and are still there."""
    events: tuple[Event, ...]
    """What the supervision said of it."""

    @property
    def come_about(self) -> bool:
        """Whether any harm was done."""
        return bool(self.moments)


class Course:
    """Goes through faults. To be made while the server is well.

    Args:
        scene: What they are done to.
        golden: Pictures that are asked after each of them.
        expected: Their answers.
        rest_s: How long nothing happens after each.

    Raises:
        SetupError: The server tells nothing of itself.
    """

    def __init__(self, scene: Scene, golden: Sequence[Path], expected: Mapping[str, Result], rest_s: float) -> None:
        self._scene = scene
        self._golden = golden
        self._expected = expected
        self._rest_s = rest_s
        self._whole = scene.served.instances()

    def go(self, planned: Planned, tell: Callable[[str], None]) -> Fault:
        """Do one fault, wait until the server is over it, and rest.

        Raises:
            SetupError: The server tells nothing of itself any more.
        """
        scene = self._scene
        before = scene.served.instances()
        begin = time.time()
        try:
            struck = strike(planned, scene)
        except SetupError as error:
            struck = Strike((), failed=str(error))
        if ABOUT[planned.kind].felt and struck.moments:
            until(lambda: self._noticed(struck.moments[0]), _NOTICED_WITHIN_S)
        wrong: list[str] = []
        back = until(lambda: self._as_before(wrong), scene.within_s, look_s=_LOOK_S)
        recovered = time.time() if back else None
        failed = struck.failed or ("" if back else f"it was not as before within {scene.within_s:.0f} s")
        changes = list(scene.watch.readiness.changes)
        end = time.time()
        noticed_s = ready_s = None
        if struck.moments:
            noticed = noticed_at(changes, struck.moments[0], end)
            noticed_s = None if noticed is None else noticed - struck.moments[0]
            over = struck.moments[-1] if struck.over is None else struck.over
            again = ready_at(changes, struck.moments[-1], end)
            ready_s = None if again is None else max(0.0, again - over)
        time.sleep(self._rest_s)
        fault = Fault(
            number=planned.number,
            kind=planned.kind,
            victim=planned.victim,
            begin=begin,
            moments=struck.moments,
            over=struck.over,
            recovered=recovered,
            end=min(end + AFTER_S, time.time()),
            noticed_s=noticed_s,
            ready_s=ready_s,
            note=struck.note,
            failed=failed,
            wrong=tuple(wrong),
            left=tuple(self._left()),
            lingering=self._lingering(planned.kind, before),
            events=tuple(event for event in scene.watch.events if begin <= event.at <= end),
        )
        tell(line_of(fault))
        return fault

    def _noticed(self, moment: float) -> bool:
        return noticed_at(self._scene.watch.readiness.changes, moment, time.time()) is not None

    def _as_before(self, wrong: list[str]) -> bool:
        """Whether it is ready, whole, and answers; puts into ``wrong`` what it answers otherwise."""
        scene = self._scene
        if not scene.watch.ready_for(_STEADY_S):
            return False
        try:
            if self._whole - scene.served.instances():
                return False
            answers = ask_all(scene.served.url, None, self._golden)
        except SetupError:  # no answer, or an error in its place: not yet
            return False
        for picture, expected in self._expected.items():
            wrong += [f"{picture}: {difference}" for difference in differences(expected, answers[picture])]
        return True

    def _left(self) -> list[str]:
        scene, now = self._scene, self._scene.served.name()
        gone = [name for name in scene.watch.names if name != now]
        if now is None or not gone:
            return []
        folders = [folder.name for folder in run_folders(scene.served.temporary)]
        return [
            *(f"process {pid} of {name}" for name in gone for pid in stub_processes(name)),
            *scene.shared.files(gone),
            *(f"the run folder of {name}" for name in folders if name in gone),
        ]

    def _lingering(self, kind: Kind, before: Instances) -> tuple[str, ...]:
        if kind is Kind.ROLLOUT:  # what it let go may take its time, which its note says
            return ()
        try:
            more = self._scene.served.instances() - before
        except SetupError:
            return ()
        return tuple(f"{count} of {model} {version}" for (model, version), count in sorted(more.items()))


def line_of(fault: Fault) -> str:
    """One line for a terminal."""
    words = []
    if fault.come_about and ABOUT[fault.kind].felt:
        noticed = "not noticed" if fault.noticed_s is None else f"noticed after {fault.noticed_s:.2f} s"
        ready = "not ready again" if fault.ready_s is None else f"ready after {fault.ready_s:.1f} s"
        words.append(f"{noticed}, {ready}")
    words += [fault.note, fault.failed]
    return f"{fault.number:>3}  {fault.kind:<11} {fault.victim:<17} {'; '.join(filter(None, words))}"
