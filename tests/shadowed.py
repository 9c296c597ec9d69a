"""A server made of functions, in which every version of every component answers as the contract says."""

import json
import threading

import numpy as np

from trident.contract import (
    CALLED,
    COMPONENTS,
    ENTITY_PROVENANCE_ORDER,
    MAX_BOXES,
    MAX_CHARACTERS,
    MODELS,
    NUM_CATEGORIES,
    NUM_CLASSES,
    PROVENANCE_BYTES,
)
from trident.entities.settings import Settings
from trident.preprocess import prepare
from trident.provenance import Provenance, pack
from trident.rollout.serving import Statistics

CAR = 2
TEXT = "皖A06725"
FACE_BOX = (100.0, 100.0, 200.0, 200.0)
LANDMARKS = ((125.0, 135.0), (175.0, 135.0), (150.0, 160.0), (130.0, 180.0), (170.0, 180.0))
PLATE_BOX = (300.0, 300.0, 400.0, 330.0)
CORNERS = ((300.0, 300.0), (400.0, 300.0), (400.0, 330.0), (300.0, 330.0))
BEFORE = dict.fromkeys(COMPONENTS, 1)
SETTINGS = Settings(
    versions=dict.fromkeys(CALLED, 1),
    min_score=0.05,
    min_face_score=0.3,
    min_plate_candidate=0.02,
    identity_threshold=0.6,
    max_crops_per_call=64,
    max_canvases_per_call=8,
    gallery_url="",
    gallery_poll_seconds=1.0,
)
"""Of the entity recognizer."""


def digest(component):
    """The same for all versions, as that of a network which was only given another number."""
    return f"sha256:{COMPONENTS.index(component):064x}"


def row(component, version):
    return pack(Provenance(version, digest(component)))


def boxes_like(count, **rows):
    """A detector's outputs for ``count`` pictures with the same single find in each."""
    answer = {"NUM_BOXES": np.ones((count, 1), np.int32)}
    for name, find in rows.items():
        value = np.asarray(find)
        kind = np.int32 if name.endswith("CLASSES") else np.float32
        answer[name] = np.zeros((count, MAX_BOXES, *value.shape), kind)
        answer[name][:, 0] = value
    return answer


def read_as(text, count):
    """A plate reader's outputs."""
    answer = {
        "CHARACTERS": np.zeros((count, MAX_CHARACTERS), np.int32),
        "CHARACTER_SCORES": np.zeros((count, MAX_CHARACTERS), np.float32),
        "NUM_CHARACTERS": np.full((count, 1), len(text), np.int32),
    }
    answer["CHARACTERS"][:, : len(text)] = [ord(character) for character in text]
    answer["CHARACTER_SCORES"][:, : len(text)] = 0.9
    return answer


def entities(text=TEXT, name=None):
    identity = None if name is None else {"name": name, "similarity": 0.9}
    return [
        {"type": "face", "score": 0.9, "box": list(FACE_BOX), "landmarks": LANDMARKS, "identity": identity},
        {
            **{"type": "plate", "score": 0.8, "box": list(PLATE_BOX), "corners": CORNERS},
            **{"text": text, "text_score": 0.9},
        },
    ]


def result_of(release, category="car", score=0.8):
    document = {
        "schema": 1,
        "image": {"width": 64, "height": 48},
        "scene": [],
        "categories": [{"name": category, "score": score, "evidence": {}}],
        "objects": [{"category": category, "score": score, "box": [1, 2, 30, 40], "fine_label": None, "entities": []}],
        "entities": [{**one, "object": None} for one in entities()],
        "models": {name: {"version": version, "digest": digest(name)} for name, version in release.items()},
    }
    return json.dumps(document, ensure_ascii=False).encode()


def fused_like(release, **changes):
    answer = boxes_like(1, BOXES=(1.0, 2.0, 30.0, 40.0), BOX_SCORES=0.8, BOX_CLASSES=CAR)
    answer["CATEGORY_SCORES"] = np.zeros((1, NUM_CATEGORIES), np.float32)
    answer["CATEGORY_SCORES"][0, CAR] = 0.8
    answer["CATEGORY_EVIDENCE"] = np.zeros((1, NUM_CATEGORIES, 3), np.float32)
    answer["CLASS_PROBABILITIES"] = np.full((1, NUM_CLASSES), 1 / NUM_CLASSES, np.float32)
    answer["RESULT"] = np.array([[result_of(release)]], dtype=np.object_)
    return answer | changes


def classified(best=7, score=0.8):
    probabilities = np.full((1, NUM_CLASSES), (1 - score) / (NUM_CLASSES - 1), np.float32)
    probabilities[0, best] = score
    top = np.argsort(-probabilities, axis=1)[:, :5]
    return {
        "PROBABILITIES": probabilities,
        "TOP_CLASSES": top.astype(np.int32),
        "TOP_SCORES": np.take_along_axis(probabilities, top, axis=1),
    }


class FakeServing:
    """Answers every call; ``instead`` replaces what a version of a model answers, or raises."""

    url = "127.0.0.1:0"

    def __init__(self, after=None):
        self.after = {**BEFORE, **(after or {})}
        self.instead = {}
        self.calls = []
        self._lock = threading.Lock()

    def answer(self, model, tensors, version):
        batch = len(next(iter(tensors.values())))
        if model == "preprocess":
            made = prepare(tensors["IMAGE"][0, 0])
            return {
                "SCENE_PIXELS": made.scene[None],
                "CANVAS_PIXELS": made.canvas[None],
                "DETAIL_PIXELS": made.detail[None],
                "IMAGE_SIZE": np.array([[made.width, made.height]], np.int32),
            }
        if model == "classifier":
            return classified()
        if model == "detector":
            return boxes_like(batch, BOXES=(10.0, 10.0, 300.0, 300.0), SCORES=0.7, CLASSES=CAR)
        if model == "face_detector":
            return boxes_like(batch, BOXES=FACE_BOX, SCORES=0.9, LANDMARKS=LANDMARKS)
        if model == "plate_detector":
            return boxes_like(batch, BOXES=PLATE_BOX, SCORES=0.8, CORNERS=CORNERS)
        if model == "face_embedder":
            return {"EMBEDDING": np.tile(np.array([0.6, 0.8], np.float32), (batch, 1))}
        if model == "plate_reader":
            return read_as(TEXT, batch)
        if model == "entity_recognizer":
            return {"ENTITIES": np.array([[json.dumps(entities()).encode()]], dtype=np.object_)}
        if model == "fusion":
            # It names what it was given, and itself.
            return fused_like({**BEFORE, "fusion": version})
        release = self.after if model == "trident_candidate" else BEFORE
        return fused_like(release)

    def infer(self, model, tensors, *, version=None, like=None, outputs=None):
        with self._lock:
            self.calls.append((model, version))
        assert set(tensors) >= {spec.name for spec in MODELS[like or model].inputs}
        instead = self.instead.get((model, version))
        answer = self.answer(model, tensors, version) if instead is None else instead(tensors)
        batch = len(next(iter(tensors.values())))
        if model in COMPONENTS and model != "fusion" and "PROVENANCE" not in answer:
            answer["PROVENANCE"] = np.tile(row(model, version), (batch, 1))
            if model == "entity_recognizer":
                rows = np.zeros((batch, len(ENTITY_PROVENANCE_ORDER), PROVENANCE_BYTES), np.uint8)
                release = BEFORE if version == BEFORE[model] else self.after
                for place, name in enumerate(ENTITY_PROVENANCE_ORDER):
                    rows[:, place] = row(name, release[name])
                answer["PROVENANCE"] = rows
        return answer if outputs is None else {name: answer.get(name) for name in outputs}

    def ready(self, model, version=None):
        return True

    def states(self, model):
        return {1: "READY"}

    def config(self, model):
        raise NotImplementedError

    def load(self, model, config=None, files=None):
        raise NotImplementedError

    def unload(self, model):
        raise NotImplementedError

    def statistics(self, model, version=None):
        return Statistics()
