"""One picture's fused answer: from the branches' tensors to ``RESULT`` and the typed outputs."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from trident.contract import BRANCHES, CANVAS_SIDE, ENTITY_PROVENANCE_ORDER, MAX_BOXES
from trident.fusion.assignment import Links, link
from trident.fusion.evidence import (
    CLASSIFIER,
    SILENT,
    classifier_evidence,
    detector_evidence,
    entity_evidence,
    fuse,
)
from trident.fusion.policy import Policy
from trident.fusion.rescoring import fine_labels, rescore
from trident.fusion.taxonomy import Taxonomy
from trident.fusion.types import Floats, Integers, Objects
from trident.geometry import boxes_from_fitted, fitted_size
from trident.provenance import Provenance, unpack

SCHEMA = 1
MIN_CATEGORY_SCORE = 0.01
MIN_OBJECT_SCORE = 0.05
MIN_ENTITY_SCORE = 0.05
PERSON = "person"
VEHICLES = ("car", "motorcycle", "bus", "truck")
DEFAULT_VEHICLE = "car"
"""What a plate speaks for when it lies on no vehicle that the detector found, as in a close-up."""

_PIXEL_DIGITS = 2
_SCORE_DIGITS = 4


@dataclass(frozen=True, eq=False, slots=True)
class BranchAnswers:
    """What the branches said about one picture."""

    size: tuple[int, int]
    """Width and height of the picture."""
    probabilities: Floats
    """[1000] the classifier's softmax."""
    top_classes: Integers
    """[5] its best classes, best first."""
    top_scores: Floats
    """[5] their probabilities."""
    objects: Objects
    """The detector's boxes, canvas pixels; only the used rows."""
    entities: Sequence[Mapping[str, Any]]
    """Faces and plates as in ``RESULT``, picture pixels, without their objects."""


@dataclass(frozen=True, eq=False, slots=True)
class FusedAnswer:
    """The fused answer about one picture."""

    result: dict[str, Any]
    """``RESULT`` without ``models``."""
    boxes: npt.NDArray[np.float32]
    """[100, 4] boxes in picture pixels, by fused score; unused rows are 0."""
    box_scores: npt.NDArray[np.float32]
    """[100] fused scores, highest first; unused are 0."""
    box_classes: npt.NDArray[np.int32]
    """[100] categories; unused are 0."""
    num_boxes: int
    """How many rows are used."""
    category_scores: npt.NDArray[np.float32]
    """[80] fused image-level scores."""
    category_evidence: npt.NDArray[np.float32]
    """[80, 3] evidence of each branch; −1 where it is silent."""


def fuse_answers(answers: BranchAnswers, taxonomy: Taxonomy, policy: Policy) -> FusedAnswer:
    """Fuse the branches' answers about one picture."""
    canvas = fitted_size(*answers.size, CANVAS_SIDE, enlarge=True)
    detected = Objects(
        boxes_from_fitted(answers.objects.boxes, answers.size, canvas),
        np.asarray(answers.objects.scores, dtype=np.float64),
        np.asarray(answers.objects.classes, dtype=np.int64),
    )
    entities = sorted(
        (entity for entity in answers.entities if entity["score"] >= MIN_ENTITY_SCORE),
        key=lambda entity: -float(entity["score"]),
    )

    links = _link_entities(entities, detected, taxonomy, policy)
    spoken = _spoken(entities, links.nearest, detected, taxonomy)
    evidence_C3 = np.stack(
        [
            classifier_evidence(answers.probabilities, taxonomy),
            detector_evidence(detected),
            entity_evidence(spoken, policy.evidence.entity_floor),
        ],
        axis=1,
    )
    category_scores_C = fuse(evidence_C3, policy.weights)

    linked_scores_N = np.zeros(len(detected))
    for entity, box in links.own.items():
        linked_scores_N[box] = entities[entity]["score"]
    scores_N = rescore(detected, evidence_C3[:, CLASSIFIER], linked_scores_N, policy.rescoring)
    order_N = np.argsort(-scores_N, kind="stable")
    objects = Objects(detected.boxes, scores_N, detected.classes).ordered(order_N)
    rank_of_box = {int(box): rank for rank, box in enumerate(order_N)}
    object_of_entity = {entity: rank_of_box[box] for entity, box in sorted(links.own.items())}
    labels = fine_labels(answers.probabilities, objects, answers.size, taxonomy, policy.fine_label)
    num_shown = int((objects.scores >= MIN_OBJECT_SCORE).sum())
    entities_of_object: dict[int, list[int]] = {}
    for entity, rank in object_of_entity.items():
        entities_of_object.setdefault(rank, []).append(entity)

    # Rounded all at once: JSON alone needs most of fusion's time.
    box_numbers = np.round(objects.boxes[:num_shown].astype(np.float64), _PIXEL_DIGITS).tolist()
    box_scores = _rounded(objects.scores[:num_shown])
    category_numbers, evidence_numbers = _rounded(category_scores_C), _rounded(evidence_C3)
    speaks = (evidence_C3 != SILENT).tolist()

    result = {
        "schema": SCHEMA,
        "image": {"width": answers.size[0], "height": answers.size[1]},
        "scene": [
            {"label": taxonomy.names[label], "wnid": taxonomy.wnids[label], "score": score}
            for label, score in zip(answers.top_classes.tolist(), _rounded(answers.top_scores), strict=True)
        ],
        "categories": [
            {
                "name": taxonomy.categories[category],
                "score": category_numbers[category],
                "evidence": {
                    branch: evidence_numbers[category][column]
                    for column, branch in enumerate(BRANCHES)
                    if speaks[category][column]
                },
            }
            for category in np.argsort(-category_scores_C, kind="stable").tolist()
            if category_scores_C[category] >= MIN_CATEGORY_SCORE
        ],
        "objects": [
            {
                "category": taxonomy.categories[objects.classes[rank]],
                "score": box_scores[rank],
                "box": box_numbers[rank],
                "fine_label": taxonomy.names[labels[rank]] if rank in labels else None,
                "entities": entities_of_object.get(rank, []),
            }
            for rank in range(num_shown)
        ],
        "entities": [
            {**entity, "object": _shown(object_of_entity.get(number), num_shown)}
            for number, entity in enumerate(entities)
        ],
    }
    return FusedAnswer(
        result=result,
        boxes=_padded(objects.boxes, np.float32),
        box_scores=_padded(objects.scores, np.float32),
        box_classes=_padded(objects.classes, np.int32),
        num_boxes=len(objects),
        category_scores=category_scores_C.astype(np.float32),
        category_evidence=evidence_C3.astype(np.float32),
    )


def models_used(rows: Mapping[str, npt.NDArray[np.uint8]], entity_rows: npt.NDArray[np.uint8]) -> dict[str, Any]:
    """``RESULT["models"]``: version and digest of everything that really answered.

    Args:
        rows: provenance, UINT8 [36], of each component of the ensemble that has just one.
        entity_rows: UINT8 [5, 36] of the entity recognizer and the networks behind it; zeros where one was not called.
    """
    provenances = {name: unpack(row) for name, row in rows.items()}
    provenances |= {name: unpack(row) for name, row in zip(ENTITY_PROVENANCE_ORDER, entity_rows, strict=True)}
    return {name: provenance.to_json() for name, provenance in provenances.items() if provenance is not None}


def encode_result(fused: FusedAnswer, models: Mapping[str, Any], fusion: Provenance) -> bytes:
    """The tensor ``RESULT``: UTF-8 JSON.

    Raises:
        ValueError: a number is not finite, which JSON cannot say.
    """
    result = {**fused.result, "models": {**models, "fusion": fusion.to_json()}}
    return json.dumps(result, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()


def _link_entities(
    entities: Sequence[Mapping[str, Any]], detected: Objects, taxonomy: Taxonomy, policy: Policy
) -> Links:
    """Boxes of the entities: of faces among persons, of plates among vehicles."""
    links = Links({}, {})
    for kind, carriers, place in (
        ("face", (PERSON,), policy.assignment.face),
        ("plate", VEHICLES, policy.assignment.plate),
    ):
        numbers = [number for number, entity in enumerate(entities) if entity["type"] == kind]
        candidates = np.flatnonzero(np.isin(detected.classes, [taxonomy.index(name) for name in carriers]))
        boxes_N4 = np.array([entities[number]["box"] for number in numbers], dtype=np.float64).reshape(-1, 4)
        scores_N = np.array([entities[number]["score"] for number in numbers], dtype=np.float64)
        found = link(boxes_N4, scores_N, detected.ordered(candidates), place, policy.assignment)
        for pairs, all_pairs in ((found.own, links.own), (found.nearest, links.nearest)):
            all_pairs.update({numbers[row]: int(candidates[column]) for row, column in pairs.items()})
    return links


def _spoken(
    entities: Sequence[Mapping[str, Any]], nearest: Mapping[int, int], detected: Objects, taxonomy: Taxonomy
) -> list[tuple[int, float]]:
    """Category and score of each entity: a face speaks for a person, a plate for the vehicle that it is on."""
    person, default_vehicle = taxonomy.index(PERSON), taxonomy.index(DEFAULT_VEHICLE)
    spoken = []
    for number, entity in enumerate(entities):
        if entity["type"] == "face":
            category = person
        else:
            box = nearest.get(number)
            category = default_vehicle if box is None else int(detected.classes[box])
        spoken.append((category, float(entity["score"])))
    return spoken


def _shown(rank: int | None, num_shown: int) -> int | None:
    """The rank of an object in the list, or None if it is not in it."""
    return rank if rank is not None and rank < num_shown else None


def _rounded(scores: Floats) -> Any:
    """Scores as lists of numbers in [0, 1]."""
    return np.round(np.clip(scores.astype(np.float64), 0.0, 1.0), _SCORE_DIGITS).tolist()


def _padded(rows: npt.NDArray[Any], dtype: type[np.generic]) -> npt.NDArray[Any]:
    """The rows, and zeros up to ``MAX_BOXES``."""
    padded = np.zeros((MAX_BOXES, *rows.shape[1:]), dtype=dtype)
    padded[: len(rows)] = rows
    return padded
