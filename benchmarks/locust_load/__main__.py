"""``python -m benchmarks.locust_load``: have locust's users ask a server, and report what they were answered."""

from __future__ import annotations

import contextlib
import json
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from benchmarks import command, report
from benchmarks.load import check_loopback
from benchmarks.locust_load import page, process
from benchmarks.locust_load.figures import work_out
from benchmarks.locust_load.process import MODELS, Settings
from benchmarks.locust_load.shapes import Kind
from benchmarks.pictures import pictures_for
from benchmarks.served import own_server
from benchmarks.swaps.resources import Sample, Scale
from trident.contract import ENSEMBLE
from trident.errors import SetupError
from trident.launcher import TritonServer
from trident.rollout.serving import TritonServing

_LOG_LINES = 15
_DEFAULT = Settings()


@click.command(context_settings=command.SETTINGS)
@click.option("--url", metavar="HOST:PORT", help="A running server's gRPC port. Without it, one is started for this.")
@click.option("--models", default=ENSEMBLE, help=f"Whom to ask, with commas between: {', '.join(MODELS)}; or all.")
@command.pictures_option()
@click.option("--batch", default=_DEFAULT.batch, help="Pictures in one request, such as 1,4.")
@click.option("--shape", type=click.Choice([kind.value for kind in Kind]), default="steps", help="Course of the load.")
@click.option("--users", default=_DEFAULT.users, help="At the height of the load.")
@click.option("--seconds", type=int, help="How long. [default: constant 60, steps 120, spike 100, soak 3600]")
@click.option("--think", "think_s", default=_DEFAULT.think_s, help="Seconds that a user rests after an answer.")
@click.option("--deadline", "deadline_s", default=_DEFAULT.deadline_s, help="Of one request, in seconds.")
@click.option("--seed", default=_DEFAULT.seed, help="Of the choice of pictures and of requests.")
@click.option("--processes", default=1, help="Processes of locust that make the load, started here.")
@click.option("--expect-workers", default=0, help="Be the master of so many workers that are started elsewhere.")
@click.option("--bind", default="127.0.0.1:5557", help="Where those find the master.")
@click.option("--worker-of", metavar="HOST:PORT", help="Be a worker of the master there, and nothing else.")
@click.option("--ui", is_flag=True, help="Show locust's web page, on this machine alone, until Ctrl-C.")
@click.option("--ui-port", default=8089, help="Of that page.")
@click.option("--remote", is_flag=True, help="Allow a server or master on another machine. Ask its owner first.")
@command.out_option()
def main(
    *,
    url: str | None,
    models: str,
    shape: str,
    seconds: int | None,
    processes: int,
    expect_workers: int,
    bind: str,
    worker_of: str | None,
    ui: bool,
    ui_port: int,
    out: Path,
    **wanted: Any,
) -> None:
    """Have locust's users ask a server over gRPC, each waiting for its answer, and report what came of it.

    Takes two minutes by default, and ends by itself; with --ui it goes on until Ctrl-C. Without --url it starts a
    server of its own. Exit code 1: a request failed, or the load could not be made.
    """
    console = Console(highlight=False)
    # Before anything else, so that the load average is the machine's and not ours.
    facts = report.circumstances(report.command_line("benchmarks.locust_load"))
    kind = Kind(shape)
    with command.in_one_sentence("load"):
        if not wanted["remote"]:
            for place in (url or "localhost", bind, worker_of or "localhost"):
                check_loopback(place)
        # Who ends this process ends the server and locust too.
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        if worker_of is not None:
            sys.exit(process.run(process.worker(worker_of)))
        settings = Settings(
            models=MODELS if models == "all" else tuple(name.strip() for name in models.split(",")),
            shape=kind,
            seconds=int(kind.usual_s) if seconds is None else seconds,
            **wanted,
        )
        options, workers = process.distributed(processes=processes, workers=expect_workers, bind=bind)
        with tempfile.TemporaryDirectory(prefix="trident-locust-") as temporary:
            folder = Path(temporary)
            with _serving(url, settings, folder) as (place, server):
                if ui:
                    words = process.command(settings, place, *process.web_page(ui_port), *options)
                    _show_page(console, ui_port, words, workers)
                    return
                load = _Load(console, settings, facts, options, workers, out, folder)
                run = load.make(place, server)
    if run.figures.failed:
        sys.exit(1)


@contextmanager
def _serving(url: str | None, settings: Settings, folder: Path) -> Iterator[tuple[str, TritonServer | None]]:
    """The given server, or one of our own on free ports, with a gallery that nobody is in."""
    if url is None:
        with own_server(folder) as server:
            yield server.grpc_url, server
        return
    with TritonServing(url) as serving:
        missing = [name for name in settings.models if not serving.ready(name)]
    if missing:
        raise SetupError(f"models: expected {', '.join(missing)} to be served at {url}, got a server without")
    yield url, None


def _show_page(console: Console, port: int, words: list[str], workers: list[list[str]]) -> None:
    """Locust's web page, until Ctrl-C."""
    console.print(f"Locust's page: http://127.0.0.1:{port}  Ctrl-C ends it.", soft_wrap=True)
    with contextlib.suppress(KeyboardInterrupt):
        # It ends by itself only where it failed, and has said why on this terminal.
        sys.exit(process.run(words, workers=workers))


@dataclass(frozen=True, slots=True)
class _Load:
    """A load without a web page, that is to be made and reported."""

    console: Console
    settings: Settings
    facts: dict[str, Any]
    """What it is measured on; gets to know the server."""
    options: tuple[str, ...]
    """Of locust, where others make the load."""
    workers: list[list[str]]
    """Their command lines, where they are started here."""
    out: Path
    folder: Path
    """For what nobody needs afterwards."""

    def make(self, url: str, server: TritonServer | None) -> page.Run:
        """Have it made, and write its report.

        Args:
            url: ``host:port`` of the server.
            server: The same, if it is our own.

        Raises:
            SetupError: It could not be made.
        """
        settings, folder = self.settings, self.folder
        pictures = pictures_for(settings.pictures, folder / "pictures")
        self.facts["server"] = report.served_by(url)
        stem, counts, log = report.report_stem("load", self.facts), folder / "counts.json", folder / "locust.log"
        self.console.print(
            f"Locust asks {', '.join(settings.models)} at {url}: {settings.shape}, {settings.users} users at most, "
            f"{settings.seconds} seconds.",
            soft_wrap=True,
        )
        samples: list[Sample] = []
        scale = None if server is None else Scale(str(server.name))

        def weigh() -> None:
            if scale is not None:
                samples.append(scale(0))

        code = process.run(
            process.command(settings, url, *process.headless(folder / stem, counts), *self.options),
            workers=self.workers,
            limit_s=process.limit_of(settings),
            log=log,
            look=weigh,
            look_every_s=max(1.0, settings.seconds / 60),
        )
        if not counts.is_file():
            raise SetupError(f"locust ended with exit code {code} and without figures: {_last_lines(log)}")
        counted = json.loads(counts.read_text(encoding="utf-8"))
        figures = work_out(counted)
        if code not in (0, 1):
            raise SetupError(f"locust ended with exit code {code}: {_last_lines(log)}")
        self.out.mkdir(parents=True, exist_ok=True)
        files = [Path(shutil.move(file, self.out / file.name)) for file in sorted(folder.glob(f"{stem}*"))]
        run = page.Run(figures, settings, self.facts, counted, pictures, samples, files)
        written = report.write(stem, page.to_html(run), page.to_json(run), self.out)
        _show(self.console, run, written)
        return run


def _show(console: Console, run: page.Run, written: tuple[Path, Path]) -> None:
    """What the report says, in short, and where it lies."""
    told = page.summary(run)
    for table in told.tables:
        command.print_table(console, table.headings, table.rows)
    for sentence in told.sentences:
        command.teller(console)(sentence)
    named = [*(("Locust's own", file) for file in run.files), ("Report", written[0]), ("Figures", written[1])]
    for about, file in named:
        console.print(f"{about}: {file}", soft_wrap=True)


def _last_lines(log: Path) -> str:
    """The last that locust said."""
    return "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-_LOG_LINES:])


if __name__ == "__main__":
    main(prog_name="python -m benchmarks.locust_load")
