"""The image-level categories: each branch alone, the branches fused in several ways, and what is between them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from benchmarks import fit_fusion
from benchmarks.fusion_gain.resampling import Bools, Estimate, Floats, Sample, Scored, mean_half_width
from trident.errors import SetupError
from trident.fusion.evidence import CLASSIFIER, DETECTOR, ENTITIES, SILENT
from trident.fusion.policy import Weights

MEASURE = "image-level mAP"
DETECTOR_VOICE = "the detector's voice"
DETECTOR_ALONE, CLASSIFIER_ALONE, ENTITIES_ALONE = "detector alone", "classifier alone", "entities alone"
FUSED, HELD_OUT = "fused, as served", "fused, held out"
EQUAL = "fused, equal weights"
WITHOUT = {
    "classifier": "fused without the classifier",
    "detector": "fused without the detector",
    "entities": "fused without the entities",
}
STEPS = 20
"""Of the curve over the classifier's weight, from 0 to 1."""
SHARES = (0.25, 0.5, 0.75, 1.0)
"""Of the pictures, for which it is told how wide the interval is."""
SUBSETS = 20
WIDTH_RESAMPLES = 200


@dataclass(frozen=True, eq=False, slots=True)
class HeldOut:
    """Scores under weights that were fitted on other pictures than those that they score."""

    scores: Sequence[Floats]
    """[N, 80] for each way of cutting the pictures into folds."""
    weights: tuple[float, float]
    """The least and the largest weight that the classifier got in a fold."""


@dataclass(frozen=True, slots=True)
class Way:
    """One way of scoring the categories of a picture."""

    name: str
    map: Estimate
    gain: Estimate
    """Over the detector alone."""


@dataclass(frozen=True, slots=True)
class Part:
    """A part of fusion: a measure with and without it."""

    name: str
    measure: str
    without: float
    served: float
    gain: Estimate


@dataclass(frozen=True, slots=True)
class Group:
    """The ways among some of the categories."""

    name: str
    categories: int
    ways: Sequence[Way]


@dataclass(frozen=True, slots=True)
class CategoryGain:
    """What fusion does to the average precision of one category."""

    name: str
    positives: int
    """Pictures that show it."""
    detector: float
    classifier: float | None
    """None where the classifier cannot speak of it."""
    fused: float
    gain: Estimate
    """Of the fusion as served over the detector alone."""
    held_out: float | None
    """The same with held-out weights."""


@dataclass(frozen=True, slots=True)
class Weighed:
    """The fusion under one weight of the classifier."""

    weight: float
    map: float
    gain: Estimate
    """Over the detector alone."""


@dataclass(frozen=True, slots=True)
class Width:
    """How far the gain over the detector alone is uncertain with so many pictures."""

    pictures: int
    half_width: float


@dataclass(frozen=True, eq=False, slots=True)
class CategoryFigures:
    """All that there is to say of the categories."""

    ways: Sequence[Way]
    groups: Sequence[Group]
    parts: Sequence[Part]
    by_category: Sequence[CategoryGain]
    curve: Sequence[Weighed]
    widths: Sequence[Width]
    weights_in_folds: tuple[float, float] | None


def held_out(present_NC: Bools, evidence_NC3: Floats, weights: Weights) -> HeldOut:
    """Fit the classifier's weight on some folds, score the others with it, and cut the folds in several ways.

    Raises:
        SetupError: The pictures are too few, or too much alike, to fit on a part of them.
    """
    if len(present_NC) < 2 * fit_fusion.FOLDS:
        raise SetupError(
            f"expected at least {2 * fit_fusion.FOLDS} pictures to hold some of them out, got {len(present_NC)}"
        )
    cuts = [fit_fusion.cross_fit(present_NC, evidence_NC3, weights, seed) for seed in range(fit_fusion.CUTS)]
    fitted = [weight for _, one in cuts for weight in one]
    return HeldOut([scores for scores, _ in cuts], (min(fitted), max(fitted)))


def alone(evidence_NC3: Floats, branch: int) -> Floats:
    """[N, 80]: the scores of one branch; where it is silent, a picture ranks last."""
    return np.maximum(evidence_NC3[..., branch], 0.0)


def work_out(
    sample: Sample,
    *,
    evidence_NC3: Floats,
    unlinked_NC3: Floats,
    weights: Weights,
    fitted: HeldOut | None,
    names: Sequence[str],
    seed: int,
) -> CategoryFigures:
    """Score the pictures in all ways, and compare.

    Args:
        sample: The pictures.
        evidence_NC3: [N, 80, 3] what each branch says of each picture.
        unlinked_NC3: The same, had no entity been assigned to an object.
        weights: Of the served policy.
        fitted: Scores with held-out weights, if there are any.
        names: Of the 80 categories.
        seed: Of the choice of fewer pictures.
    """

    def fused(name: str, under: Weights, evidence: Floats = evidence_NC3) -> Scored:
        return sample.score(name, fit_fusion.fused_scores(evidence, under))

    detector = sample.score(DETECTOR_ALONE, alone(evidence_NC3, DETECTOR))
    classifier = sample.score(CLASSIFIER_ALONE, alone(evidence_NC3, CLASSIFIER))
    entities = sample.score(ENTITIES_ALONE, alone(evidence_NC3, ENTITIES))
    served = fused(FUSED, weights)
    held = None if fitted is None else sample.score(HELD_OUT, *fitted.scores)
    equal = fused(EQUAL, Weights(1.0, 1.0, 1.0))
    without = {branch: fused(name, replace(weights, **{branch: 0.0})) for branch, name in WITHOUT.items()}
    unlinked = fused("fused, plates for cars", weights, unlinked_NC3)

    known_C = sample.categories_C & (evidence_NC3[..., CLASSIFIER] != SILENT).all(axis=0)
    spoken_C = sample.categories_C & (evidence_NC3[..., ENTITIES] != SILENT).any(axis=0)
    whole = [served, held] if held is not None else [served]
    groups = [
        _group("the classifier knows", known_C, detector, [classifier, detector, without["classifier"], *whole]),
        _group("entities speak of", spoken_C, detector, [entities, detector, without["entities"], *whole]),
    ]
    parts = [_part("fusion, over the detector", detector, served)]
    if held is not None:
        parts.append(_part("fusion, held out, over the detector", detector, held))
    parts += [
        _part("the classifier's voice", without["classifier"], served),
        *([_part("the classifier's voice, held out", without["classifier"], held)] if held is not None else []),
        _part(DETECTOR_VOICE, without["detector"], served),
        _part("the entities' voice", without["entities"], served),
        _part("fitted weights, over equal ones", equal, served),
        _part("plates speak for their vehicle", unlinked, served),
    ]
    return CategoryFigures(
        ways=[_way(one, detector) for one in (detector, classifier, *whole, equal, *without.values())],
        groups=[group for group in groups if group.categories],
        parts=parts,
        by_category=[
            CategoryGain(
                name=names[category],
                positives=int(sample.present_NC[:, category].sum()),
                detector=float(detector.precisions[category]),
                classifier=float(classifier.precisions[category]) if known_C[category] else None,
                fused=float(served.precisions[category]),
                gain=served.category_gain_over(detector, category),
                held_out=None if held is None else float(held.precisions[category] - detector.precisions[category]),
            )
            for category in np.flatnonzero(sample.categories_C).tolist()
        ],
        curve=_curve(sample, evidence_NC3, weights, detector),
        widths=_widths(sample, fit_fusion.fused_scores(evidence_NC3, weights), alone(evidence_NC3, DETECTOR), seed),
        weights_in_folds=None if fitted is None else fitted.weights,
    )


def _way(one: Scored, detector: Scored) -> Way:
    return Way(one.name, one.map, one.gain_over(detector))


def _part(name: str, without: Scored, served: Scored) -> Part:
    return Part(name, MEASURE, without.map.value, served.map.value, served.gain_over(without))


def _group(name: str, categories_C: Bools, detector: Scored, ways: Sequence[Scored]) -> Group:
    there = detector.among(categories_C)
    return Group(name, int(categories_C.sum()), [_way(one.among(categories_C), there) for one in ways])


def _curve(sample: Sample, evidence_NC3: Floats, weights: Weights, detector: Scored) -> list[Weighed]:
    """The fusion under every weight of the classifier from 0 to 1, the other weights as they are."""
    points = []
    for weight in np.linspace(0.0, 1.0, STEPS + 1).round(4).tolist():
        scores_NC = fit_fusion.fused_scores(evidence_NC3, replace(weights, classifier=weight))
        scored = sample.score(f"{weight:g}", scores_NC)
        points.append(Weighed(weight, scored.map.value, scored.gain_over(detector)))
    return points


def _widths(sample: Sample, fused_NC: Floats, detector_NC: Floats, seed: int) -> list[Width]:
    resamples = min(WIDTH_RESAMPLES, len(sample.counts_RN))
    widths = []
    for count in dict.fromkeys(round(share * len(fused_NC)) for share in SHARES):
        if not count:
            continue
        half = mean_half_width(
            sample.present_NC, fused_NC, detector_NC, count, subsets=SUBSETS, resamples=resamples, seed=seed
        )
        if not np.isnan(half):
            widths.append(Width(count, half))
    return widths


def pictures_needed(gain: Estimate, pictures: int) -> int | None:
    """With how many pictures the interval of such a gain would begin at 0, if it narrows as 1/√N; None for no gain.

    >>> pictures_needed(Estimate(0.01, -0.01, 0.02), 64)
    256
    """
    if gain.value <= 0:
        return None
    return int(np.ceil(round(pictures * ((gain.value - gain.low) / gain.value) ** 2, 6)))
