"""The process in which atheris works: ``python -m tests.fuzz.engine MODULE:CHECK`` and libFuzzer's own arguments.

Only Python is instrumented, the project's and Pillow's: what OpenCV, libjpeg-turbo and libtiff do inside leads the
fuzzer nowhere, although their crashes are found like any other.
"""

from __future__ import annotations

import importlib
import sys
from typing import Any

import atheris

from tests.fuzz.bounds import bounded
from tests.fuzz.mutators import mutate_picture


def main() -> None:
    """Fuzz until libFuzzer ends the process."""
    (module, _, name), *arguments = sys.argv[1].partition(":"), *sys.argv[2:]
    with atheris.instrument_imports(include=["trident", "trident_client", "PIL", "tests"]):
        check = getattr(importlib.import_module(module), name)
    import cv2

    cv2.setNumThreads(1)
    cv2.setLogLevel(0)

    def one_input(data: bytes) -> None:
        bounded(check, data)

    def mutate(data: bytes, most: int, seed: int) -> bytes:
        return mutate_picture(data, most, seed, atheris.Mutate)

    options: dict[str, Any] = {"custom_mutator": mutate} if name == "check_decode" else {}
    atheris.Setup([sys.argv[0], *arguments], one_input, **options)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
