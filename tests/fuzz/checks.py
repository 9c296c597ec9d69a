"""What holds whatever the bytes are: one check a target. Nothing in here needs the fuzzer.

A check raises ``Broken`` where a rule does not hold, and lets every exception out that is not documented. What it gives
is whether the bytes were accepted, so that a test can see that a corpus has both kinds.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from tests.fuzz.bounds import Check, demand
from tests.fuzz.tensors import tensors_of
from trident.contract import CANVAS_SIDE, DETAIL_SIDE, MODELS, SCENE_SIDE, DType
from trident.errors import InvalidInput
from trident.fusion.answer import MIN_CATEGORY_SCORE
from trident.fusion.batch import fuse_batch
from trident.fusion.evidence import SILENT
from trident.fusion.policy import load_policy
from trident.fusion.taxonomy import load_taxonomy
from trident.geometry import fitted_size
from trident.layout import DEFAULT_REPOSITORY
from trident.preprocess import Canonical, Limits, prepare
from trident.provenance import Provenance
from trident_client import Analysis, AnswerError, parse

LIMITS = Limits(max_pixels=250_000, max_bytes=1 << 16)
"""Small, so that an input costs milliseconds and what a bomb costs stands out."""

SENTENCE = re.compile(r"IMAGE: expected [^\n]{5,250}, got [^\n]{3,250}")
"""How a picture is refused."""

_TAXONOMY = load_taxonomy()
_POLICY = load_policy(DEFAULT_REPOSITORY / "fusion" / "1" / "policy.json")
_OWN = Provenance(1, "sha256:" + "0f" * 32)
_DTYPES = {DType.FP32: np.float32, DType.INT32: np.int32, DType.STRING: np.object_}
_ROUNDING = 1e-6
"""Of float32, as a share."""


def check_decode(data: bytes) -> bool:
    """The decoder step: one printable sentence, or canonical pixels of the contract's form, the same each time."""
    try:
        picture = prepare(data, LIMITS)
    except InvalidInput as error:
        message = str(error)
        demand(bool(SENTENCE.fullmatch(message)) and message.isprintable(), f"refused with {message!r}")
        return False
    _demand_canonical(picture)
    again = prepare(data, LIMITS)
    for name in ("scene", "canvas", "detail"):
        # Pixels that differ come from memory that nobody wrote, and may show what was there before.
        demand(np.array_equal(getattr(picture, name), getattr(again, name)), f"other pixels in {name} at a second try")
    return True


def check_fusion(data: bytes) -> bool:
    """The fusion functions: a refusal that names a tensor, or outputs of the contract with a sound ``RESULT``."""
    tensors = tensors_of(data)
    with np.errstate(all="ignore"):  # huge numbers overflow on their way; what comes out is what counts
        try:
            outputs = fuse_batch(tensors, _TAXONOMY, _POLICY, _OWN)
        except InvalidInput as error:
            named = re.match(r"([A-Z_]+): expected .+, got ", str(error))
            demand(named is not None and named[1] in tensors and str(error).isprintable(), f"refused with {error}")
            return False
    demand_outputs(tensors, outputs)
    return True


def check_answer(data: bytes) -> bool:
    """The client's reading of ``RESULT``: one printable complaint, or an analysis that survives being written."""
    try:
        analysis = parse(data)
    except AnswerError as error:
        message = str(error)
        demand(message.startswith("RESULT") and message.isprintable() and len(message) < 500, f"refused: {message!r}")
        return False
    demand(parse(json.dumps(analysis.to_json())) == analysis, "written and read again it is another")
    return True


CHECKS: Mapping[str, Check] = {"decode": check_decode, "fusion": check_fusion, "answer": check_answer}
"""By the target's name."""


def demand_outputs(tensors: Mapping[str, npt.NDArray[Any]], outputs: Mapping[str, npt.NDArray[Any]]) -> None:
    """What must be true of fusion's outputs, whatever its inputs were.

    Raises:
        Broken: it is not.
        AnswerError: a ``RESULT`` is not what schema 1 says.
    """
    count = len(tensors["IMAGE_SIZE"])
    demand(outputs.keys() == {spec.name for spec in MODELS["fusion"].outputs}, f"outputs {', '.join(outputs)}")
    for spec in MODELS["fusion"].outputs:
        array = outputs[spec.name]
        demand(array.shape == (count, *spec.dims), f"{spec.name} has shape {array.shape}")
        demand(array.dtype == _DTYPES[spec.dtype], f"{spec.name} has type {array.dtype}")
        demand(spec.dtype is not DType.FP32 or bool(np.isfinite(array).all()), f"{spec.name} is not finite")
    for row in range(count):
        width, height = (int(side) for side in tensors["IMAGE_SIZE"][row])
        _demand_result(outputs["RESULT"][row, 0], width, height)
        used = int(outputs["NUM_BOXES"][row, 0])
        demand(used == tensors["DETECTOR_NUM_BOXES"][row, 0], f"{used} boxes")
        scores = outputs["BOX_SCORES"][row]
        demand(bool((np.diff(scores) <= 0).all()) and 0 <= scores[-1] <= scores[0] <= 1, "BOX_SCORES out of order")
        demand(not scores[used:].any() and not outputs["BOXES"][row, used:].any(), "unused rows are not 0")
        evidence = outputs["CATEGORY_EVIDENCE"][row]
        demand(bool(((evidence == SILENT) | ((evidence >= 0) & (evidence <= 1))).all()), "evidence out of range")


def _demand_result(text: bytes, width: int, height: int) -> None:
    analysis = parse(text)
    demand((analysis.width, analysis.height) == (width, height), "another size than the picture's")
    for ranked in (analysis.categories, analysis.objects, analysis.entities):
        scores = [one.score for one in ranked]
        demand(scores == sorted(scores, reverse=True), f"scores are not sorted: {scores}")
    demand(all(one.score >= MIN_CATEGORY_SCORE / 2 for one in analysis.categories), "a category too weak to be shown")
    most = np.array([width, height] * 2) * (1 + _ROUNDING)
    for thing in analysis.objects:
        demand(bool((np.array(thing.box) <= most).all()) and min(thing.box) >= 0, f"a box out of the picture {thing}")
    demand_links(analysis)
    demand(parse(json.dumps(analysis.to_json())) == analysis, "written and read again it is another")


def demand_links(analysis: Analysis) -> None:
    """Objects and entities name each other, and no entity has two objects or object two entities."""
    down = [(number, entity) for number, thing in enumerate(analysis.objects) for entity in thing.entities]
    up = [(entity.object, number) for number, entity in enumerate(analysis.entities) if entity.object is not None]
    demand(sorted(down) == sorted(up), f"links that do not agree: {down} and {up}")
    demand(all(len(thing.entities) <= 1 for thing in analysis.objects), f"two entities of one object: {down}")


def _demand_canonical(picture: Canonical) -> None:
    width, height = picture.width, picture.height
    demand(width >= 1 and height >= 1 and width * height <= LIMITS.max_pixels, f"a picture of {width} x {height}")
    detail_width, detail_height = fitted_size(width, height, DETAIL_SIDE, enlarge=False)
    for name, pixels, shape in (
        ("scene", picture.scene, (SCENE_SIDE, SCENE_SIDE, 3)),
        ("canvas", picture.canvas, (CANVAS_SIDE, CANVAS_SIDE, 3)),
        ("detail", picture.detail, (detail_height, detail_width, 3)),
    ):
        demand(pixels.shape == shape and pixels.dtype == np.uint8, f"{name} is {pixels.dtype} {pixels.shape}")
    right, bottom = fitted_size(width, height, CANVAS_SIDE, enlarge=True)
    outside = picture.canvas[bottom:].any() or picture.canvas[:, right:].any()
    demand(not outside, "the canvas is not black beyond the picture")
