"""The soak's load, in a process of its own: most callers send a good picture and wait, some do neither.

One Poisson process of planned moments; what comes at each of them is drawn. A caller who leaves has a connection of its
own, asks, and after a moment cancels its call and hangs up. What became of each is one line on standard output, and the
last line says how many were planned, so that whoever reads them knows that nothing is missing.
"""

from __future__ import annotations

import asyncio
import os
import random
import sys
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, TextIO

import click

from benchmarks.answers import OK
from benchmarks.load import Generator, Plan, run_generator
from benchmarks.ranges import check_range
from benchmarks.transport import Failed, Grpc
from trident.errors import SetupError

LEFT = "LEFT"
"""Code of a request whose caller went before it was answered."""
_STAYS = -3.0, -0.3
"""Powers of ten of the seconds that a caller who leaves stays: from a millisecond to half a second."""
_OUTPUT = 1


class Kind(StrEnum):
    """What a caller does."""

    GOOD = "good"
    """Sends a good picture, and waits."""
    BAD = "bad"
    """Sends something that must be refused, and waits."""
    LEAVING = "leaving"
    """Sends a good picture, and goes."""


@dataclass(frozen=True, slots=True)
class Mix:
    """How many callers do what; the rest send a good picture and wait."""

    bad: float
    leaving: float

    def __post_init__(self) -> None:
        check_range("bad", self.bad, 0, 0.5)
        check_range("leaving", self.leaving, 0, 0.5)

    def draw(self, chance: random.Random) -> Kind:
        """What the next caller does."""
        drawn = chance.random()
        if drawn < self.bad:
            return Kind.BAD
        return Kind.LEAVING if drawn < self.bad + self.leaving else Kind.GOOD


class Callers(Generator):
    """Sends the load of one plan. To be made and used on one event loop.

    Args:
        url: ``host:port`` of a gRPC server.
        good: Encoded pictures by name.
        bad: What is none, by name.
        plan: When to send.
        mix: And what.
        sink: Takes one line a request, whose ``picture`` begins with the kind of caller.
    """

    def __init__(
        self, url: str, good: dict[str, bytes], bad: dict[str, bytes], plan: Plan, mix: Mix, *, sink: TextIO
    ) -> None:
        if mix.bad and not bad:
            raise SetupError("soak: expected something bad to send, got none: give --bad-pictures, or --bad 0")
        shown = {f"{Kind.GOOD}/{name}": data for name, data in good.items()}
        super().__init__(url, shown | {f"{Kind.BAD}/{name}": data for name, data in bad.items()}, plan, sink)
        self._url = url
        self._mix = mix
        self._good, self._bad = sorted(good), sorted(bad)
        # Two, so that what is sent does not depend on how soon somebody is answered.
        self._chance = random.Random(plan.seed + 2)  # noqa: S311 - no secret
        self._stays = random.Random(plan.seed + 3)  # noqa: S311 - no secret

    async def run(self) -> None:
        """As a generator's; the last line says how many requests were planned."""
        await super().run()
        self._write({"planned": self._number})

    def _next(self) -> tuple[int, str, bytes]:
        self._number += 1
        kind = self._mix.draw(self._chance)
        name = self._chance.choice(self._bad if kind is Kind.BAD else self._good)
        shown = Kind.BAD if kind is Kind.BAD else Kind.GOOD
        return self._number - 1, f"{kind}/{name}", self._requests[f"{shown}/{name}"]

    async def _ask(self, number: int, name: str, request: bytes, planned: float) -> None:
        if name.startswith(f"{Kind.LEAVING}/"):
            await self._leave(number, name, request, planned)
        else:
            await super()._ask(number, name, request, planned)

    async def _leave(self, number: int, name: str, request: bytes, planned: float) -> None:
        begun = {"number": number, "picture": name, "planned": planned, "sent": self._clock()}
        stays_s = 10 ** self._stays.uniform(*_STAYS)
        transport = Grpc(self._url, self._plan.model, own_connection=True)
        code, message = OK, ""
        try:
            await asyncio.wait_for(transport.ask(request, self._plan.timeout_s), stays_s)
        except TimeoutError:
            code = LEFT
        except Failed as failed:
            code, message = failed.code, failed.message
        finally:
            await transport.close()
        self._record(begun, self._clock(), code, message)


async def _run(url: str, good: dict[str, bytes], bad: dict[str, bytes], plan: Plan, mix: Mix, *, sink: TextIO) -> None:
    await run_generator(Callers(url, good, bad, plan, mix, sink=sink), while_input=True)


@click.command(context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.argument("pictures", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--url", required=True, help="gRPC port of the server.")
@click.option("--rate", required=True, type=float, help="Requests a second.")
@click.option("--seconds", required=True, type=float, help="How long to send.")
@click.option(
    "--bad-pictures", multiple=True, type=click.Path(exists=True, dir_okay=False, path_type=Path), help="Repeatable."
)
@click.option("--bad", default=0.0, help="Share of requests with a bad one.")
@click.option("--leaving", default=0.0, help="Share of callers that leave.")
@click.option("--seed", default=0, help="Of all that is drawn.")
@click.option("--timeout", "timeout_s", default=30.0, help="Deadline of a request in seconds.")
def main(
    pictures: tuple[Path, ...], *, url: str, bad_pictures: tuple[Path, ...], bad: float, leaving: float, **wanted: Any
) -> None:
    """Send PICTURES until the time is over or standard input ends. What became of each is a line of JSON."""
    try:
        plan, mix = Plan(**wanted), Mix(bad, leaving)
        contents = [{path.name: path.read_bytes() for path in paths} for paths in (pictures, bad_pictures)]
        with os.fdopen(_OUTPUT, "w", buffering=1, encoding="utf-8", closefd=False) as sink:
            asyncio.run(_run(url, contents[0], contents[1], plan, mix, sink=sink))
    except SetupError as error:
        click.echo(f"callers: {error}", err=True)
        sys.exit(1)


if __name__ == "__main__":
    main(prog_name="python -m benchmarks.soak.callers")
