"""What is measured: so many cores, so many servers on them, and how the servers share them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from benchmarks.ranges import check_range
from trident.errors import SetupError

AS_SERVED = "as served"
"""The variant that the repository itself is."""
CORES_OF_A_SERVER = 2
"""What one server of the project's networks keeps busy before its slowest part is: see ``docs/scaling.md``."""
_MOST_CORES, _MOST_SERVERS = 4096, 512
_SETUP = re.compile(r"(\d{1,4})(?:x(\d{1,3}))?(?::(shared|split))?")


class Layout(StrEnum):
    """How several servers share the cores."""

    SPLIT = "split"
    """Each has its own part."""
    SHARED = "shared"
    """Each may use all of them."""


@dataclass(frozen=True, slots=True)
class Setup:
    """One thing to measure."""

    cores: int
    servers: int = 1
    layout: Layout = Layout.SPLIT
    """Of one server alone always ``SPLIT``: its part is all of them."""
    variant: str = AS_SERVED
    """Of the repository."""

    def __post_init__(self) -> None:
        check_range("setup: cores", self.cores, 1, _MOST_CORES)
        check_range("setup: servers", self.servers, 1, _MOST_SERVERS)
        if self.layout is Layout.SPLIT and self.servers > self.cores:
            raise SetupError(
                f"setup: expected a core for each server, got {self.servers} servers on {self.cores} cores: let them "
                f"share the cores ({self.cores}x{self.servers}:shared)"
            )
        if self.layout is Layout.SHARED and self.servers == 1:
            raise SetupError("setup: expected several servers that share the cores, got one")

    @property
    def name(self) -> str:
        """For people.

        >>> Setup(4, 2, Layout.SHARED).name
        '4 cores, 2 servers that share them'
        """
        words = "1 core" if self.cores == 1 else f"{self.cores} cores"
        if self.servers == 1:
            words += ", 1 server"
        else:
            how = "share them" if self.layout is Layout.SHARED else "have a part each"
            words += f", {self.servers} servers that {how}"
        return words if self.variant == AS_SERVED else f"{words}, {self.variant}"

    @property
    def code(self) -> str:
        """As ``parse_setup`` reads it, and the variant.

        >>> Setup(4, 2, Layout.SHARED).code
        '4x2:shared'
        """
        words = f"{self.cores}" if self.servers == 1 else f"{self.cores}x{self.servers}"
        words += ":shared" if self.layout is Layout.SHARED else ""
        return words if self.variant == AS_SERVED else f"{words}, {self.variant}"

    @property
    def plain(self) -> bool:
        """Whether it is one server of the repository as it is."""
        return self.servers == 1 and self.variant == AS_SERVED

    def parts(self, cpus: Sequence[int]) -> list[tuple[int, ...]]:
        """Which of ``cpus`` each server may use; parts that cannot be equal differ by one.

        Raises:
            SetupError: There are too few.

        >>> Setup(5, 2).parts([0, 2, 4, 6, 1, 3])
        [(0, 2, 4), (6, 1)]
        """
        if len(cpus) < self.cores:
            raise SetupError(f"{self.name}: expected {self.cores} cores that this process may use, got {len(cpus)}")
        used = tuple(cpus[: self.cores])
        if self.layout is Layout.SHARED:
            return [used] * self.servers
        size, more = divmod(self.cores, self.servers)
        ends = [size * (number + 1) + min(number + 1, more) for number in range(self.servers)]
        return [used[begin:end] for begin, end in zip([0, *ends], ends, strict=False)]


def parse_setup(text: str) -> Setup:
    """Read ``CORES``, ``CORESxSERVERS`` or ``CORESxSERVERS:shared``. Raises SetupError.

    >>> parse_setup("4x2").parts([0, 1, 2, 3])
    [(0, 1), (2, 3)]
    """
    found = _SETUP.fullmatch(text.strip())
    if found is None:
        raise SetupError(f"setup: expected CORES, CORESxSERVERS or CORESxSERVERS:shared, as 4x2, got {text!r}")
    cores, servers, layout = found.groups()
    return Setup(int(cores), int(servers or 1), Layout(layout or Layout.SPLIT))


def core_counts(cores: int) -> list[int]:
    """1, 2, 4 … and all of them.

    >>> core_counts(12)
    [1, 2, 4, 8, 12]
    """
    counts = [2**power for power in range(cores.bit_length()) if 2**power < cores]
    return [*counts, cores]


def default_setups(cores: int, most_servers: int) -> list[Setup]:
    """What is measured on a machine, each once.

    One server on more and more cores; a server for every two cores; and, on all cores, two servers both ways.

    Args:
        cores: How many there are.
        most_servers: How many servers its memory holds.

    >>> [setup.name for setup in default_setups(2, 9)]
    ... # doctest: +NORMALIZE_WHITESPACE
    ['1 core, 1 server', '2 cores, 1 server', '2 cores, 2 servers that share them',
     '2 cores, 2 servers that have a part each']
    """
    counts = core_counts(cores)
    found = [Setup(count) for count in counts]
    found += [Setup(count, count // CORES_OF_A_SERVER) for count in counts if count >= 2 * CORES_OF_A_SERVER]
    if cores > 1:
        found += [Setup(cores, 2, Layout.SHARED), Setup(cores, 2)]
    return [setup for setup in dict.fromkeys(found) if setup.servers <= most_servers]


def order_of(setups: Sequence[Setup], number: int) -> list[Setup]:
    """The order of a round: forwards, then backwards, so that what drifts meets all of them alike."""
    return list(setups) if number % 2 == 0 else list(reversed(setups))


def siblings_of(cpu: int) -> str:
    """Which processors of the system are threads of the same core as this one; as good as alone if it does not say."""
    file = Path(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list")
    try:
        return file.read_text(encoding="ascii").strip()
    except OSError:
        return str(cpu)


def cores_first(cpus: Iterable[int], siblings: Callable[[int], str] = siblings_of) -> tuple[list[int], int]:
    """Processors in the order in which they are given out: one thread of each core, then the others.

    Args:
        cpus: Those that may be used.
        siblings: Names the core that one belongs to.

    Returns:
        All of them, and how many at the beginning are on cores of their own.

    >>> cores_first([0, 1, 2, 3], {0: "0-1", 1: "0-1", 2: "2-3", 3: "2-3"}.__getitem__)
    ([0, 2, 1, 3], 2)
    """
    ordered = sorted(cpus)
    first = list({siblings(cpu): cpu for cpu in reversed(ordered)}.values())
    first.sort()
    return [*first, *(cpu for cpu in ordered if cpu not in first)], len(first)
