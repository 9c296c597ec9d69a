"""Everything that is measured, of one server and one folder of labelled pictures."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.fit_fusion import collect_evidence
from benchmarks.fusion_gain import categories, fine, links, rescoring
from benchmarks.fusion_gain.asked import Asked, Models, Pictures, ask, check_served, served_policy_file
from benchmarks.fusion_gain.categories import CategoryFigures, HeldOut, Part
from benchmarks.fusion_gain.fine import FineFigures
from benchmarks.fusion_gain.links import LinkFigures
from benchmarks.fusion_gain.resampling import Bools, Floats, Sample
from benchmarks.fusion_gain.rescoring import Boxes, BoxFigures
from trident.errors import SetupError
from trident.fusion.evidence import ENTITIES, SILENT
from trident.fusion.policy import Policy, Weights, load_policy
from trident.fusion.taxonomy import Taxonomy, load_taxonomy

SAME_FIGURE = 5e-4
"""How near the figures of a fit must lie to those measured now to be of the same pictures and networks."""


class FittedOn(StrEnum):
    """What can be told of the pictures that the served weights were fitted on."""

    THESE = "these"
    """As many pictures and categories as measured here, with the same figures for each branch alone."""
    OTHERS = "others"
    """Another number of pictures or of categories. Some of these may have been among them."""
    UNKNOWN = "unknown"
    """As many, but other figures, as other networks or other pictures give; or the policy does not say."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What to measure."""

    data: Path
    policy: Path | None = None
    """The served policy; that of the clone's model repository by default."""
    limit: int | None = None
    resamples: int = 1000
    box_resamples: int = 200
    """Of the boxes: pycocotools takes some 50 ms for each."""
    seed: int = 0


@dataclass(frozen=True, eq=False, slots=True)
class Figures:
    """A measurement, worked out."""

    pictures: int
    pictures_with_entities: int
    models: Models
    left_out: Sequence[str]
    policy_file: Path
    policy: Policy
    largest_difference: float
    """Between a score that was fused here and the server's own."""
    fitted_on: FittedOn
    not_held_out: str | None
    """Why nothing could be held out; None if it was."""
    categories: CategoryFigures
    boxes: BoxFigures
    links: LinkFigures
    fine: FineFigures

    @property
    def parts(self) -> list[Part]:
        """Every part of fusion with what it gains."""
        return [*self.categories.parts, *self.boxes.parts, *self.links.parts]


def measure(url: str, pictures: Pictures, settings: Settings, tell: Callable[[str], None]) -> Figures:
    """Ask the server at ``url`` about all pictures, and take apart what fusion does with the answers.

    Args:
        url: ``host:port`` of its gRPC port.
        pictures: Which.
        settings: What to measure.
        tell: Is told what is being done.

    Raises:
        SetupError: The policy cannot be used, or fusion does not do here what it does there.
        trident_client.ClientError: A picture was not answered.
        tritonclient.utils.InferenceServerException: A branch did not answer.
    """
    taxonomy = load_taxonomy()
    tell("Asking about the pictures")
    asked = ask(url, pictures)
    policy_file = settings.policy or served_policy_file(asked.models)
    policy = load_policy(policy_file)
    largest_difference = check_served(asked, taxonomy, policy, policy_file)
    return work_out(
        asked,
        taxonomy,
        policy,
        policy_file=policy_file,
        largest_difference=largest_difference,
        settings=settings,
        tell=tell,
    )


def work_out(
    asked: Asked,
    taxonomy: Taxonomy,
    policy: Policy,
    *,
    policy_file: Path,
    largest_difference: float,
    settings: Settings,
    tell: Callable[[str], None],
) -> Figures:
    """All figures, from what was asked."""
    present_NC = asked.pictures.coco.present(taxonomy)
    evidence_NC3 = collect_evidence(asked.coco, taxonomy, policy)
    tell(f"Categories of {len(present_NC)} pictures, resampled {settings.resamples} times")
    sample = Sample(present_NC, resamples=settings.resamples, seed=settings.seed)
    held_out, not_held_out = _held_out(present_NC, evidence_NC3, policy.weights)
    found = categories.work_out(
        sample,
        evidence_NC3=evidence_NC3,
        unlinked_NC3=collect_evidence(asked.coco, taxonomy, without_links(policy)),
        weights=policy.weights,
        fitted=held_out,
        names=taxonomy.categories,
        seed=settings.seed,
    )
    boxes = Boxes(asked, taxonomy, policy, sample.counts_RN[: settings.box_resamples])
    box_figures = rescoring.work_out(boxes, tell)
    link_figures = links.work_out(asked, boxes, tell)
    tell(f"Fine labels of {len(asked.classes)} pictures")
    return Figures(
        pictures=len(present_NC),
        pictures_with_entities=int((evidence_NC3[..., ENTITIES] != SILENT).any(axis=1).sum()),
        models=asked.models,
        left_out=asked.pictures.left_out,
        policy_file=policy_file,
        policy=policy,
        largest_difference=largest_difference,
        fitted_on=fitted_on(recorded_fit(policy_file), len(present_NC), found),
        not_held_out=not_held_out,
        categories=found,
        boxes=box_figures,
        links=link_figures,
        fine=fine.work_out(asked, taxonomy, policy),
    )


def without_links(policy: Policy) -> Policy:
    """The policy under which no entity is on an object: none of them is as sure as it asks for."""
    return replace(policy, assignment=replace(policy.assignment, min_score=float(np.nextafter(1.0, 2.0))))


def _held_out(present_NC: Bools, evidence_NC3: Floats, weights: Weights) -> tuple[HeldOut | None, str | None]:
    try:
        return categories.held_out(present_NC, evidence_NC3, weights), None
    except SetupError as error:
        return None, str(error)


def recorded_fit(policy_file: Path) -> Mapping[str, Any]:
    """What ``fit_fusion`` has left in a policy of the fit; nothing where it was written by hand."""
    fit = json.loads(policy_file.read_text(encoding="utf-8")).get("fit")
    return fit if isinstance(fit, dict) else {}


def fitted_on(fit: Mapping[str, Any], pictures: int, found: CategoryFigures) -> FittedOn:
    """Whether the served weights were fitted on the pictures that are measured, as far as the fit's figures tell."""
    counts = (fit.get("pictures"), fit.get("categories"))
    if None in counts:
        return FittedOn.UNKNOWN
    if counts != (pictures, len(found.by_category)):
        return FittedOn.OTHERS
    by_name = {way.name: way.map.value for way in found.ways}
    then_and_now = (
        (fit.get("map_detector_alone"), by_name[categories.DETECTOR_ALONE]),
        (fit.get("map_classifier_alone"), by_name[categories.CLASSIFIER_ALONE]),
    )
    same = all(then is not None and abs(then - now) <= SAME_FIGURE for then, now in then_and_now)
    return FittedOn.THESE if same else FittedOn.UNKNOWN
