"""How far apart two short texts are."""

from __future__ import annotations


def edit_distance(a: str, b: str) -> int:
    """Least number of inserted, deleted and replaced characters that make ``a`` into ``b``.

    >>> edit_distance("皖A06725", "皖A0672S")
    1
    """
    row = list(range(len(b) + 1))
    for i, left in enumerate(a, start=1):
        previous, row[0] = row[0], i
        for j, right in enumerate(b, start=1):
            previous, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, previous + (left != right))
    return row[-1]
