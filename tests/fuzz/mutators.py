"""Mutations that keep a picture's form, which blind ones break: checksums of PNG, the directory of TIFF.

A PNG whose checksums are wrong is refused before anything else is looked at; and two fields of a TIFF's directory that
are hostile only together are never hit by chance at the same time.
"""

from __future__ import annotations

import random
import struct
import zlib
from collections.abc import Callable

Mutate = Callable[[bytes, int], bytes]
"""libFuzzer's own mutation: bytes and the most that may come of them."""

_PNG = b"\x89PNG\r\n\x1a\n"
_TIFF = {b"II*\0": "<", b"MM\0*": ">"}
_ENTRY_BYTES = 12
_TYPES = (1, 2, 3, 4, 5, 6, 7, 12, 16, 0)
_NUMBERS = (0, 1, 2, 8, 16, 255, 1 << 16, (1 << 31) - 1, (1 << 32) - 1)


def mutate_picture(data: bytes, most: int, seed: int, mutate: Mutate) -> bytes:
    """A mutation of an encoded picture, every other time one that keeps or changes its form on purpose.

    Args:
        data: The picture.
        most: Bytes that may come of it.
        seed: The same gives the same.
        mutate: libFuzzer's own.
    """
    choice = random.Random(seed)
    if choice.random() < 0.5:
        return mutate(data, most)
    if data.startswith(_PNG):
        return with_right_checksums(mutate(data, most))
    if data[:4] in _TIFF:
        return with_other_entries(data, choice)
    return mutate(data, most)


def with_right_checksums(data: bytes) -> bytes:
    """A PNG in which each chunk's checksum is right, as far as the lengths of the chunks lead."""
    made, position = bytearray(data), len(_PNG)
    while position + 12 <= len(made):
        end = position + 8 + int.from_bytes(made[position : position + 4], "big")
        if end + 4 > len(made):
            break
        made[end : end + 4] = struct.pack(">L", zlib.crc32(made[position + 4 : end]))
        position = end + 4
    return bytes(made)


def with_other_entries(data: bytes, choice: random.Random) -> bytes:
    """A TIFF in whose directory up to three entries have another type, count or value."""
    made, order = bytearray(data), _TIFF.get(data[:4], "<")
    if len(made) < 8:
        return data
    (start,) = struct.unpack_from(order + "L", made, 4)
    if start + 2 > len(made):
        return data
    (entries,) = struct.unpack_from(order + "H", made, start)
    entries = min(entries, (len(made) - start - 2) // _ENTRY_BYTES)
    for _ in range(choice.randint(1, 3) if entries else 0):
        at = start + 2 + _ENTRY_BYTES * choice.randrange(entries)
        match choice.randrange(3):
            case 0:
                struct.pack_into(order + "H", made, at + 2, choice.choice(_TYPES))
            case 1:
                struct.pack_into(order + "L", made, at + 4, choice.choice(_NUMBERS))
            case _:
                struct.pack_into(order + "L", made, at + 8, choice.choice(_NUMBERS))
    return bytes(made)
