"""TensorFlow.js graph models: reading them, turning them into ONNX, and evaluating them with TensorFlow.js itself.

The conversion goes node by node. TensorFlow's graphs say NHWC, or switch between NHWC and NCHW with a Transpose around
every convolution. Here every tensor lies in memory as NCHW, and its ``axes`` say which of those each of TensorFlow's
axes is. So a Transpose becomes a change of ``axes``, and none is left in the ONNX graph.
"""

from __future__ import annotations

import base64
import json
import subprocess
import tempfile
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from export.graph import Graph
from export.node import node_program
from export.sources import Answers, Asset, Files
from trident.errors import SetupError

Floats = npt.NDArray[np.float32]

NHWC = (0, 2, 3, 1)
"""Where TensorFlow's batch, height, width and channel axes lie in memory."""
NCHW = (0, 1, 2, 3)
"""The same for a graph whose own layout is NCHW."""

_TFJS_REPOSITORY = "https://github.com/tensorflow/tfjs"
_TFJS_VERSION = "4.22.0"

RUNTIME: tuple[Asset, ...] = (
    Asset(
        "npm",
        "@tensorflow/tfjs-core",
        _TFJS_VERSION,
        "dist/tf-core.min.js",
        "0924438788ff7da57b14d0f7c45a05d81611a5a4b52653da6d065e86d348757c",
        "Apache-2.0",
        _TFJS_REPOSITORY,
    ),
    Asset(
        "npm",
        "@tensorflow/tfjs-converter",
        _TFJS_VERSION,
        "dist/tf-converter.min.js",
        "0cf35a2982b637997e8cae097c991c0123b7d5393b3d45730aa732b907c6cd1b",
        "Apache-2.0",
        _TFJS_REPOSITORY,
    ),
    Asset(
        "npm",
        "@tensorflow/tfjs-backend-wasm",
        _TFJS_VERSION,
        "dist/tf-backend-wasm.min.js",
        "691bbec0ef8b5a7f17f212e9c5d85832030f90d030b46e99acb4dea1fb16f009",
        "Apache-2.0",
        _TFJS_REPOSITORY,
    ),
    Asset(
        "npm",
        "@tensorflow/tfjs-backend-wasm",
        _TFJS_VERSION,
        "dist/tfjs-backend-wasm-simd.wasm",
        "77ebb28a6d34f371dbbf2086b7f2de8994acd8ea5a3cf1fa24d2c26c840cac7b",
        "Apache-2.0",
        _TFJS_REPOSITORY,
    ),
)
"""TensorFlow.js, the runtime that these models were published for."""


class UnsupportedNode(SetupError):
    """The graph has a node, or a use of one, that the conversion does not know."""


# Reading


@dataclass(frozen=True, slots=True)
class Node:
    """One node of a TensorFlow graph."""

    name: str
    op: str
    inputs: tuple[str, ...]
    attributes: Mapping[str, Any]

    def integers(self, name: str) -> tuple[int, ...]:
        """A list of integers, such as ``strides``; empty if absent."""
        return tuple(int(i) for i in self.attributes.get(name, {}).get("list", {}).get("i", ()))

    def text(self, name: str) -> str:
        """A string, which the format holds in base64; empty if absent."""
        return base64.b64decode(self.attributes.get(name, {}).get("s", "")).decode()

    def texts(self, name: str) -> tuple[str, ...]:
        """A list of strings; empty if absent."""
        values = self.attributes.get(name, {}).get("list", {}).get("s", ())
        return tuple(base64.b64decode(value).decode() for value in values)

    def flag(self, name: str) -> bool:
        """A truth value; false if absent."""
        return bool(self.attributes.get(name, {}).get("b", False))

    def number(self, name: str, default: float) -> float:
        """A float."""
        return float(self.attributes.get(name, {}).get("f", default))


@dataclass(frozen=True, slots=True)
class Model:
    """A TensorFlow.js graph model: its nodes, and its constants as float32 or int32."""

    nodes: Mapping[str, Node]
    constants: Mapping[str, npt.NDArray[Any]]


def read(topology: Path, weights: Path) -> Model:
    """Read ``model.json`` and its one file of weights.

    Raises:
        SetupError: the file of weights is shorter or longer than the topology says.
    """
    description = json.loads(topology.read_text())
    nodes: dict[str, Node] = {}
    for entry in description["modelTopology"]["node"]:
        inputs = tuple(name.removesuffix(":0") for name in entry.get("input", ()) if not name.startswith("^"))
        nodes[entry["name"]] = Node(entry["name"], entry["op"], inputs, entry.get("attr", {}))

    data = weights.read_bytes()
    constants: dict[str, npt.NDArray[Any]] = {}
    offset = 0
    for group in description["weightsManifest"]:
        for entry in group["weights"]:
            stored = np.dtype(entry.get("quantization", {}).get("dtype", entry["dtype"])).newbyteorder("<")
            size = prod(entry["shape"]) * stored.itemsize
            if offset + size > len(data):
                raise SetupError(f"{weights.name}: expected at least {offset + size} bytes, got {len(data)}")
            array = np.frombuffer(data[offset : offset + size], dtype=stored)
            constants[entry["name"]] = array.astype(entry["dtype"]).reshape(entry["shape"])
            offset += size
    if offset != len(data):
        raise SetupError(f"{weights.name}: expected {offset} bytes, got {len(data)}")
    return Model(nodes, constants)


# Converting


@dataclass(frozen=True, slots=True)
class _Tensor:
    """A tensor of the ONNX graph, seen with TensorFlow's axes."""

    name: str
    shape: tuple[int, ...]
    """Dims along TensorFlow's axes, for the picture size that the model was published for; the batch counts 1."""
    axes: tuple[int, ...]
    """For each of TensorFlow's axes, where it lies in memory."""
    pads: tuple[tuple[int, int], ...] | None = None
    """Padding along TensorFlow's axes that the next convolution or pooling takes over."""
    pad_value: float = 0.0
    factor: float = 1.0
    """Factor that the next multiplication takes over."""

    @property
    def channels(self) -> int:
        return self.shape[self.axes.index(1)]


def convert(
    graph: Graph,
    model: Model,
    inputs: Mapping[str, tuple[str, tuple[int, ...], tuple[int, ...]]],
    outputs: Mapping[str, str],
    *,
    rename: Callable[[str], str] = str,
) -> None:
    """Add the part of a TensorFlow.js model that leads from ``inputs`` to ``outputs``.

    Args:
        graph: Takes the nodes.
        model: The source.
        inputs: For each placeholder, the NCHW tensor of ``graph`` that stands for it, its dims along TensorFlow's
            axes, and its ``axes``: ``NHWC`` or ``NCHW``.
        outputs: For each wanted node, the name its tensor gets in ``graph``. Four-dimensional ones are NCHW.
        rename: TensorFlow's name of a node to the name of its tensor in ``graph``.

    Raises:
        UnsupportedNode: a node on the way cannot be converted.
    """
    _Conversion(graph, model, outputs, rename).run(inputs)


@dataclass(slots=True)
class _Conversion:
    graph: Graph
    model: Model
    outputs: Mapping[str, str]
    rename: Callable[[str], str]
    tensors: dict[str, _Tensor] = field(default_factory=dict)
    users: dict[str, list[Node]] = field(default_factory=lambda: defaultdict(list))

    def run(self, inputs: Mapping[str, tuple[str, tuple[int, ...], tuple[int, ...]]]) -> None:
        order = self._order(set(inputs))
        for node in order:
            for name in node.inputs:
                self.users[name].append(node)
        for placeholder, (name, shape, axes) in inputs.items():
            self.tensors[placeholder] = _Tensor(name, shape, axes)
        for node in order:
            if node.name not in self.tensors:
                self._add(node)

    def _order(self, known: set[str]) -> list[Node]:
        """The nodes that the outputs need, each after those it needs."""
        order: list[Node] = []
        seen = set(known)
        stack = [(name, False) for name in self.outputs]
        while stack:
            name, ready = stack.pop()
            if ready:
                order.append(self.model.nodes[name])
            elif name not in seen and name not in self.model.constants:
                seen.add(name)
                if name not in self.model.nodes:
                    raise UnsupportedNode(f"the graph has no single output {name!r}")
                stack.append((name, True))
                stack.extend((source, False) for source in self.model.nodes[name].inputs)
        return order

    def _name(self, node: str) -> str:
        return self.outputs.get(node, self.rename(node))

    def _add(self, node: Node) -> None:
        if node.op not in _HANDLERS:
            raise UnsupportedNode(f"no conversion for {node.op} (node {node.name})")
        _HANDLERS[node.op](self, node)

    # Operands

    def _constant(self, name: str) -> npt.NDArray[Any]:
        if name not in self.model.constants:
            raise UnsupportedNode(f"expected a constant, got {name!r}")
        return self.model.constants[name]

    def _operand(self, name: str) -> _Tensor:
        """A tensor with nothing left to be taken over."""
        tensor = self.tensors[name]
        if tensor.pads is not None:
            before, after = (
                [tensor.pads[tensor.axes.index(axis)][end] for axis in range(len(tensor.axes))] for end in (0, 1)
            )
            padded = self.graph.node(
                "Pad",
                [
                    tensor.name,
                    self.graph.integers(f"{tensor.name}_pads", before + after),
                    self.graph.floats(f"{tensor.name}_pad_value", tensor.pad_value),
                ],
                f"{tensor.name}_padded",
            )
            tensor = replace(tensor, name=padded, pads=None)
        if tensor.factor != 1.0:
            scaled = self.graph.node(
                "Mul", [tensor.name, self.graph.floats(f"{tensor.name}_factor", tensor.factor)], f"{tensor.name}_scaled"
            )
            tensor = replace(tensor, name=scaled, factor=1.0)
        self.tensors[name] = tensor
        return tensor

    def _next(self, name: str, *ops: str) -> tuple[Node, npt.NDArray[Any]] | None:
        """The only user of a tensor, with its constant operand, if it is one of ``ops`` with a constant."""
        users = self.users[name]
        if len(users) != 1 or name in self.outputs or users[0].op not in ops:
            return None
        others = [other for other in users[0].inputs if other != name]
        if len(others) != 1 or others[0] not in self.model.constants:
            return None
        return users[0], self.model.constants[others[0]]

    # Convolutions

    def convolution(self, node: Node) -> None:
        source = self._nhwc(node, self.tensors[node.inputs[0]])
        kernel = self._constant(node.inputs[1]).astype(np.float32)
        if "Depthwise" in node.op:
            height, width, channels, multiplier = kernel.shape
            kernel = kernel.transpose(2, 3, 0, 1).reshape(channels * multiplier, 1, height, width)
            group = channels
        else:
            kernel = kernel.transpose(3, 2, 0, 1)
            group = 1
        # The factor that the input still lacks: padding with zeros does not mind.
        kernel = kernel * np.float32(source.factor)
        bias: Floats | None = None
        fused = list(node.texts("fused_ops"))
        if fused and fused[0] == "BiasAdd":
            bias = self._constant(node.inputs[2]).astype(np.float32)
            fused.pop(0)
        absorbed = [node]
        if not fused:
            kernel, bias = self._absorb(absorbed, kernel, bias)

        name = self._name(absorbed[-1].name)
        label = f"{name}_linear" if fused else name
        pads, shape = self._window(node, source, kernel.shape[2:], kernel.shape[0])
        operands = [source.name, self.graph.floats(f"{name}_weight", kernel)]
        if bias is not None:
            operands.append(self.graph.floats(f"{name}_bias", bias))
        made = self.graph.node(
            "Conv",
            operands,
            label,
            kernel_shape=list(kernel.shape[2:]),
            strides=list(node.integers("strides")[1:3]),
            dilations=list(node.integers("dilations")[1:3] or (1, 1)),
            group=group,
            pads=pads,
        )
        for activation in fused:
            made = self._activation(node, activation, made, name)
        for part in absorbed:
            self.tensors[part.name] = _Tensor(made, shape, source.axes)

    def _absorb(self, chain: list[Node], kernel: Floats, bias: Floats | None) -> tuple[Floats, Floats | None]:
        """Fold factors and shifts that follow a convolution, such as batch normalisation, into its weights.

        ``chain`` holds the convolution; the nodes folded are added to it.
        """
        channels = kernel.shape[0]
        while (found := self._next(chain[-1].name, "Mul", "Add", "AddV2", "BiasAdd")) is not None:
            user, constant = found
            if constant.size != 1 and constant.shape[-1] != channels:
                break
            if constant.size not in (1, channels) or self._starts_hard_sigmoid(user, constant):
                break
            values = np.broadcast_to(constant.astype(np.float32).reshape(-1), (channels,))
            if user.op == "Mul":
                kernel = kernel * values[:, None, None, None]
                bias = None if bias is None else bias * values
            else:
                bias = values if bias is None else bias + values
            chain.append(user)
        return kernel, bias

    def _nhwc(self, node: Node, tensor: _Tensor) -> _Tensor:
        if tensor.axes != NHWC:
            raise UnsupportedNode(f"{node.op} (node {node.name}): expected an NHWC input, got axes {tensor.axes}")
        return tensor

    def _window(
        self, node: Node, source: _Tensor, kernel: Sequence[int], channels: int
    ) -> tuple[list[int], tuple[int, ...]]:
        """ONNX pads and the output's dims of a convolution or pooling."""
        pending = source.pads or ((0, 0),) * 4
        if pending[0] != (0, 0) or pending[3] != (0, 0):
            raise UnsupportedNode(f"{node.op} (node {node.name}): padding of the batch or the channels")
        strides = node.integers("strides")[1:3]
        dilations = node.integers("dilations")[1:3] or (1, 1)
        padding = node.text("padding")
        if padding not in ("SAME", "VALID"):
            raise UnsupportedNode(f"{node.op} (node {node.name}): padding {padding!r}")
        begin: list[int] = []
        end: list[int] = []
        sizes: list[int] = []
        for axis in (0, 1):
            size = source.shape[axis + 1]
            reach = (kernel[axis] - 1) * dilations[axis] + 1
            # TensorFlow's rule for SAME: ceil(size / stride) outputs, the odd pixel of padding at the end.
            total = max((-(-size // strides[axis]) - 1) * strides[axis] + reach - size, 0) if padding == "SAME" else 0
            begin.append(pending[axis + 1][0] + total // 2)
            end.append(pending[axis + 1][1] + total - total // 2)
            sizes.append((size + total - reach) // strides[axis] + 1)
        return begin + end, (source.shape[0], *sizes, channels)

    def pooling(self, node: Node) -> None:
        source = self._nhwc(node, self.tensors[node.inputs[0]])
        if source.factor != 1.0 or (source.pads is not None and source.pad_value > np.finfo(np.float32).min / 2):
            # ONNX pads with minus infinity, which a very small number is as good as.
            source = self._operand(node.inputs[0])
        kernel = node.integers("ksize")[1:3]
        pads, shape = self._window(node, source, kernel, source.channels)
        made = self.graph.node(
            "MaxPool",
            [source.name],
            self._name(node.name),
            kernel_shape=list(kernel),
            strides=list(node.integers("strides")[1:3]),
            pads=pads,
        )
        self.tensors[node.name] = _Tensor(made, shape, source.axes)

    def padding(self, node: Node) -> None:
        source = self._operand(node.inputs[0])
        pairs = self._constant(node.inputs[1])
        value = float(self._constant(node.inputs[2])) if len(node.inputs) > 2 else 0.0
        pads = tuple((int(before), int(after)) for before, after in pairs)
        shape = tuple(size + sum(pair) for size, pair in zip(source.shape, pads, strict=True))
        self.tensors[node.name] = replace(source, shape=shape, pads=pads, pad_value=value)

    # Element by element

    def _activation(self, node: Node, op: str, source: str, name: str) -> str:
        if op == "Relu":
            return self.graph.node("Relu", [source], name)
        if op == "Relu6":
            return self.graph.node("Clip", [source, *self._bounds(0.0, 6.0)], name)
        if op == "Sigmoid":
            return self.graph.node("Sigmoid", [source], name)
        if op == "LeakyRelu":
            alpha = node.number("alpha", node.number("leakyrelu_alpha", 0.2))
            return self.graph.node("LeakyRelu", [source], name, alpha=alpha)
        raise UnsupportedNode(f"no conversion for the activation {op} (node {node.name})")

    def _bounds(self, low: float, high: float) -> tuple[str, str]:
        return self.graph.floats(f"constant_{low:g}", low), self.graph.floats(f"constant_{high:g}", high)

    def activation(self, node: Node) -> None:
        source = self._operand(node.inputs[0])
        made = self._activation(node, node.op, source.name, self._name(node.name))
        self.tensors[node.name] = replace(source, name=made)

    def relu(self, node: Node) -> None:
        """Relu, with the minimum that makes it a Relu6, and the maximum with 0 that then says nothing new."""
        low = self._next(node.name, "Minimum")
        if low is None or low[1].size != 1:
            self.activation(node)
            return
        last, high = low[0], float(low[1].reshape(()))
        again = self._next(last.name, "Maximum")
        if again is not None and again[1].size == 1 and float(again[1].reshape(())) <= 0.0:
            last = again[0]
        source = self._operand(node.inputs[0])
        made = self.graph.node("Clip", [source.name, *self._bounds(0.0, high)], self._name(last.name))
        self.tensors[low[0].name] = self.tensors[last.name] = replace(source, name=made)

    def binary(self, node: Node) -> None:
        constants = [name for name in node.inputs if name in self.model.constants]
        if constants:
            self._with_constant(node, constants[0])
            return
        a, b = (self.tensors[name] for name in node.inputs)
        factor = 1.0
        if node.op == "Mul" and a.pads is None and b.pads is None:
            # Factors meet here: 6 of a Relu6 that became a hard sigmoid, and 1/6 of the hard swish around it.
            factor = self._product(a.factor, b.factor)
        else:
            a, b = (self._operand(name) for name in node.inputs)
        if a.axes != b.axes:
            raise UnsupportedNode(f"{node.op} (node {node.name}): operands of different layouts")
        op = {"AddV2": "Add", "Minimum": "Min", "Maximum": "Max"}.get(node.op, node.op)
        name = self._name(node.name)
        unsettled = factor != 1.0 and node.name in self.outputs
        made = self.graph.node(op, [a.name, b.name], f"{name}_unscaled" if unsettled else name)
        shape = tuple(max(pair) for pair in zip(a.shape, b.shape, strict=True))
        self.tensors[node.name] = _Tensor(made, shape, a.axes, factor=factor)
        if node.name in self.outputs:
            self._settle(node.name)

    def _with_constant(self, node: Node, constant_name: str) -> None:
        constant = self._constant(constant_name).astype(np.float32)
        tensor_name = next(name for name in node.inputs if name != constant_name)
        if constant.size == 1 and node.op == "Mul":
            source = self.tensors[tensor_name]
            if source.pads is None:
                value = float(constant.reshape(()))
                self.tensors[node.name] = replace(source, factor=self._product(source.factor, value))
                if node.name in self.outputs:
                    self._settle(node.name)
                return
        if self._hard_sigmoid(node, tensor_name, constant):
            return
        source = self._operand(tensor_name)
        if constant.size > 1:
            if constant.size != constant.shape[-1]:
                raise UnsupportedNode(f"{node.op} (node {node.name}): a constant of dims {constant.shape}")
            dims = [1] * len(source.axes)
            dims[source.axes[-1]] = constant.size
            constant = constant.reshape(dims)
        name = self._name(node.name)
        op = {"AddV2": "Add", "BiasAdd": "Add", "Minimum": "Min", "Maximum": "Max"}.get(node.op, node.op)
        constant_tensor = self.graph.floats(f"{name}_constant", constant)
        operands = [constant_tensor if operand == constant_name else source.name for operand in node.inputs]
        self.tensors[node.name] = replace(source, name=self.graph.node(op, operands, name))

    @staticmethod
    def _product(a: float, b: float) -> float:
        product = a * b
        return 1.0 if abs(product - 1.0) < 1e-6 else product

    def _settle(self, name: str) -> None:
        """Give an output its own name and its factor."""
        tensor = self.tensors[name]
        if tensor.factor != 1.0:
            factor = self.graph.floats(f"{self.outputs[name]}_factor", tensor.factor)
            made = self.graph.node("Mul", [tensor.name, factor], self.outputs[name])
        elif tensor.name != self.outputs[name]:
            made = self.graph.node("Identity", [tensor.name], self.outputs[name])
        else:
            return
        self.tensors[name] = replace(tensor, name=made, factor=1.0)

    def _hard_sigmoid(self, node: Node, tensor_name: str, constant: Floats) -> bool:
        """``Relu6(x + 3)`` is 6 times ONNX's hard sigmoid with slope 1/6 and shift 1/2: one node for two."""
        if not self._starts_hard_sigmoid(node, constant):
            return False
        source = self._operand(tensor_name)
        (relu6,) = self.users[node.name]
        made = self.graph.node("HardSigmoid", [source.name], self._name(relu6.name), alpha=1.0 / 6.0, beta=0.5)
        self.tensors[node.name] = self.tensors[relu6.name] = replace(source, name=made, factor=6.0)
        return True

    def _starts_hard_sigmoid(self, node: Node, constant: npt.NDArray[Any]) -> bool:
        users = self.users[node.name]
        return (
            node.op in ("Add", "AddV2")
            and constant.size == 1
            and float(constant.reshape(())) == 3.0
            and len(users) == 1
            and users[0].op == "Relu6"
            and not {node.name, users[0].name} & set(self.outputs)
        )

    # Shapes

    def transpose(self, node: Node) -> None:
        source = self.tensors[node.inputs[0]]
        order = [int(axis) for axis in self._constant(node.inputs[1])]
        self.tensors[node.name] = replace(
            source,
            shape=tuple(source.shape[axis] for axis in order),
            axes=tuple(source.axes[axis] for axis in order),
            pads=None if source.pads is None else tuple(source.pads[axis] for axis in order),
        )

    def identity(self, node: Node) -> None:
        self.tensors[node.name] = self.tensors[node.inputs[0]]
        if node.name in self.outputs:
            self._settle(node.name)

    def concat(self, node: Node) -> None:
        sources = [self._operand(name) for name in node.inputs[:-1]]
        if len({source.axes for source in sources}) != 1:
            raise UnsupportedNode(f"{node.op} (node {node.name}): operands of different layouts")
        first = sources[0]
        axis = int(self._constant(node.inputs[-1])) % len(first.axes)
        shape = list(first.shape)
        shape[axis] = sum(source.shape[axis] for source in sources)
        names = [source.name for source in sources]
        made = self.graph.node("Concat", names, self._name(node.name), axis=first.axes[axis])
        self.tensors[node.name] = replace(first, name=made, shape=tuple(shape))

    def mean(self, node: Node) -> None:
        source = self._nhwc(node, self._operand(node.inputs[0]))
        if sorted(int(axis) % 4 for axis in self._constant(node.inputs[1]).reshape(-1)) != [1, 2]:
            raise UnsupportedNode(f"{node.op} (node {node.name}): only over height and width")
        name = self._name(node.name)
        if node.flag("keep_dims"):
            made = self.graph.node("GlobalAveragePool", [source.name], name)
            self.tensors[node.name] = _Tensor(made, (1, 1, 1, source.channels), source.axes)
        else:
            pooled = self.graph.node("GlobalAveragePool", [source.name], f"{name}_1x1")
            made = self.graph.node("Flatten", [pooled], name)
            self.tensors[node.name] = _Tensor(made, (1, source.channels), (0, 1))

    def resize(self, node: Node) -> None:
        source = self._nhwc(node, self._operand(node.inputs[0]))
        height, width = (int(size) for size in self._constant(node.inputs[1]))
        if node.flag("align_corners"):
            raise UnsupportedNode(f"{node.op} (node {node.name}): align_corners")
        # As a scale rather than a size, so that the network may also be given other picture sizes.
        scales = [1.0, 1.0, height / source.shape[1], width / source.shape[2]]
        name = self._name(node.name)
        made = self.graph.node(
            "Resize",
            [source.name, "", self.graph.floats(f"{name}_scales", scales)],
            name,
            mode="linear",
            coordinate_transformation_mode="half_pixel" if node.flag("half_pixel_centers") else "asymmetric",
        )
        self.tensors[node.name] = _Tensor(made, (source.shape[0], height, width, source.channels), source.axes)


_HANDLERS: dict[str, Callable[[_Conversion, Node], None]] = {
    "Conv2D": _Conversion.convolution,
    "_FusedConv2D": _Conversion.convolution,
    "DepthwiseConv2dNative": _Conversion.convolution,
    "FusedDepthwiseConv2dNative": _Conversion.convolution,
    "MaxPool": _Conversion.pooling,
    "Pad": _Conversion.padding,
    "PadV2": _Conversion.padding,
    "Relu": _Conversion.relu,
    "Relu6": _Conversion.activation,
    "LeakyRelu": _Conversion.activation,
    "Sigmoid": _Conversion.activation,
    "Add": _Conversion.binary,
    "AddV2": _Conversion.binary,
    "BiasAdd": _Conversion.binary,
    "Mul": _Conversion.binary,
    "Sub": _Conversion.binary,
    "Minimum": _Conversion.binary,
    "Maximum": _Conversion.binary,
    "Transpose": _Conversion.transpose,
    "Identity": _Conversion.identity,
    "ConcatV2": _Conversion.concat,
    "Mean": _Conversion.mean,
    "ResizeBilinear": _Conversion.resize,
}


# Evaluating


def evaluate(files: Files, model: str, placeholder: str, pictures: Floats, outputs: Sequence[str]) -> Answers:
    """Evaluate a graph model with TensorFlow.js, one picture at a time.

    Args:
        files: ``RUNTIME`` and the model's two files, ``MODEL.json`` and ``MODEL.bin``.
        model: Name of those two, without the ending.
        placeholder: Name of the model's input.
        pictures: Float32, the batch first, in the layout that the model was published with.
        outputs: Names of the tensors wanted.

    Returns:
        The tensors as float32, the batch first, by the names in ``outputs``.

    Raises:
        SetupError: node failed; the message holds its last line.
    """
    with tempfile.TemporaryDirectory(prefix="trident-tfjs-") as folder:
        source = Path(folder, "input.raw")
        pictures.astype("<f4").tofile(source)
        wanted = [{"name": name, "file": str(Path(folder, f"{i}.raw"))} for i, name in enumerate(outputs)]
        job = {
            "runtime": [str(files[asset.name]) for asset in RUNTIME if asset.name.endswith(".js")],
            "binary": str(files["tfjs-backend-wasm-simd.wasm"]),
            "topology": str(files[f"{model}.json"]),
            "weights": str(files[f"{model}.bin"]),
            "input": {"name": placeholder, "file": str(source), "shape": list(pictures.shape)},
            "outputs": wanted,
        }
        description = Path(folder, "job.json")
        description.write_text(json.dumps(job))
        script = Path(__file__).with_name("tfjs_runtime.cjs")
        done = subprocess.run(
            [str(node_program()), str(script), str(description)], capture_output=True, text=True, check=False
        )
        if done.returncode != 0:
            lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
            raise SetupError(f"TensorFlow.js could not evaluate {model}: {lines[0] if lines else 'no reason given'}")
        shapes = json.loads(done.stdout)
        return {
            entry["name"]: np.fromfile(entry["file"], dtype="<f4").reshape(shapes[entry["name"]]) for entry in wanted
        }
