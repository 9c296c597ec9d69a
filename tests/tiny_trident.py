"""A whole model repository whose networks are constants: all of Trident but the time that real networks take.

``write_repository(folder)`` writes it. The configurations and the Python models are the project's own; the networks
take the contract's pixels and give the same answer to every picture: a minivan, a car with a licence plate that reads
皖A06725, and the face of a person whom no gallery knows. So every component takes part in every answer, and a live
test can ask hundreds of times, and swap dozens of versions, in seconds::

    repository = write_repository(tmp_path / "models")
    with TritonServer(repository, grpc_port=0, http_port=0, metrics_port=0,
                      env={"TRIDENT_GALLERY_URL": f"sqlite:///{tmp_path}/gallery.db"}) as server:
        ...

Every component has the versions 1 and 2, of which 1 is served and pinned. How they are told apart:

- ``RESULT["models"]`` names version and digest (``digests_of`` gives those of the networks).
- A network's scores are ``score_of(version)``, 0.91 for version 1 and 0.92 for version 2: the classifier's best class,
  the detectors' boxes, the reader's characters. So the versions agree within any sensible limit. The embedder's
  versions are one network: they have one digest, so a gallery fits both.
- For components named in ``differing``, versions from 2 on answer otherwise: the classifier says football helmet
  instead of minivan, the detector says dog, the face and plate detectors see it elsewhere, the reader reads 京B99999,
  and the embedder gives a vector at right angles.
- The version 2 of a Python model is the same code with another last line, a comment.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx

from export.build import write_model
from export.graph import PIXELS, Graph
from export.signature import check_signature, with_provenance
from trident.contract import ENSEMBLE, MAX_BOXES, MAX_CHARACTERS, NETWORKS, NUM_CLASSES, TOP_K
from trident.layout import DEFAULT_REPOSITORY, RECORD_FILE

PLATE, OTHER_PLATE = "皖A06725", "京B99999"
MINIVAN, HELMET = 656, 560
CAR, DOG = 2, 16
EMBEDDING_SIDE = 1024

CAR_BOX = (20.0, 60.0, 600.0, 400.0)
# Where the second look shows the plate of the first one again: in the middle of its tile, half as wide.
PLATE_BOX = (80.0, 134.0, 240.0, 186.0)
FACE_BOX = (300.0, 80.0, 380.0, 180.0)
FACE_POINTS = ((322.0, 120.0), (358.0, 120.0), (340.0, 140.0), (325.0, 160.0), (355.0, 160.0))
AWAY = 150.0
"""How far right of its place a differing detector sees what it sees, in canvas pixels."""

Answers = dict[str, npt.NDArray[Any]]


def score_of(version: int) -> float:
    """The score that a version of a network gives to all that it finds."""
    return 0.9 + 0.01 * version


def write_repository(folder: Path, *, versions: int = 2, differing: Collection[str] = ()) -> Path:
    """Write a repository that serves version 1 of every component.

    Args:
        folder: Made if it is not there.
        versions: How many versions of each component there are.
        differing: Components whose versions from 2 on answer otherwise.

    Returns:
        ``folder``.
    """
    for source in sorted(DEFAULT_REPOSITORY.glob("*/config.pbtxt")):
        component = source.parent.name
        shutil.copytree(
            source.parent, folder / component, ignore=shutil.ignore_patterns("__pycache__", "*.md", "[0-9]*")
        )
        if component in NETWORKS:
            for version in range(1, versions + 1):
                write_network(folder, component, version, differs=component in differing and version > 1)
        elif component == ENSEMBLE:
            (folder / component / "1").mkdir()
        else:
            write_python_versions(folder, component, versions)
    return folder


def write_python_versions(folder: Path, component: str, versions: int) -> None:
    """Write versions of a Python component: the project's version 1, and copies that differ in a comment."""
    for version in range(1, versions + 1):
        target = folder / component / str(version)
        shutil.copytree(
            DEFAULT_REPOSITORY / component / "1", target, ignore=shutil.ignore_patterns("__pycache__", "*.md")
        )
        if version > 1:
            with (target / "model.py").open("a", encoding="utf-8") as code:
                code.write(f"# Version {version}.\n")


def write_network(folder: Path, component: str, version: int, *, differs: bool = False) -> Path:
    """Write one version of a network, and its record, into ``folder``; gives the version's folder."""
    model, provenance = with_provenance(constant_network(component, answers(component, version, differs)), version)
    check_signature(model, component)
    place = folder / component / str(version)
    record = {"name": f"constant {component}", "digest": provenance.digest, "own": {"file": "tiny_trident.py"}}
    classes = {"classifier": "imagenet-1k", "detector": "coco-80"}.get(component)
    write_model(model, place, record | ({"classes": classes} if classes else {}), None)
    return place


def digests_of(folder: Path, component: str) -> dict[int, str]:
    """The digest of every version of a network that is in the repository, as its record has it."""
    records = (json.loads(file.read_text()) for file in (folder / component).glob(f"[0-9]*/{RECORD_FILE}"))
    return {record["version"]: record["digest"] for record in records}


def constant_network(component: str, values: Answers) -> onnx.ModelProto:
    """A network of the component that gives ``values``, without the batch, for every picture of a batch."""
    graph = Graph(component)
    count = graph.node("Shape", [PIXELS], "pictures", start=0, end=1)
    dims = {}
    for name, value in values.items():
        row = graph.constant(f"{name}_row", value[None])
        size = graph.integers(f"{name}_dims", list(value.shape))
        shape = graph.node("Concat", [count, size], f"{name}_shape", axis=0)
        graph.node("Expand", [row, shape], name)
        dims[name] = value.shape
    return graph.finish(dims=dims)


def answers(component: str, version: int, differs: bool = False) -> Answers:
    """What a version answers to every picture, without the batch."""
    score = score_of(version)
    shift = AWAY if differs else 0.0
    match component:
        case "classifier":
            return _classified(HELMET if differs else MINIVAN, score)
        case "detector":
            return _boxes(CAR_BOX, score) | {"CLASSES": _padded([DOG if differs else CAR], (MAX_BOXES,), np.int32)}
        case "face_detector":
            moved = np.add(FACE_BOX, (shift, 0, shift, 0))
            points = np.add(FACE_POINTS, (shift, 0))
            return _boxes(moved, score) | {"LANDMARKS": _padded([points], (MAX_BOXES, len(points), 2), np.float32)}
        case "plate_detector":
            x1, y1, x2, y2 = np.add(PLATE_BOX, (shift, 0, shift, 0))
            corners = [[(x1, y1), (x2, y1), (x2, y2), (x1, y2)]]
            return _boxes((x1, y1, x2, y2), score) | {"CORNERS": _padded(corners, (MAX_BOXES, 4, 2), np.float32)}
        case "face_embedder":
            embedding = np.zeros(EMBEDDING_SIDE, dtype=np.float32)
            embedding[version if differs else 0] = 1.0
            return {"EMBEDDING": embedding}
        case "plate_reader":
            text = OTHER_PLATE if differs else PLATE
            return {
                "CHARACTERS": _padded([ord(character) for character in text], (MAX_CHARACTERS,), np.int32),
                "CHARACTER_SCORES": _padded([score] * len(text), (MAX_CHARACTERS,), np.float32),
                "NUM_CHARACTERS": np.array([len(text)], dtype=np.int32),
            }
    raise KeyError(component)


def _classified(best: int, score: float) -> Answers:
    """The rest of the probability lies on the four classes after the best."""
    indices = (best + np.arange(TOP_K)) % NUM_CLASSES
    scores = np.array([score, *[(1 - score) / (TOP_K - 1)] * (TOP_K - 1)], dtype=np.float32)
    probabilities = np.zeros(NUM_CLASSES, dtype=np.float32)
    probabilities[indices] = scores
    return {"PROBABILITIES": probabilities, "TOP_CLASSES": indices.astype(np.int32), "TOP_SCORES": scores}


def _boxes(box: npt.ArrayLike, score: float) -> Answers:
    return {
        "BOXES": _padded([box], (MAX_BOXES, 4), np.float32),
        "SCORES": _padded([score], (MAX_BOXES,), np.float32),
        "NUM_BOXES": np.array([1], dtype=np.int32),
    }


def _padded(rows: Any, shape: tuple[int, ...], dtype: npt.DTypeLike) -> npt.NDArray[Any]:
    whole = np.zeros(shape, dtype=dtype)
    whole[: len(rows)] = rows
    return whole
