"""What loads a model gives way to what serves: seen in Triton's own processes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import tritonclient.grpc as grpcclient

from tests.tiny_models import CONFIG, write_repository
from trident.background import LOWEST
from trident.launcher import TritonServer
from trident.supervisor import leftovers

FREE = {"grpc_port": 0, "http_port": 0, "metrics_port": 0}

HISTORY_CONFIG = """# The niceness of every call so far, this one last.
name: "history"
backend: "python"
max_batch_size: 8
input [ { name: "X" data_type: TYPE_FP32 dims: [ 1 ] } ]
output [ { name: "NICENESS" data_type: TYPE_INT32 dims: [ -1 ] } ]
instance_group [ { kind: KIND_CPU count: 1 } ]
dynamic_batching { }
model_warmup [
  {
    name: "twice" batch_size: 1 count: 2
    inputs { key: "X" value { data_type: TYPE_FP32 dims: [ 1 ] zero_data: true } }
  },
  { name: "full" batch_size: 8 inputs { key: "X" value { data_type: TYPE_FP32 dims: [ 1 ] zero_data: true } } }
]
"""
HISTORY_MODEL = """
import json, os, threading
import numpy as np
import triton_python_backend_utils as pb_utils
from trident.background import WarmUp


class TritonPythonModel:
    def initialize(self, args):
        self.warm_up = WarmUp(json.loads(args["model_config"]))
        self.history = []

    def execute(self, requests):
        return self.warm_up.run(lambda: self.answer(requests))

    def answer(self, requests):
        self.history.append(os.getpriority(os.PRIO_PROCESS, threading.get_native_id()))
        told = np.array([self.history], dtype=np.int32)
        rows = [len(pb_utils.get_input_tensor_by_name(request, "X").as_numpy()) for request in requests]
        return [pb_utils.InferenceResponse([pb_utils.Tensor("NICENESS", told.repeat(n, 0))]) for n in rows]
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TritonServer]:
    repository = write_repository(tmp_path_factory.mktemp("repository"), CONFIG)
    version = repository / "history" / "1"
    version.mkdir(parents=True)
    (version / "model.py").write_text(HISTORY_MODEL)
    (version.parent / "config.pbtxt").write_text(HISTORY_CONFIG)
    with TritonServer(repository, model="linear", **FREE) as running:
        yield running


def stub_of(server: TritonServer, model: str) -> Path:
    assert server.name is not None
    (process,) = (
        folder
        for folder in (Path("/proc") / str(pid) for pid in leftovers.stub_processes(server.name))
        if f"/{model}/" in (folder / "cmdline").read_text()
    )
    return process


def seconds_of_all_threads(process: Path) -> float:
    """Processor time of a process, its threads that have ended included."""
    fields = (process / "stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def seconds_of_living_threads(process: Path) -> float:
    return sum(int((task / "schedstat").read_text().split()[0]) for task in (process / "task").iterdir()) / 1e9


def test_a_network_is_loaded_in_a_thread_that_has_ended_and_answered_in_one_of_usual_priority(
    server: TritonServer,
) -> None:
    process = stub_of(server, "linear")
    assert os.getpriority(os.PRIO_PROCESS, int(process.name)) == os.getpriority(os.PRIO_PROCESS, 0)
    assert seconds_of_living_threads(process) < seconds_of_all_threads(process) / 2


def test_the_warm_up_runs_at_low_priority_and_the_first_request_does_not(server: TritonServer) -> None:
    tensor = grpcclient.InferInput("X", [1, 1], "FP32")
    tensor.set_data_from_numpy(np.zeros((1, 1), dtype=np.float32))
    with grpcclient.InferenceServerClient(server.grpc_url) as client:
        history = client.infer("history", [tensor]).as_numpy("NICENESS")[0].tolist()
    assert history == [LOWEST, LOWEST, LOWEST, os.getpriority(os.PRIO_PROCESS, 0)]
