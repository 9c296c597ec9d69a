"""A check with a flaw, for the test that the fuzzer finds one: it lies three comparisons deep."""

from __future__ import annotations

WORD = b"bug"
"""Begins the inputs that fail."""


def check_planted(data: bytes) -> bool:
    """No chance finds the flaw within a test's time: only coverage leads there."""
    if len(data) < len(WORD) or data[0] != WORD[0]:
        return True
    if data[1] != WORD[1]:
        return True
    if data[2] != WORD[2]:
        return True
    raise KeyError("found")
