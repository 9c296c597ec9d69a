"""Somebody who is enrolled in the gallery and forgotten, over and over, while the server runs."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
from tritonclient.grpc import service_pb2
from tritonclient.utils import InferenceServerException

from benchmarks.locust_load.payloads import payloads
from benchmarks.served import ServedModels
from trident.contract import EMBEDDER, FACE_SIDE
from trident.entities.gallery import Embeddings, Gallery
from trident.errors import SetupError, TridentError
from trident.provenance import unpack

NAME = "Somebody Passing"
_MOST_FAILURES = 20


@dataclass(slots=True)
class Changes:
    """What became of the gallery."""

    enrolled: int = 0
    forgotten: int = 0
    failed: int = 0
    failures: list[str] = field(default_factory=list)
    """Why the first of them failed."""


class Guest:
    """One face, which the served models found in a photo.

    Args:
        url: The gallery's database.
        embedding: Of the face, ``[1, D]``.
        network: Digest of the network that made it.
    """

    def __init__(self, url: str, embedding: Embeddings, network: str) -> None:
        self._url = url
        self._embedding = embedding
        self._network = network
        self._there = False
        self.changes = Changes()

    @classmethod
    def seen(cls, server: str, gallery: str, photo: Path) -> Guest:
        """The face in a photo, as the served models see it.

        Args:
            server: ``host:port`` of its gRPC side.
            gallery: SQLAlchemy URL of its gallery.
            photo: Shows a face.

        Raises:
            SetupError: They find none, or do not answer.
        """
        with ServedModels(server) as served:
            (payload, *_) = payloads(served, EMBEDDER, [photo.read_bytes()], (1,))
            try:
                answer = served.infer(EMBEDDER, {"PIXELS": _pixels(payload.body)})
            except InferenceServerException as error:
                raise SetupError(f"{EMBEDDER}: expected an embedding of the face in {photo}, got: {error}") from error
        made_by = unpack(np.asarray(answer["PROVENANCE"][0], dtype=np.uint8))
        if made_by is None:
            raise SetupError(f"{EMBEDDER}: expected an answer that names its network, got none")
        return cls(gallery, np.asarray(answer["EMBEDDING"], dtype=np.float32), made_by.digest)

    def change(self) -> None:
        """Come, or go. What fails is noted."""
        try:
            with Gallery(self._url) as people:
                if self._there:
                    people.forget(NAME)
                    self.changes.forgotten += 1
                else:
                    people.enroll(NAME, self._embedding, self._network)
                    self.changes.enrolled += 1
                self._there = not self._there
        except TridentError as error:
            self.changes.failed += 1
            if len(self.changes.failures) < _MOST_FAILURES:
                self.changes.failures.append(str(error))


def _pixels(request: bytes) -> npt.NDArray[np.uint8]:
    """The face that a written request to the embedder carries, ``[1, FACE_SIDE, FACE_SIDE, 3]``."""
    message = service_pb2.ModelInferRequest.FromString(request)
    return np.frombuffer(message.raw_input_contents[0], dtype=np.uint8).reshape(1, FACE_SIDE, FACE_SIDE, 3)
