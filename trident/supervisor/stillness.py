"""Whether processes do nothing: they use no processor, and do not wait for one either.

A process that gets no processor because others take it all looks idle by its processor time alone. Its threads say that
they want one.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Collection

from trident.supervisor import processes

_IDLE_SHARE = 0.01
"""Of a core, since the first look: what takes less does nothing for anybody."""
_WANTING_SHARE = 0.2
"""Of the looks; the threads of an idle process wake now and then as well."""
_SHORTEST_S = 0.9
"""Over less time it cannot be told."""


class Stillness:
    """Looks at processes from now on.

    Args:
        pids: Their process ids.
        clock: Gives seconds.
    """

    def __init__(self, pids: Collection[int], *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._began = clock()
        self._used = {pid: processes.cpu_seconds(pid) for pid in pids}
        self._wanting: Counter[int] = Counter()
        self._looks = 0

    def look(self) -> None:
        """Look at them all. To be called several times a second."""
        self._looks += 1
        for pid in self._used:
            self._wanting[pid] += processes.wants_processor(pid)

    @property
    def seconds(self) -> float:
        """Since it began to look."""
        return self._clock() - self._began

    @property
    def long_enough(self) -> bool:
        """Whether it can be told yet."""
        return self.seconds >= _SHORTEST_S

    def wants(self, pid: int) -> bool:
        """Whether one of them has often run or waited for a processor."""
        return self._wanting[pid] > _WANTING_SHARE * self._looks

    def idle(self, pid: int) -> bool:
        """Whether one of them has done nothing since the first look."""
        used = processes.cpu_seconds(pid) - self._used[pid]
        worked = used >= _IDLE_SHARE * self.seconds
        return not worked and not self.wants(pid)
