"""numpy's suppression against the definition, and the graph's against numpy's."""

import numpy as np
import pytest

from export.graph import Graph
from export.session import open_session
from export.suppression import select
from trident.contract import CANVAS_SIDE, MAX_BOXES
from trident.geometry import iou_matrix

MINIMUM, IOU = 0.1, 0.4


def scene(batch=2, count=400, classes=4):
    """Boxes around a few centres, some without area, with many equal scores."""
    generator = np.random.default_rng(8)
    centres = generator.uniform(50, CANVAS_SIDE - 50, (batch, 12, 2))[:, generator.integers(0, 12, count)]
    middles = centres + generator.normal(0, 8, (batch, count, 2))
    sides = generator.uniform(0, 60, (batch, count, 2)) * (generator.random((batch, count, 1)) > 0.05)
    return (
        np.concatenate([middles - sides / 2, middles + sides / 2], axis=2).astype(np.float32),
        generator.integers(0, 21, (batch, count)).astype(np.float32) / 20,
        generator.integers(0, classes, (batch, count)).astype(np.float32),
    )


def test_is_greedy_within_a_class():
    boxes, scores, classes = scene()
    found = select(boxes, scores, minimum=MINIMUM, iou=IOU, classes_BN=classes)
    for item in range(len(boxes)):
        kept: list[int] = []
        for candidate in np.argsort(-scores[item], kind="stable"):
            same = [other for other in kept if classes[item, other] == classes[item, candidate]]
            overlaps = iou_matrix(boxes[item, [candidate]], boxes[item, same]) if same else np.zeros((1, 1))
            if scores[item, candidate] > np.float32(MINIMUM) and overlaps.max() <= IOU and len(kept) < MAX_BOXES:
                kept.append(int(candidate))
        assert found["NUM_BOXES"][item] == len(kept) > 30
        for name, values in {"BOXES": boxes, "SCORES": scores, "CLASSES": classes}.items():
            np.testing.assert_array_equal(found[name][item, : len(kept)], values[item, kept])
            assert not found[name][item, len(kept) :].any()


@pytest.mark.parametrize("count", [MAX_BOXES, 400])
def test_the_graph_leaves_the_same(count):
    boxes, scores, classes = scene(count=count)
    graph = Graph("detector")
    names = graph.floats("boxes", boxes), graph.floats("scores", scores)
    graph.select_boxes(*names, minimum=MINIMUM, iou=IOU, classes_BN=graph.floats("classes", classes))
    outputs = ["BOXES", "SCORES", "CLASSES", "NUM_BOXES"]
    pixels = np.zeros((len(boxes), CANVAS_SIDE, CANVAS_SIDE, 3), np.uint8)
    got = open_session(graph.finish()).run(outputs, {"PIXELS": pixels})
    expected = select(boxes, scores, minimum=MINIMUM, iou=IOU, classes_BN=classes)
    for name, values in zip(outputs, got, strict=True):
        np.testing.assert_array_equal(values, expected[name], err_msg=name)
        assert values.dtype == expected[name].dtype
