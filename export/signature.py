"""Holds ONNX graphs against the contract, and bakes their provenance in."""

from __future__ import annotations

import hashlib

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from export.graph import BATCH, ELEMENT_TYPES, PIXELS, checked, value_info
from trident.contract import PROVENANCE, PROVENANCE_BYTES
from trident.errors import SetupError
from trident.provenance import Provenance, pack
from trident.signature import Declared, signature_problems

PROVENANCE_ROW = "provenance_row"
"""The constant of an exported graph that holds version and digest, UINT8 ``[1, 36]``."""

_TYPE_NAMES = {number: name for name, number in TensorProto.DataType.items()} | {
    number: dtype.value for dtype, number in ELEMENT_TYPES.items()
}


def check_signature(model: onnx.ModelProto, component: str) -> None:
    """Check that a graph has exactly the inputs and outputs of its component's contract.

    Names and dtypes must be equal; a fixed dim must be that dim or, in the file, open; the batch must be open.

    Raises:
        SetupError: it has not; the sentence names tensor, expected and got.
    """
    constants = {tensor.name for tensor in model.graph.initializer}
    inputs = [_declared(value) for value in model.graph.input if value.name not in constants]
    problems = signature_problems(component, inputs, [_declared(value) for value in model.graph.output])
    if problems:
        raise SetupError(problems[0])


def _declared(value: onnx.ValueInfoProto) -> Declared:
    tensor = value.type.tensor_type
    dims = tuple(dim.dim_value if dim.HasField("dim_value") else -1 for dim in tensor.shape.dim)
    return Declared(value.name, _TYPE_NAMES[tensor.elem_type], dims)


def digest_of(model: onnx.ModelProto) -> str:
    """``sha256:`` and the digest of the serialized graph."""
    return f"sha256:{hashlib.sha256(model.SerializeToString(deterministic=True)).hexdigest()}"


def with_provenance(model: onnx.ModelProto, version: int) -> tuple[onnx.ModelProto, Provenance]:
    """A copy of the graph with the output ``PROVENANCE`` ``[B, 36]``: the version, and the digest of ``model``."""
    provenance = Provenance(version, digest_of(model))
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    graph = copy.graph
    graph.initializer.append(numpy_helper.from_array(pack(provenance).reshape(1, -1).copy(), PROVENANCE_ROW))
    graph.initializer.append(numpy_helper.from_array(np.array([PROVENANCE_BYTES]), "provenance_bytes"))
    graph.node.append(helper.make_node("Shape", [PIXELS], ["batch_size"], name="batch_size", start=0, end=1))
    graph.node.append(
        helper.make_node("Concat", ["batch_size", "provenance_bytes"], ["provenance_dims"], "provenance_dims", axis=0)
    )
    graph.node.append(
        helper.make_node("Expand", [PROVENANCE_ROW, "provenance_dims"], [PROVENANCE.name], PROVENANCE.name)
    )
    graph.output.append(value_info(PROVENANCE))
    return checked(copy), provenance


def open_batch(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy whose inputs and outputs call their first dim ``batch``."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    for value in [*copy.graph.input, *copy.graph.output]:
        if value.type.tensor_type.shape.dim:
            value.type.tensor_type.shape.dim[0].dim_param = BATCH
    return copy
