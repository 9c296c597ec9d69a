"""What is sent: pictures for the ensemble, and for each component the very tensors that it is given in there.

A component's answers and its time depend on what it is shown: how many faces, how large a picture. So its inputs are
not made up. They come from the served models themselves: the pixels that the served preprocess makes of the pictures,
the crops that the served detectors lead to, the branches' served answers.
"""

from __future__ import annotations

import asyncio
import itertools
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
from google.protobuf.message import DecodeError
from tritonclient.grpc import InferResult, service_pb2
from tritonclient.utils import InferenceServerException, serialize_byte_tensor

from benchmarks.served import ServedModels
from trident.contract import ENSEMBLE, MAX_BATCH_SIZE, MODELS, RECOGNIZER, RESULT, DType
from trident.entities.gallery import Embeddings
from trident.entities.local import read_settings
from trident.entities.pictures import Pictures
from trident.entities.recognizer import recognize
from trident.entities.types import Identity
from trident.errors import SetupError
from trident.fusion.batch import fusion_inputs
from trident.layout import DEFAULT_REPOSITORY
from trident.rollout.soundness import unsound

Tensors = Mapping[str, npt.NDArray[Any]]
_Item = TypeVar("_Item")

MOST_PICTURES = 64
"""Pictures of a folder that are sent; drawn where there are more."""
COMPONENT_PICTURES = 8
"""Of how many pictures components are shown the tensors: pixels are tens of times as large as JPEG files."""
ASKED_FOR = {
    name: (RESULT.name,) if name == ENSEMBLE else tuple(one.name for one in MODELS[name].outputs) for name in MODELS
}
"""Outputs that are asked for: of the ensemble what most callers want, of a component what the ensemble asks of it."""

_ON_SCENE = ("classifier",)
_ON_CANVAS = ("detector", "face_detector", "plate_detector")
_ON_CROPS = {"face_embedder": "face", "plate_reader": "licence plate"}


@dataclass(frozen=True, slots=True)
class Payload:
    """One request, written out."""

    model: str
    batch: int
    """How many pictures, or crops, it carries."""
    body: bytes
    """A serialised ``ModelInferRequest``."""

    @property
    def name(self) -> str:
        """What it is called in the statistics."""
        return f"{self.model} x{self.batch}"


def parse_batches(text: str) -> tuple[int, ...]:
    """Batch sizes with commas between.

    Raises:
        SetupError: Something else than numbers from 1 to ``MAX_BATCH_SIZE``.

    >>> parse_batches("1, 4")
    (1, 4)
    """
    try:
        batches = tuple(dict.fromkeys(int(word) for word in text.split(",")))
    except ValueError:
        batches = ()
    if not batches or not all(1 <= batch <= MAX_BATCH_SIZE for batch in batches):
        raise SetupError(f"batch: expected numbers from 1 to {MAX_BATCH_SIZE} with commas between, got {text!r}")
    return batches


def to_request(model: str, tensors: Tensors) -> bytes:
    """A serialised request for a model of the contract; all tensors have the batch as their first axis."""
    request = service_pb2.ModelInferRequest(model_name=model)
    for spec in MODELS[model].inputs:
        array = tensors[spec.name]
        request.inputs.add(name=spec.name, datatype=spec.dtype.wire, shape=array.shape)
        text = spec.dtype is DType.STRING
        request.raw_input_contents.append(serialize_byte_tensor(array).item() if text else array.tobytes())
    for name in ASKED_FOR[model]:
        request.outputs.add(name=name)
    return bytes(request.SerializeToString())


def problem(payload: Payload, answer: bytes) -> str:
    """What is wrong with an answer that came with status OK, in a few words; empty if nothing is.

    Args:
        payload: What was asked.
        answer: A serialised ``ModelInferResponse``.
    """
    try:
        result = InferResult(service_pb2.ModelInferResponse.FromString(answer))
        tensors = {name: result.as_numpy(name) for name in ASKED_FOR[payload.model]}
    except (DecodeError, ValueError, TypeError, struct.error) as error:
        return f"expected a ModelInferResponse, got what cannot be read: {error}"
    return unsound(payload.model, tensors, payload.batch, only=ASKED_FOR[payload.model])


def payloads(served: ServedModels, model: str, pictures: Sequence[bytes], batches: Sequence[int]) -> list[Payload]:
    """Requests for one model: each picture is in one of every batch size, or one of its crops is.

    Args:
        served: The server's models; what a component is shown, they are asked for once.
        model: For which.
        pictures: Encoded. Of these, a component is shown the first ``COMPONENT_PICTURES``.
        batches: How many pictures, or crops, in one request.

    Raises:
        SetupError: The server cannot be asked, refuses a picture, or finds no face (no plate) in any of them.
    """
    shown = pictures if model == ENSEMBLE else pictures[:COMPONENT_PICTURES]
    try:
        if model in _ON_CROPS:
            inputs = _crop_inputs(served, model, shown, batches)
        else:
            chunks = [chunk for batch in batches for chunk in in_batches(shown, batch)]
            inputs = [_inputs(served, model, np.array([[one] for one in chunk], dtype=np.object_)) for chunk in chunks]
    except InferenceServerException as error:
        raise SetupError(f"{model}: its inputs cannot be made, since the server refused: {error}") from error
    return [Payload(model, len(next(iter(one.values()))), to_request(model, one)) for one in inputs]


def in_batches(items: Sequence[_Item], batch: int) -> Iterator[list[_Item]]:
    """All items in groups of ``batch``, the last one filled up from the beginning.

    >>> list(in_batches("abcde", 2))
    [['a', 'b'], ['c', 'd'], ['e', 'a']]
    """
    endless = itertools.cycle(items)
    for _ in range(-(-len(items) // batch)):
        yield list(itertools.islice(endless, batch))


def _inputs(served: ServedModels, model: str, images: npt.NDArray[np.object_]) -> Tensors:
    """What a model is given of the pictures ``[N, 1]`` within the ensemble."""
    if model in (ENSEMBLE, "preprocess"):
        return {"IMAGE": images}
    pixels = served.infer("preprocess", {"IMAGE": images})
    if model in _ON_SCENE:
        return {"PIXELS": pixels["SCENE_PIXELS"]}
    if model in _ON_CANVAS:
        return {"PIXELS": pixels["CANVAS_PIXELS"]}
    if model == RECOGNIZER:
        return pixels
    classified = served.infer("classifier", {"PIXELS": pixels["SCENE_PIXELS"]})
    detected = served.infer("detector", {"PIXELS": pixels["CANVAS_PIXELS"]})
    return fusion_inputs(pixels, classified, detected, served.infer(RECOGNIZER, pixels))


def _crop_inputs(served: ServedModels, model: str, pictures: Sequence[bytes], batches: Sequence[int]) -> list[Tensors]:
    """The crops that the entity recognizer cuts out of the pictures for a network behind it."""
    settings = read_settings(DEFAULT_REPOSITORY)
    crops: list[npt.NDArray[Any]] = []

    async def infer(network: str, tensors: Tensors) -> Tensors:
        if network == model:
            crops.extend(tensors["PIXELS"])
        return served.infer(network, tensors)

    def nobody(embeddings: Embeddings, network: str) -> Sequence[Identity | None]:
        return [None] * len(embeddings)

    for picture in pictures:
        pixels = served.infer("preprocess", {"IMAGE": np.array([[picture]], dtype=np.object_)})
        shown = Pictures(pixels["CANVAS_PIXELS"], pixels["DETAIL_PIXELS"], pixels["IMAGE_SIZE"])
        asyncio.run(recognize(shown, infer, nobody, settings))
    if not crops:
        raise SetupError(
            f"{model}: expected a {_ON_CROPS[model]} in one of {len(pictures)} pictures, got none: add a picture that "
            "shows one, or leave this model out"
        )
    return [{"PIXELS": np.stack(group)} for batch in batches for group in in_batches(crops, batch)]
