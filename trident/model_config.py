"""Model configurations as typed objects: ``config.pbtxt`` read with the protobuf schema that tritonclient ships."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from google.protobuf import text_format
from tritonclient.grpc.model_config_pb2 import ModelConfig

from trident.errors import SetupError
from trident.layout import DEFAULT_REPOSITORY, MODEL_FILE

CONFIG_NAME = "config.pbtxt"

_PIN_SUFFIX = "_version"


def parse_config(text: str, source: str = CONFIG_NAME) -> ModelConfig:
    """Parse the text of a ``config.pbtxt``.

    Args:
        text: Protobuf text format.
        source: Where the text came from, for the message.

    Raises:
        SetupError: The text does not fit the schema.
    """
    try:
        return text_format.Parse(text, ModelConfig())
    except text_format.ParseError as exc:
        raise SetupError(f"{source} is not a valid model configuration: {exc}") from exc


def read_config(path: Path) -> ModelConfig:
    """Read one ``config.pbtxt``, given as the file or as the model's folder.

    Raises:
        SetupError: The file is missing or does not fit the schema.
    """
    file = path / CONFIG_NAME if path.is_dir() else path
    try:
        text = file.read_text(encoding="utf-8")
    except OSError as exc:
        raise SetupError(f"cannot read {file}: {exc.strerror}") from exc
    return parse_config(text, str(file))


def check_is_there(repository: Path) -> None:
    """Check that a model repository's folder exists. Raises SetupError."""
    if repository.is_dir():
        return
    advice = ": start from a clone of the repository, or pass --model-repository"
    raise SetupError(
        f"there is no model repository at {repository}{advice if repository == DEFAULT_REPOSITORY else ''}"
    )


def read_repository(repository: Path) -> dict[str, ModelConfig]:
    """Every model of a repository by its folder's name, sorted.

    Raises:
        SetupError: The folder is missing, holds no model, or a configuration does not fit the schema.
    """
    check_is_there(repository)
    folders = sorted(path.parent for path in repository.glob(f"*/{CONFIG_NAME}"))
    if not folders:
        raise SetupError(f"{repository} is not a model repository: no folder in it holds a {CONFIG_NAME}")
    return {folder.name: read_config(folder) for folder in folders}


def served_versions(config: ModelConfig) -> tuple[int, ...]:
    """The versions that ``version_policy { specific }`` names, in the file's order; empty under any other policy."""
    return tuple(config.version_policy.specific.versions)


def string_parameters(config: ModelConfig) -> dict[str, str]:
    """The ``parameters`` of a configuration as plain strings."""
    return {key: value.string_value for key, value in config.parameters.items()}


def ensemble_pins(config: ModelConfig) -> dict[str, int]:
    """Which version each step of an ensemble calls, by model; -1 is "the newest"."""
    return {step.model_name: step.model_version for step in config.ensemble_scheduling.step}


def bls_pins(config: ModelConfig) -> dict[str, int]:
    """Which version a model calls through BLS, by model: its parameters ``<model>_version``.

    Raises:
        SetupError: A pin is not a whole number.
    """
    pins = {}
    for key, value in string_parameters(config).items():
        if not key.endswith(_PIN_SUFFIX):
            continue
        try:
            pins[key.removesuffix(_PIN_SUFFIX)] = int(value)
        except ValueError:
            raise SetupError(f"{config.name}: parameter {key}: expected a model version, got {value!r}") from None
    return pins


def pinned_versions(configs: dict[str, ModelConfig], ensemble: str) -> dict[str, int]:
    """Every version that an answer of the ensemble rests on, by model: its steps' and those they call through BLS.

    Raises:
        SetupError: There is no such ensemble, or a step's model is not in the repository.
    """
    if ensemble not in configs:
        raise SetupError(f"there is no model {ensemble!r}; the repository holds {', '.join(sorted(configs))}")
    pins = ensemble_pins(configs[ensemble])
    for model in tuple(pins):
        if model not in configs:
            raise SetupError(f"{ensemble} has a step {model!r} that is not in the repository")
        pins |= bls_pins(configs[model])
    return pins


def network_files(repository: Path, configs: dict[str, ModelConfig]) -> Iterator[tuple[str, int, Path]]:
    """The ONNX files that the served versions of a repository need: model, version and path."""
    for name, config in configs.items():
        if config.backend == "onnxruntime":
            for version in served_versions(config):
                yield name, version, network_file(repository / name, version, config)


def network_file(folder: Path, version: int, config: ModelConfig) -> Path:
    """The ONNX file of one version of the model in ``folder``, as its configuration names it."""
    return folder / str(version) / (config.default_model_filename or MODEL_FILE)
