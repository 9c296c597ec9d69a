"""One run of a server, from a start to its end: what is known of it, and what has to be done about it."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from trident.contract import ENSEMBLE
from trident.rollout.serving import ServerLost, ServingError, TritonServing
from trident.supervisor import processes
from trident.supervisor.answer_watch import AnswerWatch
from trident.supervisor.backoff import Backoff
from trident.supervisor.halts import Halts
from trident.supervisor.hold import Hold
from trident.supervisor.processes import Alarm
from trident.supervisor.reporter import Reporter
from trident.supervisor.settings import Settings
from trident.supervisor.stillness import Stillness
from trident.supervisor.stub_watch import StubWatch

SERVER = "server"
"""Stands for the whole server among the troubles, and in the back-off."""
_BUSY_FACTOR = 3.0


class Supervised(Protocol):
    """What is looked after: ``trident.launcher.TritonServer``."""

    repository: Path
    model: str | None
    start_timeout_s: float

    @property
    def name(self) -> str | None:
        """Its unique name, new after each restart."""

    @property
    def running(self) -> bool:
        """Whether its process is there."""

    @property
    def guard_pid(self) -> int | None:
        """The process whose child it is."""

    @property
    def hold_file(self) -> Path | None:
        """While it is there, the first step refuses new requests."""

    def connect(self, *, question_s: float = ..., load_s: float = ..., answer_s: float = ...) -> TritonServing:
        """A new connection with these deadlines."""

    def restart(self) -> None:
        """End it at once and start it again. Raises SetupError."""

    def wait(self, timeout_s: float | None = None) -> int | None:
        """Its exit code, None while it runs."""

    def failure(self) -> str:
        """Why it has ended, as its log tells."""


class ServerRun:
    """Watches one run of a server.

    Args:
        server: Has just been started.
        reporter: Told what happens.
        backoff: How often a model is brought back at once.
        settings: How patient to be.
        alarm: Woken when there is something to look at.
    """

    def __init__(
        self, server: Supervised, reporter: Reporter, backoff: Backoff, settings: Settings, alarm: Alarm
    ) -> None:
        self.serving = server.connect(
            question_s=settings.question_s, load_s=settings.load_s, answer_s=settings.answer_s
        )
        self.stubs = StubWatch(
            server.name or "",
            server.repository,
            model=server.model or "",
            reporter=reporter,
            backoff=backoff,
            settings=settings,
        )
        self.answers: AnswerWatch | None = None
        if server.model == ENSEMBLE and settings.probe_s > 0:
            self.answers = AnswerWatch(server.repository, reporter, settings, alarm.wake)
        self.hold = Hold(server.hold_file)
        self.ready = True
        """Whether the served model was, at the last look."""
        self._server = server
        self._reporter = reporter
        self._settings = settings
        self._halts = Halts(reporter, settings.halted_s)
        self._pid: int | None = None
        self._halted = False
        self._silence: Stillness | None = None
        """Triton, since it first answered no question."""

    @property
    def pid(self) -> int | None:
        """Process id of its Triton."""
        return self._pid

    def close(self) -> None:
        """Let go of the connection."""
        if self.answers is not None:
            self.answers.close()
        self.serving.close()

    def look(self, alarm: Alarm) -> bool:
        """See which processes there are, and have them watched; whether Triton's is among them."""
        guard = self._server.guard_pid
        if guard is None:
            return False
        if self._pid is None or processes.state_of(self._pid) in processes.ENDED:
            self._pid = processes.server_of(guard)
        if self._pid is None:
            self._reporter.trouble(SERVER, "server_died", f"Triton's process has ended{self._reporter.hint()}")
            alarm.watch([guard])
            return False
        self.stubs.look()
        alarm.watch([guard, self._pid, *self.stubs.stubs])
        self._halted = self._halts.look(self._pid, "Triton")
        return True

    def look_at_server(self) -> str:
        """Whether the server answers questions, and its model is ready; why it has to be started again, if so."""
        model, pid = self._server.model, self._pid or 0
        if processes.state_of(pid) == processes.STOPPED:  # it answers nothing: there is no need to wait for that
            self.ready = False
            return f"it has been halted for {self._settings.halted_s:g} s" if self._halted else ""
        before = self.ready
        try:
            self.ready = self.serving.live() if model is None else self.serving.ready(model)
        except ServerLost as exc:
            self.ready = False
            self._silence = self._silence or Stillness([pid])
            self._silence.look()
            seconds = self._silence.seconds
            self._reporter.trouble(SERVER, "server_silent", f"the server answers no question: {exc}")
            if seconds > self._settings.silent_s * (1.0 if self._silence.idle(pid) else _BUSY_FACTOR):
                return f"it has answered no question for {seconds:.0f} s"
            return ""
        except ServingError:  # it is there, and slow
            return ""
        self._silence = None
        self._reporter.health.cured(SERVER)
        if self.ready:
            self._reporter.health.cured("model")
        elif not before:  # twice in a row: between a load that drops it and one that brings it back is not much time
            self._reporter.trouble("model", "model_not_ready", f"{model} is not ready", model=str(model))
        return ""
