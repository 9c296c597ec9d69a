"""Quality of two releases on labelled pictures, through their ensembles, with the measures of ``make quality``."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from pathlib import Path

from tritonclient.utils import InferenceServerException

from trident.entities.settings import Settings
from trident.errors import SetupError
from trident.rollout.golden import labelled_sets
from trident.rollout.limits import Limits
from trident.rollout.release import Release
from trident.rollout.serving import ServingError
from trident.rollout.shadow_result import Quality
from trident_client import ClientError

Progress = Callable[[float], None]
"""Told how many more pictures are done."""


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
    limit: int | None = None,
    progress: Progress | None = None,
) -> tuple[Quality, ...]:
    """Measure both releases on all labelled sets of a folder.

    Args:
        url: ``host:port`` of the server.
        folder: The sets, as ``benchmarks/README.md`` describes them.
        sides: The old release and the new one.
        limits: How much may be lost.
        settings: The serving entity recognizer's.
        limit: Only the first so many pictures of each set.
        progress: Told how many more pictures are done.

    Raises:
        SetupError: The folder holds no labelled set, or this is no clone with the packages of the benchmarks.
        ServingError: A picture was not answered: a figure over the others would be none.
    """
    try:
        from benchmarks.quality.measures import SETS  # noqa: PLC0415 - only in a clone
    except ModuleNotFoundError as error:
        raise SetupError(
            f"quality on labelled pictures needs {error.name}: run it in a clone of the repository, after make install"
        ) from error
    names = labelled_sets(folder)
    if not names:
        raise SetupError(f"labelled pictures: expected one of {', '.join(one.name for one in SETS)} in {folder}")
    found: list[dict[str, tuple[float, int]]] = []
    try:
        for side in sides:
            found.append(_measured(side, url, folder, names, settings=settings, limit=limit, progress=progress))
    except (ClientError, InferenceServerException) as error:
        raise ServingError(f"quality on labelled pictures: {error}", "") from error
    old, new = found
    return tuple(
        Quality(name, value, new[name][0], pictures, value - new[name][0], limits.quality_loss)
        for name, (value, pictures) in old.items()
    )


def _measured(
    side: Side,
    url: str,
    folder: Path,
    names: Collection[str],
    *,
    settings: Settings,
    limit: int | None,
    progress: Progress | None,
) -> dict[str, tuple[float, int]]:
    """Every measure's value and number of pictures, by name."""
    from benchmarks.quality.measures import SETS, Server  # noqa: PLC0415 - only in a clone

    server = Server(
        url,
        model=side.model,
        versions=side.release,
        settings=replace(settings, identity_threshold=side.identity_threshold),
    )
    try:
        return {
            measure.name: (measure.value, measure.pictures)
            for one in SETS
            if one.name in names
            for measure in one.measure(server, folder / one.name, limit, progress or _nobody)
            # A gain in points is the difference of two other measures, and moves where they do not.
            if not measure.unit
        }
    finally:
        server.close()


def _nobody(_: float) -> None:
    """Tell nobody."""
