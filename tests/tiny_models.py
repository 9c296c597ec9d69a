"""A model repository with one small network, for tests of what surrounds the networks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

FEATURES, CLASSES = 4, 3
WEIGHTS = np.arange(FEATURES * CLASSES, dtype=np.float32).reshape(FEATURES, CLASSES)

CONFIG = """# One matrix product.
name: "linear"
backend: "onnxruntime"
max_batch_size: 8
input [ { name: "X" data_type: TYPE_FP32 dims: [ 4 ] } ]
output [ { name: "Y" data_type: TYPE_FP32 dims: [ 3 ] }, { name: "TOTAL" data_type: TYPE_FP32 dims: [ 1 ] } ]
version_policy { specific { versions: [ 1 ] } }
instance_group [ { kind: KIND_CPU count: 1 } ]
dynamic_batching { max_queue_delay_microseconds: 20000 }
parameters { key: "intra_op_thread_count" value { string_value: "1" } }
"""


def linear_network() -> onnx.ModelProto:
    """``Y = X W`` [b, 3] and ``TOTAL``, the sum over each row of Y [b, 1]."""
    graph = helper.make_graph(
        [
            helper.make_node("MatMul", ["X", "W"], ["Y"]),
            helper.make_node("ReduceSum", ["Y", "axis"], ["TOTAL"], keepdims=1),
        ],
        "linear",
        [helper.make_tensor_value_info("X", TensorProto.FLOAT, ["batch", FEATURES])],
        [
            helper.make_tensor_value_info("Y", TensorProto.FLOAT, ["batch", CLASSES]),
            helper.make_tensor_value_info("TOTAL", TensorProto.FLOAT, ["batch", 1]),
        ],
        [numpy_helper.from_array(WEIGHTS, "W"), numpy_helper.from_array(np.array([1], dtype=np.int64), "axis")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def table_network() -> onnx.ModelProto:
    """``VALUE = [10, 11, 12][INDEX]`` [b, 1]; fails for an index out of its table."""
    graph = helper.make_graph(
        [helper.make_node("Gather", ["TABLE", "INDEX"], ["VALUE"])],
        "table",
        [helper.make_tensor_value_info("INDEX", TensorProto.INT64, ["batch", 1])],
        [helper.make_tensor_value_info("VALUE", TensorProto.FLOAT, ["batch", 1])],
        [helper.make_tensor("TABLE", TensorProto.FLOAT, [3], [10.0, 11.0, 12.0])],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def write_repository(root: Path, config: str = CONFIG) -> Path:
    """Write the repository with the model ``linear`` into ``root``, and return it."""
    folder = root / "linear" / "1"
    folder.mkdir(parents=True)
    onnx.save(linear_network(), folder / "model.onnx")
    (root / "linear" / "config.pbtxt").write_text(config)
    return root
