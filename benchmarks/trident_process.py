"""``trident serve`` in a process of its own, as its users run it, in folders that nobody else uses."""

from __future__ import annotations

import http
import http.client
import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from benchmarks.circumstances import ROOT
from benchmarks.peers.processes import end_with_parent, stop
from benchmarks.served import empty_gallery
from trident.entities.gallery import URL_VARIABLE
from trident.errors import SetupError
from trident.launcher import ports

TEMPORARY = "temporary"
"""Within the server's folder: its temporary files."""
_HOST = "127.0.0.1"
_READY = "/v2/health/ready"
_START_S, _STOP_S = 300.0, 90.0
_ANSWER_S = 2.0
_LOOK_S = 0.1
_GRACE_S = 5
"""After a caller has left, the bundled server takes all of it to stop: see docs/operations.md."""
_LOG_LENGTH = 4000
_MESSAGE_LENGTH = 1500


class TridentProcess:
    """A server that is started when it is entered, and stopped when it is left.

    Args:
        repository: What it serves.
        folder: Empty, for its log, state, gallery, temporary files and admin key; to be there for as long as it runs.
        options: Further ones of ``trident serve``.
        before: Words in front of its command.
    """

    def __init__(
        self, repository: Path, folder: Path, *, options: Sequence[str] = (), before: Sequence[str] = ()
    ) -> None:
        self.repository = repository.resolve()
        self.key_file = folder / "key" / "admin"
        self.log = folder / "server.log"
        self.temporary = folder / TEMPORARY
        self.folders: Mapping[str, Path] = {
            "log": self.log,
            "state": folder / "state",
            "gallery": folder / "gallery",
            "temporary": self.temporary,
        }
        """Where it writes, by what it is; without the key."""
        self.gallery_url = empty_gallery(self.folders["gallery"])
        self.environment: Mapping[str, str] = {
            **os.environ,
            URL_VARIABLE: self.gallery_url,
            "XDG_STATE_HOME": str(self.folders["state"]),
            "TMPDIR": str(self.temporary),
        }
        found = ports.resolve(_HOST, {"grpc": 0, "metrics": 0, "health": 0})
        self.url = f"{_HOST}:{found['grpc']}"
        self._health_port = found["health"]
        listening = [text for name, port in found.items() for text in (f"--{name}-port", str(port))]
        self.options = [*listening, *options, "--grace", str(_GRACE_S)]
        self._before = tuple(before)
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        for path in (*self.folders.values(), self.key_file.parent):
            if path != self.log:
                path.mkdir(mode=0o700)
        where = ("--model-repository", str(self.repository), "--admin-key-file", str(self.key_file))
        with self.log.open("wb") as sink:
            self._process = subprocess.Popen(
                [*self._before, sys.executable, "-m", "trident", "serve", *self.options, *where],
                cwd=ROOT,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C is for us: we stop it in order
                preexec_fn=end_with_parent,  # noqa: PLW1509 - one system call
            )
        try:
            self._await_ready()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def pid(self) -> int:
        """The launcher's process."""
        if self._process is None:
            raise RuntimeError("the server has not been started: use `with`")
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether the launcher is there."""
        return self._process is not None and self._process.poll() is None

    def stop(self) -> int:
        """Ask it to end, and kill it if it does not; its exit code. Harmless when it has ended."""
        return 0 if self._process is None else stop(self._process, _STOP_S)

    def said(self) -> str:
        """The end of what it wrote."""
        return self.log.read_bytes()[-_LOG_LENGTH:].decode("utf-8", errors="replace").strip()

    def get(self, path: str) -> tuple[int, Any]:
        """Status and body of an answer of its health endpoint. Raises OSError or ValueError if there is none."""
        connection = http.client.HTTPConnection(_HOST, self._health_port, timeout=_ANSWER_S)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read())
        except http.client.HTTPException as error:
            raise OSError(str(error)) from error
        finally:
            connection.close()

    def ready(self) -> tuple[bool, str]:
        """Whether it says that it is ready, and why not."""
        try:
            status, body = self.get(_READY)
        except (OSError, ValueError) as error:
            return False, f"no answer: {error!r}"
        return status == http.HTTPStatus.OK, str(body.get("error", ""))

    def status(self) -> dict[str, Any]:
        """All that it says of itself. Raises SetupError if it says nothing."""
        try:
            return dict(self.get("/status")[1])
        except (OSError, ValueError) as error:
            raise SetupError(f"the launcher's health endpoint gives no status: {error!r}") from error

    def _await_ready(self) -> None:
        deadline = time.monotonic() + _START_S
        while not self.ready()[0]:
            said = f"it said: {' '.join(self.said()[-_MESSAGE_LENGTH:].split())}"
            if not self.running:
                raise SetupError(f"the server ended before it was ready; {said}")
            if time.monotonic() > deadline:
                raise SetupError(f"the server was not ready within {_START_S:.0f} seconds; {said}")
            time.sleep(_LOOK_S)
