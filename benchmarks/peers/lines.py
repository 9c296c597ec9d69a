"""How many lines somebody has to write, and to keep."""

from __future__ import annotations

import ast
import io
import tokenize
from collections.abc import Iterable
from pathlib import Path

from benchmarks.peers.peer import Peer
from trident.contract import COMPONENTS, ENSEMBLE, NETWORKS
from trident.layout import CODE_FILE
from trident.model_config import CONFIG_NAME, pinned_step, read_config

PIPELINE = Path(__file__).resolve().parents[1] / "pipeline.py"
"""What the peers call, and what the ensemble does by its configurations."""

_NO_CODE = frozenset(
    {
        *(tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT),
        *(tokenize.ENCODING, tokenize.ENDMARKER),
    }
)


def count(files: Iterable[Path]) -> int:
    """Lines that hold something else than comments and docstrings."""
    return sum(_count(file.read_text(encoding="utf-8"), python=file.suffix == ".py") for file in files)


def of_peer(peer: Peer) -> int:
    """Those of a peer's server and of its settings."""
    return count(peer.folder / name for name in peer.code)


def of_pipeline() -> int:
    """Those of the pipeline that all peers call."""
    return count([PIPELINE])


def of_backend() -> int:
    """Those of the backend that stands in for Triton's own."""
    return count(sorted((PIPELINE.parents[1] / "backends").rglob("*.py")))


def of_ensemble(repository: Path) -> int:
    """Those of the ensemble: the configurations of all models, and the Python models of the pinned versions."""
    release = read_config(repository / ENSEMBLE / CONFIG_NAME)
    python = [name for name in COMPONENTS if name not in NETWORKS]
    return count(
        [
            *(repository / name / CONFIG_NAME for name in (*COMPONENTS, ENSEMBLE)),
            *(repository / name / str(pinned_step(release, name)) / CODE_FILE for name in python),
        ]
    )


def _count(text: str, *, python: bool) -> int:
    if not python:
        return sum(bool(line.strip()) and not line.lstrip().startswith("#") for line in text.splitlines())
    lines: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type not in _NO_CODE:
            lines.update(range(token.start[0], token.end[0] + 1))
    return len(lines - _docstring_lines(text))


def _docstring_lines(text: str) -> set[int]:
    """The lines of strings that stand as statements: docstrings, also those of attributes."""
    return {
        line
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
        for line in range(node.lineno, (node.end_lineno or node.lineno) + 1)
    }
