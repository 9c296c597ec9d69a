"""How sure the ratio of two percentiles is.

Of a single percentile of latencies no interval is given anywhere: requests share a queue, and near saturation a few
hundred of them say too little of what p99 is in the long run. Rounds and passes show their range instead.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

_TAIL = 0.025
"""What an interval of 95 % leaves out at either end."""

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Interval:
    """What 95 % of resamples lie between."""

    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Ratio:
    """How one figure compares with another, and how sure that is."""

    value: float
    low: float
    high: float
    """The interval from ``low`` to ``high`` is one of 95 %."""


def ratio_of_percentiles(
    ours: Sequence[FloatArray],
    theirs: Sequence[FloatArray],
    *,
    percent: float = 99.0,
    resamples: int = 1000,
    seed: int = 0,
) -> Ratio | None:
    """A percentile of our values over the same one of theirs; None if there are none of either.

    Args:
        ours: Stretches of values, each ``[N]`` with its own N. What belongs together is drawn together: whole
            stretches, with replacement (cluster bootstrap; Field and Welsh 2007). Empty ones count for nothing.
        theirs: The same.
        percent: Which.
        resamples: How many times.
        seed: Of the draws.
    """
    chance = np.random.default_rng(seed)
    ours, theirs = ([stretch for stretch in one if len(stretch)] for one in (ours, theirs))
    if not ours or not theirs:
        return None

    def resampled(stretches: Sequence[FloatArray]) -> FloatArray:
        drawn = chance.integers(0, len(stretches), (resamples, len(stretches)))
        return np.array([np.percentile(np.concatenate([stretches[i] for i in draw]), percent) for draw in drawn])

    low, high = np.percentile(resampled(ours) / resampled(theirs), [100 * _TAIL, 100 * (1 - _TAIL)])
    value = np.percentile(np.concatenate(ours), percent) / np.percentile(np.concatenate(theirs), percent)
    return Ratio(float(value), float(low), float(high))
