"""Where a network's digest comes from, as far as this machine's own export knows it.

A server says which digest answers; which package's weights those are stands in the records that ``make export`` writes
beside each network. They are looked up by digest, so that they are right for any server.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from trident.layout import DEFAULT_REPOSITORY, RECORD_FILE


def known_origins(repository: Path | None = None) -> Mapping[str, str]:
    """Network and package by digest, such as ``CenterNet-MobileNetV3, npm @vladmandic/human 3.3.6``.

    A network of one's own is named with what it was made from: ``LinearClassifier, own: my_networks:classifier``.

    Args:
        repository: A model repository; by default that of the clone which this package runs from. Without one there,
            nothing is known.
    """
    folder = repository or DEFAULT_REPOSITORY
    origins = {}
    for file in sorted(folder.glob(f"*/*/{RECORD_FILE}")):
        try:
            record = json.loads(file.read_text(encoding="utf-8"))
            origins[str(record["digest"])] = origin_of(record)
        except (OSError, ValueError, KeyError, TypeError):
            # A record that export is just writing, or of another make, says nothing here; `export` itself complains.
            continue
    return origins


def origin_of(record: Mapping[str, Any]) -> str:
    """What the record of one network says of its origin. Raises KeyError or TypeError for one of another make."""
    if "own" in record:
        source = record["own"]
        return f"{record['name']}, own: {source['torch'] if 'torch' in source else source['file']}"
    assets = record["assets"]
    packages = dict.fromkeys(f"{one['registry']} {one['package']} {one['package_version']}" for one in assets)
    return ", ".join([str(record["name"]), *packages])
