"""Other versions than those that serve, asked through an ensemble of their own; what serves goes on as it is.

The new versions are loaded beside the ones that answer, and an ensemble under another name pins them, as a rollout does
for its candidate. Nothing moves: afterwards the server holds what it held before.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from trident.contract import ENSEMBLE, NETWORKS, RECOGNIZER
from trident.entities.local import read_settings
from trident.entities.settings import Settings
from trident.errors import SetupError
from trident.launcher.installation import compile_version
from trident.rollout import canary, control
from trident.rollout.disk import Repository
from trident.rollout.findings import Verdict
from trident.rollout.plan import Plan, make_plan
from trident.rollout.preflight_limits import PreflightLimits
from trident.rollout.preflight_networks import examine_network
from trident.rollout.release import Release, parse_targets
from trident.rollout.serving import ServerLost, Serving, ServingError

COMPARED = "trident_compared"
"""Name of the ensemble with other versions, while it is asked."""
SERVING = "serving"
"""What the release that serves is called in the report."""


@dataclass(frozen=True, slots=True)
class Side:
    """One release, as it can be asked."""

    name: str
    """For the report: ``serving``, or what is different, as ``classifier 2``."""
    model: str = ENSEMBLE
    """Name of its ensemble on the server."""
    release: Release | None = None
    """Version of every component; None for what the server takes."""
    settings: Settings | None = None
    """The entity recognizer's; None for those of the clone."""


def parse_versions(text: str) -> dict[str, int]:
    """Understand ``classifier=2`` and ``classifier=2,detector=2``.

    Raises:
        SetupError: It is something else, or a component is unknown or named twice.

    >>> parse_versions("classifier=2,detector=2")
    {'classifier': 2, 'detector': 2}
    """
    return parse_targets(tuple(part.strip() for part in text.split(",")))


def name_of(targets: Mapping[str, int]) -> str:
    """What a side is called, as ``classifier 2, detector 2``."""
    return ", ".join(f"{component} {version}" for component, version in targets.items())


def serving_side(repository: Repository) -> Side:
    """What a server of this repository answers with. Raises SetupError if a file cannot be understood."""
    return Side(SERVING, release=repository.release(), settings=read_settings(repository.path))


@contextlib.contextmanager
def beside(
    serving: Serving, repository: Repository, targets: Mapping[str, int], *, callers: bool = True
) -> Iterator[Side]:
    """Have the server answer with other versions under another name, for as long as the block lasts.

    For a network behind the entity recognizer, a version of the recognizer that calls it is made in the repository if
    there is none, as a rollout makes it.

    Args:
        serving: The server.
        repository: Its model repository.
        targets: The version of each component that is to be another.
        callers: Whether others may be asking the server. New networks are then tried first, in a process of their
            own: one whose signature does not fit would take away what serves.

    Raises:
        SetupError: The server is not one of this repository, or a version is not there, is damaged or serves already.
        ServingError: The server refuses something.
    """
    plan = make_plan(repository, targets)
    control.check_pins(serving, repository, plan.before)
    if callers:
        _check_networks(repository, plan)
    held = {change.component: control.in_memory(serving, change.component) for change in plan.changes}
    try:
        for component in control.called_first(held):
            compile_version(repository.folder(component, plan.after[component]))
            control.serve_in_memory(serving, repository, component, {*held[component], plan.after[component]})
            if not serving.ready(ENSEMBLE):
                raise ServingError(f"{ENSEMBLE} is not ready any more with {component} {plan.after[component]}", "")
        canary.load_ensemble(serving, repository.config(ENSEMBLE), COMPARED, plan.after)
        yield Side(name_of(targets), COMPARED, plan.after, _settings(repository, plan.after))
    finally:
        with contextlib.suppress(ServerLost):  # nobody is left to take anything back
            _take_back(serving, repository, held)


def _take_back(serving: Serving, repository: Repository, held: Mapping[str, Sequence[int]]) -> None:
    """Let the ensemble go, and the versions that the server did not hold before."""
    if serving.ready(COMPARED):
        serving.unload(COMPARED)
    for component in control.caller_first(held):
        if set(control.in_memory(serving, component)) - set(held[component]):
            control.serve_in_memory(serving, repository, component, held[component])
            control.await_gone(serving, component, held[component])


def _check_networks(repository: Repository, plan: Plan) -> None:
    """Look at the new networks before they are loaded. Raises SetupError if one of them is damaged or does not fit."""
    for change in plan.changes:
        if change.component in NETWORKS:
            config = repository.config(change.component)
            for finding in examine_network(repository.path, config, change, PreflightLimits()):
                # How fast it is, is not the question here.
                if finding.verdict is Verdict.REFUSED and finding.check != "speed":
                    raise SetupError(finding.sentence)


def _settings(repository: Repository, release: Release) -> Settings:
    """The recognizer's settings with the networks of its version in a release."""
    networks = repository.networks(release[RECOGNIZER])
    return replace(
        read_settings(repository.path), versions=networks.versions, identity_threshold=networks.identity_threshold
    )
