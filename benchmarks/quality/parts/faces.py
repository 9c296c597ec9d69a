"""Pairs of faces: ROC and AUC of their similarity, the threshold, and the pairs nearest to the wrong side of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.metrics import roc_auc_score, roc_curve  # type: ignore[import-untyped]

from benchmarks import report
from benchmarks.quality import grids, plots
from benchmarks.quality.asking import FaceAnswers
from benchmarks.quality.parts.part import Part, of_version, paired_html, rounded, shown, subheading
from trident.entities.faces import FoundFace

_FEW_FALSE = 0.01

Floats = npt.NDArray[np.floating[Any]]


@dataclass(frozen=True, slots=True, eq=False)
class PairQuality:
    """How well the similarity tells one person's pairs from two persons'; all None where there are no such pairs."""

    auc: float | None = None
    equal_error: float | None = None
    """The error rate at the threshold at which as many of one person's pairs are parted as others are taken for one."""
    found_at_few: float | None = None
    """Share of one person's pairs that are known at a threshold that takes at most 1 % of the others for one."""
    curve: tuple[Floats, Floats] | None = None
    """The ROC curve: share of two persons' pairs taken for one, share of one person's pairs known."""


def pair_quality(same_P: npt.NDArray[np.bool_], similarity_P: Floats) -> PairQuality:
    """Evaluate similarities of P pairs."""
    if same_P.all() or not same_P.any():
        return PairQuality()
    false, found, _ = roc_curve(same_P, similarity_P)
    nearest = int(np.argmin(np.abs(1 - found - false)))
    return PairQuality(
        auc=float(roc_auc_score(same_P, similarity_P)),
        equal_error=float((1 - found[nearest] + false[nearest]) / 2),
        found_at_few=float(found[false <= _FEW_FALSE].max()),
        curve=(false, found),
    )


def faces_part(sides: Mapping[str, FaceAnswers]) -> Part:
    """The part on faces."""
    qualities = {name: pair_quality(one.same, one.similarity) for name, one in sides.items()}
    first = next(iter(sides.values()))
    html = [
        report.table(
            ("", *sides),
            [
                ("AUC", *(shown(one.auc) for one in qualities.values())),
                ("equal error rate", *(shown(one.equal_error) for one in qualities.values())),
                ("known, with at most 1 % false", *(shown(one.found_at_few) for one in qualities.values())),
                ("threshold in use", *(f"{one.threshold:g}" for one in sides.values())),
                ("pairs right at it", *(f"{int(one.right.sum())} of {len(one.pairs)}" for one in sides.values())),
                ("pictures without a face", *(str(one.missing) for one in sides.values())),
            ],
        ),
        report.paragraph(
            f"{int(first.same.sum())} pairs of one person, {int((~first.same).sum())} of two, of "
            f"{len(first.faces)} pictures; the largest face of each counts. A face that was not found is "
            "nobody's: similarity -1.",
            "note",
        ),
        *paired_html({name: one.right for name, one in sides.items()}, "pairs"),
    ]
    drawn = {name: one for name, one in qualities.items() if one.curve is not None}
    if drawn:
        html += [subheading("ROC"), _roc(sides, drawn)]
    html += [
        subheading("Similarities"),
        plots.similarities(
            {name: (one.similarity, one.same, one.threshold) for name, one in sides.items()},
            about="how many pairs of one person and of two have which similarity",
        ).to_html(),
    ]
    for name, one in sides.items():
        html += [subheading(of_version("Wrong, or nearest to it", name, sides)), _worst(one)]
    figures = {
        name: {
            "pairs": len(one.pairs),
            "same": int(one.same.sum()),
            "pictures": len(one.faces),
            "right": int(one.right.sum()),
            "threshold": one.threshold,
            "auc": rounded(qualities[name].auc),
            "equal_error_rate": rounded(qualities[name].equal_error),
            "known_at_1_percent_false": rounded(qualities[name].found_at_few),
            "pictures_without_a_face": one.missing,
        }
        for name, one in sides.items()
    }
    return Part("Faces", html, figures)


def _roc(sides: Mapping[str, FaceAnswers], drawn: Mapping[str, PairQuality]) -> str:
    lines, marks = [], []
    for name, quality in drawn.items():
        assert quality.curve is not None
        lines.append(plots.Line(f"{name}, AUC {shown(quality.auc)}", *quality.curve, step=True))
        same_P, taken_P = sides[name].same, sides[name].similarity >= sides[name].threshold
        marks.append((float(taken_P[~same_P].mean()), float(taken_P[same_P].mean())))
    return plots.curves(
        [plots.Panel("○ the threshold in use", lines, marks)],
        "share of two persons' pairs taken for one",
        "share of one person's pairs known",
        diagonal=True,
        about="ROC curve of the similarity of faces",
    ).to_html()


def _worst(answers: FaceAnswers) -> str:
    similarity_P, same_P = answers.similarity, answers.same
    margin_P = np.where(same_P, 1, -1) * (similarity_P - answers.threshold)
    cells = []
    for row in np.argsort(margin_P, kind="stable")[: grids.MOST].tolist():
        pair = answers.pairs[row]
        views = [_view(answers.faces[path], path) for path in (pair.a, pair.b)]
        said = "one person" if similarity_P[row] >= answers.threshold else "two persons"
        cells.append(
            grids.Cell(
                views,
                [
                    grids.said_line(f"{said}, similarity {similarity_P[row]:.3f}"),
                    grids.true_line("one person" if pair.same else "two persons"),
                ],
            )
        )
    return grids.grid(cells, "the pairs that are wrong, or nearest to the threshold")


def _view(face: FoundFace | None, path: Any) -> grids.View:
    return grids.View(path) if face is None else grids.View(path, around=face.box)
