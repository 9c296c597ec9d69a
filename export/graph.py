"""Builds ONNX graphs by name: every tensor is called what a person would call it.

A ``Graph`` collects nodes and constants. Its methods give the name of the tensor that they made, so that graphs read
like the formula they stand for. Shapes in docstrings: B pictures, N candidates, C channels.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from trident.contract import MAX_BOXES, MODELS, DType, ModelSpec, TensorSpec

OPSET = 18
"""First operator set whose Resize has ``antialias``."""
IR_VERSION = 8
"""File format of that operator set: every onnxruntime since 1.14 reads it."""
BATCH = "batch"
"""Name of the dynamic batch dimension."""
PIXELS = "PIXELS"
"""The one input of every network."""

ELEMENT_TYPES: dict[DType, int] = {
    DType.UINT8: TensorProto.UINT8,
    DType.INT32: TensorProto.INT32,
    DType.FP32: TensorProto.FLOAT,
}
"""ONNX element types of the contract's data types."""


class Graph:
    """An ONNX graph in the making, with the inputs of one component of the contract."""

    def __init__(self, component: str) -> None:
        self.spec: ModelSpec = MODELS[component]
        self._nodes: list[onnx.NodeProto] = []
        self._initializers: dict[str, onnx.TensorProto] = {}
        self._taken: set[str] = {spec.name for spec in self.spec.inputs}

    # Tensors

    def constant(self, name: str, value: npt.ArrayLike, dtype: npt.DTypeLike | None = None) -> str:
        """A constant tensor. The same name with the same value may be asked for again."""
        array = np.ascontiguousarray(np.asarray(value, dtype=dtype)).reshape(np.shape(value))
        tensor = numpy_helper.from_array(array, name)
        known = self._initializers.get(name)
        if known is not None and known.SerializeToString() == tensor.SerializeToString():
            return name
        self._take(name)
        self._initializers[name] = tensor
        return name

    def floats(self, name: str, value: npt.ArrayLike) -> str:
        """A float32 constant."""
        return self.constant(name, value, np.float32)

    def integers(self, name: str, value: npt.ArrayLike) -> str:
        """An int64 constant: axes, shapes, indices."""
        return self.constant(name, value, np.int64)

    def node(self, operator: str, inputs: Sequence[str], name: str, **attributes: Any) -> str:
        """Add a node with one output; node and output are both called ``name``. An omitted input is ``""``."""
        return self.nodes(operator, inputs, (name,), name, **attributes)[0]

    def nodes(
        self, operator: str, inputs: Sequence[str], outputs: Sequence[str], name: str | None = None, **attributes: Any
    ) -> tuple[str, ...]:
        """Add a node with several outputs. An output that nobody needs may be called ``""``."""
        for output in filter(None, outputs):
            self._take(output)
        label = name or next(filter(None, outputs))
        self._nodes.append(helper.make_node(operator, list(inputs), list(outputs), name=label, **attributes))
        return tuple(outputs)

    def _take(self, name: str) -> None:
        if name in self._taken:
            raise ValueError(f"tensor {name!r} of the {self.spec.name} graph already exists")
        self._taken.add(name)

    def splice(
        self,
        model: onnx.ModelProto,
        inputs: Mapping[str, str],
        outputs: Mapping[str, str],
    ) -> tuple[str, ...]:
        """Add the nodes of another model.

        Args:
            model: Its operator set must be at most ours; see ``upgraded``.
            inputs: Tensor of this graph for each input of ``model``.
            outputs: The name that each wanted tensor of ``model`` gets here; inner tensors may be wanted too. All
                others keep theirs, which must be free here.

        Returns:
            The new names, in the order of ``outputs``.
        """
        names = {**inputs, **outputs}
        for initializer in model.graph.initializer:
            if initializer.name in inputs:
                continue
            copy = onnx.TensorProto()
            copy.CopyFrom(initializer)
            copy.name = names.get(initializer.name, initializer.name)
            self._take(copy.name)
            self._initializers[copy.name] = copy
        for node in model.graph.node:
            copied = onnx.NodeProto()
            copied.CopyFrom(node)
            copied.input[:] = [names.get(name, name) for name in node.input]
            copied.output[:] = [names.get(name, name) for name in node.output]
            for name in filter(None, copied.output):
                self._take(name)
            self._nodes.append(copied)
        return tuple(outputs.values())

    # Pixels

    def planes(self, pixels: str = PIXELS, name: str = "planes") -> str:
        """UINT8 pixels ``[B, H, W, 3]`` to float planes ``[B, 3, H, W]``, still 0 to 255."""
        moved = self.node("Transpose", [pixels], f"{name}_uint8", perm=[0, 3, 1, 2])
        return self.node("Cast", [moved], name, to=TensorProto.FLOAT)

    def resize(self, planes: str, height: int, width: int, name: str = "resized", **attributes: Any) -> str:
        """Scale float planes to ``height`` × ``width``: linear with half-pixel centres unless ``attributes`` differ.

        ``antialias=1`` is what Pillow does when it shrinks; OpenCV's INTER_LINEAR does not.
        """
        settings = {"mode": "linear", "coordinate_transformation_mode": "half_pixel"} | attributes
        if settings.get("antialias"):
            # At the edge, weigh the pixels that there are, as Pillow and torch do.
            settings.setdefault("exclude_outside", 1)
        # Sizes of the last two axes alone keep the batch dynamic.
        sizes = self.integers(f"{name}_size", [height, width])
        return self.node("Resize", [planes, "", "", sizes], name, axes=[2, 3], **settings)

    def normalise(
        self,
        planes: str,
        mean: Sequence[float] = (0.0, 0.0, 0.0),
        std: Sequence[float] = (1.0, 1.0, 1.0),
        *,
        name: str = "normalised",
    ) -> str:
        """``(planes - mean) / std`` for each channel."""
        shape = (1, 3, 1, 1)
        scaled = any(value != 1.0 for value in std)
        if any(mean):
            by = self.floats(f"{name}_mean", np.reshape(mean, shape))
            planes = self.node("Sub", [planes, by], f"{name}_shifted" if scaled else name)
        if scaled:
            by = self.floats(f"{name}_scale", np.reshape(1.0 / np.asarray(std, dtype=np.float64), shape))
            planes = self.node("Mul", [planes, by], name)
        return planes

    def read_bgr(self, planes: str) -> None:
        """Tell the nodes that read ``planes``, made for BGR, that they get RGB; see ``turn_channels_round``."""
        turn_channels_round(self._nodes, self._initializers, [planes])

    # Answers

    def top_k(
        self, values: str, k: int, indices: str, scores: str, *, axis: int = -1, index_type: int = TensorProto.INT32
    ) -> tuple[str, str]:
        """The ``k`` largest of an axis, largest first. Gives the names of ``indices`` and ``scores``."""
        count = self.integers(f"{scores}_k", [k])
        if index_type == TensorProto.INT64:
            self.nodes("TopK", [values, count], [scores, indices], axis=axis)
        else:
            self.nodes("TopK", [values, count], [scores, f"{indices}_int64"], axis=axis)
            self.node("Cast", [f"{indices}_int64"], indices, to=index_type)
        return indices, scores

    def take(self, values: str, indices_BK: str, name: str) -> str:
        """Rows of ``values`` ``[B, N, ...]`` that ``indices_BK`` (int64 ``[B, K]``) names: ``[B, K, ...]``."""
        rows = self.node("Unsqueeze", [indices_BK, self.integers("last_axis", [-1])], f"{name}_rows")
        return self.node("GatherND", [values, rows], name, batch_dims=1)

    def select_boxes(
        self,
        boxes_BN4: str,
        scores_BN: str,
        *,
        minimum: float,
        iou: float,
        classes_BN: str | None = None,
        extras: Mapping[str, str] | None = None,
        span: float = 4096.0,
    ) -> None:
        """Class-wise non-maximum suppression into the contract's padded outputs.

        Makes ``BOXES [B, 100, 4]``, ``SCORES [B, 100]``, ``NUM_BOXES [B, 1]``, with ``classes_BN`` also
        ``CLASSES [B, 100]``, and for each of ``extras`` an output of that name; best first, unused rows 0.

        Args:
            boxes_BN4: Candidates ``[B, N, 4]``, x1, y1, x2, y2, N at least 100.
            scores_BN: Their scores ``[B, N]``.
            minimum: Boxes with a score not above this are left out; at least 0.
            iou: A box that overlaps a better one of its class by more than this is left out.
            classes_BN: Their classes as float32 ``[B, N]``; None if all are of one class.
            extras: Output name to a tensor ``[B, N, ...]`` that goes with the boxes, such as landmarks.
            span: Larger than any coordinate: boxes of different classes are moved this far apart, so that one
                suppression over all never compares them.
        """
        apart = boxes_BN4
        if classes_BN is not None:
            offsets = self.node("Mul", [classes_BN, self.floats("class_span", span)], "class_offsets")
            column = self.node("Unsqueeze", [offsets, self.integers("last_axis", [-1])], "class_offset_column")
            apart = self.node("Add", [boxes_BN4, column], "boxes_apart")
        middle = self.integers("middle_axis", [1])
        kept = self.node(
            "NonMaxSuppression",
            [
                apart,
                self.node("Unsqueeze", [scores_BN, middle], "suppression_scores"),
                self.integers("suppression_most", [MAX_BOXES]),
                self.floats("suppression_iou", [iou]),
                self.floats("score_minimum", [minimum]),
            ],
            "kept_batch_class_box",
        )
        # The kept are a list over the whole batch. Writing them into a [B, N] mask gives every picture its own again.
        batch_and_box = self.node("Gather", [kept, self.integers("batch_and_box", [0, 2])], "kept_batch_box", axis=1)
        kept_scores = self.node("GatherND", [scores_BN, batch_and_box], "kept_scores_flat")
        nothing = self.node("Mul", [scores_BN, self.floats("zero", 0.0)], "no_scores")
        masked = self.node("ScatterND", [nothing, batch_and_box, kept_scores], "kept_scores")

        order, scores = self.top_k(masked, MAX_BOXES, "kept_order", "SCORES", index_type=TensorProto.INT64)
        used = self.node("Greater", [scores, self.floats("zero", 0.0)], "is_used")
        count = self.node("Cast", [used], "used_int32", to=TensorProto.INT32)
        self.node("ReduceSum", [count, self.integers("last_axis", [-1])], "NUM_BOXES", keepdims=1)

        for output, values in {"BOXES": boxes_BN4, **(extras or {})}.items():
            taken = self.take(values, order, f"{output}_taken")
            rank = len(self.spec.output(output).dims) + 1
            mask = used
            if rank > 2:
                mask = self.node(
                    "Unsqueeze", [used, self.integers(f"axes_2_to_{rank}", range(2, rank))], f"{output}_used"
                )
            self.node("Where", [mask, taken, self.floats("zero", 0.0)], output)
        if classes_BN is not None:
            taken = self.node("GatherElements", [classes_BN, order], "CLASSES_taken", axis=1)
            padded = self.node("Where", [used, taken, self.floats("zero", 0.0)], "CLASSES_padded")
            self.node("Cast", [padded], "CLASSES", to=TensorProto.INT32)

    # The whole

    def finish(self, *, dims: Mapping[str, Sequence[int]] | None = None) -> onnx.ModelProto:
        """The checked model, with every output of the contract but ``PROVENANCE``.

        Nodes and constants that no output needs are dropped.

        Args:
            dims: True dims, without the batch, of outputs whose dims the contract leaves open.
        """
        outputs = [spec for spec in self.spec.outputs if spec.name != "PROVENANCE"]
        open_dims = dict(dims or {})
        nodes, initializers = needed(self._nodes, self._initializers, [spec.name for spec in outputs])
        graph = helper.make_graph(
            nodes,
            self.spec.name,
            [value_info(spec) for spec in self.spec.inputs],
            [value_info(spec, open_dims.get(spec.name)) for spec in outputs],
            initializers,
        )
        return checked(
            helper.make_model(
                graph,
                opset_imports=[helper.make_opsetid("", OPSET)],
                ir_version=IR_VERSION,
                producer_name="trident export",
            )
        )


def value_info(spec: TensorSpec, dims: Sequence[int] | None = None) -> onnx.ValueInfoProto:
    """A tensor of the contract as ONNX declares it, with the dynamic batch in front."""
    shape = [BATCH, *(dim if dim >= 0 else f"{spec.name.lower()}_{i}" for i, dim in enumerate(dims or spec.dims))]
    return helper.make_tensor_value_info(spec.name, ELEMENT_TYPES[spec.dtype], shape)


def checked(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model itself, after onnx's full check. Raises ``onnx.checker.ValidationError``."""
    onnx.checker.check_model(model, full_check=True)
    return model


def upgraded(model: onnx.ModelProto, opset: int = OPSET) -> onnx.ModelProto:
    """The model in a newer operator set, so that it can be spliced; unchanged if it is there already."""
    current = max(entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx"))
    return model if current == opset else onnx.version_converter.convert_version(model, opset)


def turn_channels_round(
    nodes: Iterable[onnx.NodeProto], weights: Mapping[str, onnx.TensorProto], planes: Iterable[str]
) -> None:
    """Turn the first convolutions of a network that was made for BGR, in place, so that they read RGB.

    Args:
        nodes: The graph.
        weights: Its constants by name.
        planes: The tensors whose readers are turned.

    Raises:
        ValueError: a reader is not a convolution over all channels.
    """
    for node in nodes:
        if not set(node.input).intersection(planes):
            continue
        if node.op_type != "Conv" or any(entry.name == "group" and entry.i != 1 for entry in node.attribute):
            raise ValueError(f"first operator: expected an ungrouped Conv, got {node.op_type} {node.name}")
        weight = weights[node.input[1]]
        turned = np.ascontiguousarray(numpy_helper.to_array(weight)[:, ::-1])
        weight.CopyFrom(numpy_helper.from_array(turned, weight.name))


def needed(
    nodes: Sequence[onnx.NodeProto], initializers: Mapping[str, onnx.TensorProto], outputs: Iterable[str]
) -> tuple[list[onnx.NodeProto], list[onnx.TensorProto]]:
    """The nodes that the named outputs depend on, in their order, and the constants that these take."""
    wanted = set(outputs)
    kept: list[onnx.NodeProto] = []
    for node in reversed(nodes):
        if wanted.intersection(filter(None, node.output)):
            kept.append(node)
            wanted.update(filter(None, node.input))
            for attribute in node.attribute:
                for inner in [attribute.g, *attribute.graphs]:
                    wanted.update(name for child in inner.node for name in child.input)
    kept.reverse()
    return kept, [tensor for name, tensor in initializers.items() if name in wanted]
