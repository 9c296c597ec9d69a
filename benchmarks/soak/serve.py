"""``trident serve`` in a process of its own, as its users run it, in folders that nobody else uses."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from benchmarks.circumstances import ROOT
from benchmarks.peers.processes import end_with_parent
from benchmarks.served import empty_gallery
from trident.entities.gallery import URL_VARIABLE
from trident.errors import SetupError

GRACE_S = 5.0
"""After a caller has left, the bundled server takes all of it to stop: see docs/operations.md."""
_STOP_S = 60.0
_QUESTION_S = 5.0
_SAID_BYTES = 4000
_PORTS = tuple(f"--{side}-port=0" for side in ("grpc", "metrics", "health"))


class Served:
    """The server between ``__enter__``, which returns once it answers, and ``__exit__``.

    Args:
        repository: What it serves.
        folder: Empty, for its log, state, gallery and temporary files; to be there for as long as it runs.
    """

    def __init__(self, repository: Path, folder: Path) -> None:
        self._repository = repository.resolve()
        self.log = folder / "server.log"
        self.key_file = folder / "key" / "admin"
        self.folders: Mapping[str, Path] = {
            "log": self.log,
            "state": folder / "state",
            "gallery": folder / "gallery",
            "temporary": folder / "temporary",
        }
        """Where it writes, by what it is."""
        self.gallery_url = empty_gallery(self.folders["gallery"])
        self._process: subprocess.Popen[str] | None = None
        self.grpc_url = self.health_url = ""
        self.exit_code: int | None = None
        """None while it runs."""

    def __enter__(self) -> Self:
        for name, path in (*self.folders.items(), ("key", self.key_file.parent)):
            if name != "log":
                path.mkdir(mode=0o700)
        try:
            self._start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _start(self) -> None:
        options = ("--model-repository", str(self._repository), "--admin-key-file", str(self.key_file))
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "trident", "serve", *options, "--grace", str(GRACE_S), *_PORTS],
                cwd=ROOT,
                env={
                    **os.environ,
                    URL_VARIABLE: self.gallery_url,
                    "XDG_STATE_HOME": str(self.folders["state"]),
                    "TMPDIR": str(self.folders["temporary"]),
                },
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                start_new_session=True,  # Ctrl-C is for us: we stop it in order
                preexec_fn=end_with_parent,  # noqa: PLW1509 - one system call
            )
        # One line, once it answers; at the end of its output it has failed.
        line = self._process.stdout.readline() if self._process.stdout is not None else ""
        grpc, health = re.search(r"gRPC ([^\s,;]+)", line), re.search(r"health http://([^\s,;]+)", line)
        if grpc is None or health is None:
            raise SetupError(f"trident serve did not start: {self.said()}")
        self.grpc_url, self.health_url = grpc[1], health[1]

    @property
    def pid(self) -> int:
        """The launcher's process."""
        if self._process is None:
            raise RuntimeError("the server has not been started: use `with`")
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether the launcher's process is there."""
        return self._process is not None and self._process.poll() is None

    def status(self) -> dict[str, Any] | None:
        """What its health endpoint says of it; None where that does not answer."""
        connection = http.client.HTTPConnection(self.health_url, timeout=_QUESTION_S)
        try:
            connection.request("GET", "/status")
            found: dict[str, Any] = json.loads(connection.getresponse().read())
        except (OSError, http.client.HTTPException, ValueError):
            return None
        else:
            return found
        finally:
            connection.close()

    def said(self) -> str:
        """The end of its log."""
        with contextlib.suppress(OSError), self.log.open("rb") as log:
            log.seek(max(0, self.log.stat().st_size - _SAID_BYTES))
            return log.read().decode(errors="replace").strip()
        return ""

    def stop(self) -> int | None:
        """Stop it in order, or kill it where that takes too long. Gives its exit code, negative for a signal."""
        process = self._process
        if process is None:
            return None
        if process.poll() is None:
            process.terminate()
        try:
            self.exit_code = process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            self.exit_code = process.wait()
        if process.stdout is not None:
            process.stdout.close()
        return self.exit_code
