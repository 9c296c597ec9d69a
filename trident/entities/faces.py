"""Faces: found on the canvas, cut from the detail, embedded."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from trident.entities.align import align_face
from trident.entities.gallery import Embeddings
from trident.entities.networks import Array, Infer, call_in_chunks, note_provenance, used_rows
from trident.entities.pictures import Pictures
from trident.entities.settings import Settings
from trident.entities.types import Box, Identity, Point, as_box, as_points
from trident.geometry import boxes_from_fitted, points_from_fitted
from trident.provenance import unpack

Match = Callable[[Embeddings, str], Sequence[Identity | None]]
"""Who is it? Embeddings ``[M, D]`` and the digest of the network that made them; one identity or None each."""


@dataclass(frozen=True, slots=True)
class FoundFace:
    """A face that was found, and its embedding if it was made."""

    picture: int
    """Index of the picture in its request."""
    score: float
    box: Box
    """In picture pixels."""
    landmarks: tuple[Point, ...]
    """In picture pixels."""
    embedding: Embeddings | None = None
    """``[D]``, of length 1."""
    network: str = ""
    """Digest of the network that made the embedding; empty without one."""

    @property
    def area(self) -> float:
        """In square pixels."""
        x1, y1, x2, y2 = self.box
        return (x2 - x1) * (y2 - y1)


async def find_faces(
    pictures: Pictures, infer: Infer, settings: Settings, provenance: npt.NDArray[np.uint8] | None = None
) -> list[FoundFace]:
    """Find all faces, and embed those that the detector is sure enough of, all in one call.

    Args:
        pictures: the pictures of one request.
        infer: calls ``face_detector`` and ``face_embedder``.
        settings: which faces count.
        provenance: ``[N, 5, 36]``, takes the rows of the networks that were called.
    """
    if not len(pictures):
        return []
    answer = await infer("face_detector", {"PIXELS": pictures.canvas})
    note_provenance(provenance, "face_detector", range(len(pictures)), answer)
    faces: list[FoundFace] = []
    crops: list[npt.NDArray[np.uint8]] = []
    owners: list[int] = []
    for index in range(len(pictures)):
        boxes, scores, landmarks = used_rows(answer, index, "BOXES", "SCORES", "LANDMARKS")
        size, canvas_size = pictures.size(index), pictures.canvas_size(index)
        picture_boxes = boxes_from_fitted(boxes, size, canvas_size)
        picture_landmarks = points_from_fitted(landmarks, size, canvas_size)
        detail_landmarks = points_from_fitted(landmarks, pictures.detail_size(index), canvas_size)
        for row in np.flatnonzero(scores >= settings.min_score):
            score = float(scores[row])
            if score >= settings.min_face_score:
                crop = align_face(pictures.detail_of(index), detail_landmarks[row])
                if crop is not None:
                    crops.append(crop)
                    owners.append(len(faces))
            faces.append(FoundFace(index, score, as_box(picture_boxes[row]), as_points(picture_landmarks[row])))
    if crops:
        embedded = await call_in_chunks(infer, "face_embedder", np.stack(crops), settings.max_crops_per_call)
        note_provenance(provenance, "face_embedder", [faces[owner].picture for owner in owners], embedded)
        embeddings = _normalised(embedded["EMBEDDING"])
        for owner, embedding, row in zip(owners, embeddings, embedded["PROVENANCE"], strict=True):
            made_by = unpack(row.astype(np.uint8))
            faces[owner] = replace(faces[owner], embedding=embedding, network=made_by.digest if made_by else "")
    return faces


def identities(faces: Sequence[FoundFace], match: Match) -> list[Identity | None]:
    """One identity or None for each face; faces that the same network embedded are matched together."""
    found: list[Identity | None] = [None] * len(faces)
    for network in sorted({face.network for face in faces if face.embedding is not None}):
        rows = [row for row, face in enumerate(faces) if face.embedding is not None and face.network == network]
        embeddings = np.stack([embedding for row in rows if (embedding := faces[row].embedding) is not None])
        for row, identity in zip(rows, match(embeddings, network), strict=True):
            found[row] = identity
    return found


def _normalised(embeddings: Array) -> Embeddings:
    rows = embeddings.astype(np.float32)
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.asarray(rows / np.maximum(lengths, 1e-12), dtype=np.float32)
