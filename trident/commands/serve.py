"""``trident serve``."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import click

from trident.access.marks import VISIBLE
from trident.commands.access import access_of, access_options
from trident.commands.supervision import Supervision, supervision_of, supervision_options
from trident.contract import ENSEMBLE
from trident.entities.gallery_complaints import gallery_complaints
from trident.errors import SetupError
from trident.launcher import TritonServer
from trident.launcher.log import Entry
from trident.launcher.output import LogFormat, Output, ServingCommand, log_format_option
from trident.launcher.server import GRPC_PORT, HTTP_PORT, METRICS_PORT
from trident.layout import DEFAULT_REPOSITORY
from trident.recorder import DEFAULT_MOST, DEFAULT_SHARE, Recording, prepare_folder
from trident.rollout.journal import interruption

_LOOK_S = 0.05


class _Stopped(BaseException):
    """SIGINT or SIGTERM came. Not an Exception, so that no handler on its way swallows it."""


def _on_stop_signals(handler: Callable[[int, FrameType | None], object]) -> None:
    signal.signal(signal.SIGINT, handler)
    signal.signal(signal.SIGTERM, handler)


class _Hurry:
    """A handler of the second signal: it ends at once what waits for others."""

    def __init__(self, server: TritonServer) -> None:
        self.wanted = False
        self._server = server

    def __call__(self, *_: object) -> None:
        self.wanted = True
        self._server.hurry()


def _give_notice(seconds: float, hurry: _Hurry) -> None:
    """Go on serving while others learn that this server is about to stop."""
    until = time.monotonic() + seconds
    while time.monotonic() < until and not hurry.wanted:
        time.sleep(_LOOK_S)


def _end(server: TritonServer, supervision: Supervision | None) -> None:
    if supervision is not None:
        supervision.drain()
    try:
        server.stop()
    finally:
        if supervision is not None:
            supervision.close()


@click.command(cls=ServingCommand)
@click.option(
    "--model-repository",
    type=click.Path(path_type=Path),
    default=DEFAULT_REPOSITORY,
    show_default="the clone's own",
    help="Folder of the models.",
)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to bind to; 0.0.0.0 is every one.")
@click.option("--grpc-port", type=int, default=GRPC_PORT, show_default=True, help="0 takes any free one.")
@click.option("--http-port", type=int, default=HTTP_PORT, show_default=True, help="As --http; 0 takes any free one.")
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
    "--notice",
    type=click.FloatRange(min=0.0),
    default=2.0,
    show_default=True,
    help="Seconds that it goes on answering when it stops, while its health endpoint says already that it is not "
    "ready: longer than load balancers take to notice.",
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
@click.option(
    "--unverified",
    is_flag=True,
    help="Load networks that have no record of their export too, and name them. One that is not what its record says "
    "is refused all the same.",
)
@supervision_options
@access_options
@log_format_option
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
    notice: float,
    record: Path | None,
    record_share: float,
    record_most: int,
    unverified: bool,
    supervise: bool,
    health: bool,
    health_port: int,
    probe_seconds: float,
    log_format: str,
    verbose: bool,
    arguments: tuple[str, ...],
    **opened: Any,
) -> None:
    """Start Triton with the model repository, and serve until Ctrl-C or SIGTERM.

    What follows `--` goes to tritonserver as it is, for example `-- --log-verbose=1`.
    """
    output = Output(LogFormat(log_format), verbose=verbose)
    started = False
    recording = None if record is None else Recording(record, record_share, record_most)
    if recording is not None:
        prepare_folder(recording.folder, model_repository)
        output.say(
            f"Keeping {recording.share:.3g} of all pictures in {recording.folder}, at most {recording.most}. They are "
            "personal data: delete the folder when it has served its purpose.",
        )

    def show(entry: Entry) -> None:
        output.show(entry, serving=started)

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
        access=access_of(opened),
        unverified=unverified,
    )
    supervision = supervision_of(
        server, supervise=supervise, health=health, health_port=health_port, probe_seconds=probe_seconds
    )

    hurry = _Hurry(server)

    def stop(*_: object) -> None:
        # A second signal ends the server at once; it must not cut the clearing short, which is bounded.
        _on_stop_signals(hurry)
        raise _Stopped

    _on_stop_signals(stop)
    try:
        if supervision is not None:
            supervision.listen()
        with output.status("Loading the models…"):
            server.start()
        started = True
        if supervision is not None:
            supervision.start()
        sides = {"gRPC": server.grpc_url, "HTTP": server.http_url, "metrics": server.metrics_url}
        sides["health"] = None if supervision is None else supervision.url
        places = {name: place for name, place in sides.items() if place is not None}
        output.say(
            f"{model} listens on {', '.join(f'{name} {place}' for name, place in places.items())}; Ctrl-C stops it.",
            err=False,
            **{name.lower(): place for name, place in places.items()},
        )
        sys.stdout.flush()
        if any(entry.text.startswith(VISIBLE) for entry in server.log_entries):
            output.say(f"Mind: {VISIBLE}.", level="warning")
        for sentence in (*server.loaded_unverified, *gallery_complaints(server.repository)):
            output.say(f"Mind: {sentence}.", level="warning")
        if left := interruption(server.repository):
            output.say(left, level="warning")
        if supervision is not None:
            supervision.wait()
        code = server.wait()
        raise SetupError(f"Triton ended by itself with exit code {code}: {server.failure()}")
    except _Stopped:
        if supervision is not None:
            supervision.drain()
        output.say("Stopping, once the requests in flight are answered; Ctrl-C again does not wait for them.")
        if started and supervision is not None and supervision.url is not None:
            _give_notice(notice, hurry)
    finally:
        _end(server, supervision)
