"""What there is of a component: on disk, in the server's memory, and in the journal."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from trident.contract import CANDIDATE, ENSEMBLE, NETWORKS, RECOGNIZER, STABLE, STEPS
from trident.errors import SetupError
from trident.layout import RECORD_FILE
from trident.model_config import ensemble_pins, pinned_step
from trident.rollout import canary
from trident.rollout.digests import digest_of
from trident.rollout.disk import ORIGIN_FILE, Repository
from trident.rollout.journal import DONE, RETIRED, Journal
from trident.rollout.memory import memory_of
from trident.rollout.release import changes_between
from trident.rollout.serving import Serving, ServingError
from trident_client.origins import origin_of

_LAST = 10


@dataclass(frozen=True, slots=True)
class VersionFacts:
    """One version."""

    version: int
    pinned: bool
    """Whether it is pinned on disk, and so answers after a start."""
    answers: bool | None
    """Whether the ensemble that the server has in memory pins it; None where that is unknown."""
    state: str
    """The server's word for it, ``not loaded``, or ``unknown`` where no server answers."""
    memory_mb: float | None
    """What its processes hold of this machine's memory, where they run on it."""
    digest: str
    """``sha256:…`` as answers carry it; empty where the files do not tell."""
    source: str
    """Where it comes from, or what is wrong with its files."""

    @property
    def standing(self) -> str:
        """``pinned, answers``, one of the two, or nothing."""
        return ", ".join(word for word, holds in (("pinned", self.pinned), ("answers", self.answers)) if holds)


@dataclass(frozen=True, slots=True)
class Past:
    """One thing that was done to a component."""

    id: str
    at: str
    """When it began, ISO 8601, UTC."""
    who: str
    """``user@host``."""
    kind: str
    """``rollout``, ``rollback`` or ``retire``."""
    what: str
    """In a few words."""
    outcome: str | None
    """How it ended, in the journal's words; None if it has not."""
    sentence: str
    """What was said at the end."""


@dataclass(frozen=True, slots=True)
class Versions:
    """All that is known of a component's versions."""

    component: str
    versions: tuple[VersionFacts, ...]
    rollouts: tuple[Past, ...]
    """What last moved it or let versions of it go, newest first."""
    notes: tuple[str, ...]
    """What is wrong or could not be found out, a sentence each."""

    def dumps(self) -> str:
        """As JSON."""
        return json.dumps(asdict(self), indent=2, ensure_ascii=False)


def survey_versions(repository: Repository, serving: Serving, journal: Journal, component: str) -> Versions:
    """Collect what there is of a component. A version that is damaged is listed, with what is wrong with it.

    Raises:
        SetupError: A configuration or the journal cannot be read.
    """
    notes: list[str] = []
    pinned = _pinned(repository, component, notes)
    states: Mapping[int, str] | None = None
    answering: int | None = None
    try:
        states = serving.states(component)
        answering = _answering(repository, serving, component, notes)
    except ServingError as exc:
        notes.append(f"what {'is loaded' if states is None else 'answers'} is unknown: {exc}")
    there = repository.versions(component)
    if pinned is not None and pinned not in there:
        notes.append(f"{component} {pinned} is to answer, and is not on disk: run make export-all, or put it there")
    found = [
        VersionFacts(
            version=version,
            pinned=version == pinned,
            answers=None if answering is None else version == answering,
            state="unknown" if states is None else states.get(version, "") or "not loaded",
            memory_mb=memory_of(repository.path, component, version),
            digest=digest_of(repository, component, version) if version in there else "",
            source=_source(repository, component, version) if version in there else "not on disk",
        )
        for version in sorted({*there, *(states or {})})
    ]
    return Versions(component, tuple(found), tuple(_past(journal, component)[:_LAST]), tuple(notes))


def _pinned(repository: Repository, component: str, notes: list[str]) -> int | None:
    """The version that is pinned on disk; None, and a note, where a damaged recognizer hides it."""
    ensemble = repository.config(ENSEMBLE)
    pins = {name: pinned_step(ensemble, name) for name in STEPS}
    try:
        return _of_pins(repository, pins, component)
    except SetupError as exc:
        notes.append(f"which version of {component} is pinned is unknown: {exc}")
        return None


def _answering(repository: Repository, serving: Serving, component: str, notes: list[str]) -> int | None:
    """The version that the server's ensemble pins; while a canary runs, the one beside the candidate.

    Raises:
        ServingError: The server does not tell.
    """
    config = serving.config(ENSEMBLE)
    if (settings := canary.running(config)) is not None:
        notes.append(
            f"a canary runs: {settings.share:.0%} of the requests are for {CANDIDATE}, not for what answers here"
        )
        config = serving.config(STABLE)
    try:
        return _of_pins(repository, ensemble_pins(config), component)
    except SetupError as exc:
        notes.append(f"which version of {component} answers is unknown: {exc}")
        return None


def _of_pins(repository: Repository, pins: Mapping[str, int], component: str) -> int | None:
    """The version of a component where the ensemble's steps have these. Raises SetupError for a damaged recognizer."""
    if component in STEPS or RECOGNIZER not in pins:
        return pins.get(component)
    return repository.networks(pins[RECOGNIZER]).versions[component]


def _past(journal: Journal, component: str) -> list[Past]:
    """What the journal has of a component, newest first."""
    found = [
        Past(one.id, one.at, one.who, one.kind, str(one), one.outcome, one.sentence)
        for one in journal.records()
        if any(change.component == component for change in changes_between(one.before, one.after))
    ]
    for entry in journal.entries():
        gone = [str(name) for name in entry.facts.get("retired", ())] if entry.event == RETIRED else []
        if any(name.rpartition(" ")[0] == component for name in gone):
            who = str(entry.facts.get("who", "somebody"))
            found.append(Past(entry.rollout, entry.at, who, "retire", f"retire of {', '.join(gone)}", DONE, ""))
    return sorted(found, key=lambda past: past.at, reverse=True)


def _source(repository: Repository, component: str, version: int) -> str:
    """A few words about where a version comes from."""
    folder = repository.folder(component, version)
    try:
        if component in NETWORKS:
            return origin_of(_read_json(folder / RECORD_FILE))
        if component != RECOGNIZER:
            return f"{component}/{version}/model.py"
        calls = ", ".join(f"{name} {number}" for name, number in repository.networks(version).versions.items())
        origin = _read_json(folder / ORIGIN_FILE) if (folder / ORIGIN_FILE).exists() else {}
        code = f"code of version {origin['code_of']}" if "code_of" in origin else f"{component}/{version}/model.py"
    except SetupError as exc:
        return f"unknown: {exc}"
    except (KeyError, TypeError):
        return f"unknown: {folder / RECORD_FILE} is not a record as export writes it"
    return f"{code}; calls {calls}"


def _read_json(file: Path) -> dict[str, Any]:
    """Raises SetupError for what is no JSON object."""
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except OSError as exc:
        raise SetupError(f"{file}: cannot be read: {exc.strerror or exc}") from exc
    except ValueError as exc:
        raise SetupError(f"{file}: is not JSON") from exc
    if not isinstance(content, dict):
        raise SetupError(f"{file}: expected a JSON object, got another kind")
    return content
