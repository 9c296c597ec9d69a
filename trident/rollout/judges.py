"""For each component, what is measured when two versions of it answer the same inputs. No server.

A judge is shown one pair of answers after the other, remarks on each, and sums up in figures beside their limits.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from trident.contract import EMBEDDER, ENSEMBLE, RECOGNIZER
from trident.entities.gallery import Snapshot
from trident.entities.plates import plate_score, plate_text
from trident.fusion.taxonomy import load_taxonomy
from trident.provenance import unpack
from trident.rollout import agreement
from trident.rollout.agreement import Boxes, CanonicalPixels, Classes, Entities, Fused, Reading, mean, pool_boxes
from trident.rollout.limits import Limits, Metric, limited

Tensors = Mapping[str, npt.NDArray[Any]]

LEGIBLE = 0.5
"""Whatever looks a little like a plate is read. A reading counts where it makes a plate of at least this score out of a
perfect find, in either version: how two networks read a cat's fur says nothing."""


@dataclass(frozen=True, slots=True)
class Remark:
    """What two answers to one input differ by."""

    badness: float
    """0 for none, 1 for wholly other answers."""
    reason: str
    """Without anything that was read or recognized, so that it can be kept."""
    detail: str = ""
    """What was read or recognized; for the report alone."""


class Judge(Protocol):
    """Compares the answers of two versions of one component."""

    def look(self, old: Tensors, new: Tensors) -> Remark:
        """Compare one pair of answers to the same input."""

    def metrics(self, limits: Limits) -> list[Metric]:
        """The figures over all pairs so far."""


def judge_of(component: str, *, thresholds: tuple[float, float], gallery: Snapshot | None = None) -> Judge:
    """The judge for a component, or for the ensemble.

    Args:
        component: Its name.
        thresholds: Smallest similarity of the same person's faces, in the old and in the new release.
        gallery: The people whose faces are known, if names are to be compared as well.
    """
    if component in _DETECTORS:
        return DetectorJudge(component)
    if component == EMBEDDER:
        return EmbedderJudge(thresholds, gallery)
    if component in _SIMPLE:
        return _SIMPLE[component]()
    return FusedJudge(component)


class PixelsJudge:
    """For preprocess: the same pixels?"""

    def __init__(self) -> None:
        self._seen: list[CanonicalPixels] = []

    def look(self, old: Tensors, new: Tensors) -> Remark:
        """See ``Judge``."""
        one = agreement.compare_pixels(old, new)
        self._seen.append(one)
        if not one.same_size:
            return Remark(1.0, "the picture has another size")
        return Remark(min(1.0, one.mean / 25.5), f"pixels differ by {one.mean:.2f} levels, at most {one.largest}")

    def metrics(self, limits: Limits) -> list[Metric]:
        """See ``Judge``."""
        same = mean(one.same_size for one in self._seen)
        sizes = Metric("preprocess", "share of pictures of the same size", same, len(self._seen), "pictures", 1.0)
        largest = max((float(one.largest) for one in self._seen), default=None)
        return [
            sizes,
            limited(
                limits, "pixels_mean", "preprocess", mean(one.mean for one in self._seen), (len(self._seen), "pictures")
            ),
            Metric("preprocess", "largest difference of one pixel", largest, len(self._seen), "pictures"),
        ]


class ClassifierJudge:
    """For the classifier: the same class, and how far the probabilities are apart."""

    def __init__(self) -> None:
        self._seen: list[Classes] = []

    def look(self, old: Tensors, new: Tensors) -> Remark:
        """See ``Judge``."""
        one = agreement.compare_classes(old["PROBABILITIES"][0], new["PROBABILITIES"][0])
        self._seen.append(one)
        names = load_taxonomy().names
        if one.same_top:
            return Remark(one.distance / 2, f"the same best class, probabilities {one.distance:.2f} apart")
        unsure = "" if one.sure else ", of which neither is sure"
        return Remark(
            (0.5 if one.sure else 0.0) + one.distance / 2,
            f"another best class{unsure}, probabilities {one.distance:.2f} apart",
            f"{names[one.old_top]} → {names[one.new_top]}",
        )

    def metrics(self, limits: Limits) -> list[Metric]:
        """See ``Judge``."""
        count, name = len(self._seen), "classifier"
        worst = max((one.distance for one in self._seen), default=None)
        sure = [one.same_top for one in self._seen if one.sure]
        return [
            limited(limits, "classifier_top1", name, mean(sure), (len(sure), "pictures of which either is sure")),
            limited(limits, "classifier_distance", name, mean(one.distance for one in self._seen), (count, "pictures")),
            Metric(name, "worst total variation distance", worst, count, "pictures"),
        ]


@dataclass(frozen=True, slots=True)
class _DetectorKind:
    f1: str
    """Name of the limit."""
    distance: str = ""
    """Name of the limit of the points' distance."""
    overlap: str = ""
    """Name of the limit of the mean IoU."""
    classes: str = ""
    points: str = ""
    of: str = "boxes"


_DETECTORS = {
    "detector": _DetectorKind("detector_f1", overlap="detector_overlap", classes="CLASSES"),
    "face_detector": _DetectorKind("face_f1", "face_landmarks", points="LANDMARKS", of="faces"),
    "plate_detector": _DetectorKind("plate_f1", "plate_corners", points="CORNERS", of="plates"),
}


class DetectorJudge:
    """For the detectors: the same boxes, with their landmarks or corners?"""

    def __init__(self, component: str) -> None:
        self._component = component
        self._kind = _DETECTORS[component]
        self._seen: list[Boxes] = []

    def look(self, old: Tensors, new: Tensors) -> Remark:
        """See ``Judge``."""
        one = agreement.compare_boxes(old, new, 0, classes=self._kind.classes, points=self._kind.points)
        self._seen.append(one)
        return Remark(1 - one.f1, _found_again(one, self._kind.of))

    def metrics(self, limits: Limits) -> list[Metric]:
        """See ``Judge``."""
        kind, name, whole = self._kind, self._component, pool_boxes(self._seen)
        either = whole.old + whole.new
        overlap, distance = mean(whole.overlaps), mean(whole.distances)
        found = [
            limited(limits, kind.f1, name, whole.f1 if either else None, (either, kind.of)),
            Metric(name, "precision, the old taken for the truth", whole.precision, whole.new, kind.of),
            Metric(name, "recall, the old taken for the truth", whole.recall, whole.old, kind.of),
        ]
        matched = f"matched {kind.of}"
        if kind.overlap:
            found.append(limited(limits, kind.overlap, name, overlap, (len(whole.overlaps), matched)))
        else:
            found.append(Metric(name, "mean IoU of the matched boxes", overlap, len(whole.overlaps), matched))
        if kind.distance:
            found.append(limited(limits, kind.distance, name, distance, (len(whole.distances), matched)))
        return found


def _found_again(one: Boxes, what: str) -> str:
    if not one.old and not one.new:
        return f"no {what} in either"
    return f"{one.old_confirmed} of {one.old} {what} found again, {one.new - one.new_confirmed} more"


class ReaderJudge:
    """For the plate reader: the same text on each legible plate?"""

    def __init__(self) -> None:
        self._seen: list[Reading] = []

    def look(self, old: Tensors, new: Tensors) -> Remark:
        """See ``Judge``. The answers may hold several plates."""
        readings = []
        for row in range(len(old["NUM_CHARACTERS"])):
            texts = [_text(answer, row) for answer in (old, new)]
            if max(plate_score(1.0, *text) for text in texts) >= LEGIBLE:
                readings.append(Reading(texts[0][0], texts[1][0]))
        self._seen += readings
        other = [one for one in readings if not one.exact]
        return Remark(
            len(other) / max(1, len(readings)),
            f"{len(other)} of {len(readings)} legible plates read otherwise",
            "; ".join(f"{one.old or 'nothing'} → {one.new or 'nothing'}" for one in other),
        )

    def metrics(self, limits: Limits) -> list[Metric]:
        """See ``Judge``."""
        count, name, of = len(self._seen), "plate_reader", "legible plates"
        return [
            limited(limits, "reader_exact", name, mean(one.exact for one in self._seen), (count, of)),
            limited(limits, "reader_distance", name, mean(one.distance for one in self._seen), (count, of)),
        ]


def _text(answer: Tensors, row: int) -> tuple[str, float]:
    characters, scores = answer["CHARACTERS"][row], answer["CHARACTER_SCORES"][row]
    return plate_text(characters.astype(np.int32), scores.astype(np.float32), int(answer["NUM_CHARACTERS"][row].item()))


class EmbedderJudge:
    """For the face embedder: who is the same person as whom, and whom does the gallery know?"""

    def __init__(self, thresholds: tuple[float, float], gallery: Snapshot | None) -> None:
        self._thresholds = thresholds
        self._gallery = gallery
        self._old: list[npt.NDArray[np.float32]] = []
        self._new: list[npt.NDArray[np.float32]] = []
        self._networks = ("", "")

    def look(self, old: Tensors, new: Tensors) -> Remark:
        """See ``Judge``. The answers may hold several faces."""
        rows = [_normalised(answer["EMBEDDING"]) for answer in (old, new)]
        self._old += list(rows[0])
        self._new += list(rows[1])
        self._networks = _digest(old), _digest(new)
        close = agreement.cosines(rows[0], rows[1])
        # Whether two networks agree shows only between faces; what can be said of one is how it moved.
        return Remark(0.0, f"{len(rows[0])} faces" + (f", cosine {min(close):.3f} to the old" if close else ""))

    def metrics(self, limits: Limits) -> list[Metric]:
        """See ``Judge``."""
        name, count = EMBEDDER, len(self._old)
        if not count:
            return [limited(limits, "identity_verdicts", name, None, (0, "pairs of faces"))]
        old, new = np.stack(self._old), np.stack(self._new)
        verdicts = agreement.compare_verdicts(old, new, *self._thresholds)
        close = agreement.cosines(old, new)
        share = verdicts.agreeing / verdicts.pairs if verdicts.pairs else None
        figures = [
            limited(limits, "identity_verdicts", name, share, (verdicts.pairs, "pairs of faces")),
            Metric(name, "mean cosine of the old and the new embedding", mean(close), len(close), "faces"),
        ]
        if names := self._same_names(old, new):
            figures.append(limited(limits, "identity_names", name, mean(names), (len(names), "faces")))
        return figures

    def _same_names(self, old: npt.NDArray[np.float32], new: npt.NDArray[np.float32]) -> list[bool]:
        gallery = self._gallery
        # A gallery that knows only one of the networks names nobody with the other: preflight's to say, not agreement.
        if gallery is None or any(network not in gallery.by_network for network in self._networks):
            return []
        found = [
            [identity.name if identity else "" for identity in gallery.match(rows, network, threshold)]
            for rows, network, threshold in zip((old, new), self._networks, self._thresholds, strict=True)
        ]
        return [a == b for a, b in zip(*found, strict=True)]


def _normalised(embeddings: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    rows = embeddings.astype(np.float32)
    return np.asarray(rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12), dtype=np.float32)


def _digest(answer: Tensors) -> str:
    made_by = unpack(answer["PROVENANCE"][0].astype(np.uint8))
    return made_by.digest if made_by else ""


class EntitiesJudge:
    """For the entity recognizer: the same faces and plates, with the same names and texts?"""

    def __init__(self) -> None:
        self._seen: list[Entities] = []

    def look(self, old: Tensors, new: Tensors) -> Remark:
        """See ``Judge``."""
        lists = [json.loads(answer["ENTITIES"][0, 0]) for answer in (old, new)]
        one = agreement.compare_entities(*lists)
        self._seen.append(one)
        other = [reading for reading in one.readings if not reading.exact]
        renamed = [pair for pair in one.names if pair[0] != pair[1]]
        parts = [_found_again(one.boxes, "faces and plates")]
        if other:
            parts.append(f"{len(other)} plates read otherwise")
        if renamed:
            parts.append(f"{len(renamed)} faces named otherwise")
        changed = [(reading.old, reading.new) for reading in other] + renamed
        things = max(1, len(one.readings) + len(one.names))
        badness = max(1 - one.boxes.f1, len(changed) / things)
        return Remark(badness, ", ".join(parts), "; ".join(f"{a or 'nothing'} → {b or 'nothing'}" for a, b in changed))

    def metrics(self, limits: Limits) -> list[Metric]:
        """See ``Judge``."""
        whole = pool_boxes(one.boxes for one in self._seen)
        either = whole.old + whole.new
        readings = [reading for one in self._seen for reading in one.readings]
        names = [pair for one in self._seen for pair in one.names]
        exact, same = mean(one.exact for one in readings), mean(a == b for a, b in names)
        return [
            limited(limits, "entities_f1", RECOGNIZER, whole.f1 if either else None, (either, "faces and plates")),
            limited(limits, "entities_texts", RECOGNIZER, exact, (len(readings), "matched plates")),
            limited(limits, "identity_names", RECOGNIZER, same, (len(names), "matched faces")),
        ]


class FusedJudge:
    """For fusion and for the ensemble as a whole: the same categories and objects?"""

    def __init__(self, component: str = ENSEMBLE) -> None:
        self._component = component
        self._seen: list[Fused] = []

    def look(self, old: Tensors, new: Tensors) -> Remark:
        """See ``Judge``."""
        one = agreement.compare_fused(old, new)
        self._seen.append(one)
        categories = load_taxonomy().categories
        parts = [f"fused scores {one.distance:.2f} apart, {categories[one.worst_category]} by {one.worst:.2f}"]
        if not one.same_top:
            parts.insert(0, f"{categories[one.old_top]} → {categories[one.new_top]}")
        parts.append(_found_again(one.objects, "objects"))
        badness = max(one.distance, one.worst / 2, (1 - one.objects.f1) / 2, 0.0 if one.same_top else 0.5)
        return Remark(badness, ", ".join(parts))

    def metrics(self, limits: Limits) -> list[Metric]:
        """See ``Judge``."""
        name, count = self._component, len(self._seen)
        objects = pool_boxes(one.objects for one in self._seen)
        either = objects.old + objects.new
        worst = max((one.worst for one in self._seen), default=None)
        return [
            limited(limits, "fused_distance", name, mean(one.distance for one in self._seen), (count, "pictures")),
            limited(limits, "fused_worst", name, worst, (count, "pictures")),
            limited(limits, "fused_top", name, mean(one.same_top for one in self._seen), (count, "pictures")),
            limited(limits, "fused_objects", name, objects.f1 if either else None, (either, "objects")),
        ]


_SIMPLE: dict[str, Callable[[], Judge]] = {
    "preprocess": PixelsJudge,
    "classifier": ClassifierJudge,
    "plate_reader": ReaderJudge,
    RECOGNIZER: EntitiesJudge,
}
