"""Results and status as tables for a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from rich import box
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from trident.contract import MODELS
from trident_client.results import Analysis, Entity, FaceEntity
from trident_client.status import READY, LoadedVersion, ServerStatus

_SCENE_LABELS = 3
_CATEGORIES = 6
_DIGEST_SHOWN = len("sha256:") + 12


def analysis_tables(name: str, analysis: Analysis) -> list[RenderableType]:
    """One picture in full."""
    parts: list[RenderableType] = [
        Text.assemble(("\n" + name, "bold"), (f"  {analysis.width} × {analysis.height} pixels", "dim")),
        Text.assemble(("scene  ", "dim"), _scene(analysis, len(analysis.scene)) or "–"),
    ]
    categories = _table("category", "score", "classifier", "detector", "entities")
    for one in analysis.categories:
        said = [one.evidence.get(branch) for branch in ("classifier", "detector", "entities")]
        categories.add_row(
            _plain(one.name), _score(one.score), *("–" if score is None else _score(score) for score in said)
        )
    parts.append(categories if analysis.categories else Text("no category", style="dim"))

    objects = _table("#", "object", "score", "box", "fine label", "entities")
    for number, thing in enumerate(analysis.objects):
        linked = ", ".join(_entity_name(analysis.entities[i]) for i in thing.entities)
        objects.add_row(
            str(number),
            _plain(thing.category),
            _score(thing.score),
            _pixels(thing.box),
            _plain(thing.fine_label or ""),
            _plain(linked),
        )
    parts.append(objects if analysis.objects else Text("no object", style="dim"))

    entities = _table("entity", "score", "box", "reads or is", "how surely", "of object")
    for entity in analysis.entities:
        sureness = _sureness(entity)
        entities.add_row(
            entity.type,
            _score(entity.score),
            _pixels(entity.box),
            _plain(_entity_name(entity)),
            "–" if sureness is None else _score(sureness),
            "–" if entity.object is None else f"{entity.object} {analysis.objects[entity.object].category}",
        )
    parts.append(entities if analysis.entities else Text("no face and no plate", style="dim"))
    models = ", ".join(f"{model} {version.version}" for model, version in analysis.models.items())
    parts.append(Text(f"answered by {models}", style="dim"))
    return parts


def row_of(name: str, analysis: Analysis | None) -> tuple[str, ...]:
    """One picture in one row of ``overview_table``; None stands for one that was not answered."""
    if analysis is None:
        return name, "not answered", "", "", "", ""
    categories = [f"{one.name} {one.score:.2f}" for one in analysis.categories[:_CATEGORIES]]
    faces = [_entity_name(face) for face in analysis.faces]
    return (
        name,
        _scene(analysis, 1),
        ", ".join(categories),
        str(len(analysis.objects)),
        ", ".join(_counted(faces)),
        ", ".join(_entity_name(plate) for plate in analysis.plates),
    )


def overview_table(rows: Iterable[Sequence[str]], *, folder: str = "") -> Table:
    """Many pictures, a row each; ``folder`` is what their names are relative to."""
    table = _table("picture", "scene", "shows", "objects", "faces", "plates")
    for row in rows:
        style = "red" if row[1] == "not answered" else None
        table.add_row(*(_plain(cell) for cell in row), style=style)
    if folder:
        table.title, table.title_justify = Text(f"in {folder}", style="dim"), "left"
    return table


def status_tables(status: ServerStatus, origins: Mapping[str, str]) -> list[RenderableType]:
    """A server and its models."""
    known = " ".join(filter(None, (status.name, status.version))) or "server"
    state = ("ready", "bold green") if status.ready else ("not ready", "bold red")
    table = _table("model", "version", "state", "pinned by")
    sources = _table("model", "version", "digest", "came from")
    for model in status.models:
        if not model.versions:
            table.add_row(_plain(model.name), "–", Text("not loaded", style="red"), "")
        for number, version in enumerate(model.versions):
            pinned = model.pinned_by or "" if model.pinned == version.version else ""
            table.add_row(
                _plain(model.name if number == 0 else ""), str(version.version), _state(version), _plain(pinned)
            )
        own = model.name in MODELS and not MODELS[model.name].network
        known_digests = [(version.version, version.digest) for version in model.versions if version.digest is not None]
        for number, (version_number, digest) in enumerate(known_digests):
            source = "Trident's own code" if own else origins.get(digest, "")
            name = model.name if number == 0 else ""
            sources.add_row(_plain(name), str(version_number), digest[:_DIGEST_SHOWN], _plain(source))
    parts: list[RenderableType] = [Text.assemble((known, "bold"), f" at {status.url}: ", state), table]
    return [*parts, sources] if sources.row_count else parts


def _state(version: LoadedVersion) -> Text:
    good = version.state == READY
    state = version.state.lower()
    return Text(state if good or not version.reason else f"{state}: {version.reason}", "green" if good else "yellow")


def _table(*columns: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    numbers = {"score", "classifier", "detector", "entities", "objects", "how surely"}
    for column in columns:
        right = column in numbers and not (column == "entities" and columns[0] == "#")
        table.add_column(column, justify="right" if right else "left", overflow="fold")
    return table


def _plain(text: str) -> Text:
    """Text that is data: never read as markup."""
    return Text(text)


def _scene(analysis: Analysis, count: int) -> str:
    return ", ".join(f"{one.label} {one.score:.2f}" for one in analysis.scene[: min(count, _SCENE_LABELS)])


def _score(score: float) -> str:
    return f"{score:.2f}"


def _pixels(box: tuple[float, float, float, float]) -> str:
    return ", ".join(f"{edge:.0f}" for edge in box)


def _entity_name(entity: Entity) -> str:
    if isinstance(entity, FaceEntity):
        return "unknown face" if entity.identity is None else entity.identity.name
    return entity.text or "unread plate"


def _sureness(entity: Entity) -> float | None:
    if isinstance(entity, FaceEntity):
        return None if entity.identity is None else entity.identity.similarity
    return entity.text_score


def _counted(names: Iterable[str]) -> list[str]:
    counts: dict[str, int] = {}
    for name in names:
        counts[name] = counts.get(name, 0) + 1
    return [name if count == 1 else f"{count} × {name}" for name, count in counts.items()]
