"""Servers side by side, each held to its cores, and what they take of the machine.

They are started from this process, as by the other benchmarks: the launcher of `trident serve` is not in the figures.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil  # type: ignore[import-untyped]
from tritonclient.grpc import InferenceServerClient

from benchmarks.served import own_server
from benchmarks.swaps.resources import Scale
from benchmarks.time_spent.processor import Processor
from trident.launcher import TritonServer


@dataclass(frozen=True, slots=True)
class Replica:
    """One server that answers."""

    url: str
    cpus: tuple[int, ...]
    """Processors of the system that it may use."""
    scale: Scale
    processor: Processor
    client: InferenceServerClient
    """For its statistics."""

    def memory_mb(self) -> dict[str, float]:
        """Proportional set size of each model's processes, and of Triton's own, in megabytes (10⁶ bytes)."""
        return self.processor.memory_mb()

    def held(self) -> bool:
        """Whether all of its processes may use its processors, and no other."""
        server = self.scale.server
        allowed = set()
        for process in [server, *server.children(recursive=True)]:
            with contextlib.suppress(psutil.Error):  # it has ended meanwhile
                allowed.add(tuple(sorted(process.cpu_affinity())))
        return allowed == {tuple(sorted(self.cpus))}


@contextmanager
def serving(repository: Path, parts: Sequence[tuple[int, ...]], folder: Path) -> Iterator[tuple[list[Replica], float]]:
    """Start a server for each part of the cores, all at the same time, and stop them after.

    Args:
        repository: What each of them serves.
        parts: The processors that each may use.
        folder: For the gallery, in which nobody is; to be there for as long as the servers run.

    Returns:
        The servers, and how many seconds it took until the last one answered.

    Raises:
        SetupError: One does not start.
    """
    servers = [own_server(folder, repository) for _ in parts]
    begun = time.monotonic()
    with ExitStack() as stack:
        pool = stack.enter_context(ThreadPoolExecutor(len(servers), thread_name_prefix="start"))
        stack.callback(_stop, servers)
        for start in [pool.submit(_start, server, cpus) for server, cpus in zip(servers, parts, strict=True)]:
            start.result()
        took_s = time.monotonic() - begun
        replicas = []
        for server, cpus in zip(servers, parts, strict=True):
            client = stack.enter_context(InferenceServerClient(server.grpc_url))
            name = str(server.name)
            replicas.append(Replica(server.grpc_url, cpus, Scale(name), Processor(name, repository), client))
        yield replicas, took_s


def _start(server: TritonServer, cpus: Sequence[int]) -> None:
    """Start a server from a thread that may use those processors only: what it starts inherits that."""
    os.sched_setaffinity(0, cpus)  # 0 is the calling thread, not the process
    server.start()


def _stop(servers: Sequence[TritonServer]) -> None:
    with ThreadPoolExecutor(len(servers), thread_name_prefix="stop") as pool:
        list(pool.map(TritonServer.stop, servers))
