"""Whether an answer is one at all: complete, of the contract's types and shapes, and with values that can be."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from trident.contract import (
    ENTITY_PROVENANCE_ORDER,
    MAX_BOXES,
    MAX_CHARACTERS,
    MODELS,
    NUM_CATEGORIES,
    PROVENANCE_BYTES,
    DType,
    TensorSpec,
)
from trident.provenance import unpack
from trident_client.errors import AnswerError
from trident_client.results import parse

Tensors = Mapping[str, npt.NDArray[Any] | None]

_KINDS = {DType.UINT8: "u", DType.INT32: "i", DType.FP32: "f", DType.STRING: "OS"}
_SCORES = frozenset(
    {
        *("SCORES", "PROBABILITIES", "TOP_SCORES", "CHARACTER_SCORES"),
        *("BOX_SCORES", "CLASS_PROBABILITIES", "CATEGORY_SCORES"),
    }
)
_MOST: dict[str, int] = {
    "NUM_BOXES": MAX_BOXES,
    "NUM_CHARACTERS": MAX_CHARACTERS,
    "CLASSES": NUM_CATEGORIES - 1,
    "BOX_CLASSES": NUM_CATEGORIES - 1,
}
_SLACK = 1e-3


def unsound(model: str, answer: Tensors, batch: int, *, only: Collection[str] | None = None) -> str:
    """What is wrong with an answer, in a few words; empty if nothing is.

    Args:
        model: Which model of the contract answered.
        answer: Its outputs by name; None for one that did not come.
        batch: How many items were asked about.
        only: The outputs that were asked for; None for all.
    """
    for spec in MODELS[model].outputs:
        if only is not None and spec.name not in only:
            continue
        array = answer.get(spec.name)
        if array is None:
            return f"{spec.name}: expected it among the outputs, got none"
        if wrong := _wrong_form(spec, array, batch) or _wrong_values(spec, array):
            return f"{spec.name}: {wrong}"
    return ""


def versions_of(model: str, answer: Mapping[str, npt.NDArray[Any]]) -> dict[str, int]:
    """Which versions name themselves in an answer, by component; what was not called is not named.

    Fusion and the ensemble name them in ``RESULT``, the others in ``PROVENANCE``.
    """
    if "RESULT" in answer:
        models = json.loads(answer["RESULT"].reshape(-1)[0])["models"]
        return {name: int(one["version"]) for name, one in models.items()}
    named: dict[str, int] = {}
    rows = answer["PROVENANCE"].astype(np.uint8).reshape(len(answer["PROVENANCE"]), -1, PROVENANCE_BYTES)
    names = ENTITY_PROVENANCE_ORDER if rows.shape[1] > 1 else (model,)
    for item in rows:
        for name, row in zip(names, item, strict=True):
            made_by = unpack(row)
            if made_by is not None:
                named[name] = made_by.version
    return named


def _wrong_form(spec: TensorSpec, array: npt.NDArray[Any], batch: int) -> str:
    if array.dtype.kind not in _KINDS[spec.dtype]:
        return f"expected {spec.dtype}, got {array.dtype}"
    shape = (batch, *spec.dims)
    if len(array.shape) != len(shape) or any(
        wanted not in (-1, got) for wanted, got in zip(shape, array.shape, strict=True)
    ):
        return f"expected shape {shape}, got {array.shape}"
    return ""


def _wrong_values(spec: TensorSpec, array: npt.NDArray[Any]) -> str:
    if spec.name in _READ:
        return _READ[spec.name](array)
    if not array.size:
        return ""
    if spec.dtype is DType.FP32 and not np.isfinite(array).all():
        return f"expected numbers, got {int((~np.isfinite(array)).sum())} that are NaN or infinite"
    lowest, highest = array.min(), array.max()
    most = 1 + _SLACK if spec.name in _SCORES else _MOST.get(spec.name, np.inf)
    if most < np.inf and not (lowest >= -_SLACK and highest <= most):
        return f"expected {'scores in [0, 1]' if spec.name in _SCORES else f'0 to {most}'}, got {lowest} to {highest}"
    if spec.name == "EMBEDDING" and not (np.linalg.norm(array, axis=1) > 0).all():
        return "expected a length above 0, got 0"
    return ""


def _wrong_result(array: npt.NDArray[Any]) -> str:
    for text in array.reshape(-1):
        try:
            parse(text)
        except AnswerError as error:
            return str(error)
    return ""


def _wrong_entities(array: npt.NDArray[Any]) -> str:
    keys = {"face": {"landmarks", "identity"}, "plate": {"corners", "text", "text_score"}}
    for text in array.reshape(-1):
        try:
            entities = json.loads(text)
        except (UnicodeDecodeError, json.JSONDecodeError) as error:
            return f"expected UTF-8 JSON, got something else ({error})"
        if not isinstance(entities, list) or not all(isinstance(one, dict) for one in entities):
            return "expected a JSON list of objects, got something else"
        for one in entities:
            kind = one.get("type")
            missing = {"score", "box", *keys.get(kind, set())} - one.keys()
            if kind not in keys or missing:
                return f"expected faces and plates, got one of type {kind!r} without {', '.join(sorted(missing))}"
    return ""


_READ: dict[str, Callable[[npt.NDArray[Any]], str]] = {"RESULT": _wrong_result, "ENTITIES": _wrong_entities}
