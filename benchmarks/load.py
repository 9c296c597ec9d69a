"""A load of requests for a running server, from a process of its own: ``python -m benchmarks.load --help``.

Open loop: requests are sent when they are planned, whether the earlier ones have been answered or not, as the outside
world does. Closed loop: a number of callers, each of whom asks again once answered; that finds the saturated rate.

Every request is one line of the records that ``benchmarks.answers`` reads. Nothing is retried: what failed, failed.
"""

from __future__ import annotations

import asyncio
import ipaddress
import json
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TextIO
from urllib.parse import urlsplit

import click
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from benchmarks.answers import BAD_ANSWER, NOT_SENT, OK, Answers, failures, latencies, read_answers, summarise
from benchmarks.ranges import check_range
from benchmarks.transport import Failed, Grpc, Transport
from trident.contract import ENSEMBLE
from trident.errors import SetupError
from trident_client.errors import SettingsError
from trident_client.settings import address

LONGEST_S = 4 * 3600.0
"""No load runs longer."""
MOST_REQUESTS = 1_000_000
_MESSAGE_LENGTH = 300


class Arrivals(StrEnum):
    """How requests of an open loop follow each other."""

    POISSON = "poisson"
    """Independent of each other, as many callers are."""
    FIXED = "fixed"
    """At equal distances."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What a load does: an open loop with a ``rate``, a closed one with ``workers``."""

    seconds: float
    """After so long nothing more is sent."""
    rate: float | None = None
    """Requests a second of an open loop."""
    workers: int | None = None
    """Callers of a closed loop."""
    requests: int = MOST_REQUESTS
    """Nor after so many."""
    arrivals: Arrivals = Arrivals.POISSON
    seed: int = 0
    timeout_s: float = 30.0
    """Deadline of one request."""
    most_in_flight: int = 500
    """What is planned beyond that is not sent, and counts as failed."""
    model: str = ENSEMBLE
    form: str | None = None
    """Over HTTP: the field of a form that carries the picture; without one it is the body."""

    def __post_init__(self) -> None:
        if (self.rate is None) == (self.workers is None):
            raise SetupError("load: expected either a rate or a number of workers, got both or neither")
        check_range("load: rate", self.rate, 0.001, 10_000)
        check_range("load: workers", self.workers, 1, 1000)
        check_range("load: seconds", self.seconds, 0.1, LONGEST_S)
        check_range("load: requests", self.requests, 1, MOST_REQUESTS)
        check_range("load: timeout_s", self.timeout_s, 0.01, 3600)
        check_range("load: most_in_flight", self.most_in_flight, 1, 100_000)


def arrival_times(plan: Plan, begin: float) -> Iterator[float]:
    """The planned moments of an open loop, from ``begin`` on, at most ``plan.requests`` within ``plan.seconds``."""
    if plan.rate is None:
        raise SetupError("load: expected a rate for an open loop, got none")
    chance = random.Random(plan.seed)  # noqa: S311 - no secret
    moment = begin
    for number in range(plan.requests):
        if plan.arrivals is Arrivals.POISSON:
            moment += chance.expovariate(plan.rate)
        else:
            moment = begin + number / plan.rate  # a sum would drift
        if moment > begin + plan.seconds:
            return
        yield moment


def drawn_pictures(names: Iterable[str], seed: int) -> Iterator[str]:
    """Which picture a load with that seed sends first, which second, and so on without end."""
    ordered = sorted(names)
    chance = random.Random(seed + 1)  # noqa: S311 - no secret
    while True:
        yield chance.choice(ordered)


class Generator:
    """Sends the load of one plan. To be made and used on one event loop.

    Args:
        url: ``host:port`` of a gRPC server, or ``http://…`` of what takes pictures by POST.
        pictures: Encoded pictures by name; which one is sent is drawn by the plan's seed.
        plan: What to do.
        sink: Takes one line a request.
        clock: Seconds that only grow.
    """

    def __init__(
        self,
        url: str,
        pictures: dict[str, bytes],
        plan: Plan,
        sink: TextIO,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if not pictures:
            raise SetupError("load: expected at least one picture, got none")
        self._plan = plan
        self._sink = sink
        self._clock = clock
        self._stopped = asyncio.Event()
        self._in_flight: set[asyncio.Task[None]] = set()
        self._number = 0
        self._transport = transport_to(url, plan)
        # Written out once, so that sending costs next to nothing.
        self._requests = {name: self._transport.encode(data) for name, data in pictures.items()}
        self._drawn = drawn_pictures(pictures, plan.seed)

    def stop(self) -> None:
        """Send nothing more; what is in flight is still recorded."""
        self._stopped.set()

    async def run(self) -> None:
        """Send everything, and return when the last request has been answered.

        Raises:
            SetupError: No server answers.
        """
        try:
            await self._transport.connect()
            begin = time.time()
            self._write({**asdict(self._plan), "begin": begin, "unix_minus_monotonic": begin - self._clock()})
            await (self._open() if self._plan.rate is not None else self._closed())
            await asyncio.gather(*self._in_flight)
        finally:
            await self._transport.close()

    async def _open(self) -> None:
        for planned in arrival_times(self._plan, self._clock()):
            if await self._stopped_before(planned):
                return
            number, name, request = self._next()
            if len(self._in_flight) >= self._plan.most_in_flight:
                now = self._clock()
                begun = {"number": number, "picture": name, "planned": planned, "sent": now}
                self._record(begun, now, NOT_SENT, f"{len(self._in_flight)} were in flight")
                continue
            task = asyncio.create_task(self._ask(number, name, request, planned))
            self._in_flight.add(task)
            task.add_done_callback(self._in_flight.discard)

    async def _closed(self) -> None:
        end = self._clock() + self._plan.seconds

        async def caller() -> None:
            while self._clock() < end and self._number < self._plan.requests and not self._stopped.is_set():
                await self._ask(*self._next(), self._clock())

        await asyncio.gather(*(caller() for _ in range(self._plan.workers or 0)))

    async def _stopped_before(self, moment: float) -> bool:
        """Wait until ``moment``; true if the load was stopped before."""
        left = moment - self._clock()
        if left > 0:
            try:
                await asyncio.wait_for(self._stopped.wait(), left)
            except TimeoutError:
                return False
        return self._stopped.is_set()

    def _next(self) -> tuple[int, str, bytes]:
        self._number += 1
        name = next(self._drawn)
        return self._number - 1, name, self._requests[name]

    async def _ask(self, number: int, name: str, request: bytes, planned: float) -> None:
        begun = {"number": number, "picture": name, "planned": planned, "sent": self._clock()}
        try:
            response = await self._transport.ask(request, self._plan.timeout_s)
        except Failed as failed:
            self._record(begun, self._clock(), failed.code, failed.message)
            return
        done = self._clock()  # before reading: that is not the server's time
        try:
            models = _models(self._transport.result(response))
        except Failed as failed:
            self._record(begun, done, failed.code, failed.message)
        except (ValueError, LookupError, TypeError) as error:
            self._record(begun, done, BAD_ANSWER, repr(error))
        else:
            self._write({**begun, "done": done, "code": OK, "models": models})

    def _record(self, begun: dict[str, Any], done: float, code: str, message: str) -> None:
        self._write({**begun, "done": done, "code": code, "message": " ".join(message.split())[:_MESSAGE_LENGTH]})

    def _write(self, line: dict[str, Any]) -> None:
        self._sink.write(json.dumps(line, ensure_ascii=False) + "\n")


def transport_to(url: str, plan: Plan) -> Transport:
    """How a load asks what is at ``url``: ``http://…`` means HTTP, all else gRPC."""
    if url.startswith("http://"):
        from benchmarks.peers.ask import Http  # noqa: PLC0415 - only who asks over HTTP needs its library

        return Http(url, plan.form)
    return Grpc(url, plan.model)


def _models(text: bytes) -> dict[str, Any]:
    """What ``RESULT`` says of the models. Raises ValueError, LookupError or TypeError if it is no answer."""
    result = json.loads(text)
    if result["schema"] != 1 or not result["models"]:
        raise ValueError(f"expected schema 1 and models, got {result['schema']!r} and {result['models']!r}")
    return dict(result["models"])


def check_loopback(url: str) -> None:
    """Raise SetupError unless the address is this machine's own."""
    if url.startswith("http://"):
        host = urlsplit(url).hostname or ""
    else:
        target = address(url).target
        host = "localhost" if target.startswith("unix:") else target.rpartition(":")[0].strip("[]")
    if host == "localhost":
        return
    try:
        if ipaddress.ip_address(host).is_loopback:
            return
    except ValueError:
        pass
    raise SetupError(
        f"url: expected this machine (127.0.0.1:8001), got {url!r}: others are loaded only with their owner's leave, "
        "by the commands that have --remote"
    )


class Load:
    """A load in a process of its own, so that it does not share an interpreter with what it measures.

    It ends when its plan is through, when ``stop`` is called, or when this process ends.
    """

    def __init__(self, url: str, pictures: Sequence[Path], plan: Plan, file: Path) -> None:
        self.file = file
        # A file, not a pipe: gRPC may have much to say, and nobody reads before the end.
        self._errors = file.with_suffix(".log")
        options = [
            *("--url", url, "--out", str(file), "--seconds", str(plan.seconds), "--requests", str(plan.requests)),
            *("--arrivals", plan.arrivals, "--seed", str(plan.seed), "--timeout", str(plan.timeout_s)),
            *("--most-in-flight", str(plan.most_in_flight), "--model", plan.model),
            *(("--workers", str(plan.workers)) if plan.rate is None else ("--rate", str(plan.rate))),
            *(() if plan.form is None else ("--form", plan.form)),
        ]
        self._command = [sys.executable, "-m", "benchmarks.load", "--while-input", *options, *map(str, pictures)]
        self._process: subprocess.Popen[bytes] | None = None
        self._counted, self._offset = 0, 0

    def __enter__(self) -> Self:
        with self._errors.open("w", encoding="utf-8") as errors:
            self._process = subprocess.Popen(
                self._command,
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=errors,
                cwd=Path(__file__).parents[1],
            )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        process = self._running()
        if process.stdin is not None:
            process.stdin.close()
        try:
            process.wait(timeout=1)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    @property
    def pid(self) -> int:
        """The process."""
        return self._running().pid

    @property
    def running(self) -> bool:
        """Whether it has not come to its end."""
        return self._running().poll() is None

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise RuntimeError("the load has not been started: use `with`")
        return self._process

    def count(self) -> int:
        """How many requests have been answered, or have failed, so far.

        Raises:
            SetupError: The process has ended with an error.
        """
        process = self._running()
        if process.poll() not in (None, 0):
            raise SetupError(f"the load ended by itself: {self._said()}")
        if self.file.is_file():
            with self.file.open("rb") as file:
                file.seek(self._offset)
                new = file.read()
            self._offset += len(new)
            self._counted += new.count(b"\n")
        return max(0, self._counted - 1)  # the first line says what the load is

    def stop(self) -> Answers:
        """Let it come to its end early: nothing more is sent. Gives all records."""
        process = self._running()
        if process.stdin is not None:
            process.stdin.close()
        return self.wait()

    def wait(self) -> Answers:
        """Wait for its end, and give all records.

        Raises:
            SetupError: It failed.
        """
        process = self._running()
        if process.wait() != 0:
            raise SetupError(f"the load failed: {self._said()}")
        return read_answers(self.file)

    def _said(self) -> str:
        return self._errors.read_text(encoding="utf-8", errors="replace").strip()


def saturated_rate(answers: Answers, *, leave_out_s: float) -> float:
    """Answers a second of a closed loop, without its first ``leave_out_s`` seconds.

    Raises:
        SetupError: Something failed, or nothing is left.
    """
    if failed := failures(answers.records):
        raise SetupError(f"a request of the closed loop failed with {failed[0].code}: {failed[0].message}")
    begin = min(answer.sent for answer in answers.records) + leave_out_s if answers.records else 0.0
    done = sorted(answer.done for answer in answers.records if answer.done >= begin)
    if len(done) < 2:
        raise SetupError("the closed loop is too short to measure a rate: give it more seconds")
    return (len(done) - 1) / (done[-1] - done[0])


def send_all(url: str, pictures: Sequence[Path], file: Path, plan: Plan) -> Answers:
    """Send a load from a process of its own, and wait for its end; its records are kept in ``file``."""
    with Load(url, pictures, plan, file) as load:
        return load.wait()


def find_saturation(
    send: Callable[[Plan], Answers],
    tell: Callable[[str], None],
    *,
    seconds: float,
    callers: int,
    seed: int,
    warm_s: float,
) -> float:
    """Answers a second when there is always a request waiting.

    Args:
        send: Makes a load, and waits for its end.
        tell: Is told what came of it, in a line.
        seconds: How long it is measured.
        callers: Who wait for their answers.
        seed: Of the choice of pictures.
        warm_s: What comes before, and does not count.

    Raises:
        SetupError: A request failed, or it was too short.
    """
    answers = send(Plan(seconds=warm_s + seconds, workers=callers, seed=seed))
    rate = saturated_rate(answers, leave_out_s=warm_s)
    tell(f"Saturated at {rate:.2f} requests a second, with {callers} callers.")
    return rate


async def _input_ended() -> None:
    """Return once standard input is closed."""
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while await reader.read(1024):
        pass


async def _run(url: str, pictures: dict[str, bytes], plan: Plan, sink: TextIO, *, while_input: bool) -> None:
    await run_generator(Generator(url, pictures, plan, sink), while_input=while_input)


async def run_generator(generator: Generator, *, while_input: bool) -> None:
    """Run a generator to its end, which a signal brings about and, if so wanted, the end of standard input."""
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, generator.stop)

    async def stop_with_input() -> None:
        await _input_ended()
        generator.stop()

    watching = asyncio.create_task(stop_with_input()) if while_input else None
    try:
        await generator.run()
    finally:
        if watching is not None:
            watching.cancel()


def _table(answers: Answers) -> Table:
    """What came of it."""
    shown = Table(title=f"{len(answers.records)} requests", title_justify="left")
    for heading in ("", "requests", "p50 ms", "p95 ms", "p99 ms", "worst ms"):
        shown.add_column(heading, justify="left" if not heading else "right")
    figures = summarise(latencies(answers.records))
    if figures is not None:
        numbers = (f"{value:.0f}" for value in (figures.p50, figures.p95, figures.p99, figures.worst))
        shown.add_row("answered", str(figures.count), *numbers)
    failed = failures(answers.records)
    for code in sorted({answer.code for answer in failed}):
        shown.add_row(f"[red]{code}[/]", str(sum(answer.code == code for answer in failed)))
    return shown


@click.command(context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.argument("pictures", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--url",
    default="127.0.0.1:8001",
    help="gRPC port of the server; or http://…, which is asked by POST and answers with RESULT.",
)
@click.option("--rate", type=float, help="Requests a second: an open loop.")
@click.option("--workers", type=int, help="Callers that wait for their answers: a closed loop.")
@click.option("--seconds", default=30.0, help="How long to send.")
@click.option("--requests", default=MOST_REQUESTS, help="How many to send at most.")
@click.option(
    "--arrivals", type=click.Choice([one.value for one in Arrivals]), default="poisson", help="Of an open loop."
)
@click.option("--seed", default=0, help="Of the arrivals and of the choice of pictures.")
@click.option("--timeout", "timeout_s", default=30.0, help="Deadline of a request in seconds.")
@click.option("--most-in-flight", default=500, help="What is planned beyond that is not sent, and fails.")
@click.option("--model", default=ENSEMBLE, help="What to ask over gRPC.")
@click.option("--form", help="Over HTTP: send a form with the picture in this field. [default: as the body]")
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="File for the records, JSON lines.")
@click.option("--remote", is_flag=True, help="Allow a server on another machine. Ask its owner first.")
@click.option(
    "--while-input",
    is_flag=True,
    help="Stop when standard input is closed, and leave it to the reader of the records what failed.",
)
def main(
    pictures: tuple[Path, ...], *, url: str, out: Path | None, remote: bool, while_input: bool, **wanted: Any
) -> None:
    """Send PICTURES to a server, at a rate or from a number of callers, and say how long the answers took."""
    try:
        plan = Plan(**{**wanted, "arrivals": Arrivals(wanted["arrivals"])})
        if not remote:
            check_loopback(url)
        encoded = {str(path): path.read_bytes() for path in pictures}
        with tempfile.TemporaryDirectory(prefix="trident-load-") as folder:
            file = out or Path(folder) / "answers.jsonl"
            with file.open("w", encoding="utf-8", buffering=1) as sink:
                asyncio.run(_run(url, encoded, plan, sink, while_input=while_input))
            answers = read_answers(file)
    except (SetupError, SettingsError) as error:
        Console(stderr=True, highlight=False).print(f"[red]load:[/] {escape(str(error))}", soft_wrap=True)
        sys.exit(1)
    Console(highlight=False).print(_table(answers))
    if failures(answers.records) and not while_input:
        sys.exit(1)


if __name__ == "__main__":
    main(prog_name="python -m benchmarks.load")
