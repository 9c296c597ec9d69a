"""KServe v2 messages: an analysis to a request, a response to an analysis. No connection in here."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
import numpy.typing as npt
from tritonclient.grpc import service_pb2

from trident.contract import ENSEMBLE, IMAGE, MODELS, PROVENANCE, RESULT, STICKY, DType, ModelSpec, TensorSpec
from trident.provenance import Provenance, unpack
from trident_client.errors import AnswerError
from trident_client.results import Analysis, Tensors, parse

_NUMPY: dict[DType, np.dtype[Any]] = {
    DType.UINT8: np.dtype("u1"),
    DType.INT32: np.dtype("<i4"),
    DType.FP32: np.dtype("<f4"),
}
_LONGEST_S = 86_400.0
_TYPED = tuple(spec for spec in MODELS[ENSEMBLE].outputs if spec is not RESULT)


def analyze_request(
    picture: bytes,
    *,
    request_id: str,
    tensors: bool,
    model: str = ENSEMBLE,
    sticky: str | None = None,
    timeout_s: float | None = None,
) -> Any:
    """A ``ModelInferRequest`` for one encoded picture, with or without the typed outputs.

    ``timeout_s`` is the deadline of the call. The models are not told of gRPC's own: a busy server that knows it
    refuses at once what would be answered too late.
    """
    request = service_pb2.ModelInferRequest(model_name=model, id=request_id)
    if timeout_s is not None:
        request.parameters["timeout"].int64_param = max(1, int(1e6 * min(timeout_s, _LONGEST_S)))
    if sticky is not None:
        request.parameters[STICKY].string_param = sticky
    request.inputs.add(name=IMAGE.name, datatype=IMAGE.dtype.wire, shape=[1, *IMAGE.dims])
    # BYTES on the wire: the length as 4 bytes little endian, then the bytes.
    request.raw_input_contents.append(struct.pack("<I", len(picture)) + picture)
    for spec in (RESULT, *_TYPED) if tensors else (RESULT,):
        request.outputs.add(name=spec.name)
    return request


def read_analysis(response: Any, *, request_id: str, tensors: bool) -> Analysis:
    """The analysis in a ``ModelInferResponse``. Raises AnswerError for anything that the contract does not say."""
    outputs = _Outputs(response, request_id)
    typed = Tensors(**{spec.name.lower(): outputs.array(spec) for spec in _TYPED}) if tensors else None
    return parse(outputs.text(RESULT), request_id=request_id, tensors=typed)


def provenance_request(network: ModelSpec, version: int) -> Any:
    """A ``ModelInferRequest`` that asks a network's version who it is, over one black picture."""
    request = service_pb2.ModelInferRequest(model_name=network.name, model_version=str(version))
    for spec in network.inputs:
        request.inputs.add(name=spec.name, datatype=spec.dtype.wire, shape=[1, *spec.dims])
        request.raw_input_contents.append(np.zeros(spec.dims, _NUMPY[spec.dtype]).tobytes())
    request.outputs.add(name=PROVENANCE.name)
    return request


def read_provenance(response: Any) -> Provenance | None:
    """Version and digest in the answer to ``provenance_request``."""
    return unpack(_Outputs(response, None).array(PROVENANCE))


class _Outputs:
    """The outputs of a response by name, each checked against its definition."""

    def __init__(self, response: Any, request_id: str | None) -> None:
        self._outputs = {
            output.name: (output, raw)
            for output, raw in zip(response.outputs, response.raw_output_contents, strict=False)
        }
        self._request_id = request_id

    def _raw(self, spec: TensorSpec) -> bytes:
        if spec.name not in self._outputs:
            raise self._wrong(f"{spec.name}: expected it among the outputs, got {', '.join(self._outputs) or 'none'}")
        output, raw = self._outputs[spec.name]
        shape = [1, *spec.dims]
        if output.datatype != spec.dtype.wire or list(output.shape) != shape:
            got = f"{output.datatype} {list(output.shape)}"
            raise self._wrong(f"{spec.name}: expected {spec.dtype.wire} {shape}, got {got}")
        return bytes(raw)

    def array(self, spec: TensorSpec) -> npt.NDArray[Any]:
        """A numeric output without its batch dimension, read-only."""
        raw, dtype = self._raw(spec), _NUMPY[spec.dtype]
        size = int(np.prod(spec.dims)) * dtype.itemsize
        if len(raw) != size:
            raise self._wrong(f"{spec.name}: expected {size} bytes, got {len(raw)}")
        return np.frombuffer(raw, dtype).reshape(spec.dims)

    def text(self, spec: TensorSpec) -> bytes:
        """The one element of a BYTES output."""
        raw = self._raw(spec)
        if len(raw) < 4 or len(raw) != 4 + struct.unpack_from("<I", raw)[0]:
            raise self._wrong(f"{spec.name}: expected one element with its length before it, got {len(raw)} bytes")
        return raw[4:]

    def _wrong(self, message: str) -> AnswerError:
        return AnswerError(message, request_id=self._request_id)
