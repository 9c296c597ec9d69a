"""Decoding of the plate detector's rows."""

import numpy as np
import onnx
import pytest

from export.graph import Graph
from export.parity import with_extra_outputs
from export.plate_detector import MAXIMUM_IOU, VERSIONS, candidates, decode, priors, samples
from export.session import open_session
from trident.contract import CANVAS_SIDE
from trident.geometry import iou_matrix

ROWS = {"box_offsets": 4, "background_and_plate": 2, "corner_offsets": 8}
OUTPUTS = ["BOXES", "SCORES", "CORNERS", "NUM_BOXES"]


@pytest.fixture(scope="module")
def model():
    graph = Graph("plate_detector")
    decode(graph, *ROWS)
    count = len(priors())
    return onnx.helper.make_model(
        onnx.helper.make_graph(
            graph._nodes,
            "decode",
            [
                onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["batch", count, columns])
                for name, columns in ROWS.items()
            ],
            [onnx.helper.make_empty_tensor_value_info(name) for name in OUTPUTS],
            list(graph._initializers.values()),
        ),
        opset_imports=[onnx.helper.make_opsetid("", 18)],
        ir_version=8,
    )


@pytest.fixture(scope="module")
def session(model):
    return open_session(model)


def rows(batch=1):
    return {name: np.zeros((batch, len(priors()), columns), dtype=np.float32) for name, columns in ROWS.items()}


def detect(session, given):
    return dict(zip(OUTPUTS, session.run(OUTPUTS, given), strict=True))


def test_priors_go_level_by_level_row_by_row_small_before_large():
    table = priors()
    assert len(table) == 2 * (80**2 + 40**2 + 20**2)
    np.testing.assert_array_equal(table[:4], [[4, 4, 24], [4, 4, 48], [12, 4, 24], [12, 4, 48]])
    np.testing.assert_array_equal(table[2 * 80], [4, 12, 24])
    np.testing.assert_array_equal(table[2 * 80**2], [8, 8, 96])
    np.testing.assert_array_equal(table[-1], [CANVAS_SIDE - 16, CANVAS_SIDE - 16, 768])


def test_offsets_move_the_prior_and_corners_start_at_the_top_left(session):
    number = 2 * (30 * 80 + 20) + 1  # row 30, column 20 of the finest level, the larger prior
    x, y, side = priors()[number]
    assert (x, y, side) == (164, 244, 48)
    given = rows()
    given["background_and_plate"][0, number] = (0.1, 0.9)
    given["box_offsets"][0, number] = (0.5, -0.25, 2.0, -3.0)
    offsets = {"bottom right": (4, 3), "bottom left": (-4, 2), "top left": (-5, -3), "top right": (5, -2)}
    given["corner_offsets"][0, number] = np.ravel(list(offsets.values()))
    found = detect(session, given)

    assert found["NUM_BOXES"].tolist() == [[1]]
    centre = np.array([x + 0.1 * side * 0.5, y - 0.1 * side * 0.25])
    half = 0.5 * side * np.exp([0.4, -0.6])
    np.testing.assert_allclose(found["BOXES"][0, 0], [*(centre - half), *(centre + half)], rtol=1e-5)
    order = ["top left", "top right", "bottom right", "bottom left"]
    expected = [(x + 0.1 * side * offsets[name][0], y + 0.1 * side * offsets[name][1]) for name in order]
    np.testing.assert_allclose(found["CORNERS"][0, 0], expected, rtol=1e-5)
    assert not found["CORNERS"][0, 1:].any()


def test_answers_are_greedy_suppression_over_all_rows(session):
    generator = np.random.default_rng(5)
    given = rows(2)
    table = priors()
    likely = generator.choice(len(table), (2, 60), replace=False)
    scores = generator.permutation(np.linspace(0.1, 0.99, 120)).reshape(2, 60)
    for item in range(2):
        given["background_and_plate"][item, likely[item], 1] = scores[item]
        given["box_offsets"][item, likely[item]] = generator.normal(size=(60, 4))
        given["corner_offsets"][item, likely[item]] = generator.normal(size=(60, 8))
    found = detect(session, given)

    for item in range(2):
        offsets, prior = given["box_offsets"][item, likely[item]], table[likely[item]]
        centre = prior[:, :2] + 0.1 * offsets[:, :2] * prior[:, 2:]
        half = 0.5 * prior[:, 2:] * np.exp(0.2 * offsets[:, 2:])
        boxes = np.clip(np.concatenate([centre - half, centre + half], axis=1), 0, CANVAS_SIDE)
        kept: list[int] = []
        for candidate in np.argsort(-scores[item]):
            if not kept or iou_matrix(boxes[[candidate]], boxes[kept]).max() <= MAXIMUM_IOU:
                kept.append(int(candidate))
        assert found["NUM_BOXES"][item] == len(kept) < 60
        np.testing.assert_allclose(found["SCORES"][item, : len(kept)], scores[item, kept], rtol=1e-6)
        np.testing.assert_allclose(found["BOXES"][item, : len(kept)], boxes[kept], atol=1e-2)


def test_nothing_found_is_no_rows(session):
    found = detect(session, rows(4))
    assert found["NUM_BOXES"].tolist() == [[0]] * 4
    assert not any(found[name].any() for name in ("BOXES", "SCORES", "CORNERS"))


def test_numpy_works_out_the_same_of_any_rows(model):
    generator = np.random.default_rng(6)
    given = {name: generator.normal(size=values.shape).astype(np.float32) for name, values in rows(2).items()}
    given["background_and_plate"] = generator.uniform(0, 0.0202, given["background_and_plate"].shape).astype(np.float32)
    expected = candidates(given)

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


def test_there_are_plates_to_compare():
    pictures = samples()
    assert pictures.shape == (4, CANVAS_SIDE, CANVAS_SIDE, 3)
    for picture in pictures:
        blue = (picture == (20, 60, 160)).all(axis=-1)
        assert 500 < blue.sum() < 20_000
