"""The documents' commands and programs, for the tests that try them."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DOCUMENTS = sorted(
    [
        *ROOT.glob("*.md"),
        # What lies in hidden folders is not the project's: the virtual environment, caches.
        *(
            document
            for folder in ROOT.iterdir()
            if not folder.name.startswith(".")
            for document in folder.rglob("*.md")
        ),
    ]
)


def blocks(document: Path, language: str) -> list[str]:
    """The fenced blocks of one language."""
    return re.findall(rf"^```{language}\n(.*?)^```", document.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def commands(document: Path) -> list[list[str]]:
    """Every command as words: lines of ``bash`` blocks, and what follows ``$`` in ``console`` blocks."""
    lines = [line for block in blocks(document, "bash") for line in block.replace("\\\n", " ").splitlines()]
    shown = [line for block in blocks(document, "console") for line in block.splitlines()]
    lines += [line.removeprefix("$ ") for line in shown if line.startswith("$ ")]
    return [words for line in lines if (words := shlex.split(line, comments=True))]
