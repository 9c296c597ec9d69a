"""Trident and the peers as one kind of thing: started, asked at an address, weighed, and ended without a trace."""

from __future__ import annotations

import contextlib
import os
import random
import re
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol as Interface

from benchmarks.circumstances import ROOT
from benchmarks.peers.environments import Environment
from benchmarks.peers.peer import PORTS, Peer, Protocol
from benchmarks.peers.processes import Family
from benchmarks.peers.same import ask
from trident.background import THREAD_LIMITS
from trident.entities.gallery import URL_VARIABLE
from trident.errors import SetupError
from trident.launcher import TritonServer, ports

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
    """The ensemble, as ``trident serve`` runs it."""

    version: str
    name: str = "trident"
    title: str = "Trident"
    protocol: Protocol = Protocol.GRPC

    @contextmanager
    def serving(self, repository: Path, gallery: str, picture: bytes) -> Iterator[Running]:
        """As ``Subject`` says."""
        family = Family()
        begun = time.monotonic()
        server = TritonServer(repository, grpc_port=0, http_port=0, metrics_port=0, env={URL_VARIABLE: gallery})
        try:
            with server:
                _answered(server.grpc_url, None, picture, lambda: (server.running, server.failure))
                started_s = time.monotonic() - begun
                yield Running(server.grpc_url, None, family, started_s, _command_of(family))
        finally:
            family.end()


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
        family = Family()
        # Short: Ray puts sockets into it, whose names may have 107 characters.
        with tempfile.TemporaryDirectory(prefix="peer-", ignore_cleanup_errors=True) as text:
            folder = Path(text)
            log = folder / "server.log"
            command, variables = self.peer.filled(found, folder)
            url, begun = self.peer.url(found), time.monotonic()
            with log.open("wb") as sink:
                process = subprocess.Popen(
                    [str(self.environment.programs / command[0]), *command[1:]],
                    cwd=self.peer.folder,
                    env=self._variables(variables, repository, gallery),
                    stdin=subprocess.DEVNULL,
                    stdout=sink,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,  # Ctrl-C is for us: we stop it in order
                )
            try:
                _answered(url, self.peer.form, picture, lambda: (process.poll() is None, lambda: _said(log)))
                yield Running(url, self.peer.form, family, time.monotonic() - begun, " ".join(self.peer.start))
            finally:
                _stop(process)
                family.end()

    def _variables(self, own: Mapping[str, str], repository: Path, gallery: str) -> dict[str, str]:
        """The environment variables of the server's processes."""
        programs = self.environment.programs
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL"))}
        return {
            **inherited,
            # As the launcher has it for Triton: networks run side by side, and share the cores.
            **dict.fromkeys(THREAD_LIMITS, "1"),
            "PATH": f"{programs}{os.pathsep}{os.environ.get('PATH', '')}",
            # The clone: the pipeline, and Trident's own functions.
            "PYTHONPATH": os.pathsep.join((str(ROOT), str(ROOT / "client"))),
            "PYTHONDONTWRITEBYTECODE": "1",
            "PYTHONUNBUFFERED": "1",
            REPOSITORY_VARIABLE: str(repository),
            URL_VARIABLE: gallery,
            **own,
        }


def _command_of(family: Family) -> str:
    """The command line of Triton itself among the processes that belong to it."""
    return next((" ".join(one.cmdline()) for one in family.members() if one.name() == "tritonserver"), "unknown")


def _free_ports() -> dict[str, int]:
    """Free ports below those that the system gives out by itself: Ray takes many of these before it listens."""
    for _ in range(_PORT_ATTEMPTS):
        wanted = dict(zip(PORTS, random.sample(_PORTS, len(PORTS)), strict=True))
        with contextlib.suppress(SetupError):
            return ports.resolve("127.0.0.1", wanted)
    raise SetupError(f"no free ports of 127.0.0.1 from {_PORTS.start} to {_PORTS.stop - 1}: stop what listens there")


def _answered(url: str, form: str | None, picture: bytes, state: Callable[[], tuple[bool, Callable[[], str]]]) -> None:
    """Wait for the first answer.

    Args:
        url: Whom to ask.
        form: As ``benchmarks.load`` takes it.
        picture: What to ask.
        state: Whether the server runs, and what gives its last words.

    Raises:
        SetupError: The server has ended, or does not answer.
    """
    deadline = time.monotonic() + _START_S
    while True:
        try:
            ask(url, form, [picture])
            return
        except SetupError as error:
            running, last_words = state()
            if not running:
                raise SetupError(f"it ended before it answered: {last_words()}") from error
            if time.monotonic() > deadline:
                message = f"it did not answer within {_START_S:.0f} seconds: {error}; it said: {last_words()}"
                raise SetupError(message) from error
        time.sleep(_LOOK_S)


def _said(log: Path) -> str:
    """The last error of what a server wrote, or the end of it, in one line."""
    text = log.read_text(encoding="utf-8", errors="replace")
    errors = _ERROR.findall(text)
    return " ".join((errors[-1] if errors else text).split())[-_LOG_LENGTH:]


def _stop(process: subprocess.Popen[bytes]) -> None:
    """Ask it to end, and kill it if it does not."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
