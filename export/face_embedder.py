"""The face embedder's network: HSE-FaceRes, a MobileNet whose pooled features tell faces apart."""

from __future__ import annotations

import re

import numpy as np
import onnx

from export import tfjs
from export.graph import Graph
from export.sources import Answers, Asset, Files, NetworkVersion, Pixels, Reference
from trident.contract import FACE_SIDE

DIMENSIONS = 1024
"""Length of the embedding."""
_MEAN = (103.939, 116.779, 123.68)
"""Of the channels blue, green, red, as for VGGFace2."""
_INPUT = "input_1"
_FEATURES = "global_pooling/Mean"


def build(files: Files) -> onnx.ModelProto:
    """Aligned faces to the pooled features, scaled to length 1."""
    graph = Graph("face_embedder")
    planes = graph.normalise(graph.planes(), _MEAN[::-1])
    tfjs.convert(
        graph,
        tfjs.read(files["faceres.json"], files["faceres.bin"]),
        {_INPUT: (planes, (1, FACE_SIDE, FACE_SIDE, 3), tfjs.NHWC)},
        {_FEATURES: "features"},
        rename=_name,
    )
    graph.read_bgr(planes)
    length = graph.node("ReduceL2", ["features", graph.integers("last_axis", [-1])], "feature_length", keepdims=1)
    # A picture without any feature has no direction: zeros rather than not-a-number.
    safe = graph.node("Max", [length, graph.floats("shortest_length", 1e-12)], "feature_length_safe")
    graph.node("Div", ["features", safe], "EMBEDDING")
    return graph.finish(dims={"EMBEDDING": (DIMENSIONS,)})


def _name(node: str) -> str:
    """``conv_dw_1_relu/clip_by_value`` to ``conv_dw_1_relu``, and so on."""
    return re.sub(r"/.*$", "", node)


def reference(files: Files) -> Reference:
    """The published graph, evaluated with TensorFlow.js."""

    def answer(pixels: Pixels) -> Answers:
        pictures = pixels[..., ::-1].astype(np.float32) - np.array(_MEAN, dtype=np.float32)
        features = tfjs.evaluate(files, "faceres", _INPUT, pictures, [_FEATURES])[_FEATURES]
        length = np.linalg.norm(features, axis=1, keepdims=True)
        return {"features": features, "EMBEDDING": features / length}

    return answer


_HUMAN = "@vladmandic/human"
_HUMAN_VERSION = "3.3.6"
_HUMAN_REPOSITORY = "https://github.com/vladmandic/human"

VERSIONS = (
    NetworkVersion(
        component="face_embedder",
        version=1,
        name="HSE-FaceRes",
        assets=(
            Asset(
                "npm",
                _HUMAN,
                _HUMAN_VERSION,
                "models/faceres.json",
                "5b83d49c0385d2e68a05122441b94226313677cae9fcc40b9587ad50079eb4df",
                "MIT",
                _HUMAN_REPOSITORY,
            ),
            Asset(
                "npm",
                _HUMAN,
                _HUMAN_VERSION,
                "models/faceres.bin",
                "2c7d2d62b76c97528b736527aa09d310ea71743c9e3e79fb6c62d4b2d73af79b",
                "MIT",
                _HUMAN_REPOSITORY,
            ),
        ),
        reference_assets=tfjs.RUNTIME,
        licence="MIT, as published; the author's repository was not checked",
        repository="https://github.com/HSE-asavchenko/HSE_FaceRec_tf",
        preprocessing="BGR, minus (103.939, 116.779, 123.68); a face aligned to the five-point template at 224",
        classes="",
        build=build,
        reference=reference,
    ),
)
