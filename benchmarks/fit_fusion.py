"""Fits the fusion policy on labelled pictures: ``python -m benchmarks.fit_fusion --data DIR --url HOST:PORT``.

The branches of a running server are asked one by one for what they see in the COCO pictures of DIR; fusion itself then
runs here. Three numbers are fitted, all of them global, for the pictures are few:

- The classifier's weight, the detector's being 1. The image-level mAP itself is a poor guide: most categories are on
  one to three pictures, and one pair that changes places moves it by half a point. So the weight is the ratio of two
  coefficients of a logistic regression: whether a picture shows a category, from the two branches' evidence and an
  intercept for each category, which stands for how common and how easy it is.
- How far the classifier and a linked entity lift a box, by COCO's mAP.

What the weight is worth is measured by cross-fitting: the pictures are cut into folds, each fold is scored with the
weight fitted on the others, and the gain is that of these held-out scores over the better branch alone.

Everything else in the policy stays as it is in the file.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from itertools import product
from pathlib import Path
from typing import Any

import click
import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.progress import track
from sklearn.linear_model import LogisticRegression  # type: ignore[import-untyped]

from benchmarks.fusion_gain.boxes import Answers, BoxEvaluation, detections
from benchmarks.quality import data, metrics
from benchmarks.served import ServedModels
from trident.errors import SetupError
from trident.fusion.answer import fuse_answers
from trident.fusion.batch import read_answers
from trident.fusion.evidence import CLASSIFIER, DETECTOR, ENTITIES, SILENT, fuse
from trident.fusion.policy import Policy, Rescoring, Weights, load_policy
from trident.fusion.taxonomy import Taxonomy, load_taxonomy
from trident.provenance import unpack

DEFAULT_POLICY = Path(__file__).parents[1] / "model_repository" / "fusion" / "1" / "policy.json"

RESCORING = (0.0, 0.1, 0.2, 0.3, 0.4)
FOLDS = 8
CUTS = 5
"""Ways of cutting the pictures into folds; the figures are means over them."""
HALVINGS = 4
INTERVAL_RESAMPLES = 1000
SLOPE_PENALTY_INVERSE = 100.0
"""C of the regression: weak, so that the intercepts are nearly free."""

Floats = npt.NDArray[np.floating[Any]]
Bools = npt.NDArray[np.bool_]


def fit_weight(present_NC: Bools, evidence_NC3: Floats) -> float:
    """The classifier's weight beside a detector's of 1, from the pictures given, clipped to [0, 1].

    Only categories that the classifier can speak of, and that some of the pictures show, take part.

    Raises:
        SetupError: These pictures cannot tell: there is no such category, all of the pictures show all of them, or the
            detector's evidence is against what they show.
    """
    known_C = (evidence_NC3[..., CLASSIFIER] != SILENT).all(axis=0) & present_NC.any(axis=0)
    shown = present_NC[:, known_C].ravel()
    if not shown.size or shown.all():
        raise SetupError(
            "pictures: expected some that show a category of the classifier's and some that do not, got only one kind: "
            "give more pictures"
        )
    slopes = evidence_NC3[:, known_C][..., [CLASSIFIER, DETECTOR]].reshape(-1, 2)
    intercepts = np.tile(np.eye(int(known_C.sum())), (len(present_NC), 1))
    regression = LogisticRegression(C=SLOPE_PENALTY_INVERSE, fit_intercept=False, max_iter=5000)
    regression.fit(np.hstack([slopes, intercepts]), shown)
    classifier, detector = regression.coef_[0, :2]
    if detector <= 0:
        raise SetupError("the detector's evidence tells nothing about these pictures; is the right one served?")
    return float(np.clip(classifier / detector, 0.0, 1.0))


def fused_scores(evidence_NC3: Floats, weights: Weights) -> npt.NDArray[np.float64]:
    """[N, 80] fused scores of the pictures."""
    return np.stack([fuse(one, weights) for one in evidence_NC3])


def folds(count: int, number: int, seed: int) -> Iterator[tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]]:
    """Pictures to fit on and pictures held out, for each fold."""
    order = np.random.default_rng(seed).permutation(count)
    for held_out in np.array_split(order, number):
        yield np.setdiff1d(order, held_out), np.sort(held_out)


def cross_fit(
    present_NC: Bools, evidence_NC3: Floats, weights: Weights, seed: int
) -> tuple[npt.NDArray[np.float64], list[float]]:
    """Scores of every picture under the weight fitted on the other folds, and the weights."""
    held_out_NC = np.zeros(present_NC.shape)
    fitted = []
    for fitted_on, held_out in folds(len(present_NC), FOLDS, seed):
        weight = fit_weight(present_NC[fitted_on], evidence_NC3[fitted_on])
        held_out_NC[held_out] = fused_scores(evidence_NC3[held_out], replace(weights, classifier=weight))
        fitted.append(weight)
    return held_out_NC, fitted


def collect(models: ServedModels, paths: Sequence[Path]) -> Answers:
    """What the served branches say about each picture."""
    with ThreadPoolExecutor(2) as pool:
        return list(track(pool.map(models.branches, paths), "Asking the branches", total=len(paths), transient=True))


def collect_evidence(answers: Answers, taxonomy: Taxonomy, policy: Policy) -> npt.NDArray[np.float64]:
    """[N, 80, 3]: what each branch says about each picture."""
    fused = [fuse_answers(read_answers(one, 0), taxonomy, policy) for one in answers]
    return np.stack([one.category_evidence for one in fused]).astype(np.float64)


def fit_rescoring(
    answers: Answers, pictures: data.CocoSet, taxonomy: Taxonomy, policy: Policy
) -> tuple[Policy, dict[str, Any]]:
    """The two λ with the best COCO mAP, the mean over halves of the pictures.

    Halves, cut in several ways, stand in for resampling: COCO's measure counts no picture twice. They also tell what
    the choice is worth: each half is measured with the λ that are best on the other half.
    """
    halves = [half for seed in range(HALVINGS) for half in np.array_split(_shuffled(len(pictures.paths), seed), 2)]
    choices = list(product(RESCORING, RESCORING))
    map_KH = np.zeros((len(choices), len(halves)))
    whole_K = np.zeros(len(choices))
    for k, choice in enumerate(track(choices, "Rescoring", transient=True)):
        found = detections(answers, pictures.image_ids, taxonomy, replace(policy, rescoring=Rescoring(*choice)))
        evaluation = BoxEvaluation(pictures.truth, found, pictures.image_ids)
        map_KH[k] = [evaluation.measure(half)[0] for half in halves]
        whole_K[k], _ = evaluation.measure()
    best, none = int(map_KH.mean(axis=1).argmax()), choices.index((0.0, 0.0))
    # Halves 2n and 2n + 1 are the two parts of one cut.
    other_H = np.arange(len(halves)) ^ 1
    held_out_H = map_KH[map_KH[:, other_H].argmax(axis=0), np.arange(len(halves))]
    gain_H = 100 * (held_out_H - map_KH[none])
    report: dict[str, Any] = {
        "coco_map_detector_alone": round(whole_K[none], 4),
        "coco_map_fitted_on_all": round(whole_K[best], 4),
        "coco_map_gain_held_out_points": round(float(gain_H.mean()), 2),
        "coco_map_gain_held_out_halves_points": [round(float(gain_H.min()), 2), round(float(gain_H.max()), 2)],
    }
    return replace(policy, rescoring=Rescoring(*choices[best])), report


def _shuffled(count: int, seed: int) -> npt.NDArray[np.int64]:
    return np.random.default_rng(seed).permutation(count)


def networks(answers: Answers) -> dict[str, object]:
    """Version and digest of the networks that the fit is for."""
    rows = {name: unpack(answers[0][f"{name.upper()}_PROVENANCE"][0]) for name in ("classifier", "detector")}
    return {name: provenance.to_json() for name, provenance in rows.items() if provenance is not None}


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--data", "folder", required=True, type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--url", default="127.0.0.1:8001", show_default=True, metavar="HOST:PORT", help="A running server.")
@click.option(
    "--policy",
    "policy_file",
    default=DEFAULT_POLICY,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="The policy to start from, and the file to write.",
)
@click.option("--write/--dry-run", default=False, show_default=True, help="Whether to write the fitted policy.")
def main(*, folder: Path, url: str, policy_file: Path, write: bool) -> None:
    """Fit the fusion policy on the COCO pictures of a folder, and say what was gained on held-out ones."""
    try:
        fit(folder, url, policy_file, Console(highlight=False), write=write)
    except SetupError as error:
        raise click.ClickException(str(error)) from error


def fit(folder: Path, url: str, policy_file: Path, console: Console, *, write: bool) -> None:
    """Ask, fit and print; with ``write``, change the policy file."""
    taxonomy = load_taxonomy()
    policy = load_policy(policy_file)
    pictures = data.coco(folder / "coco")
    with ServedModels(url) as models:
        answers = collect(models, pictures.paths)

    present_NC = pictures.present(taxonomy)
    evidence_NC3 = collect_evidence(answers, taxonomy, policy)
    alone_NC = {
        "classifier": np.maximum(evidence_NC3[..., CLASSIFIER], 0.0),
        "detector": evidence_NC3[..., DETECTOR],
    }
    alone = {name: metrics.image_level_map(present_NC, scores) for name, scores in alone_NC.items()}
    better = max(alone, key=lambda name: alone[name])

    held_out, intervals, weights_in_folds = [], [], []
    for seed in range(CUTS):
        held_out_NC, weights = cross_fit(present_NC, evidence_NC3, policy.weights, seed)
        held_out.append(metrics.image_level_map(present_NC, held_out_NC))
        intervals.append(
            metrics.bootstrap_interval(present_NC, held_out_NC, alone_NC[better], INTERVAL_RESAMPLES // CUTS, seed)
        )
        weights_in_folds += weights
    weight = round(fit_weight(present_NC, evidence_NC3), 2)
    fitted = replace(policy, weights=replace(policy.weights, classifier=weight))
    fitted, rescoring = fit_rescoring(answers, pictures, taxonomy, fitted)

    in_sample = metrics.image_level_map(present_NC, fused_scores(evidence_NC3, fitted.weights))
    low, high = np.mean(intervals, axis=0)
    report = {
        "pictures": len(present_NC),
        "categories": int(present_NC.any(axis=0).sum()),
        "pictures_with_entities": int((evidence_NC3[..., ENTITIES] != SILENT).any(axis=1).sum()),
        "map_classifier_alone": round(alone["classifier"], 4),
        "map_detector_alone": round(alone["detector"], 4),
        "map_fused_held_out": round(float(np.mean(held_out)), 4),
        "gain_held_out_points": round(100 * (float(np.mean(held_out)) - alone[better]), 2),
        "gain_interval_95_points": [round(100 * float(low), 2), round(100 * float(high), 2)],
        "map_fused_fitted_on_all": round(in_sample, 4),
        "classifier_weight_in_folds": [round(min(weights_in_folds), 2), round(max(weights_in_folds), 2)],
        "folds": FOLDS,
        "cuts": CUTS,
        **rescoring,
        "networks": networks(answers),
        "date": datetime.now(UTC).date().isoformat(),
    }
    console.print_json(json.dumps(report))
    console.print(
        f"Weight of the classifier {weight:g}; rescoring: classifier {fitted.rescoring.classifier:g}, "
        f"entity {fitted.rescoring.entity:g}"
    )
    if write:
        content = json.loads(policy_file.read_text(encoding="utf-8"))
        content["weights"]["classifier"] = fitted.weights.classifier
        content["rescoring"] = {"classifier": fitted.rescoring.classifier, "entity": fitted.rescoring.entity}
        content["fit"] = report
        policy_file.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        console.print(f"Written to {policy_file}; reload the model fusion to use it.")


if __name__ == "__main__":
    main()
