"""Published ONNX files made ready for splicing."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from export import onnx_source
from export.graph import OPSET
from export.session import open_session

SIDE = 8


def old_file(folder: Path, *, channels: int = 3) -> Path:
    """What converters wrote in 2019: initializers as inputs, a fixed batch, batch normalisation, shapes from Shape."""
    generator = np.random.default_rng(3)
    arrays = {
        "weight": generator.normal(size=(4, channels, 3, 3)),
        "gamma": generator.uniform(0.5, 2, 4),
        "beta": generator.normal(size=4),
        "mean": generator.normal(size=4),
        "variance": generator.uniform(0.5, 2, 4),
    }
    initializers = [numpy_helper.from_array(value.astype(np.float32), name) for name, value in arrays.items()]
    initializers += [
        numpy_helper.from_array(np.array(0), "zero"),
        numpy_helper.from_array(np.array([-1, 4]), "rest"),
    ]
    nodes = [
        helper.make_node("Conv", ["x", "weight"], ["11"], pads=[1, 1, 1, 1], kernel_shape=[3, 3]),
        helper.make_node("BatchNormalization", ["11", "gamma", "beta", "mean", "variance"], ["12"]),
        helper.make_node("Relu", ["12"], ["13"]),
        helper.make_node("Transpose", ["13"], ["14"], perm=[0, 2, 3, 1]),
        helper.make_node("Shape", ["14"], ["15"]),
        helper.make_node("Gather", ["15", "zero"], ["16"]),
        helper.make_node("Unsqueeze", ["16"], ["17"], axes=[0]),
        helper.make_node("Concat", ["17", "rest"], ["18"], axis=0),
        helper.make_node("Reshape", ["14", "18"], ["out"]),
    ]
    graph = helper.make_graph(
        nodes,
        "old",
        [
            helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, channels, 32, 32]),
            *(helper.make_tensor_value_info(entry.name, entry.data_type, entry.dims) for entry in initializers),
        ],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, [1, 1024, 4])],
        initializers,
    )
    path = folder / "old.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 9)], ir_version=4), path)
    return path


def by_hand(path: Path, x: np.ndarray) -> np.ndarray:
    weights = {entry.name: numpy_helper.to_array(entry) for entry in onnx.load(path).graph.initializer}
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(2, 3))
    made = np.einsum("bchwij,ocij->bhwo", windows, weights["weight"])
    made = (made - weights["mean"]) / np.sqrt(weights["variance"] + 1e-5) * weights["gamma"] + weights["beta"]
    return np.maximum(made, 0).reshape(len(x), -1, 4)


def evaluate(model: onnx.ModelProto, x: np.ndarray) -> np.ndarray:
    return onnx_source.run(open_session(model), ["out"], {"x": x})[0]


@pytest.fixture
def x() -> np.ndarray:
    return np.random.default_rng(4).normal(size=(5, 3, SIDE, SIDE)).astype(np.float32)


@pytest.mark.parametrize("batch", [1, 2, 5])
def test_answers_as_the_file_does_at_any_batch(tmp_path, x, batch):
    path = old_file(tmp_path)
    model = onnx_source.load(path, {"x": (3, SIDE, SIDE)}, prefix="network/")
    np.testing.assert_allclose(evaluate(model, x[:batch]), by_hand(path, x[:batch]), rtol=1e-4, atol=1e-5)


def test_is_folded_upgraded_and_named(tmp_path):
    model = onnx_source.load(old_file(tmp_path), {"x": (3, SIDE, SIDE)}, prefix="network/")
    assert [node.op_type for node in model.graph.node] == ["Conv", "Relu", "Transpose", "Reshape"]
    assert max(entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")) == OPSET
    assert [node.output[0] for node in model.graph.node[:-1]] == [
        "network/conv_1",
        "network/relu_1",
        "network/transpose_1",
    ]
    assert {entry.name for entry in model.graph.initializer} == {
        "network/conv_1_weight",
        "network/conv_1_bias",
        "network/reshape_1_shape",
    }
    assert [value.name for value in model.graph.input] == ["x"]


def test_file_that_reads_bgr_is_given_rgb(tmp_path, x):
    path = old_file(tmp_path)
    model = onnx_source.load(path, {"x": (3, SIDE, SIDE)}, prefix="", reads_bgr=True)
    np.testing.assert_allclose(evaluate(model, x[:, ::-1].copy()), by_hand(path, x), rtol=1e-4, atol=1e-5)


def test_other_input_names_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"expected \['image'\], got \['x'\]"):
        onnx_source.load(old_file(tmp_path), {"image": (3, SIDE, SIDE)}, prefix="")


def test_only_a_convolution_can_be_turned_round(tmp_path):
    path = old_file(tmp_path)
    model = onnx.load(path)
    model.graph.node.insert(0, helper.make_node("Relu", ["x"], ["x_positive"]))
    model.graph.node[1].input[0] = "x_positive"
    onnx.save(model, path)
    with pytest.raises(ValueError, match="expected an ungrouped Conv, got Relu"):
        onnx_source.load(path, {"x": (3, SIDE, SIDE)}, prefix="", reads_bgr=True)
