"""Model configurations as typed objects: ``config.pbtxt`` read with the protobuf schema that tritonclient ships."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

from google.protobuf import text_format
from tritonclient.grpc.model_config_pb2 import ModelConfig

from trident.errors import SetupError
from trident.layout import DEFAULT_REPOSITORY, MODEL_FILE

CONFIG_NAME = "config.pbtxt"


def parse_config(text: str, source: str = CONFIG_NAME) -> ModelConfig:
    """Parse the text of a ``config.pbtxt``.

    Args:
        text: Protobuf text format.
        source: Where the text came from, for the message.

    Raises:
        SetupError: The text does not fit the schema.
    """
    config = ModelConfig()
    try:
        config.CopyFrom(_parsed(text))
    except text_format.ParseError as exc:
        raise SetupError(f"{source} is not a valid model configuration: {exc}") from exc
    return config


@lru_cache(maxsize=64)
def _parsed(text: str) -> ModelConfig:
    """Parsing takes milliseconds, and a rollout reads the same few texts again and again. Not to be changed."""
    return text_format.Parse(text, ModelConfig())


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


def pinned_step(config: ModelConfig, model: str) -> int:
    """Which version of a model an ensemble's configuration pins.

    Raises:
        SetupError: The model is no step of it, or a step that pins no version.
    """
    version = ensemble_pins(config).get(model)
    if version is None:
        steps = ", ".join(ensemble_pins(config)) or "none"
        raise SetupError(f"{config.name or 'the configuration'} has no step {model!r}; its steps are {steps}")
    if version < 1:
        raise SetupError(f"{config.name}: step {model}: expected a model_version of 1 or more, got {version}")
    return version


def network_files(repository: Path, configs: dict[str, ModelConfig]) -> Iterator[tuple[str, int, Path]]:
    """The ONNX files that the served versions of a repository need: model, version and path."""
    for name, config in configs.items():
        if config.backend == "onnxruntime":
            for version in served_versions(config):
                yield name, version, network_file(repository / name, version, config)


def network_file(folder: Path, version: int, config: ModelConfig) -> Path:
    """The ONNX file of one version of the model in ``folder``, as its configuration names it."""
    return folder / str(version) / (config.default_model_filename or MODEL_FILE)
