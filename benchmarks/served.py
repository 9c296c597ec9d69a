"""Calls single models of a running server, with the tensors that ``trident.contract`` defines.

For what the ensemble does not show: the branches' own answers, face embeddings, a plate that is already cut out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import numpy.typing as npt
from tritonclient.grpc import InferenceServerClient, InferInput, InferRequestedOutput

from trident.contract import MODELS
from trident.entities.gallery import URL_VARIABLE
from trident.fusion.batch import fusion_inputs
from trident.launcher import TritonServer
from trident.layout import DEFAULT_REPOSITORY

Tensors = Mapping[str, npt.NDArray[Any]]

TIMEOUT_SECONDS = 60.0


def own_server(folder: Path, repository: Path = DEFAULT_REPOSITORY, *, arguments: Sequence[str] = ()) -> TritonServer:
    """A server to start for a measurement: on free ports, with a gallery that nobody is enrolled in.

    Args:
        folder: For the gallery; to be there for as long as the server runs.
        repository: What it serves.
        arguments: Further ones of ``tritonserver``.
    """
    gallery = {URL_VARIABLE: empty_gallery(folder)}
    return TritonServer(repository, grpc_port=0, http_port=0, metrics_port=0, arguments=arguments, env=gallery)


def empty_gallery(folder: Path) -> str:
    """SQLAlchemy URL of a gallery in ``folder``, which nobody is enrolled in until somebody is."""
    return f"sqlite:///{folder / 'gallery.db'}"


class ServedModels:
    """The models of one server, called directly. Safe to share between threads."""

    def __init__(self, url: str, versions: Mapping[str, int] | None = None) -> None:
        """Prepare calls to the gRPC port at ``url`` (host:port).

        Args:
            url: Where.
            versions: Which version of a model is called; the server's choice, the newest, for those that it lacks.
        """
        self._client = InferenceServerClient(url)
        self._versions = dict(versions or {})

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._client.close()

    def infer(self, model: str, tensors: Tensors) -> dict[str, npt.NDArray[Any]]:
        """Call one model of the contract; all tensors have the batch as their first axis.

        Raises:
            tritonclient.utils.InferenceServerException: the server cannot be reached or refuses the call.
        """
        spec = MODELS[model]
        inputs = []
        for expected in spec.inputs:
            array = np.ascontiguousarray(tensors[expected.name])
            tensor = InferInput(expected.name, list(array.shape), expected.dtype.wire)
            tensor.set_data_from_numpy(array)
            inputs.append(tensor)
        outputs = [InferRequestedOutput(output.name) for output in spec.outputs]
        version = str(self._versions.get(model, ""))
        result = self._client.infer(model, inputs, version, outputs, client_timeout=TIMEOUT_SECONDS)
        return {output.name: result.as_numpy(output.name) for output in spec.outputs}

    def preprocess(self, picture: Path) -> dict[str, npt.NDArray[Any]]:
        """One picture's canonical pixels, a batch of one."""
        return self.infer("preprocess", {"IMAGE": np.array([[picture.read_bytes()]], dtype=np.object_)})

    def branches(self, picture: Path) -> dict[str, npt.NDArray[Any]]:
        """All that ``fusion`` gets to see of one picture: its inputs, a batch of one, by their names."""
        pixels = self.preprocess(picture)
        classified = self.infer("classifier", {"PIXELS": pixels["SCENE_PIXELS"]})
        detected = self.infer("detector", {"PIXELS": pixels["CANVAS_PIXELS"]})
        recognized = self.infer("entity_recognizer", pixels)
        return fusion_inputs(pixels, classified, detected, recognized)
