"""What of a report belongs into ``benchmarks/RESULTS.md``: its title, a few sentences, a table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

from trident.errors import SetupError


@dataclass(frozen=True, slots=True)
class SummaryTable:
    """A table of plain texts: rows as long as the headings. What stands between backticks is code.

    Raises:
        SetupError: A cell is not a line of text, or a row is not as long as the headings.
    """

    headings: Sequence[str]
    rows: Sequence[Sequence[str]]

    def __post_init__(self) -> None:
        if not self.headings:
            raise SetupError("a summary's table: expected headings, got none")
        for row in (self.headings, *self.rows):
            for cell in _texts("a row of a summary's table", row):
                _check_line("a cell of a summary's table", cell, empty=True)
            if len(row) != len(self.headings):
                raise SetupError(
                    f"a row of a summary's table: expected {len(self.headings)} cells as there are headings, "
                    f"got {len(row)}: {list(row)}"
                )

    def to_json(self) -> dict[str, Any]:
        """As the report's JSON holds it."""
        return {"headings": list(self.headings), "rows": [list(row) for row in self.rows]}


@dataclass(frozen=True, slots=True)
class Summary:
    """A run in short: plain text, figures already formatted. What stands between backticks is code.

    Raises:
        SetupError: There is no title or no sentence, or one of them is not a line of text.
    """

    title: str
    """What was measured, in a few words: the heading of its section."""
    sentences: Sequence[str]
    """What was compared with what, what came of it, and where it falls short."""
    tables: Sequence[SummaryTable] = ()

    def __post_init__(self) -> None:
        _check_line("a summary's title", self.title)
        if not self.sentences:
            raise SetupError("a summary's sentences: expected at least one, got none: say what was compared")
        for sentence in _texts("a summary's sentences", self.sentences):
            _check_line("a summary's sentence", sentence)

    def to_json(self) -> dict[str, Any]:
        """As the report's JSON holds it, under ``summary``."""
        return {
            "title": self.title,
            "sentences": list(self.sentences),
            "tables": [table.to_json() for table in self.tables],
        }

    @classmethod
    def from_json(cls, data: Any) -> Self:
        """What ``to_json`` gave. Raises SetupError where something is missing or is not text."""
        try:
            tables = [SummaryTable(table["headings"], table["rows"]) for table in data["tables"]]
            return cls(data["title"], data["sentences"], tables)
        except (KeyError, TypeError) as error:
            raise SetupError(
                f"a report's summary: expected a title, sentences, and tables of headings and rows, got {data!r:.200}"
            ) from error


def _texts(what: str, texts: Sequence[str]) -> Sequence[str]:
    """A text alone is a sequence of texts as well, a letter each, and never meant."""
    if not isinstance(texts, list | tuple):
        raise SetupError(f"{what}: expected a list of texts, got {texts!r:.200}")
    return texts


def _check_line(what: str, text: Any, *, empty: bool = False) -> None:
    if not isinstance(text, str) or len(text.splitlines()) > 1 or not (empty or text.strip()):
        raise SetupError(f"{what}: expected a line of text, got {text!r:.200}: format the value first")
