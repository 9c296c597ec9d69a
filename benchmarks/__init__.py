"""Measurements of a running Trident: what it answers, and how fast."""

import trident  # noqa: F401 - before onnxruntime, whose telemetry it switches off
