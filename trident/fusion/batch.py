"""The fusion model's tensors, picture by picture, to and from ``trident.fusion.answer``."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from trident.contract import BRANCHES, MAX_BOXES, NUM_CATEGORIES, NUM_LANDMARKS
from trident.errors import InvalidInput
from trident.fusion.answer import BranchAnswers, FusedAnswer, encode_result, fuse_answers, models_used
from trident.fusion.policy import Policy
from trident.fusion.taxonomy import Taxonomy
from trident.fusion.types import Objects
from trident.provenance import Provenance

Tensors = Mapping[str, npt.NDArray[Any]]
Observe = Callable[[Mapping[str, Any], Mapping[str, Mapping[str, Any]]], None]
"""Is told of one picture: ``RESULT`` without ``models``, and ``models``."""

_PROVENANCE_INPUTS = {
    "preprocess": "PREPROCESS_PROVENANCE",
    "classifier": "CLASSIFIER_PROVENANCE",
    "detector": "DETECTOR_PROVENANCE",
}


def fusion_inputs(
    pixels: Tensors, classified: Tensors, detected: Tensors, recognized: Tensors
) -> dict[str, npt.NDArray[Any]]:
    """The inputs of ``MODELS["fusion"]`` from the answers of the models before it, as the ensemble maps them.

    Args:
        pixels: The outputs of ``preprocess``; so the others, of ``classifier``, ``detector`` and ``entity_recognizer``.
        classified: As above.
        detected: As above.
        recognized: As above.
    """
    return {
        "IMAGE_SIZE": pixels["IMAGE_SIZE"],
        "CLASS_PROBABILITIES": classified["PROBABILITIES"],
        "TOP_CLASSES": classified["TOP_CLASSES"],
        "TOP_SCORES": classified["TOP_SCORES"],
        **{f"DETECTOR_{name}": detected[name] for name in ("BOXES", "SCORES", "CLASSES", "NUM_BOXES")},
        "ENTITIES": recognized["ENTITIES"],
        "PREPROCESS_PROVENANCE": pixels["PROVENANCE"],
        "CLASSIFIER_PROVENANCE": classified["PROVENANCE"],
        "DETECTOR_PROVENANCE": detected["PROVENANCE"],
        "ENTITY_PROVENANCE": recognized["PROVENANCE"],
    }


def fuse_batch(
    tensors: Tensors, taxonomy: Taxonomy, policy: Policy, own: Provenance, observe: Observe | None = None
) -> dict[str, npt.NDArray[Any]]:
    """Fuse one request.

    Args:
        tensors: the inputs of ``MODELS["fusion"]``, each with the batch as its first axis.
        taxonomy: what the branches' answers are called.
        policy: weights and thresholds.
        own: version and digest of the fusion model itself.
        observe: is told of every picture, once all of them are fused.

    Returns:
        The outputs of ``MODELS["fusion"]``, each with the batch as its first axis.

    Raises:
        InvalidInput: a branch handed over something that cannot be fused; the message names the tensor.
    """
    results: list[bytes] = []
    fused: list[FusedAnswer] = []
    used: list[dict[str, Any]] = []
    for row in range(len(tensors["IMAGE_SIZE"])):
        answer = fuse_answers(read_answers(tensors, row), taxonomy, policy)
        models = models_used(
            {model: tensors[name][row] for model, name in _PROVENANCE_INPUTS.items()}, tensors["ENTITY_PROVENANCE"][row]
        )
        fused.append(answer)
        used.append({**models, "fusion": own.to_json()})
        try:
            results.append(encode_result(answer, models, own))
        except (ValueError, RecursionError) as error:
            # All else is finite and text of our own. The error itself may quote a name.
            raise InvalidInput("ENTITIES: expected what JSON in UTF-8 can say, got other values") from error
    count = len(fused)
    # Preallocated, not stacked: a batch of none has the same shapes.
    boxes = np.zeros((count, MAX_BOXES, 4), dtype=np.float32)
    box_scores = np.zeros((count, MAX_BOXES), dtype=np.float32)
    box_classes = np.zeros((count, MAX_BOXES), dtype=np.int32)
    category_scores = np.zeros((count, NUM_CATEGORIES), dtype=np.float32)
    category_evidence = np.zeros((count, NUM_CATEGORIES, len(BRANCHES)), dtype=np.float32)
    for row, answer in enumerate(fused):
        boxes[row], box_scores[row], box_classes[row] = answer.boxes, answer.box_scores, answer.box_classes
        category_scores[row], category_evidence[row] = answer.category_scores, answer.category_evidence
        if observe is not None:
            observe(answer.result, used[row])
    return {
        "RESULT": np.array(results, dtype=np.object_).reshape(count, 1),
        "BOXES": boxes,
        "BOX_SCORES": box_scores,
        "BOX_CLASSES": box_classes,
        "NUM_BOXES": np.array([answer.num_boxes for answer in fused], dtype=np.int32).reshape(count, 1),
        "CATEGORY_SCORES": category_scores,
        "CATEGORY_EVIDENCE": category_evidence,
    }


def read_answers(tensors: Tensors, row: int) -> BranchAnswers:
    """One picture's answers out of a batch.

    Raises:
        InvalidInput: the picture's size or the number of boxes is impossible, a number is not finite, a class or
            category does not exist, or ``ENTITIES`` is not a JSON list of faces and plates.
    """
    width, height = (int(side) for side in tensors["IMAGE_SIZE"][row])
    if width < 1 or height < 1:
        raise InvalidInput(f"IMAGE_SIZE: expected a width and height of at least 1, got {width} and {height}")
    num_boxes = int(tensors["DETECTOR_NUM_BOXES"][row, 0])
    if not 0 <= num_boxes <= MAX_BOXES:
        raise InvalidInput(f"DETECTOR_NUM_BOXES: expected 0 to {MAX_BOXES}, got {num_boxes}")
    objects = Objects(
        _finite(tensors, "DETECTOR_BOXES", row)[:num_boxes],
        _finite(tensors, "DETECTOR_SCORES", row)[:num_boxes],
        tensors["DETECTOR_CLASSES"][row, :num_boxes],
    )
    probabilities = _finite(tensors, "CLASS_PROBABILITIES", row)
    top_classes = tensors["TOP_CLASSES"][row]
    for name, classes, count in (
        ("DETECTOR_CLASSES", objects.classes, NUM_CATEGORIES),
        ("TOP_CLASSES", top_classes, len(probabilities)),
    ):
        if len(classes) and not 0 <= classes.min() <= classes.max() < count:
            raise InvalidInput(f"{name}: expected 0 to {count - 1}, got {classes.min()} to {classes.max()}")
    return BranchAnswers(
        size=(width, height),
        probabilities=probabilities,
        top_classes=top_classes,
        top_scores=_finite(tensors, "TOP_SCORES", row),
        objects=objects,
        entities=parse_entities(tensors["ENTITIES"][row, 0]),
    )


def parse_entities(text: bytes | str) -> list[dict[str, Any]]:
    """Read one element of ``ENTITIES``.

    Raises:
        InvalidInput: it is not a JSON list of faces and plates with all that ``RESULT`` says of such. The message
            quotes nothing of it: it goes into logs, and names and plates do not belong there.
    """
    try:
        entities = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InvalidInput(f"ENTITIES: expected JSON, got something else ({error})") from error
    if not isinstance(entities, list):
        raise InvalidInput(f"ENTITIES: expected a JSON list, got {type(entities).__name__}")
    for index, entity in enumerate(entities):
        if not isinstance(entity, dict) or entity.get("type") not in ("face", "plate"):
            raise InvalidInput(f"ENTITIES: expected entries of type face or plate, got another at {index}")
        if expected := _lacks(entity):
            raise InvalidInput(f"ENTITIES: expected {expected}, got other values at {index}")
    return entities


def _lacks(entity: Mapping[str, Any]) -> str:
    """What a face or plate should have and has not; empty if it has everything."""
    box: Any = entity.get("box")
    if not _is_score(entity.get("score")):
        return "a score in [0, 1]"
    if not _are_numbers(box, 4) or box[0] > box[2] or box[1] > box[3]:
        return "a box of 4 numbers with x1 <= x2 and y1 <= y2"
    if entity["type"] == "face":
        identity = entity.get("identity")
        known = isinstance(identity, dict) and isinstance(identity.get("name"), str)
        if not (identity is None or (known and _is_number(identity.get("similarity")))):
            return "an identity with a name and a similarity, or null"
        return "" if _are_points(entity.get("landmarks"), NUM_LANDMARKS) else f"{NUM_LANDMARKS} landmarks"
    if not (isinstance(entity.get("text"), str) and _is_score(entity.get("text_score"))):
        return "a text and its score in [0, 1]"
    return "" if _are_points(entity.get("corners"), 4) else "4 corners"


def _is_number(value: Any) -> bool:
    """Whether it is a finite number, and one that a float can hold; true and false are none in JSON."""
    return type(value) in (int, float) and abs(value) <= sys.float_info.max


def _is_score(value: Any) -> bool:
    return _is_number(value) and 0 <= value <= 1


def _are_numbers(values: Any, count: int) -> bool:
    return isinstance(values, list) and len(values) == count and all(map(_is_number, values))


def _are_points(values: Any, count: int) -> bool:
    return isinstance(values, list) and len(values) == count and all(_are_numbers(point, 2) for point in values)


def _finite(tensors: Tensors, name: str, row: int) -> npt.NDArray[Any]:
    values: npt.NDArray[Any] = tensors[name][row]
    if not np.isfinite(values).all():
        raise InvalidInput(f"{name}: expected finite numbers, got NaN or infinity")
    return values
