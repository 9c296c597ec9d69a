"""Which networks a version of the entity recognizer calls: the ``networks.json`` in the version's folder.

They stand with the version, not in the model's configuration, so that a version never changes what it calls while it
serves: other networks are another version of the recognizer, and the ensemble's pins alone decide what answers.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from trident.contract import CALLED, EMBEDDER, RECOGNIZER
from trident.errors import SetupError

NETWORKS_FILE = "networks.json"
"""Its name in the folder of a recognizer version."""

_MOST = 2**31 - 1


@dataclass(frozen=True, slots=True)
class Networks:
    """What one version of the recognizer calls."""

    versions: Mapping[str, int]
    """The version of each of ``CALLED``."""
    identity_threshold: float
    """Smallest cosine similarity of two embeddings that count as the same person, for the embedder of that version."""

    def __post_init__(self) -> None:
        """Raise SetupError for a value that a ``networks.json`` may not hold."""
        _check_keys("", self.versions, CALLED)
        for name, version in self.versions.items():
            if isinstance(version, bool) or not isinstance(version, int) or not 0 < version <= _MOST:
                raise SetupError(f"{name}.version: expected a whole number of 1 or more, got {version!r}")
        threshold = self.identity_threshold
        if isinstance(threshold, bool) or not isinstance(threshold, int | float) or not 0 <= threshold <= 1:
            raise SetupError(f"{EMBEDDER}.identity_threshold: expected a number from 0 to 1, got {threshold!r}")

    @classmethod
    def parse(cls, text: str, source: str = NETWORKS_FILE) -> Networks:
        """Parse the text of a ``networks.json``.

        Args:
            text: JSON, as ``{"face_detector": {"version": 1}, …, "face_embedder": {"version": 1, "identity_threshold":
                0.61}}``.
            source: Where the text came from, for the message.

        Raises:
            SetupError: It is not JSON, or a field is missing, unknown or out of its range.
        """
        try:
            document = json.loads(text)
        except (ValueError, RecursionError) as exc:
            raise SetupError(f"{source}: expected JSON, got something else: {exc}") from exc
        try:
            _check_keys("", document, CALLED)
            for name, fields in document.items():
                own = ("identity_threshold",) if name == EMBEDDER else ()
                _check_keys(name, fields, ("version", *own))
            versions = {name: document[name]["version"] for name in CALLED}
            return cls(versions, document[EMBEDDER]["identity_threshold"])
        except SetupError as exc:
            raise SetupError(f"{source}: {exc}") from exc

    def to_text(self) -> str:
        """What ``parse`` takes: JSON with a network a line."""
        lines = []
        for name in CALLED:
            fields: dict[str, object] = {"version": self.versions[name]}
            if name == EMBEDDER:
                fields["identity_threshold"] = self.identity_threshold
            lines.append(f'  "{name}": {json.dumps(fields)}')
        return "{\n" + ",\n".join(lines) + "\n}\n"


def read_networks(version_folder: Path) -> Networks:
    """The networks that the recognizer version in that folder calls.

    Raises:
        SetupError: Its ``networks.json`` is missing or cannot be understood.
    """
    file = version_folder / NETWORKS_FILE
    try:
        text = file.read_text(encoding="utf-8")
    except OSError as exc:
        raise SetupError(
            f"{file}: cannot be read ({exc.strerror or exc}); a version of {RECOGNIZER} needs one, that of another "
            "version shows its form"
        ) from exc
    except UnicodeDecodeError as exc:
        raise SetupError(f"{file}: expected JSON in UTF-8, got other bytes") from exc
    return Networks.parse(text, str(file))


def _check_keys(where: str, fields: object, wanted: tuple[str, ...]) -> None:
    prefix = f"{where}: " if where else ""
    if not isinstance(fields, Mapping):
        raise SetupError(f"{prefix}expected an object with {', '.join(wanted)}, got {type(fields).__name__}")
    if set(fields) != set(wanted):
        got = ", ".join(map(str, fields)) or "none"
        raise SetupError(f"{prefix}expected the fields {', '.join(wanted)}, got {got}")
