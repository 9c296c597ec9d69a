"""The floor's side: processes that answer pictures without any server, and the clock that they are measured with.

``multiprocessing`` starts them afresh (no fork), so that neither networks nor threads are inherited.
"""

from __future__ import annotations

import contextlib
import ctypes
import multiprocessing
import os
import signal
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from multiprocessing.sharedctypes import Synchronized
from pathlib import Path
from types import TracebackType
from typing import Self

from benchmarks.pipeline import Pipeline, RunError
from trident.background import SERVER_VARIABLES
from trident.errors import InvalidInput, SetupError, TridentError

_BRANCH_THREADS = 4
"""Networks of one picture that can be busy at once: classifier, detector, and the recognizer's two ways."""
_END_S = 10.0


@dataclass(frozen=True, slots=True)
class Variant:
    """One way of doing the work without a server."""

    name: str
    processes: int = 1
    threads: int = 1
    """Pictures at a time in each process."""
    side_by_side: bool = False
    """Whether the branches of one picture run in threads of their own."""
    network_threads: int | None = None
    """Threads inside each network; None for the configured number, one."""


@dataclass(frozen=True, slots=True)
class Job:
    """What all variants work on."""

    repository: Path
    """The model repository; it is only read."""
    gallery_url: str
    """The gallery, read once at the start."""
    pictures: Mapping[str, bytes]
    """Encoded pictures by name."""


@dataclass(frozen=True, slots=True)
class Done:
    """What one process has done of a block."""

    spans: tuple[tuple[int, float, float], ...]
    """Number of the picture in the block, and when it was begun and done: seconds of the machine's monotonic clock."""
    cpu_s: float
    """Processor time of the whole process."""
    answers: dict[str, bytes]
    """The last ``RESULT`` of each picture that it answered."""


@dataclass(frozen=True, slots=True)
class Block:
    """What all processes together have done of a block."""

    latencies_ms: tuple[float, ...]
    """In the order of the pictures."""
    elapsed_s: float
    """From the begin of the first picture to the end of the last."""
    cpu_s: float
    answers: dict[str, bytes]

    @property
    def rate(self) -> float:
        """Pictures a second."""
        return len(self.latencies_ms) / self.elapsed_s


def joined(parts: Sequence[Done]) -> Block:
    """The parts of all processes as one block. Raises ValueError if none of them did anything."""
    spans = sorted(span for part in parts for span in part.spans)
    return Block(
        tuple(1000 * (done - begun) for _, begun, done in spans),
        max(done for _, _, done in spans) - min(begun for _, begun, _ in spans),
        sum(part.cpu_s for part in parts),
        {name: answer for part in parts for name, answer in part.answers.items()},
    )


class Floor:
    """The processes of one variant, as a context manager. Between blocks they wait, and take no processor time.

    Args:
        variant: How they work.
        job: What on.
    """

    def __init__(self, variant: Variant, job: Job) -> None:
        self.variant = variant
        self._job = job
        self._processes: list[BaseProcess] = []
        self._connections: list[Connection] = []
        context = multiprocessing.get_context("spawn")
        self._taken: Synchronized[int] = context.Value(ctypes.c_int, 0)
        self._context = context

    def __enter__(self) -> Self:
        try:
            for _ in range(self.variant.processes):
                ours, theirs = self._context.Pipe()
                process = self._context.Process(
                    target=work, args=(theirs, self._taken, self.variant, self._job), daemon=True
                )
                with _server_variables():
                    process.start()
                theirs.close()  # or its end would not be seen here
                self._processes.append(process)
                self._connections.append(ours)
            for connection in self._connections:
                self._receive(connection)
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def pids(self) -> list[int]:
        """The processes."""
        return [process.pid for process in self._processes if process.pid is not None]

    def close(self) -> None:
        """End the processes, which they do by themselves once nobody can ask them any more."""
        while self._connections:
            self._connections.pop().close()
        while self._processes:
            process = self._processes.pop()
            process.join(_END_S)
            if process.is_alive():
                process.kill()
                process.join()
            process.close()

    def block(self, order: Sequence[str]) -> Block:
        """Have pictures answered, as fast as the variant can.

        Args:
            order: Their names, at least one. The processes and threads take the next one whenever they are free.

        Raises:
            SetupError: A picture cannot be served, a network failed, or a process has ended.
        """
        if not order:
            raise SetupError("floor: block: expected the name of at least one picture, got none")
        self._taken.value = 0
        for connection in self._connections:
            with contextlib.suppress(OSError):  # it has ended: receiving says so
                connection.send(tuple(order))
        parts = [self._receive(connection) for connection in self._connections]
        return joined([part for part in parts if part is not None])

    @staticmethod
    def _receive(connection: Connection) -> Done | None:
        try:
            said = connection.recv()
        except (EOFError, OSError):
            raise SetupError("floor: a process of it has ended by itself; what it printed says why") from None
        if isinstance(said, str):
            raise SetupError(f"floor: {said}")
        if said is not None and not isinstance(said, Done):
            raise TypeError(f"floor: expected what was done, got {type(said).__name__}")
        return said


@contextlib.contextmanager
def _server_variables() -> Iterator[None]:
    """Hand on to processes what the launcher hands on to the server's: the same allocator, as many threads."""
    missing = [name for name in SERVER_VARIABLES if name not in os.environ]
    os.environ.update({name: SERVER_VARIABLES[name] for name in missing})
    try:
        yield
    finally:
        for name in missing:
            del os.environ[name]


def work(connection: Connection, taken: Synchronized[int], variant: Variant, job: Job) -> None:
    """One process: says None once it is ready, then answers each order of pictures with a ``Done``, until nobody asks.

    Args:
        connection: To the one who orders.
        taken: How many pictures of the order have been begun, by all processes together.
        variant: How to work.
        job: What on.
    """
    # Ctrl-C goes to all processes of a terminal; who ordered is told, and then closes the connection.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # As the launcher does with the server: where Linux shares the cores out by session (autogroup), neither side is
    # counted among what else runs in the terminal.
    os.setsid()
    try:
        with (
            Pipeline(job.repository, intra_op_threads=variant.network_threads, gallery_url=job.gallery_url) as pipeline,
            ThreadPoolExecutor(_BRANCH_THREADS) as branches,
            ThreadPoolExecutor(variant.threads) as callers,
        ):
            connection.send(None)
            worker = _Worker(variant, pipeline, branches, callers, taken, job.pictures)
            while True:
                connection.send(worker.answer(connection.recv()))
    except (TridentError, RunError) as error:
        connection.send(str(error))
    except (EOFError, BrokenPipeError):
        return


@dataclass(frozen=True, slots=True)
class _Worker:
    variant: Variant
    pipeline: Pipeline
    branches: Executor
    callers: Executor
    taken: Synchronized[int]
    pictures: Mapping[str, bytes]

    def answer(self, order: Sequence[str]) -> Done:
        answers: dict[str, bytes] = {}

        def turn(_: int) -> list[tuple[int, float, float]]:
            """One caller: takes the next picture as long as there is one."""
            spans = []
            while (number := self._next()) < len(order):
                begun = time.monotonic()
                answers[order[number]] = self._one(order[number])
                spans.append((number, begun, time.monotonic()))
            return spans

        begun_s = time.process_time()
        count = self.variant.threads
        # One caller needs no thread of its own.
        turns = [turn(0)] if count == 1 else list(self.callers.map(turn, range(count)))
        return Done(tuple(span for spans in turns for span in spans), time.process_time() - begun_s, answers)

    def _next(self) -> int:
        with self.taken.get_lock():
            self.taken.value += 1
            return self.taken.value - 1

    def _one(self, name: str) -> bytes:
        picture = self.pictures[name]
        try:
            if self.variant.side_by_side:
                return self.pipeline.analyze_parallel(picture, self.branches)
            return self.pipeline.analyze(picture)
        except InvalidInput as error:
            raise InvalidInput(f"{name} cannot be served: {error}") from error
