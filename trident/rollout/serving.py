"""What a rollout asks of a running server: the seam between its logic and Triton."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Protocol, Self

import numpy as np
import numpy.typing as npt
from google.protobuf import json_format
from tritonclient.grpc import InferenceServerClient, InferInput, InferRequestedOutput
from tritonclient.grpc.model_config_pb2 import ModelConfig
from tritonclient.utils import InferenceServerException

from trident.contract import ENSEMBLE, MODELS
from trident.errors import TridentError

Tensors = Mapping[str, npt.NDArray[Any]]

READY = "READY"
"""Triton's word for a version that answers."""
UNAVAILABLE = "UNAVAILABLE"
"""Its word for a version that is not in memory."""

_QUESTION_S = 20.0
_LOAD_S = 300.0
ANSWER_S = 60.0
"""Deadline of an inference, in seconds."""


class ServingError(TridentError):
    """The server refused, or failed at, what it was asked."""

    def __init__(self, message: str, code: str) -> None:
        super().__init__(message)
        self.code = code
        """gRPC's status code by name, as ``NOT_FOUND``."""


class ServerLost(ServingError):
    """The server does not answer any more."""


@dataclass(frozen=True, slots=True)
class Statistics:
    """What one version of a model has done since it was loaded."""

    succeeded: int = 0
    failed: int = 0
    success_ns: int = 0
    """Time of all that succeeded, from arrival to answer."""

    def since(self, earlier: Statistics) -> Statistics:
        """What came after ``earlier``."""
        return Statistics(
            self.succeeded - earlier.succeeded, self.failed - earlier.failed, self.success_ns - earlier.success_ns
        )

    @property
    def mean_ms(self) -> float | None:
        """Mean time of a success in milliseconds; None where there was none."""
        return self.success_ns / self.succeeded / 1e6 if self.succeeded else None


class Serving(Protocol):
    """One running server. Safe to share between threads. Every call may raise ``ServingError`` or ``ServerLost``."""

    @property
    def url(self) -> str:
        """Where it is asked, for messages."""

    def ready(self, model: str, version: int | None = None) -> bool:
        """Whether the model, or that version of it, answers."""

    def states(self, model: str) -> Mapping[int, str]:
        """State of each version that the server knows of, by number; empty for a model that it does not know."""

    def config(self, model: str) -> ModelConfig:
        """The configuration that the model runs with now."""

    def load(self, model: str, config: ModelConfig | None = None, files: Mapping[str, bytes] | None = None) -> None:
        """Load a model, or bring it in line with a changed configuration, and return when it is done.

        Args:
            model: Its name.
            config: Instead of what is on disk; lasts until the server ends or the model is loaded again.
            files: Instead of the folder on disk, by path in the model's folder.
        """

    def unload(self, model: str) -> None:
        """Let a model go; requests in flight are answered first."""

    def statistics(self, model: str, version: int | None = None) -> Statistics:
        """What the model, or one version of it, has done."""

    def infer(
        self,
        model: str,
        tensors: Tensors,
        *,
        version: int | None = None,
        like: str | None = None,
        outputs: Sequence[str] | None = None,
    ) -> dict[str, npt.NDArray[Any]]:
        """Call a model of the contract; all tensors have the batch as their first axis.

        Args:
            model: Its name on the server.
            tensors: Inputs by name.
            version: Which version; None for the server's choice.
            like: Name in the contract, where it is another than ``model``.
            outputs: Which outputs; None for all.
        """


class TritonServing:
    """A Triton server over gRPC.

    Args:
        url: ``host:port`` of the gRPC port.
        headers: Sent with every call, for example a key for restricted protocols.
    """

    def __init__(self, url: str, headers: Mapping[str, str] | None = None) -> None:
        self._url = url
        self._headers = dict(headers or {})
        self._client = InferenceServerClient(url)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the connection."""
        self._client.close()

    @property
    def url(self) -> str:
        """See ``Serving``."""
        return self._url

    def ready(self, model: str, version: int | None = None) -> bool:
        """See ``Serving``."""
        try:
            return bool(self._ask("is_model_ready", model, _text(version)))
        except ServerLost:
            raise
        except ServingError:
            return False

    def states(self, model: str) -> Mapping[int, str]:
        """See ``Serving``."""
        index = self._ask("get_model_repository_index")
        known = {int(one.version): one.state for one in index.models if one.name == model and one.version}
        if not known and self.ready(model):
            # The index leaves out what is not on disk: a model that was loaded from files handed over.
            known = {int(version): READY for version in self._ask("get_model_metadata", model).versions}
        return known

    def config(self, model: str) -> ModelConfig:
        """See ``Serving``."""
        return self._ask("get_model_config", model).config

    def load(self, model: str, config: ModelConfig | None = None, files: Mapping[str, bytes] | None = None) -> None:
        """See ``Serving``."""
        text = None
        if config is not None:
            text = json.dumps(json_format.MessageToDict(config, preserving_proto_field_name=True))
        named = {f"file:{path}": content for path, content in files.items()} if files else None
        self._ask("load_model", model, config=text, files=named, timeout_s=_LOAD_S)

    def unload(self, model: str) -> None:
        """See ``Serving``."""
        self._ask("unload_model", model, timeout_s=_LOAD_S)

    def statistics(self, model: str, version: int | None = None) -> Statistics:
        """See ``Serving``."""
        found = self._ask("get_inference_statistics", model, _text(version)).model_stats
        whole = [one.inference_stats for one in found]
        return Statistics(
            sum(one.success.count for one in whole),
            sum(one.fail.count for one in whole),
            sum(one.success.ns for one in whole),
        )

    def infer(
        self,
        model: str,
        tensors: Tensors,
        *,
        version: int | None = None,
        like: str | None = None,
        outputs: Sequence[str] | None = None,
    ) -> dict[str, npt.NDArray[Any]]:
        """See ``Serving``."""
        spec = MODELS[like or model]
        inputs = []
        for expected in spec.inputs:
            array = np.ascontiguousarray(tensors[expected.name])
            tensor = InferInput(expected.name, list(array.shape), expected.dtype.wire)
            tensor.set_data_from_numpy(array)
            inputs.append(tensor)
        names = list(outputs) if outputs is not None else [output.name for output in spec.outputs]
        wanted = [InferRequestedOutput(name) for name in names]
        result = self._ask("infer", model, inputs, _text(version), wanted, timeout_s=ANSWER_S)
        return {name: result.as_numpy(name) for name in names}

    def _ask(self, method: str, *arguments: Any, timeout_s: float = _QUESTION_S, **named: Any) -> Any:
        try:
            return getattr(self._client, method)(*arguments, **named, headers=self._headers, client_timeout=timeout_s)
        except InferenceServerException as exc:
            code = (exc.status() or "").removeprefix("StatusCode.")
            message = exc.message() or code
            if code == "UNAVAILABLE" and ("connect" in message.lower() or "socket" in message.lower()):
                raise ServerLost(f"no server answers at {self._url}", code) from exc
            raise ServingError(message, code) from exc


def _text(version: int | None) -> str:
    return "" if version is None else str(version)


def analyze(
    serving: Serving, picture: bytes, *, model: str = ENSEMBLE, outputs: Sequence[str] | None = None
) -> dict[str, npt.NDArray[Any]]:
    """Have one encoded picture analysed by the ensemble, or by another that is made like it."""
    tensors = {"IMAGE": np.array([[picture]], dtype=np.object_)}
    return serving.infer(model, tensors, like=ENSEMBLE, outputs=outputs)
