"""Label files, read strictly: every complaint names the file, the place, what was expected and what stands there."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from trident.errors import SetupError

_LONGEST_SHOWN = 60

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a CSV file, by the names of its first line."""

    file: Path
    line: int
    """Number of the line in the file, from 1."""
    values: dict[str, str]

    def wrong(self, column: str, expected: str) -> SetupError:
        """A complaint about one value."""
        return SetupError(f"{self.file}: line {self.line}: {column}: expected {expected}, got {self.shown(column)}")

    def shown(self, column: str) -> str:
        """The value, as a message may show it."""
        return shown(self.values.get(column) or "")

    def text(self, column: str) -> str:
        """A value that may not be empty. Raises SetupError."""
        value = (self.values.get(column) or "").strip()
        if not value:
            raise self.wrong(column, "a text")
        return value

    def picture(self, column: str, folder: Path) -> Path:
        """A picture that the value names, in ``folder``. Raises SetupError if there is no such file."""
        path = folder / self.text(column)
        if not path.is_file():
            raise self.wrong(column, f"a picture in {folder}")
        return path

    def choice(self, column: str, known: dict[str, T]) -> T:
        """What the value stands for. Raises SetupError unless it is one of ``known``."""
        value = self.text(column)
        if value not in known:
            raise self.wrong(column, " or ".join(known))
        return known[value]

    def whole_number(self, column: str, least: int, most: int) -> int:
        """A number in a range, both ends included. Raises SetupError."""
        value = self.text(column)
        if not value.isdecimal() or not least <= int(value) <= most:
            raise self.wrong(column, f"a whole number from {least} to {most}")
        return int(value)


def read_rows(file: Path, columns: Sequence[str], limit: int | None = None) -> list[Row]:
    """The rows of a CSV file with a first line of names, UTF-8; empty lines are passed over.

    Args:
        file: The file.
        columns: Names that the first line must hold; others may stand beside them.
        limit: Only the first so many.

    Raises:
        SetupError: The file cannot be read, lacks a column, or holds no row.
    """
    rows = []
    try:
        # utf-8-sig: spreadsheets put a mark in front.
        with file.open(encoding="utf-8-sig", newline="") as opened:
            reader = csv.DictReader(opened, strict=True)
            names = [name.strip() for name in reader.fieldnames or ()]
            reader.fieldnames = names
            if missing := [name for name in columns if name not in names]:
                raise SetupError(
                    f"{file}: line 1: expected the columns {', '.join(columns)}, got "
                    f"{', '.join(names) or 'nothing'}: {', '.join(missing)} is missing"
                )
            for values in reader:
                if None in values:
                    raise SetupError(
                        f"{file}: line {reader.line_num}: expected {len(names)} values as the first line has names, "
                        f"got {len(names) + len(values[None])}"
                    )
                rows.append(Row(file, reader.line_num, values))
                if limit is not None and len(rows) >= limit:
                    break
    except OSError as error:
        raise SetupError(f"{file}: cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise SetupError(f"{file}: expected UTF-8, got other bytes at {error.start}: save it as UTF-8") from error
    except csv.Error as error:
        raise SetupError(f"{file}: expected a CSV file, got another: {error}") from error
    if not rows:
        raise SetupError(f"{file}: expected a row for each picture below its first line, got none")
    return rows


@dataclass(frozen=True, slots=True)
class Node:
    """A value in a JSON file together with its place."""

    file: Path
    place: str
    """As ``annotations[3].bbox``; empty for the whole."""
    value: Any

    def wrong(self, expected: str) -> SetupError:
        """A complaint about this value."""
        place = f"{self.place}: " if self.place else ""
        return SetupError(f"{self.file}: {place}expected {expected}, got {shown(self.value)}")

    def has(self, key: str) -> bool:
        """Whether there is such a member. Raises SetupError for what is no object."""
        if not isinstance(self.value, dict):
            raise self.wrong("an object")
        return key in self.value

    def __getitem__(self, key: str) -> Node:
        """A member. Raises SetupError if it is missing."""
        place = f"{self.place}.{key}" if self.place else key
        if not self.has(key):
            raise SetupError(f"{self.file}: {place}: expected a value, got nothing")
        return Node(self.file, place, self.value[key])

    def __iter__(self) -> Iterator[Node]:
        """The items of a list. Raises SetupError for anything else."""
        if not isinstance(self.value, list):
            raise self.wrong("a list")
        return (Node(self.file, f"{self.place}[{index}]", item) for index, item in enumerate(self.value))

    def number(self) -> float:
        """A finite number. Raises SetupError."""
        if isinstance(self.value, bool) or not isinstance(self.value, int | float) or not math.isfinite(self.value):
            raise self.wrong("a number")
        return float(self.value)

    def whole_number(self) -> int:
        """A whole number. Raises SetupError."""
        if isinstance(self.value, bool) or not isinstance(self.value, int):
            raise self.wrong("a whole number")
        return self.value

    def text(self) -> str:
        """A text that is not empty. Raises SetupError."""
        if not isinstance(self.value, str) or not self.value:
            raise self.wrong("a text")
        return self.value

    def one_of(self, known: Container[Any], expected: str) -> Any:
        """The value. Raises SetupError unless it is among the known ones."""
        if not isinstance(self.value, str | int) or self.value not in known:
            raise self.wrong(expected)
        return self.value


def read_json(file: Path) -> Node:
    """A JSON file as a whole.

    Raises:
        SetupError: It cannot be read, or is no JSON; the message says in which line.
    """
    try:
        return Node(file, "", json.loads(file.read_text(encoding="utf-8-sig")))
    except OSError as error:
        raise SetupError(f"{file}: cannot be read: {error.strerror or error}") from error
    except json.JSONDecodeError as error:
        raise SetupError(f"{file}: line {error.lineno}: expected JSON, got something else: {error.msg}") from error
    except (UnicodeDecodeError, RecursionError) as error:
        raise SetupError(f"{file}: expected JSON in UTF-8, got something else") from error


def shown(value: Any) -> str:
    """A value, short enough for a message."""
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}…"
