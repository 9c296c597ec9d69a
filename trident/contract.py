"""The one definition of every tensor that crosses a model boundary.

Names, dtypes and dims of each served model stand here and nowhere else in code. ``config.pbtxt`` files and ONNX
graphs have to repeat them in their own languages; the contract tests hold every one of them against this module.

Dims are those of Triton's model configuration, without the batch dimension. ``-1`` is a dimension that may differ from
request to request.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

# Canonical picture sizes, in pixels. A network's own input size is its own business: resizing to it is in its graph.
SCENE_SIDE = 288
"""Side of the centre square that the classifier sees."""
CANVAS_SIDE = 640
"""Side of the square canvas that the detectors see: the whole picture, top left, the rest black."""
DETAIL_SIDE = 1280
"""Longest side of the picture that face and plate crops are cut from. A smaller picture keeps its size."""
FACE_SIDE = 224
"""Side of an aligned face."""
PLATE_HEIGHT = 48
"""Height of a levelled licence plate."""
PLATE_WIDTH = 320
"""Width of a levelled licence plate, the unused right part grey."""

NUM_CLASSES = 1000
"""ImageNet-1k classes, in the usual order."""
NUM_CATEGORIES = 80
"""COCO categories, in the usual order of 80, without the gaps of the 91 original ids."""
TOP_K = 5
"""Labels that ``scene`` holds."""
MAX_BOXES = 100
"""Boxes that a detector gives for one picture."""
MAX_CHARACTERS = 40
"""Characters that a plate reader gives for one plate."""
NUM_LANDMARKS = 5
"""Face landmarks: right eye, left eye, nose, right and left mouth corner, "right" being the person's own."""
NUM_BRANCHES = 3
"""Branches that give evidence, in the order of ``BRANCHES``."""
PROVENANCE_BYTES = 36
"""Model version (4 bytes, little endian) and SHA-256 digest (32 bytes); see ``trident.provenance``."""

BRANCHES = ("classifier", "detector", "entities")
"""Order of the last axis of ``CATEGORY_EVIDENCE``."""

ENTITY_PROVENANCE_ORDER = ("entity_recognizer", "face_detector", "face_embedder", "plate_detector", "plate_reader")
"""Rows of the entity recognizer's ``PROVENANCE``. A network that was not called has a row of zeros."""

RECOGNIZER = ENTITY_PROVENANCE_ORDER[0]
CALLED: tuple[str, ...] = ENTITY_PROVENANCE_ORDER[1:]
"""Networks that the entity recognizer calls. A version of the recognizer names the versions that it calls."""
EMBEDDER = "face_embedder"
"""The one among them whose answers lie in the gallery."""


class DType(StrEnum):
    """Triton's data types, as ``config.pbtxt`` writes them after ``TYPE_``."""

    UINT8 = "UINT8"
    INT32 = "INT32"
    FP32 = "FP32"
    STRING = "STRING"

    @property
    def wire(self) -> str:
        """The name that the KServe v2 protocol uses on the wire."""
        return "BYTES" if self is DType.STRING else self.value


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """One tensor of a model, without its batch dimension."""

    name: str
    dtype: DType
    dims: tuple[int, ...]
    about: str


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """Inputs and outputs of one served model; the same for every version of it."""

    name: str
    about: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    network: bool = False
    """True for a component whose versions are ONNX files."""

    def input(self, name: str) -> TensorSpec:
        """The input tensor of that name. Raises KeyError if there is none."""
        return _named(self.inputs, name)

    def output(self, name: str) -> TensorSpec:
        """The output tensor of that name. Raises KeyError if there is none."""
        return _named(self.outputs, name)


def _named(specs: tuple[TensorSpec, ...], name: str) -> TensorSpec:
    for spec in specs:
        if spec.name == name:
            return spec
    raise KeyError(f"no tensor {name!r}; there are {', '.join(spec.name for spec in specs)}")


def _pixels(height: int, width: int, about: str) -> TensorSpec:
    return TensorSpec("PIXELS", DType.UINT8, (height, width, 3), about)


PROVENANCE = TensorSpec("PROVENANCE", DType.UINT8, (PROVENANCE_BYTES,), "version and digest of what really ran")

# The picture on its way in.
IMAGE = TensorSpec("IMAGE", DType.STRING, (1,), "one encoded picture: JPEG, PNG, WebP, BMP or TIFF, first frame")
IMAGE_SIZE = TensorSpec("IMAGE_SIZE", DType.INT32, (2,), "width and height as a viewer shows the picture")
SCENE_PIXELS = TensorSpec("SCENE_PIXELS", DType.UINT8, (SCENE_SIDE, SCENE_SIDE, 3), "RGB centre square")
CANVAS_PIXELS = TensorSpec(
    "CANVAS_PIXELS", DType.UINT8, (CANVAS_SIDE, CANVAS_SIDE, 3), "RGB letterboxed picture, top left"
)
DETAIL_PIXELS = TensorSpec(
    "DETAIL_PIXELS", DType.UINT8, (-1, -1, 3), "RGB picture for crops; within a batch padded to the largest"
)

# Answers of the branches.
PROBABILITIES = TensorSpec("PROBABILITIES", DType.FP32, (NUM_CLASSES,), "softmax over the ImageNet classes")
TOP_CLASSES = TensorSpec("TOP_CLASSES", DType.INT32, (TOP_K,), "indices of the best classes, best first")
TOP_SCORES = TensorSpec("TOP_SCORES", DType.FP32, (TOP_K,), "their probabilities")
BOXES = TensorSpec("BOXES", DType.FP32, (MAX_BOXES, 4), "x1, y1, x2, y2; best first; unused rows are 0")
SCORES = TensorSpec("SCORES", DType.FP32, (MAX_BOXES,), "scores of the boxes in [0, 1]; unused are 0")
CLASSES = TensorSpec("CLASSES", DType.INT32, (MAX_BOXES,), "COCO category, 0 to 79; unused are 0")
NUM_BOXES = TensorSpec("NUM_BOXES", DType.INT32, (1,), "how many rows are used")
LANDMARKS = TensorSpec("LANDMARKS", DType.FP32, (MAX_BOXES, NUM_LANDMARKS, 2), "x, y of the face landmarks")
CORNERS = TensorSpec("CORNERS", DType.FP32, (MAX_BOXES, 4, 2), "x, y of a plate's corners: TL, TR, BR, BL")
EMBEDDING = TensorSpec("EMBEDDING", DType.FP32, (-1,), "L2-normalised face embedding")
CHARACTERS = TensorSpec("CHARACTERS", DType.INT32, (MAX_CHARACTERS,), "Unicode code points; unused are 0")
CHARACTER_SCORES = TensorSpec("CHARACTER_SCORES", DType.FP32, (MAX_CHARACTERS,), "their probabilities; unused are 0")
NUM_CHARACTERS = TensorSpec("NUM_CHARACTERS", DType.INT32, (1,), "how many characters are used")
ENTITIES = TensorSpec("ENTITIES", DType.STRING, (1,), "JSON list of the faces and plates, in picture pixels")

# The fused answer.
RESULT = TensorSpec("RESULT", DType.STRING, (1,), "the fused answer, UTF-8 JSON, schema 1")
CLASS_PROBABILITIES = TensorSpec("CLASS_PROBABILITIES", DType.FP32, (NUM_CLASSES,), "the classifier's softmax")
BOX_SCORES = TensorSpec("BOX_SCORES", DType.FP32, (MAX_BOXES,), "fused scores, highest first; unused are 0")
BOX_CLASSES = TensorSpec("BOX_CLASSES", DType.INT32, (MAX_BOXES,), "COCO category, 0 to 79; unused are 0")
CATEGORY_SCORES = TensorSpec("CATEGORY_SCORES", DType.FP32, (NUM_CATEGORIES,), "fused image-level scores")
CATEGORY_EVIDENCE = TensorSpec(
    "CATEGORY_EVIDENCE", DType.FP32, (NUM_CATEGORIES, NUM_BRANCHES), "f of each branch; -1 where it cannot speak"
)


def _renamed(spec: TensorSpec, name: str, dims: tuple[int, ...] | None = None) -> TensorSpec:
    return TensorSpec(name, spec.dtype, spec.dims if dims is None else dims, spec.about)


ENTITY_PROVENANCE = _renamed(PROVENANCE, "PROVENANCE", (len(ENTITY_PROVENANCE_ORDER), PROVENANCE_BYTES))

MODELS: dict[str, ModelSpec] = {
    spec.name: spec
    for spec in (
        ModelSpec(
            "preprocess",
            "checks and decodes a picture, and makes the canonical pixels",
            inputs=(IMAGE,),
            outputs=(SCENE_PIXELS, CANVAS_PIXELS, DETAIL_PIXELS, IMAGE_SIZE, PROVENANCE),
        ),
        ModelSpec(
            "classifier",
            "what is this picture?",
            inputs=(_pixels(SCENE_SIDE, SCENE_SIDE, "RGB centre square"),),
            outputs=(PROBABILITIES, TOP_CLASSES, TOP_SCORES, PROVENANCE),
            network=True,
        ),
        ModelSpec(
            "detector",
            "what is where? Boxes in canvas pixels",
            inputs=(_pixels(CANVAS_SIDE, CANVAS_SIDE, "RGB canvas"),),
            outputs=(BOXES, SCORES, CLASSES, NUM_BOXES, PROVENANCE),
            network=True,
        ),
        ModelSpec(
            "face_detector",
            "where are faces? Boxes and landmarks in canvas pixels",
            inputs=(_pixels(CANVAS_SIDE, CANVAS_SIDE, "RGB canvas"),),
            outputs=(BOXES, SCORES, LANDMARKS, NUM_BOXES, PROVENANCE),
            network=True,
        ),
        ModelSpec(
            "face_embedder",
            "one aligned face to one embedding",
            inputs=(_pixels(FACE_SIDE, FACE_SIDE, "RGB aligned face"),),
            outputs=(EMBEDDING, PROVENANCE),
            network=True,
        ),
        ModelSpec(
            "plate_detector",
            "where are licence plates? Boxes and corners in canvas pixels",
            inputs=(_pixels(CANVAS_SIDE, CANVAS_SIDE, "RGB canvas"),),
            outputs=(BOXES, SCORES, CORNERS, NUM_BOXES, PROVENANCE),
            network=True,
        ),
        ModelSpec(
            "plate_reader",
            "one levelled licence plate to its characters",
            inputs=(_pixels(PLATE_HEIGHT, PLATE_WIDTH, "RGB levelled plate"),),
            outputs=(CHARACTERS, CHARACTER_SCORES, NUM_CHARACTERS, PROVENANCE),
            network=True,
        ),
        ModelSpec(
            "entity_recognizer",
            "whose face, which plate? Calls the four networks above",
            inputs=(CANVAS_PIXELS, DETAIL_PIXELS, IMAGE_SIZE),
            outputs=(ENTITIES, ENTITY_PROVENANCE),
        ),
        ModelSpec(
            "fusion",
            "the branches' answers to one fused answer",
            inputs=(
                IMAGE_SIZE,
                CLASS_PROBABILITIES,
                TOP_CLASSES,
                TOP_SCORES,
                _renamed(BOXES, "DETECTOR_BOXES"),
                _renamed(SCORES, "DETECTOR_SCORES"),
                _renamed(CLASSES, "DETECTOR_CLASSES"),
                _renamed(NUM_BOXES, "DETECTOR_NUM_BOXES"),
                ENTITIES,
                _renamed(PROVENANCE, "PREPROCESS_PROVENANCE"),
                _renamed(PROVENANCE, "CLASSIFIER_PROVENANCE"),
                _renamed(PROVENANCE, "DETECTOR_PROVENANCE"),
                _renamed(ENTITY_PROVENANCE, "ENTITY_PROVENANCE"),
            ),
            outputs=(RESULT, BOXES, BOX_SCORES, BOX_CLASSES, NUM_BOXES, CATEGORY_SCORES, CATEGORY_EVIDENCE),
        ),
        ModelSpec(
            "trident",
            "one photo in, one fused answer out",
            inputs=(IMAGE,),
            outputs=(
                RESULT,
                CLASS_PROBABILITIES,
                BOXES,
                BOX_SCORES,
                BOX_CLASSES,
                NUM_BOXES,
                CATEGORY_SCORES,
                CATEGORY_EVIDENCE,
            ),
        ),
    )
}
"""Every served model by its name."""

NETWORKS: tuple[str, ...] = tuple(name for name, spec in MODELS.items() if spec.network)
"""Components whose versions are ONNX files."""

ENSEMBLE = "trident"
"""Name of the served ensemble."""
COMPONENTS: tuple[str, ...] = tuple(name for name in MODELS if name != ENSEMBLE)
"""Everything that has versions of its own."""
STEPS: tuple[str, ...] = tuple(name for name in COMPONENTS if name not in CALLED)
"""Components that are steps of the ensemble, and pinned by its configuration."""
STABLE, CANDIDATE = "trident_stable", "trident_candidate"
"""The ensemble with the versions of before, and with new ones, while a rollout compares them."""

MAX_BATCH_SIZE = 8
"""Pictures that one request may carry."""

STICKY = "sticky"
"""Request parameter, a text: requests with the same one are answered by the same side, also while a canary runs."""
