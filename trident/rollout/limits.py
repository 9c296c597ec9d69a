"""What two versions may differ by: the limits of a shadow, each with its default, and a figure held against one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import Field, dataclass, field, fields, replace
from typing import Any

from trident.errors import SetupError

SHOWN_ABOVE = 0.3
"""Boxes, faces and plates below this score are not compared: nobody is shown them."""
CONFIRMED_ABOVE = 0.15
"""A box that one version shows is confirmed by the other's from this score on: what is scored 0.31 by one network and
0.29 by another is no disagreement."""
SAME_OVERLAP = 0.5
"""Two boxes are of the same thing from this intersection over union on, as COCO's AP50 has it."""


def _least(default: float, about: str) -> Any:
    return field(default=default, metadata={"about": about, "at_least": True})


def _most(default: float, about: str) -> Any:
    return field(default=default, metadata={"about": about, "at_least": False})


@dataclass(frozen=True, slots=True)
class Limits:
    """How much a new version may differ from the old one.

    The defaults let a better network of the same task through, and stop one that does the task otherwise.
    """

    classifier_top1: float = _least(0.7, "share of pictures with the same best class, where either is sure of it")
    classifier_distance: float = _most(0.4, "mean total variation distance of the class probabilities")
    detector_f1: float = _least(0.6, "share of boxes confirmed by the other version, at IoU 0.5 and class (F1)")
    detector_overlap: float = _least(0.7, "mean IoU of the matched boxes")
    face_f1: float = _least(0.8, "share of faces confirmed by the other version, at IoU 0.5 (F1)")
    face_landmarks: float = _most(0.1, "mean distance of the matched faces' landmarks, in sides of the face")
    plate_f1: float = _least(0.7, "share of plates confirmed by the other version, at IoU 0.5 (F1)")
    plate_corners: float = _most(0.15, "mean distance of the matched plates' corners, in sides of the plate")
    reader_exact: float = _least(0.8, "share of the legible plates that are read the same")
    reader_distance: float = _most(0.1, "mean edit distance of the readings, in lengths of the longer one")
    identity_verdicts: float = _least(0.95, "share of pairs of faces with the same verdict, same person or not")
    identity_names: float = _least(0.95, "share of faces to which the gallery gives the same name")
    pixels_mean: float = _most(3.0, "mean difference of the canonical pixels, in levels of 255")
    entities_f1: float = _least(0.7, "share of faces and plates confirmed by the other version, by type and box (F1)")
    entities_texts: float = _least(0.8, "share of the matched plates with the same text")
    fused_distance: float = _most(0.15, "mean difference of the fused scores of the categories that are there")
    fused_worst: float = _most(0.6, "largest difference of one fused score in any picture")
    fused_top: float = _least(0.7, "share of pictures with the same best category")
    fused_objects: float = _least(
        0.6, "share of fused boxes confirmed by the other version, at IoU 0.5 and category (F1)"
    )
    latency: float = _most(2.0, "median of the new version's time over the old one's")
    latency_whole: float = _most(1.5, "median of the whole new ensemble's time over the old one's")
    quality_loss: float = _most(0.05, "most that a measure on labelled pictures may lose")

    @staticmethod
    def names() -> tuple[str, ...]:
        """Every limit's name, in their order."""
        return tuple(one.name for one in fields(Limits))

    @staticmethod
    def about(name: str) -> str:
        """What a limit is about, with its direction and default: the help text of an option.

        >>> Limits.about("reader_exact")
        'share of the legible plates that are read the same, at least 0.8'
        """
        one = _field(name)
        return f"{one.metadata['about']}, {'at least' if Limits.at_least(name) else 'at most'} {one.default:g}"

    @staticmethod
    def at_least(name: str) -> bool:
        """Whether a figure must reach the limit; else it must not pass it.

        >>> Limits.at_least("reader_exact"), Limits.at_least("latency")
        (True, False)
        """
        return bool(_field(name).metadata["at_least"])

    def changed(self, settings: Sequence[str]) -> Limits:
        """These limits with some replaced, each given as ``NAME=VALUE``.

        Raises:
            SetupError: One is not of that form, there is no such limit, or the value is no number of 0 or more.

        >>> Limits().changed(["classifier_top1=0.5"]).classifier_top1
        0.5
        """
        values: dict[str, float] = {}
        for setting in settings:
            name, separator, text = setting.partition("=")
            if not separator or name not in self.names():
                raise SetupError(
                    f"limit: expected NAME=VALUE with one of the names {', '.join(self.names())}, got {setting!r}"
                )
            values[name] = limit_value(name, text)
        return replace(self, **values)


def limit_value(name: str, text: str) -> float:
    """The value of a limit. Raises SetupError unless it is a number of 0 or more."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value) or value < 0:
        raise SetupError(f"limit {name}: expected a number of 0 or more, got {text!r}")
    return value


def _field(name: str) -> Field[Any]:
    return next(one for one in fields(Limits) if one.name == name)


@dataclass(frozen=True, slots=True)
class Metric:
    """One figure of a comparison, and its limit if it has one."""

    component: str
    """What was compared: a component, or the ensemble."""
    name: str
    value: float | None
    """None where there was nothing to measure it on."""
    samples: int
    """On how many pictures, boxes, plates or pairs, as ``of`` says."""
    of: str
    limit: float | None = None
    at_least: bool = True
    option: str = ""
    """Name of the limit, by which it can be changed."""

    @property
    def passed(self) -> bool:
        """Whether the figure is within its limit; so is one without a limit, or without anything to measure."""
        if self.value is None or self.limit is None:
            return True
        if math.isnan(self.value):
            return False
        # Sums of many small numbers: what is 1 on paper may come out a hair below.
        return self.value >= self.limit - 1e-9 if self.at_least else self.value <= self.limit + 1e-9

    def __str__(self) -> str:
        if self.value is None:
            return f"{self.component}: {self.name}: not measured, there are no {self.of}"
        text = f"{self.component}: {self.name} {self.value:.3f}"
        if self.limit is not None:
            text += f", expected {'at least' if self.at_least else 'at most'} {self.limit:g}"
        return text

    def to_json(self) -> dict[str, object]:
        """For the journal."""
        return {
            "component": self.component,
            "name": self.name,
            "value": None if self.value is None else round(self.value, 5),
            "samples": self.samples,
            "of": self.of,
            "limit": self.limit,
            "at_least": self.at_least,
            "option": self.option,
            "passed": self.passed,
        }


def limited(limits: Limits, option: str, component: str, value: float | None, over: tuple[int, str]) -> Metric:
    """A figure beside its limit.

    Args:
        limits: Where the limit stands.
        option: Its name.
        component: What was compared.
        value: The figure; None if there was nothing to measure it on.
        over: On how many of what it was measured.
    """
    about = _field(option).metadata["about"]
    return Metric(component, about, value, *over, float(getattr(limits, option)), Limits.at_least(option), option)
