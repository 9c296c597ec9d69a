"""A Triton server as a context manager."""

from __future__ import annotations

import collections
import contextlib
import http.client
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from trident import model_config
from trident.contract import ENSEMBLE
from trident.errors import SetupError
from trident.launcher import installation, log, ports
from trident.layout import DEFAULT_REPOSITORY
from trident.supervisor.leftovers import RunFolder

GRPC_PORT, HTTP_PORT, METRICS_PORT = 8001, 8000, 8002
"""Triton's usual ports."""

_ANY_ADDRESS = "0.0.0.0"  # noqa: S104 - compared with, not bound to
_KEPT_LINES = 2000
_PORT_ATTEMPTS = 3
_UNLOAD_S = 5.0
"""How long the models may take to unload, after the grace."""
_CLEAR_S = 10.0
"""How long the guard may take to clear the leftovers."""
_DRAIN_LOOK_S = 0.05
_DRAIN_CALL_S = 2.0

LogSink = Callable[[log.Entry], None]
"""Is called with every line of the server's log, from a thread of its own."""


class TritonServer:
    """Starts a Triton server, waits until a model answers, and stops it again with all that belongs to it.

    Args:
        repository: Folder of the models; the clone's own by default.
        model: The model to wait for; None waits only until the server is up.
        host: IPv4 address, or a name, to bind to.
        grpc_port: 0 is any free one; so for the other two.
        http_port: As above.
        metrics_port: As above.
        arguments: Further arguments of ``tritonserver``, behind the launcher's.
        env: Environment variables for the server, on top of this process's.
        auto_complete: Let Triton fill in what a configuration lacks. The project's own lack nothing.
        log_sink: Gets every line of the server's log.
        start_timeout_s: How long the models may take to load.
        grace_s: How long requests in flight may take when the server stops; see ``stop``.
    """

    def __init__(
        self,
        repository: Path | None = None,
        *,
        model: str | None = ENSEMBLE,
        host: str = "127.0.0.1",
        grpc_port: int = GRPC_PORT,
        http_port: int = HTTP_PORT,
        metrics_port: int = METRICS_PORT,
        arguments: Sequence[str] = (),
        env: Mapping[str, str] | None = None,
        auto_complete: bool = False,
        log_sink: LogSink | None = None,
        start_timeout_s: float = 300.0,
        grace_s: float = 15.0,
    ) -> None:
        self.repository = (repository or DEFAULT_REPOSITORY).resolve()
        self.model = model
        self.host = host
        self._wanted_ports = {"gRPC": grpc_port, "HTTP": http_port, "metrics": metrics_port}
        self.ports = dict(self._wanted_ports)
        self._arguments = tuple(arguments)
        self._env = dict(env or {})
        self._auto_complete = auto_complete
        self._log_sink = log_sink
        self._start_timeout_s = start_timeout_s
        self._grace_s = grace_s
        self._guard: subprocess.Popen[bytes] | None = None
        self._folder: RunFolder | None = None
        self._reader: threading.Thread | None = None
        self._entries: collections.deque[log.Entry] = collections.deque(maxlen=_KEPT_LINES)
        self._serving = False
        self._hurried = threading.Event()

    @property
    def grpc_url(self) -> str:
        """``host:port`` for gRPC clients on this machine."""
        return f"{self._reachable_host}:{self.ports['gRPC']}"

    @property
    def http_url(self) -> str:
        """``http://host:port`` for clients of the KServe v2 protocol over HTTP."""
        return f"http://{self._reachable_host}:{self.ports['HTTP']}"

    @property
    def metrics_url(self) -> str:
        """Where Prometheus finds the metrics."""
        return f"http://{self._reachable_host}:{self.ports['metrics']}/metrics"

    @property
    def _reachable_host(self) -> str:
        return "127.0.0.1" if self.host == _ANY_ADDRESS else self.host

    @property
    def name(self) -> str | None:
        """The server's unique name, in front of its shared-memory files; None when it does not run."""
        return self._folder.name if self._folder else None

    @property
    def running(self) -> bool:
        """Whether the server's process is there."""
        return self._guard is not None and self._guard.poll() is None

    @property
    def log_entries(self) -> list[log.Entry]:
        """The latest lines of the server's log."""
        return list(self._entries)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Start the server and return once the model answers.

        Raises:
            SetupError: It cannot start; the message is one sentence that says why. Nothing of it is left then.
        """
        if self._guard is not None:
            raise RuntimeError("this server has been started before: stop it first")
        check_repository(self.repository, self.model)
        installation.compile_models(self.repository)
        self._hurried.clear()
        for attempt in range(_PORT_ATTEMPTS):
            self.ports = ports.resolve(self.host, self._wanted_ports)
            try:
                self._launch()
                self._await_model()
            except _PortLost as exc:
                self.stop()
                if attempt + 1 == _PORT_ATTEMPTS or 0 not in self._wanted_ports.values():
                    raise SetupError(str(exc)) from exc
            except BaseException:
                self.stop()
                raise
            else:
                self._serving = True
                return

    def stop(self) -> None:
        """Stop the server. Harmless when it does not run.

        First ``model`` takes no more requests (they get NOT_FOUND), and those in flight have ``grace_s`` seconds to
        be answered; with ``model=None`` this step is left out. Then Triton is asked to end, which refuses what models
        call of each other, and has ``grace_s`` seconds more to unload the models, and five on top until it is killed.
        """
        try:
            self._drain()
        finally:  # also when a KeyboardInterrupt ends the waiting
            self._end()

    def hurry(self) -> None:
        """Let a ``stop`` that waits for requests in flight wait no longer. For another thread or a signal handler."""
        self._hurried.set()

    def _drain(self) -> None:
        """Wait until the model has answered what it has accepted, at most the grace.

        Triton that has been asked to end refuses the calls of a model to another at once, in the middle of a request.
        Unloading the model before is what ends gently: it takes no new requests, those in flight go on, all that they
        call stays loaded, and the model's state tells when the last one is through.
        """
        serving, self._serving = self._serving, False
        if not serving or self.model is None or not self.running:
            return
        deadline = time.monotonic() + self._grace_s
        path = f"/v2/repository/models/{self.model}/unload"
        if self._ask("POST", path, deadline) is None:
            return  # nobody to ask: no HTTP, or a server that does not answer
        while time.monotonic() < deadline and self.running and not self._hurried.wait(_DRAIN_LOOK_S):
            index = self._ask("POST", "/v2/repository/index", deadline)
            if index is None or not _is_loaded(index, self.model):
                return

    def _ask(self, method: str, path: str, deadline: float) -> bytes | None:
        left = max(0.01, min(_DRAIN_CALL_S, deadline - time.monotonic()))
        return _call(method, self._reachable_host, self.ports["HTTP"], path, left)

    def _end(self) -> None:
        guard, folder, reader = self._guard, self._folder, self._reader
        self._guard = self._folder = self._reader = None
        if guard is not None:
            if guard.stdin is not None:
                with contextlib.suppress(OSError):
                    guard.stdin.write(b"stop\n")
                    guard.stdin.close()
            try:
                guard.wait(self._grace_s + _UNLOAD_S + _CLEAR_S)
            except subprocess.TimeoutExpired:
                guard.kill()  # and the server with it: see the guard's death signal
                guard.wait()
        if reader is not None:
            reader.join(timeout=5.0)
        if guard is not None and guard.stdout is not None:
            guard.stdout.close()
        if folder is not None:
            folder.release()
            folder.remove()

    def wait(self, timeout_s: float | None = None) -> int | None:
        """Wait until the server ends by itself; its exit code, or None if it still runs after ``timeout_s``."""
        if self._guard is None:
            return None
        try:
            return self._guard.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return None

    def failure(self) -> str:
        """Why the server did not start or has ended, as its log tells it."""
        if self._reader is not None:
            self._reader.join(timeout=2.0)
        return log.reason(self.log_entries)

    def _launch(self) -> None:
        self._entries.clear()
        self._folder = RunFolder.create()
        found = installation.find_installation(self._folder.path)
        command = self._command(found, self._folder.name)
        self._guard = subprocess.Popen(
            [
                *(sys.executable, "-m", "trident.supervisor.guard"),
                *(str(self._folder.path), str(self._grace_s + _UNLOAD_S), json.dumps(command)),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            bufsize=0,
            env=found.environment({**os.environ, **self._env}),
            pass_fds=(self._folder.lock,),
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read_log, args=(self._guard,), name="triton-log", daemon=True)
        self._reader.start()

    def _command(self, found: installation.Installation, name: str) -> list[str]:
        command = [
            str(found.executable),
            f"--model-repository={self.repository}",
            # Explicit, so that a later version can be loaded beside the one that serves.
            "--model-control-mode=explicit",
            "--load-model=*",
            "--exit-on-error=true",
            f"--exit-timeout-secs={max(1, int(self._grace_s))}",
            f"--grpc-address={self.host}",
            f"--grpc-port={self.ports['gRPC']}",
            f"--http-address={self.host}",
            f"--http-port={self.ports['HTTP']}",
            f"--metrics-address={self.host}",
            f"--metrics-port={self.ports['metrics']}",
            # Two servers with the same prefix would share, and destroy, each other's memory.
            f"--backend-config=python,shm-region-prefix-name={name}",
        ]
        if not self._auto_complete:
            command.append("--disable-auto-complete-config")
        if found.backends is not None:
            command.append(f"--backend-directory={found.backends}")
        return [*command, *self._arguments]

    def _read_log(self, guard: subprocess.Popen[bytes]) -> None:
        if guard.stdout is None:
            return
        level = log.Level.INFO
        for raw in guard.stdout:
            entry = log.parse_line(raw.decode(errors="replace").rstrip("\n"), level)
            level = entry.level
            self._entries.append(entry)
            if self._log_sink is not None:
                with contextlib.suppress(OSError):  # a terminal that is gone must not stop the reading
                    self._log_sink(entry)

    def _await_model(self) -> None:
        deadline = time.monotonic() + self._start_timeout_s
        path = "/v2/health/live" if self.model is None else f"/v2/models/{self.model}/ready"
        while time.monotonic() < deadline:
            code = self.wait(0.1)
            if code is not None:
                sentence = f"Triton did not start (exit code {code}): {self.failure()}"
                raise _PortLost(sentence) if "a port is taken" in sentence else SetupError(sentence)
            if _call("GET", self._reachable_host, self.ports["HTTP"], path, 2.0) is not None:
                return
        raise SetupError(f"{self.model or 'the server'} was not ready within {self._start_timeout_s:.0f} seconds")


class _PortLost(SetupError):
    """Someone else has taken a port between the check and the server's start."""


def _call(method: str, host: str, port: int, path: str, timeout_s: float) -> bytes | None:
    """The body of the answer; None if there is none, or it is not OK."""
    # Not urllib: it would ask the proxy that the environment may name.
    connection = http.client.HTTPConnection(host, port, timeout=timeout_s)
    try:
        connection.request(method, path)
        response = connection.getresponse()
        body = response.read()
    except (OSError, http.client.HTTPException):
        return None
    else:
        return body if response.status == http.client.OK else None
    finally:
        connection.close()


def _is_loaded(index: bytes, model: str) -> bool:
    """Whether Triton's index of the repository shows a version of the model that is not unloaded yet."""
    return any(
        entry.get("name") == model and entry.get("state") in ("READY", "UNLOADING") for entry in json.loads(index)
    )


def check_repository(repository: Path, model: str | None) -> None:
    """Check what can be known before Triton starts: the configurations, and that the networks' files are there.

    Raises:
        SetupError: Something is missing; the message names it.
    """
    configs = model_config.read_repository(repository)
    if model is not None and model not in configs:
        raise SetupError(f"{repository} holds no model {model!r}, only {', '.join(configs)}")
    missing = [(name, file) for name, _, file in model_config.network_files(repository, configs) if not file.is_file()]
    if missing:
        names = ", ".join(dict.fromkeys(name for name, _ in missing))
        raise SetupError(f"no network has been exported for {names} ({missing[0][1]} is missing): run `make export`")
