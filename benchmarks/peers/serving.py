"""Trident and the peers as one kind of thing: started, asked at an address, weighed, and ended without a trace."""

from __future__ import annotations

import contextlib
import os
import random
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol as Interface

from benchmarks.circumstances import ROOT
from benchmarks.peers.environments import Environment
from benchmarks.peers.peer import PORTS, Peer, Protocol
from benchmarks.peers.processes import Family, stop
from benchmarks.peers.same import ask
from trident.background import SERVER_VARIABLES
from trident.entities.gallery import URL_VARIABLE
from trident.errors import SetupError
from trident.launcher import ports

REPOSITORY_VARIABLE = "MODEL_REPOSITORY"
"""Names the model repository to the peers' servers."""
_START_S = 120.0
_STOP_S = 15.0
_LOOK_S = 0.5
_LOG_LENGTH = 600
_PORTS, _PORT_ATTEMPTS = range(15_000, 30_000), 20
_ERROR = re.compile(r"^(?:\w+\.)*\w*(?:Error|Exception): .*", re.MULTILINE)
"""The line that ends a traceback."""


@dataclass(frozen=True, slots=True)
class Running:
    """A server that answers."""

    url: str
    """As ``benchmarks.load`` takes it."""
    form: str | None
    family: Family
    start_s: float
    """From its start to its first answer."""
    command: str
    """How it was started."""


class Subject(Interface):
    """What is compared."""

    @property
    def name(self) -> str:
        """For files and options."""

    @property
    def title(self) -> str:
        """For people."""

    @property
    def version(self) -> str:
        """Of the server's software."""

    @property
    def protocol(self) -> Protocol:
        """How it is asked."""

    def serving(self, repository: Path, gallery: str, picture: bytes) -> contextlib.AbstractContextManager[Running]:
        """Start it, and end it after.

        Args:
            repository: The model repository.
            gallery: SQLAlchemy URL of the gallery.
            picture: It is ready once it has answered this one.

        Raises:
            SetupError: It does not start, or does not answer; the message says what it said.
        """


@dataclass(frozen=True, slots=True)
class Trident:
    """The ensemble, by ``trident serve`` in a process of its own, as its users run it."""

    version: str
    name: str = "trident"
    title: str = "Trident"
    protocol: Protocol = Protocol.GRPC

    @contextmanager
    def serving(self, repository: Path, gallery: str, picture: bytes) -> Iterator[Running]:
        """As ``Subject`` says."""
        found = ports.resolve("127.0.0.1", {"grpc": 0, "metrics": 0, "health": 0})
        listening = [text for name, port in found.items() for text in (f"--{name}-port", str(port))]
        with tempfile.TemporaryDirectory(prefix="peer-", ignore_cleanup_errors=True) as text, Family() as family:
            folder = Path(text)
            # Unverified: somebody's own networks, which have no record of an export, are measured too.
            own = ("--unverified", "--admin-key-file", str(folder / "key"))
            options = ("--model-repository", str(repository), *own, *listening)
            command = [sys.executable, "-m", "trident", "serve", *options]
            started = _Started(command, ROOT, {**os.environ, URL_VARIABLE: gallery}, folder / "server.log")
            with started.answering(f"127.0.0.1:{found['grpc']}", None, picture) as (url, seconds):
                yield Running(url, None, family, seconds, f"trident serve {' '.join(listening)}")


@dataclass(frozen=True, slots=True)
class Served:
    """A peer, in its own environment."""

    peer: Peer
    environment: Environment
    version: str

    @property
    def name(self) -> str:
        """As ``Subject`` says."""
        return self.peer.name

    @property
    def title(self) -> str:
        """As ``Subject`` says."""
        return self.peer.title

    @property
    def protocol(self) -> Protocol:
        """As ``Subject`` says."""
        return self.peer.protocol

    @contextmanager
    def serving(self, repository: Path, gallery: str, picture: bytes) -> Iterator[Running]:
        """As ``Subject`` says."""
        found = _free_ports()
        # Short: Ray puts sockets into it, whose names may have 107 characters.
        with tempfile.TemporaryDirectory(prefix="peer-", ignore_cleanup_errors=True) as text, Family() as family:
            folder = Path(text)
            command, variables = self.peer.filled(found, folder)
            started = _Started(
                [str(self.environment.programs / command[0]), *command[1:]],
                self.peer.folder,
                self._variables(variables, repository, gallery),
                folder / "server.log",
            )
            with started.answering(self.peer.url(found), self.peer.form, picture) as (url, seconds):
                yield Running(url, self.peer.form, family, seconds, " ".join(self.peer.start))

    def _variables(self, own: Mapping[str, str], repository: Path, gallery: str) -> dict[str, str]:
        """The environment variables of the server's processes."""
        programs = self.environment.programs
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL"))}
        return {
            # As the launcher has it for Triton: the same threads in networks, and the same allocator.
            **SERVER_VARIABLES,
            **inherited,
            "PATH": f"{programs}{os.pathsep}{os.environ.get('PATH', '')}",
            # The clone: the pipeline, and Trident's own functions.
            "PYTHONPATH": os.pathsep.join((str(ROOT), str(ROOT / "client"))),
            "PYTHONDONTWRITEBYTECODE": "1",
            "PYTHONUNBUFFERED": "1",
            REPOSITORY_VARIABLE: str(repository),
            URL_VARIABLE: gallery,
            **own,
        }


@dataclass(frozen=True, slots=True)
class _Started:
    """A server's first process."""

    command: Sequence[str]
    folder: Path
    variables: Mapping[str, str]
    log: Path

    @contextmanager
    def answering(self, url: str, form: str | None, picture: bytes) -> Iterator[tuple[str, float]]:
        """Start it, give its address and the seconds to its first answer, and end it after."""
        begun = time.monotonic()
        with self.log.open("wb") as sink:
            process = subprocess.Popen(
                self.command,
                cwd=self.folder,
                env=self.variables,
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C is for us: we stop it in order
            )
        try:
            _answered(url, form, picture, process, self.log)
            yield url, time.monotonic() - begun
        finally:
            stop(process, _STOP_S)


def _free_ports() -> dict[str, int]:
    """Free ports below those that the system gives out by itself: Ray takes many of these before it listens."""
    for _ in range(_PORT_ATTEMPTS):
        wanted = dict(zip(PORTS, random.sample(_PORTS, len(PORTS)), strict=True))
        with contextlib.suppress(SetupError):
            return ports.resolve("127.0.0.1", wanted)
    raise SetupError(f"no free ports of 127.0.0.1 from {_PORTS.start} to {_PORTS.stop - 1}: stop what listens there")


def _answered(url: str, form: str | None, picture: bytes, process: subprocess.Popen[bytes], log: Path) -> None:
    """Wait for the first answer.

    Args:
        url: Whom to ask.
        form: As ``benchmarks.load`` takes it.
        picture: What to ask.
        process: The server's first.
        log: Where it writes what it has to say.

    Raises:
        SetupError: The server has ended, or does not answer.
    """
    deadline = time.monotonic() + _START_S
    while True:
        try:
            ask(url, form, [picture])
            return
        except SetupError as error:
            if process.poll() is not None:
                code = process.returncode
                raise SetupError(f"it ended with exit code {code} before it answered: {_said(log)}") from error
            if time.monotonic() > deadline:
                message = f"it did not answer within {_START_S:.0f} seconds: {error}; it said: {_said(log)}"
                raise SetupError(message) from error
        time.sleep(_LOOK_S)


def _said(log: Path) -> str:
    """The last error of what a server wrote, or the end of it, in one line."""
    text = log.read_text(encoding="utf-8", errors="replace")
    errors = _ERROR.findall(text)
    return " ".join((errors[-1] if errors else text).split())[-_LOG_LENGTH:]
