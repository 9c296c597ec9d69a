"""The gate in front of the first step's work: which requests go on, and which are refused."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from trident.admission.endpoint import MetricsUnreadable
from trident.admission.gauges import Sample
from trident.errors import SetupError, TridentError

LATER = "ask again later"
"""How the sentence of every refusal ends."""

_FRESH_S = 0.02
"""How old a look may be on whose strength a request is refused."""
_OLD_S, _ENOUGH = 0.5, 4
"""A look is repeated when it is so old and so many requests have gone on since: the pace is learned by looking."""
_STALE_S = 1.0
"""Longest time between two looks of which it is believed that the queue was never empty in between."""
_MEMORY_S = 10.0
"""How far back the pace looks: what is older by this counts 1/e."""
_SURE_S = 0.5
"""Seconds of work without a pause after which the pace is believed."""
_ASK_AGAIN_S = 1.0
"""How long metrics that could not be read are left alone."""
_WARN_AFTER = 10
_US = 1e6

_LOGGER = logging.getLogger(__name__)


class Overloaded(TridentError):
    """More is asked than can be answered in time; served as UNAVAILABLE."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What the gate is to keep to."""

    max_wait_s: float = 2.0
    """Work, in seconds at the present pace, that may wait for each model; 0 opens the gate for good."""
    burst: int = 24
    """Requests that may wait for each model however slow the machine is."""
    most: int = 256
    """Requests that may wait for each model however fast the machine is: their pixels take up to 7 MB each."""

    @classmethod
    def from_parameters(cls, parameters: Mapping[str, str], most: int | None = None) -> Settings:
        """Read ``max_wait_seconds`` and ``burst``; what is missing keeps its default.

        Args:
            parameters: Of the model.
            most: As above; None keeps the default.

        Raises:
            SetupError: A value is not a number of 0 or more.

        >>> Settings.from_parameters({"max_wait_seconds": "1.5"})
        Settings(max_wait_s=1.5, burst=24, most=256)
        """
        defaults = cls()
        return cls(
            _number(parameters, "max_wait_seconds", defaults.max_wait_s),
            int(_number(parameters, "burst", defaults.burst)),
            most or defaults.most,
        )


def _number(parameters: Mapping[str, str], name: str, default: float) -> float:
    text = parameters.get(name)
    if text is None:
        return default
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value < 1e6:
        raise SetupError(f"parameter {name}: expected a number of 0 or more, below 1000000, got {text!r}")
    return value


class Gate:
    """Lets a request in while what waits already can be answered in time. For one thread.

    It asks the server how many requests wait, but only once as many have gone on as it found room for, or after a
    while: an idle server is asked next to nothing.

    Args:
        settings: What to keep to.
        look: Asks the server; None of it if it does not tell of its queues.
        clock: Seconds that only grow.
    """

    def __init__(
        self, settings: Settings, look: Callable[[], Sample | None], *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._settings = settings
        self._look = look
        self._clock = clock
        self._sample: Sample | None = None
        self._looked = -math.inf
        self._taken = 0
        """Requests that have come here since the last look."""
        self._passed = 0
        """How many of them have gone on."""
        self._pace = _Pace()
        self._blind_until = -math.inf
        self._blind_looks = 0

    @property
    def pace(self) -> float | None:
        """Requests a second that are answered when there is always one waiting; None as long as that is not known."""
        return self._pace.value

    def admit(self, timeout_us: int = 0) -> None:
        """To be called before anything is done for a request.

        Args:
            timeout_us: What the caller says that it has, in microseconds; 0 if it says nothing. Half of it may be spent
                waiting: the rest is for the work, and for what was estimated wrongly.

        Raises:
            Overloaded: The request is one too many.
        """
        if self._old():
            self._see()
        if self._objection(timeout_us) and self._clock() - self._looked > _FRESH_S:
            self._see()
        self._taken += 1
        if sentence := self._objection(timeout_us):
            raise Overloaded(sentence)
        self._passed += 1

    def _objection(self, timeout_us: int) -> str | None:
        """What speaks against one more request, as far as is known; None if nothing does."""
        sample, pace = self._sample, self._pace.value
        if sample is None:
            return None
        waiting = sample.behind + self._passed
        if pace is not None:
            # Those in front of the first step come after this request, and there is no refusing the last of them: one
            # that has waited long is refused for their sake, since they have more of their deadlines left.
            waiting = max(waiting, sample.queued - self._taken)
        longest_s = self._settings.max_wait_s
        if pace is not None and timeout_us and waiting / pace > timeout_us / _US / 2:
            return (
                f"too many requests: {waiting} wait, {waiting / pace:.1f} s of work; expected at most half of the "
                f"{timeout_us / _US:g} s that this one has: {LATER}"
            )
        if waiting < min(self._settings.most, max(self._settings.burst, (pace or 0.0) * longest_s)):
            return None
        work = "" if pace is None else f", {waiting / pace:.1f} s of work"
        return f"too many requests: {waiting} wait{work}; expected at most {longest_s:g} s: {LATER}"

    def _old(self) -> bool:
        """Whether what was seen is to be seen anew, whatever it was."""
        return self._sample is None or (self._taken >= _ENOUGH and self._clock() - self._looked > _OLD_S)

    def _see(self) -> None:
        """Look. Where the queues cannot be seen the gate is open."""
        if not self._settings.max_wait_s or self._clock() < self._blind_until:
            return
        try:
            found = self._look()
        except MetricsUnreadable as error:
            self._blinded(str(error))
            return
        if found is None:
            self._blinded("the server's metrics do not tell how many requests wait")
            return
        self._blind_looks = 0
        before, self._sample = self._sample, found
        looked, self._looked = self._looked, self._clock()
        passed_s = self._looked - looked
        if before is not None and before.waiting and found.waiting and passed_s < _STALE_S:
            self._pace.add(found.done - before.done, passed_s)
        self._taken = self._passed = 0

    def _blinded(self, why: str) -> None:
        self._blind_until = self._clock() + _ASK_AGAIN_S
        self._sample = None
        self._blind_looks += 1
        # While a server starts its models are there before its metrics.
        if self._blind_looks == _WARN_AFTER:
            _LOGGER.warning("admission: %s", why)


class _Pace:
    """Requests a second over the last seconds in which there was always one waiting."""

    def __init__(self) -> None:
        self._requests = 0.0
        self._seconds = 0.0
        self._known = False

    @property
    def value(self) -> float | None:
        """None as long as too little is known."""
        return self._requests / self._seconds if self._known and self._requests else None

    def add(self, requests: int, seconds: float) -> None:
        """So many were answered in so many seconds."""
        if requests < 0 or seconds <= 0:  # the last step has been loaded anew, and counts from 0
            return
        kept = math.exp(-seconds / _MEMORY_S)
        self._requests = self._requests * kept + requests
        self._seconds = self._seconds * kept + seconds
        self._known = self._known or self._seconds >= _SURE_S
