"""Where things lie in a clone: the model repository, and the file of a network in it. Imports nothing, so all may."""

from __future__ import annotations

from pathlib import Path

DEFAULT_REPOSITORY = Path(__file__).resolve().parents[1] / "model_repository"
"""The model repository of the clone that this package runs from. After an installation from a wheel there is none."""

MODEL_FILE = "model.onnx"
"""A network's file in the folder of its version, unless the configuration names another."""

CODE_FILE = "model.py"
"""The code of a Python component's version, unless the configuration names another file."""

RECORD_FILE = "model.json"
"""Beside a network: where it comes from, its digest, and the SHA-256 of its file."""
