"""Do the model configurations fit the contract, and each other?

Pure functions of parsed configurations and of the folder that they stand in; the contract tests hold the project's own
repository against them, and the preflight of a rollout holds whatever repository is to be changed. Each gives one
sentence for every problem, and an empty list where there is none.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from tritonclient.grpc.model_config_pb2 import DataType, ModelConfig

from trident.contract import EMBEDDER, ENSEMBLE, MAX_BATCH_SIZE, MODELS, RECOGNIZER, STEPS, TensorSpec
from trident.entities.called_networks import read_networks
from trident.errors import SetupError
from trident.model_config import ensemble_pins, served_versions, string_parameters

_Tensor = tuple[str, str, tuple[int, ...]]

_LARGEST_CALLS = {
    EMBEDDER: "max_crops_per_call",
    "plate_reader": "max_crops_per_call",
    "plate_detector": "max_canvases_per_call",
}
"""The recognizer's parameter that says how much it sends in one call."""


def model_problems(folder: Path, name: str, config: ModelConfig) -> list[str]:
    """Everything about one model's configuration that can be said without the others.

    Args:
        folder: The model's folder, with its versions and the files of its warm-up.
        name: The model's name in the contract.
        config: Its configuration.
    """
    return [
        *identity_problems(name, config),
        *tensor_problems(name, config),
        *version_problems(folder, name, config),
        *batch_problems(name, config),
        *queue_problems(name, config),
        *warmup_problems(folder, name, config),
    ]


def repository_problems(repository: Path, configs: Mapping[str, ModelConfig]) -> dict[str, list[str]]:
    """Every problem of a repository by the model whose configuration shows it; models without one are left out."""
    found: dict[str, list[str]] = {}
    for name in MODELS:
        if name not in configs:
            found[name] = [f"{name}: expected a folder with a config.pbtxt in {repository}, got none"]
            continue
        found[name] = model_problems(repository / name, name, configs[name])
    if ENSEMBLE in configs:
        found[ENSEMBLE] += ensemble_problems(configs)
    if RECOGNIZER in configs:
        found[RECOGNIZER] += call_problems(configs) + called_problems(repository, configs)
    return {name: problems for name, problems in found.items() if problems}


def identity_problems(name: str, config: ModelConfig) -> list[str]:
    """The name is the folder's, and the backend the one that the component's versions are made for."""
    problems = []
    if config.name != name:
        problems.append(f"{name}: name: expected {name!r}, the folder's, got {config.name!r}")
    if name == ENSEMBLE:
        if config.platform != "ensemble":
            problems.append(f'{name}: platform: expected "ensemble", got {config.platform!r}')
        return problems
    backend = "onnxruntime" if MODELS[name].network else "python"
    if config.backend != backend:
        problems.append(f"{name}: backend: expected {backend!r}, got {config.backend!r}")
    return problems


def tensor_problems(name: str, config: ModelConfig) -> list[str]:
    """Inputs and outputs are those of the contract, in its order; a dim that it leaves open may be fixed."""
    spec = MODELS[name]
    return _tensors(name, "input", config.input, spec.inputs) + _tensors(name, "output", config.output, spec.outputs)


def _tensors(name: str, side: str, configured: Iterable[object], specs: tuple[TensorSpec, ...]) -> list[str]:
    have = [_configured(tensor) for tensor in configured]
    names = [tensor[0] for tensor in have]
    wanted = [spec.name for spec in specs]
    if names != wanted:
        return [f"{name}: {side}s: expected {', '.join(wanted)} in this order, got {', '.join(names) or 'none'}"]
    problems = []
    for (_, dtype, dims), spec in zip(have, specs, strict=True):
        if dtype != spec.dtype:
            problems.append(f"{name}: {side} {spec.name}: expected TYPE_{spec.dtype}, got TYPE_{dtype}")
        if not fits(dims, spec.dims):
            problems.append(f"{name}: dims of {side} {spec.name}: expected {list(spec.dims)}, got {list(dims)}")
    return problems


def _configured(tensor: object) -> _Tensor:
    return (
        tensor.name,  # type: ignore[attr-defined]
        DataType.Name(tensor.data_type).removeprefix("TYPE_"),  # type: ignore[attr-defined]
        tuple(tensor.dims),  # type: ignore[attr-defined]
    )


def fits(have: tuple[int, ...], wanted: tuple[int, ...]) -> bool:
    """Whether configured dims are those of the contract, which may leave some open (-1).

    >>> fits((1024,), (-1,)), fits((-1,), (1024,)), fits((3, 4), (3,))
    (True, False, False)
    """
    return len(have) == len(wanted) and all(w in (-1, h) for h, w in zip(have, wanted, strict=True))


def version_problems(folder: Path, name: str, config: ModelConfig) -> list[str]:
    """Versions are named, so that nothing follows "the newest", and each has its folder."""
    versions = served_versions(config)
    if not versions:
        policy = config.version_policy.WhichOneof("policy_choice") or "none"
        return [f"{name}: version_policy: expected specific {{ versions: [ … ] }}, got {policy}"]
    return [
        f"{name}: version_policy: it names version {version}, but there is no folder {folder / str(version)}"
        for version in versions
        if not (folder / str(version)).is_dir()
    ]


def batch_problems(name: str, config: ModelConfig) -> list[str]:
    """A request may carry as many pictures as the contract says."""
    if config.max_batch_size >= MAX_BATCH_SIZE:
        return []
    return [f"{name}: max_batch_size: expected at least {MAX_BATCH_SIZE}, got {config.max_batch_size}"]


def queue_problems(name: str, config: ModelConfig) -> list[str]:
    """Queues are limited on the first step only: behind the fan-out, a full one makes the server hang."""
    batching = config.dynamic_batching
    policies = [batching.default_queue_policy, *batching.priority_queue_policy.values()]
    limited = any(policy.max_queue_size for policy in policies)
    first = next(iter(MODELS))
    if name == first and not limited:
        return [f"{name}: max_queue_size: expected a limit on the first step, got none: requests would pile up"]
    if name != first and limited:
        return [
            f"{name}: max_queue_size: expected none behind the first step, where a full queue makes the server hang"
        ]
    return []


def warmup_problems(folder: Path, name: str, config: ModelConfig) -> list[str]:
    """Warm-ups feed every input of the contract with data that is there.

    Networks must have one: it keeps the first request after a load from waiting for memory to be laid out.
    """
    spec = MODELS[name]
    if spec.network and 1 not in [warmup.batch_size for warmup in config.model_warmup]:
        return [f"{name}: model_warmup: expected one with batch_size 1, got none"]
    problems = []
    for warmup in config.model_warmup:
        where = f"{name}: model_warmup {warmup.name!r}"
        wanted = sorted(tensor.name for tensor in spec.inputs)
        if sorted(warmup.inputs) != wanted:
            problems.append(f"{where}: expected inputs {', '.join(wanted)}, got {', '.join(sorted(warmup.inputs))}")
            continue
        for tensor in spec.inputs:
            value = warmup.inputs[tensor.name]
            dtype = DataType.Name(value.data_type).removeprefix("TYPE_")
            if dtype != tensor.dtype or not fits(tuple(value.dims), tensor.dims):
                problems.append(
                    f"{where}: {tensor.name}: expected TYPE_{tensor.dtype} {list(tensor.dims)}, "
                    f"got TYPE_{dtype} {list(value.dims)}"
                )
            file = value.input_data_file
            if file and not (folder / "warmup" / file).is_file():
                problems.append(f"{where}: {tensor.name}: there is no file {folder / 'warmup' / file}")
    return problems


def ensemble_problems(configs: Mapping[str, ModelConfig]) -> list[str]:
    """The maps of the ensemble: everything that is read has one producer, and is what the reader expects.

    Dtypes and dims are those of the components' own configurations, since these are what the server compares.
    """
    config = configs[ENSEMBLE]
    steps = {step.model_name: step for step in config.ensemble_scheduling.step}
    if sorted(steps) != sorted(STEPS) or len(steps) != len(config.ensemble_scheduling.step):
        got = ", ".join(step.model_name for step in config.ensemble_scheduling.step) or "none"
        return [f"{ENSEMBLE}: steps: expected {', '.join(STEPS)}, each once, got {got}"]
    problems = []
    for model, version in ensemble_pins(config).items():
        if model in configs and version not in served_versions(configs[model]):
            problems.append(
                f"{ENSEMBLE}: model_version of {model}: expected one that {model}/config.pbtxt names "
                f"({', '.join(map(str, served_versions(configs[model]))) or 'none'}), got {version}"
            )
    producers: dict[str, list[tuple[str, _Tensor]]] = {
        tensor[0]: [("the request", tensor)] for tensor in map(_configured, config.input)
    }
    for model, step in steps.items():
        outputs = {tensor[0]: tensor for tensor in map(_configured, configs[model].output)} if model in configs else {}
        problems += _map_problems(model, "output_map", step.output_map, {spec.name for spec in MODELS[model].outputs})
        for output, tensor in step.output_map.items():
            if output in outputs:
                producers.setdefault(tensor, []).append((f"{model}.{output}", outputs[output]))
    for tensor, made_by in producers.items():
        if len(made_by) > 1:
            names = ", ".join(producer for producer, _ in made_by)
            problems.append(f"{ENSEMBLE}: tensor {tensor}: expected one producer, got {names}")
    read = {tensor for step in steps.values() for tensor in step.input_map.values()}
    read |= {tensor.name for tensor in config.output}
    problems += [
        f"{ENSEMBLE}: tensor {tensor}: {made_by[0][0]} gives it and nobody reads it"
        for tensor, made_by in producers.items()
        if tensor not in read
    ]
    for model, step in steps.items():
        problems += _map_problems(model, "input_map", step.input_map, {spec.name for spec in MODELS[model].inputs})
        inputs = {tensor[0]: tensor for tensor in map(_configured, configs[model].input)} if model in configs else {}
        for name, tensor in step.input_map.items():
            if name in inputs:
                problems += _feed_problems(f"{model}.{name}", inputs[name], tensor, producers.get(tensor, []))
    for output in map(_configured, config.output):
        problems += _feed_problems(f"output {output[0]}", output, output[0], producers.get(output[0], []))
    return problems


def _map_problems(model: str, which: str, mapped: Mapping[str, str], wanted: set[str]) -> list[str]:
    if set(mapped) == wanted:
        return []
    return [
        f"{ENSEMBLE}: {which} of {model}: expected {', '.join(sorted(wanted))}, "
        f"got {', '.join(sorted(mapped)) or 'none'}"
    ]


def _feed_problems(reader: str, wanted: _Tensor, tensor: str, made_by: list[tuple[str, _Tensor]]) -> list[str]:
    """What keeps ``tensor`` from being what ``reader`` expects."""
    if not made_by:
        return [f"{ENSEMBLE}: {reader} reads {tensor}: no step gives it"]
    producer, (_, dtype, dims) = made_by[0]
    if (dtype, dims) == wanted[1:]:
        return []
    return [
        f"{ENSEMBLE}: {reader} reads {tensor}: expected TYPE_{wanted[1]} {list(wanted[2])}, "
        f"got TYPE_{dtype} {list(dims)} from {producer}"
    ]


def call_problems(configs: Mapping[str, ModelConfig]) -> list[str]:
    """What the recognizer sends in one call is what the network behind it takes in one."""
    parameters = string_parameters(configs[RECOGNIZER])
    problems = []
    for model, parameter in _LARGEST_CALLS.items():
        if model not in configs or parameter not in parameters:
            continue
        most = configs[model].max_batch_size
        if parameters[parameter] != str(most):
            problems.append(
                f"{RECOGNIZER}: parameter {parameter}: expected {most}, the max_batch_size of {model}, "
                f"got {parameters[parameter]!r}"
            )
    return problems


def called_problems(repository: Path, configs: Mapping[str, ModelConfig]) -> list[str]:
    """Every network that a served version of the recognizer calls is served."""
    problems = []
    for recognizer in served_versions(configs[RECOGNIZER]):
        try:
            networks = read_networks(repository / RECOGNIZER / str(recognizer))
        except SetupError as exc:
            problems.append(f"{RECOGNIZER} {recognizer}: {exc}")
            continue
        problems += [
            f"{RECOGNIZER} {recognizer}: version of {name}: expected one that {name}/config.pbtxt names "
            f"({', '.join(map(str, served_versions(configs[name]))) or 'none'}), got {version}"
            for name, version in networks.versions.items()
            if name in configs and version not in served_versions(configs[name])
        ]
    return problems
