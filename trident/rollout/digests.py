"""The digest that a version's answers carry, as its files tell it."""

from __future__ import annotations

import json

from trident.component_digest import digest_of_component
from trident.contract import NETWORKS
from trident.errors import SetupError
from trident.layout import RECORD_FILE
from trident.rollout.disk import Repository


def digest_of(repository: Repository, component: str, version: int) -> str:
    """``sha256:`` and 64 hexadecimal digits; empty where the files do not tell."""
    folder = repository.folder(component, version)
    try:
        if component in NETWORKS:
            return str(json.loads((folder / RECORD_FILE).read_text(encoding="utf-8")).get("digest", ""))
        return digest_of_component(component, folder)
    except (OSError, ValueError, AttributeError, SetupError):
        return ""
