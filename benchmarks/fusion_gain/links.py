"""Which object an entity belongs to: the served assignment beside simpler rules, and beside none.

Only the rule changes: how well an entity fits an object, and all that follows from the links, is fusion's own.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

import numpy as np
import numpy.typing as npt

from benchmarks.fusion_gain.asked import Asked
from benchmarks.fusion_gain.boxes import Answers
from benchmarks.fusion_gain.categories import Part
from benchmarks.fusion_gain.rescoring import Boxes, MeasuredBoxes
from trident.fusion import assignment
from trident.fusion.answer import PERSON, fuse_answers
from trident.fusion.batch import read_answers
from trident.fusion.policy import Policy
from trident.fusion.taxonomy import Taxonomy
from trident.geometry import intersection_matrix, iou_matrix

Fit = npt.NDArray[np.float64]
Rule = Callable[[Fit], dict[int, int]]

SAME_BOX = 0.5
"""Least intersection over union of an object's box and the label of the thing that it is."""


def greedy(fit_NM: Fit) -> dict[int, int]:
    """The best pair of all first, then the best of what is left: each entity and each object once.

    >>> greedy(np.array([[0.9, 0.8], [0.7, 0.0]]))
    {0: 0}
    """
    links: dict[int, int] = {}
    for flat in np.argsort(-fit_NM, axis=None, kind="stable").tolist():
        entity, thing = divmod(flat, fit_NM.shape[1])
        if fit_NM[entity, thing] <= 0:
            break
        if entity not in links and thing not in links.values():
            links[entity] = thing
    return links


def nearest(fit_NM: Fit) -> dict[int, int]:
    """For each entity the object that it fits best, whether or not another has it.

    >>> nearest(np.array([[0.9, 0.8], [0.7, 0.0]]))
    {0: 0, 1: 0}
    """
    return {entity: int(row.argmax()) for entity, row in enumerate(fit_NM) if row.max() > 0}


def nobody(fit_NM: Fit) -> dict[int, int]:
    """No links at all."""
    del fit_NM
    return {}


SERVED_RULE = "optimal, as served"
RULES: Mapping[str, Rule] = {
    SERVED_RULE: assignment.assign,
    "greedy, best pair first": greedy,
    "nearest, objects shared": nearest,
    "none": nobody,
}


@contextmanager
def assigned_by(rule: Rule) -> Iterator[None]:
    """Have fusion, in this process and on one thread, pair entities with objects by another rule meanwhile."""
    with patch.object(assignment, "assign", rule):
        yield


@dataclass(frozen=True, slots=True)
class Link:
    """One entity and the object that it was given."""

    kind: str
    """``face`` or ``plate``."""
    box: tuple[float, ...]
    score: float
    thing: tuple[str, tuple[float, ...]] | None
    """Category and box of the object; None for none."""


@dataclass(frozen=True, slots=True)
class RuleFigures:
    """What one rule of assignment did."""

    name: str
    faces: int
    """Faces that got an object."""
    plates: int
    otherwise: int
    """Entities with another object than the served rule gives them, or with none where it gives one, or the reverse."""
    pictures: int
    """Pictures in which there is such an entity."""
    shared: int
    """Objects that more than one entity of a kind got."""
    right: int
    """Faces of one certain labelled person whose object is that person."""
    wrong: int
    """Such faces whose object is another."""
    unlinked: int
    """Such faces without an object."""
    own: int
    """Labelled persons who are the object of a face that they hold, with or without others."""


@dataclass(frozen=True, eq=False, slots=True)
class LinkFigures:
    """The rules, and what they come to in boxes."""

    faces: int
    """Sure enough for fusion to let them speak; so the plates."""
    plates: int
    weaker: int
    """Faces and plates that are listed too, and are not counted."""
    pictures: int
    """Pictures with a sure face or plate."""
    rules: Sequence[RuleFigures]
    parts: Sequence[Part]


def links_of(answers: Answers, taxonomy: Taxonomy, policy: Policy, rule: Rule) -> list[list[Link]]:
    """The links in each picture, by the given rule."""
    found = []
    with assigned_by(rule):
        for one in answers:
            result = fuse_answers(read_answers(one, 0), taxonomy, policy).result
            objects = result["objects"]
            found.append(
                [
                    Link(
                        entity["type"],
                        tuple(entity["box"]),
                        float(entity["score"]),
                        None if entity["object"] is None else _named(objects[entity["object"]]),
                    )
                    for entity in result["entities"]
                ]
            )
    return found


def _named(thing: Mapping[str, Any]) -> tuple[str, tuple[float, ...]]:
    return thing["category"], tuple(thing["box"])


def holders(box: Sequence[float], persons: Sequence[Mapping[str, Any]], containment: float) -> list[int]:
    """The labelled persons of a picture whose boxes hold a face, crowds among them.

    Args:
        box: Of the face, x1, y1, x2, y2.
        persons: COCO annotations.
        containment: Least part of the face that counts as held.
    """
    area = max(1e-9, (box[2] - box[0]) * (box[3] - box[1]))
    inside_M = intersection_matrix(np.array([box]), _corners(persons))[0] / area >= containment
    return [int(person) for person in np.flatnonzero(inside_M)]


def person_of(box: Sequence[float], persons: Sequence[Mapping[str, Any]]) -> int | None:
    """Which labelled person an object's box is: the one it overlaps most, by at least ``SAME_BOX``."""
    if not persons:
        return None
    overlaps_M = iou_matrix(np.array([box]), _corners(persons))[0]
    best = int(overlaps_M.argmax())
    return best if overlaps_M[best] >= SAME_BOX else None


def judge(links: Sequence[Link], persons: Sequence[Mapping[str, Any]], containment: float) -> Counter[str]:
    """How the faces of one picture are linked, as far as its labelled persons tell.

    Args:
        links: Of the picture.
        persons: COCO annotations.
        containment: See ``holders``.

    Returns:
        ``right``, ``wrong`` and ``unlinked``: faces that exactly one person holds, by their object. ``own``: persons
        who are the object of a face that they hold, also where others hold it too.
    """
    verdicts: Counter[str] = Counter()
    owners = set()
    for link in links:
        if link.kind != "face":
            continue
        held_by = holders(link.box, persons, containment)
        person = None if link.thing is None else person_of(link.thing[1], persons)
        if person is not None and person in held_by and not persons[person].get("iscrowd"):
            owners.add(person)
        if len(held_by) == 1 and not persons[held_by[0]].get("iscrowd"):
            verdicts["unlinked" if link.thing is None else "right" if person == held_by[0] else "wrong"] += 1
    verdicts["own"] = len(owners)
    return verdicts


def _corners(annotations: Sequence[Mapping[str, Any]]) -> npt.NDArray[np.float64]:
    """[N, 4]: the boxes of COCO annotations as x1, y1, x2, y2."""
    sides = np.array([annotation["bbox"] for annotation in annotations], dtype=np.float64).reshape(-1, 4)
    return np.hstack([sides[:, :2], sides[:, :2] + sides[:, 2:]])


def work_out(asked: Asked, boxes: Boxes, tell: Callable[[str], None]) -> LinkFigures:
    """Hold the rules against each other, on all pictures with a face or a plate."""
    tell("Assignment of faces and plates")
    taxonomy, policy = boxes.taxonomy, boxes.policy
    answers = [*asked.coco, *asked.with_entities]
    persons = _persons(asked, taxonomy)
    every = {name: links_of(answers, taxonomy, policy, rule) for name, rule in RULES.items()}
    floor = policy.evidence.entity_floor
    by_rule = {
        name: [[link for link in links if link.score >= floor] for links in pictures]
        for name, pictures in every.items()
    }
    served = by_rule[SERVED_RULE]
    kinds = Counter(link.kind for links in served for link in links)
    return LinkFigures(
        faces=kinds["face"],
        plates=kinds["plate"],
        weaker=sum(map(len, every[SERVED_RULE])) - kinds.total(),
        pictures=sum(bool(links) for links in served),
        rules=[
            _figures(name, links, served, persons, policy.assignment.min_containment) for name, links in by_rule.items()
        ],
        parts=[
            boxes.served.part(f"optimal assignment, over {name.split(',')[0]}", _boxes_by(boxes, name))
            for name in RULES
            if name != SERVED_RULE
        ],
    )


def _boxes_by(boxes: Boxes, name: str) -> MeasuredBoxes:
    with assigned_by(RULES[name]):
        return boxes.measured(name, boxes.policy)


def _persons(asked: Asked, taxonomy: Taxonomy) -> list[list[Mapping[str, Any]]]:
    """The labelled persons of each COCO picture."""
    person = taxonomy.coco_ids[taxonomy.index(PERSON)]
    by_picture: dict[int, list[Mapping[str, Any]]] = {image_id: [] for image_id in asked.pictures.coco.image_ids}
    for annotation in asked.pictures.coco.truth["annotations"]:
        if annotation["category_id"] == person and annotation["image_id"] in by_picture:
            by_picture[annotation["image_id"]].append(annotation)
    return list(by_picture.values())


def _figures(
    name: str,
    found: Sequence[Sequence[Link]],
    served: Sequence[Sequence[Link]],
    persons: Sequence[Sequence[Mapping[str, Any]]],
    containment: float,
) -> RuleFigures:
    differing = [
        sum(one.thing != other.thing for one, other in zip(links, others, strict=True))
        for links, others in zip(found, served, strict=True)
    ]
    linked = Counter(link.kind for links in found for link in links if link.thing is not None)
    carried = [Counter((link.kind, link.thing) for link in links if link.thing is not None) for links in found]
    verdicts: Counter[str] = Counter()
    for links, labelled in zip(found, persons, strict=False):  # only the COCO pictures, which come first, have labels
        verdicts += judge(links, labelled, containment)
    return RuleFigures(
        name=name,
        faces=linked["face"],
        plates=linked["plate"],
        otherwise=sum(differing),
        pictures=sum(count > 0 for count in differing),
        shared=sum(count > 1 for one in carried for count in one.values()),
        right=verdicts["right"],
        wrong=verdicts["wrong"],
        unlinked=verdicts["unlinked"],
        own=verdicts["own"],
    )
