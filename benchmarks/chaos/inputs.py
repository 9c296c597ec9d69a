"""What is sent and served: bad pictures to go with the good ones, and a repository whose Python models can hang."""

from __future__ import annotations

import random
import struct
import zlib
from collections.abc import Sequence
from pathlib import Path

from benchmarks.chaos.kinds import HANGING
from trident.rollout.disk import Repository

_HOOK = """

# Added by a chaos run: a process that the file names does nothing for as long as it does.
import os as _os
import time as _time

_execute = TritonPythonModel.execute


def _hangs():
    try:
        with open({file!r}, encoding="ascii") as named:
            return str(_os.getpid()) in named.read().split()
    except OSError:
        return False


def _execute_or_hang(self, requests):
    while _hangs():
        _time.sleep(0.05)
    return _execute(self, requests)


TritonPythonModel.execute = _execute_or_hang
"""


def add_hooks(repository: Repository, folder: Path) -> dict[str, Path]:
    """Have the Python components hang when they are told to; by component, the file that tells.

    Args:
        repository: A copy that may be changed. All versions there are get the hook.
        folder: For the files, of which there are none at first.
    """
    files = {component: (folder / f"hang-{component}").absolute() for component in HANGING}
    for component, file in files.items():
        for version in repository.versions(component):
            with repository.file(component, version).open("a", encoding="utf-8") as code:
                code.write(_HOOK.format(file=str(file)))
    return files


def write_bad_pictures(folder: Path, good: Sequence[Path]) -> list[Path]:
    """Write a handful of what people send and should not, under the names of pictures.

    Args:
        folder: Where to; it is made.
        good: Encoded pictures, of which the first one is cut short.
    """
    folder.mkdir()
    whole = good[0].read_bytes()
    contents = {
        "text.jpg": b"<!doctype html><title>404</title>",
        "document.png": b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n1 0 obj\n",
        "noise.bmp": random.Random(7).randbytes(5000),  # noqa: S311 - no secret
        "cut.jpg": whole[: len(whole) // 2],
        "bomb.png": _png_header(30_000, 30_000),
    }
    for name, data in contents.items():
        (folder / name).write_bytes(data)
    return [folder / name for name in contents]


def _png_header(width: int, height: int) -> bytes:
    """The begin of a PNG that claims to be of that size."""
    head = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", len(head) - 4) + head + struct.pack(">I", zlib.crc32(head))
