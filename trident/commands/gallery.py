"""``trident gallery``: enrol people, list them, forget them."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np
from rich.console import Console
from rich.table import Table
from rich.text import Text

from trident.contract import EMBEDDER, FACE_SIDE
from trident.entities.faces import find_faces
from trident.entities.gallery import (
    URL_VARIABLE,
    Embeddings,
    Gallery,
    clean_name,
    ensure_outside,
    gallery_ready_for,
)
from trident.entities.local import LocalNetworks, read_limits, read_settings
from trident.entities.pictures import Pictures
from trident.entities.sealing import KEY_VARIABLE, new_key
from trident.entities.settings import Settings
from trident.entities.types import Box, Identity
from trident.errors import InvalidInput, SetupError
from trident.layout import DEFAULT_REPOSITORY
from trident.preprocess import Limits, prepare
from trident.provenance import unpack

MIN_ENROLL_SCORE = 0.5
"""A face that the detector is less sure of is not worth enrolling."""

_FACE_NETWORKS = ("face_detector", EMBEDDER)
_NAMES_SHOWN = 5

_url_option = click.option(
    "--url",
    help=f"SQLAlchemy URL of the gallery's database. Default: ${URL_VARIABLE}, else a file in the user's data folder.",
)
_repository_option = click.option(
    "--model-repository",
    type=click.Path(file_okay=False, path_type=Path),
    default=DEFAULT_REPOSITORY,
    show_default="the project's",
    help="Folder of the models that the server loads.",
)


@dataclass(frozen=True, slots=True)
class Enrollable:
    """The largest face of one photo."""

    box: Box
    embedding: Embeddings
    network: str
    """Digest of the network that made the embedding."""
    faces: int
    """How many faces the photo shows."""


@click.group()
def gallery() -> None:
    """Enrol, list and forget the people whose faces are recognized."""


@gallery.command()
@click.argument("name")
@click.argument("photos", metavar="PHOTO...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--with",
    "others",
    metavar="COMPONENT=VERSION",
    multiple=True,
    callback=lambda _context, _option, given: _other_versions(given),
    help="Use this version of face_embedder, or face_detector, instead of the one that serves: to enrol people again "
    "before a new embedder is rolled out. Repeatable.",
)
@_url_option
@_repository_option
def enroll(
    name: str, photos: tuple[Path, ...], others: Mapping[str, int], url: str | None, model_repository: Path
) -> None:
    """Enrol the largest face of each PHOTO under NAME.

    Only embeddings are stored, never photos. A running server knows the person within seconds. Photos that cannot be
    used are named, the others are enrolled; the exit code is 0 only if all were.
    """
    name = clean_name(name)
    settings = read_settings(model_repository)
    limits = read_limits(model_repository)
    versions = {**settings.versions, **others}
    serves = versions[EMBEDDER] == settings.versions[EMBEDDER]
    networks = LocalNetworks(model_repository, versions)
    found: list[Enrollable] = []
    failed = 0
    with Gallery(url) as people:
        ensure_outside(people, model_repository)
        _say_what_to_mind(people)
        for photo in photos:
            try:
                best = _largest_face(photo, networks, settings, limits)
            except (InvalidInput, OSError) as exc:
                reason = exc.strerror if isinstance(exc, OSError) and exc.strerror else str(exc)
                click.echo(f"{photo}: not enrolled: {reason}", err=True)
                failed += 1
                continue
            x1, y1, x2, y2 = (round(value) for value in best.box)
            which = "its face" if best.faces == 1 else f"the largest of its {best.faces} faces"
            click.echo(f"{photo}: took {which}, {x2 - x1}×{y2 - y1} pixels at ({x1}, {y1})")
            found.append(best)
        if not found:
            raise click.ClickException(f"nothing was enrolled for {name!r}")
        embeddings = np.stack([best.embedding for best in found])
        network = found[0].network
        before = people.snapshot()
        if complaint := before.complaint():
            click.echo(f"Mind: {complaint}.", err=True)
        if serves:  # the threshold is its own
            _say_likeness(name, before.match(embeddings, network, settings.identity_threshold))
        people.enroll(name, embeddings, network)
        what = "" if serves else f" for {EMBEDDER} version {versions[EMBEDDER]}"
        click.echo(f"{name}: {len(found)} face{'s' if len(found) > 1 else ''} enrolled{what} in {people}")
        if not serves:
            served = _network_of(LocalNetworks(model_repository, settings.versions))
            _say_who_is_left(people, served, network, settings.versions[EMBEDDER], versions[EMBEDDER])
        elif strangers := people.snapshot().strangers(network):
            _say_strangers(strangers, settings.versions[EMBEDDER])
    if failed:
        raise click.ClickException(f"{failed} of {len(photos)} photos could not be used")


@gallery.command("list")
@_url_option
@_repository_option
def list_people(url: str | None, model_repository: Path) -> None:
    """List the people in the gallery: how many of their faces are known to the network that serves, and to others."""
    console = Console()
    with Gallery(url) as database:
        _say_what_to_mind(database)
        people = database.people()
        if not people:
            console.print(f"Nobody is enrolled in {database}.", soft_wrap=True, markup=False)
            return
        settings = read_settings(model_repository)
        version = settings.versions[EMBEDDER]
        current = _network_of(LocalNetworks(model_repository, settings.versions))
        table = Table(title=Text(str(database)))
        table.add_column("name", overflow="fold")
        table.add_column(f"for {EMBEDDER} {version}", justify="right")
        table.add_column("for others", overflow="fold")
        table.add_column("enrolled (UTC)")
        known = {} if current is None else _other_embedders(model_repository, settings.versions)
        for person in people:
            served = "?" if current is None else str(person.embeddings.get(current, 0))
            others = [
                f"{count} for {known.get(network, _short(network))}"
                for network, count in sorted(person.embeddings.items())
                if network != current
            ]
            # As Text: a name may hold square brackets, which Rich would read as markup.
            cells = (person.name, served, ", ".join(others), f"{person.enrolled:%Y-%m-%d %H:%M}")
            table.add_row(*map(Text, cells))
        console.print(table)
        if complaint := database.snapshot().complaint():
            click.echo(f"Mind: {complaint}.", err=True)
    if current is None:
        click.echo(
            "The networks are not exported here, so it is not known which of these embeddings are in use.", err=True
        )
    elif strangers := [person.name for person in people if current not in person.embeddings]:
        _say_strangers(strangers, version)


@gallery.command()
@click.argument("name")
@_url_option
def forget(name: str, url: str | None) -> None:
    """Delete NAME and all embeddings of this person for good."""
    with Gallery(url) as people:
        _say_what_to_mind(people)
        count = people.forget(name)
        click.echo(f"{clean_name(name)}: forgotten, {_embeddings(count)} deleted from {people}")


@gallery.command("new-key")
def print_new_key() -> None:
    """Print a new key to encrypt a gallery with, for the environment variable TRIDENT_GALLERY_KEY.

    Keep it where the database and its backups are not: without it, nobody in an encrypted gallery is recognized.
    """
    click.echo(new_key())


@gallery.command()
@_url_option
def encrypt(url: str | None) -> None:
    """Encrypt a gallery with the first key of TRIDENT_GALLERY_KEY, or change it to that key.

    To change keys, set the variable to the new and the old one, separated by a comma, and start the servers with it;
    then run this, and leave the old one out. What was there is overwritten; backups are not.
    """
    with Gallery(url) as people:
        count = people.reseal(encrypted=True)
        if count is None:
            click.echo(f"{people} is encrypted with the first key of {KEY_VARIABLE} already.")
        else:
            click.echo(f"{people}: {_embeddings(count)} encrypted, and the names of their people")
        _say_what_to_mind(people)


@gallery.command()
@_url_option
def decrypt(url: str | None) -> None:
    """Undo the encryption of a gallery; TRIDENT_GALLERY_KEY has its key."""
    with Gallery(url) as people:
        count = people.reseal(encrypted=False)
        what = "is not encrypted" if count is None else f"{_embeddings(count)} decrypted"
        click.echo(f"{people}: {what}. Unset {KEY_VARIABLE} now, also for the servers.")


def _other_versions(given: tuple[str, ...]) -> dict[str, int]:
    """The values of ``--with``, understood. Raises click.BadParameter."""
    versions: dict[str, int] = {}
    for one in given:
        name, _, number = one.partition("=")
        if name not in _FACE_NETWORKS or not number.isdecimal() or int(number) < 1:
            raise click.BadParameter(f"expected face_embedder=VERSION or face_detector=VERSION, got {one!r}")
        if name in versions:
            raise click.BadParameter(f"{name} is named twice")
        versions[name] = int(number)
    return versions


def _say_what_to_mind(people: Gallery) -> None:
    """Mention what is wrong with how the gallery is kept. Raises SetupError if it cannot be opened."""
    for sentence in people.check():
        click.echo(f"Mind: {sentence}.", err=True)


def _embeddings(count: int) -> str:
    return f"{count} embedding{'s' if count != 1 else ''}"


def _say_strangers(names: list[str], version: int) -> None:
    who = "1 person is" if len(names) == 1 else f"{len(names)} people are"
    click.echo(
        f"Mind: {who} enrolled for other networks than {EMBEDDER} version {version} only, and will not be recognized: "
        f"{_some(names)}. Enrol them again.",
        err=True,
    )


def _say_who_is_left(people: Gallery, served: str | None, network: str, old: int, new: int) -> None:
    """What is still to be done before the embedder can be rolled out."""
    if served is None:
        return
    if served == network:
        click.echo(f"{EMBEDDER} versions {old} and {new} are the same network: what is enrolled for one is for both.")
    elif left := gallery_ready_for(people, served, network):
        click.echo(f"Still to enrol for {EMBEDDER} version {new}: {_some(left)}.")
    else:
        click.echo(f"Everybody whom {EMBEDDER} version {old} knows is enrolled for version {new} too.")


def _some(names: list[str]) -> str:
    more = len(names) - _NAMES_SHOWN
    return ", ".join(names[:_NAMES_SHOWN]) + (f" and {more} more" if more > 0 else "")


def _largest_face(photo: Path, networks: LocalNetworks, settings: Settings, limits: Limits) -> Enrollable:
    """Find and embed the largest face of a photo.

    Raises:
        InvalidInput: it is no picture that can be served, or shows no face.
        OSError: it cannot be read.
    """
    pictures = _canonical(photo.read_bytes(), limits)
    found = asyncio.run(find_faces(pictures, networks.infer, settings))
    faces = [face for face in found if face.score >= MIN_ENROLL_SCORE]
    largest = max(faces, key=lambda face: face.area, default=None)
    if largest is None:
        raise InvalidInput("no face was found in it")
    if largest.embedding is None:
        raise InvalidInput("its largest face is too blurred or too small to be recognized again")
    return Enrollable(largest.box, largest.embedding, largest.network, len(faces))


def _canonical(encoded: bytes, limits: Limits) -> Pictures:
    """What the server's preprocess makes of one encoded picture."""
    canonical = prepare(encoded, limits)
    return Pictures(
        canonical.canvas[None], canonical.detail[None], np.array([[canonical.width, canonical.height]], dtype=np.int32)
    )


def _say_likeness(name: str, matches: list[Identity | None]) -> None:
    """Mention faces that the gallery knows under another name."""
    for other in sorted({match.name for match in matches if match is not None and match.name != name}):
        click.echo(f"Mind: a face of {name!r} looks like {other!r}, who is in the gallery already.", err=True)


def _other_embedders(model_repository: Path, versions: Mapping[str, int]) -> dict[str, str]:
    """The embedder's versions on disk that do not serve, by digest; those that cannot be asked are left out."""
    folder = model_repository / EMBEDDER
    numbers = sorted(int(path.name) for path in folder.iterdir() if path.name.isdecimal() and path.is_dir())
    found: dict[str, str] = {}
    for number in numbers:
        if number != versions[EMBEDDER]:
            digest = _network_of(LocalNetworks(model_repository, {**versions, EMBEDDER: number}))
            if digest is not None:
                found.setdefault(digest, f"{EMBEDDER} {number}")
    return found


def _network_of(networks: LocalNetworks) -> str | None:
    """Digest of an embedder; None if it has not been exported."""
    blank = np.zeros((1, FACE_SIDE, FACE_SIDE, 3), dtype=np.uint8)
    try:
        answer = asyncio.run(networks.infer(EMBEDDER, {"PIXELS": blank}))
    except SetupError:
        return None
    made_by = unpack(np.asarray(answer["PROVENANCE"][0], dtype=np.uint8))
    return made_by.digest if made_by else None


def _short(digest: str) -> str:
    return digest[: len("sha256:") + 12]
