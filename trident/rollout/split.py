"""Which requests a canary answers: a share of them, the same ones again and again."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

_POSITIONS = 2**64


def sticky_key(sticky: object, correlation_id: int | str, pictures: Iterable[bytes]) -> bytes:
    """What two requests must have in common to be answered by the same side.

    Args:
        sticky: The request parameter ``sticky``; None or an empty text where there is none.
        correlation_id: The request's correlation id; 0 or an empty text where there is none.
        pictures: The encoded pictures of the request, the key where it has neither.

    Returns:
        The key. Keys of the three kinds never meet.
    """
    if sticky is not None and sticky != "":
        return b"sticky:" + str(sticky).encode()
    if correlation_id:
        return b"correlation:" + str(correlation_id).encode()
    digest = hashlib.sha256()
    for picture in pictures:
        digest.update(len(picture).to_bytes(8, "little"))
        digest.update(picture)
    return b"pictures:" + digest.digest()


def position(key: bytes, salt: str) -> float:
    """Where a key lies in [0, 1): uniform over keys, and for each salt, one a rollout, another.

    Without the salt, the callers whose keys lie lowest would be the first to try every new version.
    """
    digest = hashlib.blake2b(key, digest_size=8, key=hashlib.sha256(salt.encode()).digest()).digest()
    # The upper 53 bits: what a float holds exactly, so that the largest is still below 1.
    return (int.from_bytes(digest, "big") >> 11) / (_POSITIONS >> 11)


def chosen(key: bytes, salt: str, share: float) -> bool:
    """Whether the candidate answers. A larger share only adds keys: nobody it has answered goes back."""
    return position(key, salt) < share
