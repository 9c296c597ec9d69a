"""A model repository to swap in: a copy of the project's, with two versions of every component."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path

import onnx
from onnx import numpy_helper

from export.restamp import write_restamped
from export.signature import PROVENANCE_ROW
from trident.component_digest import digest_of_component
from trident.contract import CALLED, COMPONENTS, NETWORKS, RECOGNIZER, STEPS
from trident.errors import SetupError
from trident.layout import CODE_FILE
from trident.provenance import Provenance, unpack
from trident.rollout.disk import ORIGIN_FILE, Repository

_NOT_COPIED = shutil.ignore_patterns("__pycache__", "*.md", ".*", "*.jsonl")
_OWN_COMMENT = "# Another version of the same code, to swap with.\n"

ORDER: tuple[str, ...] = (*STEPS, *CALLED)
"""One round of swaps. The recognizer comes before what it calls, and a round back goes the other way, so that each
version of the recognizer that the first round makes is found again by the second."""


def copy_repository(source: Path, target: Path) -> Repository:
    """Copy a model repository without its journal, caches and documents.

    Raises:
        SetupError: A component of it has no version.
    """
    shutil.copytree(source, target, ignore=_NOT_COPIED)
    (target / "trident" / "1").mkdir(exist_ok=True)
    copied = Repository(target)
    for component in COMPONENTS:
        if not copied.versions(component):
            raise SetupError(f"{source} holds no version of {component}: run `make export-all`")
    for component, version in copied.release().items():
        copied.serve(component, (version,))
    return copied


def second_versions(repository: Repository, components: Iterable[str]) -> dict[str, tuple[int, int]]:
    """See to it that each component has a version beside the one that answers.

    A published one is taken where there is one. Else a network is stamped with another number, which keeps its answers
    and its digest, so that a gallery of faces still fits; and a Python component's folder is copied, with a comment
    added to its code, so that its digest is another.

    Returns:
        The version that answers, and the other one.
    """
    release = repository.release()
    pairs = {}
    for component in components:
        now = release[component]
        others = [version for version in repository.versions(component) if version != now and _is_free(component)]
        if others:
            pairs[component] = (now, others[0])
            continue
        other = max(repository.versions(component)) + 1
        if component in NETWORKS:
            write_restamped(repository.path / component, now, other)
        else:
            _copy_code(repository.folder(component, now), repository.folder(component, other))
        pairs[component] = (now, other)
    return pairs


def _is_free(component: str) -> bool:
    """Other versions of the recognizer may be there because of the networks that they call: not what is wanted."""
    return component != RECOGNIZER


def _copy_code(source: Path, target: Path) -> None:
    shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__", ORIGIN_FILE))
    with (target / CODE_FILE).open("a", encoding="utf-8") as code:
        code.write(_OWN_COMMENT)


def origins(repository: Repository, pairs: Mapping[str, tuple[int, int]]) -> dict[str, str]:
    """Where the second version of each component comes from, in a word or two."""
    found = {}
    for component, (now, other) in pairs.items():
        if component not in NETWORKS:
            found[component] = "the same code under another number"
        elif provenance_of(repository.file(component, other)).digest == (
            provenance_of(repository.file(component, now)).digest
        ):
            found[component] = "the same network under another number (same digest)"
        else:
            found[component] = "another network"
    return found


def provenance_of(file: Path) -> Provenance:
    """Version and digest that a network answers with, read out of its graph.

    Raises:
        SetupError: It has none.
    """
    for tensor in onnx.load(file).graph.initializer:
        if tensor.name == PROVENANCE_ROW:
            found = unpack(numpy_helper.to_array(tensor).reshape(-1))
            if found is not None:
                return found
    raise SetupError(f"{file}: expected a network with its provenance in it, got none: run `make export-all`")


def digests_on_disk(repository: Repository) -> dict[tuple[str, int], str]:
    """The digest that each version of each component must name in its answers."""
    found = {}
    for component in COMPONENTS:
        for version in repository.versions(component):
            if component in NETWORKS:
                stamped = provenance_of(repository.file(component, version))
                if stamped.version != version:
                    raise SetupError(f"{component} {version} calls itself version {stamped.version} in its graph")
                found[component, version] = stamped.digest
            else:
                found[component, version] = digest_of_component(component, repository.folder(component, version))
    return found
