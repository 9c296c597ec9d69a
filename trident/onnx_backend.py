"""What the onnxruntime backend does, without Triton: configuration to session, requests to batches, errors to codes.

The configuration is the JSON form that Triton hands to Python backends. Its keys mean what they mean to NVIDIA's native
backend (github.com/triton-inference-server/onnxruntime_backend), so that the same ``config.pbtxt`` serves both.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime
from onnxruntime.capi import onnxruntime_pybind11_state as ort_errors

from trident.background import at_low_priority
from trident.errors import SetupError
from trident.layout import MODEL_FILE
from trident.verification import Standing, check_network, is_unverified, without_record

Array = npt.NDArray[Any]
Config = Mapping[str, Any]

CPU, CUDA, OPENVINO, TENSORRT = (
    "CPUExecutionProvider",
    "CUDAExecutionProvider",
    "OpenVINOExecutionProvider",
    "TensorrtExecutionProvider",
)

_DEFAULT_MAX_BATCH_SIZE = 4
"""What the native backend completes ``max_batch_size`` with."""

_SPINNING = ("session.intra_op.allow_spinning", "session.inter_op.allow_spinning")

_GRAPH_LEVELS = {
    -1: onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC,
    1: onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED,
    2: onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL,
}

_ONNX_TO_TRITON = {
    "tensor(bool)": "TYPE_BOOL",
    "tensor(uint8)": "TYPE_UINT8",
    "tensor(uint16)": "TYPE_UINT16",
    "tensor(uint32)": "TYPE_UINT32",
    "tensor(uint64)": "TYPE_UINT64",
    "tensor(int8)": "TYPE_INT8",
    "tensor(int16)": "TYPE_INT16",
    "tensor(int32)": "TYPE_INT32",
    "tensor(int64)": "TYPE_INT64",
    "tensor(float16)": "TYPE_FP16",
    "tensor(float)": "TYPE_FP32",
    "tensor(double)": "TYPE_FP64",
    "tensor(string)": "TYPE_STRING",
}


_ERROR_CODES: dict[type[Exception], str] = {
    ort_errors.InvalidArgument: "INVALID_ARG",
    ort_errors.NoSuchFile: "NOT_FOUND",
    ort_errors.NotImplemented: "UNSUPPORTED",
    ValueError: "INVALID_ARG",  # the Python binding's word for a feed that does not fit the network
}

ONNXRUNTIME_ERRORS: tuple[type[Exception], ...] = (
    *_ERROR_CODES,
    *(ort_errors.NoModel, ort_errors.EngineError, ort_errors.RuntimeException, ort_errors.InvalidProtobuf),
    *(ort_errors.ModelLoaded, ort_errors.InvalidGraph, ort_errors.EPFail, ort_errors.Fail),
)
"""What onnxruntime raises for a network or an input that it cannot take. Its own errors have no common base."""

_ERRORS: tuple[type[Exception], ...] = (*ONNXRUNTIME_ERRORS, RuntimeError, MemoryError)
"""What opening or running a session may raise."""


class ConfigError(Exception):
    """The model configuration cannot be honoured, or does not fit the network."""


class RunError(Exception):
    """A request could not be computed."""

    def __init__(self, message: str, code: str) -> None:
        super().__init__(message)
        self.code = code
        """Name of Triton's status code: INVALID_ARG, NOT_FOUND, UNSUPPORTED or INTERNAL."""


@dataclass(frozen=True, slots=True)
class Tensor:
    """One input or output of a network, as onnxruntime reports it, the batch dimension included."""

    name: str
    dtype: str
    """Triton's name, as ``TYPE_FP32``."""
    shape: tuple[int, ...]
    """-1 where the dimension is not fixed."""


@dataclass(frozen=True, slots=True)
class Signature:
    """The tensors of a network."""

    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]


@dataclass(slots=True)
class SessionPlan:
    """How to open a session."""

    options: onnxruntime.SessionOptions
    providers: list[tuple[str, dict[str, str]]]
    run_entries: dict[str, str] = field(default_factory=dict)
    """Entries of the options of every run."""
    warnings: list[str] = field(default_factory=list)

    @property
    def single_threaded(self) -> bool:
        """Whether the session computes in the thread that calls it, and starts none of its own."""
        parallel = self.options.execution_mode == onnxruntime.ExecutionMode.ORT_PARALLEL
        on_cpu = [name for name, _ in self.providers] == [CPU]
        return on_cpu and self.options.intra_op_num_threads == 1 and not parallel


def model_file(config: Config, folder: Path) -> Path:
    """The ONNX file of a version: ``default_model_filename``, else ``model.onnx``; so too inside a folder of that name.

    Raises:
        ConfigError: There is no such file.
    """
    file = folder / (config.get("default_model_filename") or MODEL_FILE)
    if file.is_dir():
        file /= MODEL_FILE
    if not file.is_file():
        raise ConfigError(f"there is no file {file}: run `make export`")
    return file


def plan_session(config: Config, *, kind: str, device_id: int, available: Sequence[str]) -> SessionPlan:
    """Translate a model configuration to session options and execution providers.

    Args:
        config: The model's configuration.
        kind: Kind of the instance, "CPU" or "GPU".
        device_id: The GPU of the instance.
        available: Providers that this build of onnxruntime offers.

    Raises:
        ConfigError: A value is not one that the key may have, or an accelerator is not there.
    """
    parameters = {key: value.get("string_value", "") for key, value in config.get("parameters", {}).items()}
    optimization = config.get("optimization", {})
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors; it warns of harmless things at every load

    level = int(optimization.get("graph", {}).get("level", 0))
    options.graph_optimization_level = _GRAPH_LEVELS.get(level, onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL)
    mode = _whole(parameters, "execution_mode", 0)
    if mode not in (0, 1):
        raise ConfigError(f"parameter execution_mode: expected 0 (sequential) or 1 (parallel), got {mode}")
    options.execution_mode = (
        onnxruntime.ExecutionMode.ORT_PARALLEL if mode else onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    )
    options.intra_op_num_threads = _whole(parameters, "intra_op_thread_count", 0)
    options.inter_op_num_threads = _whole(parameters, "inter_op_thread_count", 0)
    options.enable_cpu_mem_arena = _truth(parameters, "enable_mem_arena", options.enable_cpu_mem_arena)
    options.enable_mem_pattern = _truth(parameters, "enable_mem_pattern", options.enable_mem_pattern)

    # Several networks share the cores: a thread that spins while it waits takes them from the others.
    entries = dict.fromkeys(_SPINNING, "0")
    entries |= {key: value for key, value in parameters.items() if key.startswith("session.")}
    for key, value in entries.items():
        options.add_session_config_entry(key, value)
    run_entries = {key: value for key, value in parameters.items() if key.startswith("memory.")}

    accelerators = optimization.get("execution_accelerators", {})
    plan = SessionPlan(options, [], run_entries)
    if kind == "GPU":
        _add_gpu(plan, accelerators.get("gpu_execution_accelerator", []), device_id, available)
    for accelerator in accelerators.get("cpu_execution_accelerator", []):
        if accelerator.get("name") != "openvino" or OPENVINO not in available:
            raise ConfigError(_no_accelerator(accelerator.get("name"), available))
        plan.providers.append((OPENVINO, {"device_type": "CPU", **accelerator.get("parameters", {})}))
    plan.providers.append((CPU, {}))
    return plan


def _add_gpu(plan: SessionPlan, accelerators: Iterable[Config], device_id: int, available: Sequence[str]) -> None:
    device = {"device_id": str(device_id)}
    cuda: dict[str, str] = {}
    for accelerator in accelerators:
        name = accelerator.get("name")
        if name == "cuda":
            cuda = dict(accelerator.get("parameters", {}))
        elif name == "tensorrt" and TENSORRT in available:
            plan.providers.append((TENSORRT, device | _tensorrt_options(accelerator.get("parameters", {}))))
        else:
            raise ConfigError(_no_accelerator(name, available))
    if CUDA in available:
        plan.providers.append((CUDA, device | cuda))
    else:
        plan.warnings.append("this onnxruntime has no CUDA provider: the network runs on the CPU")


def _tensorrt_options(parameters: Mapping[str, str]) -> dict[str, str]:
    """The native backend's own names for two options; the rest are onnxruntime's."""
    options = dict(parameters)
    precision = options.pop("precision_mode", "FP32")
    if precision not in ("FP32", "FP16", "BF16", "INT8"):
        raise ConfigError(f"tensorrt precision_mode: expected FP32, FP16, BF16 or INT8, got {precision}")
    if precision != "FP32":
        options[f"trt_{precision.lower()}_enable"] = "1"
    if "max_workspace_size_bytes" in options:
        options["trt_max_workspace_size"] = options.pop("max_workspace_size_bytes")
    return options


def _no_accelerator(name: object, available: Sequence[str]) -> str:
    return f"unknown Execution Accelerator {name!r} is requested; this onnxruntime offers {', '.join(available)}"


def _whole(parameters: Mapping[str, str], key: str, default: int) -> int:
    text = parameters.get(key, "")
    try:
        return int(text) if text else default
    except ValueError:
        raise ConfigError(f"parameter {key}: expected a whole number, got {text!r}") from None


def _truth(parameters: Mapping[str, str], key: str, default: bool) -> bool:
    text = parameters.get(key, "").lower()
    if text in ("", "1", "true"):
        return bool(text) or default
    if text in ("0", "false"):
        return False
    raise ConfigError(f"parameter {key}: expected 1, true, 0 or false, got {text!r}")


def read_signature(session: onnxruntime.InferenceSession) -> Signature:
    """The tensors of an opened network.

    Raises:
        ConfigError: A tensor is of a kind that Triton has no type for.
    """
    return Signature(
        tuple(_tensor(arg) for arg in session.get_inputs()), tuple(_tensor(arg) for arg in session.get_outputs())
    )


def _tensor(arg: Any) -> Tensor:
    if arg.type not in _ONNX_TO_TRITON:
        raise ConfigError(f"tensor {arg.name}: Triton has no type for {arg.type}")
    return Tensor(arg.name, _ONNX_TO_TRITON[arg.type], tuple(d if isinstance(d, int) else -1 for d in arg.shape))


def check_signature(config: Config, signature: Signature) -> None:
    """Hold a model configuration against a network, as strictly as the native backend does.

    A fixed dimension of an input has to be the configured one; the dims of an output have to be exactly the configured
    ones; and with ``max_batch_size`` the first dimension must not be fixed.

    Raises:
        ConfigError: They do not fit; the message names the tensor, what was expected, and what the network has.
    """
    batched = int(config.get("max_batch_size", 0)) > 0
    inputs = config.get("input", [])
    missing = {t.name for t in signature.inputs} - {io["name"] for io in inputs}
    if missing:
        raise ConfigError(f"input {', '.join(sorted(missing))} of the network is not in the configuration")
    for io in inputs:
        _check_tensor("input", io, signature.inputs, batched=batched, exact=False)
    for io in config.get("output", []):
        _check_tensor("output", io, signature.outputs, batched=batched, exact=True)


def _check_tensor(role: str, io: Config, tensors: tuple[Tensor, ...], *, batched: bool, exact: bool) -> None:
    name = io["name"]
    tensor = next((t for t in tensors if t.name == name), None)
    if tensor is None:
        raise ConfigError(f"{role} {name}: the network has {', '.join(t.name for t in tensors)}")
    if tensor.dtype != io["data_type"]:
        raise ConfigError(f"{role} {name}: expected {io['data_type']}, the network has {tensor.dtype}")
    if batched and (not tensor.shape or tensor.shape[0] != -1):
        raise ConfigError(f"{role} {name}: expected a first dimension that is not fixed, got {list(tensor.shape)}")
    dims = [int(d) for d in io.get("reshape", {}).get("shape", io["dims"])]
    expected = [-1, *dims] if batched else dims
    fits = len(expected) == len(tensor.shape) and all(
        have == want or (have == -1 and not exact) for want, have in zip(expected, tensor.shape, strict=True)
    )
    if not fits:
        raise ConfigError(f"{role} {name}: expected shape {expected}, the network has {list(tensor.shape)}")


@dataclass(frozen=True, slots=True)
class Completion:
    """What a configuration lacks, taken from the network."""

    max_batch_size: int
    inputs: tuple[dict[str, Any], ...]
    outputs: tuple[dict[str, Any], ...]


def complete_config(config: Config, signature: Signature) -> Completion | None:
    """Derive inputs, outputs and batching from the network; None if the configuration has inputs and outputs.

    A network whose every tensor has an unfixed first dimension can batch.
    """
    if config.get("input") and config.get("output"):
        return None
    tensors = (*signature.inputs, *signature.outputs)
    configured = int(config.get("max_batch_size", 0))
    can_batch = bool(tensors) and all(t.shape and t.shape[0] == -1 for t in tensors)
    batch_size = (configured or _DEFAULT_MAX_BATCH_SIZE) if can_batch else configured
    first = 1 if batch_size else 0

    def described(tensor: Tensor) -> dict[str, Any]:
        return {"name": tensor.name, "data_type": tensor.dtype, "dims": list(tensor.shape[first:])}

    return Completion(
        batch_size, tuple(described(t) for t in signature.inputs), tuple(described(t) for t in signature.outputs)
    )


@dataclass(frozen=True, slots=True)
class Request:
    """What a caller wants to have computed."""

    inputs: Mapping[str, Array]
    outputs: tuple[str, ...]
    """Names of the outputs that it asked for."""


def group_requests(requests: Sequence[Request], *, batched: bool) -> list[list[int]]:
    """Indices of requests that can run as one batch: same input names, dtypes and shapes but for the first dimension.

    >>> one, two = np.zeros((1, 4)), np.zeros((2, 4))
    >>> group_requests([Request({"X": one}, ()), Request({"X": np.zeros((1, 5))}, ()), Request({"X": two}, ())],
    ...                batched=True)
    [[0, 2], [1]]
    """
    if not batched:
        return [[index] for index in range(len(requests))]
    groups: dict[tuple[object, ...], list[int]] = {}
    for index, request in enumerate(requests):
        key = tuple(sorted((name, array.dtype.str, array.shape[1:]) for name, array in request.inputs.items()))
        groups.setdefault(key, []).append(index)
    return list(groups.values())


def open_network(file: Path, config: Config, plan: SessionPlan) -> Network:
    """Open a network without taking time from what serves: at low priority, unless its threads would keep that.

    A network with a ``model_warmup`` is run once here, too: the bundled Triton can crash when a warm-up is answered
    with an error, while a network that cannot be opened only fails its load.

    Raises:
        ConfigError: As ``Network``; it is not what the record of its export says; or it fails on its first run.
    """

    def opened() -> Network:
        _hold_against_record(file, config, plan)
        network = Network(file, config, plan)
        blank = _blank_request(config) if config.get("model_warmup") else None
        if blank is not None and isinstance(answer := network.answer([blank])[0], RunError):
            raise ConfigError(f"{file}: fails on its first run, of zeros: {answer}")
        return network

    return at_low_priority(opened) if plan.single_threaded else opened()


def _hold_against_record(file: Path, config: Config, plan: SessionPlan) -> None:
    """Refuse a network that is not the one that was exported. Raises ConfigError."""
    name, folder = str(config.get("name", "")), file.parent.name
    version = int(folder) if folder.isdecimal() else 0
    try:
        standing = check_network(name, version, file, unverified=is_unverified())
    except SetupError as exc:
        raise ConfigError(str(exc)) from exc
    if standing is Standing.UNRECORDED:
        plan.warnings.append(without_record(name, version, file))


def _blank_request(config: Config) -> Request | None:
    """One item of zeros; None where the configuration leaves a dimension open, or wants text."""
    inputs: dict[str, Array] = {}
    for io in config.get("input", []):
        dims = [int(dim) for dim in io["dims"]]
        kind = io["data_type"].removeprefix("TYPE_")
        if min(dims, default=1) < 1 or kind == "STRING":
            return None
        shape = [1, *dims] if int(config.get("max_batch_size", 0)) > 0 else dims
        inputs[io["name"]] = np.zeros(shape, np.dtype(kind.replace("FP", "FLOAT").lower()))
    return Request(inputs, tuple(io["name"] for io in config.get("output", [])))


class Network:
    """An opened network that answers batches of requests.

    Args:
        file: The ONNX file.
        config: The model's configuration.
        plan: How to open it.

    Raises:
        ConfigError: The network cannot be opened, or does not fit the configuration.
    """

    def __init__(self, file: Path, config: Config, plan: SessionPlan) -> None:
        try:
            self._session = onnxruntime.InferenceSession(str(file), plan.options, providers=plan.providers)
        except _ERRORS as exc:
            raise ConfigError(f"{file}: {exc}") from exc
        check_signature(config, read_signature(self._session))
        self._batched = int(config.get("max_batch_size", 0)) > 0
        self._run_options = onnxruntime.RunOptions()
        for key, value in plan.run_entries.items():
            self._run_options.add_run_config_entry(key, value)

    @property
    def providers(self) -> list[str]:
        """The execution providers that the session really uses."""
        return list(self._session.get_providers())

    def answer(self, requests: Sequence[Request]) -> list[dict[str, Array] | RunError]:
        """Compute the requests, those that fit together in one run.

        Returns:
            For each request its outputs by name, or the error that it met. A request that fails takes no other one of
            its batch with it.
        """
        answers: dict[int, dict[str, Array] | RunError] = {}
        for indices in group_requests(requests, batched=self._batched):
            group = [requests[index] for index in indices]
            answers.update(zip(indices, self._answer_group(group), strict=True))
        return [answers[index] for index in range(len(requests))]

    def _answer_group(self, group: Sequence[Request]) -> Sequence[dict[str, Array] | RunError]:
        try:
            return self._run(group)
        except _ERRORS as exc:
            if len(group) == 1:
                return [RunError(f"onnxruntime: {exc}", _ERROR_CODES.get(type(exc), "INTERNAL"))]
            return [self._answer_group([request])[0] for request in group]

    def _run(self, group: Sequence[Request]) -> list[dict[str, Array]]:
        names = list(dict.fromkeys(name for request in group for name in request.outputs))
        feed = {
            name: group[0].inputs[name] if len(group) == 1 else np.concatenate([r.inputs[name] for r in group])
            for name in group[0].inputs
        }
        values = dict(zip(names, self._session.run(names, feed, self._run_options), strict=True))
        if len(group) == 1:
            return [values]
        sizes = [len(next(iter(request.inputs.values()))) for request in group]
        for name, value in values.items():
            if len(value) != sum(sizes):
                raise RuntimeError(f"output {name}: expected {sum(sizes)} rows for the batch, got {len(value)}")
        ends = np.cumsum(sizes)
        return [
            {name: values[name][end - size : end] for name in request.outputs}
            for request, size, end in zip(group, sizes, ends, strict=True)
        ]
