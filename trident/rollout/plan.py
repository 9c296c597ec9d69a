"""What a rollout is to change, worked out before anything is done."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from trident.contract import CALLED, EMBEDDER, RECOGNIZER, STEPS
from trident.errors import SetupError
from trident.rollout.disk import Repository
from trident.rollout.journal import DONE, Record
from trident.rollout.release import Change, Release, changes_between


@dataclass(frozen=True, slots=True)
class Plan:
    """From which release to which."""

    id: str
    kind: str
    """``rollout`` or ``rollback``."""
    targets: Mapping[str, int]
    """What was asked for."""
    before: Release
    after: Release

    @property
    def changes(self) -> tuple[Change, ...]:
        """Everything that moves; with a network behind the recognizer, the recognizer's version too."""
        return changes_between(self.before, self.after)

    @property
    def pins(self) -> dict[str, int]:
        """The ensemble's pins of the new release."""
        return {name: self.after[name] for name in STEPS}

    def __str__(self) -> str:
        return ", ".join(map(str, self.changes))


def new_id() -> str:
    """An id that sorts by time."""
    return f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{secrets.token_hex(2)}"


def make_plan(
    repository: Repository,
    targets: Mapping[str, int],
    *,
    kind: str = "rollout",
    identity_threshold: float | None = None,
) -> Plan:
    """Work out the release that the targets lead to.

    A version of the recognizer names the networks that it calls, so for a network behind it a recognizer version with
    the same code and other networks is looked for, and made if there is none.

    Args:
        repository: The model repository.
        targets: The wanted version of each component that is to move.
        kind: ``rollout`` or ``rollback``.
        identity_threshold: Smallest similarity of one person's faces, for another ``face_embedder``.

    Raises:
        SetupError: A version is not there or serves already, or the targets contradict each other.
    """
    before = repository.release()
    if identity_threshold is not None and EMBEDDER not in targets:
        raise SetupError(f"an identity threshold goes with another {EMBEDDER}: name that too")
    for name, version in targets.items():
        there = repository.versions(name)
        if version not in there:
            known = ", ".join(map(str, there)) or "none"
            raise SetupError(f"version of {name}: expected one of those on disk ({known}), got {version}")
    if all(before[name] == version for name, version in targets.items()):
        serving = ", ".join(f"{name} {version}" for name, version in targets.items())
        raise SetupError(f"{serving} serves already: there is nothing to roll out")
    after = {**before, **targets}
    after[RECOGNIZER] = _recognizer(repository, targets, before, identity_threshold)
    return Plan(new_id(), kind, dict(targets), before, after)


def _recognizer(
    repository: Repository, targets: Mapping[str, int], before: Release, identity_threshold: float | None
) -> int:
    code_of = targets.get(RECOGNIZER, before[RECOGNIZER])
    named = repository.networks(code_of).versions
    wanted = {name: targets.get(name, before[name]) for name in CALLED}
    if RECOGNIZER in targets:
        for name in CALLED:
            if name not in targets and named[name] != before[name]:
                raise SetupError(
                    f"{RECOGNIZER} {code_of} calls {name} {named[name]}, but {name} {before[name]} serves: say which "
                    f"one you want, {name}={named[name]} or {name}={before[name]}, beside {RECOGNIZER}={code_of}"
                )
    if named == wanted and identity_threshold is None:
        return code_of
    if identity_threshold is None and wanted[EMBEDDER] != named[EMBEDDER]:
        identity_threshold = _threshold_with(repository, wanted[EMBEDDER])
    return repository.recognizer_for(wanted, code_of=code_of, identity_threshold=identity_threshold)


def _threshold_with(repository: Repository, embedder: int) -> float | None:
    """The identity threshold that goes with an embedder, as the lowest recognizer version that calls it has it."""
    for version in repository.versions(RECOGNIZER):
        with contextlib.suppress(SetupError):  # a damaged version is nobody's wish here
            networks = repository.networks(version)
            if networks.versions[EMBEDDER] == embedder:
                return networks.identity_threshold
    return None


def plan_back(repository: Repository, component: str, records: list[Record]) -> Plan:
    """The way back of what brought a component's present version: what moved together goes back together.

    Raises:
        SetupError: The journal knows of nothing that brought it, or something that moved with it has moved on since.
    """
    now = repository.release()
    for record in reversed(records):
        # What a rollback brought is not something to go back from: that would be the version that was left.
        if record.kind != "rollout" or record.outcome != DONE:
            continue
        changes = {change.component: change for change in changes_between(record.before, record.after)}
        if component not in changes or changes[component].after != now[component]:
            continue
        # A recognizer that was made for another change has moved on by design; one that was asked for has not.
        together = {name: change for name, change in changes.items() if name != RECOGNIZER or name in record.targets}
        if moved_on := [name for name, change in together.items() if now[name] != change.after]:
            asked = " ".join(f"{name}={change.before}" for name, change in together.items() if name not in moved_on)
            raise SetupError(
                f"{component} moved together with {', '.join(moved_on)}, which moved on since: say what is to answer, "
                f"as `trident rollout {asked}`"
            )
        back = {name: change.before for name, change in together.items()}
        if RECOGNIZER in changes and now[RECOGNIZER] == changes[RECOGNIZER].after:
            back[RECOGNIZER] = changes[RECOGNIZER].before
        return make_plan(repository, back, kind="rollback")
    raise SetupError(
        f"the journal knows of no rollout that brought {component} {now[component]}: there is nothing to roll back to. "
        f"`trident rollout {component} VERSION` takes any version on disk"
    )


def plan_of(record: Record) -> Plan:
    """The plan of a rollout in the journal."""
    return Plan(record.id, record.kind, record.targets, record.before, record.after)
