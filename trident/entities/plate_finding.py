"""Plates: found on the canvas, looked at again magnified, levelled, read."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from trident.entities.networks import Infer, call_in_chunks, note_provenance, used_rows
from trident.entities.pictures import Pictures
from trident.entities.plates import distinct, level_plate, plate_score, plate_text
from trident.entities.second_look import compose
from trident.entities.settings import Settings
from trident.entities.types import Plate, as_box, as_points
from trident.geometry import Floats, boxes_from_fitted, points_from_fitted

SAME_PLATE_OVERLAP = 0.6
"""Two boxes are the same plate when they share more than this part of the smaller one."""


@dataclass(frozen=True, slots=True)
class _Candidate:
    """What may be a plate, in pixels of its picture's detail."""

    picture: int
    """Index of the picture in its request."""
    score: float
    box: Floats
    corners: Floats


async def find_plates(
    pictures: Pictures, infer: Infer, settings: Settings, provenance: npt.NDArray[np.uint8] | None = None
) -> list[tuple[int, Plate]]:
    """Find and read all plates, all of them in one call of the reader.

    Args:
        pictures: the pictures of one request.
        infer: calls ``plate_detector`` and ``plate_reader``.
        settings: which plates count.
        provenance: ``[N, 5, 36]``, takes the rows of the networks that were called.

    Returns:
        The plates, in picture pixels, each with the index of its picture.
    """
    if not len(pictures):
        return []
    candidates = await _look(pictures, infer, settings, provenance)
    candidates = await _look_again(candidates, pictures, infer, settings)
    found: list[_Candidate] = []
    crops: list[npt.NDArray[np.uint8]] = []
    for candidate in _without_doubles(candidates):
        crop = level_plate(pictures.detail_of(candidate.picture), candidate.corners)
        if crop is not None:
            crops.append(crop)
            found.append(candidate)
    if not crops:
        return []
    read = await call_in_chunks(infer, "plate_reader", np.stack(crops), settings.max_crops_per_call)
    note_provenance(provenance, "plate_reader", [candidate.picture for candidate in found], read)
    plates: list[tuple[int, Plate]] = []
    for row, candidate in enumerate(found):
        text, text_score = plate_text(
            read["CHARACTERS"][row].astype(np.int32),
            read["CHARACTER_SCORES"][row].astype(np.float32),
            int(read["NUM_CHARACTERS"][row].item()),
        )
        score = plate_score(candidate.score, text, text_score)
        if score >= settings.min_score:
            size, detail_size = pictures.size(candidate.picture), pictures.detail_size(candidate.picture)
            box = as_box(boxes_from_fitted(candidate.box[None], size, detail_size)[0])
            corners = as_points(points_from_fitted(candidate.corners, size, detail_size))
            plates.append((candidate.picture, Plate(score, box, corners, text, text_score)))
    return plates


async def _look(
    pictures: Pictures, infer: Infer, settings: Settings, provenance: npt.NDArray[np.uint8] | None
) -> list[_Candidate]:
    """The first look, at the canvases."""
    answer = await infer("plate_detector", {"PIXELS": pictures.canvas})
    note_provenance(provenance, "plate_detector", range(len(pictures)), answer)
    candidates: list[_Candidate] = []
    for index in range(len(pictures)):
        boxes, scores, corners = used_rows(answer, index, "BOXES", "SCORES", "CORNERS")
        detail_size, canvas_size = pictures.detail_size(index), pictures.canvas_size(index)
        boxes = boxes_from_fitted(boxes, detail_size, canvas_size)
        corners = points_from_fitted(corners, detail_size, canvas_size)
        candidates += [
            _Candidate(index, float(scores[row]), boxes[row], corners[row])
            for row in distinct(boxes, scores, SAME_PLATE_OVERLAP)
            if scores[row] >= settings.min_plate_candidate
        ]
    return candidates


async def _look_again(
    candidates: list[_Candidate], pictures: Pictures, infer: Infer, settings: Settings
) -> list[_Candidate]:
    """The second look, magnified: exact corners, and a score that is the mean of both looks."""
    if not candidates:
        return []
    canvases, tiles = compose([(pictures.detail_of(one.picture), one.box) for one in candidates])
    answer = await call_in_chunks(infer, "plate_detector", canvases, settings.max_canvases_per_call)
    refined: list[_Candidate] = []
    for candidate, tile in zip(candidates, tiles, strict=True):
        find = tile.find(candidate.box, *used_rows(answer, tile.canvas, "BOXES", "SCORES", "CORNERS"))
        if find is None:
            refined.append(replace(candidate, score=candidate.score / 2))
        else:
            score, box, corners = find
            refined.append(_Candidate(candidate.picture, (candidate.score + score) / 2, box, corners))
    return refined


def _without_doubles(candidates: list[_Candidate]) -> list[_Candidate]:
    """Of two candidates that turned out to be the same plate, the better one."""
    kept: list[_Candidate] = []
    for picture in sorted({candidate.picture for candidate in candidates}):
        here = [candidate for candidate in candidates if candidate.picture == picture]
        boxes = np.stack([candidate.box for candidate in here])
        scores = np.array([candidate.score for candidate in here])
        kept += [here[row] for row in distinct(boxes, scores, SAME_PLATE_OVERLAP)]
    return kept
