"""What there is of a component: on disk, in the server's memory, and in the journal."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from trident.component_digest import digest_of_component
from trident.contract import NETWORKS
from trident.errors import SetupError
from trident.rollout.disk import ORIGIN_FILE, Repository
from trident.rollout.journal import Journal, Record
from trident.rollout.memory import memory_of
from trident.rollout.release import RECOGNIZER, changes_between
from trident.rollout.serving import Serving, ServingError

_RECORD_FILE = "model.json"
_LAST_ROLLOUTS = 10


@dataclass(frozen=True, slots=True)
class VersionFacts:
    """One version."""

    version: int
    pinned: bool
    """Whether it answers after a start."""
    state: str
    """The server's word for it, ``not loaded``, or ``unknown`` where no server answers."""
    memory_mb: float | None
    """What its processes hold of this machine's memory, where they run on it."""
    digest: str
    """``sha256:…`` as answers carry it; empty where the files do not tell."""
    source: str
    """Where it comes from."""


@dataclass(frozen=True, slots=True)
class Versions:
    """All that is known of a component's versions."""

    component: str
    versions: tuple[VersionFacts, ...]
    rollouts: tuple[Record, ...]
    """The last that moved it, newest first."""
    notes: tuple[str, ...]

    def dumps(self) -> str:
        """As JSON."""
        rollouts = [
            {
                "id": record.id,
                "at": record.at,
                "who": record.who,
                "kind": record.kind,
                "targets": record.targets,
                "outcome": record.outcome,
                "sentence": record.sentence,
            }
            for record in self.rollouts
        ]
        whole = {
            "component": self.component,
            "versions": [asdict(one) for one in self.versions],
            "rollouts": rollouts,
            "notes": list(self.notes),
        }
        return json.dumps(whole, indent=2, ensure_ascii=False)


def survey_versions(repository: Repository, serving: Serving, journal: Journal, component: str) -> Versions:
    """Collect what there is of a component.

    Raises:
        SetupError: The repository cannot be read.
    """
    notes: list[str] = []
    pinned = repository.release()[component]
    try:
        states: dict[int, str] | None = dict(serving.states(component))
    except ServingError as exc:
        states = None
        notes.append(f"what is loaded is unknown: {exc}")
    there = repository.versions(component)
    if pinned not in there:
        notes.append(f"{component} {pinned} is to answer, and is not on disk: run make export-all, or put it there")
    found = []
    for version in sorted({*there, *(states or {})}):
        folder = repository.folder(component, version)
        digest, source = _origin(repository, component, folder) if version in there else ("", "not on disk")
        state = "unknown" if states is None else states.get(version, "") or "not loaded"
        memory = memory_of(repository.path, component, version)
        found.append(VersionFacts(version, version == pinned, state, memory, digest, source))
    records = [
        record
        for record in reversed(journal.records())
        if any(change.component == component for change in changes_between(record.before, record.after))
    ]
    return Versions(component, tuple(found), tuple(records[:_LAST_ROLLOUTS]), tuple(notes))


def _origin(repository: Repository, component: str, folder: Path) -> tuple[str, str]:
    """Digest, and a few words about where a version comes from."""
    if component in NETWORKS:
        record = _read_json(folder / _RECORD_FILE)
        if record is None:
            return "", f"unknown: no {_RECORD_FILE}"
        own = record.get("own")
        source = f"own: {', '.join(map(str, own.values()))[:60]}" if isinstance(own, dict) else _packages(record)
        return str(record.get("digest", "")), f"{record.get('name', '?')} ({source})"
    digest = digest_of_component(component, folder)
    if component != RECOGNIZER:
        return digest, f"{component}/{folder.name}/model.py"
    try:
        calls = ", ".join(
            f"{name} {version}" for name, version in repository.networks(int(folder.name)).versions.items()
        )
    except SetupError as exc:
        return digest, str(exc)
    origin = _read_json(folder / ORIGIN_FILE)
    code = f"code of version {origin['code_of']}" if origin and "code_of" in origin else "model.py"
    return digest, f"{code}; calls {calls}"


def _packages(record: dict[str, Any]) -> str:
    return ", ".join(f"{a['package']} {a['package_version']}" for a in record.get("assets", [])) or "unknown source"


def _read_json(file: Path) -> dict[str, Any] | None:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, json.JSONDecodeError):
        return None
    return content if isinstance(content, dict) else None
