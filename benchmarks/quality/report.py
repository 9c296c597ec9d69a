"""The report: the figures of every version beside the floors, and its parts, as HTML, as JSON and in the terminal."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rich.table import Table

from benchmarks import report
from benchmarks.quality.measures import Measure
from benchmarks.quality.parts.boxes import boxes_part
from benchmarks.quality.parts.categories import categories_part
from benchmarks.quality.parts.classes import classes_part
from benchmarks.quality.parts.faces import faces_part
from benchmarks.quality.parts.part import NONE, Part
from benchmarks.quality.parts.plates import plate_crops_part, plates_part

WHAT = "quality"
TITLE = "Quality, measured through the served endpoint"

PARTS: tuple[tuple[str, str, Callable[[Mapping[str, Any]], Part]], ...] = (
    ("imagenet", "classes", classes_part),
    ("coco", "boxes", boxes_part),
    ("coco", "categories", categories_part),
    ("faces", "faces", faces_part),
    ("plates", "plates", plates_part),
    ("plate_crops", "plate_crops", plate_crops_part),
)
"""The labelled set that a part is on, its name in the JSON, and what makes it of the answers of every version."""


@dataclass(frozen=True, slots=True, eq=False)
class Column:
    """One version, measured."""

    name: str
    measures: Sequence[Measure]
    models: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Version and digest of every model that answered."""
    answers: Mapping[str, Any] = field(default_factory=dict)
    """Of each labelled set."""

    def measure(self, name: str) -> Measure | None:
        """The measure of that name."""
        return next((one for one in self.measures if one.name == name), None)


@dataclass(frozen=True, slots=True, eq=False)
class Measured:
    """A run of the command."""

    columns: Sequence[Column]
    """The first is the one that the floors are for."""
    skipped: Sequence[str]
    """Labelled sets that were not measured, and why."""
    settings: Mapping[str, Any]

    @property
    def missed(self) -> list[str]:
        """Measures whose floor is missed."""
        return [measure.name for measure in self.columns[0].measures if not measure.reached]


def parts_of(columns: Sequence[Column]) -> dict[str, Part]:
    """The parts on what was asked about, by their names in the JSON."""
    return {
        key: make({column.name: column.answers[one] for column in columns})
        for one, key, make in PARTS
        if one in columns[0].answers
    }


def table(columns: Sequence[Column]) -> Table:
    """The figures, each with its floor and the number of pictures."""
    shown = Table(title=TITLE, title_justify="left")
    shown.add_column("measure", no_wrap=True)
    for heading in ["value"] if len(columns) == 1 else [column.name for column in columns]:
        shown.add_column(heading, justify="right", min_width=7)
    shown.add_column("floor", justify="right", no_wrap=True)
    shown.add_column("", no_wrap=True)
    shown.add_column("pictures", justify="right", no_wrap=True)
    for measure in columns[0].measures:
        verdict = "" if measure.floor is None else "[green]ok[/]" if measure.reached else "[bold red]missed[/]"
        shown.add_row(measure.name, *_values(columns, measure), _floor(measure), verdict, str(measure.pictures))
    return shown


def notes(measures: Sequence[Measure]) -> list[str]:
    """What has to be known about single figures."""
    return [f"{measure.name}: {measure.note}." for measure in measures if measure.note]


def summary(measured: Measured) -> report.Summary:
    """What belongs into the committed results."""
    columns = measured.columns
    first = columns[0]
    sets = ", ".join(first.answers) or "none"
    sentences = [
        f"Labelled pictures, put to the served ensemble (sets: {sets}). Intervals are 95 % of what chance in the "
        "choice of the pictures gives: Wilson's for shares, resampled pictures for the gain.",
        f"Floors missed: {', '.join(measured.missed)}." if measured.missed else "All floors are reached.",
    ]
    if len(columns) > 1:
        sentences.append(
            f"Floors and intervals are those of the first column ({first.name}); the others were loaded beside it and "
            "answered the same pictures."
        )
    sentences += [f"Left out {sentence}." for sentence in measured.skipped]
    if measured.settings.get("limit"):
        sentences.append(f"Only the first {measured.settings['limit']} pictures or pairs of each set were taken.")
    headings = ("measure", *(column.name for column in columns), "95 % interval", "floor", "pictures")
    return report.Summary("Quality of the answers", sentences, [report.SummaryTable(headings, _rows(columns))])


def to_json(measured: Measured, facts: Mapping[str, Any], parts: Mapping[str, Part]) -> dict[str, Any]:
    """The figures with all that one needs to measure them again."""
    return {
        "what": WHAT,
        "circumstances": dict(facts),
        "settings": dict(measured.settings),
        "skipped": list(measured.skipped),
        "missed": measured.missed,
        "versions": [
            {
                "name": column.name,
                "models": dict(sorted(column.models.items())),
                "measures": [_measure_json(measure) for measure in column.measures],
                "parts": {key: part.figures[column.name] for key, part in parts.items()},
            }
            for column in measured.columns
        ],
        "summary": summary(measured).to_json(),
    }


def to_html(measured: Measured, facts: Mapping[str, Any], parts: Mapping[str, Part]) -> str:
    """The page."""
    columns = measured.columns
    headings = ("measure", *(column.name for column in columns), "95 % interval", "floor", "pictures")
    html = [
        *(report.paragraph(sentence) for sentence in summary(measured).sentences),
        report.table(headings, _rows(columns)),
        *(report.paragraph(note, "note") for note in notes(columns[0].measures)),
        report.heading("What answered"),
        _models_table(columns),
    ]
    for part in parts.values():
        html += [report.heading(part.title), *part.html]
    html += [
        report.heading("What it was measured on"),
        report.facts_table(facts),
        report.facts_table(measured.settings),
    ]
    return report.page(TITLE, ", ".join(column.name for column in columns), html)


def _rows(columns: Sequence[Column]) -> list[tuple[str, ...]]:
    return [
        (
            measure.name,
            *_values(columns, measure),
            _interval(measure),
            _floor(measure) + ("" if measure.reached else ", missed"),
            str(measure.pictures),
        )
        for measure in columns[0].measures
    ]


def _values(columns: Sequence[Column], measure: Measure) -> list[str]:
    found = [column.measure(measure.name) for column in columns]
    return [NONE if one is None else _number(one.value, one) for one in found]


def _interval(measure: Measure) -> str:
    return "" if measure.interval is None else " to ".join(_number(end, measure) for end in measure.interval)


def _floor(measure: Measure) -> str:
    return "" if measure.floor is None else _number(measure.floor, measure)


def _number(value: float, measure: Measure) -> str:
    return f"{value:+.2f}" if measure.unit else f"{value:.4f}"


def _models_table(columns: Sequence[Column]) -> str:
    names = sorted({name for column in columns for name in column.models})
    rows = [(name, *(_model(column.models.get(name)) for column in columns)) for name in names]
    return report.table(("model", *(column.name for column in columns)), rows)


def _model(model: Mapping[str, Any] | None) -> str:
    return NONE if model is None else f"{model['version']} ({model['digest'][:19]}…)"


def _measure_json(measure: Measure) -> dict[str, Any]:
    return {
        "name": measure.name,
        "value": round(measure.value, 5),
        "unit": measure.unit,
        "interval": None if measure.interval is None else [round(end, 5) for end in measure.interval],
        "floor": measure.floor,
        "reached": measure.reached,
        "pictures": measure.pictures,
        "note": measure.note,
    }
