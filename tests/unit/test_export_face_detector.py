"""Decoding of CenterFace's maps."""

import numpy as np
import onnx
import pytest

from export.face_detector import CELLS, VERSIONS, candidates, decode
from export.graph import Graph
from export.parity import with_extra_outputs
from export.session import open_session
from trident.contract import CANVAS_SIDE, MAX_BOXES

MAPS = {"heatmap": 1, "log_sizes": 2, "offsets": 2, "landmarks": 10}
OUTPUTS = ["BOXES", "SCORES", "LANDMARKS", "NUM_BOXES"]


@pytest.fixture(scope="module")
def model():
    graph = Graph("face_detector")
    decode(graph, *MAPS)
    shape = {name: ["batch", channels, CELLS, CELLS] for name, channels in MAPS.items()}
    return onnx.helper.make_model(
        onnx.helper.make_graph(
            graph._nodes,
            "decode",
            [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, dims) for name, dims in shape.items()],
            [onnx.helper.make_empty_tensor_value_info(name) for name in OUTPUTS],
            list(graph._initializers.values()),
        ),
        opset_imports=[onnx.helper.make_opsetid("", 18)],
        ir_version=8,
    )


@pytest.fixture(scope="module")
def session(model):
    return open_session(model)


def maps(batch=1):
    return {name: np.zeros((batch, channels, CELLS, CELLS), dtype=np.float32) for name, channels in MAPS.items()}


def put(given, item, row, column, score, *, size=(40.0, 80.0), offset=(0.0, 0.0), landmarks=()):
    """A face of ``size`` (width, height) pixels; offset (x, y) in cells; landmarks (x, y) in sizes."""
    given["heatmap"][item, 0, row, column] = score
    given["log_sizes"][item, :, row, column] = np.log(np.array(size[::-1]) / 4)
    given["offsets"][item, :, row, column] = offset[::-1]
    for i, (x, y) in enumerate(landmarks):
        given["landmarks"][item, 2 * i : 2 * i + 2, row, column] = (y, x)


def detect(session, given):
    return dict(zip(OUTPUTS, session.run(OUTPUTS, given), strict=True))


def test_face_is_where_its_cell_and_offset_say(session):
    given = maps()
    points = [(0.25, 0.375), (0.75, 0.375), (0.5, 0.5), (0.25, 0.75), (0.75, 0.875)]
    put(given, 0, 50, 100, 0.9, size=(40, 80), offset=(0.25, -0.25), landmarks=points)
    found = detect(session, given)
    assert found["NUM_BOXES"].tolist() == [[1]]
    x, y = (100 + 0.25 + 0.5) * 4, (50 - 0.25 + 0.5) * 4
    np.testing.assert_allclose(found["BOXES"][0, 0], [x - 20, y - 40, x + 20, y + 40], atol=1e-3)
    expected = np.array([x - 20, y - 40]) + np.array(points) * (40, 80)
    np.testing.assert_allclose(found["LANDMARKS"][0, 0], expected, atol=1e-3)
    assert not found["BOXES"][0, 1:].any()
    assert not found["LANDMARKS"][0, 1:].any()


def test_best_of_overlapping_faces_stays(session):
    given = maps()
    put(given, 0, 50, 100, 0.6)
    put(given, 0, 51, 100, 0.8)
    put(given, 0, 52, 101, 0.7)
    put(given, 0, 10, 10, 0.3)
    found = detect(session, given)
    assert found["NUM_BOXES"].tolist() == [[2]]
    np.testing.assert_allclose(found["SCORES"][0, :3], [0.8, 0.3, 0.0])


def test_pictures_of_a_batch_keep_their_own_faces(session):
    given = maps(3)
    put(given, 0, 20, 20, 0.5)
    put(given, 2, 20, 20, 0.7)
    put(given, 2, 120, 120, 0.9)
    found = detect(session, given)
    assert found["NUM_BOXES"].tolist() == [[1], [0], [2]]
    np.testing.assert_allclose(found["SCORES"][:, :3], [[0.5, 0, 0], [0, 0, 0], [0.9, 0.7, 0]])
    assert found["BOXES"].shape == (3, MAX_BOXES, 4)


def test_boxes_end_at_the_canvas(session):
    given = maps()
    put(given, 0, 0, 0, 0.9, size=(100, 100))
    put(given, 0, CELLS - 1, CELLS - 1, 0.8, size=(100, 100))
    boxes = detect(session, given)["BOXES"][0]
    np.testing.assert_allclose(boxes[0], [0, 0, 52, 52], atol=1e-3)
    np.testing.assert_allclose(boxes[1], [CANVAS_SIDE - 52, CANVAS_SIDE - 52, CANVAS_SIDE, CANVAS_SIDE], atol=1e-3)


@pytest.mark.parametrize(("score", "count"), [(0.04, 0), (0.06, 1)])
def test_weak_faces_are_left_out(session, score, count):
    given = maps()
    put(given, 0, 80, 80, score)
    assert detect(session, given)["NUM_BOXES"].tolist() == [[count]]


def test_no_more_than_the_contract_holds(session):
    given = maps()
    for i in range(12):
        for j in range(12):
            put(given, 0, 6 + 12 * i, 6 + 12 * j, 0.5 + 0.001 * (12 * i + j), size=(20, 20))
    found = detect(session, given)
    assert found["NUM_BOXES"].tolist() == [[MAX_BOXES]]
    np.testing.assert_allclose(found["SCORES"][0], 0.5 + 0.001 * np.arange(143, 43, -1), atol=1e-6)


def test_numpy_works_out_the_same_of_any_maps(model):
    generator = np.random.default_rng(6)
    given = {name: generator.normal(size=values.shape).astype(np.float32) for name, values in maps(2).items()}
    given["heatmap"] = generator.uniform(0, 0.2, given["heatmap"].shape).astype(np.float32)
    published = ["face_heatmap", "face_log_sizes", "face_centre_offsets", "face_landmark_offsets"]
    expected = candidates(dict(zip(published, given.values(), strict=True)))

    decoding = VERSIONS[0].decoding
    assert decoding is not None
    assert set(decoding.reads) == set(expected)
    names = [*OUTPUTS, *decoding.reads]
    got = dict(zip(names, open_session(with_extra_outputs(model, decoding.reads)).run(names, given), strict=True))
    selected = decoding.expected({}, got)
    assert set(selected) == set(OUTPUTS)
    assert selected["NUM_BOXES"].min() > 10
    for name, values in {**expected, **selected}.items():
        np.testing.assert_allclose(got[name], values, rtol=1e-4, atol=1e-3, err_msg=name)
