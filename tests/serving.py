"""``trident serve`` as a process of its own, for the live tests, and a model that takes as long as it is asked to."""

from __future__ import annotations

import http.client
import json
import os
import re
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import psutil
import tritonclient.grpc as grpcclient

from tests.asking import PHOTOS, Answer, analyze, eventually
from trident.supervisor import processes
from trident.supervisor.processes import Stub

TRIDENT = Path(sys.executable).parent / "trident"
PORTS = ("--grpc-port=0", "--http-port=0", "--metrics-port=0", "--health-port=0")
PATIENCE_S = 60.0
"""For what takes a few seconds on a machine that has nothing else to do."""

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


class Served:
    """``trident serve`` as a process of its own."""

    def __init__(self, repository: Path, home: Path, *options: str) -> None:
        self.repository = repository.resolve()
        environment = {
            "TRIDENT_GALLERY_URL": f"sqlite:///{home / 'gallery.db'}",
            "XDG_STATE_HOME": str(home / "state"),
        }
        self.process = subprocess.Popen(
            [TRIDENT, "serve", f"--model-repository={repository}", *PORTS, *options],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **environment},
        )
        assert self.process.stdout
        assert self.process.stderr
        self.said: list[str] = []
        self.names: set[str] = set()
        """The names of its server, which a restart changes."""
        self._reader = threading.Thread(target=self._read, args=(self.process.stderr,))
        self._reader.start()
        line = self.process.stdout.readline()
        grpc = re.search(r"gRPC ([^\s,;]+)", line)
        health = re.search(r"health http://([^\s,;]+)", line)
        if grpc is None or health is None:
            self.stop()
        assert grpc, self.said
        assert health, self.said
        self.grpc_url, self.health_url = grpc[1], health[1]

    def _read(self, lines: Any) -> None:
        for line in lines:
            self.said.append(line.rstrip("\n"))

    def stop(self) -> int:
        if self.process.poll() is None:
            self.process.terminate()
        code = self.process.wait(timeout=120)
        self._reader.join()
        for stream in (self.process.stdout, self.process.stderr):
            if stream is not None:
                stream.close()
        return code

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

    @property
    def triton(self) -> psutil.Process:
        (guard,) = psutil.Process(self.process.pid).children()
        (triton,) = (child for child in guard.children() if child.name() == "tritonserver")
        return triton

    @property
    def name(self) -> str:
        match = re.search(r"shm-region-prefix-name=(\S+)", " ".join(self.triton.cmdline()))
        assert match
        return match[1]

    def stubs(self, model: str) -> list[Stub]:
        return [s for s in processes.stubs_of(self.name, self.repository).values() if s.model == model]

    def ask(self) -> Answer:
        with grpcclient.InferenceServerClient(self.grpc_url) as client:
            (answer,) = analyze(client, (PHOTOS / "coffee.png").read_bytes())
        return answer

    def back(self) -> None:
        """Wait until it says that it is ready, having said that it is not."""
        assert eventually(lambda: not self.ready, 15.0), (self.status, self.said)
        assert eventually(lambda: self.ready, PATIENCE_S), (self.status, self.said)
