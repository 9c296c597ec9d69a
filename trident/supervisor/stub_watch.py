"""Watches the processes of the Python models, and brings back the models that lose one."""

from __future__ import annotations

import logging
import signal
import time
from pathlib import Path

from trident.errors import SetupError
from trident.rollout.serving import READY, UNAVAILABLE, ServerLost, Serving, ServingError
from trident.supervisor import diagnosis, processes, reviving
from trident.supervisor.backoff import Backoff
from trident.supervisor.diagnosis import Verdict, Version
from trident.supervisor.halts import Halts
from trident.supervisor.processes import Stub
from trident.supervisor.reporter import Reporter
from trident.supervisor.settings import Settings

_UNSTABLE = ("LOADING", "UNLOADING")


class CannotRevive(SetupError):
    """A model cannot be brought back beside the others."""


class StubWatch:
    """Watches the stubs of one run of a server; another run has another watch.

    Args:
        name: The server's unique name.
        repository: Its model repository.
        model: The served model.
        reporter: Told what happens.
        backoff: How often a model is brought back at once.
        settings: How patient to be.
    """

    def __init__(
        self, name: str, repository: Path, *, model: str, reporter: Reporter, backoff: Backoff, settings: Settings
    ) -> None:
        self._name = name
        self._repository = repository
        self._model = model
        self._reporter = reporter
        self._backoff = backoff
        self._settings = settings
        self._halts = Halts(reporter, settings.halted_s)
        self.stubs: dict[int, Stub] = {}
        """Those that live, by process id; without those of loads that others have taken the place of."""
        self._replaced: dict[int, float] = {}
        """Processes of such loads, and since when. Triton 2.51 ends them, unless one died with a request in hand."""
        self._ended: dict[Version, float] = {}
        """Versions one of whose processes has ended, and since when; what that means is not known yet."""
        self._dead: dict[Version, float] = {}
        """Those that answer callers and have to be brought back."""
        self._noted: set[Version] = set()
        self._waiting: set[str] = set()

    @property
    def any_dead(self) -> bool:
        """Whether a version that answers callers lacks a process."""
        return bool(self._dead)

    def look(self) -> None:
        """See which processes there are. Asks the server nothing."""
        living = processes.stubs_of(self._name, self._repository)
        self._replaced = {pid: since for pid, since in self._replaced.items() if pid in living}
        before, self.stubs = self.stubs, {pid: stub for pid, stub in living.items() if pid not in self._replaced}
        for pid, stub in before.items():
            if pid not in living:
                self._ended.setdefault(stub.key, time.monotonic())
        for pid, since in self._replaced.items():
            if time.monotonic() - since > self._settings.let_go_s:
                processes.kill(pid, signal.SIGKILL)
        self._halts.keep(self.stubs)
        for stub in self.stubs.values():
            if self._halts.look(stub.pid, f"a process of {_text(stub.key)}"):
                self.kill(stub, f"a process of {_text(stub.key)} has been halted for too long")

    def kill(self, stub: Stub, why: str) -> None:
        """Kill a process that does not answer, if it still lives; its model is brought back like any other."""
        if self.stubs.get(stub.pid) == stub:
            model, version = stub.key
            self._reporter.say(
                logging.ERROR, "process_hung", f"{why}: it is killed", model=model, version=version, pid=stub.pid
            )
            # From now on, not only once it is known what its end means: until then nothing else would say so.
            self._reporter.health.trouble(_text(stub.key), why)
            processes.kill(stub.pid, signal.SIGKILL)

    def judge(self, serving: Serving) -> None:
        """Find out which of the processes that have ended leave a version dead that answers callers.

        Raises:
            ServingError: The server does not tell.
        """
        if not self._ended:
            return
        try:
            answers = diagnosis.answering(serving, self._repository, self._model)
        except ServerLost:
            raise
        except (ServingError, SetupError):  # the served model is not there: whatever is missing matters
            answers = None
        living = diagnosis.living(self.stubs.values())
        for key, since in list(self._ended.items()):
            verdict = _verdict(serving, key, living[key])
            late = time.monotonic() - since > self._settings.settle_s
            if verdict is Verdict.FINE:
                del self._ended[key]
                self._noted.discard(key)
                self._well_again(key)
            elif not diagnosis.matters(key, answers):
                self._well_again(key)
                if verdict is Verdict.DEAD and key not in self._noted:
                    self._noted.add(key)
                    sentence = f"a process of {_text(key)} has ended; no caller is answered by it, so it stays so"
                    self._reporter.say(logging.WARNING, "process_died", sentence, model=key[0], version=key[1])
            elif verdict is Verdict.DEAD or late:
                del self._ended[key]
                self._dead[key] = since
                sentence = f"a process of {_text(key)} has ended{self._reporter.hint()}"
                self._reporter.trouble(_text(key), "process_died", sentence, model=key[0], version=key[1])

    def _well_again(self, key: Version) -> None:
        if key not in self._dead:
            self._reporter.health.cured(_text(key))

    def revive(self, serving: Serving) -> list[str]:
        """Bring back the models that may be now; gives their names.

        Raises:
            CannotRevive: One cannot be brought back so.
        """
        revived = []
        for model in sorted({model for model, _ in self._dead}):
            since = min(at for (name, _), at in self._dead.items() if name == model)
            if self._must_wait(model):
                continue
            waited = time.monotonic() - since
            try:
                moving = any(state in _UNSTABLE for state in serving.states(model).values())
                config = reviving.configuration(serving, self._repository, model)
            except (ServingError, SetupError) as exc:
                if isinstance(exc, ServingError) and waited < self._settings.load_s:
                    continue  # a question that is not answered in time says nothing
                raise CannotRevive(f"{model} cannot be brought back ({exc})") from exc
            if moving and waited < self._settings.settle_s:
                continue  # a rollout is at it
            replaced = [stub.pid for stub in self.stubs.values() if stub.model == model]
            self._backoff.note(model)
            self._reporter.health.beat(allowance_s=self._settings.load_s)  # each of several takes its time
            try:
                reviving.revive(serving, model, config)
            except ServingError as exc:
                raise CannotRevive(f"{model} cannot be brought back ({exc})") from exc
            # They must not stand in for one of the new load that ends.
            self._replaced |= dict.fromkeys(replaced, time.monotonic())
            self._is_back(model, time.monotonic() - since)
            revived.append(model)
        return revived

    def _is_back(self, model: str, seconds: float) -> None:
        for key in [key for key in self._dead if key[0] == model]:
            del self._dead[key]
            self._reporter.health.cured(_text(key))
        self._reporter.health.revived(model)
        sentence = f"{model} is back, {seconds:.1f} s after its process had ended"
        self._reporter.say(logging.WARNING, "model_revived", sentence, model=model, seconds=round(seconds, 2))

    def _must_wait(self, model: str) -> bool:
        seconds = self._backoff.wait_s(model)
        if seconds > 0 and model not in self._waiting:
            self._waiting.add(model)
            sentence = f"{model} has been brought back too often within a minute: the next time in {seconds:.1f} s"
            self._reporter.say(logging.ERROR, "revival_delayed", sentence, model=model, seconds=round(seconds, 1))
        if seconds <= 0:
            self._waiting.discard(model)
        return seconds > 0


def _verdict(serving: Serving, key: Version, alive: int) -> Verdict:
    model, version = key
    states = serving.states(model)
    if states.get(version, UNAVAILABLE) != READY:
        return diagnosis.judge(states, version, alive=alive, expected=alive + 1)
    return diagnosis.judge(states, version, alive=alive, expected=diagnosis.instances(serving.config(model)))


def _text(key: Version) -> str:
    model, version = key
    return f"{model} {version}"
