"""The digest that a version's answers carry, as its files tell it."""

from __future__ import annotations

from trident.component_digest import digest_of_component
from trident.contract import NETWORKS
from trident.errors import SetupError
from trident.rollout.disk import Repository
from trident.rollout.record import read_record


def digest_of(repository: Repository, component: str, version: int) -> str:
    """``sha256:`` and 64 hexadecimal digits; empty where the files do not tell."""
    folder = repository.folder(component, version)
    try:
        if component in NETWORKS:
            return str(read_record(folder).get("digest", ""))
        return digest_of_component(component, folder)
    except (OSError, SetupError):
        return ""
