"""How soon to try again: at once at first, later and later for what fails again and again."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(slots=True)
class _Tries:
    at: deque[float] = field(default_factory=deque)
    """When the latest ones were, seconds of the clock."""
    level: int = 0
    """How often in a row the budget was found used up."""


class Backoff:
    """Allows ``budget`` tries in a window at once, and 1, 2, 4 … seconds after each other from then on.

    It is back to the beginning once a whole window has passed without a try. It never says never.

    Args:
        budget: Tries in a window that need not wait.
        window_s: Length of the window in seconds.
        first_s: The first wait.
        most_s: The longest.
        clock: Gives seconds.
    """

    def __init__(
        self,
        budget: int = 5,
        window_s: float = 60.0,
        *,
        first_s: float = 1.0,
        most_s: float = 30.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._budget = budget
        self._window_s = window_s
        self._first_s = first_s
        self._most_s = most_s
        self._clock = clock
        self._tries: dict[str, _Tries] = {}

    def note(self, what: str) -> None:
        """Something is tried now."""
        tries = self._recent(what)
        if len(tries.at) >= self._budget:
            tries.level += 1
        tries.at.append(self._clock())

    def wait_s(self, what: str) -> float:
        """How long to wait from now until something may be tried again; 0 if it need not wait."""
        tries = self._recent(what)
        if len(tries.at) < self._budget:
            return 0.0
        pause = min(self._most_s, self._first_s * 2.0 ** min(tries.level, 30))
        return max(0.0, tries.at[-1] + pause - self._clock())

    def used_up(self, what: str) -> bool:
        """Whether the budget is used up, so that tries have to wait."""
        return len(self._recent(what).at) >= self._budget

    def _recent(self, what: str) -> _Tries:
        tries = self._tries.setdefault(what, _Tries())
        now = self._clock()
        if tries.at and now - tries.at[-1] > self._window_s:
            tries.at.clear()
            tries.level = 0
        # Once it waits, it goes on waiting until there is quiet: long pauses must not look like few tries.
        while tries.level == 0 and tries.at and now - tries.at[0] > self._window_s:
            tries.at.popleft()
        while len(tries.at) > self._budget:
            tries.at.popleft()
        return tries
