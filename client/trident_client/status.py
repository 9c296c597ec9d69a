"""What a server is and what it has loaded.

``survey`` and ``readiness`` are generators: they give the calls to make and are sent the replies, so that the clients
for threads and for asyncio share them, and tests need no server.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from tritonclient.grpc import service_pb2

from trident.contract import CALLED, CANDIDATE, ENSEMBLE, MODELS, RECOGNIZER, STABLE
from trident_client import probe as probe_picture
from trident_client.errors import ClientError, NotServed, ServerUnavailable
from trident_client.results import ModelVersion
from trident_client.wire import analyze_request, provenance_request, read_analysis, read_provenance

READY = "READY"
"""Triton's word for a version that answers."""


Versions = dict[str, tuple["LoadedVersion", ...]]
Pins = dict[str, tuple[int, str]]
Answers = dict[str, Mapping[str, "ModelVersion"]]
"""Which versions answered the probe, by the ensemble that was asked."""


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
    """The version that answers requests; None if nothing pins one, or it could not be found out."""
    pinned_by: str | None
    """The model that pins it: the ensemble, or the entity recognizer, whose versions name the networks they call."""

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


def readiness(ensemble: str = ENSEMBLE) -> Questions:
    """Whether the ensemble answers."""
    try:
        live = yield Call("ServerLive", service_pb2.ServerLiveRequest())
        reply = yield Call("ModelReady", service_pb2.ModelReadyRequest(name=ensemble))
    except (ServerUnavailable, NotServed):
        return False
    return bool(live.live and reply.ready)


def survey(url: str, *, probe: bool, ensemble: str = ENSEMBLE) -> Questions:
    """The calls that ``status`` is made of. Raises what the first one raises; what later ones do becomes a note."""
    notes: list[str] = []
    live = (yield Call("ServerLive", service_pb2.ServerLiveRequest())).live
    about = yield from _asked(
        Call("ServerMetadata", service_pb2.ServerMetadataRequest()), notes, "the server's name and version are unknown"
    )
    ready_reply = yield from _asked(Call("ModelReady", service_pb2.ModelReadyRequest(name=ensemble)), [], "")
    ready = bool(ready_reply is not None and ready_reply.ready)
    if not ready:
        notes.append(f"the ensemble {ensemble!r} is not ready: pictures cannot be analysed now")

    versions: Versions = yield from _versions(ensemble, notes)
    pins, pinned_by = yield from _pins(ensemble, versions, notes)
    digests: dict[tuple[str, int], str] = {}
    if probe and ready:
        answers: Answers = yield from _answers([pinned_by, *_comparing(versions)], notes)
        pins = _pins_with_networks(pins, pinned_by, answers, notes)
        for answered in answers.values():
            digests |= {(name, model.version): model.digest for name, model in answered.items()}
        digests = yield from _digests_of_networks(versions, digests, notes)
    elif not probe:
        notes.append(f"not probed: which versions of the networks behind {RECOGNIZER} answer is unknown")
    versions = {
        name: tuple(
            LoadedVersion(one.version, one.state, one.reason, digests.get((name, one.version))) for one in known
        )
        for name, known in versions.items()
    }
    order = {name: place for place, name in enumerate(_flow(ensemble))}
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


def _flow(ensemble: str) -> list[str]:
    """Trident's models as a picture meets them, the ensembles first."""
    return [*dict.fromkeys((ensemble, ENSEMBLE, STABLE, CANDIDATE)), *(name for name in MODELS if name != ENSEMBLE)]


def _asked(call: Call, notes: list[str], without: str) -> Questions:
    """The reply, or None and a note that says what is missing ``without`` it."""
    try:
        return (yield call)
    except ClientError as exc:
        if without:
            notes.append(f"{without}: {exc}")
        return None


def _versions(ensemble: str, notes: list[str]) -> Questions:
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
    # The ensembles of a rollout are not on disk, and so not in the index either.
    for name in _flow(ensemble) if index is None else dict.fromkeys((ensemble, STABLE, CANDIDATE)):
        if not found.get(name):
            about = yield from _asked(Call("ModelMetadata", service_pb2.ModelMetadataRequest(name=name)), [], "")
            # Triton names only the versions that are ready here.
            found[name] = [LoadedVersion(int(version), READY, "") for version in (about.versions if about else ())]
    for name in {STABLE, CANDIDATE} - {ensemble}:
        if not any(one.state == READY for one in found[name]):
            del found[name]
    return {name: tuple(sorted(known, key=lambda one: one.version)) for name, known in found.items()}


def _comparing(versions: Versions) -> list[str]:
    """The ensembles of a rollout that answer."""
    return [name for name in (STABLE, CANDIDATE) if any(one.state == READY for one in versions.get(name, ()))]


def _pins(ensemble: str, versions: Versions, notes: list[str]) -> Questions:
    """Which version of each step answers, and the ensemble whose configuration says so."""
    without = "the ensemble's pins are unknown"
    reply = yield from _asked(Call("ModelConfig", service_pb2.ModelConfigRequest(name=ensemble)), notes, without)
    if reply is not None and not reply.config.ensemble_scheduling.step:
        # Not an ensemble: the model that shares the requests out has taken its name.
        notes.append(f"a canary runs: {ensemble!r} has a share of the requests answered by {CANDIDATE!r}")
        if STABLE not in _comparing(versions):
            return {}, ensemble
        ensemble = STABLE
        reply = yield from _asked(Call("ModelConfig", service_pb2.ModelConfigRequest(name=ensemble)), notes, without)
    steps = reply.config.ensemble_scheduling.step if reply is not None else ()
    return {step.model_name: (step.model_version, ensemble) for step in steps if step.model_version > 0}, ensemble


def _answers(ensembles: list[str], notes: list[str]) -> Questions:
    """Which versions answer a small picture that has something in it for everyone, by ensemble."""
    answers: Answers = {}
    for ensemble in dict.fromkeys(ensembles):
        what = "digests" if ensemble == ENSEMBLE else f"digests of {ensemble}"
        request = analyze_request(probe_picture.picture(), request_id="status", tensors=False, model=ensemble)
        reply = yield from _asked(Call("ModelInfer", request), notes, f"{what} are unknown")
        if reply is None:
            continue
        try:
            answers[ensemble] = read_analysis(reply, request_id="status", tensors=False).models
        except ClientError as exc:
            notes.append(f"{what} are unknown: {exc}")
    return answers


def _pins_with_networks(pins: Pins, ensemble: str, answers: Answers, notes: list[str]) -> Pins:
    """The pins of the steps with those of the networks behind the recognizer, which only an answer tells."""
    if ensemble not in answers:
        return pins
    answered = answers[ensemble]
    told = {
        name: (model.version, RECOGNIZER if name in CALLED else ensemble)
        for name, model in answered.items()
        if name in MODELS
    }
    if silent := [name for name in CALLED if name not in answered]:
        notes.append(f"{', '.join(silent)} had no part in the answer to the probe: which version answers is unknown")
    return told | pins


def _digests_of_networks(versions: Versions, digests: dict[tuple[str, int], str], notes: list[str]) -> Questions:
    """Digests, with those of the networks' versions that no ensemble's answer has named: each is asked itself."""
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
