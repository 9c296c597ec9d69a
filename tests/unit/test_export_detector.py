"""The detectors' decoding against plain numpy, on maps with planted objects."""

import numpy as np
import pytest

from export.detector import (
    CENTERNET_SIDE,
    NANODET_BINS,
    NANODET_SIDE,
    NANODET_STRIDES,
    VERSIONS,
    decode_centernet,
    decode_nanodet,
)
from export.graph import Graph
from export.parity import with_extra_outputs
from export.session import open_session
from trident.contract import CANVAS_SIDE, NUM_CATEGORIES

BACKGROUND = -9.0
NAMES = ["BOXES", "SCORES", "CLASSES", "NUM_BOXES"]


def sigmoid(x):
    return 1.0 / (1.0 + np.exp(-np.asarray(x, dtype=np.float64)))


def decoded(graph, batch):
    pixels = np.zeros((batch, CANVAS_SIDE, CANVAS_SIDE, 3), np.uint8)
    return dict(zip(NAMES, open_session(graph.finish()).run(NAMES, {"PIXELS": pixels}), strict=True))


def test_centernet_peaks_become_boxes_on_the_canvas():
    cells = CENTERNET_SIDE // 4
    logits = np.full((2, NUM_CATEGORIES, cells, cells), BACKGROUND, np.float32)
    sides = np.zeros((2, 4, cells, cells), np.float32)
    # Picture 0: a dog (16) at column 30, row 50, whose neighbour is weaker and no peak of its own; a car (2) beside it.
    logits[0, 16, 50, 30], logits[0, 16, 50, 31] = 2.0, 1.9
    sides[0, :, 50, 30] = (20, 40, 60, 80)
    logits[0, 2, 52, 30] = 3.0
    sides[0, :, 52, 30] = (8, 8, 8, 8)
    # Picture 1: one person that reaches beyond the canvas.
    logits[1, 0, 0, 127] = 1.0
    sides[1, :, 0, 127] = (30, 30, 30, 30)

    graph = Graph("detector")
    graph.floats("category_logits", logits)
    graph.floats("side_distances", sides)
    decode_centernet(graph)
    got = decoded(graph, 2)

    scale = CANVAS_SIDE / CENTERNET_SIDE
    assert got["NUM_BOXES"].tolist() == [[2], [1]]
    assert got["CLASSES"][:, :3].tolist() == [[2, 16, 0], [0, 0, 0]]
    np.testing.assert_allclose(got["SCORES"][0, :3], [sigmoid(3.0), sigmoid(2.0), 0.0], rtol=1e-5)
    np.testing.assert_allclose(got["BOXES"][0, 0], np.array([112, 200, 128, 216]) * scale, rtol=1e-6)
    np.testing.assert_allclose(got["BOXES"][0, 1], np.array([100, 160, 180, 280]) * scale, rtol=1e-6)
    np.testing.assert_allclose(got["BOXES"][1, 0], [(508 - 30) * scale, 0, CANVAS_SIDE, 30 * scale], rtol=1e-6)
    assert not got["BOXES"][0, 2:].any()


@pytest.mark.parametrize(("first", "second", "kept"), [(16, 16, 1), (16, 17, 2)])
def test_centernet_suppresses_within_a_category_only(first, second, kept):
    cells = CENTERNET_SIDE // 4
    logits = np.full((1, NUM_CATEGORIES, cells, cells), BACKGROUND, np.float32)
    sides = np.full((1, 4, cells, cells), 80.0, np.float32)
    logits[0, first, 60, 60] = 2.0
    logits[0, second, 60, 63] = 1.0  # two cells away and almost the same box
    graph = Graph("detector")
    graph.floats("category_logits", logits)
    graph.floats("side_distances", sides)
    decode_centernet(graph)
    assert decoded(graph, 1)["NUM_BOXES"].tolist() == [[kept]]


def test_nanodet_distances_are_expected_bins():
    graph = Graph("detector")
    bins = np.random.default_rng(5).normal(size=(4, NANODET_BINS))
    chances = np.exp(bins) / np.exp(bins).sum(axis=1, keepdims=True)
    distances = (chances * np.arange(NANODET_BINS)).sum(axis=1)
    planted = {8: (4, 40, 20, 2.5), 16: (60, 13, 12, 1.5), 32: (79, 6, 7, 0.5)}  # category, column, row, logit
    for stride in NANODET_STRIDES:
        side = NANODET_SIDE // stride
        head = np.zeros((1, NUM_CATEGORIES + 4 * NANODET_BINS, side, side), np.float32)
        head[:, :NUM_CATEGORIES] = BACKGROUND
        category, column, row, logit = planted[stride]
        head[0, category, row, column] = logit
        head[0, NUM_CATEGORIES:, row, column] = bins.reshape(-1)
        graph.floats(f"head_stride{stride}", head)
    decode_nanodet(graph)
    got = decoded(graph, 1)

    assert got["NUM_BOXES"].tolist() == [[3]]
    assert got["CLASSES"][0, :3].tolist() == [4, 60, 79]
    np.testing.assert_allclose(got["SCORES"][0, :3], sigmoid([2.5, 1.5, 0.5]), rtol=1e-5)
    for box, stride in zip(got["BOXES"][0], NANODET_STRIDES, strict=False):
        _, column, row, _ = planted[stride]
        centre = np.array([column, row, column, row]) + 0.5
        expected = (centre + distances * [-1, -1, 1, 1]) * stride * CANVAS_SIDE / NANODET_SIDE
        np.testing.assert_allclose(box, expected.clip(0, CANVAS_SIDE), rtol=1e-4)


def centernet_maps(generator):
    cells = CENTERNET_SIDE // 4
    maps = {
        "category_logits": generator.normal(-8, 2, (2, NUM_CATEGORIES, cells, cells)),
        "side_distances": generator.uniform(0, 90, (2, 4, cells, cells)),
    }
    return maps, maps


def nanodet_maps(generator):
    heads = {
        f"head_stride{stride}": generator.normal(
            -4, 1.5, (2, NUM_CATEGORIES + 4 * NANODET_BINS, NANODET_SIDE // stride, NANODET_SIDE // stride)
        )
        for stride in NANODET_STRIDES
    }
    rows = np.concatenate([head.reshape(*head.shape[:2], -1) for head in heads.values()], axis=2)
    return heads, {"category_logits": rows[:, :NUM_CATEGORIES], "side_logits": rows[:, NUM_CATEGORIES:]}


@pytest.mark.parametrize(
    ("network", "decode", "maps"),
    [
        pytest.param(VERSIONS[0], decode_centernet, centernet_maps, id="CenterNet"),
        pytest.param(VERSIONS[1], decode_nanodet, nanodet_maps, id="NanoDet"),
    ],
)
def test_numpy_works_out_the_same_of_any_maps(network, decode, maps):
    made, published = maps(np.random.default_rng(6))
    graph = Graph("detector")
    for name, values in made.items():
        graph.floats(name, values)
    decode(graph)
    names = [*NAMES, *network.decoding.reads]
    session = open_session(with_extra_outputs(graph.finish(), network.decoding.reads))
    pixels = np.zeros((2, CANVAS_SIDE, CANVAS_SIDE, 3), np.uint8)
    got = dict(zip(names, session.run(names, {"PIXELS": pixels}), strict=True))

    expected = network.decoding.expected(published, got)
    assert set(expected) == {*NAMES, "candidate_logits", "candidate_class", "candidate_boxes"}
    assert expected["NUM_BOXES"].min() > 50
    for name, values in expected.items():
        np.testing.assert_allclose(got[name], values, rtol=1e-4, atol=1e-3, err_msg=name)
