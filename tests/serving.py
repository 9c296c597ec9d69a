"""Servers for the live tests: `trident serve` as a process of its own, one to ask, and a model that takes its time."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil
import tritonclient.grpc as grpcclient

from tests.asking import PHOTOS, Answer, analyze, eventually
from trident.launcher import TritonServer
from trident.supervisor import processes
from trident.supervisor.processes import Stub

TRIDENT = Path(sys.executable).parent / "trident"
PORTS = ("--grpc-port=0", "--http-port=0", "--metrics-port=0", "--health-port=0")
PATIENCE_S = 60.0
"""For what takes a few seconds on a machine that has nothing else to do."""
_RATIOS_OF_TIME = ("latency", "latency_whole", "canary.latency_ratio", "canary.tail_ratio", "watch.latency_ratio")
PATIENT = tuple(f"--limit={name}=100" for name in _RATIOS_OF_TIME)
"""For `trident rollout`. Others may be at work where tests run: what takes how long is not what they are about."""

SLOW = """
import time

import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        inputs = [pb_utils.get_input_tensor_by_name(request, "SECONDS").as_numpy() for request in requests]
        time.sleep(max(float(seconds.max()) for seconds in inputs))
        return [pb_utils.InferenceResponse([pb_utils.Tensor("SLEPT", seconds)]) for seconds in inputs]
"""
_SLOW_CONFIG = """
name: "slow"
backend: "python"
max_batch_size: 1
input [ { name: "SECONDS" data_type: TYPE_FP32 dims: [ 1 ] } ]
output [ { name: "SLEPT" data_type: TYPE_FP32 dims: [ 1 ] } ]
version_policy { specific { versions: [ 1 ] } }
instance_group [ { kind: KIND_CPU count: 2 } ]
"""


def write_slow(repository: Path) -> Path:
    """Write a repository of one model, ``slow``, which sleeps for the seconds it is given; its version's folder."""
    folder = repository / "slow" / "1"
    folder.mkdir(parents=True)
    (folder / "model.py").write_text(SLOW)
    (folder.parent / "config.pbtxt").write_text(_SLOW_CONFIG)
    return folder


def guard_of(launcher: int) -> psutil.Process:
    """The guard that the process of a launcher has started."""
    (guard,) = psutil.Process(launcher).children()
    return guard


def triton_of(launcher: int) -> psutil.Process:
    """Its guard's Triton."""
    (triton,) = (child for child in guard_of(launcher).children() if child.name() == "tritonserver")
    return triton


def shm_name_of(launcher: int) -> str:
    """What its Triton's files in shared memory begin with: the name of the server, which a restart changes."""
    match = re.search(r"shm-region-prefix-name=(\S+)", " ".join(triton_of(launcher).cmdline()))
    assert match
    return match[1]


@contextlib.contextmanager
def server_ended_at_once(repository: Path, **options: Any) -> Iterator[TritonServer]:
    """A server on free ports, to ask something. Ended at once: how one ends by itself, others look at."""
    with TritonServer(repository, grpc_port=0, http_port=0, metrics_port=0, **options) as server:
        try:
            yield server
        finally:
            server.hurry()


class ServeProcess:
    """``trident serve`` as a process of its own, which can be started again once it has ended.

    Args:
        repository: What it serves.
        options: Further ones.
        environment: Of the process, beside this one's.
    """

    def __init__(self, repository: Path, options: Sequence[str], environment: Mapping[str, str]) -> None:
        self.repository = repository.resolve()
        self._options = tuple(options)
        self._environment = {**os.environ, **environment}
        self.said: list[str] = []
        self.shm_names: set[str] = set()
        """Of the servers that it has had, as far as somebody noted them."""
        self.process: subprocess.Popen[str]

    def start(self) -> None:
        self.process = subprocess.Popen(
            [TRIDENT, "serve", f"--model-repository={self.repository}", *self._options],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=self._environment,
        )
        assert self.process.stderr
        self._reader = threading.Thread(target=self._read, args=(self.process.stderr,))
        self._reader.start()

    def await_start(self) -> str:
        """The line that says where it listens."""
        assert self.process.stdout
        line = self.process.stdout.readline()
        assert "listens on" in line, self.said
        self.note_shm_name()
        return line

    def _read(self, lines: Any) -> None:
        for line in lines:
            self.said.append(line.rstrip("\n"))

    def note_shm_name(self) -> None:
        self.shm_names.add(self.shm_name)

    def stop(self) -> int:
        if self.process.poll() is None:
            self.process.terminate()
        return self.end()

    def end(self) -> int:
        """Wait for its end; the exit code."""
        try:
            code = self.process.wait(timeout=120)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise
        self._reader.join()
        for stream in (self.process.stdout, self.process.stderr):
            if stream is not None:
                stream.close()
        return code

    @property
    def triton(self) -> psutil.Process:
        return triton_of(self.process.pid)

    @property
    def shm_name(self) -> str:
        return shm_name_of(self.process.pid)


class Served(ServeProcess):
    """One that has been started, on free ports.

    Args:
        repository: What it serves.
        home: For its gallery and its state.
        options: Further ones.
    """

    def __init__(self, repository: Path, home: Path, *options: str) -> None:
        environment = {
            "TRIDENT_GALLERY_URL": f"sqlite:///{home / 'gallery.db'}",
            "XDG_STATE_HOME": str(home / "state"),
        }
        super().__init__(repository, (*PORTS, *options), environment)
        self.start()
        try:
            line = self.await_start()
            grpc, health = re.search(r"gRPC ([^\s,;]+)", line), re.search(r"health http://([^\s,;]+)", line)
            assert grpc, line
            assert health, line
        except BaseException:
            self.stop()
            raise
        self.grpc_url, self.health_url = grpc[1], health[1]

    def get(self, path: str) -> tuple[int, Any]:
        connection = http.client.HTTPConnection(self.health_url, timeout=10)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read())
        finally:
            connection.close()

    @property
    def ready(self) -> bool:
        return self.get("/v2/models/trident/ready")[0] == 200

    @property
    def status(self) -> dict[str, Any]:
        status: dict[str, Any] = self.get("/status")[1]
        return status

    def happened(self, kind: str) -> list[str]:
        return [event["sentence"] for event in self.status["events"] if event["kind"] == kind]

    def stubs(self, model: str) -> list[Stub]:
        return [s for s in processes.stubs_of(self.shm_name, self.repository).values() if s.model == model]

    def ask(self) -> Answer:
        with grpcclient.InferenceServerClient(self.grpc_url) as client:
            (answer,) = analyze(client, (PHOTOS / "coffee.png").read_bytes())
        return answer

    def back(self) -> None:
        """Wait until it says that it is ready, having said that it is not."""
        assert eventually(lambda: not self.ready, 15.0), (self.status, self.said)
        assert eventually(lambda: self.ready, PATIENCE_S), (self.status, self.said)
