"""How much two answers to the same input agree, as each task means it. Pure numpy, no server.

Neither version is the truth: all measures are the same with the two exchanged, but for precision and recall, which
then exchange too. Two empty answers agree wholly.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from trident.geometry import Floats, iou_matrix
from trident.rollout.limits import CONFIRMED_ABOVE, SAME_OVERLAP, SHOWN_ABOVE
from trident.text import edit_distance

Tensors = Mapping[str, npt.NDArray[Any]]
Integers = npt.NDArray[np.integer[Any]]

COMPARED_OUTPUTS = ("CATEGORY_SCORES", "BOXES", "BOX_SCORES", "BOX_CLASSES", "NUM_BOXES")
"""Outputs of the ensemble that a comparison needs."""

SPOKEN_OF = 0.05
"""A category counts where one of the two answers gives it at least this score; most of the 80 are near 0 in both."""


@dataclass(frozen=True, slots=True)
class Classes:
    """Two classifications of one picture."""

    same_top: bool
    """Whether the best class is the same."""
    distance: float
    """Total variation distance, ``Σ|p − q| / 2``, in [0, 1]."""
    old_top: int
    new_top: int
    sure: bool
    """Whether either version gives its best class a score that is shown. Of what is on a picture of nothing, two good
    networks have two opinions, and none of them is held firmly."""


def compare_classes(old_C: Floats, new_C: Floats) -> Classes:
    """Compare two probability distributions ``[C]`` over the same classes.

    >>> compare_classes(np.array([0.9, 0.1]), np.array([0.6, 0.4])).same_top
    True
    """
    old, new = np.asarray(old_C, dtype=np.float64), np.asarray(new_C, dtype=np.float64)
    tops = int(old.argmax()), int(new.argmax())
    sure = bool(max(old.max(), new.max()) >= SHOWN_ABOVE)
    return Classes(tops[0] == tops[1], float(np.abs(old - new).sum() / 2), *tops, sure)


@dataclass(frozen=True, slots=True)
class Boxes:
    """Two sets of boxes in one picture, or in many together."""

    old: int
    """How many the old version shows."""
    new: int
    """How many the new version shows."""
    old_confirmed: int
    """How many of the old ones the new version has too, though perhaps too faint to be shown."""
    new_confirmed: int
    """How many of the new ones the old version has too."""
    overlaps: tuple[float, ...] = ()
    """IoU of each matched pair."""
    distances: tuple[float, ...] = ()
    """Of each matched pair: mean distance of their points, over the square root of the old box's area."""

    @property
    def precision(self) -> float:
        """Share of the new boxes that the old version has; 1 where there are none."""
        return self.new_confirmed / self.new if self.new else 1.0

    @property
    def recall(self) -> float:
        """Share of the old boxes that the new version has; 1 where there are none."""
        return self.old_confirmed / self.old if self.old else 1.0

    @property
    def f1(self) -> float:
        """Share of all boxes that the other version has: F1, were there one score for both; 1 where both are empty."""
        either = self.old + self.new
        return (self.old_confirmed + self.new_confirmed) / either if either else 1.0


def pool_boxes(parts: Iterable[Boxes]) -> Boxes:
    """Many pictures as one: every box counts the same."""
    parts = list(parts)
    return Boxes(
        sum(one.old for one in parts),
        sum(one.new for one in parts),
        sum(one.old_confirmed for one in parts),
        sum(one.new_confirmed for one in parts),
        tuple(value for one in parts for value in one.overlaps),
        tuple(value for one in parts for value in one.distances),
    )


@dataclass(frozen=True, slots=True)
class _Found:
    """What one version found in one picture, without what is too faint to confirm anything."""

    boxes: Floats
    """``[N, 4]``."""
    scores: Floats
    kinds: Integers
    points: Floats | None = None
    """``[N, P, 2]``."""

    @property
    def shown(self) -> npt.NDArray[np.bool_]:
        return np.asarray(self.scores >= SHOWN_ABOVE)


def _agreeing(old: _Found, new: _Found) -> tuple[Boxes, list[tuple[int, int]]]:
    """Compare two finds, and the rows of the pairs of which at least one is shown."""
    matches = match_boxes(old.boxes, new.boxes, old.kinds, new.kinds)
    kept = [(a, b, overlap) for a, b, overlap in matches if old.shown[a] or new.shown[b]]
    distances: list[float] = []
    if old.points is not None and new.points is not None:
        for a, b, _ in kept:
            x1, y1, x2, y2 = old.boxes[a]
            side = max(1e-6, float((x2 - x1) * (y2 - y1))) ** 0.5
            apart_P2 = np.asarray(old.points[a] - new.points[b], dtype=np.float64)
            distances.append(float(np.linalg.norm(apart_P2, axis=-1).mean()) / side)
    compared = Boxes(
        int(old.shown.sum()),
        int(new.shown.sum()),
        sum(bool(old.shown[a]) for a, _, _ in kept),
        sum(bool(new.shown[b]) for _, b, _ in kept),
        tuple(overlap for _, _, overlap in kept),
        tuple(distances),
    )
    return compared, [(a, b) for a, b, _ in kept]


def match_boxes(
    old_N4: Floats, new_M4: Floats, old_classes_N: Integers | None = None, new_classes_M: Integers | None = None
) -> list[tuple[int, int, float]]:
    """Match boxes one to one, the best overlap first, from an IoU of 0.5 on.

    Args:
        old_N4: Boxes of the old version.
        new_M4: Boxes of the new one.
        old_classes_N: Their classes, if only boxes of the same class are matched.
        new_classes_M: As above.

    Returns:
        Row of the old box, row of the new box, their IoU.
    """
    old, new = np.asarray(old_N4).reshape(-1, 4), np.asarray(new_M4).reshape(-1, 4)
    overlaps_NM = iou_matrix(old, new)
    if old_classes_N is not None and new_classes_M is not None:
        overlaps_NM[np.asarray(old_classes_N)[:, None] != np.asarray(new_classes_M)[None, :]] = 0.0
    matches: list[tuple[int, int, float]] = []
    while overlaps_NM.size:
        row, column = np.unravel_index(int(overlaps_NM.argmax()), overlaps_NM.shape)
        best = float(overlaps_NM[row, column])
        if best < SAME_OVERLAP:
            break
        matches.append((int(row), int(column), best))
        overlaps_NM[row, :] = 0.0
        overlaps_NM[:, column] = 0.0
    return matches


def compare_boxes(
    old: Tensors, new: Tensors, index: int, *, classes: str = "", points: str = "", scores: str = "SCORES"
) -> Boxes:
    """Compare what two versions of a detector found in one picture.

    Args:
        old: The old version's answer: ``BOXES``, scores, ``NUM_BOXES``, and what is named below.
        new: The new version's.
        index: Row of the picture in both.
        classes: Name of the boxes' classes, if they have some; only boxes of the same class are matched then.
        points: Name of the points that belong to each box, as landmarks or corners, ``[N, P, 2]``.
        scores: Name of the boxes' scores.
    """
    compared, _ = _agreeing(
        _found(old, index, classes, points, scores),
        _found(new, index, classes, points, scores),
    )
    return compared


def _found(answer: Tensors, index: int, classes: str, points: str, scores: str) -> _Found:
    used = int(answer["NUM_BOXES"][index].item())
    rows = np.flatnonzero(answer[scores][index][:used] >= CONFIRMED_ABOVE)
    kinds = answer[classes][index][rows] if classes else np.zeros(len(rows), dtype=np.int64)
    return _Found(
        answer["BOXES"][index][rows],
        answer[scores][index][rows],
        kinds,
        answer[points][index][rows] if points else None,
    )


@dataclass(frozen=True, slots=True)
class Reading:
    """One plate as two versions read it."""

    old: str
    new: str

    @property
    def exact(self) -> bool:
        """Whether both read the same."""
        return self.old == self.new

    @property
    def distance(self) -> float:
        """Edit distance over the length of the longer text; 0 where both are empty.

        >>> Reading("皖A06725", "皖A0672S").distance == 1 / 7
        True
        """
        longest = max(len(self.old), len(self.new))
        return edit_distance(self.old, self.new) / longest if longest else 0.0


@dataclass(frozen=True, slots=True)
class Verdicts:
    """Whether two embedders take the same pairs of faces for the same person."""

    agreeing: int
    pairs: int


def compare_verdicts(old_ND: Floats, new_NE: Floats, old_threshold: float, new_threshold: float) -> Verdicts:
    """Compare the verdicts on all pairs of faces, each network by its own threshold.

    Args:
        old_ND: The faces' embeddings by the old network, of length 1.
        new_NE: By the new one, whose dimension may be another.
        old_threshold: Smallest cosine of the same person's faces for the old network.
        new_threshold: For the new one.
    """
    above = np.triu_indices(len(old_ND), k=1)
    old = (old_ND @ old_ND.T)[above] >= old_threshold
    new = (new_NE @ new_NE.T)[above] >= new_threshold
    return Verdicts(int((old == new).sum()), len(old))


def cosines(old_ND: Floats, new_ND: Floats) -> tuple[float, ...]:
    """Cosine of each face's old and new embedding; empty where the two have other dimensions.

    Between different networks it says nothing: their spaces have nothing to do with each other.
    """
    if old_ND.shape != new_ND.shape:
        return ()
    lengths = np.linalg.norm(old_ND, axis=1) * np.linalg.norm(new_ND, axis=1)
    return tuple(float(value) for value in (old_ND * new_ND).sum(axis=1) / np.maximum(lengths, 1e-12))


@dataclass(frozen=True, slots=True)
class CanonicalPixels:
    """The canonical pixels of one picture, made by two versions of preprocess."""

    same_size: bool
    """Whether both take the picture, and all that is made of it, for equally large."""
    mean: float
    """Mean absolute difference, in levels of 255; 255 where the sizes differ."""
    largest: int


def compare_pixels(old: Tensors, new: Tensors) -> CanonicalPixels:
    """Compare the answers of two versions of preprocess to one picture."""
    names = ("SCENE_PIXELS", "CANVAS_PIXELS", "DETAIL_PIXELS")
    if not np.array_equal(old["IMAGE_SIZE"], new["IMAGE_SIZE"]) or any(
        old[name].shape != new[name].shape for name in names
    ):
        return CanonicalPixels(False, 255.0, 255)
    apart = [np.abs(old[name].astype(np.int16) - new[name].astype(np.int16)) for name in names]
    return CanonicalPixels(True, max(float(one.mean()) for one in apart), max(int(one.max()) for one in apart))


@dataclass(frozen=True, slots=True)
class Entities:
    """The faces and plates of one picture."""

    boxes: Boxes
    readings: tuple[Reading, ...]
    """Texts of the matched plates."""
    names: tuple[tuple[str, str], ...]
    """Names of the matched faces; empty for nobody that the gallery knows."""


def compare_entities(old: Sequence[Mapping[str, Any]], new: Sequence[Mapping[str, Any]]) -> Entities:
    """Compare two lists as ``ENTITIES`` and ``RESULT["entities"]`` hold them; matched by type and box."""
    lists = [[one for one in entities if one["score"] >= CONFIRMED_ABOVE] for entities in (old, new)]
    boxes, matches = _agreeing(
        *(
            _Found(
                np.array([one["box"] for one in entities], dtype=np.float64).reshape(-1, 4),
                np.array([one["score"] for one in entities], dtype=np.float64),
                np.array([one["type"] == "face" for one in entities], dtype=np.int64),
            )
            for entities in lists
        )
    )
    pairs = [(lists[0][a], lists[1][b]) for a, b in matches]
    return Entities(
        boxes,
        tuple(Reading(str(a["text"]), str(b["text"])) for a, b in pairs if a["type"] == "plate"),
        tuple((_name(a), _name(b)) for a, b in pairs if a["type"] == "face"),
    )


def _name(face: Mapping[str, Any]) -> str:
    identity = face.get("identity")
    return str(identity["name"]) if identity else ""


@dataclass(frozen=True, slots=True)
class Fused:
    """The fused answers to one picture."""

    distance: float
    """Mean absolute difference over the categories that either answer speaks of; 0 where neither does of any."""
    worst: float
    """Largest absolute difference of one category."""
    worst_category: int
    same_top: bool
    """Whether the best category is the same, or neither answer shows anything."""
    old_top: int
    new_top: int
    objects: Boxes


def compare_fused(old: Tensors, new: Tensors, index: int = 0) -> Fused:
    """Compare two answers of ``fusion`` or of the whole ensemble to one picture.

    Args:
        old: Typed outputs with the batch: ``CATEGORY_SCORES``, ``BOXES``, ``BOX_SCORES``, ``BOX_CLASSES``,
            ``NUM_BOXES``.
        new: The same.
        index: Row of the picture in both.
    """
    a, b = (np.asarray(answer["CATEGORY_SCORES"][index], dtype=np.float64) for answer in (old, new))
    apart, either = np.abs(a - b), np.maximum(a, b)
    spoken = either >= SPOKEN_OF
    tops = int(a.argmax()), int(b.argmax())
    # Of nothing, whichever comes first is the best: that is no disagreement.
    nothing = either.max() < SHOWN_ABOVE
    return Fused(
        distance=float(apart[spoken].mean()) if spoken.any() else 0.0,
        worst=float(apart.max()),
        worst_category=int(apart.argmax()),
        same_top=bool(nothing or tops[0] == tops[1]),
        old_top=tops[0],
        new_top=tops[1],
        objects=compare_boxes(old, new, index, classes="BOX_CLASSES", scores="BOX_SCORES"),
    )


def disagreement(stable: Tensors, candidate: Tensors) -> dict[str, float]:
    """How far the candidate's answer to a caller's request is from the stable release's, in a few numbers.

    Args:
        stable: ``COMPARED_OUTPUTS``, the batch as the first axis.
        candidate: The same.

    Returns:
        Means over the pictures: ``category_distance``, see ``Fused``; ``same_top``, the share with the same
        best category; ``objects_f1`` at IoU 0.5.
    """
    each = [compare_fused(stable, candidate, index) for index in range(len(stable["CATEGORY_SCORES"]))]
    return {
        "category_distance": float(np.mean([one.distance for one in each])),
        "same_top": float(np.mean([one.same_top for one in each])),
        "objects_f1": float(np.mean([one.objects.f1 for one in each])),
    }


def mean(values: Iterable[float]) -> float | None:
    """Mean of the values; None where there are none."""
    listed = list(values)
    return float(np.mean(listed)) if listed else None
