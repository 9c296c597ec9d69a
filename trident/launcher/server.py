"""A Triton server as a context manager."""

from __future__ import annotations

import collections
import contextlib
import json
import os
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from trident import model_config
from trident.access.keys import GRPC_HEADER, KeyFile
from trident.access.marks import HIDDEN, SECRET_VARIABLE
from trident.access.proof import prove_closed
from trident.access.restrictions import OPEN, Access
from trident.access.tls import ServerTLS
from trident.contract import ENSEMBLE
from trident.errors import SetupError
from trident.launcher import draining, installation, log, ports
from trident.launcher.verified import check_networks
from trident.layout import DEFAULT_REPOSITORY
from trident.rollout.serving import ServingError, TritonServing
from trident.supervisor.hold import VARIABLE as HOLD_VARIABLE
from trident.supervisor.leftovers import RunFolder
from trident.verification import UNVERIFIED_VARIABLE, is_unverified
from trident_client.settings import TLS

GRPC_PORT, HTTP_PORT, METRICS_PORT = 8001, 8000, 8002
"""Triton's usual ports."""

_ANY_ADDRESS = "0.0.0.0"  # noqa: S104 - compared with, not bound to
_KEPT_LINES = 2000
_PORT_ATTEMPTS = 3
_UNLOAD_S = 5.0
"""How long the models may take to unload, after the grace."""
_CLEAR_S = 10.0
"""How long the guard may take to clear the leftovers."""
_LOOK_S = 0.1
_HOLD_FILE = "hold"
_CALL_S = 2.0
"""How long the server may take to answer a question of the launcher."""
_UNLOADED = re.compile(r"successfully unloaded '([^']+)' version \d+")

LogSink = Callable[[log.Entry], None]
"""Is called with every line of the server's log, from a thread of its own."""


class TritonServer:
    """Starts a Triton server, waits until a model answers, and stops it again with all that belongs to it.

    ``stop`` and ``hurry`` may be called from any thread, also while another starts or restarts the server.

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
        unverified: Whether networks that have no record of an export are loaded too; see ``trident.verification``.
        access: What it answers to whom. Without it everything to everybody who reaches it, as plain Triton does, for
            tests and measurements of one's own; ``trident serve`` closes what callers do not need.
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
        access: Access = OPEN,
        unverified: bool = False,
    ) -> None:
        self.repository = (repository or DEFAULT_REPOSITORY).resolve()
        self.model = model
        self.host = host
        http = {"HTTP": http_port} if access.http else {}
        self._wanted_ports = {"gRPC": grpc_port, **http, "metrics": metrics_port}
        self.ports = dict(self._wanted_ports)
        self._arguments = tuple(arguments)
        self._access = access
        self._server_tls: ServerTLS | None = None
        self._own_tls: TLS | None = None
        self._key_file: KeyFile | None = None
        self._env = dict(env or {})
        self._unverified = unverified or is_unverified({**os.environ, **self._env})
        if self._unverified:
            self._env[UNVERIFIED_VARIABLE] = "1"
        self.loaded_unverified: list[str] = []
        """A sentence for each network that was started without having been held against a record."""
        self._auto_complete = auto_complete
        self._log_sink = log_sink
        self.start_timeout_s = start_timeout_s
        self._grace_s = grace_s
        self._guard: subprocess.Popen[bytes] | None = None
        self._folder: RunFolder | None = None
        self._reader: threading.Thread | None = None
        self._entries: collections.deque[log.Entry] = collections.deque(maxlen=_KEPT_LINES)
        self._unloads: collections.Counter[str] = collections.Counter()
        """How often the log has told that a version of a model left the memory, by model."""
        self._serving = False
        self._hurried = threading.Event()
        self._stopping = threading.Event()
        self._lifecycle = threading.RLock()
        """Held while the server is started, restarted or stopped."""
        self._ending: subprocess.Popen[bytes] | None = None

    @property
    def grpc_url(self) -> str:
        """``host:port`` for gRPC clients on this machine."""
        return f"{self._reachable_host}:{self.ports['gRPC']}"

    @property
    def http_url(self) -> str | None:
        """``http://host:port`` for clients of the KServe v2 protocol over HTTP; None where that side is closed."""
        if not self._access.http:
            return None
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
        """The server's unique name, in front of its shared-memory files; None when it does not run.

        A restart gives it another one.
        """
        folder = self._folder
        return folder.name if folder else None

    @property
    def hold_file(self) -> Path | None:
        """While it is there, the first step refuses new requests; see ``trident.supervisor.hold``."""
        folder = self._folder
        return folder.path / _HOLD_FILE if folder else None

    @property
    def running(self) -> bool:
        """Whether the server's process is there."""
        guard = self._guard
        return guard is not None and guard.poll() is None

    @property
    def guard_pid(self) -> int | None:
        """Process id of the guard, whose child the server is; None when it does not run."""
        guard = self._guard
        return guard.pid if guard is not None and guard.poll() is None else None

    @property
    def stopping(self) -> bool:
        """Whether ``stop`` was called, and ``start`` not since."""
        return self._stopping.is_set()

    @property
    def log_entries(self) -> list[log.Entry]:
        """The latest lines of the server's log."""
        return list(self._entries)

    def connect(self, *, question_s: float = 20.0, load_s: float = 300.0, answer_s: float = 60.0) -> TritonServing:
        """A new connection to this server, with whatever it asks of those who control it. Close it after use.

        Args:
            question_s: Deadline of what only asks, in seconds.
            load_s: Deadline of loading and unloading.
            answer_s: Deadline of an inference.
        """
        key = None if self._key_file is None else self._key_file.key
        return self._connected(key, question_s=question_s, load_s=load_s, answer_s=answer_s)

    def _connected(self, key: str | None, **deadlines: Any) -> TritonServing:
        headers = None if key is None else {GRPC_HEADER: key}
        return TritonServing(self.grpc_url, headers=headers, tls=self._own_tls, **deadlines)

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
        with self._lifecycle, contextlib.ExitStack() as failed:
            if self._guard is not None:
                raise RuntimeError("this server has been started before: stop it first")
            self._stopping.clear()
            self._hurried.clear()
            self._check()
            for attempt in range(_PORT_ATTEMPTS):
                self.ports = ports.resolve(self.host, self._wanted_ports)
                failed.callback(self._forget_key)
                try:
                    self._serve()
                except _PortLost as exc:
                    self._forget_key()  # it is for that port
                    if attempt + 1 == _PORT_ATTEMPTS or 0 not in self._wanted_ports.values():
                        raise SetupError(str(exc)) from exc
                else:
                    failed.pop_all()
                    return

    def restart(self) -> None:
        """End at once what is left of the server, and start it again: on the same ports, from what is on disk now.

        Raises:
            SetupError: It cannot start, or ``stop`` was called meanwhile. Nothing of it is left then.
        """
        with self._lifecycle:
            self._serving = False
            self._end(0.0)
            if self.stopping:
                raise SetupError("the server is being stopped")
            self._check()
            self._serve()

    def stop(self) -> None:
        """Stop the server. Harmless when it does not run.

        First ``model`` takes no more requests (they get UNAVAILABLE), and those in flight have ``grace_s`` seconds to
        be answered; with ``model=None`` this step is left out. Then Triton is asked to end, which refuses what models
        call of each other, and has what is left of the grace to unload the models, and five seconds on top until it is
        killed.
        """
        self._stopping.set()
        with self._lifecycle:
            deadline = time.monotonic() + self._grace_s
            try:
                self._drain(deadline)
            finally:  # also when a KeyboardInterrupt ends the waiting
                self._end(max(0.0, deadline - time.monotonic()) + _UNLOAD_S)
                self._forget_key()

    def hurry(self) -> None:
        """Let a ``stop`` that is under way end the server at once. For another thread or a signal handler.

        What is left behind is cleared all the same.
        """
        self._hurried.set()
        ending = self._ending
        if ending is not None:
            _tell(ending, 0.0)

    def wait(self, timeout_s: float | None = None) -> int | None:
        """Wait until the server ends by itself; its exit code, or None if it still runs after ``timeout_s``."""
        guard = self._guard
        if guard is None:
            return None
        try:
            return guard.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return None

    def failure(self) -> str:
        """Why the server did not start or has ended, as its log tells it."""
        reader = self._reader
        if reader is not None:
            reader.join(timeout=2.0)
        return log.reason(self.log_entries)

    def _check(self) -> None:
        """What has to hold before each start. Raises SetupError."""
        check_repository(self.repository, self.model)
        self.loaded_unverified = check_networks(self.repository, unverified=self._unverified)
        installation.compile_models(self.repository)

    def _serve(self) -> None:
        try:
            self._launch()
            self._await_model()
            self._prove_closed()
        except BaseException:
            self._end(0.0)
            raise
        self._serving = True

    def _drain(self, deadline: float) -> None:
        """Wait until the model has answered what it has accepted, at most until the deadline."""
        serving, self._serving = self._serving, False
        if not serving or self.model is None or not self.running:
            return

        def over() -> bool:
            return self._hurried.is_set() or not self.running or time.monotonic() > deadline

        model = self.model
        tells = not any(argument.startswith("--log-info") for argument in self._arguments)
        with self.connect(question_s=_CALL_S, load_s=max(1.0, self._grace_s)) as control:
            draining.drain(control, model, over=over, unloads=(lambda: self._unloads[model]) if tells else None)

    def _end(self, patience_s: float) -> None:
        """End the processes, within ``patience_s`` gently, and remove what they leave behind."""
        guard, folder, reader = self._guard, self._folder, self._reader
        self._guard = self._folder = self._reader = None
        if guard is not None:
            self._ending = guard
            try:
                _tell(guard, 0.0 if self._hurried.is_set() else patience_s)
                guard.wait(patience_s + _CLEAR_S)
            except subprocess.TimeoutExpired:
                guard.kill()  # and the server with it: see the guard's death signal
                guard.wait()
            finally:
                self._ending = None
                if guard.stdin is not None:
                    with contextlib.suppress(OSError):
                        guard.stdin.close()
        if reader is not None:
            reader.join(timeout=5.0)
        if guard is not None and guard.stdout is not None:
            guard.stdout.close()
        if folder is not None:
            folder.release()
            folder.remove()

    def _forget_key(self) -> None:
        key_file, self._key_file = self._key_file, None
        if key_file is not None:
            key_file.remove()

    def _launch(self) -> None:
        self._entries.clear()
        self._unloads.clear()
        self._folder = RunFolder.create()
        found = installation.find_installation(self._folder.path)
        self._prepare_access(self._folder.path)
        command = self._command(found, self._folder.name)
        env = found.environment({**os.environ, **self._env})
        env[HOLD_VARIABLE] = str(self._folder.path / _HOLD_FILE)
        if self._key_file is not None:
            env[SECRET_VARIABLE] = self._key_file.key
        self._guard = subprocess.Popen(
            [
                *(sys.executable, "-m", "trident.supervisor.guard"),
                *(str(self._folder.path), str(self._grace_s + _UNLOAD_S), json.dumps(command)),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            bufsize=0,
            env=env,
            pass_fds=(self._folder.lock,),
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read_log, args=(self._guard,), name="triton-log", daemon=True)
        self._reader.start()

    def _prepare_access(self, folder: Path) -> None:
        """Make the key, and what the launcher itself needs to connect. Raises SetupError."""
        if self._access.tls is not None:
            from trident.access.own_identity import own_connection  # noqa: PLC0415 - its library only where it is used

            self._server_tls, self._own_tls = own_connection(self._access.tls, folder)
        if self._access.restricted and self._key_file is None:  # a restart keeps it
            self._key_file = KeyFile.of(self._access.key_file, self.host, self.ports["gRPC"])

    def _prove_closed(self) -> None:
        if self._access.restricted:
            with self.connect(question_s=_CALL_S) as holder, self._connected(HIDDEN, question_s=_CALL_S) as stranger:
                prove_closed(holder, stranger, self.model or ENSEMBLE)

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
            f"--metrics-address={self.host}",
            f"--metrics-port={self.ports['metrics']}",
            # Two servers with the same prefix would share, and destroy, each other's memory.
            f"--backend-config=python,shm-region-prefix-name={name}",
        ]
        if self._access.http:
            command += [f"--http-address={self.host}", f"--http-port={self.ports['HTTP']}"]
        else:
            command.append("--allow-http=false")
        command += self._access.arguments(self._server_tls)
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
            entry = log.parse_line(self._without_key(raw.decode(errors="replace").rstrip("\n")), level)
            level = entry.level
            self._entries.append(entry)
            if unloaded := _UNLOADED.match(entry.text):
                self._unloads[unloaded[1]] += 1
            if self._log_sink is not None:
                with contextlib.suppress(OSError):  # a terminal that is gone must not stop the reading
                    self._log_sink(entry)

    def _without_key(self, line: str) -> str:
        key_file = self._key_file
        return line if key_file is None else line.replace(key_file.key, "…")

    def _await_model(self) -> None:
        deadline = time.monotonic() + self.start_timeout_s
        while time.monotonic() < deadline:
            code = self.wait(_LOOK_S)
            if code is not None:
                sentence = f"Triton did not start (exit code {code}): {self.failure()}"
                raise _PortLost(sentence) if "a port is taken" in sentence else SetupError(sentence)
            if self._stopping.is_set():
                raise SetupError("the server is being stopped")
            if self._answers():
                return
        raise SetupError(f"{self.model or 'the server'} was not ready within {self.start_timeout_s:.0f} seconds")

    def _answers(self) -> bool:
        # gRPC waits longer and longer between tries to connect; Triton listens once its models are loaded.
        sides = ["gRPC"]
        if "HTTP" in self.ports and not any(argument.startswith("--allow-http") for argument in self._arguments):
            sides.append("HTTP")  # it is opened a moment later
        try:
            for side in sides:
                socket.create_connection((self._reachable_host, self.ports[side]), timeout=_CALL_S).close()
        except OSError:
            return False
        with self.connect(question_s=_CALL_S) as connection:
            try:
                return connection.live() if self.model is None else connection.ready(self.model)
            except ServingError:
                return False


class _PortLost(SetupError):
    """Someone else has taken a port between the check and the server's start."""


def _tell(guard: subprocess.Popen[bytes], patience_s: float) -> None:
    """Ask the guard to end the server, and to kill it once the patience is at its end."""
    if guard.stdin is not None:
        with contextlib.suppress(OSError, ValueError):  # it has ended; its pipe was closed meanwhile
            guard.stdin.write(f"stop {patience_s:.3f}\n".encode())
            guard.stdin.flush()


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
