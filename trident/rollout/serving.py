"""What a rollout asks of a running server: the seam between its logic and Triton."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

import numpy as np
import numpy.typing as npt
from google.protobuf import json_format
from tritonclient.grpc import InferenceServerClient, InferInput, InferRequestedOutput
from tritonclient.grpc.model_config_pb2 import ModelConfig
from tritonclient.utils import InferenceServerException

from trident.access.keys import GRPC_HEADER, KEY_ADVICE, admin_headers
from trident.admission.gate import LATER
from trident.contract import ENSEMBLE, MODELS
from trident.errors import SetupError, TridentError
from trident_client.errors import is_restricted, lost_connection
from trident_client.settings import TLS, Retries, address, checked_headers
from trident_client.transport import channel_credentials, channel_options

Tensors = Mapping[str, npt.NDArray[Any]]

READY = "READY"
"""Triton's word for a version that answers."""
UNAVAILABLE = "UNAVAILABLE"
"""Its word for a version that is not in memory."""
CLOSED = "TRIDENT_CLOSED"
"""Parameter of the model that refuses all requests in the place of the served one while the server is being stopped."""
STOPPING = "the server is being stopped"
"""What that model says to each of them."""

_QUESTION_S = 20.0
_LOAD_S = 300.0
ANSWER_S = 60.0
"""Deadline of an inference, in seconds."""
_LIVE_S = 3.0
_DRAINING_S = 10.0
"""How long an ensemble that was let go may take to answer what it had accepted."""
_DRAINED_S = 1.0
"""How long a server that is being stopped may take from there to its end."""
_LOOK_S = 0.05
_CONTROL = frozenset(("get_model_repository_index", "get_model_config", "load_model", "unload_model"))
"""Calls that a server may answer only to the holders of its admin key."""

_BUSY = ("exceeds maximum queue size", LATER)
"""What a server says that has too much to do, and therefore lives."""
_NOT_THERE = ("no available versions", "is not available")
"""Triton's words, in ``NOT_FOUND`` and ``INVALID_ARGUMENT``, for a model that it knows and does not serve."""


class ServingError(TridentError):
    """The server refused, or failed at, what it was asked."""

    def __init__(self, message: str, code: str) -> None:
        super().__init__(message)
        self.code = code
        """gRPC's status code by name, as ``NOT_FOUND``."""


class ServerLost(ServingError):
    """The server does not answer any more."""


def is_busy(error: ServingError) -> bool:
    """Whether a call was refused by a server that is there, and has more to do than it can: by a full queue, say."""
    return error.code == "UNAVAILABLE" and not isinstance(error, ServerLost)


class Draining(ServerLost):
    """The server is being stopped: it may still answer, and takes no more work. Nothing is to be loaded again."""


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


class _Life(Enum):
    """What becomes of a server that has answered oddly, or not at all."""

    GOES_ON = auto()
    STOPS = auto()
    GONE = auto()


class TritonServing:
    """A Triton server over gRPC.

    Args:
        url: ``host:port`` of the gRPC port, or what else ``trident_client.settings.address`` understands; None stands
            for the variable ``TRIDENT_URL``, else 127.0.0.1:8001.
        headers: Sent with every call. Those that control the server also get its admin key, where it is known here: see
            ``trident.access.keys``.
        tls: Encryption and, with a certificate, mutual TLS. A ``grpcs://`` URL is encrypted without it too.
        admin_key_file: Where the key is; None for where it usually is.
        question_s: Deadline of what only asks, in seconds; None for the usual one, so for the others.
        load_s: Deadline of loading and unloading.
        answer_s: Deadline of an inference.

    Raises:
        SettingsError: The URL, a certificate or a header cannot be used.
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        headers: Mapping[str, str] | None = None,
        tls: TLS | None = None,
        admin_key_file: Path | None = None,
        question_s: float | None = None,
        load_s: float | None = None,
        answer_s: float | None = None,
    ) -> None:
        self._question_s, self._load_s, self._answer_s = question_s, load_s, answer_s
        where = address(url)
        self._url = where.target
        self._headers = dict(checked_headers(headers))
        self._closed = False
        credentials = channel_credentials(where, tls)
        self._encrypted = credentials is not None
        self._key_file = admin_key_file
        self._client = InferenceServerClient(
            where.target,
            creds=credentials,
            # Each call once: what fails is to be seen.
            channel_args=channel_options(where, tls, Retries(attempts=1)),
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the connection. Calls in flight fail with ``ServingError``."""
        self._closed = True
        self._client.close()

    @property
    def url(self) -> str:
        """See ``Serving``."""
        return self._url

    def live(self) -> bool:
        """Whether the server answers, and is not about to end."""
        return self._life() is _Life.GOES_ON

    def ready(self, model: str, version: int | None = None) -> bool:
        """See ``Serving``."""
        try:
            if self._ask("is_model_ready", model, _text(version)):
                return True
        except ServerLost:
            raise
        except ServingError:
            pass
        # Before a server ends, it lets its models go.
        if (lost := self._end("UNAVAILABLE")) is not None:
            raise lost
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
        """See ``Serving``. A server that is being stopped lets the ensemble go first, and is not made to load it."""
        if model == ENSEMBLE and (self._refuses_all() or (self._is_let_go() and self._drains())):
            raise self._draining("UNAVAILABLE")
        text = None
        if config is not None:
            text = json.dumps(json_format.MessageToDict(config, preserving_proto_field_name=True))
        named = {f"file:{path}": content for path, content in files.items()} if files else None
        self._ask("load_model", model, config=text, files=named, timeout_s=self._load_s or _LOAD_S)

    def unload(self, model: str) -> None:
        """See ``Serving``."""
        self._ask("unload_model", model, timeout_s=self._load_s or _LOAD_S)

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
        result = self._ask("infer", model, inputs, _text(version), wanted, timeout_s=self._answer_s or ANSWER_S)
        return {name: result.as_numpy(name) for name in names}

    def _ask(self, method: str, *arguments: Any, timeout_s: float | None = None, **named: Any) -> Any:
        if self._closed:
            raise self._is_closed()
        try:
            return self._call(method, *arguments, **named, timeout_s=timeout_s or self._question_s or _QUESTION_S)
        except InferenceServerException as exc:
            raise self._own(exc, str(arguments[0]) if arguments else "") from exc
        except ValueError as exc:
            if self._closed:  # gRPC's word for it
                raise self._is_closed() from exc
            raise

    def _call(self, method: str, *arguments: Any, timeout_s: float, **named: Any) -> Any:
        headers = self._headers_of(method)
        return getattr(self._client, method)(*arguments, **named, headers=headers, client_timeout=timeout_s)

    def _headers_of(self, method: str) -> dict[str, str]:
        if method not in _CONTROL or GRPC_HEADER in self._headers:
            return self._headers
        try:
            return {**self._headers, **admin_headers(self._url, encrypted=self._encrypted, named=self._key_file)}
        except SetupError as exc:
            raise ServingError(str(exc), "UNAUTHENTICATED") from exc

    def _own(self, exc: InferenceServerException, model: str) -> ServingError:
        """The most specific error for what a call has failed with."""
        code, message = _code(exc), exc.message() or _code(exc)
        if self._closed:
            return self._is_closed()
        if (reason := lost_connection(code, message)) is not None:
            return self._lost(code, reason)
        if code == "UNAVAILABLE" and STOPPING in message:
            return self._draining(code)
        not_there = code in ("NOT_FOUND", "INVALID_ARGUMENT") and any(words in message for words in _NOT_THERE)
        says_more = code == "UNAVAILABLE" and (any(word in message.lower() for word in _BUSY) or is_restricted(message))
        if not_there or (code in ("UNAVAILABLE", "DEADLINE_EXCEEDED", "CANCELLED") and not says_more):
            if (lost := self._end(code)) is not None:
                return lost
            if not_there and model == ENSEMBLE and self._drains():
                return self._draining(code)
        return ServingError(f"{message}; {KEY_ADVICE}" if is_restricted(message) else message, code)

    def _end(self, code: str) -> ServerLost | None:
        """Whether, after an answer that leaves it open, the server has ended, or is about to."""
        life = self._life()
        if life is _Life.GOES_ON:
            return None
        return self._draining(code) if life is _Life.STOPS else self._lost(code, "")

    def _life(self) -> _Life:
        try:
            live = self._call("is_server_live", timeout_s=min(_LIVE_S, self._question_s or _LIVE_S))
            return _Life.GOES_ON if live else _Life.STOPS
        except InferenceServerException as exc:
            code, message = _code(exc), exc.message() or ""
            if lost_connection(code, message) is not None or code in ("DEADLINE_EXCEEDED", "CANCELLED"):
                return _Life.GONE
            # Whoever refuses to tell is there.
            return _Life.STOPS if code == "UNAVAILABLE" and not is_restricted(message) else _Life.GOES_ON
        except ValueError:  # closed meanwhile, here
            return _Life.GOES_ON

    def _refuses_all(self) -> bool:
        """Whether a model that refuses all requests stands in for the ensemble: the server is being stopped."""
        return self._ensemble_state() == READY and CLOSED in self.config(ENSEMBLE).parameters

    def _is_let_go(self) -> bool:
        return self._ensemble_state() in ("UNLOADING", "UNLOADED")

    def _ensemble_state(self) -> str:
        """The index's word for the ensemble, and ``UNLOADED`` where it is not there because somebody wanted that."""
        index = self._ask("get_model_repository_index")
        states = {
            # A version that is ready may carry the reason of an earlier state.
            "UNLOADED" if (one.state, one.reason) == (UNAVAILABLE, "unloaded") else one.state
            for one in index.models
            if one.name == ENSEMBLE
        }
        return next((state for state in (READY, "LOADING", "UNLOADING", "UNLOADED") if state in states), "")

    def _drains(self) -> bool:
        """Whether the ensemble is not there because the server is being stopped: it is let go first, then all ends.

        An ensemble that a load has dropped looks the same, but its server goes on. So it is waited for what comes.
        """
        began = time.monotonic()
        unloaded: float | None = None
        while self._life() is _Life.GOES_ON:
            try:
                state = self._ensemble_state()
            except ServingError as exc:
                return isinstance(exc, ServerLost)
            now = time.monotonic()
            if state == "UNLOADED":
                unloaded = unloaded or now
            elif state != "UNLOADING":
                return False
            if now > began + _DRAINING_S or (unloaded is not None and now > unloaded + _DRAINED_S):
                return False
            time.sleep(_LOOK_S)
        return True

    def _lost(self, code: str, reason: str) -> ServerLost:
        return ServerLost(f"no server answers at {self._url}" + (f" ({reason})" if reason else ""), code)

    def _draining(self, code: str) -> Draining:
        return Draining(f"the server at {self._url} is being stopped", code)

    def _is_closed(self) -> ServingError:
        return ServingError(f"the connection to {self._url} was closed", "CANCELLED")


def _code(exc: InferenceServerException) -> str:
    return (exc.status() or "").removeprefix("StatusCode.")


def _text(version: int | None) -> str:
    return "" if version is None else str(version)


def analyze(
    serving: Serving, picture: bytes, *, model: str = ENSEMBLE, outputs: Sequence[str] | None = None
) -> dict[str, npt.NDArray[Any]]:
    """Have one encoded picture analysed by the ensemble, or by another that is made like it."""
    tensors = {"IMAGE": np.array([[picture]], dtype=np.object_)}
    return serving.infer(model, tensors, like=ENSEMBLE, outputs=outputs)
