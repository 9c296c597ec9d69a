"""``trident explain``: what one answer rests on."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from trident.contract import MAX_BATCH_SIZE
from trident.explain.contributions import CategorySplit, split, split_of, splits_above
from trident.explain.explanation import Canonical, Question, View, Watch, canonical, explain_box, explain_class
from trident.explain.page import render
from trident.explain.picture import sheet_image
from trident.explain.saliency import Advance, Method, Plan
from trident.explain.served import version_of
from trident.explain.sheet import Sheet, split_table
from trident.explain.targets import (
    BoxTarget,
    ClassTarget,
    category_named,
    choose_box,
    choose_class,
    class_named,
)
from trident.explain.weights import FUSION, KnownWeights, weights_that_answered
from trident.fusion.taxonomy import load_taxonomy
from trident.layout import DEFAULT_REPOSITORY
from trident.rollout.serving import TritonServing
from trident_client.client import TridentClient
from trident_client.errors import AnswerError, ServerUnreachable
from trident_client.options import Connection, connection_of, connection_options
from trident_client.pictures import encoded
from trident_client.results import Analysis

SHOWN_ABOVE = 0.1
"""Fused score from which a category is shown, unless the caller says otherwise."""
MASKS = 400
"""Most masked pictures for each network, unless the caller says otherwise."""
_PNG, _PAGE = (".png",), (".html", ".htm")
# File names and sentences are data, not markup, and are not to be broken or coloured.
_PLAIN: dict[str, Any] = {"markup": False, "highlight": False, "soft_wrap": True}


@click.command(short_help="Show what an answer about a photo rests on.")
@click.argument("photo", metavar="PHOTO", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--category",
    metavar="NAME",
    help="Explain this COCO category: its score, all the classifier's classes that are a kind of it, and its best box.",
)
@click.option("--label", metavar="NAME", help="Explain this class of the classifier's, instead of its first label.")
@click.option(
    "--box", type=click.IntRange(min=0), metavar="N", help="Explain this object, by its # in trident analyze."
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Where the picture goes: .png, or .html for a page.  [default: PHOTO's name with -explained.png, here]",
)
@click.option("--table-only", is_flag=True, help="Only the table of the branches: one request, and no picture.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
@click.option(
    "--method",
    type=click.Choice([method.value for method in Method]),
    default=Method.OCCLUSION.value,
    show_default=True,
    help="Hide one window after the other, or random parts, many at a time.",
)
@click.option(
    "--masks",
    type=click.IntRange(min=4, max=20_000),
    default=MASKS,
    show_default=True,
    help="Most masked pictures for each of the two networks; more give finer maps.",
)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of the random masks.")
@click.option(
    "--batch",
    type=click.IntRange(min=1, max=MAX_BATCH_SIZE),
    default=MAX_BATCH_SIZE,
    show_default=True,
    help="Pictures in one call; fewer are kinder to other callers.",
)
@click.option(
    "--threshold",
    type=click.FloatRange(0, 1),
    default=SHOWN_ABOVE,
    show_default=True,
    help="Lowest fused score to show.",
)
@click.option(
    "--model-repository",
    type=click.Path(file_okay=False, path_type=Path),
    default=DEFAULT_REPOSITORY,
    show_default="the clone's own",
    help="Where the weights of the fusion are looked up; without it they are worked out of the answer.",
)
@connection_options
def explain(
    *,
    photo: Path,
    category: str | None,
    label: str | None,
    box: int | None,
    out: Path | None,
    table_only: bool,
    as_json: bool,
    method: str,
    masks: int,
    seed: int,
    batch: int,
    threshold: float,
    model_repository: Path,
    **connection: Any,
) -> None:
    """Show what the answer about one photo rests on.

    A table says what each branch added to the score of each category. A picture shows what in the photo the classifier
    went by, and the detector for one box: parts of the photo are hidden, and the networks that answered are asked
    again, each over as many pictures as --masks says; that takes as long as they need for so many.

    The maps show what the networks went by, not whether they are right.
    """
    if table_only and (out, label, box) != (None, None, None):
        raise click.UsageError("--table-only makes no picture: leave out --out, --label and --box")
    taxonomy = load_taxonomy()
    wanted = None if category is None else category_named(category, taxonomy)
    wanted_class = None if label is None else class_named(label, taxonomy)
    target = None if table_only else _checked_out(out, photo)
    picture, server = encoded(photo), connection_of(connection)

    analysis = _analyze(picture, server)
    known, splits = _split(analysis, wanted, threshold, model_repository)
    told = Sheet(photo.name, analysis, known, splits)
    if target is not None:
        class_target = choose_class(analysis, taxonomy, wanted_class, wanted)
        box_target = choose_box(analysis, taxonomy, box, wanted)
        plan = Plan(Method(method), masks, seed, batch)
        views, pixels = _look(picture, server, analysis, (class_target, box_target), plan)
        told = Sheet(photo.name, analysis, known, splits, views, _notes(category, class_target, box_target))
        _write(target, told, pixels)

    if as_json:
        document = {**told.to_json(), "picture": None if target is None else str(target)}
        click.echo(json.dumps(document, ensure_ascii=False, indent=2))
    else:
        _show(told, target)


def _checked_out(out: Path | None, photo: Path) -> Path:
    """Where the picture goes. Raises click.BadParameter, before any work is done, for a place that cannot be."""
    target = out or Path(f"{photo.stem}-explained.png")
    if target.suffix.lower() not in (*_PNG, *_PAGE):
        raise click.BadParameter(f"expected a name that ends in .png or .html, got {target}", param_hint="--out")
    if not target.parent.is_dir():
        raise click.BadParameter(f"there is no folder {target.parent}", param_hint="--out")
    if target.is_dir() or (target.exists() and target.samefile(photo)):
        raise click.BadParameter(f"{target} is a folder, or the photo itself: say another name", param_hint="--out")
    return target


def _analyze(picture: bytes, server: Connection) -> Analysis:
    with TridentClient(server.url, tls=server.tls, headers=server.headers) as client:
        try:
            return client.analyze(picture, tensors=True)
        except ServerUnreachable as exc:
            raise click.ClickException(f"{exc}; start one with: trident serve") from exc


def _split(
    analysis: Analysis, category: int | None, threshold: float, repository: Path
) -> tuple[KnownWeights, tuple[CategorySplit, ...]]:
    """The weights, and the scores that are shown: that of one category, or all from the threshold on."""
    tensors = analysis.tensors
    if tensors is None:
        raise AnswerError("expected the typed outputs with the answer, got none")
    evidence = tensors.category_evidence
    known = weights_that_answered(version_of(analysis, FUSION), tensors.category_scores, evidence, repository)
    found, names = split(evidence, known.weights), load_taxonomy().categories
    if category is not None:
        return known, (split_of(found, names, category),)
    return known, splits_above(found, names, threshold)


def _look(
    picture: bytes,
    server: Connection,
    analysis: Analysis,
    targets: tuple[ClassTarget | None, BoxTarget | None],
    plan: Plan,
) -> tuple[tuple[View, ...], Canonical]:
    """What the networks went by, and the photo as they see it."""
    class_target, box_target = targets
    views = []
    with TritonServing(server.url, headers=server.headers, tls=server.tls) as serving, _watched() as watch:
        pixels = canonical(serving, picture, analysis)
        question = Question(serving, analysis, pixels, plan, watch)
        if class_target is not None:
            views.append(explain_class(question, class_target))
        if box_target is not None:
            views.append(explain_box(question, box_target, load_taxonomy()))
    return tuple(views), pixels


def _notes(category: str | None, class_target: ClassTarget | None, box_target: BoxTarget | None) -> tuple[str, ...]:
    """Why there is no map of one of the networks."""
    what = "object" if category is None else category
    notes = []
    if class_target is None:
        notes.append(f"No class of the classifier's is a kind of {what}: there is no map of the classifier.")
    if box_target is None:
        notes.append(f"The detector found no {what}: there is no map of the detector.")
    return tuple(notes)


def _write(target: Path, told: Sheet, pixels: Canonical) -> None:
    """Write the picture or the page, whole or not at all."""
    if target.suffix.lower() in _PNG:
        file = io.BytesIO()
        sheet_image(told, pixels.photo).save(file, "PNG")
        data = file.getvalue()
    else:
        data = render(told, pixels.photo).encode()
    unfinished = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        try:
            unfinished.write_bytes(data)
            unfinished.replace(target)
        finally:
            unfinished.unlink(missing_ok=True)
    except OSError as exc:
        raise click.ClickException(f"--out: cannot write {target}: {exc.strerror or exc}") from exc


def _show(told: Sheet, target: Path | None) -> None:
    console = Console()
    console.print(f"{told.photo}: {told.lead}", **_PLAIN)
    console.print(split_table(told.splits))
    console.print(told.weighed, **_PLAIN)
    for view in told.views:
        x, y = view.hottest
        console.print(f"\n{view.heading}", **_PLAIN)
        for sentence in (*view.sentences, f"The hottest point lies at {x:.0f}, {y:.0f}."):
            console.print(f"  {sentence}", **_PLAIN)
    for note in told.notes:
        console.print(f"\n{note}", **_PLAIN)
    if target is not None:
        console.print(f"\nwrote {target}", **_PLAIN)


@contextmanager
def _watched() -> Iterator[Watch]:
    """A bar for each network on standard error, for a person who watches."""
    console = Console(stderr=True)
    with Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
        redirect_stdout=False,
        redirect_stderr=False,
    ) as progress:

        def watch(what: str, total: int) -> Advance:
            task = progress.add_task(what, total=total)
            return lambda count: progress.advance(task, count)

        yield watch
