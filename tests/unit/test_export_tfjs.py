"""The TensorFlow.js conversion against the same formulas in torch, on small models written here."""

import base64
import json

import numpy as np
import onnx
import pytest
import torch
from torch.nn import functional as F  # noqa: N812

from export import tfjs
from export.graph import Graph
from export.session import open_session
from trident.errors import SetupError

GENERATOR = np.random.default_rng(3)


class Source:
    """Writes a TensorFlow.js model of a few nodes."""

    def __init__(self):
        self.nodes = []
        self.weights = []
        self.data = b""

    def constant(self, name, value, dtype="float32", stored=None):
        array = np.asarray(value)
        entry = {"name": name, "shape": list(array.shape), "dtype": dtype}
        if stored:
            entry["quantization"] = {"dtype": stored, "original_dtype": dtype}
        self.weights.append(entry)
        self.data += array.astype(stored or dtype).tobytes()
        self.nodes.append({"name": name, "op": "Const", "attr": {}})
        return name

    def node(self, op, name, inputs, **attributes):
        self.nodes.append({"name": name, "op": op, "input": list(inputs), "attr": attributes})
        return name

    def conv(self, op, name, source, kernel, padding, stride=1, **attributes):
        weights = self.constant(f"{name}/kernel", kernel)
        return self.node(
            op,
            name,
            [source, weights, *attributes.pop("more", [])],
            padding={"s": base64.b64encode(padding.encode()).decode()},
            strides={"list": {"i": ["1", str(stride), str(stride), "1"]}},
            dilations={"list": {"i": ["1", "1", "1", "1"]}},
            **attributes,
        )

    def read(self, folder):
        description = {
            "modelTopology": {"node": self.nodes},
            "weightsManifest": [{"paths": ["m.bin"], "weights": self.weights}],
        }
        (folder / "m.json").write_text(json.dumps(description))
        (folder / "m.bin").write_bytes(self.data)
        return tfjs.read(folder / "m.json", folder / "m.bin")


def fused(*names):
    return {"list": {"s": [base64.b64encode(name.encode()).decode() for name in names]}}


def converted(model, output, x_nchw, axes=tfjs.NHWC, **options):
    """The converted graph's operators, and its output for one picture."""
    graph = Graph("face_embedder")
    n, c, h, w = x_nchw.shape
    shape = (1, h, w, c) if axes == tfjs.NHWC else (1, c, h, w)
    tfjs.convert(graph, model, {"x": ("x", shape, axes)}, {output: "answer"}, **options)
    whole = onnx.helper.make_model(
        onnx.helper.make_graph(
            graph._nodes,
            "test",
            [onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [n, c, h, w])],
            [onnx.helper.make_empty_tensor_value_info("answer")],
            list(graph._initializers.values()),
        ),
        opset_imports=[onnx.helper.make_opsetid("", 18)],
        ir_version=8,
    )
    return [node.op_type for node in graph._nodes], open_session(whole).run(None, {"x": x_nchw})[0]


def picture(channels=3, height=9, width=8):
    return GENERATOR.normal(size=(1, channels, height, width)).astype(np.float32)


def weights(*dims):
    return GENERATOR.normal(size=dims).astype(np.float32)


def same_pad(x, kernel, stride):
    """TensorFlow's SAME padding, as its documentation says it."""
    pads = []
    for size in (x.shape[3], x.shape[2]):
        total = max((int(np.ceil(size / stride)) - 1) * stride + kernel - size, 0)
        pads += [total // 2, total - total // 2]
    return F.pad(torch.from_numpy(x), pads)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("size", [pytest.param((9, 8), id="odd and even"), pytest.param((7, 11), id="odd")])
def test_convolution_pads_as_same_does(tmp_path, stride, size):
    x, kernel = picture(3, *size), weights(3, 3, 3, 5)
    source = Source()
    source.conv("Conv2D", "conv", "x", kernel, "SAME", stride)
    ops, got = converted(source.read(tmp_path), "conv", x)
    expected = F.conv2d(same_pad(x, 3, stride), torch.from_numpy(kernel.transpose(3, 2, 0, 1).copy()), stride=stride)
    assert ops == ["Conv"]
    np.testing.assert_allclose(got, expected.numpy(), atol=1e-5)


def test_batch_normalisation_is_folded_into_a_depthwise_convolution(tmp_path):
    x, kernel, factor, shift = picture(4), weights(5, 5, 4, 1), weights(4), weights(4)
    source = Source()
    source.conv("DepthwiseConv2dNative", "depthwise", "x", kernel, "SAME", 2)
    source.node("Mul", "scaled", ["depthwise", source.constant("factor", factor)])
    source.node("Add", "shifted", ["scaled", source.constant("shift", shift)])
    ops, got = converted(source.read(tmp_path), "shifted", x)
    weight = torch.from_numpy(kernel.transpose(2, 3, 0, 1).copy())
    plain = F.conv2d(same_pad(x, 5, 2), weight, stride=2, groups=4).numpy()
    assert ops == ["Conv"]
    np.testing.assert_allclose(got, plain * factor[:, None, None] + shift[:, None, None], atol=1e-4)


def test_relu_minimum_maximum_is_one_clip(tmp_path):
    x, kernel, bias = picture() * 5, weights(1, 1, 3, 4) * 5, weights(4)
    source = Source()
    source.conv(
        "_FusedConv2D", "conv", "x", kernel, "SAME", fused_ops=fused("BiasAdd"), more=[source.constant("bias", bias)]
    )
    source.node("Relu", "relu", ["conv"])
    source.node("Minimum", "low", ["relu", source.constant("six", 6.0)])
    source.node("Maximum", "clipped", ["low", source.constant("zero", 0.0)])
    ops, got = converted(source.read(tmp_path), "clipped", x)
    plain = F.conv2d(torch.from_numpy(x), torch.from_numpy(kernel.transpose(3, 2, 0, 1).copy()), torch.from_numpy(bias))
    assert ops == ["Conv", "Clip"]
    np.testing.assert_allclose(got, plain.clamp(0, 6).numpy(), atol=1e-4)


@pytest.mark.parametrize(
    ("sixth", "operators"),
    [
        pytest.param(np.float32(1 / 6), ["HardSigmoid", "Mul", "Conv"], id="exact sixth"),
        pytest.param(np.float32(np.float16(1 / 6)), ["HardSigmoid", "Mul", "Conv"], id="float16 sixth is kept"),
    ],
)
def test_hard_swish_loses_no_factor(tmp_path, sixth, operators):
    x, kernel = picture() * 4, weights(1, 1, 3, 2)
    source = Source()
    source.node("Mul", "part", [source.constant("sixth", sixth), "x"])
    source.node("Add", "plus3", ["x", source.constant("three", 3.0)])
    source.node("Relu6", "relu6", ["plus3"])
    source.node("Mul", "swish", ["part", "relu6"])
    source.conv("Conv2D", "conv", "swish", kernel, "VALID")
    ops, got = converted(source.read(tmp_path), "conv", x)
    swish = torch.from_numpy(x * sixth) * (torch.from_numpy(x) + 3).clamp(0, 6)
    expected = F.conv2d(swish, torch.from_numpy(kernel.transpose(3, 2, 0, 1).copy()))
    assert ops == operators
    np.testing.assert_allclose(got, expected.numpy(), rtol=2e-5, atol=1e-5)


def test_a_factor_that_meets_no_convolution_is_multiplied(tmp_path):
    x = picture()
    source = Source()
    source.node("Mul", "half", ["x", source.constant("factor", 0.5)])
    source.node("Add", "sum", ["half", "x"])
    ops, got = converted(source.read(tmp_path), "sum", x)
    assert ops == ["Mul", "Add"]
    np.testing.assert_allclose(got, 1.5 * x, rtol=1e-6)


def test_transposes_and_paddings_of_an_nchw_graph_disappear(tmp_path):
    x, first, second = picture(3, 9, 8), weights(3, 3, 3, 4), weights(1, 1, 4, 5)
    source = Source()
    to_nhwc = source.constant("to_nhwc", [0, 2, 3, 1], "int32")
    to_nchw = source.constant("to_nchw", [0, 3, 1, 2], "int32")
    pads = source.constant("pads", [[0, 0], [0, 0], [1, 1], [1, 1]], "int32")
    source.node("Pad", "padded", ["x", pads])
    source.node("Transpose", "t1", ["padded", to_nhwc])
    source.conv("Conv2D", "conv1", "t1", first, "VALID", 2)
    source.node("Transpose", "t2", ["conv1", to_nchw])
    source.node("LeakyRelu", "leaky", ["t2"], alpha={"f": 0.1})
    source.node("PadV2", "padded2", ["leaky", pads, source.constant("least", -3.4e38)])
    source.node("Transpose", "t3", ["padded2", to_nhwc])
    source.node(
        "MaxPool",
        "pool",
        ["t3"],
        padding={"s": base64.b64encode(b"VALID").decode()},
        ksize={"list": {"i": ["1", "3", "3", "1"]}},
        strides={"list": {"i": ["1", "2", "2", "1"]}},
    )
    source.node("Transpose", "t4", ["pool", to_nchw])
    source.node("ConcatV2", "joined", ["t4", "t4", source.constant("axis", 1, "int32")])
    source.node("Transpose", "t5", ["joined", to_nhwc])
    source.conv("Conv2D", "conv2", "t5", np.concatenate([second, second], axis=2), "VALID")
    ops, got = converted(source.read(tmp_path), "conv2", x, tfjs.NCHW)
    assert ops == ["Conv", "LeakyRelu", "MaxPool", "Concat", "Conv"]
    hidden = F.conv2d(torch.from_numpy(x), torch.from_numpy(first.transpose(3, 2, 0, 1).copy()), stride=2, padding=1)
    pooled = F.max_pool2d(F.leaky_relu(hidden, 0.1), 3, 2, padding=1)
    expected = 2 * F.conv2d(pooled, torch.from_numpy(second.transpose(3, 2, 0, 1).copy()))
    np.testing.assert_allclose(got, expected.numpy(), atol=1e-4)


def test_padding_that_nothing_takes_over_is_a_pad(tmp_path):
    x = picture()
    source = Source()
    pads = source.constant("pads", [[0, 0], [1, 2], [3, 0], [0, 0]], "int32")
    source.node("PadV2", "padded", ["x", pads, source.constant("value", 7.0)])
    source.node("Relu", "relu", ["padded"])
    ops, got = converted(source.read(tmp_path), "relu", x)
    assert ops == ["Pad", "Relu"]
    np.testing.assert_array_equal(got, np.pad(x, [(0, 0), (0, 0), (1, 2), (3, 0)], constant_values=7.0).clip(0))


def test_resize_without_half_pixels_starts_at_the_corner(tmp_path):
    x = picture(2, 4, 4)
    source = Source()
    source.node("ResizeBilinear", "large", ["x", source.constant("size", [8, 8], "int32")])
    _, got = converted(source.read(tmp_path), "large", x)
    # Even rows and columns are the source's own, odd ones lie half way to the next.
    np.testing.assert_allclose(got[..., ::2, ::2], x, atol=1e-6)
    np.testing.assert_allclose(got[..., 0, 1:-1:2], (x[..., 0, :-1] + x[..., 0, 1:]) / 2, atol=1e-6)


@pytest.mark.parametrize(("keep", "dims"), [(True, (1, 3, 1, 1)), (False, (1, 3))])
def test_mean_over_the_picture(tmp_path, keep, dims):
    x = picture()
    source = Source()
    source.node("Mean", "mean", ["x", source.constant("axes", [1, 2], "int32")], keep_dims={"b": keep})
    _, got = converted(source.read(tmp_path), "mean", x)
    assert got.shape == dims
    np.testing.assert_allclose(got.reshape(1, 3), x.mean(axis=(2, 3)), atol=1e-6)


def test_float16_weights_are_read_as_float32(tmp_path):
    values = weights(2, 3)
    source = Source()
    source.constant("a", [1, -2, 3], "int32")
    source.constant("b", values, "float32", stored="float16")
    model = source.read(tmp_path)
    assert model.constants["a"].tolist() == [1, -2, 3]
    assert model.constants["b"].dtype == np.float32
    np.testing.assert_array_equal(model.constants["b"], values.astype(np.float16).astype(np.float32))


@pytest.mark.parametrize("change", [pytest.param(-1, id="too short"), pytest.param(1, id="too long")])
def test_weights_of_another_length_are_refused(tmp_path, change):
    source = Source()
    source.constant("a", weights(4))
    source.data = source.data[:change] if change < 0 else source.data + b"x"
    with pytest.raises(SetupError, match=r"m\.bin: expected .*16 bytes, got 1[57]"):
        source.read(tmp_path)


def test_an_unknown_node_is_named(tmp_path):
    source = Source()
    source.node("Erf", "curve", ["x"])
    with pytest.raises(tfjs.UnsupportedNode, match=r"no conversion for Erf \(node curve\)"):
        converted(source.read(tmp_path), "curve", picture())


def test_only_what_the_output_needs_is_converted(tmp_path):
    source = Source()
    source.node("Erf", "curve", ["x"])
    source.node("Relu", "relu", ["x"])
    ops, _ = converted(source.read(tmp_path), "relu", picture())
    assert ops == ["Relu"]
