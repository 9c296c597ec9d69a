"""A law of how throughput grows with cores, where enough core counts were measured to tell one.

Gunther's Universal Scalability Law (N. J. Gunther 1993, "A Simple Capacity Model of Massively Parallel Transaction
Systems"; 2007, "Guerrilla Capacity Planning"): ``X(N) = λN / (1 + σ(N − 1) + κN(N − 1))``. σ is what has to be done one
after the other, κ what each has to settle with each of the others. With κ = 0 it is Amdahl's law (1967).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.optimize import least_squares  # type: ignore[import-untyped]

LEAST_COUNTS = 5
"""Different core counts: with three coefficients to fit, fewer fit any curve."""

_NOTHING = 1e-3
"""What changes the rate of the most cores measured by less than that share cannot be told from nothing."""

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Law:
    """The coefficients, fitted to rates at different numbers of cores."""

    one: float
    """λ: answers a second of one core."""
    contention: float
    """σ: the share of the work that cannot be done side by side."""
    coherency: float
    """κ: what keeping in step costs; above 0 there is a number of cores beyond which it gets slower."""
    counts: int
    """Different numbers of cores that it was fitted to."""
    worst: float
    """Greatest distance of a measured rate from the fitted one, as a share of the fitted one."""

    def rate(self, cores: float) -> float:
        """Answers a second with so many cores, by the law."""
        return float(_usl(np.array([cores]), self.one, self.contention, self.coherency)[0])

    @property
    def best(self) -> float | None:
        """The number of cores with the greatest rate; None where it grows for ever."""
        if self.coherency <= 0:
            return None
        return float(np.sqrt(max(0.0, 1 - self.contention) / self.coherency))

    @property
    def limit(self) -> float | None:
        """The greatest rate with any number of cores; None where it grows without end."""
        if self.best is not None:
            return self.rate(max(1.0, self.best))
        return self.one / self.contention if self.contention > 0 else None


def _usl(cores: FloatArray, one: float, contention: float, coherency: float) -> FloatArray:
    return one * cores / (1 + contention * (cores - 1) + coherency * cores * (cores - 1))


def fit(cores: Sequence[int], rates: Sequence[float]) -> Law | None:
    """Fit the law by least squares of relative distances.

    Args:
        cores: Of each measurement; a number of cores may come several times.
        rates: Answers a second of each.

    Returns:
        None where fewer than ``LEAST_COUNTS`` different numbers of cores were measured, or no coefficients fit.
    """
    counts = len(set(cores))
    if counts < LEAST_COUNTS:
        return None
    cores_M, rates_M = np.array(cores, dtype=np.float64), np.array(rates, dtype=np.float64)
    if not (rates_M > 0).all():
        return None
    first = float((rates_M / cores_M).max())

    def distances(coefficients: FloatArray) -> FloatArray:
        return _usl(cores_M, *coefficients) / rates_M - 1

    found = least_squares(distances, (first, 0.01, 1e-4), bounds=(0, (np.inf, 1, 1)), x_scale=(first, 0.1, 1e-3))
    if not found.success:
        return None
    one, contention, coherency = map(float, found.x)
    most = float(cores_M.max())
    contention = contention if contention * (most - 1) > _NOTHING else 0.0
    coherency = coherency if coherency * most * (most - 1) > _NOTHING else 0.0
    fitted_M = _usl(cores_M, one, contention, coherency)
    return Law(one, contention, coherency, counts, float(np.abs(rates_M / fitted_M - 1).max()))
