"""The commands ``trident analyze`` and ``trident status``."""

from __future__ import annotations

import glob
import json
import os
import stat
import sys
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from trident.errors import SetupError
from trident.fleet.option import check_alone, fleet_option
from trident.layout import DEFAULT_REPOSITORY
from trident_client.client import DEFAULT_CONCURRENCY, TridentClient
from trident_client.drawing import SHOWN_ABOVE, draw
from trident_client.errors import AccessDenied, ClientError, NotServed, PictureUnreadable, ServerUnreachable
from trident_client.exposed import usual_url
from trident_client.options import connection_of, connection_options
from trident_client.origins import known_origins
from trident_client.outcome import Outcome
from trident_client.results import Analysis
from trident_client.settings import DEFAULT_TIMEOUT
from trident_client.tables import analysis_tables, overview_table, row_of, status_tables
from trident_client.watch import watch as watched

STDIN = "-"
SUFFIXES = frozenset({".jpg", ".jpeg", ".jpe", ".png", ".webp", ".bmp", ".tif", ".tiff"})
"""Names that count as pictures in a folder. A file that is named itself is always tried."""

_WATCHED_EVERY_S = 2.0

_timeout_option = click.option(
    "--timeout",
    type=click.FloatRange(min=0, min_open=True),
    default=DEFAULT_TIMEOUT,
    show_default=True,
    help="Seconds that a call may take, retries included.",
)


@click.command(short_help="Analyse pictures.")
@click.argument("paths", nargs=-1, required=True, metavar="PATH...")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document per picture instead of tables.")
@click.option("--jsonl", metavar="FILE", help="Also write one line of JSON per picture; - is standard output.")
@click.option(
    "--draw", "draw_to", type=click.Path(path_type=Path), metavar="DIR", help="Also draw the results into this folder."
)
@click.option(
    "--threshold",
    type=click.FloatRange(0, 1),
    help=f"Lowest score to show.  [default: {SHOWN_ABOVE} in tables and drawings; JSON is whole]",
)
@click.option(
    "--concurrency",
    type=click.IntRange(min=1),
    default=DEFAULT_CONCURRENCY,
    show_default=True,
    help="Pictures under way at a time.",
)
@connection_options
@_timeout_option
def analyze(
    *,
    paths: tuple[str, ...],
    as_json: bool,
    jsonl: str | None,
    draw_to: Path | None,
    threshold: float | None,
    concurrency: int,
    **connection: Any,
) -> None:
    """Analyse pictures: files, folders (searched to the bottom), globs, and - for standard input.

    Prints a table, or JSON with --json. A picture that cannot be analysed is named on standard error and the rest go
    on. The exit code is 0 only if every picture was answered.
    """
    if as_json and jsonl == STDIN:
        raise click.UsageError("--json and --jsonl - both write to standard output; choose one")
    pictures, problems = _expanded(paths)
    for problem in problems:
        click.echo(problem, err=True)
    if not pictures:
        raise click.exceptions.Exit(1)

    failures, answered = len(problems), 0
    with ExitStack() as stack:
        lines = _opened(jsonl, stack) if jsonl else None
        drawer = _Drawer(draw_to, pictures, SHOWN_ABOVE if threshold is None else threshold) if draw_to else None
        client = stack.enter_context(_client(connection))
        report = _Report(as_json, lines, threshold, pictures)
        # However the loop ends, what was answered is shown.
        stack.callback(report.finish)
        streams = as_json or lines is sys.stdout
        progress = stack.enter_context(_progress(len(pictures), streams=streams))
        bar = progress.add_task("pictures", total=len(pictures))
        payloads = (picture.payload() for picture in pictures)
        for outcome in client.analyze_many(payloads, concurrency=concurrency):
            picture = pictures[outcome.index]
            answered += outcome.analysis is not None
            if outcome.error is not None:
                if not answered and isinstance(outcome.error, _EVERY_PICTURES_FATE):
                    raise click.ClickException(_advice(outcome.error)) from outcome.error
                failures += 1
                progress.console.print(f"{picture.name}: {_sentence(outcome, picture)}", **_PLAIN)
            drawn = None
            if drawer is not None and outcome.analysis is not None:
                try:
                    drawn = drawer.draw(outcome, picture)
                except PictureUnreadable as exc:
                    failures += 1
                    progress.console.print(f"{picture.name}: {_about(exc, picture)}", **_PLAIN)
            report.add(picture, outcome, drawn)
            progress.advance(bar)
    if failures:
        raise click.exceptions.Exit(1)


@click.command(short_help="Show the server, its models and their versions.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of tables.")
@click.option(
    "--probe/--no-probe",
    default=True,
    help="Have the ensemble answer a small picture, to see which versions and digests answer, and ask each network "
    "version that had no part in it who it is.  [default: --probe]",
)
@click.option(
    "--model-repository",
    type=click.Path(file_okay=False, path_type=Path),
    default=DEFAULT_REPOSITORY,
    show_default="the clone's own",
    help="Folder of the models, for where they came from and for rollouts that did not end.",
)
@click.option(
    "--watch",
    type=click.FloatRange(min=0.2),
    is_flag=False,
    flag_value=_WATCHED_EVERY_S,
    metavar="[SECONDS]",
    help="Show instead what the server does, anew every so many seconds until Ctrl-C.  [default: every "
    f"{_WATCHED_EVERY_S:g}]",
)
@click.option(
    "--metrics-url",
    metavar="URL",
    help="With --watch: where the server's metrics are.  [default: port 8002 of its host, if its gRPC port is 8001]",
)
@connection_options
@_timeout_option
@fleet_option
def status(
    *,
    as_json: bool,
    probe: bool,
    model_repository: Path,
    watch: float | None,
    metrics_url: str | None,
    fleet: Path | None,
    **connection: Any,
) -> None:
    """Show the server, its models, their versions, which of them are pinned, and where they came from.

    The digest is what a version says of itself. A rollout that was interrupted is mentioned, also where no server
    answers. The exit code is 0 only if the server, with --fleet every server, can analyse pictures now.
    """
    if fleet is not None:
        _status_of_all(fleet, probe=probe, watch=watch, timeout=connection["timeout"], as_json=as_json)
        return
    if watch is not None:
        _watch(watch, metrics_url, as_json, connection)
        return
    interrupted = _interruption(model_repository)
    with _client(connection) as client:
        try:
            found = client.status(probe=probe)
        except ClientError as exc:
            if interrupted:
                click.echo(interrupted, err=as_json)  # without a server there is no document that it could stand in
            raise click.ClickException(_advice(exc)) from exc
    origins = known_origins(model_repository)
    if as_json:
        document = found.to_json() | {"interrupted_rollout": interrupted or None}
        for model in document["models"]:
            for version in model["versions"]:
                version["origin"] = origins.get(version["digest"] or "")
        _print_json(document)
    else:
        console = Console()
        for part in status_tables(found, origins):
            console.print(part)
        if interrupted:
            click.echo(interrupted)
        for note in found.notes:
            click.echo(f"note: {note}", err=True)
    if not found.ready:
        raise click.exceptions.Exit(1)


def _status_of_all(fleet: Path, *, probe: bool, watch: float | None, timeout: float, as_json: bool) -> None:
    from trident.fleet.status import show_status  # noqa: PLC0415 - only where there are several servers

    check_alone()
    if watch is not None:
        raise click.UsageError("--watch shows one server: leave --fleet out, and name it with --url")
    if not show_status(fleet, probe=probe, timeout=timeout, as_json=as_json):
        raise click.exceptions.Exit(1)


def _watch(seconds: float, metrics_url: str | None, as_json: bool, connection: dict[str, Any]) -> None:
    with _client(connection) as client:
        try:
            watched(client, seconds, metrics_url or usual_url(connection["url"]), as_json=as_json)
        except ClientError as exc:
            raise click.ClickException(_advice(exc)) from exc


def _interruption(repository: Path) -> str:
    """A rollout of this model repository that did not end, in one sentence; empty if there is none."""
    try:
        from trident.rollout.journal import interruption  # noqa: PLC0415 - only where there are rollouts
    except ImportError:
        return ""
    try:
        return interruption(repository)
    except SetupError as exc:
        # A journal that cannot be read is no reason to say nothing of the server.
        return str(exc)


# File names and server sentences are data, not markup, and are not to be broken or coloured.
_PLAIN: dict[str, Any] = {"markup": False, "highlight": False, "soft_wrap": True}


# Where the first picture meets one of these, so will all others.
_EVERY_PICTURES_FATE = (ServerUnreachable, AccessDenied, NotServed)


def _advice(error: ClientError) -> str:
    """The error in one sentence, with what to do where that is plain."""
    return f"{error}; start one with: trident serve" if isinstance(error, ServerUnreachable) else str(error)


@dataclass(frozen=True, slots=True)
class _Source:
    """One picture that was asked for."""

    name: str
    path: Path | None
    """None stands for standard input."""

    def payload(self) -> bytes | Path:
        return sys.stdin.buffer.read() if self.path is None else self.path


def _expanded(paths: Sequence[str]) -> tuple[list[_Source], list[str]]:
    """The pictures that the arguments stand for, each once, and a sentence for each that stands for none."""
    found: dict[str, _Source] = {}
    problems = []
    for argument in paths:
        if argument == STDIN:
            found.setdefault(STDIN, _Source("standard input", None))
            continue
        path = Path(argument)
        if path.is_dir():
            files = _pictures_below(path)
            if not files:
                problems.append(f"{argument}: no picture in this folder")
        elif path.exists() or not glob.has_magic(argument):
            # A file that is not there fails like a picture that cannot be read: in its turn, by its name.
            files = [path]
        else:
            matches = [Path(match) for match in sorted(glob.glob(argument, recursive=True))]  # noqa: PTH207
            files = [file for match in matches for file in (_pictures_below(match) if match.is_dir() else [match])]
            if not files:
                problems.append(f"{argument}: no file matches")
        for file in files:
            found.setdefault(os.path.realpath(file), _Source(str(file), file))
    return list(found.values()), problems


def _pictures_below(folder: Path) -> list[Path]:
    files: list[Path] = []
    for root, folders, names in os.walk(folder):
        folders.sort()
        files += [Path(root, name) for name in sorted(names) if Path(name).suffix.lower() in SUFFIXES]
    return files


def _common_folder(pictures: Sequence[_Source]) -> str:
    """The folder, with its final slash, that the names of all pictures begin with; empty if there is none."""
    folders = {os.path.dirname(picture.name) for picture in pictures}  # noqa: PTH120 - of the names as they were given
    if len({folder.startswith(os.sep) for folder in folders}) > 1 or "" in folders:
        return ""
    common = os.path.commonpath(folders)
    return common + os.sep if common.strip(os.sep) else ""


class _Drawer:
    """Draws answered pictures into a folder, each under a name of its own that no input has."""

    def __init__(self, folder: Path, pictures: Sequence[_Source], threshold: float) -> None:
        self._threshold = threshold
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as exc:
            raise click.ClickException(f"--draw: cannot write to {folder}: {exc.strerror or exc}") from exc
        if not os.access(folder, os.W_OK | os.X_OK):
            raise click.ClickException(f"--draw: cannot write to {folder}: Permission denied")
        inputs = {os.path.realpath(picture.path) for picture in pictures if picture.path is not None}
        self._targets: dict[_Source, Path] = {}
        # Compared without case: a/X.jpg and b/x.jpg are one file on some file systems.
        taken: set[str] = set()
        for picture in pictures:
            source = picture.path or Path("stdin.png")
            suffix = source.suffix if source.suffix.lower() in (".jpg", ".jpeg") else ".png"
            names = (
                f"{source.stem}{suffix}" if i == 1 else f"{source.stem}-{i}{suffix}" for i in range(1, sys.maxsize)
            )
            for name in names:
                target = folder / name
                if str(target).casefold() not in taken and os.path.realpath(target) not in inputs:
                    break
            taken.add(str(target).casefold())
            self._targets[picture] = target

    def draw(self, outcome: Outcome, picture: _Source) -> Path:
        """Draw one picture. Raises PictureUnreadable; a folder that cannot be written to ends the command."""
        target = self._targets[picture]
        try:
            drawn = draw(outcome.picture, outcome.unwrap(), threshold=self._threshold)
        except ValueError as exc:
            raise PictureUnreadable(f"not drawn: {exc}") from exc
        # Written beside its place and moved there: an interrupted run leaves no half picture.
        unfinished = target.with_name(f".{target.name}.{os.getpid()}")
        form = "PNG" if target.suffix == ".png" else "JPEG"
        try:
            try:
                drawn.save(unfinished, form, **({} if form == "PNG" else {"quality": 92, "subsampling": 0}))
                unfinished.replace(target)
            finally:
                unfinished.unlink(missing_ok=True)
        except OSError as exc:
            raise click.ClickException(f"--draw: cannot write {target}: {exc.strerror or exc}") from exc
        return target


class _Report:
    """Says what became of the pictures: tables or JSON on standard output, and lines of JSON in a file."""

    def __init__(
        self, as_json: bool, lines: TextIO | None, threshold: float | None, pictures: Sequence[_Source]
    ) -> None:
        self._as_json = as_json
        self._lines = lines
        self._has_old_lines = lines is not None and lines is not sys.stdout
        self._threshold = threshold
        self._several = len(pictures) > 1
        self._common = _common_folder(pictures)
        self._rows: list[tuple[str, ...]] = []
        self._drawn = 0
        self._folder: Path | None = None
        self._console = Console()

    def add(self, picture: _Source, outcome: Outcome, drawn: Path | None) -> None:
        if drawn is not None:
            self._drawn += 1
            self._folder = drawn.parent
        if self._lines is not None:
            try:
                if self._has_old_lines:
                    self._has_old_lines = False
                    # A pipe or a device holds nothing to be replaced, and cannot be cut.
                    if stat.S_ISREG(os.fstat(self._lines.fileno()).st_mode):
                        self._lines.truncate(0)
                self._lines.write(json.dumps(self._document(picture, outcome, drawn), ensure_ascii=False) + "\n")
                self._lines.flush()
            except OSError as exc:
                raise click.ClickException(f"--jsonl: cannot write {self._lines.name}: {exc.strerror or exc}") from exc
        if self._as_json:
            _print_json(self._document(picture, outcome, drawn))
        elif self._lines is sys.stdout:
            return
        elif self._several:
            shown = None if outcome.analysis is None else self._shown(outcome.analysis)
            self._rows.append(row_of(picture.name.removeprefix(self._common), shown))
        elif outcome.analysis is not None:
            for part in analysis_tables(picture.name, self._shown(outcome.analysis)):
                self._console.print(part)

    def finish(self) -> None:
        """Print what could only be said in the end."""
        if self._rows:
            self._console.print(overview_table(self._rows, folder=self._common))
        if self._folder is not None:
            noun = "picture" if self._drawn == 1 else "pictures"
            click.echo(f"drew {self._drawn} {noun} into {self._folder}", err=True)

    def _shown(self, analysis: Analysis) -> Analysis:
        return analysis.above(SHOWN_ABOVE if self._threshold is None else self._threshold)

    def _document(self, picture: _Source, outcome: Outcome, drawn: Path | None) -> dict[str, Any]:
        document: dict[str, Any] = {"path": STDIN if picture.path is None else picture.name}
        if outcome.analysis is None:
            document["error"] = {"kind": type(outcome.error).__name__, "message": _sentence(outcome, picture)}
            if outcome.error is not None and outcome.error.request_id:
                document["request_id"] = outcome.error.request_id
        else:
            whole = outcome.analysis if self._threshold is None else outcome.analysis.above(self._threshold)
            document |= {"request_id": outcome.analysis.request_id, **whole.to_json()}
        if drawn is not None:
            document["drawn"] = str(drawn)
        return document


def _sentence(outcome: Outcome, picture: _Source) -> str:
    assert outcome.error is not None  # noqa: S101 - asked only then
    return _about(outcome.error, picture)


def _about(error: ClientError, picture: _Source) -> str:
    """The error without the picture's name, which stands before it already."""
    return str(error).removeprefix(f"{picture.path}: ")


def _client(options: dict[str, Any]) -> TridentClient:
    server = connection_of(options)
    try:
        return TridentClient(
            server.url,
            tls=server.tls,
            timeout=options["timeout"],
            headers=server.headers,
            admin_key_file=server.admin_key_file,
        )
    except ClientError as exc:
        raise click.ClickException(str(exc)) from exc


def _opened(jsonl: str, stack: ExitStack) -> TextIO:
    """Where the lines go, open for writing and as it was: only the first line takes the place of what is there."""
    if jsonl == STDIN:
        return sys.stdout
    path = Path(jsonl)
    is_new = not path.exists()
    try:
        # To append: what an earlier run wrote stays until this one has something to write, see _Report.add.
        lines = stack.enter_context(path.open("a", encoding="utf-8"))
    except OSError as exc:
        raise click.ClickException(f"--jsonl: cannot write {jsonl}: {exc.strerror or exc}") from exc
    if is_new:
        stack.callback(_remove_if_empty, path)
    return lines


def _remove_if_empty(path: Path) -> None:
    with suppress(OSError):
        if path.is_file() and not path.stat().st_size:
            path.unlink()


def _progress(total: int, *, streams: bool) -> Progress:
    """A bar on standard error, for more than one picture and a person who watches.

    ``streams`` says that results go to standard output meanwhile; on a terminal they would run into the bar.
    """
    console = Console(stderr=True)
    return Progress(
        TextColumn("analysing"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=total < 2 or not console.is_terminal or (streams and sys.stdout.isatty()),
        # Rich would send standard output to the bar's console, and so past a redirection into a file.
        redirect_stdout=False,
        redirect_stderr=False,
    )


def _print_json(document: dict[str, Any]) -> None:
    click.echo(json.dumps(document, ensure_ascii=False, indent=2))
