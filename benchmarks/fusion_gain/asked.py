"""What a server says of labelled pictures: asked once, and held against what fusion makes of it in this process."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.fit_fusion import collect
from benchmarks.fusion_gain.boxes import Answers
from benchmarks.pictures import pictures_in
from benchmarks.quality import data
from benchmarks.served import ServedModels
from trident.errors import SetupError
from trident.fusion.answer import fuse_answers
from trident.fusion.batch import read_answers
from trident.fusion.policy import Policy
from trident.fusion.taxonomy import Taxonomy
from trident.layout import DEFAULT_REPOSITORY
from trident_client import Analysis, TridentClient

CONCURRENCY = 2
TOLERANCE = 1e-4
"""Scores that differ by no more are the same: batches of other sizes round otherwise."""
_ENTITY_SETS = ("faces", "plates")

Models = Mapping[str, Mapping[str, object]]


@dataclass(frozen=True, eq=False, slots=True)
class Pictures:
    """The labelled pictures of a folder, of the sets that fusion has something to do with."""

    coco: data.CocoSet
    classes: Sequence[data.LabelledClass]
    """ImageNet pictures whose class is a kind of a COCO category."""
    with_entities: Sequence[Path]
    """Pictures with a face or a plate, whose labels are not looked at."""
    left_out: Sequence[str]
    """Sets that are not there."""


@dataclass(frozen=True, eq=False, slots=True)
class Asked:
    """What one release of the served models said of the pictures."""

    pictures: Pictures
    coco: Answers
    """What the branches said of each COCO picture."""
    served: Sequence[Analysis]
    """What the whole ensemble said of them, with the typed tensors."""
    classes: Answers
    """What the branches said of the ImageNet pictures."""
    with_entities: Answers
    models: Models
    """Version and digest of every model that answered."""


def read_pictures(folder: Path, taxonomy: Taxonomy, limit: int | None = None) -> Pictures:
    """Find the pictures of a folder, and read the labels.

    Args:
        folder: Holds ``coco`` and, where they are there, ``imagenet``, ``faces`` and ``plates``.
        taxonomy: Which class is a kind of which category.
        limit: Only the first so many pictures of each set.

    Raises:
        SetupError: There are no labelled COCO pictures, or labels are not as they must be.
    """
    coco = data.coco(folder / "coco", limit)
    there = {name: (folder / name).is_dir() for name in ("imagenet", *_ENTITY_SETS)}
    labelled = data.imagenet(folder / "imagenet", limit) if there["imagenet"] else []
    return Pictures(
        coco=coco,
        classes=[one for one in labelled if taxonomy.category_of_class[one.class_index] >= 0],
        with_entities=[
            path for name in _ENTITY_SETS if there[name] for path in pictures_in(folder / name / "images")[:limit]
        ],
        left_out=[name for name, found in there.items() if not found],
    )


def ask(url: str, pictures: Pictures) -> Asked:
    """Ask the ensemble about the COCO pictures, and its branches about all.

    Args:
        url: ``host:port`` of the gRPC port.
        pictures: Which.

    Raises:
        SetupError: Two releases answered.
        trident_client.ClientError: A picture was not answered.
        tritonclient.utils.InferenceServerException: A branch did not answer.
    """
    with TridentClient(url) as client:
        outcomes = client.analyze_many(pictures.coco.paths, concurrency=CONCURRENCY, tensors=True)
        served = [outcome.unwrap() for outcome in outcomes]
    models = _one_release(served)
    versions = {name: int(str(model["version"])) for name, model in models.items()}
    with ServedModels(url, versions) as branches:
        return Asked(
            pictures=pictures,
            coco=collect(branches, pictures.coco.paths),
            served=served,
            classes=collect(branches, [one.path for one in pictures.classes]),
            with_entities=collect(branches, pictures.with_entities),
            models=models,
        )


def _one_release(served: Sequence[Analysis]) -> Models:
    """Version and digest of all models that answered. A network that some pictures do not call may be missing there."""
    models: dict[str, Mapping[str, object]] = {}
    for analysis in served:
        for name, model in analysis.models.items():
            found = {"version": model.version, "digest": model.digest}
            if models.setdefault(name, found) != found:
                raise SetupError(
                    f"{name}: expected one version for all pictures, got {models[name]['version']} and "
                    f"{model.version}: measure when no rollout is under way"
                )
    return models


def served_policy_file(models: Models) -> Path:
    """The policy of the version of fusion that answered, in the clone's own model repository."""
    return DEFAULT_REPOSITORY / "fusion" / str(models["fusion"]["version"]) / "policy.json"


def check_served(asked: Asked, taxonomy: Taxonomy, policy: Policy, policy_file: Path) -> float:
    """Make sure that fusion does here what the server does: all that follows rests on it.

    Returns:
        The largest difference between a category's or a box's score here and there.

    Raises:
        SetupError: A score differs by more than ``TOLERANCE``.
    """
    worst = 0.0
    for path, answers, analysis in zip(asked.pictures.coco.paths, asked.coco, asked.served, strict=True):
        fused = fuse_answers(read_answers(answers, 0), taxonomy, policy)
        assert analysis.tensors is not None
        for what, here, there in (
            ("scores of categories", fused.category_scores, analysis.tensors.category_scores),
            ("scores of boxes", fused.box_scores, analysis.tensors.box_scores),
        ):
            away = float(np.abs(here - there).max())
            if not away <= TOLERANCE:
                raise SetupError(
                    f"policy: expected that {policy_file} gives the {what} that the server gives for {path.name}, got "
                    f"others, by up to {away:.4f}: name the policy of the served fusion "
                    f"{asked.models['fusion']['version']} with --policy"
                )
            worst = max(worst, away)
    return worst
