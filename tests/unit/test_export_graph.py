"""The graph helpers against plain numpy and torch."""

import numpy as np
import onnx
import pytest
import torch

from export.graph import Graph
from export.parity import with_extra_outputs
from export.session import open_session
from trident.contract import CANVAS_SIDE, MAX_BOXES
from trident.geometry import iou_matrix


def run(model, names, pixels):
    return dict(zip(names, open_session(with_extra_outputs(model, [])).run(names, {"PIXELS": pixels}), strict=True))


def inner(graph: Graph, names, pixels, *, outputs=("EMBEDDING",)):
    """Values of inner tensors of a face_embedder graph that has no real output."""
    graph.floats("nothing", np.zeros((1, 4)))
    graph.node("Identity", ["nothing"], outputs[0])
    nodes, initializers = graph._nodes, list(graph._initializers.values())
    inputs = [onnx.helper.make_tensor_value_info("PIXELS", onnx.TensorProto.UINT8, ["batch", None, None, 3])]
    values = [onnx.helper.make_empty_tensor_value_info(name) for name in names]
    model = onnx.helper.make_model(
        onnx.helper.make_graph(nodes, "test", inputs, values, initializers),
        opset_imports=[onnx.helper.make_opsetid("", 18)],
        ir_version=8,
    )
    return open_session(model).run(names, {"PIXELS": pixels})


@pytest.fixture
def pixels() -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (2, 64, 48, 3), dtype=np.uint8)


@pytest.mark.parametrize(
    "size",
    [pytest.param((40, 30), id="shrunk"), pytest.param((100, 70), id="grown"), pytest.param((64, 20), id="one axis")],
)
@pytest.mark.parametrize("antialias", [0, 1])
def test_resize_is_torchs(pixels, size, antialias):
    graph = Graph("face_embedder")
    graph.resize(graph.planes(), *size, antialias=antialias)
    (resized,) = inner(graph, ["resized"], pixels)
    planes = torch.from_numpy(pixels).permute(0, 3, 1, 2).float()
    expected = torch.nn.functional.interpolate(
        planes, size=size, mode="bilinear", antialias=bool(antialias), align_corners=False
    )
    np.testing.assert_allclose(resized, expected.numpy(), atol=5e-3)


def test_normalise_takes_each_channels_own_mean_and_std(pixels):
    graph = Graph("face_embedder")
    graph.normalise(graph.planes(), (1.0, 2.0, 3.0), (2.0, 4.0, 8.0))
    (normalised,) = inner(graph, ["normalised"], pixels)
    expected = (pixels.astype(np.float64) - [1, 2, 3]) / [2, 4, 8]
    np.testing.assert_allclose(normalised, expected.transpose(0, 3, 1, 2), rtol=1e-6)


def test_a_network_for_bgr_reads_rgb(pixels):
    graph = Graph("face_embedder")
    planes = graph.planes()
    kernel = np.random.default_rng(1).normal(size=(2, 3, 1, 1)).astype(np.float32)
    graph.node("Conv", [planes, graph.floats("weight", kernel)], "convolved")
    graph.read_bgr(planes)
    (convolved,) = inner(graph, ["convolved"], pixels)
    expected = np.einsum("bhwc,oc->bohw", pixels[..., ::-1].astype(np.float64), kernel[:, :, 0, 0])
    np.testing.assert_allclose(convolved, expected, rtol=1e-4, atol=1e-3)


def test_only_a_convolution_over_all_channels_can_be_made_to_read_bgr():
    graph = Graph("face_embedder")
    planes = graph.planes()
    graph.node("Relu", [planes], "positive")
    with pytest.raises(ValueError, match="expected an ungrouped Conv, got Relu positive"):
        graph.read_bgr(planes)


def suppressed(boxes, scores, classes, minimum, iou):
    """Greedy class-wise non-maximum suppression, the textbook way."""
    kept = []
    for i in np.argsort(-scores, kind="stable"):
        if scores[i] <= minimum:
            continue
        same = [k for k in kept if classes[k] == classes[i]]
        if not same or iou_matrix(boxes[i : i + 1], boxes[same]).max() <= iou:
            kept.append(i)
    return kept[:MAX_BOXES]


@pytest.mark.parametrize("iou", [0.3, 0.6])
def test_select_boxes_is_greedy_suppression_by_class_and_picture(iou):
    generator = np.random.default_rng(7)
    corners = generator.uniform(0, 80, (3, 200, 2))
    boxes = np.concatenate([corners, corners + generator.uniform(20, 140, (3, 200, 2))], axis=2).astype(np.float32)
    scores = generator.permutation(600).reshape(3, 200).astype(np.float32) / 600
    scores[2] = 0.05  # nothing above the minimum in the third picture
    classes = generator.integers(0, 3, (3, 200)).astype(np.float32)

    graph = Graph("detector")
    graph.select_boxes(
        graph.floats("boxes", boxes),
        graph.floats("scores", scores),
        minimum=0.5,
        iou=iou,
        classes_BN=graph.floats("classes", classes),
    )
    model = graph.finish()
    names = ["BOXES", "SCORES", "CLASSES", "NUM_BOXES"]
    got = run(model, names, np.zeros((3, CANVAS_SIDE, CANVAS_SIDE, 3), np.uint8))
    for i in range(3):
        kept = suppressed(boxes[i], scores[i], classes[i], 0.5, iou)
        count = len(kept)
        assert got["NUM_BOXES"][i].tolist() == [count]
        np.testing.assert_array_equal(got["BOXES"][i, :count], boxes[i, kept])
        np.testing.assert_array_equal(got["SCORES"][i, :count], scores[i, kept])
        np.testing.assert_array_equal(got["CLASSES"][i, :count], classes[i, kept])
        for name in ("BOXES", "SCORES", "CLASSES"):
            assert not got[name][i, count:].any()
    assert got["NUM_BOXES"][2] == 0
    assert got["NUM_BOXES"][0] not in (0, MAX_BOXES, 200)


def test_select_boxes_carries_what_goes_with_the_boxes():
    boxes = (
        np.tile(np.array([0, 0, 1, 1], np.float32), (1, 100, 1)) + 10 * np.arange(100, dtype=np.float32)[None, :, None]
    )
    scores = np.linspace(0.2, 0.9, 100, dtype=np.float32)[None]
    landmarks = np.arange(1000, dtype=np.float32).reshape(1, 100, 5, 2)
    graph = Graph("face_detector")
    graph.select_boxes(
        graph.floats("boxes", boxes),
        graph.floats("scores", scores),
        minimum=0.55,
        iou=0.5,
        extras={"LANDMARKS": graph.floats("landmarks", landmarks)},
    )
    got = run(graph.finish(), ["LANDMARKS", "NUM_BOXES"], np.zeros((1, CANVAS_SIDE, CANVAS_SIDE, 3), np.uint8))
    count = int((scores > 0.55).sum())
    assert got["NUM_BOXES"].tolist() == [[count]]
    np.testing.assert_array_equal(got["LANDMARKS"][0, :count], landmarks[0, ::-1][:count])
    assert not got["LANDMARKS"][0, count:].any()


def test_a_name_is_given_once():
    graph = Graph("face_embedder")
    graph.floats("mean", 1.0)
    assert graph.floats("mean", 1.0) == "mean"
    with pytest.raises(ValueError, match="'mean' of the face_embedder graph already exists"):
        graph.floats("mean", 2.0)


def test_finish_drops_what_no_output_needs():
    graph = Graph("face_embedder")
    planes = graph.planes()
    graph.node("Relu", [planes], "useless")
    graph.floats("unused", 3.0)
    pooled = graph.node("GlobalAveragePool", [planes], "pooled")
    graph.node("Flatten", [pooled], "EMBEDDING")
    model = graph.finish(dims={"EMBEDDING": (3,)})
    assert [node.name for node in model.graph.node] == ["planes_uint8", "planes", "pooled", "EMBEDDING"]
    assert not model.graph.initializer


def test_splice_renames_what_is_wanted():
    helper = onnx.helper
    part = helper.make_model(
        helper.make_graph(
            [helper.make_node("Mul", ["x", "two"], ["397"], "n1"), helper.make_node("Relu", ["397"], ["398"], "n2")],
            "part",
            [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, None)],
            [helper.make_tensor_value_info("398", onnx.TensorProto.FLOAT, None)],
            [onnx.numpy_helper.from_array(np.float32(2.0), "two")],
        ),
        opset_imports=[helper.make_opsetid("", 18)],
    )
    graph = Graph("face_embedder")
    assert graph.splice(part, {"x": graph.planes()}, {"398": "doubled"}) == ("doubled",)
    pixels = np.full((1, 2, 2, 3), 7, np.uint8)
    doubled, product = inner(graph, ["doubled", "397"], pixels)
    assert doubled.max() == product.max() == 14
