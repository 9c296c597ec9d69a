"""What ends a soak before its time, and how often it looks at the server; on a server that is made up."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from test_soak_report import look

from benchmarks.soak import run as course
from benchmarks.soak.run import MOST_SHARE, _Soak
from benchmarks.soak.settings import Settings
from trident.errors import SetupError


class Served:
    """A server that runs, or has ended."""

    url = "127.0.0.1:1"

    def __init__(self, *, running: bool = True) -> None:
        self.running = running

    def status(self) -> dict[str, Any]:
        return {"reason": "fusion has ended"}

    def said(self) -> str:
        return "one\ntwo\nthree\nfour"

    def stop(self) -> int:
        return 3


class Weigher:
    """Sees what it is told to."""

    def __init__(self, **more: Any) -> None:
        self.seen = replace(look(0.0), **more)

    def look(self, own: Any) -> Any:
        return self.seen


class Feed:
    """Has nothing to tell."""

    pid = 1


def soak(served: Served | None = None, **seen: Any) -> _Soak:
    made = _Soak(Settings(), served or Served(), Weigher(**seen), None, lambda line: None)
    made._tell_at = float("inf")
    made._answered_at = time.monotonic()
    return made


def test_a_look_that_costs_much_is_made_less_often():
    cheap, dear = soak(cost_s=0.001), soak(cost_s=0.2)
    now = time.monotonic()
    for one in (cheap, dear):
        one._look(Feed())
    assert cheap._look_at - now == pytest.approx(5, abs=1)
    assert dear._look_at - now == pytest.approx(0.2 / MOST_SHARE, abs=1)
    assert (len(cheap.looks), dict(cheap.status)) == (1, {"reason": "fusion has ended"})


def test_a_full_disk_ends_it():
    with pytest.raises(SetupError, match="nearly full, 60 MB are left"):
        soak(free_mb=60.0)._look(Feed())


def test_a_server_that_has_ended_ends_it_with_its_last_words():
    with pytest.raises(SetupError, match="exit code 3: two three four"):
        soak(Served(running=False))._look(Feed())


def test_silence_ends_it_and_answers_do_not():
    quiet = soak()
    quiet.account.told = 10
    quiet._look(Feed())
    quiet._answered_at -= 200
    with pytest.raises(SetupError, match="nothing has been answered for 200 seconds: fusion has ended"):
        quiet._look(Feed())
    quiet.account.codes["good", "OK"] += 1
    quiet._look(Feed())


@pytest.mark.parametrize(
    ("error", "by_hand", "why"),
    [
        (KeyboardInterrupt(), True, "stopped by hand"),
        (SetupError("it broke"), False, "it broke"),
        (OSError(28, "No space left on device"), False, "No space left"),
    ],
    ids=["Ctrl-C", "a known error", "another one"],
)
def test_what_ends_it_is_noted_and_the_load_is_heard_to_its_end(monkeypatch, error, by_hand, why):
    stopped = []

    class Load:
        """Tells how many requests there were when it is stopped."""

        pid = 1
        ended = False

        def __init__(self, *_: Any, **__: Any) -> None:
            pass

        def __enter__(self):
            return self

        def __exit__(self, *_: object) -> None:
            pass

        def read(self, within_s: float) -> list[dict[str, Any]]:
            raise error

        def stop(self) -> None:
            stopped.append(True)

        def remaining(self, within_s: float):
            yield {"begin": 1000.0, "unix_minus_monotonic": 0.0}
            yield {"planned": 7}

    monkeypatch.setattr(course, "Feed", Load)
    made = soak()
    made.go([], [], 1.0, Path("log"))
    assert why in made.stopped
    assert (made.by_hand, stopped, made.account.planned) == (by_hand, [True], 7)
