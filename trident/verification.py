"""A network is held against the record of its export before anything loads it.

``make export`` and ``export.own`` write ``model.json`` beside each network, with the SHA-256 of its file. The launcher
holds every network that a server will load against it, a rollout those that it moves to, and the stand-in backend the
very file that it opens, so that nothing which changes in between is served. The record lies beside the file: this finds
damage, half copies and files that were exchanged, and not somebody who may write to the folder and changes both.

Light: the stand-in backend imports it in every process of every network.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Any

from trident.contract import NETWORKS
from trident.errors import SetupError
from trident.layout import RECORD_FILE
from trident.rollout.record import read_record

UNVERIFIED_VARIABLE = "TRIDENT_UNVERIFIED"
"""1 in a server's environment lets it load networks that have no record; see ``trident serve --unverified``."""

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


class Standing(StrEnum):
    """How a network that may be loaded stands to its record."""

    FITS = "fits"
    UNRECORDED = "unrecorded"
    """A component of Trident that has no record, which is allowed here."""
    FOREIGN = "foreign"
    """No component of Trident: no export has written a record of it."""


def check_network(name: str, version: int, file: Path, *, unverified: bool = False) -> Standing:
    """Hold one network against its record.

    Args:
        name: The model's name.
        version: Its version.
        file: Its ONNX file, in the version's folder.
        unverified: Whether a component may do without a record. One that has a record must fit it all the same.

    Raises:
        SetupError: The file is not what its record says, the record cannot be read, or there is none.
    """
    if name not in NETWORKS:
        return Standing.FOREIGN
    if unverified and not (file.parent / RECORD_FILE).exists():
        return Standing.UNRECORDED
    try:
        record = read_record(file.parent)
    except SetupError as exc:
        raise SetupError(f"{name} {version}: {exc}; {again(name, version)}") from exc
    problem = next(record_problems(name, version, file, record), None)
    if problem is not None:
        _, sentence = problem
        raise SetupError(f"{sentence}; {again(name, version, record)}")
    return Standing.FITS


def without_record(name: str, version: int, file: Path) -> str:
    """What is said of a component that is loaded though it has no record."""
    return f"{name} {version} is loaded unverified: {file.parent / RECORD_FILE} is not there; {again(name, version)}"


def record_problems(name: str, version: int, file: Path, record: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """What there is between a network's file and its record: ``record`` or ``files``, and a sentence about it.

    Args:
        name: The component.
        version: Its version.
        file: Its ONNX file, in the version's folder.
        record: What ``model.json`` beside it says.
    """
    place = f"{name} {version}: {file.parent / RECORD_FILE}"
    for key, expected in (("component", name), ("version", version)):
        if record.get(key) != expected:
            sentence = f"{place}: {key}: expected {expected}, got {record.get(key)!r}: the folder was copied or renamed"
            yield "record", sentence
    digest = record.get("digest")
    if not isinstance(digest, str) or not _DIGEST.fullmatch(digest):
        yield "record", f"{place}: digest: expected sha256:<64 hexadecimal digits>, got {digest!r}"
    try:
        size = file.stat().st_size
        if record.get("bytes", size) != size:
            sentence = f"{name} {version}: {file}: expected {record['bytes']} bytes, its record's, got {size}"
            yield "files", f"{sentence}: it is cut off or was replaced"
            return
        with file.open("rb") as stream:
            sha256 = hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as exc:
        yield "files", f"{name} {version}: {file}: cannot be read ({exc.strerror or exc})"
        return
    if sha256 != record.get("sha256"):
        sentence = f"{name} {version}: SHA-256 of {file}: expected {record.get('sha256')}, its record's, got {sha256}"
        yield "files", f"{sentence}: it was changed or damaged after its export"


def again(name: str, version: int, record: Mapping[str, Any] | None = None) -> str:
    """What to do about a version that is not whole."""
    published = f"`python -m export {name}={version}`"
    own = f"`python -m export.own {name} {version} … --replace`"
    if record and "own" in record:
        return f"write it again: {own}"
    if record and "recipe" in record:
        return f"write it again: {published}"
    return f"write it again: {published}, or {own} for a network of your own"


def is_unverified(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether networks may do without a record in a server with this environment."""
    return environment.get(UNVERIFIED_VARIABLE, "") == "1"
