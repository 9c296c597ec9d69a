"""A twin of the ensemble that computes nothing: what it takes to serve a request is all that is left.

Same names, tensors, types, dims, versions, instances and batching, taken from the configurations of the repository that
it is the twin of; every model is one that answers with constants (``twin_model/model.py``). The recognizer's twin calls
the twins of the four networks, through BLS, as the recognizer does of a picture with one face and one plate.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from google.protobuf import text_format
from PIL import Image
from tritonclient.grpc.model_config_pb2 import ModelConfig

from trident.contract import (
    CANVAS_PIXELS,
    COMPONENTS,
    DETAIL_PIXELS,
    DETAIL_SIDE,
    ENSEMBLE,
    ENTITIES,
    MODELS,
    RECOGNIZER,
    RESULT,
)
from trident.errors import SetupError
from trident.layout import CODE_FILE
from trident.model_config import CONFIG_NAME
from trident.rollout.consistency import tensor_problems
from trident.rollout.disk import Repository

WAYS = (("face_detector", "face_embedder"), ("plate_detector", "plate_detector", "plate_reader"))
"""What the recognizer calls, two ways side by side; the second look at plates is a call of its own."""
CALLS = sum(map(len, WAYS))

_CODE = Path(__file__).parent / "twin_model" / CODE_FILE
_TEXTS = {
    RESULT.name: json.dumps({"schema": 1, "models": {"twin": {"version": 1, "digest": "sha256:" + "0" * 64}}}),
    ENTITIES.name: "[]",
}
"""What a text says that is no tensor of zeros: it has to be JSON, and of no model."""
_OF_THE_NETWORK = ("default_model_filename", "model_warmup", "parameters", "optimization", "backend", "platform")
"""Fields of a configuration that say how to compute, not how to serve."""


def write_twin(source: Path, folder: Path, *, detail: tuple[int, int], calls: bool = True) -> Path:
    """Write the repository of the twin.

    Args:
        source: The repository that it is the twin of.
        folder: Where to; it must not be there yet.
        detail: Height and width of ``DETAIL_PIXELS``, whose dims are the pictures', not the configuration's.
        calls: Whether the recognizer's twin calls the networks'.

    Returns:
        ``folder``.

    Raises:
        SetupError: ``source`` is not such a repository, or a configuration in it does not fit the contract.
    """
    repository = Repository(source)
    release = repository.release()
    configs = {name: repository.config(name) for name in (*COMPONENTS, ENSEMBLE)}
    if problems := [problem for name, config in configs.items() for problem in tensor_problems(name, config)]:
        raise SetupError(f"{source}: a twin takes after a repository that fits the contract; {problems[0]}")
    folder.mkdir(parents=True)
    for name in COMPONENTS:
        parameters: dict[str, Any] = {"texts": _TEXTS}
        if name == "preprocess":
            parameters["dims"] = {DETAIL_PIXELS.name: [*detail, DETAIL_PIXELS.dims[-1]]}
        if name == RECOGNIZER and calls:
            parameters["ways"] = [[_call(network, release[network]) for network in way] for way in WAYS]
        config = twin_config(configs[name], release[name], parameters)
        code = folder / name / str(release[name])
        code.mkdir(parents=True)
        shutil.copy(_CODE, code / CODE_FILE)
        _write_config(folder / name, config)
    for version in configs[ENSEMBLE].version_policy.specific.versions:
        (folder / ENSEMBLE / str(version)).mkdir(parents=True)
    _write_config(folder / ENSEMBLE, configs[ENSEMBLE])
    return folder


def twin_config(config: ModelConfig, version: int, parameters: Mapping[str, Any]) -> ModelConfig:
    """The configuration of one component's twin.

    Args:
        config: The component's.
        version: The one version that there is to be.
        parameters: For the twin's code; written as JSON.
    """
    twin = ModelConfig()
    twin.CopyFrom(config)
    for field in _OF_THE_NETWORK:
        twin.ClearField(field)
    twin.backend = "python"
    twin.version_policy.Clear()
    twin.version_policy.specific.versions[:] = [version]
    for name, value in parameters.items():
        twin.parameters[name].string_value = json.dumps(value)
    return twin


def _call(network: str, version: int) -> dict[str, Any]:
    (pixels,) = MODELS[network].inputs
    return {
        "model": network,
        "version": version,
        "input": pixels.name,
        "dims": list(pixels.dims),
        "of": CANVAS_PIXELS.name if pixels.dims == CANVAS_PIXELS.dims else None,
        "outputs": [output.name for output in MODELS[network].outputs],
    }


def _write_config(folder: Path, config: ModelConfig) -> None:
    (folder / CONFIG_NAME).write_text(text_format.MessageToString(config, as_utf8=True), encoding="utf-8")


def detail_of(pictures: Sequence[Path]) -> tuple[int, int]:
    """Height and width of ``DETAIL_PIXELS`` of the picture whose detail is the median one by area.

    Read from the files' headers; how a picture is turned does not matter here.
    """
    sizes = []
    for picture in pictures:
        with Image.open(picture) as opened:
            width, height = opened.size
        scale = min(1.0, DETAIL_SIDE / max(width, height))
        sizes.append((max(1, round(height * scale)), max(1, round(width * scale))))
    return sorted(sizes, key=lambda size: size[0] * size[1])[(len(sizes) - 1) // 2]
