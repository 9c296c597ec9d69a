"""Watches whether the ensemble answers callers, and probes it while there are none."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

from trident.contract import COMPONENTS, ENSEMBLE
from trident.rollout.serving import Serving
from trident.supervisor import diagnosis
from trident.supervisor.hunt import Finding, Hunt
from trident.supervisor.probes import Pulse
from trident.supervisor.reporter import Reporter
from trident.supervisor.settings import Settings
from trident.supervisor.stub_watch import StubWatch

_PROBE = "probe"
_FIRST_STEP = "preprocess"


class AnswerWatch:
    """Watches the answers of one run of a server.

    Args:
        repository: Its model repository.
        reporter: Told what happens.
        settings: How patient to be.
        wake: Called when a probe has ended.
    """

    def __init__(self, repository: Path, reporter: Reporter, settings: Settings, wake: Callable[[], None]) -> None:
        self._repository = repository
        self._reporter = reporter
        self._settings = settings
        self._hunt = Hunt(wake)
        self._pulse = Pulse(settings.probe_s)
        self._failed = 0
        self._killed: set[int] = set()

    def close(self) -> None:
        """Probe no more."""
        self._hunt.close()

    def look(self, serving: Serving, stubs: StubWatch, server: int | None = None) -> str:
        """See whether answers have come, or a probe's has; kill who keeps them from coming.

        Args:
            serving: The server.
            stubs: The processes.
            server: Triton's own.

        Returns:
            Why the whole server has to be started again; empty if it need not be.

        Raises:
            ServingError: The server does not tell.
        """
        if self._count(serving):
            self._hunt.forget()  # whatever it finds is of before
            self._good()
        finding = self._hunt.finding()
        if finding is not None:
            self._pulse.probed(good=not finding.problem)
            return self._act_on(finding, stubs)
        if not self._hunt.under_way and self._pulse.due and not stubs.any_dead:
            answers = diagnosis.answering(serving, self._repository, ENSEMBLE) or set()
            versions = {name: version for name, version in answers if name in COMPONENTS}
            self._pulse.asked()
            self._hunt.begin(serving, versions, stubs.stubs.values(), server)
        return ""

    def _count(self, serving: Serving) -> bool:
        """Whether a success has come since this was last asked."""
        counted = serving.statistics(ENSEMBLE)
        return self._pulse.seen(counted.succeeded, counted.failed, serving.statistics(_FIRST_STEP).succeeded)

    def doubt(self, why: str) -> None:
        """Something has been changed: not ready until an answer has come, which is probed for at once."""
        self._pulse.suspect()
        self._hunt.forget()
        self._reporter.health.trouble(_PROBE, f"{why}, and no answer has come since")

    def _good(self) -> None:
        self._failed = 0
        if self._reporter.health.cured(_PROBE):
            self._reporter.say(logging.WARNING, "answers_again", f"{ENSEMBLE} answers again")

    def _act_on(self, finding: Finding, stubs: StubWatch) -> str:
        if not finding.problem:
            self._good()
            return ""
        self._failed += 1
        self._reporter.trouble(_PROBE, "probe_failed", f"{ENSEMBLE} does not answer a probe: {finding.problem}")
        enough = self._failed >= self._settings.failed_probes
        # One that was killed before and is still there is beyond a signal's reach.
        culprits = [s for s in finding.hung + (finding.busy if enough else ()) if s.pid not in self._killed]
        self._killed |= {stub.pid for stub in culprits}
        for stub in culprits:
            stubs.kill(stub, f"{stub.instance} answers nothing")
        if enough and finding.silence and not culprits:
            self._failed = 0
            return f"{ENSEMBLE} has answered none of {self._settings.failed_probes} probes"
        return ""
