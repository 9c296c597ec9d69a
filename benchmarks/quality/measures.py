"""Each labelled set, put to the server and measured.

Everything goes through the served ensemble, but for two things that its answer does not hold: face embeddings, which
come from the served ``face_detector`` and ``face_embedder`` through the same code as the entity recognizer, and plates
that are already cut out, which go to the served ``plate_reader``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from benchmarks.quality import data, metrics
from benchmarks.served import ServedModels, Tensors
from trident.contract import ENSEMBLE, MODELS, PLATE_HEIGHT, PLATE_WIDTH
from trident.entities.faces import FoundFace, find_faces
from trident.entities.local import read_settings
from trident.entities.pictures import Pictures
from trident.entities.plates import PADDING, plate_text
from trident.entities.settings import Settings
from trident.fusion.evidence import CLASSIFIER, DETECTOR
from trident.fusion.taxonomy import load_taxonomy
from trident_client import Analysis, TridentClient

CONCURRENCY = 4
PLATES_IN_A_CALL = 32
REPOSITORY = Path(__file__).parents[2] / "model_repository"

Progress = Callable[[float], None]
"""Told how many more pictures are done."""


@dataclass(frozen=True, slots=True)
class Measure:
    """One figure, and the floor that it has to reach."""

    name: str
    value: float
    pictures: int
    floor: float | None = None
    unit: str = ""
    note: str = ""

    @property
    def reached(self) -> bool:
        """Whether the figure reaches its floor; one without a floor always does."""
        return self.floor is None or self.value >= self.floor


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
        self.settings = settings or read_settings(REPOSITORY)
        self.answered: dict[str, dict[str, object]] = {}
        """Version and digest of every model that has answered so far, from ``RESULT``."""

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


def measure_imagenet(server: Server, folder: Path, limit: int | None, progress: Progress) -> list[Measure]:
    """Top-1 and top-5 of ``scene``."""
    pictures = data.imagenet(folder, limit)
    wnids = load_taxonomy().wnids
    answers = server.analyses([picture.path for picture in pictures], progress)
    ranked_NK = np.array([[wnids.index(label.wnid) for label in answer.scene] for answer in answers])
    labels_N = np.array([picture.class_index for picture in pictures])
    return [
        Measure(f"ImageNet top-{k}", metrics.top_k_accuracy(ranked_NK, labels_N, k), len(pictures), floor)
        for k, floor in ((1, 0.88), (5, 0.96))
    ]


def measure_coco(server: Server, folder: Path, limit: int | None, progress: Progress) -> list[Measure]:
    """Boxes and image-level categories."""
    pictures = data.coco(folder, limit)
    taxonomy = load_taxonomy()
    typed: list[dict[str, Any]] = []
    listed: list[dict[str, Any]] = []
    scores: list[npt.NDArray[np.float32]] = []
    evidence: list[npt.NDArray[np.float32]] = []
    for image_id, answer in zip(pictures.image_ids, server.analyses(pictures.paths, progress), strict=True):
        tensors = answer.tensors
        assert tensors is not None
        for row in range(int(tensors.num_boxes[0])):
            coco_id = taxonomy.coco_ids[tensors.box_classes[row]]
            typed.append(_detection(image_id, coco_id, tensors.boxes[row].tolist(), tensors.box_scores[row]))
        for thing in answer.objects:
            coco_id = taxonomy.coco_ids[taxonomy.index(thing.category)]
            listed.append(_detection(image_id, coco_id, thing.box, thing.score))
        scores.append(tensors.category_scores)
        evidence.append(tensors.category_evidence)
    count = len(pictures.paths)
    box_map, box_ap50 = metrics.coco_map(pictures.truth, typed, pictures.image_ids)
    listed_map, _ = metrics.coco_map(pictures.truth, listed, pictures.image_ids)

    present_NC = pictures.present(taxonomy)
    fused_NC = np.stack(scores)
    # A silent branch ranks a picture last.
    evidence_NC3 = np.maximum(np.stack(evidence), 0.0)
    fused = metrics.image_level_map(present_NC, fused_NC)
    alone = {
        "detector": metrics.image_level_map(present_NC, evidence_NC3[..., DETECTOR]),
        "classifier": metrics.image_level_map(present_NC, evidence_NC3[..., CLASSIFIER]),
    }
    better = DETECTOR if alone["detector"] >= alone["classifier"] else CLASSIFIER
    low, high = metrics.bootstrap_interval(present_NC, fused_NC, evidence_NC3[..., better])
    categories = int(present_NC.any(axis=0).sum())
    return [
        Measure("COCO mAP@[.5:.95]", box_map, count, 0.34, note="typed boxes, up to 100 a picture"),
        Measure("COCO AP50", box_ap50, count),
        Measure("COCO mAP of RESULT objects", listed_map, count, note="mAP@[.5:.95], scores of at least 0.05"),
        Measure("Categories, image-level mAP", fused, count, note=f"{categories} categories"),
        Measure("Categories, detector alone", alone["detector"], count),
        Measure("Categories, classifier alone", alone["classifier"], count),
        Measure(
            "Categories, gain in points",
            100 * (fused - max(alone.values())),
            count,
            1.0,
            unit="points",
            note=f"over the better branch alone; 95 % of resamples: {100 * low:+.1f} to {100 * high:+.1f}",
        ),
    ]


def measure_faces(server: Server, folder: Path, limit: int | None, progress: Progress) -> list[Measure]:
    """Pairs of faces: the same person exactly where the similarity reaches the recognizer's threshold."""
    pairs = data.faces(folder, limit)
    settings = server.settings
    paths = sorted({path for pair in pairs for path in (pair.a, pair.b)})

    async def infer(network: str, tensors: Tensors) -> Tensors:
        return server.models.infer(network, tensors)

    def embed(path: Path) -> npt.NDArray[np.float32] | None:
        pixels = server.models.preprocess(path)
        pictures = Pictures(pixels["CANVAS_PIXELS"], pixels["DETAIL_PIXELS"], pixels["IMAGE_SIZE"])
        face = _largest(asyncio.run(find_faces(pictures, infer, settings)))
        progress(1)
        return None if face is None else face.embedding

    with ThreadPoolExecutor(CONCURRENCY) as pool:
        embeddings = dict(zip(paths, pool.map(embed, paths), strict=True))
    right = 0
    for pair in pairs:
        a, b = embeddings[pair.a], embeddings[pair.b]
        # A face that is not found is nobody's: such a pair cannot count as the same person.
        same = a is not None and b is not None and float(a @ b) >= settings.identity_threshold
        right += same == pair.same
    missing = sum(embedding is None for embedding in embeddings.values())
    return [
        Measure(
            "Faces, pairs right",
            right / len(pairs),
            len(paths),
            0.98,
            note=f"{len(pairs)} pairs, similarity {settings.identity_threshold:g}, {missing} without a face; "
            "served face_detector and face_embedder",
        )
    ]


def measure_plates(server: Server, folder: Path, limit: int | None, progress: Progress) -> list[Measure]:
    """Plates in whole photos: the one with the best score."""
    pictures = data.plates(folder, limit)
    read = []
    for answer in server.analyses([picture.path for picture in pictures], progress):
        # The most prominent is the first: RESULT lists what is surest to be a plate before the rest.
        read.append(answer.plates[0].text if answer.plates else "")
    exact, characters = metrics.text_accuracy(read, [picture.text for picture in pictures])
    return [
        Measure("Plates in photos, exact", exact, len(pictures), 0.80),
        Measure("Plates in photos, characters", characters, len(pictures), 0.96),
    ]


def measure_plate_crops(server: Server, folder: Path, limit: int | None, progress: Progress) -> list[Measure]:
    """Plates that are cut out and levelled already, through ``plate_reader``."""
    pictures = data.plate_crops(folder, limit)
    read: list[str] = []
    for start in range(0, len(pictures), PLATES_IN_A_CALL):
        group = pictures[start : start + PLATES_IN_A_CALL]
        answer = server.models.infer("plate_reader", {"PIXELS": np.stack([_plate_pixels(one.path) for one in group])})
        for row in range(len(group)):
            count = int(answer["NUM_CHARACTERS"][row, 0])
            read.append(plate_text(answer["CHARACTERS"][row], answer["CHARACTER_SCORES"][row], count)[0])
        progress(len(group))
    exact, characters = metrics.text_accuracy(read, [picture.text for picture in pictures])
    note = "served plate_reader"
    return [
        Measure("Cut-out plates, exact", exact, len(pictures), 0.97, note=note),
        Measure("Cut-out plates, characters", characters, len(pictures), note=note),
    ]


@dataclass(frozen=True, slots=True)
class LabelledSet:
    """One of the sets that can be measured."""

    name: str
    """One of ``trident.rollout.golden.LABELLED_SETS``."""
    count: Callable[[Path, int | None], int]
    """How many pictures will be asked for."""
    measure: Callable[[Server, Path, int | None, Progress], list[Measure]]


SETS: tuple[LabelledSet, ...] = (
    LabelledSet("imagenet", lambda folder, limit: len(data.imagenet(folder, limit)), measure_imagenet),
    LabelledSet("coco", lambda folder, limit: len(data.coco(folder, limit).paths), measure_coco),
    LabelledSet(
        "faces",
        lambda folder, limit: len({path for pair in data.faces(folder, limit) for path in (pair.a, pair.b)}),
        measure_faces,
    ),
    LabelledSet("plates", lambda folder, limit: len(data.plates(folder, limit)), measure_plates),
    LabelledSet("plate_crops", lambda folder, limit: len(data.plate_crops(folder, limit)), measure_plate_crops),
)


def _detection(image_id: int, coco_id: int, box: Sequence[float], score: float) -> dict[str, Any]:
    x1, y1, x2, y2 = (float(side) for side in box)
    return {"image_id": image_id, "category_id": coco_id, "bbox": [x1, y1, x2 - x1, y2 - y1], "score": float(score)}


def _largest(faces: Sequence[FoundFace]) -> FoundFace | None:
    """The largest face that was embedded."""
    embedded = [face for face in faces if face.embedding is not None]
    return max(embedded, key=lambda face: (face.box[2] - face.box[0]) * (face.box[3] - face.box[1]), default=None)


def _plate_pixels(path: Path) -> npt.NDArray[np.uint8]:
    """A cut-out plate as ``plate_reader`` takes it: at the left, as high as the input, the rest grey."""
    plate = cv2.cvtColor(cv2.imread(str(path), cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
    width = int(np.clip(round(PLATE_HEIGHT * plate.shape[1] / plate.shape[0]), 1, PLATE_WIDTH))
    pixels = np.full(MODELS["plate_reader"].input("PIXELS").dims, PADDING, dtype=np.uint8)
    pixels[:, :width] = cv2.resize(plate, (width, PLATE_HEIGHT), interpolation=cv2.INTER_LINEAR)
    return pixels
