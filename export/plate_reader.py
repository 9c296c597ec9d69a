"""Plate readers: the text recognizers of PP-OCR, with the decoding of their answers in the graph.

Both look at the levelled plate in steps of eight pixels, and give for every step the probability of each character of
their dictionary, or of a blank (connectionist temporal classification: Graves et al., 2006). Greedy decoding takes the
best class of every step, and keeps each that is neither a blank nor the same as the step before.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import cv2
import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto

from export import onnx_source
from export.graph import Graph
from export.session import open_session
from export.sources import Answers, Asset, Files, NetworkVersion, Pixels, Reference
from trident.contract import MAX_CHARACTERS, PLATE_HEIGHT, PLATE_WIDTH

STEP = 8
"""Pixels from one step to the next."""
STEPS = PLATE_WIDTH // STEP
MEAN = 127.5
STD = 127.5
BLANK = 0
"""Class of "no character here"."""

PROVINCES = "京津沪渝冀豫云辽黑湘皖鲁新苏浙赣鄂桂甘晋蒙陕吉闽贵粤青藏川宁琼"
SUFFIXES = "学警港澳挂使领试超民航应急"
ALPHABET = PROVINCES + SUFFIXES + "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"
"""All that Chinese licence plates have on them (GA 36). The recognizers know thousands of characters more, some of them
look-alikes of these; an answer is the best of these. Its probability stays that among all."""
SEPARATORS = "·•.-—: "
"""Marks between characters that are not part of a plate's text: read as blanks."""

SAMPLE_TEXTS = ("A06725D", "B8 K66666", "EVL838", "2026-11")
"""Written with OpenCV's font for the parity check: what the graph reads must be what the source network reads."""


@dataclass(frozen=True, slots=True)
class Recognizer:
    """One recognizer of PP-OCR as an ONNX file, its dictionary in the file's metadata."""

    weights: Asset
    input: str
    output: str


V4 = Recognizer(
    weights=Asset(
        registry="pypi",
        package="rapidocr-onnxruntime",
        package_version="1.4.4",
        file="rapidocr_onnxruntime/models/ch_PP-OCRv4_rec_infer.onnx",
        sha256="48fc40f24f6d2a207a2b1091d3437eb3cc3eb6b676dc3ef9c37384005483683b",
        licence="Apache-2.0",
        repository="https://github.com/RapidAI/RapidOCR",
    ),
    input="x",
    output="softmax_11.tmp_0",
)
V6 = Recognizer(
    weights=Asset(
        registry="pypi",
        package="rapidocr",
        package_version="3.10.0",
        file="rapidocr/models/PP-OCRv6_rec_small.onnx",
        sha256="6f327246b50388f3c176ae304bd95767ea6dc0c9ae92153ef8cbe210b3c14884",
        licence="Apache-2.0",
        repository="https://github.com/RapidAI/RapidOCR",
    ),
    input="x",
    output="fetch_name_0",
)


@dataclass(frozen=True, slots=True)
class Dictionary:
    """The classes of a recognizer that plates need."""

    classes: npt.NDArray[np.int64]
    """Numbers of the classes, ascending; the blank is the first."""
    code_points: npt.NDArray[np.int32]
    """What each is as a Unicode code point; 0 for the blank and for separators."""


def dictionary_of(model: onnx.ModelProto) -> Dictionary:
    """What a recognizer's file says about its classes: blank, then its dictionary, then the space.

    Raises:
        ValueError: the file has no dictionary, the dictionary lacks a character of plates, or it has an entry that is
            not one code point, which neither of the published files has: the contract gives one number a character.
    """
    text = {entry.key: entry.value for entry in model.metadata_props}.get("character")
    if text is None:
        raise ValueError("dictionary: expected metadata 'character' in the ONNX file, got none")
    entries = [*text.split("\n"), " "]
    for number, entry in enumerate(entries, start=1):
        if len(entry) != 1:
            raise ValueError(f"dictionary: expected one code point an entry, got {entry!r} for class {number}")
    missing = sorted(set(ALPHABET) - set(entries))
    if missing:
        raise ValueError(f"dictionary: expected all characters of plates, got none of {' '.join(missing)}")
    wanted = [(n, entry) for n, entry in enumerate(entries, start=1) if entry in ALPHABET or entry in SEPARATORS]
    return Dictionary(
        classes=np.array([BLANK, *(number for number, _ in wanted)], dtype=np.int64),
        code_points=np.array([0, *(ord(e) if e in ALPHABET else 0 for _, e in wanted)], dtype=np.int32),
    )


def build(recognizer: Recognizer, files: Files) -> onnx.ModelProto:
    """The plate reader's graph: levelled plate to code points and their probabilities."""
    path = files[recognizer.weights.name]
    graph = Graph("plate_reader")
    network = onnx_source.load(
        path, {recognizer.input: (3, PLATE_HEIGHT, PLATE_WIDTH)}, prefix="recognizer/", reads_bgr=True
    )
    planes = graph.normalise(graph.planes(), (MEAN,) * 3, (STD,) * 3)
    (probabilities,) = graph.splice(network, {recognizer.input: planes}, {recognizer.output: "step_probabilities"})
    decode(graph, probabilities, dictionary_of(onnx.load(path)))
    return graph.finish()


def decode(graph: Graph, probabilities: str, dictionary: Dictionary, steps: int = STEPS) -> None:
    """Greedy decoding of ``[B, steps, classes]`` into the contract's outputs.

    Args:
        graph: Of the plate reader.
        probabilities: Name of the tensor of probabilities, after the softmax.
        dictionary: The classes that count.
        steps: How many there are, at least ``MAX_CHARACTERS``. Characters after that many are left out.
    """
    plate_classes = graph.integers("plate_classes", dictionary.classes)
    candidates = graph.node("Gather", [probabilities, plate_classes], "plate_probabilities", axis=2)
    best = graph.node("ArgMax", [candidates], "best_class", axis=2, keepdims=0)
    best_scores = graph.node("ReduceMax", [candidates, graph.integers("class_axis", [2])], "best_score", keepdims=0)
    table = graph.constant("code_point_of_class", dictionary.code_points, np.int32)
    code_points = graph.node("Gather", [table, best], "step_code_point")
    nothing = graph.constant("no_character", 0, np.int32)

    # A step counts if its class is a character, and not the one of the step before.
    earlier = graph.node(
        "Slice",
        [
            best,
            graph.integers("first_step", [0]),
            graph.integers("last_step", [-1]),
            graph.integers("step_axis", [1]),
        ],
        "classes_but_last",
    )
    before = graph.node(
        "Pad",
        [earlier, graph.integers("one_step_before", [0, 1, 0, 0]), graph.integers("blank", BLANK)],
        "class_before",
    )
    kept = graph.node(
        "And",
        [
            graph.node("Greater", [code_points, nothing], "is_character"),
            graph.node("Not", [graph.node("Equal", [best, before], "is_repeated")], "is_new"),
        ],
        "is_kept",
    )

    # Kept steps move to the front in their order: sorted by step, with those not kept behind all others.
    numbers = np.arange(steps, dtype=np.int64)[None]
    places = graph.node(
        "Where", [kept, graph.integers("step", numbers), graph.integers("step_behind", numbers + steps)], "step_place"
    )
    graph.nodes(
        "TopK",
        [places, graph.integers("most_characters", [MAX_CHARACTERS])],
        ["character_place", "character_step"],
        axis=1,
        largest=0,
    )
    used = graph.node("Less", ["character_place", graph.integers("steps", steps)], "is_used")
    characters = graph.node("GatherElements", [code_points, "character_step"], "character_code_point", axis=1)
    graph.node("Where", [used, characters, nothing], "CHARACTERS")
    scores = graph.node("GatherElements", [best_scores, "character_step"], "character_score", axis=1)
    graph.node("Where", [used, scores, graph.floats("no_score", 0.0)], "CHARACTER_SCORES")
    counted = graph.node("Cast", [used], "used_int32", to=TensorProto.INT32)
    graph.node("ReduceSum", [counted, graph.integers("step_axis", [1])], "NUM_CHARACTERS", keepdims=1)


def reference(recognizer: Recognizer, files: Files) -> Reference:
    """The file as published, fed as its package feeds it, and its probabilities read step by step."""
    path = files[recognizer.weights.name]
    loaded = open_session(path)
    dictionary = dictionary_of(onnx.load(path))

    def evaluate(pixels: Pixels) -> Answers:
        planes = np.ascontiguousarray(pixels[..., ::-1].transpose(0, 3, 1, 2), dtype=np.float32)
        (probabilities,) = onnx_source.run(loaded, [recognizer.output], {recognizer.input: (planes / 255 - 0.5) / 0.5})
        characters = np.zeros((len(pixels), MAX_CHARACTERS), dtype=np.int32)
        scores = np.zeros((len(pixels), MAX_CHARACTERS), dtype=np.float32)
        counts = np.zeros((len(pixels), 1), dtype=np.int32)
        for item, steps in enumerate(probabilities):
            read = read_greedily(steps, dictionary)
            counts[item] = len(read)
            characters[item, : len(read)] = [code_point for code_point, _ in read]
            scores[item, : len(read)] = [score for _, score in read]
        return {
            "step_probabilities": probabilities,
            "CHARACTERS": characters,
            "CHARACTER_SCORES": scores,
            "NUM_CHARACTERS": counts,
        }

    return evaluate


def read_greedily(probabilities: npt.NDArray[np.float32], dictionary: Dictionary) -> list[tuple[int, float]]:
    """Code point and probability of every character that greedy decoding finds in ``[steps, classes]``.

    >>> ab = Dictionary(np.array([0, 1, 3]), np.array([0, 65, 66], dtype=np.int32))
    >>> read_greedily(np.eye(4, dtype=np.float32)[[1, 1, 0, 1, 3]], ab)
    [(65, 1.0), (65, 1.0), (66, 1.0)]
    """
    read: list[tuple[int, float]] = []
    before = BLANK
    for step in probabilities[:, dictionary.classes]:
        best = int(step.argmax())
        if dictionary.code_points[best] and best != before:
            read.append((int(dictionary.code_points[best]), float(step[best])))
        before = best
    return read


def samples(texts: Sequence[str] = SAMPLE_TEXTS) -> Pixels:
    """Levelled plates as the reader gets them, white letters on blue, the rest grey."""
    plates = np.full((len(texts), PLATE_HEIGHT, PLATE_WIDTH, 3), 127, dtype=np.uint8)
    for plate, text in zip(plates, texts, strict=True):
        plate[:, : 24 * len(text)] = (20, 60, 160)
        cv2.putText(plate, text, (8, 36), cv2.FONT_HERSHEY_SIMPLEX, 1.1, (255, 255, 255), 3, cv2.LINE_AA)
    return plates


def _version(version: int, name: str, recognizer: Recognizer) -> NetworkVersion:
    return NetworkVersion(
        component="plate_reader",
        version=version,
        name=name,
        assets=(recognizer.weights,),
        licence="Apache-2.0",
        repository="https://github.com/PaddlePaddle/PaddleOCR",
        preprocessing="BGR, minus 127.5, divided by 127.5; grey 127 to the right of the plate",
        classes="characters of Chinese licence plates",
        build=partial(build, recognizer),
        reference=partial(reference, recognizer),
        samples=samples,
    )


VERSIONS = (
    _version(1, "PP-OCRv4 recognizer (mobile)", V4),
    _version(2, "PP-OCRv6 recognizer (small)", V6),
)
