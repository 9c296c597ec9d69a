"""One answer explained: saliency maps of the classifier and of a box, made with the networks that a server serves."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from trident.contract import CANVAS_PIXELS, CANVAS_SIDE, DETAIL_PIXELS, IMAGE, SCENE_PIXELS, SCENE_SIDE
from trident.explain.saliency import CHECKED_SHARE, Advance, Map, Method, Pixels, Plan, Saliency, saliency
from trident.explain.served import ask, version_of
from trident.explain.targets import BoxTarget, ClassTarget, box_scores, class_scores
from trident.fusion.taxonomy import Taxonomy
from trident.geometry import boxes_from_fitted, fitted_size, iou_matrix
from trident.rollout.serving import Serving, Tensors
from trident_client.errors import AnswerError
from trident_client.results import Analysis, Box, ModelVersion, Point

CLASSIFIER, DETECTOR, PREPROCESS = "classifier", "detector", "preprocess"

_SCENE_CELLS = 7
"""Cells of ``rise`` across the classifier's square, as in the paper."""
_BOX_CELLS = 3
"""Cells across the box, so that masks hide parts of it and seldom all."""
_FEWEST_CELLS, _MOST_CELLS = 5, 20
"""Limits to cells across the detector's picture."""
_SAME_BOX = 0.9
"""IoU from which a box is taken for the one in the answer. RESULT rounds to hundredths of pixels."""
_LOST = 0.05
"""Part of the score below which the masked pictures are said to have lost it."""

Watch = Callable[[str, int], Advance]
"""Is told what is being looked at, and how many pictures will be scored; gives what to tell of them."""


@dataclass(frozen=True, eq=False, slots=True)
class View:
    """What one network went by."""

    model: str
    version: int
    title: str
    """What is explained."""
    saliency: Saliency
    place: Box
    """Where its map lies, in pixels of the photo."""
    box: Box | None
    """What is explained, where it is a box, in pixels of the photo."""
    about: str
    """What else has to be known of the score, a sentence."""
    plan: Plan

    @property
    def heading(self) -> str:
        """The network, and what of its answer is explained."""
        return f"{self.model}: {self.title}"

    @property
    def hottest(self) -> Point:
        """The middle of the hottest pixel of the map, in pixels of the photo."""
        x, y = self.saliency.hottest
        height, width = self.saliency.values.shape
        return Point(self.place.x1 + x * self.place.width / width, self.place.y1 + y * self.place.height / height)

    def to_json(self) -> Mapping[str, Any]:
        """What ``json.dumps`` takes, without the map itself."""
        found = self.saliency
        return {
            "model": self.model,
            "version": self.version,
            "target": self.title,
            "box": None if self.box is None else list(self.box),
            "method": self.plan.method.value,
            "masks": found.count,
            "seed": self.plan.seed,
            "score": found.base,
            "mean_masked": found.mean,
            "highest": float(found.values.max()),
            "hottest": list(self.hottest),
            "hottest_hidden": found.hottest_hidden,
            "checked": found.checked,
            "coldest_hidden": found.coldest_hidden,
        }

    @property
    def sentences(self) -> tuple[str, ...]:
        """What has to be known beside the picture."""
        found = self.saliency
        random = self.plan.method is Method.RISE
        said = [
            f"{self.model} {self.version}: {found.base:.3f} for the whole picture, {found.mean:.3f} on average over "
            f"{found.count} pictures with {'random parts' if random else 'one window'} hidden. {self.about}",
            f"Check: {found.hottest_hidden:.3f} with the hottest {CHECKED_SHARE:.0%} of the picture hidden, "
            f"{found.coldest_hidden:.3f} with the coldest.",
        ]
        if not found.checked:
            said.append("The check fails: hiding the hottest part costs little or nothing, so this map says little.")
        if random:
            said.append("What is within two standard errors of 0 is left blank.")
        if not found.values.any():
            said.append("Whatever is hidden, the score stays: there is nothing to see.")
        elif random and found.mean < _LOST * found.base:
            said.append("Hiding random parts loses it nearly always: --method occlusion tells more.")
        return tuple(said)


@dataclass(frozen=True, eq=False, slots=True)
class Canonical:
    """The pixels that the served preprocess makes of the photo, UINT8 RGB."""

    scene: Pixels
    """[288, 288, 3], for the classifier."""
    canvas: Pixels
    """[640, 640, 3], for the detector."""
    photo: Pixels
    """[H, W, 3], the whole upright photo, its longest side at most 1280; to draw on."""


@dataclass(frozen=True, eq=False, slots=True)
class Question:
    """A photo that was answered, and the server that is asked why."""

    serving: Serving
    analysis: Analysis
    """The answer."""
    pixels: Canonical
    plan: Plan
    """How many masks of which sort."""
    watch: Watch


def canonical(serving: Serving, encoded: bytes, analysis: Analysis) -> Canonical:
    """Have the photo prepared by the version of ``preprocess`` that answered. Raises what ``served.ask`` does."""
    names = (SCENE_PIXELS.name, CANVAS_PIXELS.name, DETAIL_PIXELS.name)
    picture = {IMAGE.name: np.array([[encoded]], dtype=np.object_)}
    answer = ask(serving, PREPROCESS, version_of(analysis, PREPROCESS), picture, names)
    return Canonical(*(answer[name][0] for name in names))


def explain_class(question: Question, target: ClassTarget) -> View:
    """Find out what the classifier went by, for the probability of some classes. Raises what ``served.ask`` does."""
    analysis, scene, plan = question.analysis, question.pixels.scene, question.plan
    answered = version_of(analysis, CLASSIFIER)

    def score(pictures: Pixels) -> npt.NDArray[np.float64]:
        answer = ask(question.serving, CLASSIFIER, answered, {"PIXELS": pictures}, ("PROBABILITIES",))
        return class_scores(answer["PROBABILITIES"], target.classes)

    title = target.name if len(target.classes) == 1 else f"{target.name} ({len(target.classes)} classes)"
    size = (SCENE_SIDE, SCENE_SIDE)
    advance = question.watch(f"{CLASSIFIER}: {title}", plan.count(size) + 3)
    found = saliency(score, scene, size, plan, cell=SCENE_SIDE // _SCENE_CELLS, advance=advance)
    side = min(analysis.width, analysis.height)
    left, top = (analysis.width - side) / 2, (analysis.height - side) / 2
    place = Box(left, top, left + side, top + side)
    return View(CLASSIFIER, answered.version, title, found, place, None, "It sees the square in the middle.", plan)


def explain_box(question: Question, target: BoxTarget, taxonomy: Taxonomy) -> View:
    """Find out what the detector went by when it gave a box.

    The score that is watched is the detector's own, from before fusion, times the IoU with the box.

    Args:
        question: The photo, and whom to ask.
        target: Which of the objects of the answer.
        taxonomy: For the name of the category.

    Raises:
        AnswerError: The detector does not give the box again.
        SetupError, ServingError: See ``served.ask``.
    """
    analysis, serving, plan = question.analysis, question.serving, question.plan
    answered = version_of(analysis, DETECTOR)
    canvas, thing = question.pixels.canvas, analysis.objects[target.number]
    box_4 = _own_box(_detect(serving, answered, canvas[None]), analysis, target)

    def score(pictures: Pixels) -> npt.NDArray[np.float64]:
        return box_scores(_detect(serving, answered, pictures), box_4, target.category)

    width, height = fitted_size(analysis.width, analysis.height, CANVAS_SIDE, enlarge=True)
    box_side = float(np.sqrt(np.clip(box_4[2:] - box_4[:2], 1.0, None).prod()))
    cells = np.clip(_BOX_CELLS * CANVAS_SIDE / box_side, _FEWEST_CELLS, _MOST_CELLS)
    title = f"{taxonomy.categories[target.category]}, box {target.number}"
    advance = question.watch(f"{DETECTOR}: {title}", plan.count((height, width)) + 3)
    cell = round(CANVAS_SIDE / float(cells))
    found = saliency(score, canvas, (height, width), plan, cell=cell, advance=advance)
    place = Box(0.0, 0.0, float(analysis.width), float(analysis.height))
    about = f"That is the detector's own score; after fusion the box has {thing.score:.3f}."
    return View(DETECTOR, answered.version, title, found, place, thing.box, about, plan)


def _detect(serving: Serving, answered: ModelVersion, pictures: Pixels) -> Tensors:
    return ask(serving, DETECTOR, answered, {"PIXELS": pictures}, ("BOXES", "SCORES", "CLASSES", "NUM_BOXES"))


def _own_box(detected: Tensors, analysis: Analysis, target: BoxTarget) -> Map:
    """The detector's own box behind an object, [4] in canvas pixels: neither rounded nor clipped to the photo."""
    size = (analysis.width, analysis.height)
    count = int(detected["NUM_BOXES"][0, 0])
    boxes_N4 = detected["BOXES"][0, :count]
    in_photo_N4 = boxes_from_fitted(boxes_N4, size, fitted_size(*size, CANVAS_SIDE, enlarge=True))
    overlaps_N = iou_matrix(in_photo_N4, np.array([analysis.objects[target.number].box]))[:, 0]
    overlaps_N = np.where(detected["CLASSES"][0, :count] == target.category, overlaps_N, 0.0)
    if overlaps_N.max(initial=0.0) < _SAME_BOX:
        raise AnswerError(f"detector: expected the box of object {target.number} again, got none like it: ask again")
    return np.asarray(boxes_N4[overlaps_N.argmax()], dtype=np.float64)
