"""Looks at the files of a release before anything is loaded: offline, and without changing anything.

Every component that moves is looked at and everything that is found is said, not the first thing alone. A network is
also run, in a process of its own (``trident.rollout.trial``).
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from tritonclient.grpc.model_config_pb2 import ModelConfig

from trident.contract import COMPONENTS, EMBEDDER, ENSEMBLE, MODELS, NETWORKS, RECOGNIZER
from trident.errors import SetupError
from trident.model_config import CONFIG_NAME, read_config
from trident.rollout.consistency import repository_problems
from trident.rollout.findings import Examination, Finding, Verdict
from trident.rollout.preflight_gallery import examine_gallery
from trident.rollout.preflight_limits import PreflightLimits
from trident.rollout.preflight_networks import examine_network
from trident.rollout.preflight_python import examine_fit, examine_python
from trident.rollout.release import Change, Release, changes_between

_MIB = 2**20


def examine(
    repository: Path,
    before: Release,
    after: Release,
    targets: Mapping[str, int],
    *,
    gallery_url: str | None = None,
    gallery_keys: str | None = None,
    limits: PreflightLimits | None = None,
    tell: Callable[[str], None] = lambda _: None,
) -> Examination:
    """Look at everything that a move from one release to another rests on.

    Args:
        repository: The model repository.
        before: What serves.
        after: What is to serve.
        targets: What was asked for.
        gallery_url: The gallery's database; None for the recognizer's own, or the default.
        gallery_keys: The keys of an encrypted gallery; None for those of this process's environment.
        limits: What a version may take.
        tell: Told what is looked at, in a few words.

    Returns:
        One finding a check; nothing that is wrong with a version raises.
    """
    limits = limits or PreflightLimits()
    findings = _findings(
        repository, before, after, targets, gallery=(gallery_url, gallery_keys), limits=limits, tell=tell
    )
    return Examination(tuple(findings))


def _findings(
    repository: Path,
    before: Release,
    after: Release,
    targets: Mapping[str, int],
    *,
    gallery: tuple[str | None, str | None],
    limits: PreflightLimits,
    tell: Callable[[str], None],
) -> Iterator[Finding]:
    changes = changes_between(before, after)
    yield from _unmoved(before, targets, changes)
    tell("configurations")
    configs: dict[str, ModelConfig] = {}
    for name in MODELS:
        if (repository / name / CONFIG_NAME).exists():
            try:
                configs[name] = read_config(repository / name)
            except SetupError as exc:
                yield Finding(name, "configuration", Verdict.REFUSED, str(exc))
    yield from _configurations(repository, configs, changes)
    for change in changes:
        if change.component not in configs:
            continue  # said above
        tell(f"{change.component} {change.after}")
        if change.component in NETWORKS:
            yield from examine_network(repository, configs[change.component], change, limits)
        else:
            yield from examine_python(repository, configs[change.component], change, after, limits)
    yield from examine_fit(repository, before, after)
    for change in changes:
        if change.component == EMBEDDER:
            yield from examine_gallery(repository, configs.get(RECOGNIZER), change, *gallery)
    yield from _room(repository, changes, limits.free_mib)


def _unmoved(before: Release, targets: Mapping[str, int], changes: tuple[Change, ...]) -> Iterator[Finding]:
    """Targets that serve already."""
    for name, version in targets.items():
        if before.get(name) == version:
            verdict = Verdict.WARNING if changes else Verdict.REFUSED
            sentence = f"version of {name}: expected another than the one that serves, got {version}: nothing to do"
            yield Finding(name, "version", verdict, sentence)


def _configurations(
    repository: Path, configs: Mapping[str, ModelConfig], changes: tuple[Change, ...]
) -> Iterator[Finding]:
    """The whole repository's, since what moves has dependents: the ensemble's maps, and who calls it."""
    problems = repository_problems(repository, configs)
    for name, sentences in problems.items():
        if name not in configs and (repository / name / CONFIG_NAME).exists():
            continue  # it cannot be parsed, which was said
        for sentence in sentences:
            yield Finding(name, "configuration", Verdict.REFUSED, sentence)
    for name in (*(change.component for change in changes), ENSEMBLE):
        if name in configs and name not in problems:
            yield Finding(name, "configuration", Verdict.OK, f"{name}: its configuration fits the contract")


def _room(repository: Path, changes: tuple[Change, ...], free_mib: int) -> Iterator[Finding]:
    """Space and leave to write what a rollout writes."""
    try:
        free = shutil.disk_usage(repository).free // _MIB
    except OSError as exc:
        yield Finding(ENSEMBLE, "space", Verdict.REFUSED, f"{repository}: its disk cannot be asked: {exc.strerror}")
        return
    if free < free_mib:
        sentence = f"disk of {repository}: expected at least {free_mib} MiB free, got {free}: make room first"
        yield Finding(ENSEMBLE, "space", Verdict.REFUSED, sentence, {"free_mib": free})
    else:
        yield Finding(ENSEMBLE, "space", Verdict.OK, f"{free} MiB free on the disk of {repository}", {"free_mib": free})
    folders = [repository, repository / ENSEMBLE, *(repository / change.component for change in changes)]
    for folder in folders:
        if folder.is_dir() and not os.access(folder, os.W_OK | os.X_OK):
            name = folder.name if folder.name in COMPONENTS else ENSEMBLE
            sentence = f"{folder}: expected a folder that can be written, since pins move there, got a read-only one"
            yield Finding(name, "space", Verdict.REFUSED, sentence)
