"""Plain text and tables as Markdown (GitHub's), in which nothing of the text is taken for markup."""

from __future__ import annotations

import re
from collections.abc import Sequence

_CODE = re.compile(r"`[^`]+`")
_MARKUP = re.compile(
    r"[\\`*\[\]<>|~$]"  # emphasis, links, tags, tables, strikethrough, formulas
    r"|(?<!\w)_|_(?!\w)"  # inside of a word an underscore is itself
    r"|&(?=#?\w+;)"  # the begin of an entity
    r"|(?<=\])\("  # of a link
)
_NUMBERED = re.compile(r"^(\d{1,9})([.)])(?=\s|$)")
_FIGURE = re.compile(r"[-+−±×]?\s?\d")
_NO_FIGURE = frozenset({"", "-", "–", "—"})


def inline(text: str) -> str:
    r"""A line of plain text; what stands between two backticks stays code.

    >>> print(inline("a_b < *c* [d](e), `make *`"))
    a_b \< \*c\* \[d\]\(e), `make *`
    """
    parts, end = [], 0
    for span in _CODE.finditer(text):
        parts += [_escaped(text[end : span.start()]), span[0]]
        end = span.end()
    return "".join([*parts, _escaped(text[end:])])


def line(text: str) -> str:
    r"""The same for the begin of a line, where further signs are markup.

    >>> print(line("- 3 requests"), line("1. of all"), line("0.5 s"))
    \- 3 requests 1\. of all 0.5 s
    """
    text = inline(text.strip())
    return "\\" + text if text[:1] in ("-", "+", "#", "=") else _NUMBERED.sub(r"\1\\\2", text)


def code(text: str) -> str:
    """A span of code, whatever backticks the text has.

    >>> code("a `b` c")
    '``a `b` c``'
    """
    longest = max((len(run) for run in re.findall("`+", text)), default=0)
    fence = "`" * (longest + 1)
    space = " " if text.startswith("`") or text.endswith("`") else ""
    return f"{fence}{space}{text}{space}{fence}"


def table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table; the first column at the left, others at the right where they hold figures."""
    columns: list[tuple[str, ...]] = list(zip(*rows, strict=True)) if rows else [()] * len(headings)
    figures = [[cell for cell in column if cell.strip() not in _NO_FIGURE] for column in columns]
    marks = [
        "---:" if number and column and all(map(_FIGURE.match, column)) else "---"
        for number, column in enumerate(figures)
    ]
    lines = [[_cell(cell) for cell in headings], marks, *([_cell(cell) for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _escaped(text: str) -> str:
    return _MARKUP.sub(r"\\\g<0>", text)


def _cell(text: str) -> str:
    """In a table a bar ends the cell even inside of code, and is escaped there as well."""
    return re.sub(r"(?<!\\)\|", r"\\|", inline(text.strip()))
