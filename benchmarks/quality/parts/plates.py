"""Licence plates: by position, which character is taken for which, and the worst of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

from benchmarks import report
from benchmarks.quality import grids, plots
from benchmarks.quality.asking import PlateAnswers
from benchmarks.quality.characters import NOTHING, Reading, reading
from benchmarks.quality.parts.part import Part, of_version, paired_html, rounded, subheading
from trident.text import edit_distance

_MOST_CONFUSIONS = 25
_LEFT_OUT, _ADDED = "left out", "added"


def plates_part(sides: Mapping[str, PlateAnswers], title: str = "Plates in photos") -> Part:
    """The part on plates, in photos or cut out."""
    readings = {name: reading(one.read, one.labels) for name, one in sides.items()}
    first = next(iter(readings.values()))
    html = [
        report.table(
            ("", *sides),
            [
                ("plates", *(str(len(one.pictures)) for one in sides.values())),
                ("read exactly", *(str(int(one.right.sum())) for one in sides.values())),
                ("nothing read", *(str(sum(not text for text in one.read)) for one in sides.values())),
            ],
        ),
        *paired_html({name: one.right for name, one in sides.items()}, "plates"),
        subheading("By position"),
        report.paragraph(
            "Each text is lined up with its label by the fewest insertions, deletions and replacements; positions are "
            "those of the label, with the number of plates that are so long.",
            "note",
        ),
        plots.by_position(
            {name: one.right_at for name, one in readings.items()},
            [f"{number}\n({count})" for number, count in enumerate(first.texts_at, start=1)],
            xlabel="position (plates that are so long)",
            ylabel="share read right",
            about="share of the characters that were read right, by their position",
        ).to_html(),
    ]
    for name, one in sides.items():
        html += _confused(readings[name], of_version("Characters taken for others", name, sides))
        html += _worst(one, of_version("The worst readings", name, sides))
    figures = {
        name: {
            "plates": len(one.pictures),
            "exact": int(one.right.sum()),
            "by_position": [
                {"position": number, "plates": count, "right": rounded(share)}
                for number, (count, share) in enumerate(
                    zip(readings[name].texts_at, readings[name].right_at, strict=True), start=1
                )
            ],
            "confusions": [
                {"true": true or None, "read": read or None, "count": count}
                for true, read, count in readings[name].confusions
            ],
        }
        for name, one in sides.items()
    }
    return Part(title, html, figures)


plate_crops_part = partial(plates_part, title="Cut-out plates")


def _confused(found: Reading, title: str) -> list[str]:
    if not found.confusions:
        return [subheading(title), report.paragraph("None: every character was read right.")]
    rows: list[Sequence[str]] = [
        (true if true != NOTHING else _ADDED, read if read != NOTHING else _LEFT_OUT, str(count))
        for true, read, count in found.confusions[:_MOST_CONFUSIONS]
    ]
    return [subheading(title), report.table(("true", "read", "times"), rows)]


def _worst(answers: PlateAnswers, title: str) -> list[str]:
    errors = [edit_distance(read, label) for read, label in zip(answers.read, answers.labels, strict=True)]
    order = sorted((row for row, count in enumerate(errors) if count), key=lambda row: -errors[row])[: grids.MOST]
    if not order:
        return [subheading(title), report.paragraph("None: every plate was read exactly.")]
    return [
        subheading(title),
        grids.grid([_cell(answers, row) for row in order], "the plates with the most characters read wrongly"),
    ]


def _cell(answers: PlateAnswers, row: int) -> grids.Cell:
    plate = answers.found[row]
    path = answers.pictures[row].path
    views = [grids.View(path)]
    if plate is not None:
        views = [grids.View(path, [grids.Mark(plate.corners, grids.SAID)]), grids.View(path, around=plate.box)]
    return grids.Cell(views, [grids.said_line(answers.read[row] or "nothing"), grids.true_line(answers.labels[row])])
