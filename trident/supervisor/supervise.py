"""Looks after a running server: sees what dies or hangs, brings it back, and knows whether requests are answered.

What is done about what:

- A Python model's process ends: its model is loaded again beside the others (``stub_watch``, ``reviving``).
- A process is halted, or hangs: it is killed; see above (``halts``, ``answer_watch``).
- That does not help, Triton ends, or answers nothing any more: the whole server is started again, on the same ports,
  with the versions that are pinned on disk.
- The same again and again: later and later (``backoff``), and each time it is said.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from typing import Any

from trident.errors import SetupError
from trident.rollout.serving import ServerLost, ServingError
from trident.supervisor import processes
from trident.supervisor.backoff import Backoff
from trident.supervisor.health import Health, Phase
from trident.supervisor.processes import Alarm
from trident.supervisor.reporter import Reporter
from trident.supervisor.server_run import SERVER, ServerRun, Supervised
from trident.supervisor.settings import Settings
from trident.supervisor.stub_watch import CannotRevive

_KILLED = 128
"""Exit codes above it tell of a signal."""


class Supervisor:
    """Looks after one server from a thread of its own, between ``start`` and ``stop``.

    Args:
        server: It has been started; who stops it calls ``drain`` before.
        settings: How patient to be.
        health: Where it is noted how the server is.
        backoff: How often a model, or the server, is brought back at once.
    """

    def __init__(
        self,
        server: Supervised,
        settings: Settings | None = None,
        *,
        health: Health | None = None,
        backoff: Backoff | None = None,
    ) -> None:
        self.health = health or Health()
        self._server = server
        self._settings = settings or Settings()
        self._backoff = backoff or Backoff()
        self._reporter = Reporter(self.health)
        self._alarm = Alarm()
        self._over = threading.Event()
        self._thread: threading.Thread | None = None
        self._failing_since = 0.0
        self._run_of_server: ServerRun | None = None

    def start(self) -> None:
        """Begin to look after the server."""
        self._adopt()
        self.health.enter(Phase.SERVING)
        self.health.beat()
        self._thread = threading.Thread(target=self._work, name="supervisor", daemon=True)
        self._thread.start()

    def drain(self) -> None:
        """The server is about to be stopped: it is not ready any more, and nothing is brought back. Does not wait."""
        self.health.enter(Phase.DRAINING)
        self._over.set()
        self._alarm.wake()

    def stop(self) -> None:
        """Look after nothing any more. To be called once the server has ended. Harmless a second time."""
        self.drain()
        thread, self._thread = self._thread, None
        if thread is not None:
            thread.join(timeout=10.0)
            if not thread.is_alive():
                self._let_go()
                self._alarm.close()
        self.health.enter(Phase.ENDED)

    def wait(self) -> None:
        """Wait until ``drain`` or ``stop`` is called."""
        while not self._over.wait(1.0):
            pass

    def status(self) -> dict[str, Any]:
        """How the server is, for JSON."""
        run = self._run_of_server
        stubs = sorted(run.stubs.stubs.values(), key=lambda stub: (stub.key, stub.pid)) if run is not None else []
        return self.health.status() | {
            "shared_memory_free_mib": processes.shared_memory_free(),
            "processes": [{"model": stub.model, "version": stub.version, "pid": stub.pid} for stub in stubs],
        }

    def _work(self) -> None:
        while not self._over.is_set():
            self.health.beat()
            try:
                self._look()
            except (ServingError, SetupError) as exc:
                self._failed(f"the server cannot be looked after: {exc}")
            except Exception as exc:  # whatever it is, the server must not be left alone
                self._failed(f"the supervision has failed: {exc!r}")
                logging.getLogger(__name__).debug("the supervision has failed", exc_info=True)
            else:
                self._failing_since = 0.0
                self.health.cured("supervision")
            self._alarm.wait(self._settings.look_s)

    def _failed(self, sentence: str) -> None:
        """A question that was not answered in time says nothing; for long, it does."""
        self._failing_since = self._failing_since or time.monotonic()
        if time.monotonic() - self._failing_since > self._settings.answer_s:
            self._reporter.trouble("supervision", "supervision_failed", sentence)

    def _look(self) -> None:
        run = self._run_of_server
        if run is None or not self._server.running:
            self._restart(f"{self._how_it_ended()}{self._reporter.hint()}")
            return
        if not run.look(self._alarm):
            return  # its guard clears up, and ends next
        with contextlib.suppress(ServerLost):  # how long that has been so is looked at below
            run.stubs.judge(run.serving)
        run.hold.set(run.stubs.any_dead)
        if run.stubs.any_dead:
            try:
                revived = run.stubs.revive(run.serving)
            except CannotRevive as exc:
                self._restart(str(exc))
                return
            run.hold.set(run.stubs.any_dead)
            if revived and not run.look(self._alarm):  # a probe is to be told of the new processes
                return
            if revived and run.answers is not None:
                run.answers.doubt(f"{', '.join(revived)} was loaded again")
        reason = run.look_at_server()
        if not reason and run.answers is not None and run.ready:
            reason = run.answers.look(run.serving, run.stubs, run.pid)
        if reason:
            self._restart(reason)
        self._reporter.look_at_shared_memory()

    def _how_it_ended(self) -> str:
        code = self._server.wait(0.0)
        if code is None:
            return "it does not run"
        # Who is killed has no last words.
        words = "" if code > _KILLED else f": {self._server.failure()}"
        return f"Triton has ended with exit code {code}{words}"

    def _restart(self, reason: str) -> None:
        if self._over.is_set():
            return
        began = time.monotonic()
        self.health.enter(Phase.RESTARTING)
        self._reporter.say(logging.ERROR, "server_restarts", f"the server is started again: {reason}", reason=reason)
        if (seconds := self._backoff.wait_s(SERVER)) > 0:
            sentence = f"that has been done too often within a minute: the next time in {seconds:.1f} s"
            self._reporter.say(logging.ERROR, "restart_delayed", sentence, seconds=round(seconds, 1))
        while self._backoff.wait_s(SERVER) > 0 and not self._over.is_set():
            self.health.beat()
            self._over.wait(self._settings.look_s)
        if self._over.is_set():
            return
        self._backoff.note(SERVER)
        self.health.beat(allowance_s=self._server.start_timeout_s)
        self._let_go()
        try:
            self._server.restart()
        except SetupError as exc:
            if not self._over.is_set():
                self.health.restarted(answers=False)
                sentence = f"the server does not start again: {exc}"
                self._reporter.say(logging.ERROR, "server_failed", sentence, reason=str(exc))
            return
        self._adopt()
        self.health.restarted(answers=True)
        self.health.enter(Phase.SERVING)
        seconds = time.monotonic() - began
        sentence = f"the server answers again, after {seconds:.1f} s"
        self._reporter.say(logging.WARNING, "server_restarted", sentence, seconds=round(seconds, 2))

    def _adopt(self) -> None:
        self._run_of_server = ServerRun(self._server, self._reporter, self._backoff, self._settings, self._alarm)
        self._run_of_server.look(self._alarm)

    def _let_go(self) -> None:
        run, self._run_of_server = self._run_of_server, None
        if run is not None:
            run.close()
