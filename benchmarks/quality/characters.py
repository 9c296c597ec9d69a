"""Texts that were read against what stands there, character by character."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

NOTHING = ""
"""In the place of a character that was left out or that was added."""


def align(read: str, label: str) -> list[tuple[str, str]]:
    """Characters of ``label`` and what was read for each, by the fewest insertions, deletions and replacements.

    Where several ways need as few, replacements come before the others, from the end on (Wagner and Fischer 1974).

    Returns:
        Pairs of a true and a read character; one of the two is empty for what was left out or added.

    >>> align("A0672", "AO6725")
    [('A', 'A'), ('O', '0'), ('6', '6'), ('7', '7'), ('2', '2'), ('5', '')]
    """
    rows = [list(range(len(label) + 1))]
    for i, got in enumerate(read, start=1):
        above, row = rows[-1], [i]
        for j, true in enumerate(label, start=1):
            row.append(min(above[j] + 1, row[j - 1] + 1, above[j - 1] + (got != true)))
        rows.append(row)
    i, j, pairs = len(read), len(label), []
    while i or j:
        if i and j and rows[i][j] == rows[i - 1][j - 1] + (read[i - 1] != label[j - 1]):
            i, j = i - 1, j - 1
            pairs.append((label[j], read[i]))
        elif j and rows[i][j] == rows[i][j - 1] + 1:
            j -= 1
            pairs.append((label[j], NOTHING))
        else:
            i -= 1
            pairs.append((NOTHING, read[i]))
    return pairs[::-1]


@dataclass(frozen=True, slots=True)
class Reading:
    """How texts were read, by position and by character."""

    right_at: Sequence[float]
    """Share of the texts whose character at this position was read right, of those that are so long."""
    texts_at: Sequence[int]
    """How many texts are so long."""
    confusions: Sequence[tuple[str, str, int]]
    """True character, what was read for it, how often; only where they differ, most frequent first."""


def reading(read: Sequence[str], labels: Sequence[str]) -> Reading:
    """Line up every text with its label, and count."""
    right: Counter[int] = Counter()
    there: Counter[int] = Counter()
    confusions: Counter[tuple[str, str]] = Counter()
    for text, label in zip(read, labels, strict=True):
        position = 0
        for true, got in align(text, label):
            if true != got:
                confusions[true, got] += 1
            if true != NOTHING:
                there[position] += 1
                right[position] += true == got
                position += 1
    return Reading(
        right_at=[right[position] / there[position] for position in range(len(there))],
        texts_at=[there[position] for position in range(len(there))],
        confusions=[(true, got, count) for (true, got), count in confusions.most_common()],
    )
