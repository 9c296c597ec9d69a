"""Nothing that Trident runs tells others of it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.parametrize("module", ["trident.onnx_backend", "export.build", "benchmarks.pipeline"])
def test_onnxruntime_keeps_no_identifier_of_this_machine(tmp_path: Path, module: str) -> None:
    """Its telemetry begins with one, in the home folder, as soon as it is loaded: before anything could be sent."""
    env = {name: value for name, value in os.environ.items() if name not in ("ORT_DISABLE_TELEMETRY", "XDG_CACHE_HOME")}
    env |= {"HOME": str(tmp_path), "TMPDIR": str(tmp_path)}

    subprocess.run([sys.executable, "-c", f"import {module}, onnxruntime"], env=env, check=True, timeout=120)

    assert list(tmp_path.rglob("deviceid")) == []
