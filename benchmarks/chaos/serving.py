"""``trident serve`` as a process of its own, as its users run it: what it says of itself, and what belongs to it."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psutil  # type: ignore[import-untyped]

from benchmarks.circumstances import ROOT
from benchmarks.peers.processes import end_with_parent
from benchmarks.served import empty_gallery
from trident.entities.gallery import URL_VARIABLE
from trident.errors import SetupError
from trident.launcher import ports
from trident.supervisor import leftovers, processes

_HOST = "127.0.0.1"
_READY = "/v2/health/ready"
_START_S, _STOP_S = 300.0, 90.0
_ANSWER_S = 2.0
_LOOK_S = 0.1
_GRACE_S = 5
_LOG_LENGTH = 1500
_TRITON = "tritonserver"
_TEMPORARY = "tmp"
_NAME = re.compile(r"shm-region-prefix-name=([^\s,]+)")

Instances = Counter[tuple[str, int]]
"""How many processes each version of each model has."""


class Served:
    """A server that is started when it is entered, and stopped when it is left.

    Args:
        repository: What it serves.
        folder: For its gallery, state, temporary files, key and log.
        before: Words in front of its command.
    """

    def __init__(self, repository: Path, folder: Path, before: Sequence[str] = ()) -> None:
        self.repository = repository.resolve()
        self.key = folder / "key"
        self.log = folder / "server.log"
        self.temporary = folder / _TEMPORARY
        self.temporary.mkdir()
        self.environment: Mapping[str, str] = {
            **os.environ,
            URL_VARIABLE: empty_gallery(folder),
            "XDG_STATE_HOME": str(folder / "state"),
            "TMPDIR": str(self.temporary),
        }
        found = ports.resolve(_HOST, {"grpc": 0, "metrics": 0, "health": 0})
        self.url = f"{_HOST}:{found['grpc']}"
        self._health_port = found["health"]
        listening = [text for name, port in found.items() for text in (f"--{name}-port", str(port))]
        # Unverified: somebody's own networks, which have no record of an export, are served too.
        self.options = [*listening, "--unverified", "--grace", str(_GRACE_S)]
        self._before = tuple(before)
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        where = ("--model-repository", str(self.repository), "--admin-key-file", str(self.key))
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
        process = self._process
        if process is None:
            return 0
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(_STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()
        return process.wait()

    def said(self) -> str:
        """The end of what it wrote, in one line."""
        return " ".join(self.log.read_text(encoding="utf-8", errors="replace")[-_LOG_LENGTH:].split())

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

    def instances(self) -> Instances:
        """Its processes of the Python backend, by version. Raises SetupError if it says nothing."""
        return Counter((str(one["model"]), int(one["version"])) for one in self.status()["processes"])

    def stubs(self, model: str) -> list[int]:
        """The processes of a model's lowest version. Raises SetupError if it says nothing."""
        found = [(int(one["version"]), int(one["pid"])) for one in self.status()["processes"] if one["model"] == model]
        return sorted(pid for version, pid in found if version == min(found)[0])

    def triton(self) -> int | None:
        """Process id of Triton; None where there is none at the moment."""
        return triton_of(self.tree())

    def name(self) -> str | None:
        """The name of its Triton, in front of its files in /dev/shm: another one after each restart."""
        return name_of(self.tree())

    def tree(self) -> list[psutil.Process]:
        """The launcher and all that it has started."""
        try:
            launcher = psutil.Process(self.pid)
            return [launcher, *launcher.children(recursive=True)]
        except psutil.Error:
            return []

    def _await_ready(self) -> None:
        deadline = time.monotonic() + _START_S
        while not self.ready()[0]:
            if not self.running:
                raise SetupError(f"the server ended before it was ready; it said: {self.said()}")
            if time.monotonic() > deadline:
                raise SetupError(f"the server was not ready within {_START_S:.0f} seconds; it said: {self.said()}")
            time.sleep(_LOOK_S)


def run_folders(temporary: Path) -> list[Path]:
    """The folders of servers, each of its server's name, that lie in what they were given for temporary files."""
    return list(temporary.glob("trident-*/trident-*"))


@contextlib.contextmanager
def cleared(folder: Path) -> Iterator[None]:
    """Clear away, in the end, what servers whose guards were killed have left in the machine's shared memory.

    Later servers do that for those whose run folders they find, which these are not: theirs go with ``folder``.

    Args:
        folder: Theirs, as ``Served`` takes it; to be there until then, and their processes to have ended.
    """
    try:
        yield
    finally:
        for path in run_folders(folder / _TEMPORARY):
            leftovers.clear(path.name)


def triton_of(tree: Iterable[psutil.Process]) -> int | None:
    """Process id of the Triton among some processes; None where there is none."""
    for process in tree:
        with contextlib.suppress(psutil.Error):
            if process.name() == _TRITON and process.status() != psutil.STATUS_ZOMBIE:
                return int(process.pid)
    return None


def name_of(tree: Iterable[psutil.Process]) -> str | None:
    """The name of the Triton among some processes; None where there is none, or it has just ended."""
    pid = triton_of(tree)
    if pid is None:
        return None
    try:
        command = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace")
    except OSError:
        return None
    found = _NAME.search(command.replace("\0", " "))
    return found[1] if found else None


def has_ended(pid: int) -> bool:
    """Whether a process has, also where nobody has taken notice."""
    return processes.state_of(pid) in processes.ENDED
