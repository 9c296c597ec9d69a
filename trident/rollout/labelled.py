"""Quality of two releases on labelled pictures, through their ensembles, with the measures of ``make quality``."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Lock
from types import ModuleType

from tritonclient.utils import InferenceServerException

from trident.entities.settings import Settings
from trident.errors import SetupError
from trident.rollout.golden import labelled_sets
from trident.rollout.limits import Limits
from trident.rollout.release import Release
from trident.rollout.serving import ServingError
from trident.rollout.shadow_result import Quality
from trident_client import ClientError

Progress = Callable[[int, int], None]
"""Told how many pictures are done, and how many there are."""


@dataclass(frozen=True, slots=True)
class Side:
    """One release, as it can be asked."""

    model: str
    """Name of its ensemble on the server."""
    release: Release
    identity_threshold: float


def compare_quality(
    url: str,
    folder: Path,
    sides: tuple[Side, Side],
    *,
    limits: Limits,
    settings: Settings,
    progress: Progress | None = None,
) -> tuple[Quality, ...]:
    """Measure both releases on all labelled sets of a folder.

    Args:
        url: ``host:port`` of the server.
        folder: The sets, as ``benchmarks/README.md`` describes them.
        sides: The old release and the new one.
        limits: How much may be lost.
        settings: The serving entity recognizer's.
        progress: Told how many pictures are done, and how many there are; one that both releases are asked about is
            two.

    Raises:
        SetupError: As ``count_labelled``.
        ServingError: A picture was not answered: a figure over the others would be none.
    """
    names, pictures = labelled_sets(folder), count_labelled(folder)
    told = _Count(2 * pictures, progress)
    found: list[dict[str, tuple[float, int]]] = []
    try:
        for side in sides:
            found.append(_measured(side, url, folder, names, settings=settings, progress=told))
    except (ClientError, InferenceServerException) as error:
        raise ServingError(f"quality on labelled pictures: {error}", "") from error
    old, new = found
    return tuple(
        Quality(name, value, new[name][0], count, value - new[name][0], limits.quality_loss)
        for name, (value, count) in old.items()
    )


def count_labelled(folder: Path) -> int:
    """How many pictures the labelled sets of a folder have.

    Raises:
        SetupError: The folder holds no labelled set, or this is no clone with the packages of the benchmarks.
    """
    sets = _measures().SETS
    names = labelled_sets(folder)
    if not names:
        raise SetupError(f"labelled pictures: expected one of {', '.join(one.name for one in sets)} in {folder}")
    return sum(one.count(folder / one.name, None) for one in sets if one.name in names)


def _measures() -> ModuleType:
    """``benchmarks.quality.measures``, which only a clone has."""
    try:
        from benchmarks.quality import measures  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise SetupError(
            f"quality on labelled pictures needs {error.name}: run it in a clone of the repository, after make install"
        ) from error
    return measures


def _measured(
    side: Side, url: str, folder: Path, names: Collection[str], *, settings: Settings, progress: Callable[[float], None]
) -> dict[str, tuple[float, int]]:
    """Every measure's value and number of pictures, by name."""
    measures = _measures()
    server = measures.Server(
        url,
        model=side.model,
        versions=side.release,
        settings=replace(settings, identity_threshold=side.identity_threshold),
    )
    try:
        return {
            measure.name: (measure.value, measure.pictures)
            for one in measures.SETS
            if one.name in names
            for measure in one.measure(server, folder / one.name, None, progress)
            # A gain in points is the difference of two other measures, and moves where they do not.
            if not measure.unit
        }
    finally:
        server.close()


class _Count:
    """Adds up what is done; the pictures of a set may be asked about by several threads."""

    def __init__(self, total: int, progress: Progress | None) -> None:
        self._total = total
        self._progress = progress
        self._done = 0.0
        self._lock = Lock()

    def __call__(self, more: float) -> None:
        with self._lock:
            self._done += more
            if self._progress is not None:
                self._progress(round(self._done), self._total)
