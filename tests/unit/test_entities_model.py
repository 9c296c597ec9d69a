"""The Triton side of the entity recognizer, with a stand-in for the Python backend's utilities."""

from __future__ import annotations

import importlib.util
import json
import shutil
import sys
import types
from pathlib import Path

import numpy as np
import pytest

from trident.component_digest import digest_of_component
from trident.contract import CALLED, CANVAS_SIDE, MAX_BOXES
from trident.entities.called_networks import NETWORKS_FILE, Networks
from trident.model_config import read_config, string_parameters
from trident.provenance import Provenance, pack, unpack

FOLDER = Path(__file__).resolve().parents[2] / "model_repository" / "entity_recognizer"


class TritonError(Exception):
    INVALID_ARG, INTERNAL, UNAVAILABLE = "INVALID_ARG", "INTERNAL", "UNAVAILABLE"

    def __init__(self, message: str, code: str = INTERNAL) -> None:
        self._message, self._code = message, code

    def message(self) -> str:
        return self._message

    def code(self) -> str:
        return self._code


class Tensor:
    def __init__(self, name: str, array: np.ndarray) -> None:
        self._name, self._array = name, array

    def name(self) -> str:
        return self._name

    def as_numpy(self) -> np.ndarray:
        return self._array


class InferenceResponse:
    def __init__(self, output_tensors=(), error: TritonError | None = None) -> None:
        self._tensors, self._error = output_tensors, error

    def output_tensors(self):
        return self._tensors

    def has_error(self) -> bool:
        return self._error is not None

    def error(self) -> TritonError | None:
        return self._error


class Request:
    def __init__(self, name: str, size=(64, 48), cancelled: bool = False) -> None:
        self.name, self._cancelled = name, cancelled
        canvas = np.zeros((1, CANVAS_SIDE, CANVAS_SIDE, 3), np.uint8)
        detail = np.zeros((1, 48, 64, 3), np.uint8)
        self.tensors = {"CANVAS_PIXELS": canvas, "DETAIL_PIXELS": detail, "IMAGE_SIZE": np.array([size], np.int32)}

    def request_id(self) -> str:
        return self.name

    def timeout(self) -> int:
        return 0

    def is_cancelled(self) -> bool:
        return self._cancelled


class Backend(types.ModuleType):
    """``triton_python_backend_utils`` with networks that find nothing."""

    TRITONSERVER_MEMORY_CPU = 0
    TritonError, Tensor, InferenceResponse = TritonError, Tensor, InferenceResponse
    Logger = types.SimpleNamespace(log_info=print, log_warn=print, log_error=print)

    def __init__(self) -> None:
        super().__init__("triton_python_backend_utils")
        self.failures: dict[tuple[str, str], TritonError] = {}
        self.calls: list[tuple[str, str, int]] = []

    @staticmethod
    def get_input_tensor_by_name(request: Request, name: str) -> Tensor:
        return Tensor(name, request.tensors[name])

    @staticmethod
    def PreferredMemory(kind: int) -> int:  # noqa: N802
        return kind

    def InferenceRequest(self, *, model_name, model_version, requested_output_names, inputs, request_id, **_):  # noqa: N802
        async def async_exec() -> InferenceResponse:
            self.calls.append((request_id, model_name, model_version))
            if (request_id, model_name) in self.failures:
                return InferenceResponse(error=self.failures[request_id, model_name])
            digest = "sha256:" + "e" * 64
            arrays = {
                "BOXES": np.zeros((1, MAX_BOXES, 4), np.float32),
                "SCORES": np.zeros((1, MAX_BOXES), np.float32),
                "LANDMARKS": np.zeros((1, MAX_BOXES, 5, 2), np.float32),
                "CORNERS": np.zeros((1, MAX_BOXES, 4, 2), np.float32),
                "NUM_BOXES": np.zeros((1, 1), np.int32),
                "PROVENANCE": pack(Provenance(model_version, digest))[None],
            }
            return InferenceResponse([Tensor(name, arrays[name]) for name in requested_output_names])

        return types.SimpleNamespace(async_exec=async_exec)


@pytest.fixture
def backend(monkeypatch: pytest.MonkeyPatch) -> Backend:
    backend = Backend()
    monkeypatch.setitem(sys.modules, "triton_python_backend_utils", backend)
    return backend


@pytest.fixture
def model(backend: Backend, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("TRIDENT_GALLERY_URL", f"sqlite:///{tmp_path}/gallery.db")
    version = tmp_path / "repository" / "entity_recognizer" / "1"
    version.mkdir(parents=True)
    networks = Networks(dict.fromkeys(CALLED, 1) | {"plate_detector": 7}, identity_threshold=0.6)
    (version / NETWORKS_FILE).write_text(networks.to_text())
    shutil.copy(FOLDER / "1" / "model.py", version)
    spec = importlib.util.spec_from_file_location("entity_recognizer_model", version / "model.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "give_way", lambda: None)  # or the rest of the tests would run at low priority
    parameters = string_parameters(read_config(FOLDER / "config.pbtxt"))
    model = module.TritonPythonModel()
    model.initialize(
        {
            "model_config": json.dumps({"parameters": {k: {"string_value": v} for k, v in parameters.items()}}),
            "model_repository": str(version.parent),
            "model_version": "1",
        }
    )
    yield model
    model.finalize()


def test_every_request_gets_its_answer_in_order(model, backend: Backend) -> None:
    responses = model.execute([Request("a"), Request("b"), Request("c")])
    assert len(responses) == 3
    for response in responses:
        entities, provenance = (tensor.as_numpy() for tensor in response.output_tensors())
        assert entities.shape == (1, 1)
        assert json.loads(entities[0, 0]) == []
        versions = [made_by and made_by.version for made_by in map(unpack, provenance[0])]
        assert versions == [1, 1, None, 7, None]
    assert ("b", "plate_detector", 7) in backend.calls


def test_a_failing_network_fails_only_its_request_and_keeps_its_code(model, backend: Backend) -> None:
    backend.failures["b", "face_detector"] = TritonError("the queue is full", TritonError.UNAVAILABLE)
    first, second, third = model.execute([Request("a"), Request("b"), Request("c")])
    assert not first.has_error()
    assert not third.has_error()
    assert second.error().code() == TritonError.UNAVAILABLE
    assert second.error().message() == "face_detector version 1: the queue is full"


def test_a_failing_network_is_logged_with_the_request(
    model, backend: Backend, capsys: pytest.CaptureFixture[str]
) -> None:
    backend.failures["order-1", "face_detector"] = TritonError("out of memory", TritonError.INTERNAL)
    model.execute([Request("order-1"), Request("order-2")])
    facts = "component=entity_recognizer request_id=order-1"
    assert capsys.readouterr().out == f"a network failed [network=face_detector {facts}]\n"


def test_a_server_that_is_stopping_is_unavailable(model, backend: Backend) -> None:
    """Triton's own code for it does not reach a model that calls another; INTERNAL would not be worth a retry."""
    backend.failures["a", "face_detector"] = TritonError("Failed for execute: Server not ready", TritonError.INTERNAL)
    backend.failures["b", "face_detector"] = TritonError("out of memory", TritonError.INTERNAL)
    stopping, failing = model.execute([Request("a"), Request("b")])
    assert stopping.error().code() == TritonError.UNAVAILABLE
    assert stopping.error().message().endswith("Server not ready: it is stopping")
    assert failing.error().code() == TritonError.INTERNAL


def test_tensors_that_do_not_fit_are_the_callers_fault(model) -> None:
    bad, good = model.execute([Request("a", size=(0, 48)), Request("b")])
    assert bad.error().code() == TritonError.INVALID_ARG
    assert "IMAGE_SIZE" in bad.error().message()
    assert not good.has_error()


def test_a_request_that_nobody_waits_for_calls_nothing(model, backend: Backend) -> None:
    gone, there = model.execute([Request("a", cancelled=True), Request("b")])
    assert not gone.has_error(), "Triton 2.51 would keep what the steps beside it answer"
    entities, provenance = (tensor.as_numpy() for tensor in gone.output_tensors())
    assert [[json.loads(text) for text in row] for row in entities] == [[[]]]
    assert provenance.shape == there.output_tensors()[1].as_numpy().shape
    assert [unpack(row) for row in provenance[0]] == [None] * 5
    assert not there.has_error()
    assert {name for name, *_ in backend.calls} == {"b"}


def test_its_own_digest_is_that_of_its_files_and_its_networks(model, tmp_path: Path) -> None:
    version = tmp_path / "repository" / "entity_recognizer" / "1"
    (response,) = model.execute([Request("a")])
    own = unpack(response.output_tensors()[1].as_numpy()[0, 0])
    assert own == Provenance(1, digest_of_component("entity_recognizer", version))
    (version / NETWORKS_FILE).write_text(Networks(dict.fromkeys(CALLED, 1), identity_threshold=0.6).to_text())
    assert own.digest != digest_of_component("entity_recognizer", version)
