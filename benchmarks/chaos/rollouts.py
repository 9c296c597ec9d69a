"""A rollout that a fault is to meet: ``trident rollout`` there, and whatever it takes to be back where it began."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

from benchmarks.chaos.serving import Served
from benchmarks.circumstances import ROOT
from benchmarks.swaps.repository import second_versions
from trident.component_digest import digest_of_component
from trident.errors import SetupError
from trident.provenance import Provenance
from trident.rollout.disk import Repository
from trident.rollout.engine import FLIP, LOAD, SHADOW
from trident.rollout.journal import Journal

COMPONENT = "fusion"
"""What is moved: the same code under another number, so that every answer but for its ``models`` stays as it is."""
STEPS = (LOAD, SHADOW, FLIP)
"""Steps that the fault may fall into; the preflight does not touch the server."""
_INTERRUPTED = 3
_STEP_WITHIN_S, _END_WITHIN_S, _CALL_S = 90.0, 240.0, 150.0
_TRIES, _PAUSE_S = 8, 2.0
_LOOK_S = 0.02
_SAID_LENGTH = 300


class Rollouts:
    """Rollouts of one component of a repository, there and back.

    Args:
        repository: A copy that may be changed. Is given a second version of the component.
        golden: Folder of pictures for the shadow.
        folder: For the rollouts' reports.

    Raises:
        SetupError: The repository cannot be read.
    """

    def __init__(self, repository: Repository, golden: Path, folder: Path) -> None:
        self._repository = repository
        self._golden = golden
        self._folder = folder
        self._journal = Journal(repository.path)
        self.first, self.other = second_versions(repository, [COMPONENT])[COMPONENT]

    def other_provenance(self) -> Provenance:
        """What the second version calls itself in answers."""
        return Provenance(self.other, digest_of_component(COMPONENT, self._repository.folder(COMPONENT, self.other)))

    def begin(self, served: Served) -> subprocess.Popen[str]:
        """Begin to move the component to its second version."""
        options = ("--golden", str(self._golden), "--watch", "0s", "--report", str(self._folder / "rollouts"))
        return self._started(served, "rollout", COMPONENT, str(self.other), *options)

    def wait_for(self, step: str, process: subprocess.Popen[str]) -> str:
        """Wait until a step, or a later one, has begun; gives the one that has, empty if the rollout has ended."""
        deadline = time.monotonic() + _STEP_WITHIN_S
        while process.poll() is None and time.monotonic() < deadline:
            record = self._journal.unfinished()
            if record is not None and record.step in STEPS[STEPS.index(step) :]:
                return record.step
            time.sleep(_LOOK_S)
        return ""

    def end(self, process: subprocess.Popen[str]) -> tuple[int, str]:
        """Wait for its end, which is brought about where it takes too long; exit code and last words."""
        try:
            said, _ = process.communicate(timeout=_END_WITHIN_S)
        except subprocess.TimeoutExpired:
            process.terminate()
            said, _ = process.communicate()
        return process.returncode, _last(said)

    def put_back(self, served: Served) -> str:
        """See to it that the first version answers; what could not be done for it, empty if all was."""
        problem = ""
        for _ in range(_TRIES):
            problem = self._put_back(served)
            if not problem:
                return ""
            time.sleep(_PAUSE_S)
        return problem

    def retire(self, served: Served) -> str:
        """Let the second version go; why it has not gone, empty if it has.

        The bundled server cannot unload a version whose process died with a request in hand.
        """
        code, said = self._run(served, "retire", COMPONENT)
        return f"trident retire: {said}" if code else ""

    def _put_back(self, served: Served) -> str:
        if self._journal.unfinished() is not None:
            code, said = self._run(served, "rollout", "--abort")
            if code:
                return f"trident rollout --abort: {said}"
        try:
            away = self._repository.release()[COMPONENT] != self.first
        except SetupError as error:
            return str(error)
        if not away:
            return ""
        code, said = self._run(served, "rollback", COMPONENT)
        return f"trident rollback: {said}" if code else ""

    def _run(self, served: Served, *words: str) -> tuple[int, str]:
        with self._started(served, *words) as process:
            try:
                said, _ = process.communicate(timeout=_CALL_S)
            except BaseException as error:  # Ctrl-C, too, leaves no command behind
                process.kill()
                if not isinstance(error, subprocess.TimeoutExpired):
                    raise
                return _INTERRUPTED, f"no end within {_CALL_S:.0f} s"
        return process.returncode, _last(said)

    def _started(self, served: Served, *words: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            self._command(served, *words),
            cwd=ROOT,
            env=served.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def _command(self, served: Served, *words: str) -> list[str]:
        server = ("--url", served.url, "--admin-key-file", str(served.key_file))
        where = ("--model-repository", str(self._repository.path))
        return [sys.executable, "-m", "trident", *words, *server, *where]


def _last(said: str) -> str:
    """The last line of what a command said."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    return (lines or [""])[-1][:_SAID_LENGTH]
