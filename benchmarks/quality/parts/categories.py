"""The fused image-level categories: ROC and AUC, average precision, calibration, and the worst pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.metrics import roc_auc_score, roc_curve  # type: ignore[import-untyped]

from benchmarks import report
from benchmarks.quality import calibration, grids, metrics, plots
from benchmarks.quality.asking import CocoAnswers
from benchmarks.quality.parts.boxes import CURVES
from benchmarks.quality.parts.part import Part, of_version, rounded, shown, subheading
from trident.fusion.answer import MIN_CATEGORY_SCORE
from trident.fusion.evidence import CLASSIFIER, DETECTOR
from trident.fusion.taxonomy import load_taxonomy

_FALSE_ALARMS = np.linspace(0, 1, 201)

Floats = npt.NDArray[np.floating[Any]]
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class CategoryQuality:
    """How well scores [N, 80] tell the pictures that show a category from the others."""

    ap: Mapping[int, float]
    """Average precision by category, of those that some picture shows."""
    auc: Mapping[int, float]
    """Area under the ROC curve by category, of those that some pictures show and others do not."""
    curves: Mapping[int, tuple[Floats, Floats]]
    """The ROC curve likewise: share of false alarms, share found."""

    @property
    def mean_ap(self) -> float:
        """Over the categories."""
        return float(np.mean(list(self.ap.values())))

    @property
    def mean_auc(self) -> float | None:
        """Over the categories; None if there is none."""
        return float(np.mean(list(self.auc.values()))) if self.auc else None

    @property
    def mean_curve(self) -> Floats:
        """[201] share found over evenly spaced shares of false alarms, the mean of the categories."""
        found = [np.interp(_FALSE_ALARMS, *curve) for curve in self.curves.values()]
        return np.asarray(np.mean(found, axis=0)) if found else np.full(len(_FALSE_ALARMS), np.nan)


def category_quality(present_NC: Bools, scores_NC: Floats) -> CategoryQuality:
    """Evaluate the scores of all categories; those that no picture shows do not count."""
    count = present_NC.sum(axis=0)
    shown_C = np.flatnonzero(count).tolist()
    both_C = np.flatnonzero((count > 0) & (count < len(present_NC))).tolist()
    return CategoryQuality(
        ap={c: metrics.average_precision(present_NC[:, c], scores_NC[:, c]) for c in shown_C},
        auc={c: float(roc_auc_score(present_NC[:, c], scores_NC[:, c])) for c in both_C},
        curves={c: roc_curve(present_NC[:, c], scores_NC[:, c])[:2] for c in both_C},
    )


def categories_part(sides: Mapping[str, CocoAnswers]) -> Part:
    """The part on what pictures show."""
    taxonomy = load_taxonomy()
    present_NC = next(iter(sides.values())).pictures.present(taxonomy)
    fused = {name: category_quality(present_NC, one.category_scores) for name, one in sides.items()}
    # A silent branch ranks a picture last.
    alone = {
        name: {
            branch: category_quality(present_NC, np.maximum(one.evidence[..., column], 0.0))
            for branch, column in (("detector", DETECTOR), ("classifier", CLASSIFIER))
        }
        for name, one in sides.items()
    }
    bins = {name: _calibration(one, present_NC) for name, one in sides.items()}
    busiest = np.argsort(-present_NC.sum(axis=0), kind="stable").tolist()
    drawn = [c for c in busiest if c in next(iter(fused.values())).auc][:CURVES]
    html = [
        _means_table(fused, alone),
        report.paragraph(
            "A branch alone is its evidence before fusion; of categories that it cannot speak of it ranks all pictures "
            "the same.",
            "note",
        ),
        subheading("ROC"),
        plots.curves(
            [_mean_panel(fused, alone), *(_panel(fused, c, taxonomy.categories[c]) for c in drawn)],
            "share of the other pictures that are taken in (false alarms)",
            "share of the pictures that are found",
            diagonal=True,
            about="ROC curves of the image-level categories, the mean and those that most pictures show",
        ).to_html(),
        subheading("By category"),
        _category_table(fused, present_NC),
        subheading("Calibration of the fused scores"),
        report.paragraph(
            f"{calibration.DEFINITION} Here every score of at least {MIN_CATEGORY_SCORE:g} counts, as RESULT lists "
            "them, one for each picture and category; it is right where the picture shows the category. Fused scores "
            "are weighted means of evidence, and were not fitted to be probabilities.",
            "note",
        ),
        plots.reliability_diagram(
            bins,
            scores="fused score of a category",
            right="share of the pictures that show it",
            about="how often a picture shows a category, by its fused score",
        ).to_html(),
    ]
    for name, one in sides.items():
        html += _worst(one, present_NC, of_version("Surest and not there", name, sides), there=False)
        html += _worst(one, present_NC, of_version("There and least sure", name, sides), there=True)
    figures = {
        name: {
            "mean_average_precision": rounded(fused[name].mean_ap),
            "mean_auc": rounded(fused[name].mean_auc),
            "alone": {
                branch: {"mean_average_precision": rounded(one.mean_ap), "mean_auc": rounded(one.mean_auc)}
                for branch, one in alone[name].items()
            },
            "categories": {
                taxonomy.categories[c]: {
                    "pictures": int(present_NC[:, c].sum()),
                    "average_precision": rounded(value),
                    "auc": rounded(fused[name].auc.get(c)),
                }
                for c, value in fused[name].ap.items()
            },
            "calibration": bins[name].to_json(),
        }
        for name in sides
    }
    return Part("Categories of whole pictures", html, figures)


def _calibration(answers: CocoAnswers, present_NC: Bools) -> calibration.Reliability:
    listed_NC = answers.category_scores >= MIN_CATEGORY_SCORE
    return calibration.reliability(answers.category_scores[listed_NC], present_NC[listed_NC])


def _means_table(fused: Mapping[str, CategoryQuality], alone: Mapping[str, Mapping[str, CategoryQuality]]) -> str:
    rows: list[Sequence[str]] = []
    for name, one in fused.items():
        for what, quality in {"fused": one, **{f"{branch} alone": q for branch, q in alone[name].items()}}.items():
            rows.append((of_version(what, name, fused), shown(quality.mean_ap), shown(quality.mean_auc)))
    return report.table(("", "mean average precision", "mean AUC"), rows)


def _mean_panel(
    fused: Mapping[str, CategoryQuality], alone: Mapping[str, Mapping[str, CategoryQuality]]
) -> plots.Panel:
    named = {of_version("fused", name, fused): one for name, one in fused.items()}
    if len(fused) == 1:
        named |= {f"{branch} alone": one for branch, one in next(iter(alone.values())).items()}
    lines = [
        plots.Line(f"{name}, AUC {shown(one.mean_auc, 3)}", _FALSE_ALARMS, one.mean_curve)
        for name, one in named.items()
    ]
    return plots.Panel(f"mean of {len(next(iter(fused.values())).auc)} categories", lines)


def _panel(fused: Mapping[str, CategoryQuality], category: int, title: str) -> plots.Panel:
    lines = [
        plots.Line(f"{name}, AUC {one.auc[category]:.3f}", *one.curves[category], step=True)
        for name, one in fused.items()
    ]
    return plots.Panel(title, lines)


def _category_table(fused: Mapping[str, CategoryQuality], present_NC: Bools) -> str:
    headings = ["category", "pictures"]
    for name in fused:
        headings += [of_version("average precision", name, fused), of_version("AUC", name, fused)]
    rows = []
    for c in np.argsort(-present_NC.sum(axis=0), kind="stable").tolist():
        if present_NC[:, c].any():
            row = [load_taxonomy().categories[c], str(int(present_NC[:, c].sum()))]
            for one in fused.values():
                row += [shown(one.ap[c], 3), shown(one.auc.get(c), 3)]
            rows.append(row)
    return report.table(headings, rows)


def _worst(answers: CocoAnswers, present_NC: Bools, title: str, *, there: bool) -> list[str]:
    """For each picture the worst category of a kind: the surest that is not there, or the least sure that is."""
    names = load_taxonomy().categories
    scores_NC = answers.category_scores
    wrong_NC = np.where(present_NC, 1 - scores_NC, -1.0) if there else np.where(present_NC, -1.0, scores_NC)
    worst_N = wrong_NC.argmax(axis=1)
    badness_N = wrong_NC.max(axis=1)
    order = np.argsort(-badness_N, kind="stable")[: grids.MOST]
    cells = [
        grids.Cell(
            [grids.View(answers.pictures.paths[row])],
            [
                grids.said_line(f"{names[worst_N[row]]} {scores_NC[row, worst_N[row]]:.2f}"),
                grids.true_line(", ".join(names[c] for c in np.flatnonzero(present_NC[row])) or "none of the 80"),
            ],
        )
        for row in order.tolist()
        if badness_N[row] > 0
    ]
    about = "pictures that show a category with a low score" if there else "pictures that do not show a sure category"
    return [subheading(title), grids.grid(cells, about)] if cells else []
