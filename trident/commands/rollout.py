"""``trident rollout``, ``rollback``, ``retire`` and ``versions``."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource
from rich.console import Console
from rich.table import Table
from rich.text import Text

from trident.background import step_back
from trident.commands import fleet as over_fleet
from trident.commands.at_work import INTERRUPTED_EXIT, Display, Stop, stoppable, was_given
from trident.contract import COMPONENTS, RECOGNIZER
from trident.errors import SetupError
from trident.fleet.option import check_alone, fleet_option
from trident.layout import DEFAULT_REPOSITORY
from trident.rollout import engine, journal
from trident.rollout.all_limits import AllLimits, described_limits
from trident.rollout.checks import LiveChecks
from trident.rollout.disk import Repository
from trident.rollout.engine import Interrupted, Outcome, Rollout
from trident.rollout.journal import Journal
from trident.rollout.options import DEFAULT_WATCH_S, Options, parse_duration, parse_share
from trident.rollout.plan import Plan, make_plan, plan_back
from trident.rollout.release import check_component, parse_targets
from trident.rollout.serving import TritonServing
from trident.rollout.versions import Past, VersionFacts, survey_versions
from trident_client.options import connection_of, connection_options

REPORTS = Path("rollout_reports")
_OPTIONS = {
    "golden": "golden",
    "limits": "limit",
    "canary": "canary",
    "canary_s": "for",
    "watch_s": "watch",
    "report": "report",
    "identity_threshold": "identity-threshold",
}
"""What an interrupted rollout has from its begin: parameters and their options."""

_repository_option = click.option(
    "--model-repository",
    type=click.Path(file_okay=False, path_type=Path),
    default=DEFAULT_REPOSITORY,
    show_default="the project's",
    help="Folder of the models that the server loads.",
)
_gallery_option = click.option(
    "--gallery-url",
    help="The gallery's database, for face_embedder. Default: the one that the running server looks at, where it runs "
    "on this machine as this user; else gallery_url in entity_recognizer/config.pbtxt, $TRIDENT_GALLERY_URL here, or "
    "the file in the user's data folder.",
)


def _duration(_context: click.Context, _option: click.Parameter, text: str) -> float:
    try:
        return parse_duration(text)
    except SetupError as exc:
        raise click.BadParameter(str(exc)) from exc


def _share(_context: click.Context, _option: click.Parameter, text: str) -> float:
    try:
        return parse_share(text)
    except SetupError as exc:
        raise click.BadParameter(str(exc)) from exc


def _show_limits(context: click.Context, _option: click.Parameter, wanted: bool) -> None:
    if not wanted:
        return
    table = Table(title="Limits of a rollout, for --limit NAME=VALUE", box=None, pad_edge=False, title_justify="left")
    table.add_column("name")
    table.add_column("what")
    for name, about in described_limits():
        table.add_row(name, about)
    Console().print(table)
    context.exit()


@click.command(short_help="Move components to other versions while the server serves.")
@click.argument("targets", nargs=-1, metavar="COMPONENT VERSION | COMPONENT=VERSION...")
@connection_options
@_repository_option
@click.option(
    "--golden",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder of pictures that both versions answer, with labels or without. Default: a set made from photos that "
    "scikit-image ships.",
)
@click.option("--limit", "limits", multiple=True, metavar="NAME=VALUE", help="Another limit; --limits lists them.")
@click.option(
    "--limits",
    "show_limits",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_show_limits,
    help="List the limits and their defaults.",
)
@click.option(
    "--canary", default="0%", callback=_share, metavar="SHARE", help="Traffic that the new version answers first."
)
@click.option("--for", "canary_s", default="60s", callback=_duration, metavar="TIME", help="How long, as 60s or 5m.")
@click.option(
    "--watch",
    "watch_s",
    default=f"{DEFAULT_WATCH_S:g}s",
    show_default=True,
    callback=_duration,
    metavar="TIME",
    help="How long errors and latency are watched after the flip; beyond the limits it goes back by itself.",
)
@click.option(
    "--report",
    type=click.Path(file_okay=False, path_type=Path),
    default=REPORTS,
    show_default=True,
    help="Folder for the report with the worst pictures.",
)
@click.option(
    "--identity-threshold",
    type=click.FloatRange(0, 1),
    help="For face_embedder: smallest cosine similarity of one person's faces with the new network.",
)
@_gallery_option
@fleet_option
@click.option("--resume", is_flag=True, help="Go on with a rollout that was interrupted.")
@click.option("--abort", is_flag=True, help="Take back a rollout that was interrupted.")
def rollout(
    *,
    targets: tuple[str, ...],
    model_repository: Path,
    golden: Path | None,
    limits: tuple[str, ...],
    canary: float,
    canary_s: float,
    watch_s: float,
    report: Path,
    identity_threshold: float | None,
    gallery_url: str | None,
    fleet: Path | None,
    resume: bool,
    abort: bool,
    **connection: Any,
) -> None:
    """Move one component, or several in one step, to other versions while the server serves.

    For example `trident rollout classifier 2`, or `trident rollout detector=2 fusion=2 --canary 10% --for 60s`.

    The files are checked, the new version is loaded beside the old, both answer the same pictures, a share of the
    traffic is tried if you ask for it, and then the pins move, all at once. What fails goes no further, and the old
    version goes on answering. The old one stays loaded until `trident retire` or the next rollout.

    With --fleet, several servers are moved so, one after the other, with the canary on the first; where one fails,
    those that have moved go back.

    Exit code 0: the new version answers. 1: it does not, all is as before. 3: interrupted, see `trident status`.
    """
    if resume and abort:
        raise click.UsageError("--resume and --abort exclude each other")
    if bool(targets) == (resume or abort):
        raise click.UsageError(
            "--resume and --abort take no components" if targets else "say what to roll out: COMPONENT VERSION"
        )
    given = {name for name in _OPTIONS if was_given(name)}
    if (resume or abort) and given:
        names = ", ".join(f"--{_OPTIONS[name]}" for name in sorted(given))
        raise click.UsageError(f"{names}: an interrupted rollout goes on, or back, with the options that it began with")
    if "canary_s" in given and "canary" not in given:
        raise click.UsageError("--for says how long a canary runs: give its share too, with --canary")
    AllLimits.with_settings(limits)  # a mistake in them is said before anything is done
    options = Options(
        golden=None if golden is None else golden.absolute(),
        limits=limits,
        canary=canary,
        canary_s=canary_s,
        watch_s=watch_s,
        report=report.absolute(),
        gallery_url=gallery_url,
    )
    if fleet is not None:
        check_alone()
        if resume or abort:
            over_fleet.go_on(fleet, back=abort, gallery_url=gallery_url)
        else:
            over_fleet.roll_out(fleet, parse_targets(targets), options, identity_threshold)
    elif resume or abort:
        _go_on(model_repository, connection, back=abort, gallery_url=gallery_url)
    else:
        with _at_work(model_repository) as (repository, diary, display):
            plan = make_plan(repository, parse_targets(targets), identity_threshold=identity_threshold)
            display.head(_heading(plan))
            with _serving(connection) as serving:
                one = Rollout(repository, serving, diary, LiveChecks(repository, serving, options), display)
                _finish(display, lambda: one.run(plan, options.to_json()))


def _go_on(model_repository: Path, connection: dict[str, Any], *, back: bool, gallery_url: str | None) -> None:
    """Go on with the rollout that was interrupted, or take it back."""
    with _at_work(model_repository) as (repository, diary, display):
        record = diary.unfinished()
        if record is None:
            raise SetupError(f"no rollout of {model_repository} was interrupted")
        options = Options.from_json(record.started.get("options", {}), gallery_url=gallery_url)
        if not was_given("url", by=(ParameterSource.COMMANDLINE,)):
            connection["url"] = record.started.get("server")
        display.head(f"{record}, begun {record.at}, at {connection['url']}")
        with _serving(connection) as serving:
            one = Rollout(repository, serving, diary, LiveChecks(repository, serving, options), display)
            _finish(display, lambda: one.abort(record) if back else one.resume(record))


@click.command(short_help="Go back to the version before.")
@click.argument("component")
@connection_options
@_repository_option
@click.option(
    "--watch", "watch_s", default="0s", show_default=True, callback=_duration, metavar="TIME", help="As for rollout."
)
@fleet_option
def rollback(*, component: str, model_repository: Path, watch_s: float, fleet: Path | None, **connection: Any) -> None:
    """Go back to the version of COMPONENT that answered before the last rollout.

    What moved together goes back together. The way back is short: while the old version is loaded still, only the pins
    move; after `trident retire` it is loaded first.
    """
    check_component(component)
    options = Options(watch_s=watch_s)
    if fleet is not None:
        check_alone()
        over_fleet.roll_back(fleet, component, options)
        return
    with _at_work(model_repository) as (repository, diary, display):
        plan = plan_back(repository, component, diary.records())
        display.head(_heading(plan))
        with _serving(connection) as serving:
            one = Rollout(repository, serving, diary, LiveChecks(repository, serving, options), display)
            _finish(display, lambda: one.run(plan, options.to_json()))


@click.command(short_help="Let versions go that do not answer any more.")
@click.argument("components", nargs=-1, metavar="[COMPONENT...]")
@connection_options
@_repository_option
@fleet_option
def retire(*, components: tuple[str, ...], model_repository: Path, fleet: Path | None, **connection: Any) -> None:
    """Let the versions go that were kept as the way back; of all components, if none is named.

    Their files stay: `trident rollout` and `trident rollback` load them again.
    """
    for name in components:
        check_component(name)
    if fleet is not None:
        check_alone()
        over_fleet.retire(fleet, components or COMPONENTS)
        return
    repository, diary = Repository(model_repository), Journal(model_repository)
    with diary.locked(), _serving(connection) as serving:
        settled, held = engine.retire(repository, serving, diary, components or COMPONENTS)
    if not settled.retired:
        click.echo("Nothing to retire: only the versions that answer are loaded.")
    for name, version in settled.retired:
        memory = held.get(f"{name} {version}")
        click.echo(f"{name} {version} retired" + (f", {memory:.0f} MB" if memory is not None else ""))
    if settled.lingering:
        raise click.ClickException(
            f"{', '.join(settled.lingering)}: requests in flight keep old versions; see trident status"
        )


@click.command(short_help="List the versions of a component: on disk, loaded, rolled out.")
@click.argument("component")
@connection_options
@_repository_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of tables.")
@fleet_option
def versions(*, component: str, model_repository: Path, as_json: bool, fleet: Path | None, **connection: Any) -> None:
    """List what is on disk and loaded of COMPONENT, digests, sources, and the last rollouts."""
    check_component(component)
    if fleet is not None:
        check_alone()
        over_fleet.show_versions(fleet, component, as_json=as_json)
        return
    diary = Journal(model_repository)
    with _serving(connection) as serving:
        found = survey_versions(Repository(model_repository), serving, diary, component)
    if as_json:
        click.echo(found.dumps())
        return
    console = Console()
    console.print(_versions_table(component, found.versions))
    for note in found.notes:
        console.print(Text(note, style="yellow"))
    if found.rollouts:
        console.print(_rollouts_table(found.rollouts))


def _versions_table(component: str, found: tuple[VersionFacts, ...]) -> Table:
    table = Table(title=component, title_justify="left", box=None, pad_edge=False)
    for heading in ("version", "", "state", "MB", "digest", "source"):
        table.add_column(heading, justify="right" if heading in ("version", "MB") else "left", overflow="fold")
    for one in found:
        table.add_row(
            str(one.version),
            one.standing,
            one.state,
            "" if one.memory_mb is None else f"{one.memory_mb:.0f}",
            one.digest.removeprefix("sha256:")[:12] if one.digest else "",
            one.source,
        )
    return table


def _rollouts_table(found: tuple[Past, ...]) -> Table:
    table = Table(title="last rollouts", title_justify="left", box=None, pad_edge=False)
    for heading in ("begun", "by", "what", "outcome"):
        table.add_column(heading, overflow="fold")
    for past in found:
        table.add_row(past.at, past.who, past.what, past.outcome or "not ended")
    return table


def _heading(plan: Plan) -> str:
    derived = RECOGNIZER not in plan.targets and any(change.component == RECOGNIZER for change in plan.changes)
    because = f" ({RECOGNIZER} {plan.after[RECOGNIZER]} is the version that calls it)" if derived else ""
    return f"{plan.kind.capitalize()}: {plan}{because}"


def _finish(display: Display, carry_out: Callable[[], Outcome]) -> None:
    try:
        outcome = carry_out()
    except Interrupted as exc:
        click.echo(f"Interrupted: {exc}", err=True)
        raise click.exceptions.Exit(INTERRUPTED_EXIT) from exc
    except (KeyboardInterrupt, Stop):
        click.echo(
            "Interrupted. One whole release answers. `trident rollout --resume` goes on with the rollout, "
            "`trident rollout --abort` takes it back.",
            err=True,
        )
        raise click.exceptions.Exit(INTERRUPTED_EXIT) from None
    finally:
        display.close()
    if outcome.outcome in (journal.DONE, journal.ABORTED):
        said = "answers" if outcome.outcome == journal.DONE else ""
        click.echo(f"Done in {outcome.seconds:.1f} s: {outcome.sentence} {said}".rstrip() + ".")
        return
    moved = "It went back by itself" if outcome.outcome == journal.ROLLED_BACK else "Nothing has changed"
    raise click.ClickException(f"{outcome.plan} was stopped. {moved}: {_still(outcome)} answers.")


def _still(outcome: Outcome) -> str:
    return ", ".join(f"{change.component} {change.before}" for change in outcome.plan.changes)


@contextmanager
def _at_work(model_repository: Path) -> Iterator[tuple[Repository, Journal, Display]]:
    """The only one who changes the repository, giving way to the server, and stoppable as by Ctrl-C."""
    repository, diary = Repository(model_repository), Journal(model_repository)
    step_back()
    with diary.locked(), stoppable():
        repository.tidy()
        yield repository, diary, Display()


def _serving(connection: Mapping[str, Any]) -> TritonServing:
    server = connection_of(connection)
    return TritonServing(server.url, tls=server.tls, headers=server.headers, admin_key_file=server.admin_key_file)
