"""The recognizer's networks in this process, without a server: for enrolling faces."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import cast

import numpy as np
import numpy.typing as npt
import onnxruntime as ort

from trident.contract import ENSEMBLE, MODELS, RECOGNIZER
from trident.entities.called_networks import read_networks
from trident.entities.networks import Tensors
from trident.entities.settings import Settings
from trident.errors import SetupError
from trident.model_config import (
    CONFIG_NAME,
    check_is_there,
    network_file,
    pinned_step,
    read_config,
    string_parameters,
)
from trident.preprocess import Limits
from trident.verification import check_network, is_unverified

_PREPROCESS = "preprocess"


def read_settings(model_repository: Path) -> Settings:
    """The settings of the entity recognizer that the ensemble of a model repository pins.

    Raises:
        SetupError: the repository or a file is missing, or it cannot be understood.
    """
    parameters = _parameters(model_repository, RECOGNIZER)
    version = pinned_step(read_config(model_repository / ENSEMBLE / CONFIG_NAME), RECOGNIZER)
    return Settings.from_parameters(parameters, read_networks(model_repository / RECOGNIZER / str(version)))


def read_limits(model_repository: Path) -> Limits:
    """The limits in ``preprocess/config.pbtxt`` of a model repository: what the server refuses, enrolling refuses.

    Raises:
        SetupError: the repository or the file is missing, or a limit cannot be understood.
    """
    return Limits.from_parameters(_parameters(model_repository, _PREPROCESS))


def _parameters(model_repository: Path, model: str) -> dict[str, str]:
    check_is_there(model_repository)
    return string_parameters(read_config(model_repository / model / CONFIG_NAME))


class LocalNetworks:
    """Calls the same ONNX files as the server, with onnxruntime; each is loaded at its first call."""

    def __init__(self, model_repository: Path, versions: Mapping[str, int]) -> None:
        self._model_repository = model_repository
        self._versions = dict(versions)
        self._sessions: dict[str, ort.InferenceSession] = {}

    async def infer(self, network: str, inputs: Tensors) -> Tensors:
        """Run one network; the ``Infer`` of ``trident.entities.networks``.

        Raises:
            SetupError: its configuration or ONNX file is missing or cannot be loaded.
        """
        session = self._sessions.get(network)
        if session is None:
            session = self._sessions[network] = self._load(network)
        names = [spec.name for spec in MODELS[network].outputs]
        outputs = cast(list[npt.NDArray[np.generic]], session.run(names, dict(inputs)))
        return dict(zip(names, outputs, strict=True))

    def _load(self, network: str) -> ort.InferenceSession:
        folder = self._model_repository / network
        file = network_file(folder, self._versions[network], read_config(folder / CONFIG_NAME))
        if not file.is_file():
            raise SetupError(f"{file}: not there; run make export first")
        check_network(network, self._versions[network], file, unverified=is_unverified())
        options = ort.SessionOptions()
        # Quiet: the command line has its own words.
        options.log_severity_level = 3
        # One, as the networks are served with, and no more of the machine than that.
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        try:
            return ort.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
        except Exception as exc:  # onnxruntime's exceptions share no other base
            raise SetupError(f"{file}: cannot be loaded ({exc}); run make export again") from exc
