"""What crosses the network for one picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tritonclient.grpc import InferenceServerClient, InferInput, InferRequestedOutput
from tritonclient.utils import InferenceServerException

from trident.contract import ENSEMBLE, IMAGE, RESULT
from trident.errors import SetupError
from trident_client.wire import analyze_request

_ASK_S = 60.0


@dataclass(frozen=True, slots=True)
class Sizes:
    """Bytes of gRPC's messages, on average over the pictures; what HTTP/2, TCP and TLS add is not counted."""

    request: float
    answer: float


def sizes_of(url: str, pictures: Sequence[Path]) -> Sizes:
    """Ask a server about each of the pictures. Raises SetupError if one is not answered."""
    asked, answered = [], []
    with InferenceServerClient(url) as client:
        for picture in pictures:
            data = picture.read_bytes()
            tensor = InferInput(IMAGE.name, [1, *IMAGE.dims], IMAGE.dtype.wire)
            tensor.set_data_from_numpy(np.array([[data]], dtype=np.object_))
            try:
                result = client.infer(
                    ENSEMBLE, [tensor], outputs=[InferRequestedOutput(RESULT.name)], client_timeout=_ASK_S
                )
            except InferenceServerException as error:
                raise SetupError(f"{picture.name}: expected an answer, got {error}") from error
            asked.append(analyze_request(data, request_id="", tensors=False).ByteSize())
            answered.append(result.get_response().ByteSize())
    return Sizes(float(np.mean(asked)), float(np.mean(answered)))
