"""From canonical pixels to faces with names and plates with text.

    canvas ─┬─► face_detector ──► aligned faces ──► face_embedder ──► gallery ──────┬─► entities, best first
            └─► plate_detector ─► magnified ─► plate_detector ─► levelled ─► plate_reader

The two ways run side by side. All faces of a request, whichever of its pictures they are in, go to the embedder in one
call, and all plates to the reader in one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from trident.contract import ENTITY_PROVENANCE_ORDER, PROVENANCE_BYTES
from trident.entities.faces import FoundFace, Match, find_faces, identities
from trident.entities.networks import Infer, all_of
from trident.entities.pictures import Pictures
from trident.entities.plate_finding import find_plates
from trident.entities.settings import Settings
from trident.entities.types import Entity, Face, Plate


@dataclass(frozen=True, slots=True)
class Recognition:
    """The answer to one request."""

    entities: list[list[Entity]]
    """The faces and plates of each picture, highest score first."""
    provenance: npt.NDArray[np.uint8]
    """``[N, 5, 36]`` in the order of ``ENTITY_PROVENANCE_ORDER``: zeros where a network was not called for a picture,
    and in the recognizer's own row, which is left to the caller."""


async def recognize(pictures: Pictures, infer: Infer, match: Match, settings: Settings) -> Recognition:
    """Recognize the entities of all pictures of one request.

    Args:
        pictures: the pictures, at least none.
        infer: calls a network; its exceptions pass through, once nothing of the request is running any more.
        match: looks embeddings up in the gallery.
        settings: thresholds and limits.
    """
    provenance = np.zeros((len(pictures), len(ENTITY_PROVENANCE_ORDER), PROVENANCE_BYTES), dtype=np.uint8)
    faces: list[FoundFace] = []
    plates: list[tuple[int, Plate]] = []

    async def faces_way() -> None:
        faces.extend(await find_faces(pictures, infer, settings, provenance))

    async def plates_way() -> None:
        plates.extend(await find_plates(pictures, infer, settings, provenance))

    await all_of(faces_way(), plates_way())
    entities: list[list[Entity]] = [[] for _ in range(len(pictures))]
    for face, identity in zip(faces, identities(faces, match), strict=True):
        entities[face.picture].append(Face(face.score, face.box, face.landmarks, identity))
    for picture, plate in plates:
        entities[picture].append(plate)
    for found in entities:
        found.sort(key=lambda entity: -entity.score)
    return Recognition(entities, provenance)
