"""Every network of a repository, held against the record of its export: before a server starts, and when asked."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from trident.component_digest import digest_of_component
from trident.contract import COMPONENTS, NETWORKS
from trident.errors import SetupError
from trident.model_config import network_file, network_files, read_config, read_repository
from trident.rollout.record import read_record
from trident.verification import Standing, check_network, without_record


@dataclass(frozen=True, slots=True)
class Verified:
    """One version of a component that was looked at."""

    component: str
    version: int
    digest: str
    """``sha256:…`` as answers carry it; empty where the files do not tell."""
    what: str
    """The network's name, or that it is code."""
    problem: str = ""
    """What is wrong with it, a sentence; empty where nothing is."""


def check_networks(repository: Path, *, unverified: bool = False) -> list[str]:
    """Hold every network that a server of this repository loads when it starts against its record.

    Versions that a configuration does not name, as it may under another policy than ``specific``, are left to the
    backend, which looks at each file that it opens.

    Args:
        repository: The model repository.
        unverified: Whether networks may do without a record.

    Returns:
        A sentence for each network that is loaded without having been held against a record.

    Raises:
        SetupError: A network may not be loaded, or a configuration cannot be read.
    """
    sentences = []
    for name, version, file in network_files(repository, read_repository(repository)):
        match check_network(name, version, file, unverified=unverified):
            case Standing.UNRECORDED:
                sentences.append(without_record(name, version, file))
            case Standing.FOREIGN:
                sentences.append(f"{name} {version} is loaded unverified: no component of Trident, it has no record")
            case Standing.FITS:
                pass
    return sentences


def survey(repository: Path) -> Iterator[Verified]:
    """Look at every version of every component that is on disk, whether it is served or not.

    The code of the Python components is in no record: its digest is told, to be compared with that of a copy which is
    trusted.

    Args:
        repository: The model repository.

    Raises:
        SetupError: A configuration cannot be read.
    """
    for component in COMPONENTS:
        folder = repository / component
        config = read_config(folder)
        for version in _versions(folder):
            place = folder / str(version)
            if component not in NETWORKS:
                try:
                    yield Verified(component, version, digest_of_component(component, place), "code, in no record")
                except SetupError as exc:
                    yield Verified(component, version, "", "code, in no record", str(exc))
                continue
            file = network_file(folder, version, config)
            try:
                check_network(component, version, file)
            except SetupError as exc:
                yield Verified(component, version, "", "network", str(exc))
            else:
                record = read_record(place)
                yield Verified(component, version, str(record["digest"]), str(record.get("name") or "network"))


def _versions(folder: Path) -> list[int]:
    # As Triton has it: digits, and no 0 in front.
    found = (path.name for path in folder.iterdir() if path.is_dir())
    return sorted(int(name) for name in found if name.isdecimal() and name[0] != "0")
