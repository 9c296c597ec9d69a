"""onnxruntime as the export uses it: one thread of the CPU, no warnings about what old files contain."""

from __future__ import annotations

from pathlib import Path

import onnx
import onnxruntime


def session_options() -> onnxruntime.SessionOptions:
    """Options for one thread, and silence below errors."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    return options


def open_session(
    model: onnx.ModelProto | Path, options: onnxruntime.SessionOptions | None = None
) -> onnxruntime.InferenceSession:
    """A session on the CPU.

    Args:
        model: The graph, or its file.
        options: By default ``session_options()``.

    Raises:
        Exception: one of ``trident.onnx_backend.ONNXRUNTIME_ERRORS``; onnxruntime cannot take the graph.
    """
    content = str(model) if isinstance(model, Path) else model.SerializeToString()
    return onnxruntime.InferenceSession(content, options or session_options(), providers=["CPUExecutionProvider"])
