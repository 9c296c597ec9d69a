"""The EfficientNet-Lite graph, laid out from random weights, against torch."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional

from export import classifier
from export.parity import with_extra_outputs
from export.session import open_session
from trident.contract import NUM_CLASSES, SCENE_SIDE, TOP_K

# Table 1 of the paper, at width and depth 1: kernel, widening, channels, repeats, stride.
TABLE = [
    (3, 1, 16, 1, 1),
    (3, 6, 24, 2, 2),
    (5, 6, 40, 2, 2),
    (3, 6, 80, 3, 2),
    (5, 6, 112, 3, 1),
    (5, 6, 192, 4, 2),
    (3, 6, 320, 1, 1),
]
SLIM = 8
"""Channels are divided by this: the graph takes them from the weights."""


def blocks():
    """Kernel, widening, channels in, channels out and stride of every block."""
    channels = 32 // SLIM
    for kernel, widening, out, repeats, stride in TABLE:
        for i in range(repeats):
            yield kernel, widening, channels, out // SLIM, stride if i == 0 else 1
            channels = out // SLIM


@pytest.fixture(scope="module")
def weights():
    generator = np.random.default_rng(11)
    made = {}

    def convolution(kernel, norm, out, inputs, side):
        made[f"{kernel}.weight"] = generator.normal(size=(out, inputs, side, side)) * math.sqrt(2 / (inputs * side**2))
        made[f"{norm}.weight"] = generator.uniform(0.5, 1.5, out)
        made[f"{norm}.bias"] = generator.normal(size=out) * 0.3
        made[f"{norm}.running_mean"] = generator.normal(size=out) * 0.3
        made[f"{norm}.running_var"] = generator.uniform(0.5, 1.5, out)

    convolution("_conv_stem", "_bn0", 32 // SLIM, 3, 3)
    for i, (kernel, widening, channels, out, _) in enumerate(blocks()):
        block = f"_blocks.{i}"
        if widening > 1:
            convolution(f"{block}._expand_conv", f"{block}._bn0", channels * widening, channels, 1)
        convolution(f"{block}._depthwise_conv", f"{block}._bn1", channels * widening, 1, kernel)
        convolution(f"{block}._project_conv", f"{block}._bn2", out, channels * widening, 1)
    convolution("_conv_head", "_bn1", 1280 // SLIM, 320 // SLIM, 1)
    made["_fc.weight"] = generator.normal(size=(NUM_CLASSES, 1280 // SLIM)) * 0.2
    made["_fc.bias"] = generator.normal(size=NUM_CLASSES)
    return {name: value.astype(np.float32) for name, value in made.items()}


def in_torch(weights, planes):
    """The network from the paper's table, with batch normalisation as such and TensorFlow's padding."""
    state = {name: torch.from_numpy(value) for name, value in weights.items()}

    def convolution(x, kernel, norm, stride=1, groups=1, activation=True):
        weight = state[f"{kernel}.weight"]
        total = [max((math.ceil(n / stride) - 1) * stride + weight.shape[2] - n, 0) for n in x.shape[2:]]
        x = functional.pad(x, [total[1] // 2, total[1] - total[1] // 2, total[0] // 2, total[0] - total[0] // 2])
        x = functional.conv2d(x, weight, stride=stride, groups=groups)
        parts = [state[f"{norm}.{part}"] for part in ("running_mean", "running_var", "weight", "bias")]
        x = functional.batch_norm(x, *parts, eps=1e-3)
        return functional.relu6(x) if activation else x

    x = convolution(planes, "_conv_stem", "_bn0", 2)
    for i, (_, widening, channels, out, stride) in enumerate(blocks()):
        block, before = f"_blocks.{i}", x
        if widening > 1:
            x = convolution(x, f"{block}._expand_conv", f"{block}._bn0")
        x = convolution(x, f"{block}._depthwise_conv", f"{block}._bn1", stride, groups=x.shape[1])
        x = convolution(x, f"{block}._project_conv", f"{block}._bn2", activation=False)
        if stride == 1 and channels == out:
            x = x + before
    x = convolution(x, "_conv_head", "_bn1").mean(dim=(2, 3))
    return x @ state["_fc.weight"].T + state["_fc.bias"]


@pytest.fixture(scope="module")
def pixels():
    return np.random.default_rng(12).integers(0, 256, (2, SCENE_SIDE, SCENE_SIDE, 3), dtype=np.uint8)


@pytest.fixture(scope="module", params=[224, 240, SCENE_SIDE])
def answers(request, weights, pixels):
    variant = replace(classifier.LITE0, side=request.param)
    model = with_extra_outputs(classifier.layout(variant, weights), ["logits"])
    names = ["logits", "PROBABILITIES", "TOP_CLASSES", "TOP_SCORES"]
    given = dict(zip(names, open_session(model).run(names, {"PIXELS": pixels}), strict=True))
    margin = (SCENE_SIDE - request.param) // 2
    centre = pixels[:, margin : margin + request.param, margin : margin + request.param]
    planes = (torch.from_numpy(centre.transpose(0, 3, 1, 2).astype(np.float32)) - 127) / 128
    return given, in_torch(weights, planes).numpy()


def test_logits_are_torchs(answers):
    given, logits = answers
    np.testing.assert_allclose(given["logits"], logits, atol=1e-4 * np.abs(logits).max())


def test_best_classes_are_those_of_the_probabilities(answers):
    given, logits = answers
    probabilities = np.exp(logits - logits.max(axis=1, keepdims=True))
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(given["PROBABILITIES"], probabilities, atol=1e-4)
    order = np.argsort(-given["PROBABILITIES"], axis=1)[:, :TOP_K]
    np.testing.assert_array_equal(given["TOP_SCORES"], np.take_along_axis(given["PROBABILITIES"], order, axis=1))
    np.testing.assert_array_equal(
        np.take_along_axis(given["PROBABILITIES"], given["TOP_CLASSES"].astype(int), axis=1), given["TOP_SCORES"]
    )


@pytest.mark.parametrize(
    ("variant", "blocks_per_stage"),
    [
        pytest.param(classifier.LITE0, [1, 2, 2, 3, 3, 4, 1], id="lite0"),
        pytest.param(classifier.LITE1, [1, 3, 3, 4, 4, 5, 1], id="lite1"),
    ],
)
def test_depth_repeats_blocks_but_not_in_the_first_and_last_stage(variant, blocks_per_stage):
    expected = [
        stride if i == 0 else 1
        for stride, count in zip([1, 2, 2, 2, 1, 2, 1], blocks_per_stage, strict=True)
        for i in range(count)
    ]
    assert list(variant.strides) == expected


@pytest.mark.parametrize(
    ("side", "kernel", "stride", "expected"),
    [
        pytest.param(224, 3, 2, (0, 1), id="even side, odd padding goes after"),
        pytest.param(15, 5, 2, (2, 2), id="odd side"),
        pytest.param(8, 1, 1, (0, 0), id="pointwise"),
        pytest.param(7, 3, 1, (1, 1), id="no stride"),
    ],
)
def test_same_padding(side, kernel, stride, expected):
    assert classifier.same_padding(side, kernel, stride) == expected
