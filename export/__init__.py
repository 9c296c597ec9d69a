"""From published weights to the ONNX graphs that Triton serves. Run as ``python -m export``."""
