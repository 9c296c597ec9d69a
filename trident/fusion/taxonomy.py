"""The shared taxonomy: ImageNet's classes, COCO's categories, and which class is a kind of which category.

The two data files are made by ``export/taxonomy.py``; ``data/README.md`` says where they come from.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from trident.contract import NUM_CATEGORIES, NUM_CLASSES

DATA_DIRECTORY = Path(__file__).parent / "data"


@dataclass(frozen=True, eq=False, slots=True)
class Taxonomy:
    """What the branches' answers are called, and how they hang together."""

    wnids: tuple[str, ...]
    """WordNet id of each of the 1000 ImageNet classes."""
    names: tuple[str, ...]
    """Name of each class. Two names (crane, maillot) occur twice; the wnid tells them apart."""
    categories: tuple[str, ...]
    """Names of the 80 COCO categories."""
    coco_ids: tuple[int, ...]
    """COCO's original id (1 to 90) of each category."""
    category_of_class: npt.NDArray[np.int64]
    """[1000]: the category that the class is a kind of; -1 for none."""

    kinds: tuple[npt.NDArray[np.int64], ...]
    """For each category the classes that are a kind of it."""

    def index(self, category: str) -> int:
        """Index of the category of that name. Raises KeyError if there is none."""
        if category not in self.categories:
            raise KeyError(f"category: expected one of COCO's 80, got {category!r}")
        return self.categories.index(category)


@cache
def load_taxonomy() -> Taxonomy:
    """The taxonomy that Trident ships; read once.

    >>> taxonomy = load_taxonomy()
    >>> minivan = taxonomy.wnids.index("n03770679")
    >>> taxonomy.names[minivan], taxonomy.categories[taxonomy.category_of_class[minivan]]
    ('minivan', 'car')
    """
    return parse_taxonomy(
        json.loads((DATA_DIRECTORY / "imagenet_classes.json").read_text(encoding="utf-8")),
        json.loads((DATA_DIRECTORY / "imagenet_to_coco.json").read_text(encoding="utf-8")),
    )


def parse_taxonomy(classes: Any, mapping: Any) -> Taxonomy:
    """Put the contents of the two data files together.

    Raises ValueError if there are not 1000 distinct classes and 80 distinct categories, if a category names an unknown
    class, or if two categories claim the same class.
    """
    wnids = tuple(wnid for wnid, _ in classes["classes"])
    categories = tuple(category["name"] for category in mapping["categories"])
    for what, items, count in (("classes", wnids, NUM_CLASSES), ("categories", categories, NUM_CATEGORIES)):
        if len(items) != count or len(set(items)) != count:
            raise ValueError(f"{what}: expected {count} different ones, got {len(items)}, {len(set(items))} different")
    index_of = {wnid: index for index, wnid in enumerate(wnids)}
    category_of_class = np.full(NUM_CLASSES, -1, dtype=np.int64)
    for number, category in enumerate(mapping["categories"]):
        for wnid in category["classes"]:
            if wnid not in index_of:
                raise ValueError(f"category {category['name']!r}: expected ImageNet classes, got {wnid!r}")
            if category_of_class[index_of[wnid]] >= 0:
                raise ValueError(f"{wnid}: expected to be a kind of one category, got two")
            category_of_class[index_of[wnid]] = number
    category_of_class.setflags(write=False)
    return Taxonomy(
        wnids=wnids,
        names=tuple(name for _, name in classes["classes"]),
        categories=categories,
        coco_ids=tuple(int(category["coco_id"]) for category in mapping["categories"]),
        category_of_class=category_of_class,
        kinds=tuple(np.flatnonzero(category_of_class == number) for number in range(NUM_CATEGORIES)),
    )
