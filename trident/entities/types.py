"""What the entity recognizer answers with."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from trident.geometry import Floats

Point = tuple[float, float]
Box = tuple[float, float, float, float]

_PIXEL_DIGITS = 2
_SCORE_DIGITS = 4


@dataclass(frozen=True, slots=True)
class Identity:
    """The person of the gallery that a face belongs to."""

    name: str
    """The name the person was enrolled with."""
    similarity: float
    """Cosine similarity to the nearest embedding of that person, clipped to [0, 1]."""


@dataclass(frozen=True, slots=True)
class Face:
    """One face, in picture pixels."""

    score: float
    """The detector's score, in [0, 1]."""
    box: Box
    """x1, y1, x2, y2, clipped to the picture."""
    landmarks: tuple[Point, ...]
    """Right eye, left eye, nose, right and left mouth corner; may lie beyond the edge of a cut-off face."""
    identity: Identity | None
    """None for a face that the gallery does not know."""

    def to_json(self) -> dict[str, object]:
        """The entry of ``RESULT["entities"]``, without the link to an object, which fusion adds."""
        identity = self.identity
        return {
            "type": "face",
            "score": round(self.score, _SCORE_DIGITS),
            "box": _rounded(self.box),
            "landmarks": [_rounded(point) for point in self.landmarks],
            "identity": None
            if identity is None
            else {"name": identity.name, "similarity": round(identity.similarity, _SCORE_DIGITS)},
        }


@dataclass(frozen=True, slots=True)
class Plate:
    """One licence plate, in picture pixels."""

    score: float
    """How sure it is that this is a plate, in [0, 1]; see ``trident.entities.plates.plate_score``."""
    box: Box
    """x1, y1, x2, y2, clipped to the picture."""
    corners: tuple[Point, ...]
    """Top left, top right, bottom right, bottom left; may lie beyond the edge of a cut-off plate."""
    text: str
    """Letters and digits, without separators; empty if nothing could be read."""
    text_score: float
    """Mean probability of the characters, in [0, 1]; 0 for an empty text."""

    def to_json(self) -> dict[str, object]:
        """The entry of ``RESULT["entities"]``, without the link to an object, which fusion adds."""
        return {
            "type": "plate",
            "score": round(self.score, _SCORE_DIGITS),
            "box": _rounded(self.box),
            "corners": [_rounded(point) for point in self.corners],
            "text": self.text,
            "text_score": round(self.text_score, _SCORE_DIGITS),
        }


Entity = Face | Plate


def as_box(values: Floats) -> Box:
    """Four numbers as a box."""
    x1, y1, x2, y2 = (float(value) for value in values)
    return x1, y1, x2, y2


def as_points(values: Floats) -> tuple[Point, ...]:
    """An array ``[P, 2]`` as points."""
    return tuple((float(x), float(y)) for x, y in values)


def entities_to_json(entities: Sequence[Entity]) -> bytes:
    """One picture's element of the tensor ``ENTITIES``: a JSON list, UTF-8."""
    return json.dumps([entity.to_json() for entity in entities], ensure_ascii=False).encode()


def _rounded(values: Sequence[float]) -> list[float]:
    return [round(float(value), _PIXEL_DIGITS) for value in values]
