"""Bringing one model back beside the others, which go on meanwhile.

Triton does not start a Python model's process again. It loads a model anew when its configuration has changed, so one
parameter is changed: the versions that are loaded, and which one answers, stay as they are. What is loaded so lasts
until the model is loaded from the disk for another reason, a rollout for example.
"""

from __future__ import annotations

import time
from pathlib import Path

from tritonclient.grpc.model_config_pb2 import ModelConfig

from trident.contract import ENSEMBLE
from trident.model_config import read_config
from trident.rollout.canary import answer_from_disk
from trident.rollout.serving import ServerLost, Serving, ServingError

REVIVED = "TRIDENT_REVIVED"
"""The parameter that is changed; upper case, for such ones are not the model's own."""
_READY_TRIES = 3


def configuration(serving: Serving, repository: Path, model: str) -> ModelConfig:
    """What a model is to be loaded with, so that Triton starts its processes again.

    Args:
        serving: The server.
        repository: Its model repository.
        model: The model.

    Raises:
        ServingError: The server does not tell.
        SetupError: The configuration on disk cannot be read.
    """
    if model == ENSEMBLE:
        return read_config(repository / ENSEMBLE)
    config = serving.config(model)
    config.parameters[REVIVED].string_value = f"{time.time():.3f}"
    return config


def revive(serving: Serving, model: str, config: ModelConfig) -> None:
    """Load a model again whose processes have ended, or were.

    Where a canary's router has lost its process, the ensemble answers as its configuration on disk says; the rollout
    notices that the canary has ended.

    Args:
        serving: The server.
        model: The model.
        config: What ``configuration`` gives.

    Raises:
        ServingError: The server refuses, or does not do it in time.
    """
    if model == ENSEMBLE:
        answer_from_disk(serving, config)
        return
    serving.load(model, config)
    for tries_left in reversed(range(_READY_TRIES)):
        try:
            if serving.ready(model):
                return
        except ServerLost:
            raise
        except ServingError:  # a slow answer is none; what comes of it is asked again
            if not tries_left:
                raise
    raise ServingError(f"{model} is not ready although its load was answered OK", "INTERNAL")
