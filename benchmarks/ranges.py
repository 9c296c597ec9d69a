"""Settings that have to lie in a range."""

from __future__ import annotations

from trident.errors import SetupError


def check_range(name: str, value: float | None, low: float, high: float) -> None:
    """Raise SetupError unless ``value`` lies between ``low`` and ``high``, or is None: it was not given."""
    if value is not None and not low <= value <= high:
        raise SetupError(f"{name}: expected {low:g} to {high:g}, got {value:g}")
