"""The classifier: its calibration, what it takes for what, and where it is surest and wrong."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from benchmarks import report
from benchmarks.quality import calibration, grids, plots
from benchmarks.quality.asking import ClassAnswers
from benchmarks.quality.parts.part import Part, of_version, paired_html, rounded, shown, subheading
from trident.fusion.taxonomy import load_taxonomy

_MOST_CONFUSIONS, _MOST_CLASSES = 20, 20


def classes_part(sides: Mapping[str, ClassAnswers]) -> Part:
    """The part on ImageNet's classes."""
    bins = {name: calibration.reliability(one.confidence, one.right) for name, one in sides.items()}
    html = [
        *paired_html({name: one.right for name, one in sides.items()}, "pictures"),
        subheading("Calibration of the first label"),
        report.paragraph(f"{calibration.DEFINITION} Here a score is the probability of the first label.", "note"),
        plots.reliability_diagram(
            bins,
            scores="probability of the first label",
            right="share whose first label is right",
            about="how often the classifier's first label is right, by its probability",
        ).to_html(),
    ]
    for name, one in sides.items():
        html += _confused(one, of_version("The most confused classes", name, sides))
        html += _worst(one, of_version("Surest and wrong", name, sides))
    figures = {
        name: {
            "pictures": len(one.pictures),
            "calibration": bins[name].to_json(),
            "mean_probability_of_label": rounded(float(one.label_probability.mean())),
            "confusions": [
                {"true": true, "said": said, "count": count, "probability": rounded(probability)}
                for true, said, count, probability in confusions(one)
            ],
        }
        for name, one in sides.items()
    }
    return Part("Classes of whole pictures", html, figures)


def confusions(answers: ClassAnswers) -> list[tuple[str, str, int, float]]:
    """True class, what was said first, how often, and its greatest probability; most frequent first, then surest."""
    names = load_taxonomy().names
    return [(names[true], names[said], count, surest) for true, said, count, surest in _confusions(answers)]


def _confusions(answers: ClassAnswers) -> list[tuple[int, int, int, float]]:
    """The same, with indices of classes: names are not unique."""
    counts: Counter[tuple[int, int]] = Counter()
    surest: dict[tuple[int, int], float] = {}
    for true, said, probability in zip(
        answers.labels.tolist(), answers.ranked[:, 0].tolist(), answers.confidence.tolist(), strict=True
    ):
        if true != said:
            counts[true, said] += 1
            surest[true, said] = max(probability, surest.get((true, said), 0.0))
    order = sorted(counts, key=lambda pair: (-counts[pair], -surest[pair]))
    return [(*pair, counts[pair], surest[pair]) for pair in order]


def confusion_of_classes(answers: ClassAnswers) -> tuple[list[int], npt.NDArray[np.int64]]:
    """The classes of the most frequent confusions, true and said, and how often each (row) was called each (column).

    At most 20 classes. The last column is all other classes.
    """
    taking_part: set[int] = set()
    for true, said, _, _ in _confusions(answers):
        pair = {true, said}
        if len(taking_part | pair) > _MOST_CLASSES:
            break
        taking_part |= pair
    chosen = sorted(taking_part)
    place = {index: row for row, index in enumerate(chosen)}
    counts = np.zeros((len(chosen), len(chosen) + 1), dtype=np.int64)
    for true, said in zip(answers.labels.tolist(), answers.ranked[:, 0].tolist(), strict=True):
        if true in place:
            counts[place[true], place.get(said, len(chosen))] += 1
    return chosen, counts


def _confused(answers: ClassAnswers, title: str) -> list[str]:
    found = confusions(answers)
    if not found:
        return [subheading(title), report.paragraph("No picture's first label is wrong.")]
    chosen, counts = confusion_of_classes(answers)
    names = [load_taxonomy().names[index] for index in chosen]
    there = np.flatnonzero(counts.sum(axis=1))  # no picture may be of a class that others are taken for
    rows: list[Sequence[str]] = [
        (true, said, str(count), shown(probability, 2)) for true, said, count, probability in found[:_MOST_CONFUSIONS]
    ]
    return [
        subheading(title),
        report.paragraph(
            f"{sum(count for _, _, count, _ in found)} of {len(answers.pictures)} first labels are wrong. A matrix of "
            f"1,000 classes does not fit: these are the {len(chosen)} classes of the most frequent confusions.",
            "note",
        ),
        plots.matrix(
            counts[there],
            [names[row] for row in there],
            [*names, "any other"],
            ylabel="true class",
            xlabel="first label",
            about="how often each of the most confused classes was called which",
        ).to_html(),
        report.table(("true class", "first label", "pictures", "greatest probability"), rows),
    ]


def _worst(answers: ClassAnswers, title: str) -> list[str]:
    names = load_taxonomy().names
    wrong = np.flatnonzero(~answers.right)
    order = wrong[np.argsort(-answers.confidence[wrong], kind="stable")][: grids.MOST]
    cells = [
        grids.Cell(
            [grids.View(answers.pictures[row].path)],
            [
                grids.said_line(f"{names[answers.ranked[row, 0]]} {answers.confidence[row]:.2f}"),
                grids.true_line(f"{names[answers.labels[row]]} {answers.label_probability[row]:.2f}"),
            ],
        )
        for row in order.tolist()
    ]
    return (
        [subheading(title), grids.grid(cells, "pictures whose first label is wrong, the surest first")] if cells else []
    )
