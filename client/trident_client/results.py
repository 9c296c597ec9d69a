"""What an analysis says: frozen types for ``RESULT``, schema 1, and its strict reading.

Pixels are those of the picture as a viewer shows it, x right, y down. Scores lie in [0, 1]. Lists are sorted by score,
highest first; links between objects and entities are indices into the other list.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

from trident.contract import BRANCHES, MODELS, NUM_LANDMARKS
from trident_client.errors import AnswerError, UnknownSchema
from trident_client.frozen import FrozenMapping

SCHEMA = 1
"""The schema of ``RESULT`` that this library reads."""

T = TypeVar("T")


class Point(NamedTuple):
    """A place in the picture, in pixels."""

    x: float
    y: float


class Box(NamedTuple):
    """A rectangle in the picture, in pixels: left, top, right, bottom."""

    x1: float
    y1: float
    x2: float
    y2: float

    @property
    def width(self) -> float:
        """Width in pixels."""
        return self.x2 - self.x1

    @property
    def height(self) -> float:
        """Height in pixels."""
        return self.y2 - self.y1


@dataclass(frozen=True, slots=True)
class SceneLabel:
    """One of the classifier's best labels for the whole picture."""

    label: str
    """Name of the ImageNet class."""
    wnid: str
    """WordNet id of the class, such as ``n03770679``."""
    score: float
    """Its probability."""


@dataclass(frozen=True, slots=True)
class CategoryScore:
    """One COCO category that the picture holds, as the branches together see it."""

    name: str
    """Name of the category."""
    score: float
    """The fused score."""
    evidence: Mapping[str, float | None]
    """What each branch says for itself; a branch that cannot speak of the category is absent or None."""


@dataclass(frozen=True, slots=True)
class DetectedObject:
    """One thing in the picture."""

    category: str
    """COCO category."""
    score: float
    """The detector's score after fusion."""
    box: Box
    """Where it is."""
    fine_label: str | None
    """The classifier's label, where that is a kind of ``category``."""
    entities: tuple[int, ...]
    """Indices of the faces and plates that belong to it."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Whose face it is."""

    name: str
    """The name that was enrolled in the server's gallery."""
    similarity: float
    """Cosine of the face's embedding and the enrolled one."""


@dataclass(frozen=True, slots=True)
class FaceEntity:
    """One face."""

    score: float
    """How surely it is a face."""
    box: Box
    """Where it is."""
    landmarks: tuple[Point, ...]
    """Right eye, left eye, nose, right and left mouth corner, "right" being the person's own."""
    identity: Identity | None
    """Whose face it is; None if the gallery does not know it."""
    object: int | None
    """Index of the object that it belongs to."""
    type: str = field(default="face", init=False)


@dataclass(frozen=True, slots=True)
class PlateEntity:
    """One licence plate."""

    score: float
    """How surely it is a plate."""
    box: Box
    """Where it is."""
    corners: tuple[Point, ...]
    """Top left, top right, bottom right, bottom left, as one reads the plate."""
    text: str
    """What it says."""
    text_score: float
    """How surely that was read."""
    object: int | None
    """Index of the object that it belongs to."""
    type: str = field(default="plate", init=False)


Entity = FaceEntity | PlateEntity


@dataclass(frozen=True, slots=True)
class ModelVersion:
    """Which version of a component really answered."""

    version: int
    """Triton's model version."""
    digest: str
    """``sha256:`` and 64 hexadecimal digits."""


@dataclass(frozen=True, slots=True, eq=False)
class Tensors:
    """The typed outputs behind ``RESULT``, without the batch dimension. Rows beyond ``num_boxes`` are 0."""

    class_probabilities: npt.NDArray[np.float32]
    """The classifier's softmax, [1000]."""
    boxes: npt.NDArray[np.float32]
    """Boxes in picture pixels, [100, 4]."""
    box_scores: npt.NDArray[np.float32]
    """Their fused scores, [100]."""
    box_classes: npt.NDArray[np.int32]
    """Their COCO categories, 0 to 79, [100]."""
    num_boxes: npt.NDArray[np.int32]
    """How many rows are used, [1]."""
    category_scores: npt.NDArray[np.float32]
    """Fused image-level scores, [80]."""
    category_evidence: npt.NDArray[np.float32]
    """What each branch says, [80, 3] in the order of ``trident.contract.BRANCHES``; -1 where it cannot speak."""


@dataclass(frozen=True, slots=True)
class Analysis:
    """The fused answer for one picture."""

    width: int
    """Width of the picture, in pixels."""
    height: int
    """Height of the picture, in pixels."""
    scene: tuple[SceneLabel, ...]
    """The classifier's best labels."""
    categories: tuple[CategoryScore, ...]
    """What the picture holds."""
    objects: tuple[DetectedObject, ...]
    """What is where."""
    entities: tuple[Entity, ...]
    """Faces and licence plates."""
    models: Mapping[str, ModelVersion]
    """Who answered: the version of every component that was called."""
    request_id: str | None = field(default=None, compare=False)
    """The id that the request was sent with; a server that logs verbosely names it in its log."""
    tensors: Tensors | None = field(default=None, compare=False, repr=False)
    """The typed outputs, if they were asked for."""

    @property
    def faces(self) -> tuple[FaceEntity, ...]:
        """The faces among the entities."""
        return tuple(entity for entity in self.entities if isinstance(entity, FaceEntity))

    @property
    def plates(self) -> tuple[PlateEntity, ...]:
        """The licence plates among the entities."""
        return tuple(entity for entity in self.entities if isinstance(entity, PlateEntity))

    def above(self, threshold: float) -> Analysis:
        """The same analysis with only the categories, objects and entities that score at least ``threshold``.

        Links between objects and entities are renumbered; a link to what was left out is dropped. ``scene`` stays.
        """
        kept_objects = [i for i, one in enumerate(self.objects) if one.score >= threshold]
        kept_entities = [i for i, one in enumerate(self.entities) if one.score >= threshold]
        new_object = {old: new for new, old in enumerate(kept_objects)}
        new_entity = {old: new for new, old in enumerate(kept_entities)}
        objects = []
        for old in kept_objects:
            links = tuple(new_entity[i] for i in self.objects[old].entities if i in new_entity)
            objects.append(replace(self.objects[old], entities=links))
        entities: list[Entity] = []
        for old in kept_entities:
            link = self.entities[old].object
            entities.append(replace(self.entities[old], object=None if link is None else new_object.get(link)))
        return replace(
            self,
            categories=tuple(one for one in self.categories if one.score >= threshold),
            objects=tuple(objects),
            entities=tuple(entities),
        )

    def to_json(self) -> dict[str, Any]:
        """The analysis as ``RESULT``, schema 1: what ``json.dumps`` takes and ``parse`` reads back."""
        return {
            "schema": SCHEMA,
            "image": {"width": self.width, "height": self.height},
            "scene": [{"label": one.label, "wnid": one.wnid, "score": one.score} for one in self.scene],
            "categories": [
                {"name": one.name, "score": one.score, "evidence": dict(one.evidence)} for one in self.categories
            ],
            "objects": [
                {
                    "category": one.category,
                    "score": one.score,
                    "box": list(one.box),
                    "fine_label": one.fine_label,
                    "entities": list(one.entities),
                }
                for one in self.objects
            ],
            "entities": [_entity_to_json(one) for one in self.entities],
            "models": {name: {"version": model.version, "digest": model.digest} for name, model in self.models.items()},
        }


def _entity_to_json(entity: Entity) -> dict[str, Any]:
    common = {"type": entity.type, "score": entity.score, "box": list(entity.box)}
    if isinstance(entity, PlateEntity):
        own: dict[str, Any] = {
            "corners": [list(point) for point in entity.corners],
            "text": entity.text,
            "text_score": entity.text_score,
        }
    else:
        identity = entity.identity
        own = {
            "landmarks": [list(point) for point in entity.landmarks],
            "identity": None if identity is None else {"name": identity.name, "similarity": identity.similarity},
        }
    return {**common, **own, "object": entity.object}


def parse(result: bytes | str, *, request_id: str | None = None, tensors: Tensors | None = None) -> Analysis:
    """Read one ``RESULT``.

    Fields that schema 1 does not name are passed over, so that a newer server may add some.

    Args:
        result: UTF-8 JSON.
        request_id: Kept in the analysis and in errors.
        tensors: Kept in the analysis.

    Raises:
        UnknownSchema: The answer is of another schema.
        AnswerError: It is not what schema 1 says; the message names the field, what was expected and what kind of value
            came. It holds no text of the answer, which may be a name or a plate: messages are logged.
    """
    try:
        root = _root(result, "RESULT")
        schema = root["schema"].integer()
        if schema != SCHEMA:
            raise UnknownSchema(
                f"RESULT.schema: expected {SCHEMA}, got {schema}: "
                + ("this client is older than the server, upgrade it" if schema > SCHEMA else "the server is too old")
            )
        objects, entities = root["objects"].items(), root["entities"].items()
        return Analysis(
            width=root["image"]["width"].integer(least=1),
            height=root["image"]["height"].integer(least=1),
            scene=root["scene"].each(_scene_label),
            categories=root["categories"].each(_category),
            objects=tuple(_object(node, len(entities)) for node in objects),
            entities=tuple(_entity(node, len(objects)) for node in entities),
            models=FrozenMapping({name: _model_version(node) for name, node in root["models"].members()}),
            request_id=request_id,
            tensors=tensors,
        )
    except AnswerError as exc:
        exc.request_id = request_id
        raise


def parse_entities(entities: bytes | str) -> tuple[Entity, ...]:
    """Read one element of ``ENTITIES``: the entities of ``RESULT``, before fusion has linked them to objects.

    Args:
        entities: UTF-8 JSON.

    Raises:
        AnswerError: It is no list of faces and plates; the message is as that of ``parse``.
    """
    return tuple(_entity(node, 0) for node in _root(entities, "ENTITIES").items())


def _root(text: bytes | str, name: str) -> _Node:
    try:
        return _Node(json.loads(text), name)
    except (ValueError, RecursionError) as exc:  # neither quotes what it could not read
        raise AnswerError(f"{name}: expected UTF-8 JSON, got something else ({exc})") from exc


def _scene_label(node: _Node) -> SceneLabel:
    return SceneLabel(node["label"].text(), node["wnid"].text(), node["score"].score())


def _category(node: _Node) -> CategoryScore:
    evidence = dict(node["evidence"].members())
    said = {branch: evidence[branch].optional(_Node.score) for branch in BRANCHES if branch in evidence}
    return CategoryScore(node["name"].text(), node["score"].score(), FrozenMapping(said))


def _object(node: _Node, num_entities: int) -> DetectedObject:
    return DetectedObject(
        category=node["category"].text(),
        score=node["score"].score(),
        box=node["box"].box(),
        fine_label=node.get("fine_label").optional(_Node.text),
        entities=node["entities"].each(lambda entity: entity.integer(below=num_entities)),
    )


def _entity(node: _Node, num_objects: int) -> Entity:
    kind = node["type"].text()
    score, box = node["score"].score(), node["box"].box()
    linked = node.get("object").optional(lambda link: link.integer(below=num_objects))
    if kind == "face":
        return FaceEntity(
            score=score,
            box=box,
            landmarks=node["landmarks"].points(NUM_LANDMARKS),
            identity=node.get("identity").optional(_identity),
            object=linked,
        )
    if kind == "plate":
        return PlateEntity(
            score=score,
            box=box,
            corners=node["corners"].points(4),
            text=node["text"].text(),
            text_score=node["text_score"].score(),
            object=linked,
        )
    raise node["type"].wrong("face or plate")


def _identity(node: _Node) -> Identity:
    return Identity(node["name"].text(), node["similarity"].number())


def _model_version(node: _Node) -> ModelVersion:
    return ModelVersion(node["version"].integer(least=1), node["digest"].text())


_MISSING = object()
_KINDS = {str: "text", bool: "true or false", int: "a number", float: "a number", dict: "an object"}
_KNOWN = frozenset({*MODELS, *BRANCHES})
_LONGEST_SHOWN = 60


class _Node:
    """A value in the document together with its path, so that every complaint can name its place."""

    __slots__ = ("path", "value")

    def __init__(self, value: object, path: str) -> None:
        self.value = value
        self.path = path

    def wrong(self, expected: str) -> AnswerError:
        """A complaint without the value: whatever stands in a wrong place may be a name or a plate."""
        if self.value is _MISSING:
            got = "nothing"
        elif self.value is None:
            got = "null"
        elif isinstance(self.value, list):
            got = f"a list of {len(self.value)}"
        else:
            got = _KINDS[type(self.value)]
        return AnswerError(f"{self.path}: expected {expected}, got {got}")

    def wrong_number(self, expected: str) -> AnswerError:
        """A complaint about a number, or several, where such belong: those may be shown."""
        return AnswerError(f"{self.path}: expected {expected}, got {json.dumps(self.value)[:_LONGEST_SHOWN]}")

    def get(self, key: str) -> _Node:
        """The member of that name, or one whose value is null."""
        if not isinstance(self.value, dict):
            raise self.wrong("an object")
        return _Node(self.value.get(key), f"{self.path}.{key}")

    def __getitem__(self, key: str) -> _Node:
        if not isinstance(self.value, dict):
            raise self.wrong("an object")
        return _Node(self.value.get(key, _MISSING), f"{self.path}.{key}")

    def members(self) -> list[tuple[str, _Node]]:
        if not isinstance(self.value, dict):
            raise self.wrong("an object")
        # A key that the contract does not know is text like any other.
        return [
            (key, _Node(value, f"{self.path}.{key if key in _KNOWN else '(another)'}"))
            for key, value in self.value.items()
        ]

    def items(self, count: int | None = None) -> list[_Node]:
        if not isinstance(self.value, list) or count not in (None, len(self.value)):
            raise self.wrong("a list" if count is None else f"a list of {count}")
        return [_Node(value, f"{self.path}[{i}]") for i, value in enumerate(self.value)]

    def each(self, read: Callable[[_Node], T]) -> tuple[T, ...]:
        return tuple(read(node) for node in self.items())

    def optional(self, read: Callable[[_Node], T]) -> T | None:
        return None if self.value is None else read(self)

    def text(self) -> str:
        if not isinstance(self.value, str):
            raise self.wrong("text")
        return self.value

    def integer(self, *, least: int = 0, below: int | None = None) -> int:
        value = self.value
        # bool is a kind of int in Python, and is none in JSON.
        if not isinstance(value, int) or isinstance(value, bool):
            raise self.wrong("a whole number")
        if value < least or (below is not None and value >= below):
            limits = f"at least {least}" + ("" if below is None else f" and below {below}")
            raise self.wrong_number(f"a whole number of {limits}")
        return value

    def number(self) -> float:
        value = self.value
        if not isinstance(value, (int, float)) or isinstance(value, bool):
            raise self.wrong("a number")
        try:
            number = float(value)
        except OverflowError:
            number = math.inf
        if not math.isfinite(number):
            raise self.wrong_number("a finite number")
        return number

    def score(self) -> float:
        value = self.number()
        if not 0 <= value <= 1:
            raise self.wrong_number("a score in [0, 1]")
        return value

    def box(self) -> Box:
        x1, y1, x2, y2 = (node.number() for node in self.items(4))
        if x2 < x1 or y2 < y1:
            raise self.wrong_number("a box with x1 <= x2 and y1 <= y2")
        return Box(x1, y1, x2, y2)

    def points(self, count: int) -> tuple[Point, ...]:
        points = []
        for node in self.items(count):
            x, y = (number.number() for number in node.items(2))
            points.append(Point(x, y))
        return tuple(points)
