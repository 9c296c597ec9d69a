"""The process between the launcher and Triton: whatever happens to either, nothing stays behind.

It runs in a session of its own, so that Ctrl-C reaches the launcher alone. Standard input is its tie to the launcher: a
line ``stop SECONDS`` asks the server to stop, and says when it is to be killed; the end of the input asks too, and
comes by itself when the launcher is killed. It adopts the server's stub processes, and clears the server's leftovers
when the server has ended.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import select
import signal
import sys
import time
from pathlib import Path

from trident.access import hidden_arguments
from trident.supervisor import leftovers

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_LAUNCHER = 0  # file descriptor of standard input
_libc = ctypes.CDLL(None, use_errno=True)


def _die_with_parent() -> None:
    """In the server's process, before it becomes the server: killed if the guard is."""
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def watch(command: list[str], grace_s: float) -> int:
    """Run ``command`` until it ends or is asked to; return its exit code, 128 + n for signal n.

    Asked to stop, the server gets SIGTERM, and SIGKILL after the seconds that it was asked with, else ``grace_s``.
    """
    wake_out, wake_in = os.pipe()
    os.set_blocking(wake_in, False)
    os.set_blocking(wake_out, False)
    signal.set_wakeup_fd(wake_in)
    asked = False

    def ask(*_: object) -> None:
        nonlocal asked
        asked = True

    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.signal(signal.SIGTERM, ask)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)

    # One thread, so the death signal is tied to the whole guard, and running Python between fork and exec is safe.
    server = hidden_arguments.start(command, _die_with_parent)
    deadline: float | None = None
    told = b""
    watched = [_LAUNCHER, wake_out]
    while server.poll() is None:
        wait = None if deadline is None else max(0.0, deadline - time.monotonic())
        ready, _, _ = select.select(watched, [], [], wait)
        if wake_out in ready:
            with contextlib.suppress(BlockingIOError):
                os.read(wake_out, 4096)
        if _LAUNCHER in ready:
            told = os.read(_LAUNCHER, 4096)
            if not told:  # the launcher has gone
                watched.remove(_LAUNCHER)
            asked = True
        if asked and deadline is None:
            server.terminate()
            deadline = time.monotonic() + patience(told, grace_s)
        elif told and deadline is not None:  # asked again: it may be for less
            deadline = min(deadline, time.monotonic() + patience(told, grace_s))
        told = b""
        if deadline is not None and time.monotonic() >= deadline:
            server.kill()
            server.wait()
    return server.returncode if server.returncode >= 0 else 128 - server.returncode


def patience(told: bytes, otherwise: float) -> float:
    r"""How many seconds the server may take to end, by the last line that the launcher has written.

    >>> patience(b"stop 20\nstop 0.000\n", 15.0), patience(b"", 15.0), patience(b"x", 15.0)
    (0.0, 15.0, 15.0)
    """
    *_, last = told.decode(errors="replace").strip().splitlines() or [""]
    with contextlib.suppress(ValueError):
        return max(0.0, float(last.removeprefix("stop ")))
    return otherwise


def _reap() -> None:
    """Collect the adopted children that have ended; wait a moment for those just killed."""
    deadline = time.monotonic() + 5.0
    while time.monotonic() < deadline:
        try:
            pid, _ = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            time.sleep(0.02)


def _clear_keys() -> None:
    """Remove the admin key of a launcher that was killed; one that lives holds its own."""
    from trident.access import keys  # noqa: PLC0415 - now that nobody waits

    keys.clear_left()


def main() -> None:
    """``guard RUN_FOLDER GRACE_SECONDS COMMAND``, the command as a JSON list."""
    folder, grace_s, command = Path(sys.argv[1]), float(sys.argv[2]), json.loads(sys.argv[3])
    _libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    try:
        code = watch(command, grace_s)
    finally:
        leftovers.clear(folder.name)
        _reap()
        leftovers.remove(folder)
        _clear_keys()
    sys.exit(code)


if __name__ == "__main__":
    main()
