"""What a server is and what it has loaded.

``survey`` and ``readiness`` are generators: they give the calls to make and are sent the replies, so that the clients
for threads and for asyncio share them, and tests need no server.
"""

from __future__ import annotations

import io
from collections.abc import Generator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from PIL import Image
from tritonclient.grpc import service_pb2

from trident.contract import ENSEMBLE, MODELS
from trident_client.errors import ClientError, NotServed, ServerUnavailable
from trident_client.pictures import encoded
from trident_client.wire import analyze_request, provenance_request, read_analysis, read_provenance

READY = "READY"
"""Triton's word for a version that answers."""

_PIN_SUFFIX = "_version"
_CALLER_OF_NETWORKS = "entity_recognizer"


@dataclass(frozen=True, slots=True)
class LoadedVersion:
    """One version of a model that the server knows."""

    version: int
    """Triton's model version."""
    state: str
    """``READY``, ``LOADING``, ``UNLOADING`` or ``UNAVAILABLE``."""
    reason: str
    """Why it is not ready; empty if there is nothing to say."""
    digest: str | None = None
    """``sha256:`` and 64 hexadecimal digits, as the version itself gave it; None if it was not asked."""


@dataclass(frozen=True, slots=True)
class ModelStatus:
    """One model of the server."""

    name: str
    """Its name in the model repository."""
    versions: tuple[LoadedVersion, ...]
    """What is known of its versions, lowest first; empty if it is not loaded."""
    pinned: int | None
    """The version that answers requests; None if nothing pins one."""
    pinned_by: str | None
    """The model whose configuration pins it."""

    @property
    def ready(self) -> bool:
        """Whether the pinned version, or where nothing is pinned any version, answers."""
        return any(one.state == READY and self.pinned in (None, one.version) for one in self.versions)


@dataclass(frozen=True, slots=True)
class ServerStatus:
    """One server."""

    url: str
    """Where it was asked."""
    name: str
    """What it calls itself."""
    version: str
    """Its version."""
    live: bool
    """Whether it runs."""
    ready: bool
    """Whether the ensemble answers. The server's own readiness also turns false while any model is being loaded."""
    models: tuple[ModelStatus, ...]
    """Its models: those of Trident in the order of the contract, then others by name."""
    notes: tuple[str, ...]
    """What could not be found out, and why; a sentence each."""

    def to_json(self) -> dict[str, Any]:
        """What ``json.dumps`` takes."""
        return {
            "url": self.url,
            "server": {"name": self.name, "version": self.version, "live": self.live, "ready": self.ready},
            "models": [
                {
                    "name": model.name,
                    "ready": model.ready,
                    "pinned": model.pinned,
                    "pinned_by": model.pinned_by,
                    "versions": [
                        {"version": one.version, "state": one.state, "reason": one.reason, "digest": one.digest}
                        for one in model.versions
                    ],
                }
                for model in self.models
            ],
            "notes": list(self.notes),
        }


class Call(NamedTuple):
    """One question to the server."""

    method: str
    request: Any


Questions = Generator[Call, Any, Any]


def readiness() -> Questions:
    """Whether the ensemble answers."""
    try:
        live = yield Call("ServerLive", service_pb2.ServerLiveRequest())
        reply = yield Call("ModelReady", service_pb2.ModelReadyRequest(name=ENSEMBLE))
    except (ServerUnavailable, NotServed):
        return False
    return bool(live.live and reply.ready)


def survey(url: str, *, probe: bool) -> Questions:
    """The calls that ``status`` is made of. Raises what the first one raises; what later ones do becomes a note."""
    notes: list[str] = []
    live = (yield Call("ServerLive", service_pb2.ServerLiveRequest())).live
    about = yield from _asked(
        Call("ServerMetadata", service_pb2.ServerMetadataRequest()), notes, "the server's name and version are unknown"
    )
    ready_reply = yield from _asked(Call("ModelReady", service_pb2.ModelReadyRequest(name=ENSEMBLE)), [], "")
    ready = bool(ready_reply is not None and ready_reply.ready)
    if not ready:
        notes.append(f"the ensemble {ENSEMBLE!r} is not ready: pictures cannot be analysed now")

    versions = yield from _versions(notes)
    pins = yield from _pins(notes)
    digests: dict[tuple[str, int], str] = {}
    if probe and ready:
        digests = yield from _digests(versions, notes)
    versions = {
        name: tuple(
            LoadedVersion(one.version, one.state, one.reason, digests.get((name, one.version))) for one in known
        )
        for name, known in versions.items()
    }
    order = {name: place for place, name in enumerate(_flow())}
    models = tuple(
        ModelStatus(name, versions[name], *pins.get(name, (None, None)))
        for name in sorted(versions, key=lambda name: (order.get(name, len(order)), name))
    )
    return ServerStatus(
        url=url,
        name="" if about is None else about.name,
        version="" if about is None else about.version,
        live=live,
        ready=ready,
        models=models,
        notes=tuple(notes),
    )


def _flow() -> list[str]:
    """Trident's models as a picture meets them, the ensemble first."""
    return [ENSEMBLE, *(name for name in MODELS if name != ENSEMBLE)]


def _asked(call: Call, notes: list[str], without: str) -> Questions:
    """The reply, or None and a note that says what is missing ``without`` it."""
    try:
        return (yield call)
    except ClientError as exc:
        if without:
            notes.append(f"{without}: {exc}")
        return None


def _versions(notes: list[str]) -> Questions:
    """Every model's versions: from the repository index or, where that is not allowed, model by model."""
    found: dict[str, list[LoadedVersion]] = {}
    index = yield from _asked(
        Call("RepositoryIndex", service_pb2.RepositoryIndexRequest()), notes, "the repository index is unknown"
    )
    if index is not None:
        for entry in index.models:
            known = found.setdefault(entry.name, [])
            if entry.version:
                # A version can be READY and still carry the reason of an earlier state.
                known.append(LoadedVersion(int(entry.version), entry.state, entry.reason))
    else:
        for name in _flow():
            about = yield from _asked(Call("ModelMetadata", service_pb2.ModelMetadataRequest(name=name)), [], "")
            # Triton names only the versions that are ready here.
            found[name] = [LoadedVersion(int(version), READY, "") for version in (about.versions if about else ())]
    return {name: tuple(sorted(known, key=lambda one: one.version)) for name, known in found.items()}


def _pins(notes: list[str]) -> Questions:
    """Which version of a model answers, and whose configuration says so, by the model's name."""
    pins: dict[str, tuple[int, str]] = {}
    reply = yield from _asked(
        Call("ModelConfig", service_pb2.ModelConfigRequest(name=ENSEMBLE)), notes, "the ensemble's pins are unknown"
    )
    for step in reply.config.ensemble_scheduling.step if reply is not None else ():
        if step.model_version > 0:
            pins[step.model_name] = (step.model_version, ENSEMBLE)
    request = service_pb2.ModelConfigRequest(name=_CALLER_OF_NETWORKS)
    reply = yield from _asked(Call("ModelConfig", request), notes, f"the pins of {_CALLER_OF_NETWORKS} are unknown")
    for key, value in reply.config.parameters.items() if reply is not None else ():
        name = key.removesuffix(_PIN_SUFFIX)
        if key.endswith(_PIN_SUFFIX) and name in MODELS and value.string_value.isdecimal():
            pins[name] = (int(value.string_value), _CALLER_OF_NETWORKS)
    return pins


def _digests(versions: dict[str, tuple[LoadedVersion, ...]], notes: list[str]) -> Questions:
    """Digests of all versions that can be asked: by a small picture through the ensemble, and network by network."""
    digests: dict[tuple[str, int], str] = {}
    request = analyze_request(_probe_picture(), request_id="status", tensors=False)
    reply = yield from _asked(Call("ModelInfer", request), notes, "digests are unknown")
    if reply is None:
        return digests
    try:
        for name, model in read_analysis(reply, request_id="status", tensors=False).models.items():
            digests[name, model.version] = model.digest
    except ClientError as exc:
        notes.append(f"digests are unknown: {exc}")
    for name, known in versions.items():
        if name not in MODELS or not MODELS[name].network:
            continue
        for one in known:
            if one.state != READY or (name, one.version) in digests:
                continue
            reply = yield from _asked(
                Call("ModelInfer", provenance_request(MODELS[name], one.version)),
                notes,
                f"the digest of {name} {one.version} is unknown",
            )
            if reply is not None:
                provenance = read_provenance(reply)
                if provenance is not None:
                    digests[name, one.version] = provenance.digest
    return digests


def _probe_picture() -> bytes:
    """A small grey picture, in which there is nothing to find."""
    buffer = io.BytesIO()
    Image.fromarray(np.full((64, 64, 3), 127, np.uint8)).save(buffer, "PNG")
    return encoded(buffer.getvalue())
