"""The measurement: a server of its own, a mixed load from another process, and now and then a look at the server."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks import report
from benchmarks.answers import Answers, failures
from benchmarks.load import LONGEST_S, Plan, find_saturation, send_all
from benchmarks.soak.account import Account
from benchmarks.soak.callers import Mix
from benchmarks.soak.feed import Feed
from benchmarks.soak.guest import Changes, Guest
from benchmarks.soak.pictures import ENROLLED, bad_pictures, good_pictures, write_samples
from benchmarks.soak.settings import FLOOD, Settings
from benchmarks.soak.weights import Look, Weigher
from benchmarks.trident_process import TridentProcess
from trident.errors import SetupError, TridentError
from trident.supervisor.leftovers import shared_memory_files, stub_processes

MOST_SHARE = 0.01
"""Of a core: what the looks may cost; where they would cost more there are fewer."""
_WARM_S = 3.0
_LEAST_S = 1.0
"""For less time that is left, no load is started again."""
_MOST_IN_FLIGHT = 500
_LAST_ANSWERS_S = 10.0
"""What the load may take to end, beyond its deadlines."""
_LEAST_FREE_MB = 100.0
"""Where less is free on the disk, the soak ends, so that there is room for its report."""
_SILENT_S = 120.0
"""So long without an answer, and it ends."""
_CLEARED_WITHIN_S, _LOOK_S = 20.0, 0.2
_TOLD_EVERY = 20
"""Of how many parts of the run something is told."""


@dataclass(frozen=True, slots=True)
class Run:
    """What was measured."""

    settings: Settings
    server: Mapping[str, Any]
    """What answered, as ``report.served_by`` tells it."""
    pictures: tuple[str, ...]
    """The good ones."""
    bad_pictures: tuple[str, ...]
    saturated: float | None
    """Answers a second when there is always a request waiting; None where the rate was given."""
    rate: float
    account: Account
    looks: tuple[Look, ...]
    changes: Changes
    """Of the gallery."""
    status: Mapping[str, Any]
    """What the server's health endpoint said last."""
    begin: float
    """Of the load, seconds of the Unix clock."""
    end: float
    stopped: str
    """Why it ended before its time; empty if it did not."""
    by_hand: bool
    """Whether somebody wanted that."""
    exit_code: int | None
    """The server's, when it was stopped; None where it had ended before."""
    orphans: tuple[str, ...]
    """What the server left behind."""
    said: str
    """The end of its log."""

    @property
    def seconds(self) -> float:
        """How long the load lasted."""
        return self.end - self.begin


def measure(settings: Settings, tell: Callable[[str], None]) -> Run:
    """Measure.

    Args:
        settings: What.
        tell: Is told what happens, a line at a time.

    Raises:
        TridentError: The server or the load cannot be started. What goes wrong later ends the run, which says so.
        KeyboardInterrupt: It was stopped by hand before the load began, or a third time.
    """
    with ExitStack() as stack:
        temporary = tempfile.TemporaryDirectory(prefix="trident-soak-", ignore_cleanup_errors=True)
        folder = Path(stack.enter_context(temporary))
        samples = write_samples(folder / "samples")
        good = good_pictures(settings.pictures, samples, folder / "formats")
        bad = bad_pictures(folder / "bad")
        home = folder / "server"
        home.mkdir()
        begun = time.monotonic()
        served = stack.enter_context(TridentProcess(settings.repository, home))
        tell(f"Triton answers after {time.monotonic() - begun:.1f} s.")
        about = report.served_by(served.url, served.key_file)
        guest = _guest(served, samples) if settings.gallery_s else None
        saturated = None
        if settings.rate is None:
            saturated = find_saturation(
                partial(send_all, served.url, good, folder / "closed.jsonl"),
                tell,
                seconds=settings.saturation_s,
                callers=settings.callers,
                seed=settings.seed,
                warm_s=_WARM_S,
            )
            if settings.flooded:
                _flood(partial(send_all, served.url, good, folder / "flood.jsonl"), settings, saturated, tell)
        rate = settings.rate if settings.rate is not None else settings.share * (saturated or 0.0)
        tell(f"{rate:.2f} requests a second, for {settings.seconds / 60:.1f} minutes; Ctrl-C ends it, with a report.")
        soak = _Soak(settings, served, Weigher(served.pid, settings.repository, served.folders), guest, tell)
        begin = time.time()
        soak.go(good, bad if settings.bad else [], rate, folder / "load.log")
        end, ended_itself = time.time(), not served.running
        if ended_itself and not soak.stopped:
            soak.stopped = "trident serve ended by itself"
        exit_code, said = _end(served), served.said()
        names = sorted(soak.weigher.names)
    orphans = _left_behind(names, _CLEARED_WITHIN_S if ended_itself else 0.0)
    return Run(
        settings=settings,
        server=about,
        pictures=tuple(path.name for path in good),
        bad_pictures=tuple(path.name for path in bad) if settings.bad else (),
        saturated=saturated,
        rate=rate,
        account=soak.account,
        looks=tuple(soak.looks),
        changes=guest.changes if guest is not None else Changes(),
        status=soak.status,
        begin=soak.account.begin or begin,
        end=end,
        stopped=soak.stopped,
        by_hand=soak.by_hand,
        exit_code=None if ended_itself else exit_code,
        orphans=orphans,
        said=said,
    )


def _end(served: TridentProcess) -> int:
    """Stop the server; an impatient Ctrl-C hurries it, and takes nothing from the report."""
    try:
        return served.stop()
    except KeyboardInterrupt:
        return served.stop()


def _flood(send: Callable[[Plan], Answers], settings: Settings, saturated: float, tell: Callable[[str], None]) -> None:
    """Offer the server more than it can do, for which it refuses the rest; see ``Settings.flood_s``."""
    rate = FLOOD * saturated
    plan = Plan(seconds=settings.flood_s, rate=rate, seed=settings.seed, timeout_s=settings.deadline_s)
    answers = send(plan)
    failed = len(failures(answers.records))
    tell(f"{rate:.2f} a second for {settings.flood_s:.0f} s: {failed} of {len(answers.records)} not answered.")


def _left_behind(names: Sequence[str], within_s: float) -> tuple[str, ...]:
    """What is left of the servers of these names; the guard of a launcher that was killed needs a moment to clear."""
    deadline = time.monotonic() + within_s
    while True:
        left = [f"process {pid}" for name in names for pid in stub_processes(name)]
        left += [str(file) for name in names for file in shared_memory_files(name)]
        if not left or time.monotonic() >= deadline:
            return tuple(left)
        time.sleep(_LOOK_S)


def _guest(served: TridentProcess, samples: Sequence[Path]) -> Guest:
    (photo,) = (path for path in samples if path.name == ENROLLED)
    return Guest.seen(served.url, served.gallery_url, photo)


@dataclass(slots=True)
class _Soak:
    """The load, and what was seen so far."""

    settings: Settings
    served: TridentProcess
    weigher: Weigher
    guest: Guest | None
    tell: Callable[[str], None]
    looks: list[Look] = field(default_factory=list)
    status: Mapping[str, Any] = field(default_factory=dict)
    stopped: str = ""
    by_hand: bool = False
    account: Account = field(init=False)
    _look_at: float = 0.0
    _change_at: float = 0.0
    _tell_at: float = 0.0
    _answered: int = 0
    _answered_at: float = 0.0

    def __post_init__(self) -> None:
        self.account = Account(self.settings.window_s)

    def go(self, good: Sequence[Path], bad: Sequence[Path], rate: float, log: Path) -> None:
        """Load the server until the time is over, or something ends that, which is noted: it is worth a report.

        Args:
            good: Pictures.
            bad: And what is none.
            rate: Requests a second.
            log: Where the load says what goes wrong with it.
        """
        now = time.monotonic()
        end = now + self.settings.seconds
        self._look_at = self._answered_at = now
        self._tell_at = now + self.settings.seconds / _TOLD_EVERY
        self._change_at = now + self.settings.gallery_s if self.guest is not None else float("inf")
        mix = Mix(self.settings.bad, self.settings.leaving)
        number = 0
        try:
            # A load has a longest time: one follows another.
            while (left := end - time.monotonic()) > _LEAST_S:
                plan = Plan(
                    seconds=min(left, LONGEST_S),
                    rate=rate,
                    seed=self.settings.seed + number,
                    timeout_s=self.settings.deadline_s,
                    most_in_flight=_MOST_IN_FLIGHT,
                )
                number += 1
                with Feed(self.served.url, good, bad, plan, mix, log=log) as feed:
                    try:
                        self._watch(feed)
                    finally:  # also when something ends the watching: what is in flight is accounted for
                        feed.stop()
                        for line in feed.remaining(self.settings.deadline_s + _LAST_ANSWERS_S):
                            self.account.add(line)
        except KeyboardInterrupt:
            self.stopped, self.by_hand = "stopped by hand", True
        except Exception as error:  # noqa: BLE001 - whatever it was, it ends the soak and goes into the report
            self.stopped = str(error) if isinstance(error, TridentError) else repr(error)
        if self.stopped:
            self.tell(f"Ended early: {self.stopped}")

    def _watch(self, feed: Feed) -> None:
        """Count what the load tells, look at the server and change its gallery, until the load ends."""
        while not feed.ended:
            due = min(self._look_at, self._change_at) - time.monotonic()
            for line in feed.read(max(0.0, due)):
                self.account.add(line)
            if time.monotonic() >= self._look_at:
                self._look(feed)
            if self.guest is not None and time.monotonic() >= self._change_at:
                self.guest.change()
                self._change_at = time.monotonic() + self.settings.gallery_s
        feed.check()

    def _look(self, feed: Feed) -> None:
        look = self.weigher.look([feed.pid])
        self.looks.append(look)
        now = time.monotonic()
        self._look_at = now + max(self.settings.between_looks_s, look.cost_s / MOST_SHARE)
        with suppress(SetupError):  # it goes on as it was told last
            self.status = self.served.status()
        if now >= self._tell_at:
            self._tell_at += self.settings.seconds / _TOLD_EVERY
            self._tell_how_it_goes(look)
        if not self.served.running:
            last = " ".join(self.served.said().split("\n")[-3:]) or "it said nothing"
            raise SetupError(f"trident serve ended by itself with exit code {self.served.stop()}: {last}")
        if look.free_mb < _LEAST_FREE_MB:
            raise SetupError(
                f"the disk is nearly full, {look.free_mb:.0f} MB are left: make room, or set TMPDIR to another folder"
            )
        self._check_answers(now)

    def _check_answers(self, now: float) -> None:
        if self.account.answered > self._answered or not self.account.told:
            self._answered, self._answered_at = self.account.answered, now
        elif now - self._answered_at > _SILENT_S + self.settings.deadline_s:
            reason = self.status.get("reason") or "its health endpoint gives no reason"
            raise SetupError(f"nothing has been answered for {now - self._answered_at:.0f} seconds: {reason}")

    def _tell_how_it_goes(self, look: Look) -> None:
        held = look.all
        self.tell(
            f"{(look.at - (self.account.begin or look.at)) / 60:>7.1f} min  {self.account.answered} answers, "
            f"{self.account.failed} failed; {held.kept_mb:.0f} MB, {held.handles} handles, "
            f"{look.shm_mb:.0f} MB in {look.shm_files} shared-memory files"
        )
