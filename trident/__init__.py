"""Trident: a Triton ensemble of a classifier, a detector and an entity recognizer, fused into one answer."""

import os

__version__ = "0.1.0"

# The published onnxruntime tells Microsoft of its use unless this is set before it is loaded, by whichever process.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
