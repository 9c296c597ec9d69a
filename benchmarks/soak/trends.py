"""Whether something grows: by a trend for what goes up and down, by its floor for what is to be the same for ever.

A trend is the slope of Theil and Sen through the medians of equal stretches of time: a few looks at a bad moment, and
a single step, hardly move it. Its interval is Sen's (1968), for values that are independent of each other. Neighbouring
looks are not, so it is worked out on the medians of stretches that are minutes long, and is too narrow all the same
where memory wanders more slowly than that.

What makes it blind to single steps makes it blind to the end: of 24 stretches, whatever begins in the last four changes
fewer slopes than the interval leaves out, however much it is. So the end is looked at by itself, and what it shows may
keep something from being flat. What begins within the last stretch is seen by half at most.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import numpy.typing as npt
from scipy.stats import median_abs_deviation, theilslopes  # type: ignore[import-untyped]

BLOCKS = 24
"""Equal stretches of the time that counts."""
ENOUGH_S = 600.0
"""Less than so much time that counts says nothing of hours."""
_LEAST_BLOCKS = 12
_END_BLOCKS, _UNSEEN_BLOCKS, _BEFORE_BLOCKS = 2, 4, 4
"""The stretches at the end that are looked at by themselves; those that the interval does not see; and as many before
them."""
_SPREADS = 3.0
"""So many times what stretches differ by anyway lies within chance."""
_HOUR_S, _DAY_H = 3600.0, 24.0

Floats = npt.NDArray[np.float64]


class State(StrEnum):
    """What a run shows of a quantity."""

    FLAT = "flat"
    GROWS = "grows"
    UNKNOWN = "too short to tell"
    """It may be flat, or not: a longer run would show it."""


@dataclass(frozen=True, slots=True)
class Trend:
    """How fast a quantity that goes up and down has grown."""

    name: str
    unit: str
    first: float
    """Median of the first stretch that counts."""
    last: float
    """Median of the last one."""
    per_hour: float
    low: float
    high: float
    """The interval from ``low`` to ``high`` is one of 95 % for growth an hour."""
    later: float | None
    """Growth an hour in the second half of the time that counts; None for too few looks."""
    rise: float | None
    """How far the last two stretches lie above the first third of the time; None where some of that is missing."""
    late_rise: float | None
    """The same above the four stretches before the last four."""
    limit: float | None
    """Growth an hour that still counts as flat; None where nothing is asked of it."""
    state: State | None
    """None where nothing is asked of it."""

    @property
    def per_day(self) -> float:
        """What it would come to in a day, if it went on so."""
        return _DAY_H * self.per_hour


@dataclass(frozen=True, slots=True)
class Floor:
    """How far what a quantity never falls below has risen."""

    name: str
    unit: str
    first: float
    """The least value of the first third of the time that counts."""
    last: float
    """Of the last third."""
    most: float
    """The greatest value of all that counts."""
    ended: float
    """The least value of the last stretch."""
    rises: int
    """In how many stretches the floor lay above all floors before it."""
    limit: float | None
    """Rise over the whole run that still counts as flat; None where nothing is asked of it."""
    state: State | None
    """None where nothing is asked of it."""

    @property
    def rise(self) -> float:
        """From the first third to the last one."""
        return self.last - self.first


def trend(
    name: str, unit: str, at_N: Sequence[float], values_N: Sequence[float], limit: float | None = None
) -> Trend | None:
    """The trend of values over time.

    Args:
        name: Of the quantity.
        unit: Of its values.
        at_N: Seconds, in their order.
        values_N: One for each.
        limit: Growth an hour that still counts as flat.

    Returns:
        None for fewer than two stretches with a value in them.
    """
    at, values = np.asarray(at_N, dtype=np.float64), np.asarray(values_N, dtype=np.float64)
    middles_B, medians_B = _blocks(at, values)
    if len(medians_B) < 2:
        return None
    per_hour, low, high = _slope(middles_B, medians_B)
    half = len(medians_B) // 2
    later = _slope(middles_B[half:], medians_B[half:])[0] if len(medians_B) >= _LEAST_BLOCKS else None
    enough = float(at[-1] - at[0]) >= ENOUGH_S and len(medians_B) >= _LEAST_BLOCKS and high >= low
    bound = np.inf if limit is None else limit
    first, before, end = _parts(middles_B, at)
    rise, may_rise = _rise(middles_B, medians_B, first, end, bound)
    late, may_late = _rise(middles_B, medians_B, before, end, bound)
    residuals_B = medians_B - per_hour * middles_B / _HOUR_S
    spread = float(median_abs_deviation(residuals_B, scale="normal"))
    ended_flat = rise is not None and late is not None and rise <= may_rise and late <= may_late + _SPREADS * spread
    state = _state(limit, enough=enough, flat=high <= bound and ended_flat, grows=low > bound)
    return Trend(
        name=name,
        unit=unit,
        first=float(medians_B[0]),
        last=float(medians_B[-1]),
        per_hour=per_hour,
        low=low,
        high=high,
        later=later,
        rise=rise,
        late_rise=late,
        limit=limit,
        state=state,
    )


def floor(
    name: str, unit: str, at_N: Sequence[float], values_N: Sequence[float], limit: float | None = None
) -> Floor | None:
    """The floor of values over time: what comes and goes does not lift it, what is never given back does.

    A floor that has risen once may be one that has found its place, or the first step of many, and one that rose within
    the last third may fall again: it takes a longer run to tell.

    Args:
        name: Of the quantity.
        unit: Of its values.
        at_N: Seconds, in their order.
        values_N: One for each.
        limit: Rise over the whole time that still counts as flat.

    Returns:
        None for fewer than three values.
    """
    at, values = np.asarray(at_N, dtype=np.float64), np.asarray(values_N, dtype=np.float64)
    if len(values) < 3:
        return None
    thirds = np.minimum((3 * (at - at[0]) / max(at[-1] - at[0], 1e-9)).astype(int), 2)
    if len(np.unique(thirds)) < 3:
        return None
    first, last = (float(values[thirds == one].min()) for one in (0, 2))
    lowest_B = np.array([values[numbers].min() for numbers in _numbers(at)])
    ended = float(lowest_B[-1])
    rises = int(np.sum(lowest_B[1:] > np.maximum.accumulate(lowest_B)[:-1]))
    enough = float(at[-1] - at[0]) >= ENOUGH_S and len(lowest_B) >= _LEAST_BLOCKS
    bound = np.inf if limit is None else first + limit
    # Of a single stretch chance may have shown no lowest value: that alone is no growth.
    state = _state(limit, enough=enough, flat=max(last, ended) <= bound, grows=last > bound and rises > 1)
    return Floor(name, unit, first, last, float(values.max()), ended, rises, limit, state)


def _state(limit: float | None, *, enough: bool, flat: bool, grows: bool) -> State | None:
    if limit is None:
        return None
    if enough and flat:
        return State.FLAT
    return State.GROWS if enough and grows else State.UNKNOWN


def _numbers(at_N: Floats) -> list[npt.NDArray[np.intp]]:
    """The values of each stretch that has some, by their places."""
    if not len(at_N):
        return []
    block_N = _block(at_N, at_N)
    return [np.flatnonzero(block_N == block) for block in np.unique(block_N)]


def _block(moments: Floats, at_N: Floats) -> npt.NDArray[np.intp]:
    """In which stretches of the time of all looks these moments lie."""
    share = (moments - at_N[0]) / max(at_N[-1] - at_N[0], 1e-9)
    blocks: npt.NDArray[np.intp] = np.minimum((BLOCKS * share).astype(np.intp), BLOCKS - 1)
    return blocks


def _parts(middles_B: Floats, at_N: Floats) -> tuple[npt.NDArray[np.bool_], ...]:
    """Which stretches are the first third, those before what the interval does not see, and the end, ``[B]`` each."""
    block_B = _block(middles_B, at_N)
    unseen = BLOCKS - _UNSEEN_BLOCKS
    return (
        block_B < BLOCKS // 3,
        (unseen - _BEFORE_BLOCKS <= block_B) & (block_B < unseen),
        block_B >= BLOCKS - _END_BLOCKS,
    )


def _rise(
    middles_B: Floats, medians_B: Floats, one: npt.NDArray[np.bool_], other: npt.NDArray[np.bool_], per_hour: float
) -> tuple[float | None, float]:
    """How far some stretches lie above others, and what ``per_hour`` would make of the time between them."""
    if not one.any() or not other.any():
        return None, 0.0
    hours = float(middles_B[other].mean() - middles_B[one].mean()) / _HOUR_S
    return float(np.median(medians_B[other]) - np.median(medians_B[one])), per_hour * hours


def _blocks(at_N: Floats, values_N: Floats) -> tuple[Floats, Floats]:
    """Mean time and median value of each stretch, ``[B]`` each."""
    numbers = _numbers(at_N)
    return (
        np.array([at_N[one].mean() for one in numbers], dtype=np.float64),
        np.array([np.median(values_N[one]) for one in numbers], dtype=np.float64),
    )


def _slope(at_B: Floats, values_B: Floats) -> tuple[float, float, float]:
    """Growth an hour, and its interval."""
    found = theilslopes(values_B, at_B / _HOUR_S, alpha=0.95)
    return float(found.slope), float(found.low_slope), float(found.high_slope)
