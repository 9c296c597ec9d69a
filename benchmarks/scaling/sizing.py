"""The arithmetic of a service's size: from what one server takes to what so many pictures a second need."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from benchmarks.ranges import check_range
from benchmarks.scaling.inputs import Inputs
from benchmarks.time_spent.processor import SERVER
from trident.contract import CANVAS_PIXELS, NETWORKS, SCENE_PIXELS
from trident.errors import SetupError

EMBEDDING_BYTES = 4096
"""Of a face in the gallery: 1,024 numbers of 4 bytes."""
TRANSACTIONS_OF_A_LOOK = 2
"""By which a recognizer learns whether the gallery has changed: is it there, and its stamp."""
GPU_CALLS = 1187.0
"""Pictures of 640 × 640 a second that a detector of 11 GFLOP takes on one NVIDIA T4: YOLOv6-N with TensorRT in FP16,
batches of 32, as its authors publish it (https://github.com/meituan/YOLOv6, "Benchmark"). Not measured here, not these
networks, not this runtime: it stands for the order of magnitude."""


@dataclass(frozen=True, slots=True)
class Wish:
    """What a service has to do."""

    pictures: float
    """A second, when it is busiest."""
    p99_ms: float = 1000.0
    """Which of 99 % of the answers come in less."""
    zones: int = 3
    """Places that fail one at a time; 1 for no such thing."""
    machine_cores: int = 64
    """Of the machines to be had."""
    embeddings: int = 10_000
    """In the gallery."""
    poll_s: float = 1.0
    """How often each recognizer looks whether the gallery has changed: ``gallery_poll_seconds``."""
    clients: int = 100
    """Processes that ask, each with connections of its own."""

    def __post_init__(self) -> None:
        for name, low, high in (
            ("pictures", 0.001, 1e9),
            ("p99_ms", 1, 1e6),
            ("zones", 1, 100),
            ("machine_cores", 1, 4096),
            ("embeddings", 0, 1e9),
            ("poll_s", 0.1, 86_400),
            ("clients", 1, 1e7),
        ):
            check_range(f"size: {name}", getattr(self, name), low, high)


@dataclass(frozen=True, slots=True)
class Line:
    """One step of the arithmetic."""

    what: str
    value: str
    how: str


@dataclass(frozen=True, slots=True)
class Sizing:
    """What a service needs. All of it follows from the inputs and the wish."""

    inputs: Inputs
    wish: Wish
    share: float
    """Of a server's saturated rate that it is loaded with."""

    @property
    def of_a_server(self) -> float:
        """Pictures a second that one server gets."""
        return self.inputs.rate * self.share

    @property
    def working(self) -> int:
        """Servers that the load needs."""
        return math.ceil(self.wish.pictures / self.of_a_server - 1e-9)

    @property
    def in_a_zone(self) -> int:
        """Servers in each zone, so that the others carry the load without it."""
        return math.ceil(self.working / max(1, self.wish.zones - 1))

    @property
    def servers(self) -> int:
        """All of them."""
        return self.in_a_zone * self.wish.zones

    @property
    def cores(self) -> int:
        """Of all servers."""
        return self.servers * self.inputs.cores

    @property
    def machines(self) -> int:
        """That hold these servers, each as many as fit; at least one in each zone."""
        fit = self.wish.machine_cores // self.inputs.cores
        if not fit:
            raise SetupError(
                f"machine: expected at least the {self.inputs.cores} cores of one server, got {self.wish.machine_cores}"
            )
        return self.wish.zones * math.ceil(self.in_a_zone / fit)

    @property
    def server_memory_mb(self) -> float:
        """Of one server with two versions of its largest component, and the gallery in each of its recognizers."""
        gallery_mb = self.inputs.recognizers * self.wish.embeddings * EMBEDDING_BYTES / 1e6
        return self.inputs.memory_mb + self.inputs.second_version_mb + gallery_mb

    @property
    def gallery_connections(self) -> int:
        """To its database: each recognizer keeps one."""
        return self.servers * self.inputs.recognizers

    @property
    def component_shares(self) -> dict[str, float]:
        """Of the processor time, the greatest first."""
        whole = sum(self.inputs.component_ms.values())
        shares = {name: ms / whole for name, ms in self.inputs.component_ms.items()}
        return dict(sorted(shares.items(), key=lambda one: -one[1]))

    @property
    def on_processors_ms(self) -> float:
        """Processor time for an answer that no GPU takes over: everything but the networks."""
        rest = sum(share for name, share in self.component_shares.items() if name not in NETWORKS)
        return self.inputs.processor_ms * rest

    @property
    def gpus(self) -> int:
        """If each did as many networks' calls on a canvas as the published figure says, loaded like the servers."""
        return math.ceil(self.wish.pictures * self.inputs.canvas_calls / (GPU_CALLS * self.share) - 1e-9)

    def lines(self) -> Iterator[Line]:
        """The arithmetic, step by step."""
        wish, inputs = self.wish, self.inputs
        asked = number(wish.pictures)
        yield Line(
            "load of a server",
            f"{self.share:.2f} × saturated",
            f"up to there the measured curve's p99 is within {wish.p99_ms:,.0f} ms",
        )
        yield Line(
            "a server answers",
            f"{self.of_a_server:.2f} /s",
            f"{inputs.rate:.2f} /s saturated, on {inputs.cores} cores, × {self.share:.2f}",
        )
        yield Line("servers at work", number(self.working), f"{asked} /s ÷ {self.of_a_server:.2f} /s, rounded up")
        if wish.zones > 1:
            how = (
                f"{wish.zones} zones × {number(self.in_a_zone)}, so that {wish.zones - 1} of them carry "
                f"{number(self.working)}"
            )
        else:
            how = "no spare: one zone"
        yield Line("servers in all", number(self.servers), how)
        busy = wish.pictures * inputs.processor_ms / 1000
        yield Line("cores kept busy", number(busy), f"{asked} /s × {inputs.processor_ms:.0f} ms of processor time")
        yield Line(
            "cores in all",
            number(self.cores),
            f"{number(self.servers)} servers × {inputs.cores}; {busy / self.cores:.0%} of them busy",
        )
        yield Line(
            "machines",
            number(self.machines),
            f"of {wish.machine_cores} cores, {wish.machine_cores // inputs.cores} servers on each, zone by zone",
        )
        yield from self._memory()
        yield from self._network()
        yield from self._gallery()
        yield Line(
            "gRPC connections",
            number(wish.clients * self.servers),
            f"{number(wish.clients)} clients × {number(self.servers)} servers, where clients balance by themselves",
        )
        yield Line(
            "to replace all servers",
            _time(self.servers * inputs.start_s),
            f"{number(self.servers)} × {inputs.start_s:.1f} s until one answers, one after the other",
        )
        yield from self._with_gpus()

    def _memory(self) -> Iterator[Line]:
        inputs, gallery_mb = self.inputs, self.inputs.recognizers * self.wish.embeddings * EMBEDDING_BYTES / 1e6
        yield Line(
            "memory of a server",
            f"{self.server_memory_mb / 1000:.2f} GB",
            f"{inputs.memory_mb:.0f} MB + {inputs.second_version_mb:.0f} a second version + {gallery_mb:.0f} gallery",
        )
        yield Line(
            "memory in all",
            f"{number(self.servers * self.server_memory_mb / 1000)} GB",
            f"{number(self.servers)} × {self.server_memory_mb / 1000:.2f} GB",
        )

    def _network(self) -> Iterator[Line]:
        asked = number(self.wish.pictures)
        for what, size in (("pictures in", self.inputs.request_bytes), ("answers out", self.inputs.answer_bytes)):
            yield Line(what, _bits(8 * self.wish.pictures * size), f"{asked} /s × {size / 1000:.1f} kB × 8")

    def _gallery(self) -> Iterator[Line]:
        wish, connections = self.wish, self.gallery_connections
        yield Line(
            "gallery: connections",
            number(connections),
            f"{number(self.servers)} servers × {self.inputs.recognizers} recognizers",
        )
        yield Line(
            "gallery: transactions",
            f"{number(connections * TRANSACTIONS_OF_A_LOOK / wish.poll_s)} /s",
            f"{number(connections)} × {TRANSACTIONS_OF_A_LOOK} ÷ {wish.poll_s:g} s",
        )
        size_mb = wish.embeddings * EMBEDDING_BYTES / 1e6
        yield Line(
            "gallery: after a change",
            f"{number(connections * size_mb / 1000)} GB",
            f"{number(connections)} × {number(wish.embeddings)} embeddings × {EMBEDDING_BYTES:,} bytes, read by all",
        )

    def _with_gpus(self) -> Iterator[Line]:
        wish, inputs = self.wish, self.inputs
        asked, left_ms = number(wish.pictures), self.on_processors_ms
        yield Line(
            "with GPUs: cores busy",
            number(wish.pictures * left_ms / 1000),
            f"{asked} /s × {left_ms:.0f} ms: all but the networks, {left_ms / inputs.processor_ms:.0%} of the whole",
        )
        yield Line(
            "with GPUs: GPUs at work",
            number(self.gpus),
            f"{asked} /s × {inputs.canvas_calls:.1f} calls ÷ ({GPU_CALLS:,.0f} /s published × {self.share:.2f})",
        )

    def component_lines(self) -> Iterator[Line]:
        """The same by component, as if each had servers of its own."""
        wish, inputs = self.wish, self.inputs
        for name, share in self.component_shares.items():
            ms = inputs.processor_ms * share
            label = "Triton itself" if name == SERVER else name
            yield Line(
                label, f"{number(wish.pictures * ms / 1000)} cores", f"{number(wish.pictures)} /s × {ms:.1f} ms, busy"
            )
        canvas, scene = (math.prod(spec.dims) for spec in (CANVAS_PIXELS, SCENE_PIXELS))
        calls = inputs.canvas_calls
        yield Line(
            "pixels between them",
            _bits(8 * wish.pictures * (calls * canvas + scene)),
            f"{number(wish.pictures)} /s × ({calls:.1f} × {canvas / 1e6:.2f} MB + {scene / 1e6:.2f} MB) × 8",
        )


def size(inputs: Inputs, wish: Wish) -> Sizing:
    """Size a service. Raises SetupError where no load of a server keeps p99 that low, or no server fits a machine."""
    sizing = Sizing(inputs, wish, inputs.share_at(wish.p99_ms))
    _ = sizing.machines
    return sizing


def number(value: float) -> str:
    """With thousands apart; small ones with the digits that say something.

    >>> number(12345.6), number(254.0), number(2.54), number(7)
    ('12,346', '254', '2.5', '7')
    """
    if value >= 100 or float(value).is_integer():
        return f"{value:,.0f}"
    return f"{value:,.1f}" if value >= 1 else f"{value:.2g}"


def _bits(a_second: float) -> str:
    """Bits a second, in a unit that leaves few digits.

    >>> _bits(3.2e6), _bits(2.5e9), _bits(4.1e12)
    ('3.2 Mbit/s', '2.5 Gbit/s', '4.1 Tbit/s')
    """
    for scale, unit in ((1e12, "Tbit/s"), (1e9, "Gbit/s"), (1e6, "Mbit/s")):
        if a_second >= scale:
            return f"{number(a_second / scale)} {unit}"
    return f"{number(a_second / 1e3)} kbit/s"


def _time(seconds: float) -> str:
    """A duration, in a unit that leaves few digits.

    >>> _time(42.0), _time(600.0), _time(30_000.0)
    ('42 s', '10 min', '8.3 h')
    """
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{number(round(seconds / 60))} min" if seconds < 7200 else f"{number(seconds / 3600)} h"
