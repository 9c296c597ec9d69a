"""How soon bad pictures are refused: every one of the tests' corpus, asked of a server one after the other.

    python -m benchmarks.refusals [--url host:port]

Prints each one's median and slowest answer. Exit code 1 if one whose header tells took longer than the limit, or if one
was not refused as a bad picture is.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections import defaultdict
from contextlib import ExitStack
from pathlib import Path

import click
import numpy as np
from rich.console import Console
from rich.table import Table
from tritonclient.grpc import InferenceServerClient, InferInput
from tritonclient.utils import InferenceServerException

from benchmarks.served import own_server
from tests.bad_inputs import REFUSED
from trident.contract import ENSEMBLE, IMAGE
from trident.errors import SetupError

_TIMEOUT_S = 30.0
_CODE = "StatusCode.INVALID_ARGUMENT"


def refusal_ms(client: InferenceServerClient, picture: bytes) -> float:
    """Milliseconds until one picture is refused.

    Raises:
        SetupError: It was not, or not as a bad picture is.
    """
    tensor = InferInput(IMAGE.name, [1, 1], IMAGE.dtype.wire)
    tensor.set_data_from_numpy(np.array([[picture]], dtype=np.object_))
    began = time.perf_counter()
    try:
        client.infer(ENSEMBLE, [tensor], client_timeout=_TIMEOUT_S)
    except InferenceServerException as exc:
        if exc.status() == _CODE:
            return (time.perf_counter() - began) * 1e3
        raise SetupError(f"expected a refusal with {_CODE}, got {exc.status()}: {exc.message()}") from exc
    raise SetupError(f"expected a refusal with {_CODE}, got an answer")


def measured(client: InferenceServerClient, rounds: int) -> dict[str, list[float]]:
    """Milliseconds by the name of each bad picture; the first round, in which all is new, does not count."""
    pictures = {name: bad.make() for name, bad in REFUSED.items()}
    taken: dict[str, list[float]] = defaultdict(list)
    for number in range(rounds + 1):
        for name, picture in pictures.items():
            try:
                milliseconds = refusal_ms(client, picture)
            except SetupError as exc:
                raise SetupError(f"{name}: {exc}") from exc
            if number:
                taken[name].append(milliseconds)
    return taken


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--url", help="host:port of a running server. [default: one of its own]")
@click.option("--rounds", type=click.IntRange(min=1), default=11, show_default=True, help="How often each is asked.")
@click.option("--limit", type=float, default=100.0, show_default=True, help="Milliseconds, of the median.")
def main(url: str | None, rounds: int, limit: float) -> None:
    """Measure how soon bad pictures are refused by a server that has nothing else to do."""
    try:
        with ExitStack() as stack:
            if url is None:
                folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
                url = stack.enter_context(own_server(folder)).grpc_url
            taken = measured(stack.enter_context(InferenceServerClient(url)), rounds)
    except SetupError as exc:
        raise click.ClickException(str(exc)) from exc
    table = Table("picture", "told by", "median ms", "slowest ms")
    late = []
    for name, times in sorted(taken.items(), key=lambda item: -statistics.median(item[1])):
        median, by_header = statistics.median(times), REFUSED[name].by_header
        if by_header and median > limit:
            late.append(name)
        table.add_row(name, "header" if by_header else "the rest", f"{median:.1f}", f"{max(times):.1f}")
    Console(width=100, highlight=False).print(table)
    soon = sum(REFUSED[name].by_header for name in taken) - len(late)
    print(f"{soon} of {soon + len(late)} that a header tells of were refused within {limit:g} ms.")
    if late:
        raise click.exceptions.Exit(1)


if __name__ == "__main__":
    main(prog_name="python -m benchmarks.refusals")
