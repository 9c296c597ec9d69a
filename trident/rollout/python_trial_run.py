"""The process that tries a version of a Python component: loaded as the server would, and fed its own warm-up.

Worth the while: a version that fails in its ``model_warmup`` sometimes takes the bundled Triton 2.51 down with it
(SIGSEGV). What the server gives to a ``model.py``, the module ``triton_python_backend_utils``, is stood in for as far
as the project's models use it; a version that needs more of it is not judged.
"""

from __future__ import annotations

import importlib.util
import json
import os
import struct
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
from tritonclient.utils import triton_to_np_dtype

from trident.contract import MODELS, DType, TensorSpec
from trident.rollout.findings import Verdict
from trident.rollout.soundness import Array, unsound, versions_of
from trident.rollout.trial_process import Refused, Report, serve, words

_UTILS = "triton_python_backend_utils"


class _Tensor:
    def __init__(self, name: str, array: Array) -> None:
        self._name = name
        self._array = array

    def name(self) -> str:
        return self._name

    def as_numpy(self) -> Array:
        return self._array


class _TritonError(Exception):
    UNKNOWN, INTERNAL, NOT_FOUND, INVALID_ARG, UNAVAILABLE, UNSUPPORTED, ALREADY_EXISTS, CANCELLED = range(8)

    def __init__(self, message: str, code: int = 1) -> None:
        super().__init__(message)
        self._code = code

    def message(self) -> str:
        return str(self)

    def code(self) -> int:
        return self._code


@dataclass
class _Response:
    tensors: list[_Tensor] = field(default_factory=list)
    failure: _TritonError | None = None

    def output_tensors(self) -> list[_Tensor]:
        return self.tensors

    def has_error(self) -> bool:
        return self.failure is not None

    def error(self) -> _TritonError | None:
        return self.failure


def _respond(output_tensors: list[_Tensor] | None = None, error: _TritonError | None = None) -> _Response:
    return _Response(output_tensors or [], error)


@dataclass
class _Request:
    tensors: Mapping[str, Array]

    def inputs(self) -> list[_Tensor]:
        return [_Tensor(name, array) for name, array in self.tensors.items()]

    def is_cancelled(self) -> bool:
        return False

    def request_id(self) -> str:
        return ""

    def timeout(self) -> int:
        return 0


class _Unknown(AttributeError):
    """Something that only the server has."""


class _Utils(ModuleType):
    """As much of ``triton_python_backend_utils`` as the project's models use."""

    Tensor = _Tensor
    TritonError = _TritonError
    TritonModelException = type("TritonModelException", (Exception,), {})
    InferenceResponse = staticmethod(_respond)
    Logger = SimpleNamespace(
        **dict.fromkeys(("log_error", "log_warn", "log_info", "log_verbose", "log"), lambda *_: None)
    )

    @staticmethod
    def get_input_tensor_by_name(request: _Request, name: str) -> _Tensor | None:
        return _Tensor(name, request.tensors[name]) if name in request.tensors else None

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        raise _Unknown(f"{_UTILS}.{name}")


def main() -> None:
    """Try the version that standard input asks about."""
    serve(run_python_trial)
    # Whatever threads a version has started end here.
    sys.stderr.flush()
    os._exit(0)


def run_python_trial(request: dict[str, Any], report: Report) -> None:
    """Load a ``model.py`` and have it answer its warm-up.

    Args:
        request: ``component``, ``version``, ``file`` and ``config``, as in ``trial.Subject``.
        report: Where it is said.

    Raises:
        Refused: It failed, which has been said.
    """
    component, version, file = request["component"], int(request["version"]), Path(request["file"])
    config, label = request["config"], f"{component} {version}"
    sys.modules[_UTILS] = _Utils(_UTILS)
    stage = "being loaded"
    try:
        report.stage(stage)
        model = _load(file)
        model.initialize(
            {
                "model_config": json.dumps(config),
                "model_instance_kind": "CPU",
                "model_instance_name": f"{component}_0_0",
                "model_instance_device_id": "0",
                "model_repository": str(file.parent.parent),
                "model_version": str(version),
                "model_name": component,
            }
        )
        report.finding("load", Verdict.OK, f"{label}: can be loaded")
        for warmup in config.get("model_warmup", []):
            stage = f"answering its warm-up {warmup['name']!r}"
            report.stage(stage)
            (response,) = model.execute([_Request(warm_up_tensors(file.parent.parent, component, warmup))])
            _check(component, version, response, report)
        stage = "being let go"
        report.stage(stage)
        if hasattr(model, "finalize"):
            model.finalize()
    except Refused:
        raise
    except _Unknown as error:
        report.finding("load", Verdict.WARNING, f"{label}: not tried, since it uses {error}, which only the server has")
    except Exception as error:  # whatever code that is not ours comes up with
        got = f"{type(error).__name__}: {words(error)}"
        sentence = f"{label}: expected a model that serves, got an error while {stage}: {got}"
        report.finding("load", Verdict.REFUSED, sentence)
        raise Refused from error


def _load(file: Path) -> Any:
    spec = importlib.util.spec_from_file_location("model", file)
    if spec is None or spec.loader is None:
        raise ImportError(f"{file} is no Python file")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.TritonPythonModel()


def warm_up_tensors(folder: Path, component: str, warmup: Mapping[str, Any]) -> dict[str, Array]:
    """What Triton feeds a model of the contract for a warm-up, one picture.

    Args:
        folder: The model's folder; files of data are in its ``warmup``.
        component: Its name in the contract.
        warmup: One of ``model_warmup``, in its JSON form.
    """
    return {spec.name: _warm_up_tensor(folder, spec, warmup["inputs"][spec.name]) for spec in MODELS[component].inputs}


def _warm_up_tensor(folder: Path, spec: TensorSpec, value: Mapping[str, Any]) -> Array:
    shape = (1, *(int(dim) for dim in value.get("dims", spec.dims)))
    dtype = triton_to_np_dtype(spec.dtype.wire)
    if value.get("input_data_file"):
        data = (folder / "warmup" / value["input_data_file"]).read_bytes()
        if spec.dtype is DType.STRING:
            (length,) = struct.unpack("<I", data[:4])
            return np.array([[data[4 : 4 + length]]], dtype=np.object_)
        return np.frombuffer(data, np.dtype(dtype).newbyteorder("<")).astype(dtype).reshape(shape)
    if spec.dtype is DType.STRING:
        return np.full(shape, b"", dtype=np.object_)
    if value.get("random_data"):
        return np.random.default_rng(0).integers(0, 256, shape).astype(dtype)
    return np.zeros(shape, dtype)


def _check(component: str, version: int, response: Any, report: Report) -> None:
    label = f"{component} {version}: its answer to its warm-up"
    if response.has_error():
        report.refuse("answers", f"{label}: expected tensors, got an error: {response.error()}")
    # Through the wire text becomes bytes; here it may still be either.
    answer = {tensor.name(): tensor.as_numpy() for tensor in response.output_tensors()}
    if wrong := unsound(component, answer, 1):
        report.refuse("answers", f"{label}: {wrong}")
    said = versions_of(component, answer).get(component)
    if said != version:
        report.refuse("provenance", f"{label}: version: expected {version}, got {said}")
    report.finding("answers", Verdict.OK, f"{label} is one, and names it")


if __name__ == "__main__":
    main()
