"""Moves between releases: in the server's memory, and on disk. Each function leaves a consistent set behind."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from tritonclient.grpc.model_config_pb2 import ModelConfig

from trident.contract import CALLED, COMPONENTS, ENSEMBLE, RECOGNIZER, STEPS
from trident.errors import SetupError
from trident.launcher.installation import compile_version
from trident.model_config import ensemble_pins
from trident.rollout import canary
from trident.rollout.disk import Repository
from trident.rollout.plan import Plan
from trident.rollout.release import Release
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
    compile_version(repository.folder(component, after))
    try:
        serve_in_memory(serving, repository, component, {before, after})
        if not serving.ready(component, after):
            raise ServingError(f"version {after} is not ready although its load was answered OK", "INTERNAL")
    except ServingError as exc:
        with contextlib.suppress(ServingError):
            serve_in_memory(serving, repository, component, {before})
        raise SetupError(f"the server cannot load {component} {after}: {exc}") from exc


def check_pins(serving: Serving, repository: Repository, release: Release) -> None:
    """Make sure that the server serves a release, before anything in it is changed.

    Raises:
        SetupError: It serves another: it is the server of another repository, or was changed by hand.
    """
    pins, wanted = pins_in_memory(serving), {name: release[name] for name in STEPS}
    if pins == wanted:
        return
    serves = (
        "something else than an ensemble, as a canary that was left behind"
        if pins is None
        else ", ".join(f"{name} {pins.get(name)}" for name in STEPS if pins.get(name) != wanted[name])
    )
    says = ", ".join(f"{name} {wanted[name]}" for name in STEPS if pins is None or pins.get(name) != wanted[name])
    raise SetupError(
        f"the server at {serving.url} does not serve what {repository.path} says (server: {serves}; disk: {says}): is "
        f"it the server of this repository? If so, load {ENSEMBLE} there, or start it again"
    )


def withdraw(serving: Serving, repository: Repository, plan: Plan, *, keep: Collection[str] = ()) -> None:
    """Take back, in memory, what was prepared for the new release, and what is left of a canary.

    The disk has to pin the old release already.

    Args:
        serving: The server.
        repository: The model repository.
        plan: What was to change.
        keep: Components whose new version was in memory before, and stays.

    Raises:
        SetupError: The server serves another release afterwards; then nothing is let go.
        ServingError: The server refuses something.
    """
    canary.end(serving, repository.config(ENSEMBLE))
    check_pins(serving, repository, plan.before)
    for component in caller_first(change.component for change in plan.changes):
        if component not in keep and plan.after[component] in in_memory(serving, component):
            serve_in_memory(serving, repository, component, {plan.before[component]})
            await_gone(serving, component, {plan.before[component]})


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


def commit(repository: Repository, plan: Plan) -> None:
    """Move the pins on disk. The last rename is the moment at which a restart would serve ``after``.

    Raises:
        SetupError: Something cannot be written; the pins are as they were.
    """
    for change in plan.changes:
        both = {change.before, change.after}
        if set(repository.served(change.component)) != both:
            repository.serve(change.component, both)
    repository.pin(plan.pins)


def withdraw_on_disk(repository: Repository, plan: Plan, *, keep: Collection[str] = ()) -> None:
    """Forget the new release on disk, where the old one is pinned; ``keep`` is as for ``withdraw``."""
    before = {change.component: change.before for change in plan.changes if change.component not in keep}
    for component in caller_first(before):
        if set(repository.served(component)) != {before[component]}:
            repository.serve(component, (before[component],))
