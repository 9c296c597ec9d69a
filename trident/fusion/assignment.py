"""Which object an entity belongs to: one entity to one object, the best assignment of all at once.

A face belongs to a person and a plate to a vehicle in whose box it lies. Where several boxes hold it, as in a crowd,
the fit decides: how sure the detector is of the box, and how near the entity lies to where it would be on such a thing.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.optimize import linear_sum_assignment  # type: ignore[import-untyped]

from trident.fusion.policy import Assignment, Place
from trident.fusion.types import Floats, Objects
from trident.geometry import intersection_matrix


def fit_matrix(entities_N4: Floats, objects: Objects, place: Place, policy: Assignment) -> npt.NDArray[np.float64]:
    """How well each entity fits each object, ``[N, M]`` in [0, 1]; 0 where it cannot belong to it.

    The product of the object's score, the part of the entity inside the object's box, and a Gaussian of the distance
    between the entity's centre and its expected place.
    """
    entities = np.asarray(entities_N4, dtype=np.float64).reshape(-1, 4)
    boxes = np.asarray(objects.boxes, dtype=np.float64)
    areas_N1 = np.clip(entities[:, 2:] - entities[:, :2], 0.0, None).prod(axis=1)[:, None]
    shared_NM = intersection_matrix(entities, boxes)
    contained_NM = np.divide(shared_NM, areas_N1, out=np.zeros_like(shared_NM), where=areas_N1 > 0)
    sides_M2 = np.maximum(boxes[:, 2:] - boxes[:, :2], 1e-6)
    centres_N2 = (entities[:, :2] + entities[:, 2:]) / 2
    places_NM2 = (centres_N2[:, None] - boxes[None, :, :2]) / sides_M2
    away_NM2 = (places_NM2 - (place.x, place.y)) / place.spread
    fit_NM = objects.scores * contained_NM * np.exp(-0.5 * (away_NM2**2).sum(axis=-1))
    return np.where((contained_NM >= policy.min_containment) & (objects.scores >= policy.min_score), fit_NM, 0.0)


def assign(fit_NM: npt.NDArray[np.float64]) -> dict[int, int]:
    """The pairing of entities (rows) with objects (columns) that has the largest total fit; no pair with a fit of 0.

    >>> assign(np.array([[0.9, 0.8], [0.7, 0.0]]))
    {0: 1, 1: 0}
    """
    rows, columns = linear_sum_assignment(fit_NM, maximize=True)
    return {int(row): int(column) for row, column in zip(rows, columns, strict=True) if fit_NM[row, column] > 0}


@dataclass(frozen=True, slots=True)
class Links:
    """Entities of one type and the objects that they lie on; keys are entities, values objects."""

    own: dict[int, int]
    """The object of each entity that has one to itself: one entity to one object."""
    nearest: dict[int, int]
    """The object that each entity fits best, whether or not another entity has it."""


def link(entities_N4: Floats, entity_scores_N: Floats, objects: Objects, place: Place, policy: Assignment) -> Links:
    """Link entities of one type to the objects that can carry such an entity.

    Args:
        entities_N4: boxes of the entities, in the same pixels as those of the objects.
        entity_scores_N: their scores: of two plates on one car, the surer one is the car's.
        objects: the objects that come into question, with the detector's scores.
        place: where on its object such an entity is expected.
        policy: when an entity may belong to an object at all.
    """
    if not len(objects) or not len(entities_N4):
        return Links({}, {})
    fit_NM = fit_matrix(entities_N4, objects, place, policy)
    best_N = fit_NM.argmax(axis=1)
    return Links(
        own=assign(fit_NM * np.asarray(entity_scores_N, dtype=np.float64)[:, None]),
        nearest={entity: int(best) for entity, best in enumerate(best_N) if fit_NM[entity, best] > 0},
    )
