"""Published ONNX files made ready for splicing: our input size, our operator set, folded, every tensor named.

The files come from converters of their time: initializers listed as inputs, sizes that only a ``Shape`` node knows,
batch normalisation beside the convolution, and tensors called ``397``. What they compute is not changed; the parity
check holds the result against the file as it was published.
"""

from __future__ import annotations

import re
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
from onnx import helper, numpy_helper

from export.graph import BATCH, needed, turn_channels_round, upgraded
from export.session import open_session, session_options

_PROBE_BATCHES = (2, 3)
"""Batch sizes at which a shape is evaluated: what differs between them is the batch."""

_ROLES: dict[str, tuple[str, ...]] = {
    "Conv": ("input", "weight", "bias"),
    "ConvTranspose": ("input", "weight", "bias"),
    "Gemm": ("input", "weight", "bias"),
    "MatMul": ("left", "weight"),
    "BatchNormalization": ("input", "scale", "bias", "mean", "variance"),
    "Reshape": ("input", "shape"),
    "Resize": ("input", "region", "scales", "size"),
    "Slice": ("input", "starts", "ends", "axes", "steps"),
    "Clip": ("input", "low", "high"),
    "Pow": ("input", "exponent"),
    "PRelu": ("input", "slope"),
}
"""What the inputs of an operator are, for the names of its constants."""


def load(path: Path, inputs: Mapping[str, Sequence[int]], *, prefix: str, reads_bgr: bool = False) -> onnx.ModelProto:
    """Read a published ONNX file for ``Graph.splice``.

    Args:
        path: The file.
        inputs: Dims of each of its inputs without the batch, which becomes dynamic.
        prefix: Goes before the name of every inner tensor, such as ``centerface/``.
        reads_bgr: The file reads BGR planes. Its first convolution is turned round, so that it reads RGB, and no
            picture has to be.

    Returns:
        The same function in the export's operator set. Constants are folded, shapes are static but for the batch,
        and inner tensors are called after their operators in order, such as ``centerface/conv_12``. Inputs and
        outputs keep their names.
    """
    model = with_input_dims(onnx.load(path), inputs)
    model = _with_static_shapes(upgraded(model), inputs)
    model = _folded(model)
    if reads_bgr:
        turn_channels_round(model.graph.node, {entry.name: entry for entry in model.graph.initializer}, inputs)
    return _readable(model, prefix)


def with_input_dims(model: onnx.ModelProto, inputs: Mapping[str, Sequence[int]]) -> onnx.ModelProto:
    """A copy whose inputs have a dynamic batch and the given dims; all shapes that followed from others are dropped.

    Initializers that old files also list as inputs are taken out of that list: as inputs they could be overridden, so
    nothing could be folded.

    Raises:
        ValueError: the file's inputs have other names.
    """
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    graph = copy.graph
    constants = {initializer.name for initializer in graph.initializer}
    found = [value.name for value in graph.input if value.name not in constants]
    if sorted(found) != sorted(inputs):
        raise ValueError(f"inputs of the ONNX file: expected {sorted(inputs)}, got {sorted(found)}")
    kinds = {value.name: value.type.tensor_type.elem_type for value in graph.input}
    del graph.input[:]
    graph.input.extend(helper.make_tensor_value_info(name, kinds[name], [BATCH, *inputs[name]]) for name in found)
    del graph.value_info[:]
    for value in graph.output:
        value.type.tensor_type.ClearField("shape")
    return copy


def run(
    loaded: onnxruntime.InferenceSession, outputs: Sequence[str], feeds: Mapping[str, npt.NDArray[Any]]
) -> list[npt.NDArray[Any]]:
    """The named outputs of a session, in the given order."""
    return [np.asarray(answer) for answer in loaded.run(list(outputs), dict(feeds))]


def _with_static_shapes(model: onnx.ModelProto, inputs: Mapping[str, Sequence[int]]) -> onnx.ModelProto:
    """Replace computed shapes of Reshape and Resize by constants that leave only the batch open."""
    shape_input = {"Reshape": 1, "Resize": 3}
    known = {initializer.name for initializer in model.graph.initializer}
    computed = [
        node
        for node in model.graph.node
        if len(node.input) > shape_input.get(node.op_type, len(node.input))
        and node.input[shape_input[node.op_type]] not in known
    ]
    if not computed:
        return model
    made = [node.output[0] for node in computed]
    small, large = (_shapes(model, made, inputs, batch) for batch in _PROBE_BATCHES)
    for node in computed:
        at_small, varies = small[node.output[0]], small[node.output[0]] != large[node.output[0]]
        if varies.sum() > 1:
            raise ValueError(f"{node.output[0]}: expected a shape that varies with the batch in one place, got several")
        shape = np.where(varies, -1, at_small)
        if node.op_type == "Resize":
            node.attribute.append(helper.make_attribute("axes", [2, 3]))
            shape = at_small[2:]
        name = f"{node.output[0]}_static_shape"
        model.graph.initializer.append(numpy_helper.from_array(shape.astype(np.int64), name))
        node.input[shape_input[node.op_type]] = name
    return model


def _shapes(
    model: onnx.ModelProto, names: Sequence[str], inputs: Mapping[str, Sequence[int]], batch: int
) -> dict[str, npt.NDArray[np.int64]]:
    """The shapes that inner tensors really have at a batch size."""
    probe = onnx.ModelProto()
    probe.CopyFrom(model)
    outputs = {value.name for value in probe.graph.output}
    probe.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names if name not in outputs)
    feeds = {name: np.zeros((batch, *dims), dtype=np.float32) for name, dims in inputs.items()}
    answers = run(open_session(probe), names, feeds)
    return {name: np.array(answer.shape, dtype=np.int64) for name, answer in zip(names, answers, strict=True)}


def _folded(model: onnx.ModelProto) -> onnx.ModelProto:
    """What onnxruntime makes of the model with its basic optimisations, which stay within standard operators."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "folded.onnx"
        options = session_options()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
        options.optimized_model_filepath = str(path)
        open_session(model, options)
        folded = onnx.load(path)
    # Nodes that worked out a shape, which is a constant now, are left without a use.
    constants = {initializer.name: initializer for initializer in folded.graph.initializer}
    nodes, initializers = needed(folded.graph.node, constants, [value.name for value in folded.graph.output])
    del folded.graph.node[:], folded.graph.initializer[:]
    folded.graph.node.extend(nodes)
    folded.graph.initializer.extend(initializers)
    return folded


def _readable(model: onnx.ModelProto, prefix: str) -> onnx.ModelProto:
    """Call every inner tensor and node after its operator and number, and every constant after its first use."""
    graph = model.graph
    names: dict[str, str] = {value.name: value.name for value in [*graph.input, *graph.output]}
    constants = {initializer.name for initializer in graph.initializer}
    counts: Counter[str] = Counter()
    for node in graph.node:
        kind = _snake(node.op_type)
        counts[kind] += 1
        node.name = f"{prefix}{kind}_{counts[kind]}"
        roles = _ROLES.get(node.op_type, ())
        for position, tensor in enumerate(node.input):
            if tensor in constants and tensor not in names:
                role = roles[position] if position < len(roles) else f"operand_{position}"
                names[tensor] = f"{node.name}_{role}"
        for position, tensor in enumerate(filter(None, node.output)):
            names.setdefault(tensor, node.name if len(node.output) == 1 else f"{node.name}_part_{position + 1}")
    for node in graph.node:
        node.input[:] = [names.get(tensor, tensor) for tensor in node.input]
        node.output[:] = [names.get(tensor, tensor) for tensor in node.output]
    for initializer in graph.initializer:
        initializer.name = names.get(initializer.name, initializer.name)
    del graph.value_info[:]
    return model


def _snake(operator: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", operator).lower()
