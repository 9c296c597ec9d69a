"""The fusion policy: every weight and threshold that fusion uses, read from ``policy.json``.

The file lies beside the fusion model's ``model.py``, so that a version of the model is its code and its policy, and a
new fit is a new version. Nothing has a default: what is not in the file does not exist.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, is_dataclass
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

from trident.errors import SetupError

SCHEMA = 1

Section = TypeVar("Section")


@dataclass(frozen=True, slots=True)
class Weights:
    """The weights w of ``z = Σ wᵢ fᵢ / Σ wᵢ``; only their ratios count."""

    classifier: float
    detector: float
    entities: float


@dataclass(frozen=True, slots=True)
class Evidence:
    """When a branch speaks of a category."""

    entity_floor: float
    """A face or plate speaks where its score reaches this."""


@dataclass(frozen=True, slots=True)
class Rescoring:
    """How far other branches' evidence f lifts a box's score s, which becomes ``s ** (1 − λf)``."""

    classifier: float
    """λ of the classifier's evidence for the box's category."""
    entity: float
    """λ of the score of an entity that is linked to the box."""


@dataclass(frozen=True, slots=True)
class FineLabel:
    """When an object gets the name of an ImageNet class."""

    min_probability: float
    """Least probability of the class."""
    min_share: float
    """Least share of the class among the kinds of the box's category."""
    min_score: float
    """Least score of the object."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where on its object an entity is expected, in fractions of the object's box from its top left corner."""

    x: float
    y: float
    spread: float
    """Distance at which the fit has fallen to 1/√e; above 0."""


@dataclass(frozen=True, slots=True)
class Assignment:
    """When an entity may belong to an object, and how well it fits."""

    min_containment: float
    """Least part of the entity's area that lies in the object's box."""
    min_score: float
    """Least detector score of the object's box."""
    face: Place
    """A face on a person."""
    plate: Place
    """A plate on a vehicle."""


@dataclass(frozen=True, slots=True)
class Policy:
    """All of fusion's weights and thresholds."""

    weights: Weights
    evidence: Evidence
    rescoring: Rescoring
    fine_label: FineLabel
    assignment: Assignment


def load_policy(path: Path) -> Policy:
    """Read and check a policy file.

    Raises:
        SetupError: the file is missing, is not JSON, or is not a valid policy; the message names file and field.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise SetupError(
            f"fusion policy {path}: no such file; every version of fusion has one beside its model.py"
        ) from error
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise SetupError(f"fusion policy {path}: cannot be read as JSON: {error}") from error
    try:
        return parse_policy(content)
    except ValueError as error:
        raise SetupError(f"fusion policy {path}: {error}") from error


def parse_policy(content: Any) -> Policy:
    """Check the content of a policy file.

    ``about`` and ``fit``, which say where the numbers come from, may hold anything and are not read.

    Raises:
        ValueError: a field is missing, unknown, not a number or outside of its range; the message names it.
    """
    if not isinstance(content, dict):
        raise ValueError(f"policy: expected an object, got {type(content).__name__}")
    if content.get("schema") != SCHEMA:
        raise ValueError(f"schema: expected {SCHEMA}, got {content.get('schema')!r}")
    policy = _parse(Policy, {key: content[key] for key in content if key not in ("schema", "about", "fit")}, "policy")
    if policy.weights.classifier + policy.weights.detector <= 0:
        raise ValueError("weights: expected the classifier's or the detector's above 0, got 0 for both")
    for name, lift in (("classifier", policy.rescoring.classifier), ("entity", policy.rescoring.entity)):
        if lift >= 1:
            raise ValueError(f"rescoring.{name}: expected below 1, got {lift}: every box would become certain")
    for name, place in (("face", policy.assignment.face), ("plate", policy.assignment.plate)):
        if place.spread <= 0:
            raise ValueError(f"assignment.{name}.spread: expected above 0, got {place.spread}")
    return policy


def _parse(kind: type[Section], content: Any, name: str) -> Section:
    """Read a dataclass whose fields are numbers in [0, 1] or dataclasses of the same sort."""
    if not isinstance(content, dict):
        raise ValueError(f"{name}: expected an object, got {type(content).__name__}")
    kinds = get_type_hints(kind)
    if content.keys() != kinds.keys():
        problems = [
            f"{what} {', '.join(sorted(keys))}"
            for what, keys in (("missing", kinds.keys() - content.keys()), ("unknown", content.keys() - kinds.keys()))
            if keys
        ]
        raise ValueError(f"{name}: expected {', '.join(kinds)}, got {'; '.join(problems)}")
    prefix = "" if kind is Policy else f"{name}."
    return kind(
        **{
            key: _parse(kinds[key], value, f"{prefix}{key}")
            if is_dataclass(kinds[key])
            else _parse_number(value, f"{prefix}{key}")
            for key, value in content.items()
        }
    )


def _parse_number(value: Any, name: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"{name}: expected a number, got {value!r}")
    if not 0 <= value <= 1:
        raise ValueError(f"{name}: expected 0 to 1, got {value}")
    return float(value)
