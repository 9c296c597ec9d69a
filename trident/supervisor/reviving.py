"""Bringing one model back beside the others, which go on meanwhile.

Triton does not start a Python model's process again. It loads a model anew when its configuration has changed, so one
parameter is changed: the versions that are loaded, and which one answers, stay as they are. What is loaded so lasts
until the model is loaded from the disk for another reason, a rollout for example.
"""

from __future__ import annotations

import time
from pathlib import Path

from trident.contract import ENSEMBLE
from trident.model_config import read_config
from trident.rollout.canary import answer_from_disk
from trident.rollout.serving import Serving, ServingError

REVIVED = "TRIDENT_REVIVED"
"""The parameter that is changed; upper case, for such ones are not the model's own."""


def revive(serving: Serving, repository: Path, model: str) -> None:
    """Load a model again whose processes have ended, or were.

    Where a canary's router has lost its process, the ensemble answers as its configuration on disk says; the rollout
    notices that the canary has ended.

    Args:
        serving: The server.
        repository: Its model repository.
        model: The model.

    Raises:
        ServingError: The server refuses, or does not do it in time.
        SetupError: The configuration on disk cannot be read.
    """
    if model == ENSEMBLE:
        answer_from_disk(serving, read_config(repository / ENSEMBLE))
        return
    config = serving.config(model)
    config.parameters[REVIVED].string_value = f"{time.time():.3f}"
    serving.load(model, config)
    if not serving.ready(model):
        raise ServingError(f"{model} is not ready although its load was answered OK", "INTERNAL")
