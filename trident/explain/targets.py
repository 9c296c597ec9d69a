"""What of an answer is explained: one class or several of the classifier's, or one box of the detector's."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches

import numpy as np
import numpy.typing as npt

from trident.errors import SetupError
from trident.fusion.taxonomy import Taxonomy
from trident.fusion.types import Floats
from trident.geometry import iou_matrix
from trident.rollout.serving import Tensors
from trident_client.results import Analysis

_NEAR = 4
"""Names that are shown to someone who has named something else."""


@dataclass(frozen=True, slots=True)
class ClassTarget:
    """A score of the classifier's."""

    name: str
    classes: tuple[int, ...]
    """ImageNet classes whose probabilities are added."""


@dataclass(frozen=True, slots=True)
class BoxTarget:
    """A box among the objects of ``RESULT``."""

    number: int
    """Its place in the list, from 0."""
    category: int
    """COCO category, 0 to 79."""


def category_named(name: str, taxonomy: Taxonomy) -> int:
    """The index of a COCO category, by its name in any case. Raises SetupError with names near it."""
    found = [index for index, known in enumerate(taxonomy.categories) if known.casefold() == _plain(name)]
    if not found:
        raise SetupError(f"category: expected one of COCO's 80, got {name!r}{_near(name, taxonomy.categories)}")
    return found[0]


def class_named(name: str, taxonomy: Taxonomy) -> int:
    """The index of an ImageNet class, by its name in any case or its WordNet id.

    Raises:
        SetupError: There is none, with names near it, or two have the name.
    """
    if _plain(name) in taxonomy.wnids:
        return taxonomy.wnids.index(_plain(name))
    found = [index for index, known in enumerate(taxonomy.names) if known.casefold() == _plain(name)]
    if not found:
        raise SetupError(f"label: expected one of ImageNet's 1000, got {name!r}{_near(name, taxonomy.names)}")
    if len(found) > 1:
        ids = " and ".join(taxonomy.wnids[index] for index in found)
        raise SetupError(f"label: expected one class, got {name!r}, as {ids} are called: say which of these is meant")
    return found[0]


def choose_class(analysis: Analysis, taxonomy: Taxonomy, label: int | None, category: int | None) -> ClassTarget | None:
    """What of the classifier's answer is explained.

    The class that was asked for, else all classes that are a kind of the category that was asked for, else the
    classifier's first label.

    Args:
        analysis: The answer.
        taxonomy: Which class is a kind of which category.
        label: ImageNet class, or None.
        category: COCO category, or None.

    Returns:
        None if a category is asked for of which the classifier cannot speak.

    Raises:
        SetupError: The classifier's first label is of another taxonomy.
    """
    if label is None and category is not None:
        kinds = taxonomy.kinds[category]
        return ClassTarget(taxonomy.categories[category], tuple(kinds.tolist())) if len(kinds) else None
    if label is None:
        if not analysis.scene:
            return None
        label = class_named(analysis.scene[0].wnid, taxonomy)
    return ClassTarget(taxonomy.names[label], (label,))


def choose_box(analysis: Analysis, taxonomy: Taxonomy, number: int | None, category: int | None) -> BoxTarget | None:
    """Which object is explained: the one that was asked for, else the best, or the best of the category.

    Returns:
        None if none was asked for and there is none.

    Raises:
        SetupError: There is no object of that number.
    """
    if number is None:
        wanted = None if category is None else taxonomy.categories[category]
        names = [thing.category for thing in analysis.objects]
        number = next((place for place, name in enumerate(names) if wanted in (None, name)), None)
        if number is None:
            return None
    elif number >= len(analysis.objects):
        there = f"0 to {len(analysis.objects) - 1}" if analysis.objects else "none, for nothing was found"
        raise SetupError(
            f"box: expected a number of one of the objects ({there}), got {number}: trident analyze lists them"
        )
    return BoxTarget(number, taxonomy.index(analysis.objects[number].category))


def class_scores(probabilities_NC: Floats, classes: Sequence[int]) -> npt.NDArray[np.float64]:
    """The summed probability of some classes, [N]."""
    return np.asarray(probabilities_NC[:, list(classes)].sum(axis=1, dtype=np.float64))


def box_scores(detected: Tensors, box_4: Floats, category: int) -> npt.NDArray[np.float64]:
    """How well each picture's detections hold one box, [N]: the best product of IoU and score among its category.

    The similarity of D-RISE (Petsiuk et al., CVPR 2021), IoU × similarity of the classes × objectness, for a detector
    that gives one class and one score a box.

    Args:
        detected: The detector's ``BOXES`` [N, 100, 4], ``SCORES`` [N, 100], ``CLASSES`` [N, 100], ``NUM_BOXES`` [N, 1].
        box_4: The box, in the same pixels.
        category: Its category.
    """
    counts = detected["NUM_BOXES"][:, 0].tolist()
    best = np.zeros(len(counts))
    for row, count in enumerate(counts):
        overlaps = iou_matrix(detected["BOXES"][row, :count], box_4[None])[:, 0]
        of_category = detected["CLASSES"][row, :count] == category
        best[row] = np.where(of_category, overlaps * detected["SCORES"][row, :count], 0.0).max(initial=0.0)
    return best


def _plain(name: str) -> str:
    return " ".join(name.split()).casefold()


def _near(name: str, known: Iterable[str]) -> str:
    """Names like it, as the end of a sentence."""
    by_plain = {_plain(one): one for one in known}
    wanted = _plain(name)
    holding = [one for one in by_plain if wanted and wanted in one]
    near = list(dict.fromkeys([*get_close_matches(wanted, by_plain, n=_NEAR, cutoff=0.6), *holding]))[:_NEAR]
    return f"; near it: {', '.join(by_plain[one] for one in near)}" if near else ""
