"""Starts locust, waits for it, and leaves nothing of it behind."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.circumstances import ROOT
from benchmarks.locust_load.payloads import parse_batches
from benchmarks.locust_load.shapes import Kind, stages
from trident.contract import COMPONENTS, ENSEMBLE
from trident.errors import SetupError
from trident.launcher import ports

LOCUSTFILE = Path(__file__).with_name("locustfile.py")
MODELS = (ENSEMBLE, *COMPONENTS)
MOST_PROCESSES = 64
_LOOPBACK = "127.0.0.1"
_WORKERS_WITHIN_S = 120
_START_S, _STOP_S = 240.0, 60.0
"""What a load may take longer than its stages: until the inputs are made, and until its last answer."""
_INTERRUPTED_S = 30.0


@dataclass(frozen=True, slots=True)
class Settings:
    """What locust's users do.

    Raises:
        SetupError: A value is out of its range, or a model is unknown.
    """

    models: tuple[str, ...] = (ENSEMBLE,)
    """A kind of user for each, as many of one as of the other."""
    pictures: Path | None = None
    """Folder; None for the project's sample pictures."""
    batch: str = "1"
    """Pictures in one request, numbers with commas between."""
    shape: Kind = Kind.STEPS
    users: int = 8
    """At the height of the load."""
    seconds: int = int(Kind.STEPS.usual_s)
    think_s: float = 0.0
    """A user's rest after an answer."""
    deadline_s: float = 30.0
    seed: int = 0
    remote: bool = False
    """Whether the server may be another machine's."""

    def __post_init__(self) -> None:
        if unknown := [name for name in self.models if name not in MODELS]:
            raise SetupError(f"models: expected some of {', '.join(MODELS)}, got {', '.join(unknown)}")
        if not self.models:
            raise SetupError(f"models: expected at least one of {', '.join(MODELS)}, got none")
        if len(self.models) > self.users:
            raise SetupError(
                f"users: expected at least {len(self.models)}, one for each model, got {self.users}: give more users "
                "or fewer models"
            )
        stages(self.shape, self.users, self.seconds)
        parse_batches(self.batch)
        for name, value, low in (("think", self.think_s, 0.0), ("deadline", self.deadline_s, 0.01)):
            if not low <= value <= 3600:
                raise SetupError(f"{name}: expected {low:g} to 3600 seconds, got {value:g}")


def user_class(model: str) -> str:
    """The name of locust's user for a model.

    >>> user_class("face_detector")
    'FaceDetector'
    """
    return "".join(word.capitalize() for word in model.split("_"))


def command(settings: Settings, url: str, *options: str) -> list[str]:
    """Locust's command line.

    Args:
        settings: What its users do.
        url: ``host:port`` of the server.
        options: Further options of locust, for its web page, or for none, and for its workers.
    """
    return [
        *(sys.executable, "-m", "locust", "--locustfile", str(LOCUSTFILE), "--host", url),
        *("--users", str(settings.users), "--spawn-rate", str(min(100, settings.users))),
        *("--run-time", f"{settings.seconds}s", "--stop-timeout", f"{max(1, round(settings.deadline_s))}s"),
        *("--shape", settings.shape, "--batch", settings.batch, "--think", str(settings.think_s)),
        *("--deadline", str(settings.deadline_s), "--seed", str(settings.seed)),
        *(("--pictures", str(settings.pictures.resolve())) if settings.pictures is not None else ()),
        *(("--remote",) if settings.remote else ()),
        *("--prepare", ",".join(settings.models)),
        *options,
        *map(user_class, settings.models),
    ]


def headless(stem: Path, figures: Path) -> tuple[str, ...]:
    """Options of locust for a load without a web page.

    Args:
        stem: What locust's own files begin with: CSV, and an HTML report.
        figures: Where ``locustfile`` writes what it has counted.
    """
    return (
        "--headless",
        "--only-summary",
        "--csv",
        str(stem),
        "--html",
        f"{stem}-locust.html",
        "--figures",
        str(figures),
    )


def web_page(port: int) -> tuple[str, ...]:
    """Options of locust for its web page, on this machine alone."""
    return ("--web-host", _LOOPBACK, "--web-port", str(port), "--class-picker")


def distributed(
    *, processes: int = 1, workers: int = 0, bind: str = f"{_LOOPBACK}:5557"
) -> tuple[tuple[str, ...], list[list[str]]]:
    """Options of locust for a load that several processes make, and the command lines of the workers to start here.

    Locust's own ``--processes`` is not used: it forks, and processes that were forked with gRPC in them crash at their
    end.

    Args:
        processes: More than one starts so many workers here, beside the master.
        workers: How many workers there are to be that somebody else starts.
        bind: ``host:port`` where those find the master.

    Raises:
        SetupError: Both are wanted, or a value is out of its range.
    """
    if not 1 <= processes <= MOST_PROCESSES or not 0 <= workers <= 1000:
        raise SetupError(
            f"processes and expect-workers: expected 1 to {MOST_PROCESSES} and 0 to 1000, got {processes} and {workers}"
        )
    if processes > 1 and workers:
        raise SetupError(
            "processes and expect-workers: expected one of them, got both: workers are started here or elsewhere"
        )
    if processes == 1 and not workers:
        return (), []
    if processes > 1:
        bind = f"{_LOOPBACK}:{ports.resolve(_LOOPBACK, {'locust': 0})['locust']}"
    host, port = host_and_port("bind", bind)
    options = (
        *("--master", "--master-bind-host", host, "--master-bind-port", port),
        *("--expect-workers", str(workers or processes), "--expect-workers-max-wait", str(_WORKERS_WITHIN_S)),
    )
    return options, [] if workers else [worker(bind) for _ in range(processes)]


def worker(master: str) -> list[str]:
    """Locust's command line for a worker. What it does, its master tells it.

    Raises:
        SetupError: ``master`` is not ``host:port``.
    """
    host, port = host_and_port("worker-of", master)
    return [
        *(sys.executable, "-m", "locust", "--locustfile", str(LOCUSTFILE), "--worker"),
        *("--master-host", host, "--master-port", port),
    ]


def host_and_port(option: str, text: str) -> tuple[str, str]:
    """Both parts of ``host:port``. Raises SetupError for anything else."""
    host, _, port = text.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 2**16:
        raise SetupError(f"{option}: expected host:port such as {_LOOPBACK}:5557, got {text!r}")
    return host, port


def limit_of(settings: Settings) -> float:
    """Seconds after which a load without a web page is ended, since something hangs."""
    return _WORKERS_WITHIN_S + _START_S + settings.seconds + settings.deadline_s + _STOP_S


def run(
    locust: Sequence[str],
    *,
    workers: Sequence[Sequence[str]] = (),
    limit_s: float | None = None,
    log: Path | None = None,
    look: Callable[[], None] | None = None,
    look_every_s: float = 5.0,
) -> int:
    """Run locust to its end; gives its exit code.

    Args:
        locust: Its command line.
        workers: Those of its workers, which are to end with it.
        limit_s: It may not take longer; None for as long as it likes.
        log: Where it writes what it says; None for the terminal.
        look: Is called now and then meanwhile.
        look_every_s: How often.

    Raises:
        SetupError: It took longer.
        KeyboardInterrupt: Somebody pressed Ctrl-C; nothing of it runs any more.
    """
    deadline = None if limit_s is None else time.monotonic() + limit_s
    with contextlib.ExitStack() as stack:
        said = stack.enter_context(log.open("wb")) if log is not None else None
        processes: list[subprocess.Popen[bytes]] = []
        try:
            for words in (locust, *workers):
                # A session of its own: a Ctrl-C is handed on below, once.
                how: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": said, "stderr": said}
                processes.append(subprocess.Popen(words, cwd=ROOT, start_new_session=True, **how))
            while True:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    code = processes[0].wait(look_every_s)
                    break
                if deadline is not None and time.monotonic() > deadline:
                    raise SetupError(f"locust did not come to its end within {limit_s:.0f} seconds, and was ended")
                if look is not None:
                    look()
            for process in processes[1:]:
                # Its master has told it to end.
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(_INTERRUPTED_S)
            return code
        finally:
            _end(processes)


def _end(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    """Have those that still run come to their end, the gentle way first."""
    left = [process for process in processes if process.poll() is None]
    for process in left:
        process.terminate()  # not SIGINT: what a script starts in the background ignores it
    deadline = time.monotonic() + _INTERRUPTED_S
    try:
        for process in left:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(max(0.0, deadline - time.monotonic()))
    finally:
        for process in left:
            process.kill()
            process.wait()
