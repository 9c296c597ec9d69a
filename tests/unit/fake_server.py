"""A gRPC server in this process that speaks KServe v2 and does what a test tells it."""

from __future__ import annotations

import json
import struct
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field

import grpc
import numpy as np
from tritonclient.grpc import service_pb2, service_pb2_grpc

from trident.contract import CANDIDATE, ENSEMBLE, MODELS, PROVENANCE, STABLE, DType
from trident.provenance import Provenance, pack

DIGEST = "sha256:" + "ab" * 32


def result(**changes: object) -> dict[str, object]:
    """A RESULT that holds one of everything."""
    return {
        "schema": 1,
        "image": {"width": 640, "height": 480},
        "scene": [{"label": "minivan", "wnid": "n03770679", "score": 0.61}],
        "categories": [
            {"name": "car", "score": 0.93, "evidence": {"classifier": 0.71, "detector": 0.98, "entities": None}},
            {"name": "dog", "score": 0.02, "evidence": {"classifier": 0.01, "detector": 0.03}},
        ],
        "objects": [
            {"category": "car", "score": 0.95, "box": [10, 40.5, 300, 220], "fine_label": "minivan", "entities": [0]},
            {"category": "person", "score": 0.12, "box": [0, 0, 9, 9], "fine_label": None, "entities": [1]},
        ],
        "entities": [
            {
                "type": "plate",
                "score": 0.97,
                "box": [80, 150, 160, 180],
                "corners": [[80, 151], [160, 150], [160, 179], [80, 180]],
                "text": "皖A06725D",
                "text_score": 0.98,
                "object": 0,
            },
            {
                "type": "face",
                "score": 0.9,
                "box": [0, 0, 9, 9],
                "landmarks": [[2, 3], [6, 3], [4, 5], [2, 7], [6, 7]],
                "identity": {"name": "Eileen Collins", "similarity": 0.83},
                "object": 1,
            },
        ],
        "models": {"classifier": {"version": 1, "digest": DIGEST}},
        **changes,
    }


@dataclass
class Answer:
    """What to do with one ModelInfer: fail with a status, or wait and answer."""

    code: grpc.StatusCode | None = None
    details: str = ""
    delay: float = 0.0
    result: object = field(default_factory=result)


def response(request: service_pb2.ModelInferRequest, answer: object) -> service_pb2.ModelInferResponse:
    """The response to an analysis: RESULT and zeros for every other output that was asked for."""
    message = service_pb2.ModelInferResponse(model_name=request.model_name, id=request.id)
    for wanted in request.outputs:
        spec = MODELS.get(request.model_name, MODELS[ENSEMBLE]).output(wanted.name)
        message.outputs.add(name=spec.name, datatype=spec.dtype.wire, shape=[1, *spec.dims])
        if spec.dtype is DType.STRING:
            text = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
            message.raw_output_contents.append(struct.pack("<I", len(text)) + text)
        elif spec.name == PROVENANCE.name:
            version = int(request.model_version)
            message.raw_output_contents.append(pack(Provenance(version, "sha256:" + f"{version:02x}" * 32)).tobytes())
        else:
            kind = {DType.FP32: np.float32, DType.INT32: np.int32}[spec.dtype]
            message.raw_output_contents.append(np.zeros(spec.dims, kind).tobytes())
    return message


class FakeServer(service_pb2_grpc.GRPCInferenceServiceServicer):
    """Answers from a script, then with ``otherwise``; remembers the requests."""

    def __init__(self) -> None:
        self.script: list[Answer] = []
        self.otherwise: Callable[[bytes], Answer] = lambda picture: Answer()
        self.requests: list[service_pb2.ModelInferRequest] = []
        self.pictures: list[bytes] = []
        self.metadata: list[dict[str, str]] = []
        self.calls: list[str] = []
        self.restricted: set[str] = set()
        self.index: list[tuple[str, str, str, str]] = []
        self.results: dict[str, object] = {}
        """Answers of ensembles that are asked under another name, or always answer the same."""
        self.canary = False
        """Whether what is called ``trident`` shares requests out instead of being an ensemble."""
        self.running = self.most_running = 0
        self._lock = threading.Lock()
        self.port = 0
        self.stop: Callable[[], object] = lambda: None
        """Ends the server at once, in the middle of its calls."""

    @property
    def url(self) -> str:
        return f"127.0.0.1:{self.port}"

    def ModelInfer(self, request, context):  # noqa: N802
        picture = request.raw_input_contents[0][4:]
        with self._lock:
            self.calls.append("ModelInfer")
            self.requests.append(request)
            self.pictures.append(picture)
            self.metadata.append(dict(context.invocation_metadata()))
            answer = Answer()
            if request.model_name in self.results:
                answer = Answer(result=self.results[request.model_name])
            elif request.model_name == ENSEMBLE:
                answer = self.script.pop(0) if self.script else self.otherwise(picture)
            self.running += 1
            self.most_running = max(self.running, self.most_running)
        try:
            if answer.delay:
                time.sleep(answer.delay)
            if answer.code is not None:
                context.abort(answer.code, answer.details)
            return response(request, answer.result)
        finally:
            with self._lock:
                self.running -= 1

    def ServerLive(self, request, context):  # noqa: N802
        self._allow("ServerLive", context)
        return service_pb2.ServerLiveResponse(live=True)

    def ModelReady(self, request, context):  # noqa: N802
        self._allow("ModelReady", context)
        return service_pb2.ModelReadyResponse(ready=True)

    def ServerMetadata(self, request, context):  # noqa: N802
        self._allow("ServerMetadata", context)
        return service_pb2.ServerMetadataResponse(name="triton", version="2.51.0")

    def ModelMetadata(self, request, context):  # noqa: N802
        self._allow("ModelMetadata", context)
        if request.name in (STABLE, CANDIDATE) and request.name not in self.results:
            context.abort(grpc.StatusCode.NOT_FOUND, f"Request for unknown model: '{request.name}' is not found")
        return service_pb2.ModelMetadataResponse(name=request.name, versions=["1"])

    def RepositoryIndex(self, request, context):  # noqa: N802
        self._allow("RepositoryIndex", context)
        index = service_pb2.RepositoryIndexResponse()
        for name, version, state, reason in self.index:
            index.models.add(name=name, version=version, state=state, reason=reason)
        return index

    def ModelConfig(self, request, context):  # noqa: N802
        self._allow("ModelConfig", context)
        message = service_pb2.ModelConfigResponse()
        message.config.name = request.name
        if request.name == STABLE or (request.name == ENSEMBLE and not self.canary):
            for name in ("preprocess", "classifier", "detector", "entity_recognizer", "fusion"):
                message.config.ensemble_scheduling.step.add(
                    model_name=name, model_version=2 if name == "detector" else 1
                )
        return message

    def _allow(self, method: str, context: grpc.ServicerContext) -> None:
        with self._lock:
            self.calls.append(method)
        if method in self.restricted:
            message = "This protocol is restricted, expecting header 'triton-grpc-protocol-admin'"
            context.abort(grpc.StatusCode.UNAVAILABLE, message)


@contextmanager
def running(fake: FakeServer, credentials: grpc.ServerCredentials | None = None) -> Iterator[FakeServer]:
    """Serve ``fake`` on a free port."""
    server = grpc.server(ThreadPoolExecutor(16), options=[("grpc.max_receive_message_length", -1)])
    service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(fake, server)
    if credentials is None:
        fake.port = server.add_insecure_port("127.0.0.1:0")
    else:
        fake.port = server.add_secure_port("127.0.0.1:0", credentials)
    fake.stop = lambda: server.stop(grace=None)
    server.start()
    try:
        yield fake
    finally:
        server.stop(grace=None).wait()
