"""``trident serve``."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType

import click
from rich.console import Console

from trident.contract import ENSEMBLE
from trident.errors import SetupError
from trident.launcher import TritonServer
from trident.launcher.log import Entry
from trident.launcher.server import GRPC_PORT, HTTP_PORT, METRICS_PORT
from trident.layout import DEFAULT_REPOSITORY
from trident.recorder import DEFAULT_MOST, DEFAULT_SHARE, Recording, prepare_folder
from trident.rollout.journal import interruption


class _Stopped(BaseException):
    """SIGINT or SIGTERM came. Not an Exception, so that no handler on its way swallows it."""


def _on_stop_signals(handler: Callable[[int, FrameType | None], object]) -> None:
    signal.signal(signal.SIGINT, handler)
    signal.signal(signal.SIGTERM, handler)


@click.command()
@click.option(
    "--model-repository",
    type=click.Path(path_type=Path),
    default=DEFAULT_REPOSITORY,
    show_default="the clone's own",
    help="Folder of the models.",
)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to bind to; 0.0.0.0 is every one.")
@click.option("--grpc-port", type=int, default=GRPC_PORT, show_default=True, help="0 takes any free one.")
@click.option("--http-port", type=int, default=HTTP_PORT, show_default=True, help="0 takes any free one.")
@click.option("--metrics-port", type=int, default=METRICS_PORT, show_default=True, help="0 takes any free one.")
@click.option("--model", default=ENSEMBLE, show_default=True, help="The model that has to answer before it is ready.")
@click.option(
    "--start-timeout", type=float, default=300.0, show_default=True, help="Seconds that the models may take to load."
)
@click.option(
    "--grace",
    type=float,
    default=15.0,
    show_default=True,
    help="Seconds that requests in flight may take when it stops, before the models are unloaded.",
)
@click.option(
    "--record",
    type=click.Path(file_okay=False, path_type=Path),
    help="Keep a sample of the served pictures in this folder, for `trident rollout --golden`. They are personal data. "
    "Off by default.",
)
@click.option(
    "--record-share",
    type=float,
    default=DEFAULT_SHARE,
    show_default=True,
    help="With --record: the part of the pictures that is kept.",
)
@click.option(
    "--record-most",
    type=int,
    default=DEFAULT_MOST,
    show_default=True,
    help="With --record: the most pictures that the folder ever holds.",
)
@click.option("-v", "--verbose", is_flag=True, help="Show Triton's whole log, not only warnings and errors.")
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED, metavar="[-- TRITON_OPTION...]")
def serve(
    *,
    model_repository: Path,
    host: str,
    grpc_port: int,
    http_port: int,
    metrics_port: int,
    model: str,
    start_timeout: float,
    grace: float,
    record: Path | None,
    record_share: float,
    record_most: int,
    verbose: bool,
    arguments: tuple[str, ...],
) -> None:
    """Start Triton with the model repository, and serve until Ctrl-C or SIGTERM.

    What follows `--` goes to tritonserver as it is, for example `-- --log-verbose=1`.
    """
    console = Console(stderr=True)
    started = False
    recording = None if record is None else Recording(record, record_share, record_most)
    if recording is not None:
        prepare_folder(recording.folder, model_repository)
        click.echo(
            f"Keeping {recording.share:.3g} of all pictures in {recording.folder}, at most {recording.most}. They are "
            "personal data: delete the folder when it has served its purpose.",
            err=True,
        )

    def show(entry: Entry) -> None:
        # Until it serves, what is wrong is said in one sentence at the end.
        if verbose or (started and entry.worth_showing):
            click.echo(f"{entry.level} {entry.text}", err=True)

    server = TritonServer(
        model_repository,
        model=model,
        host=host,
        grpc_port=grpc_port,
        http_port=http_port,
        metrics_port=metrics_port,
        arguments=arguments,
        env=None if recording is None else recording.to_environment(),
        log_sink=show,
        start_timeout_s=start_timeout,
        grace_s=grace,
    )

    def stop(*_: object) -> None:
        # A second signal waits for no more requests; it must not cut the clearing short, which is bounded.
        _on_stop_signals(lambda *_: server.hurry())
        raise _Stopped

    _on_stop_signals(stop)
    try:
        with console.status("Loading the models…"):
            server.start()
        started = True
        click.echo(
            f"{model} listens on gRPC {server.grpc_url}, HTTP {server.http_url}, metrics {server.metrics_url}; "
            "Ctrl-C stops it."
        )
        sys.stdout.flush()
        if left := interruption(server.repository):
            click.echo(left, err=True)
        code = server.wait()
        raise SetupError(f"Triton ended by itself with exit code {code}: {server.failure()}")
    except _Stopped:
        click.echo("Stopping, once the requests in flight are answered; Ctrl-C again does not wait for them.", err=True)
    finally:
        server.stop()
