"""The measurement: the saturated rate, loads up to three times as high, clients that vanish, the first load again."""

from __future__ import annotations

import os
import signal
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import report
from benchmarks.answers import Answers
from benchmarks.load import Load, Plan, find_saturation, send_all
from benchmarks.overload.phases import Disconnect, Phase, phase_of
from benchmarks.pictures import pictures_for
from benchmarks.ranges import check_range
from benchmarks.served import own_server
from trident.admission import Sample, parse
from trident.contract import COMPONENTS, ENSEMBLE
from trident.errors import SetupError
from trident.layout import DEFAULT_REPOSITORY
from trident_client.exposed import fetch

SHARES = (0.5, 1.0, 2.0, 3.0)
"""Of the saturated rate; the first of them comes again at the end."""
_WARM_S = 3.0
_MOST_IN_FLIGHT = 5000
_START_S = 2.0
"""What a process that sends needs to begin."""
_QUIET_S, _LOOK_S, _FREE_WITHIN_S = 1.0, 0.1, 60.0
_METRICS_WITHIN_S = 10.0
_ENDED = ("nv_inference_request_success", "nv_inference_request_failure")
_EXECUTED = ("nv_inference_exec_count",)


@dataclass(frozen=True, slots=True)
class Settings:
    """What to measure."""

    seconds: float = 30.0
    """How long a load is measured."""
    settle_s: float = 8.0
    """How long it is offered before: a queue needs some time to fill."""
    rest_s: float = 3.0
    """Between two loads, once all is answered."""
    saturation_s: float = 20.0
    """How long the saturated rate is measured."""
    callers: int = 8
    """Who wait for their answers, while it is measured."""
    deadline_s: float = 8.0
    """Of each request."""
    vanish_s: float = 6.0
    """How long the clients that vanish have asked before, at three times the saturated rate."""
    seed: int = 0
    pictures: Path | None = None
    """Folder with the pictures to send; None for the sample pictures."""
    repository: Path = DEFAULT_REPOSITORY

    def __post_init__(self) -> None:
        for name, low, high in (
            ("seconds", 0.5, 600),
            ("settle_s", 0, 600),
            ("rest_s", 0, 600),
            ("saturation_s", 0.5, 600),
            ("callers", 1, 1000),
            ("deadline_s", 0.1, 600),
            ("vanish_s", 0.5, 60),
        ):
            check_range(name, getattr(self, name), low, high)

    def whole_s(self) -> float:
        """How long all takes, without starting a server."""
        loads = (len(SHARES) + 1) * (self.settle_s + self.seconds + self.rest_s)
        return _WARM_S + self.saturation_s + loads + self.vanish_s + self.rest_s


@dataclass(frozen=True, slots=True)
class Run:
    """What was measured."""

    settings: Settings
    server: Mapping[str, Any]
    """What answered, as ``report.served_by`` tells it."""
    pictures: tuple[str, ...]
    saturated: float
    """Answers a second when there is always a request waiting."""
    phases: tuple[Phase, ...]
    """In the order of ``SHARES``."""
    disconnect: Disconnect
    after: Phase
    """The first load, again, when all was over."""


def measure(settings: Settings, tell: Callable[[str], None]) -> Run:
    """Measure, on a server of its own.

    Args:
        settings: What.
        tell: Is told what happens, a line at a time.

    Raises:
        TridentError: The server does not start, or a request failed while the saturated rate was measured.
    """
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="trident-overload-")))
        pictures = pictures_for(settings.pictures, folder / "pictures")
        server = stack.enter_context(own_server(folder, settings.repository))
        about = report.served_by(server.grpc_url)
        loads = _Loads(server.grpc_url, server.ports["metrics"], pictures, settings, folder, tell)
        saturated = loads.saturated()
        tell(f"{len(SHARES) + 1} loads, in about {settings.whole_s() / 60:.1f} minutes.")
        phases = tuple(loads.phase(f"{share:g} ×", share, saturated) for share in SHARES)
        disconnect = loads.vanish(SHARES[-1] * saturated)
        after = loads.phase(f"{SHARES[0]:g} × again", SHARES[0], saturated)
        if not server.running:
            raise SetupError(f"the server has ended: {server.failure()}")
        return Run(settings, about, tuple(path.name for path in pictures), saturated, phases, disconnect, after)


@dataclass(frozen=True, slots=True)
class _Loads:
    """Loads for one server, one at a time."""

    url: str
    metrics_port: int
    pictures: Sequence[Path]
    settings: Settings
    folder: Path
    tell: Callable[[str], None]

    def saturated(self) -> float:
        """Answers a second when there is always a request waiting."""
        settings = self.settings
        return find_saturation(
            lambda plan: self._answers(plan, "closed"),
            self.tell,
            seconds=settings.saturation_s,
            callers=settings.callers,
            seed=settings.seed,
            warm_s=_WARM_S,
        )

    def phase(self, name: str, share: float, saturated: float) -> Phase:
        """Offer one rate, wait until all is answered, and rest."""
        settings, rate = self.settings, share * saturated
        answers = self._answers(self._plan(rate, settings.settle_s + settings.seconds), name.replace(" ", "-"))
        found = phase_of(
            answers,
            name=name,
            share=share,
            rate=rate,
            settle_s=settings.settle_s,
            seconds=settings.seconds,
            deadline_s=settings.deadline_s,
        )
        ended = ", ".join(f"{count} {code}" for code, count in found.codes.items())
        self.tell(f"{name:>12}  {rate:.2f} a second: {ended}; {found.goodput:.2f} answers a second")
        time.sleep(settings.rest_s)
        return found

    def vanish(self, rate: float) -> Disconnect:
        """Ask at that rate, and kill the clients in the middle."""
        plan = self._plan(rate, self.settings.vanish_s + _FREE_WITHIN_S)
        with Load(self.url, self.pictures, plan, self.folder / "vanish.jsonl") as load:
            time.sleep(_START_S + self.settings.vanish_s)
            os.kill(load.pid, signal.SIGKILL)
        gone = time.monotonic()
        at_once = last = self._metrics()
        since = gone
        while (now := time.monotonic()) < gone + _FREE_WITHIN_S and now - since < _QUIET_S:
            time.sleep(_LOOK_S)
            found = self._metrics()
            if found != last or found.queues.queued or found.queues.behind:
                last, since = found, time.monotonic()
        result = Disconnect(last.ended - at_once.ended, since - gone, last.queues.done - at_once.queues.done)
        self.tell(
            f"Clients vanished with {result.open} requests open: the server was free after "
            f"{result.free_after_s:.1f} s, and had answered {result.answered} of them all the same"
        )
        time.sleep(self.settings.rest_s)
        return result

    def _plan(self, rate: float, seconds: float) -> Plan:
        settings = self.settings
        return Plan(
            seconds=seconds,
            rate=rate,
            # Each load its own arrivals: one unlucky moment must not shape all of them.
            seed=settings.seed + round(1000 * rate),
            timeout_s=settings.deadline_s,
            most_in_flight=_MOST_IN_FLIGHT,
        )

    def _answers(self, plan: Plan, name: str) -> Answers:
        return send_all(self.url, self.pictures, self.folder / f"{name}.jsonl", plan)

    def _metrics(self) -> _Metrics:
        lines = fetch(f"http://127.0.0.1:{self.metrics_port}/metrics", _METRICS_WITHIN_S).splitlines()
        queues = parse(lines, COMPONENTS)
        if queues is None:
            raise SetupError("overload: expected metrics that tell of the queues, got none: it needs a newer Triton")
        return _Metrics(queues, _total(lines, _ENDED, ENSEMBLE), _total(lines, _EXECUTED))


@dataclass(frozen=True, slots=True)
class _Metrics:
    """What a server has done so far."""

    queues: Sample
    ended: int
    """Requests to the ensemble that are over, however they ended."""
    executed: int
    """Calls of all models."""


def _total(lines: Sequence[str], names: Sequence[str], model: str | None = None) -> int:
    """The sum of some counters, of one model or of all."""
    beginnings = tuple(f"{name}{{" for name in names)
    return sum(
        int(float(line.rpartition(" ")[2]))
        for line in lines
        if line.startswith(beginnings) and (model is None or f'model="{model}"' in line)
    )
