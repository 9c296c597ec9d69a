"""Asking a running server, for the live tests."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import skimage
import tritonclient.grpc as grpcclient

from trident.contract import ENSEMBLE

Answer = dict[str, Any]
Ask = Callable[..., list[Answer]]

PHOTOS = Path(skimage.__file__).parent / "data"
"""Photos that scikit-image ships."""
DEADLINE_S = 60.0


def image_input(pictures: Sequence[bytes]) -> grpcclient.InferInput:
    """The input tensor for a request that carries these encoded pictures."""
    tensor = grpcclient.InferInput("IMAGE", [len(pictures), 1], "BYTES")
    tensor.set_data_from_numpy(np.array([[picture] for picture in pictures], dtype=np.object_))
    return tensor


def analyze(client: grpcclient.InferenceServerClient, *pictures: bytes) -> list[Answer]:
    """Have the pictures analysed in one request."""
    outputs = [grpcclient.InferRequestedOutput("RESULT")]
    result = client.infer(ENSEMBLE, [image_input(pictures)], outputs=outputs, client_timeout=DEADLINE_S)
    rows = result.as_numpy("RESULT")
    assert rows.shape == (len(pictures), 1)
    return [json.loads(row) for row in rows.reshape(-1)]


def eventually(condition: Callable[[], bool], timeout_s: float = 20.0) -> bool:
    """Whether the condition comes true in time."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.1)
    return condition()
