"""Moves between releases: in the server's memory, and on disk. Each function leaves a consistent set behind."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from tritonclient.grpc.model_config_pb2 import ModelConfig

from trident.contract import ENSEMBLE
from trident.errors import SetupError
from trident.launcher.installation import compile_models
from trident.model_config import ensemble_pins
from trident.rollout import canary
from trident.rollout.disk import Repository
from trident.rollout.release import CALLED, COMPONENTS, RECOGNIZER, STEPS, Release, changes_between
from trident.rollout.serving import UNAVAILABLE, Serving, ServingError

_UNLOADED_WITHIN_S = 60.0
_LOOK_S = 0.05


def caller_first(components: Iterable[str]) -> list[str]:
    """The order in which to let versions go: what calls others before what is called."""
    return sorted(components, key=lambda name: (name in CALLED, COMPONENTS.index(name)))


def called_first(components: Iterable[str]) -> list[str]:
    """The order in which to load versions: what is called before what calls it."""
    return list(reversed(caller_first(components)))


def serve_in_memory(serving: Serving, repository: Repository, component: str, versions: Collection[int]) -> None:
    """Have the server hold just these versions of a component, until it ends or is told otherwise.

    Versions that it holds already are not touched: only what is new is started, and only what is left out is let go.

    Raises:
        ServingError: It cannot; what it held before goes on.
    """
    config = ModelConfig()
    config.CopyFrom(repository.config(component))
    config.version_policy.specific.versions[:] = sorted(set(versions))
    serving.load(component, config)


def in_memory(serving: Serving, component: str) -> list[int]:
    """The versions that the server holds, also those that come or go."""
    return sorted(version for version, state in serving.states(component).items() if state != UNAVAILABLE)


def load_beside(serving: Serving, repository: Repository, component: str, before: int, after: int) -> None:
    """Load a version beside the one that answers.

    Raises:
        SetupError: The server cannot load it, with its reason; the version that answers goes on.
    """
    compile_models(repository.path)
    try:
        serve_in_memory(serving, repository, component, {before, after})
        if not serving.ready(component, after):
            raise ServingError(f"version {after} is not ready although its load was answered OK", "INTERNAL")
    except ServingError as exc:
        with contextlib.suppress(ServingError):
            serve_in_memory(serving, repository, component, {before})
        raise SetupError(f"the server cannot load {component} {after}: {exc}") from exc


def withdraw(serving: Serving, repository: Repository, before: Release, after: Release) -> None:
    """Take back, in memory, what was prepared for ``after`` while ``before`` answers, and what is left of a canary."""
    canary.end(serving)
    for component in caller_first(change.component for change in changes_between(before, after)):
        if after[component] in in_memory(serving, component):
            serve_in_memory(serving, repository, component, {before[component]})
            await_gone(serving, component, {before[component]})


def answer_from_disk(serving: Serving) -> None:
    """Have the ensemble answer as its configuration on disk says, whatever stood in for it.

    Raises:
        ServingError: The server refuses, or the ensemble is not ready afterwards.
    """
    serving.load(ENSEMBLE)
    if not serving.ready(ENSEMBLE):
        raise ServingError(f"{ENSEMBLE} is not ready although its load was answered OK", "INTERNAL")


def await_gone(serving: Serving, component: str, kept: Collection[int]) -> bool:
    """Wait until requests in flight are through and the versions besides ``kept`` have left the server's memory."""
    deadline = time.monotonic() + _UNLOADED_WITHIN_S
    while set(in_memory(serving, component)) - set(kept):
        if time.monotonic() > deadline:
            return False
        time.sleep(_LOOK_S)
    return True


def pins_in_memory(serving: Serving) -> dict[str, int] | None:
    """The versions that the ensemble's steps call; None while something else stands in for it."""
    config = serving.config(ENSEMBLE)
    return ensemble_pins(config) if config.HasField("ensemble_scheduling") else None


@dataclass(frozen=True, slots=True)
class Settled:
    """What a retirement let go."""

    retired: tuple[tuple[str, int], ...]
    """Component and version."""
    lingering: tuple[str, ...] = ()
    """Components with versions that had not left within a minute."""


def settle(
    serving: Serving,
    repository: Repository,
    kept: Mapping[str, Collection[int]],
    components: Iterable[str] = COMPONENTS,
) -> Settled:
    """Let all versions go but the ``kept`` ones, on disk and in memory.

    Disk first: should the server restart in between, it starts without them.

    Raises:
        SetupError: A configuration cannot be written.
        ServingError: The server does not answer.
    """
    retired: list[tuple[str, int]] = []
    lingering = []
    for component in caller_first(components):
        keep = tuple(sorted(set(kept[component])))
        held = in_memory(serving, component)
        named = repository.served(component)
        gone = sorted((set(held) | set(named)) - set(keep))
        if not gone:
            continue
        on_disk = tuple(version for version in named if version in keep) or keep
        if set(named) != set(on_disk):
            repository.serve(component, on_disk)
        if set(held) - set(keep):
            serve_in_memory(serving, repository, component, [version for version in keep if version in held])
            if not await_gone(serving, component, keep):
                lingering.append(component)
        retired += [(component, version) for version in gone]
    return Settled(tuple(retired), tuple(lingering))


def with_callers(components: Iterable[str]) -> list[str]:
    """The components, and the recognizer where one of them is called by it: its old versions call their old ones."""
    names = set(components)
    return [name for name in COMPONENTS if name in names or (name == RECOGNIZER and names & set(CALLED))]


def commit(repository: Repository, before: Release, after: Release) -> None:
    """Move the pins on disk. The last rename is the moment at which a restart would serve ``after``.

    Raises:
        SetupError: Something cannot be written; the pins are as they were.
    """
    changed = [change.component for change in changes_between(before, after)]
    for component in changed:
        both = tuple(sorted({before[component], after[component]}))
        if set(repository.served(component)) != set(both):
            repository.serve(component, both)
    repository.pin({name: after[name] for name in STEPS})


def withdraw_on_disk(repository: Repository, before: Release, after: Release) -> None:
    """Forget ``after`` on disk, where ``before`` is pinned."""
    for change in changes_between(before, after):
        if set(repository.served(change.component)) != {change.before}:
            repository.serve(change.component, (change.before,))
