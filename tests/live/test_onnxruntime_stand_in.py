"""The stand-in for the onnxruntime backend, inside Triton."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnx
import pytest
import tritonclient.grpc as grpcclient

from tests.asking import eventually
from tests.tiny_models import WEIGHTS, table_network, write_repository
from trident.launcher import TritonServer
from trident.supervisor import leftovers

FREE = {"grpc_port": 0, "http_port": 0, "metrics_port": 0}
BARE = 'backend: "onnxruntime"\nversion_policy { specific { versions: [ 1 ] } }\n'

TABLE_CONFIG = """# A look-up that fails for an index out of its table.
name: "table"
backend: "onnxruntime"
max_batch_size: 8
input [ { name: "INDEX" data_type: TYPE_INT64 dims: [ 1 ] } ]
output [ { name: "VALUE" data_type: TYPE_FP32 dims: [ 1 ] } ]
version_policy { specific { versions: [ 1 ] } }
instance_group [ { kind: KIND_CPU count: 1 } ]
dynamic_batching { max_queue_delay_microseconds: 100000 }
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TritonServer]:
    repository = write_repository(tmp_path_factory.mktemp("repository"))
    folder = repository / "table" / "1"
    folder.mkdir(parents=True)
    onnx.save(table_network(), folder / "model.onnx")
    (repository / "table" / "config.pbtxt").write_text(TABLE_CONFIG)
    with TritonServer(repository, model="linear", **FREE) as running:
        yield running


@pytest.fixture
def client(server: TritonServer) -> Iterator[grpcclient.InferenceServerClient]:
    with grpcclient.InferenceServerClient(server.grpc_url) as connected:
        yield connected


def tensor(name: str, array: np.ndarray, dtype: str) -> grpcclient.InferInput:  # type: ignore[type-arg]
    made = grpcclient.InferInput(name, list(array.shape), dtype)
    made.set_data_from_numpy(array)
    return made


def executions(client: grpcclient.InferenceServerClient, model: str) -> int:
    statistics = client.get_inference_statistics(model, as_json=True)
    return int(statistics["model_stats"][0].get("execution_count", 0))


def test_it_computes_and_gives_the_outputs_asked_for(client: grpcclient.InferenceServerClient) -> None:
    rows = np.arange(8, dtype=np.float32).reshape(2, 4)
    rows[1, 2] = np.nan

    result = client.infer("linear", [tensor("X", rows, "FP32")], outputs=[grpcclient.InferRequestedOutput("Y")])

    assert np.allclose(result.as_numpy("Y"), rows @ WEIGHTS, equal_nan=True)
    assert result.as_numpy("TOTAL") is None


def test_requests_that_come_together_run_together(
    server: TritonServer, client: grpcclient.InferenceServerClient
) -> None:
    before = executions(client, "table")

    def look_up(index: int) -> float | str:
        with grpcclient.InferenceServerClient(server.grpc_url) as own:
            try:
                result = own.infer("table", [tensor("INDEX", np.array([[index]], dtype=np.int64), "INT64")])
            except grpcclient.InferenceServerException as exc:
                return str(exc.message())
            return float(result.as_numpy("VALUE").item())

    indices = [0, 1, 2, 99] * 4
    with ThreadPoolExecutor(len(indices)) as pool:
        answers = list(pool.map(look_up, indices))

    assert executions(client, "table") - before < len(indices)
    for index, answer in zip(indices, answers, strict=True):
        if index == 99:
            assert isinstance(answer, str)
            assert "onnxruntime: " in answer
        else:
            assert answer == 10.0 + index


def test_a_tensor_that_does_not_fit_is_an_invalid_argument(client: grpcclient.InferenceServerClient) -> None:
    with pytest.raises(grpcclient.InferenceServerException) as caught:
        client.infer("linear", [tensor("X", np.zeros((1, 5), dtype=np.float32), "FP32")])
    assert caught.value.status() == "StatusCode.INVALID_ARGUMENT"


def test_unloading_releases_the_network(server: TritonServer, client: grpcclient.InferenceServerClient) -> None:
    name = server.name
    assert name
    before = len(leftovers.stub_processes(name))

    client.unload_model("table")

    assert eventually(lambda: len(leftovers.stub_processes(name)) == before - 1)
    client.load_model("table")
    assert len(leftovers.stub_processes(name)) == before


@pytest.mark.parametrize(
    ("config", "batch_size"),
    [
        pytest.param(BARE, 4, id="nothing but the backend"),
        pytest.param(BARE + "max_batch_size: 16", 16, id="the batch size too"),
    ],
)
def test_a_bare_configuration_is_completed_from_the_network(tmp_path: Path, config: str, batch_size: int) -> None:
    repository = write_repository(tmp_path, config)
    with TritonServer(repository, model="linear", auto_complete=True, **FREE) as server:
        client = grpcclient.InferenceServerClient(server.grpc_url)
        completed = client.get_model_config("linear").config
        rows = np.ones((3, 4), dtype=np.float32)
        result = client.infer("linear", [tensor("X", rows, "FP32")])
        client.close()

    assert completed.max_batch_size == batch_size
    assert [(t.name, list(t.dims)) for t in completed.input] == [("X", [4])]
    assert [(t.name, list(t.dims)) for t in completed.output] == [("Y", [3]), ("TOTAL", [1])]
    assert completed.HasField("dynamic_batching")
    assert np.allclose(result.as_numpy("Y"), rows @ WEIGHTS)
