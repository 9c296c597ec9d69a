"""Each labelled set, put to one release of a server: every picture is asked about once, and its answer kept.

Everything goes through the served ensemble, but for two things that its answer does not hold: face embeddings, which
come from the served ``face_detector`` and ``face_embedder`` through the same code as the entity recognizer, and plates
that are already cut out, which go to the served ``plate_reader``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from benchmarks.quality import data
from benchmarks.quality.boxes import BoxQuality, as_detections, box_quality
from benchmarks.served import ServedModels, Tensors
from trident.contract import ENSEMBLE, MODELS, PLATE_HEIGHT, PLATE_WIDTH
from trident.entities.faces import FoundFace, find_faces
from trident.entities.local import read_settings
from trident.entities.pictures import Pictures
from trident.entities.plates import PADDING, plate_text
from trident.entities.settings import Settings
from trident.errors import SetupError
from trident.fusion.taxonomy import load_taxonomy
from trident.fusion.types import Objects
from trident.layout import DEFAULT_REPOSITORY
from trident.provenance import unpack
from trident_client import Analysis, PlateEntity, TridentClient

CONCURRENCY = 4
PLATES_IN_A_CALL = 32

Progress = Callable[[float], None]
"""Told how many more pictures are done."""
Floats = npt.NDArray[np.floating[Any]]


class Server:
    """The two ways to ask one server."""

    def __init__(
        self,
        url: str,
        *,
        model: str = ENSEMBLE,
        versions: Mapping[str, int] | None = None,
        settings: Settings | None = None,
    ) -> None:
        """Prepare calls.

        Args:
            url: ``host:port`` of the gRPC port.
            model: Name of the ensemble.
            versions: Of the models that are called directly; the newest that is loaded for those that it lacks.
            settings: The entity recognizer's; by default those of the clone's model repository.
        """
        self.client = TridentClient(url, model=model)
        self.models = ServedModels(url, versions)
        self.settings = settings or read_settings(DEFAULT_REPOSITORY)
        self.answered: dict[str, dict[str, object]] = {}
        """Version and digest of every model that has answered so far, from ``RESULT`` or its own answer."""

    def close(self) -> None:
        """Let go of the connections."""
        self.client.close()
        self.models.__exit__(None, None, None)

    def analyses(self, paths: Sequence[Path], progress: Progress) -> Iterator[Analysis]:
        """The answers for all pictures, in their order, with the typed tensors.

        Raises:
            trident_client.ClientError: a picture was not answered: a figure over the others would be a lie.
        """
        for outcome in self.client.analyze_many(paths, concurrency=CONCURRENCY, tensors=True):
            if outcome.error is not None:
                raise outcome.error
            assert outcome.analysis is not None
            for name, model in outcome.analysis.models.items():
                self.answered[name] = {"version": model.version, "digest": model.digest}
            progress(1)
            yield outcome.analysis

    def infer(self, model: str, tensors: Tensors) -> dict[str, npt.NDArray[Any]]:
        """Call one model directly, and note who answered."""
        answer = self.models.infer(model, tensors)
        provenance = unpack(answer["PROVENANCE"][0].astype(np.uint8))
        if provenance is not None:
            self.answered[model] = provenance.to_json()
        return answer


@dataclass(frozen=True, slots=True, eq=False)
class ClassAnswers:
    """What was said about N pictures of ImageNet's classes."""

    pictures: Sequence[data.LabelledClass]
    ranked: npt.NDArray[np.int64]
    """Indices of the best classes, best first, as ``scene`` names them."""
    confidence: Floats
    """Probability of the best class."""
    label_probability: Floats
    """Probability of the class that the picture is of."""

    @property
    def labels(self) -> npt.NDArray[np.int64]:
        """The true classes, [N]."""
        return np.array([picture.class_index for picture in self.pictures], dtype=np.int64)

    @property
    def right(self) -> npt.NDArray[np.bool_]:
        """Whether the best class is the true one, [N]."""
        return np.asarray(self.ranked[:, 0] == self.labels)


def ask_imagenet(server: Server, folder: Path, limit: int | None, progress: Progress) -> ClassAnswers:
    """``scene`` of every picture, and the probability of its class."""
    pictures = data.imagenet(folder, limit)
    index_of = {wnid: index for index, wnid in enumerate(load_taxonomy().wnids)}
    ranked, confidence, label_probability = [], [], []
    for picture, answer in zip(pictures, server.analyses([one.path for one in pictures], progress), strict=True):
        assert answer.tensors is not None
        probabilities_C = answer.tensors.class_probabilities
        ranked.append([index_of[label.wnid] for label in answer.scene])
        confidence.append(float(probabilities_C[ranked[-1][0]]))
        label_probability.append(float(probabilities_C[picture.class_index]))
    return ClassAnswers(pictures, np.array(ranked), np.array(confidence), np.array(label_probability))


@dataclass(frozen=True, eq=False)
class CocoAnswers:
    """What was said about N COCO pictures."""

    pictures: data.CocoSet
    typed: Sequence[Objects]
    """All boxes of each picture, in its pixels, by score; up to 100."""
    listed: Sequence[Objects]
    """``objects`` of ``RESULT``: those with a score of at least 0.05."""
    category_scores: Floats
    """Fused image-level scores, [N, 80]."""
    evidence: Floats
    """What each branch says for itself, [N, 80, 3]; -1 where it cannot speak."""

    @cached_property
    def quality(self) -> BoxQuality:
        """The typed boxes, evaluated once."""
        return box_quality(self.pictures.truth, self.detections(self.typed), self.pictures.image_ids)

    def detections(self, objects: Sequence[Objects]) -> list[dict[str, Any]]:
        """Boxes as COCO results."""
        return as_detections(self.pictures.image_ids, objects, load_taxonomy().coco_ids)


def ask_coco(server: Server, folder: Path, limit: int | None, progress: Progress) -> CocoAnswers:
    """Boxes and image-level categories of every picture."""
    pictures = data.coco(folder, limit)
    taxonomy = load_taxonomy()
    typed, listed, scores, evidence = [], [], [], []
    for answer in server.analyses(pictures.paths, progress):
        tensors = answer.tensors
        assert tensors is not None
        count = int(tensors.num_boxes[0])
        typed.append(Objects(tensors.boxes[:count], tensors.box_scores[:count], tensors.box_classes[:count]))
        listed.append(
            Objects(
                np.array([thing.box for thing in answer.objects], dtype=np.float64).reshape(-1, 4),
                np.array([thing.score for thing in answer.objects], dtype=np.float64),
                np.array([taxonomy.index(thing.category) for thing in answer.objects], dtype=np.int64),
            )
        )
        scores.append(tensors.category_scores)
        evidence.append(tensors.category_evidence)
    return CocoAnswers(pictures, typed, listed, np.stack(scores), np.stack(evidence))


@dataclass(frozen=True, slots=True, eq=False)
class FaceAnswers:
    """The largest face of every picture of P pairs."""

    pairs: Sequence[data.FacePair]
    faces: Mapping[Path, FoundFace | None]
    threshold: float
    """Similarity from which on two faces are taken for the same person's."""

    @property
    def similarity(self) -> Floats:
        """Cosine of the two embeddings, [P]; -1, the least there is, where a face was not found: it is nobody's."""
        return np.array([_similarity(self.faces[pair.a], self.faces[pair.b]) for pair in self.pairs])

    @property
    def same(self) -> npt.NDArray[np.bool_]:
        """Whether they are the same person's in truth, [P]."""
        return np.array([pair.same for pair in self.pairs])

    @property
    def right(self) -> npt.NDArray[np.bool_]:
        """Whether the threshold decides rightly, [P]."""
        return np.asarray((self.similarity >= self.threshold) == self.same)

    @property
    def missing(self) -> int:
        """Pictures in which no face was found."""
        return sum(face is None for face in self.faces.values())


def ask_faces(server: Server, folder: Path, limit: int | None, progress: Progress) -> FaceAnswers:
    """The embedding of the largest face of every picture."""
    pairs = data.faces(folder, limit)
    paths = face_pictures(pairs)

    async def infer(network: str, tensors: Tensors) -> Tensors:
        return server.infer(network, tensors)

    def embed(path: Path) -> FoundFace | None:
        pixels = server.infer("preprocess", {"IMAGE": np.array([[path.read_bytes()]], dtype=np.object_)})
        pictures = Pictures(pixels["CANVAS_PIXELS"], pixels["DETAIL_PIXELS"], pixels["IMAGE_SIZE"])
        face = _largest(asyncio.run(find_faces(pictures, infer, server.settings)))
        progress(1)
        return face

    with ThreadPoolExecutor(CONCURRENCY) as pool:
        found = dict(zip(paths, pool.map(embed, paths), strict=True))
    return FaceAnswers(pairs, found, server.settings.identity_threshold)


def _similarity(a: FoundFace | None, b: FoundFace | None) -> float:
    if a is None or b is None or a.embedding is None or b.embedding is None:
        return -1.0
    return float(a.embedding @ b.embedding)


def face_pictures(pairs: Sequence[data.FacePair]) -> list[Path]:
    """Every picture of the pairs, once."""
    return sorted({path for pair in pairs for path in (pair.a, pair.b)})


@dataclass(frozen=True, slots=True, eq=False)
class PlateAnswers:
    """What was read on N plates."""

    pictures: Sequence[data.LabelledPlate]
    read: Sequence[str]
    """Empty where no plate was found."""
    found: Sequence[PlateEntity | None]
    """Where the plate is in its photo; None where it was not found, and for plates that are cut out already."""

    @property
    def labels(self) -> list[str]:
        """What the plates say in truth."""
        return [picture.text for picture in self.pictures]

    @property
    def right(self) -> npt.NDArray[np.bool_]:
        """Whether a plate was read exactly, [N]."""
        return np.array([text == label for text, label in zip(self.read, self.labels, strict=True)])


def ask_plates(server: Server, folder: Path, limit: int | None, progress: Progress) -> PlateAnswers:
    """The most prominent plate of every photo: ``RESULT`` lists what is surest to be a plate before the rest."""
    pictures = data.plates(folder, limit)
    found = [
        answer.plates[0] if answer.plates else None
        for answer in server.analyses([picture.path for picture in pictures], progress)
    ]
    return PlateAnswers(pictures, ["" if plate is None else plate.text for plate in found], found)


def ask_plate_crops(server: Server, folder: Path, limit: int | None, progress: Progress) -> PlateAnswers:
    """Plates that are cut out and levelled already, through ``plate_reader``."""
    pictures = data.plate_crops(folder, limit)
    read: list[str] = []
    for start in range(0, len(pictures), PLATES_IN_A_CALL):
        group = pictures[start : start + PLATES_IN_A_CALL]
        answer = server.infer("plate_reader", {"PIXELS": np.stack([_plate_pixels(one.path) for one in group])})
        for row in range(len(group)):
            count = int(answer["NUM_CHARACTERS"][row, 0])
            read.append(plate_text(answer["CHARACTERS"][row], answer["CHARACTER_SCORES"][row], count)[0])
        progress(len(group))
    return PlateAnswers(pictures, read, [None] * len(pictures))


def _largest(faces: Sequence[FoundFace]) -> FoundFace | None:
    """The largest face that was embedded."""
    return max((face for face in faces if face.embedding is not None), key=lambda face: face.area, default=None)


def _plate_pixels(path: Path) -> npt.NDArray[np.uint8]:
    """A cut-out plate as ``plate_reader`` takes it: at the left, as high as the input, the rest grey."""
    picture = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if picture is None:
        raise SetupError(f"{path}: expected a picture of a plate, got a file that cannot be decoded")
    plate = cv2.cvtColor(picture, cv2.COLOR_BGR2RGB)
    width = int(np.clip(round(PLATE_HEIGHT * plate.shape[1] / plate.shape[0]), 1, PLATE_WIDTH))
    pixels = np.full(MODELS["plate_reader"].input("PIXELS").dims, PADDING, dtype=np.uint8)
    pixels[:, :width] = cv2.resize(plate, (width, PLATE_HEIGHT), interpolation=cv2.INTER_LINEAR)
    return pixels
