"""The detector's boxes after fusion: COCO's figures, curves, confusions, calibration, and the worst pictures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from benchmarks import report
from benchmarks.quality import calibration, grids, plots
from benchmarks.quality.asking import CocoAnswers
from benchmarks.quality.boxes import BACKGROUND, LISTED_FROM, SHOWN_FROM, STATS, Matching, confusion, match_all
from benchmarks.quality.parts.part import Part, of_version, rounded, shown, subheading
from trident.fusion.taxonomy import load_taxonomy

CURVES = 5
"""Categories whose own curve is drawn: those with the most objects."""
_MOST_CATEGORIES = 36
_MOST_BOXES_DRAWN = 15
_RECALL = np.linspace(0, 1, 101)


def boxes_part(sides: Mapping[str, CocoAnswers]) -> Part:
    """The part on boxes."""
    taxonomy = load_taxonomy()
    pictures = next(iter(sides.values())).pictures
    objects = Counter(one["category_id"] for one in pictures.truth["annotations"] if not one["iscrowd"])
    name_of = dict(zip(taxonomy.coco_ids, taxonomy.categories, strict=True))
    matchings = {
        name: match_all(pictures.truth, pictures.image_ids, one.typed, taxonomy) for name, one in sides.items()
    }
    confusions = {name: confusion(found) for name, found in matchings.items()}
    bins = {name: _calibration(one) for name, one in sides.items()}
    there = [coco_id for coco_id, _ in objects.most_common()]
    html = [
        report.table(
            ("", *sides), [(stat, *(shown(one.quality.stats[stat]) for one in sides.values())) for stat in STATS]
        ),
        report.paragraph(
            f"{sum(objects.values())} objects of {len(objects)} categories on {len(pictures.paths)} pictures; up to "
            "100 boxes a picture. Small is an area below 32² pixels, large one above 96².",
            "note",
        ),
        subheading("Precision and recall, IoU 0.5"),
        plots.curves(
            [_mean_panel(sides), *(_panel(sides, one, name_of[one]) for one in there[:CURVES])],
            "recall",
            "precision",
            about="precision against recall, the mean and the categories with the most objects",
        ).to_html(),
        subheading("By category"),
        _category_table(sides, objects, name_of),
        subheading("Calibration of the boxes"),
        report.paragraph(
            f"{calibration.DEFINITION} Here a score is that of a box, of at least {LISTED_FROM:g} as RESULT lists "
            "them, and a box is right where COCO's matching gives it an object of its category with an IoU of at "
            "least 0.5 (the detection calibration error of Küppers et al. 2020, by the score alone).",
            "note",
        ),
        plots.reliability_diagram(
            bins,
            scores="score of a box",
            right="share of the boxes that are right",
            about="how often a box is right, by its score",
        ).to_html(),
    ]
    for name, found in matchings.items():
        html += _confusion_html(confusions[name], of_version("Confusions of the shown boxes", name, sides))
        html += _worst(sides[name], found, of_version("Pictures with the most errors", name, sides))
    figures = {
        name: {
            "stats": {stat: rounded(value) for stat, value in one.quality.stats.items()},
            "categories": {
                name_of[coco_id]: {
                    "objects": objects[coco_id],
                    "AP": rounded(one.quality.ap.get(coco_id)),
                    "AP50": rounded(one.quality.ap50.get(coco_id)),
                }
                for coco_id in there
            },
            "calibration": bins[name].to_json(),
            "confusions": _confusion_json(confusions[name]),
        }
        for name, one in sides.items()
    }
    return Part("Boxes", html, figures)


def _calibration(answers: CocoAnswers) -> calibration.Reliability:
    listed_D = answers.quality.scores >= LISTED_FROM
    return calibration.reliability(answers.quality.scores[listed_D], answers.quality.right[listed_D])


def _mean_panel(sides: Mapping[str, CocoAnswers]) -> plots.Panel:
    lines = [
        plots.Line(f"{name}, AP50 {shown(one.quality.stats['AP50'], 3)}", _RECALL, mean_precision(one))
        for name, one in sides.items()
    ]
    return plots.Panel(f"mean of {len(next(iter(sides.values())).quality.ap)} categories", lines)


def mean_precision(answers: CocoAnswers) -> npt.NDArray[np.float64]:
    """[101] precision at IoU 0.5 over the recall, mean of the categories that there are."""
    return np.asarray(np.mean(list(answers.quality.precision.values()), axis=0))


def _panel(sides: Mapping[str, CocoAnswers], coco_id: int, category: str) -> plots.Panel:
    lines = [
        plots.Line(f"{name}, AP50 {one.quality.ap50[coco_id]:.3f}", _RECALL, one.quality.precision[coco_id])
        for name, one in sides.items()
    ]
    return plots.Panel(category, lines)


def _category_table(sides: Mapping[str, CocoAnswers], objects: Counter[int], name_of: Mapping[int, str]) -> str:
    headings = ["category", "objects"]
    for name in sides:
        headings += [of_version("AP", name, sides), of_version("AP50", name, sides)]
    rows = []
    for coco_id, count in objects.most_common():
        row = [name_of[coco_id], str(count)]
        for one in sides.values():
            row += [shown(one.quality.ap[coco_id], 3), shown(one.quality.ap50[coco_id], 3)]
        rows.append(row)
    return report.table(headings, rows)


def _confusion_json(counts: npt.NDArray[np.int64]) -> list[dict[str, object]]:
    names = [*load_taxonomy().categories, None]
    return [
        {"true": names[true], "said": names[said], "count": int(counts[true, said])}
        for true, said in np.argwhere(counts).tolist()
    ]


def _confusion_html(counts: npt.NDArray[np.int64], title: str) -> list[str]:
    """The matrix of the busiest categories; what the others have is added up in one row and column."""
    names = load_taxonomy().categories
    busy = counts[:BACKGROUND].sum(axis=1) + counts[:, :BACKGROUND].sum(axis=0)
    chosen = np.sort(np.argsort(-busy, kind="stable")[:_MOST_CATEGORIES])
    chosen = chosen[busy[chosen] > 0]
    rest = np.setdiff1d(np.flatnonzero(busy), chosen)
    groups = [*([index] for index in chosen.tolist()), *([rest.tolist()] if len(rest) else []), [BACKGROUND]]
    shown_counts = np.array([[counts[np.ix_(rows, columns)].sum() for columns in groups] for rows in groups])
    labels = [*(names[index] for index in chosen), *([f"{len(rest)} others"] if len(rest) else [])]
    found, false, missed = counts[:BACKGROUND, :BACKGROUND], counts[BACKGROUND].sum(), counts[:, BACKGROUND].sum()
    return [
        subheading(title),
        report.paragraph(
            f"Boxes that score at least {SHOWN_FROM:g}, matched with IoU of at least 0.5, those of the same category "
            f"first: {np.trace(found)} objects found, {found.sum() - np.trace(found)} called something else, "
            f"{missed} missed, and {false} boxes where there is nothing.",
            "note",
        ),
        plots.matrix(
            shown_counts,
            [*labels, "nothing there"],
            [*labels, "missed"],
            ylabel="true category",
            xlabel="category of the box",
            about="how often objects of each category were shown as which",
        ).to_html(),
    ]


def _worst(answers: CocoAnswers, matchings: Sequence[Matching], title: str) -> list[str]:
    order = sorted(range(len(matchings)), key=lambda row: -matchings[row].errors)[: grids.MOST]
    cells = [_cell(answers, matchings[row], row) for row in order if matchings[row].errors]
    if not cells:
        return [subheading(title), report.paragraph("No picture has any.")]
    return [
        subheading(title),
        report.paragraph(
            "Only what is wrong is drawn: blue for objects that were missed or called something else, vermilion for "
            "what was shown instead or where there is nothing.",
            "note",
        ),
        grids.grid(cells, "pictures with the most wrong boxes"),
    ]


def _cell(answers: CocoAnswers, found: Matching, row: int) -> grids.Cell:
    names = load_taxonomy().categories
    true = [*found.missed, *(there for _, there in found.confused)]
    said = [*found.false, *(box for box, _ in found.confused)]
    marks = [
        grids.box_mark(found.truth.boxes[index], grids.TRUE, names[found.truth.classes[index]])
        for index in true[:_MOST_BOXES_DRAWN]
    ]
    marks += [
        grids.box_mark(found.shown.boxes[index], grids.SAID, names[found.shown.classes[index]])
        for index in said[:_MOST_BOXES_DRAWN]
    ]
    good = len(found.pairs) - len(found.confused)
    return grids.Cell(
        [grids.View(answers.pictures.paths[row], marks)],
        [
            grids.said_line(f"{len(found.false)} where nothing is, {len(found.confused)} called something else"),
            grids.true_line(f"{len(found.truth)} objects: {good} found, {len(found.missed)} missed"),
        ],
    )
