"""What stands in the rows of a gallery: names and embeddings, sealed or not, and as they are read again."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np

from trident.entities.known_faces import Embeddings
from trident.entities.sealing import Broken, Seal

NAME = "name"
"""What a sealed name is about."""
_LENGTH_TOLERANCE = 1e-3


def stored_name(name: str, seal: Seal | None) -> str:
    """What stands for a name in the table of people."""
    return name if seal is None else seal.token(name)


def stored_vector(content: bytes, seal: Seal | None, name: str, network: str) -> bytes:
    """What stands for the bytes of an embedding."""
    return content if seal is None else seal.seal(content, _embedding_of(name, network))


def read_vector(vector: object, seal: Seal | None, name: str, network: str) -> object:
    """What was stored; None for what is sealed and does not open for this person and network."""
    if seal is None or not isinstance(vector, bytes):
        return vector
    try:
        return seal.open(vector, _embedding_of(name, network))
    except Broken:
        return None


def _embedding_of(name: str, network: str) -> str:
    # Names hold no line break.
    return f"embedding\n{network}\n{name}"


def read_embedding(vector: object, dimension: int) -> Embeddings | None:
    """One stored embedding, ``[D]``; None if it is not what enrolling writes: ``dimension`` values of length 1."""
    # SQLite keeps any value in any column, text among the bytes too.
    if not isinstance(vector, bytes) or not vector or len(vector) != 4 * dimension:
        return None
    embedding = np.frombuffer(vector, dtype="<f4").astype(np.float32)
    with np.errstate(over="ignore", invalid="ignore"):
        length = float(np.linalg.norm(embedding))
    # Not the other way round: the length may be NaN.
    return embedding if abs(length - 1.0) <= _LENGTH_TOLERANCE else None


def as_utc(created: datetime) -> datetime:
    """A stored time in UTC: SQLite gives it without a zone, PostgreSQL in the zone of the session."""
    return created.astimezone(UTC) if created.tzinfo else created.replace(tzinfo=UTC)
