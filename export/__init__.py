"""From published weights to the ONNX graphs that Triton serves. Run as ``python -m export``."""

import trident  # noqa: F401 - before onnxruntime, whose telemetry it switches off
