"""Which entity belongs to which object: the best assignment of all, one to one."""

from itertools import permutations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from trident.fusion.assignment import assign, fit_matrix, link
from trident.fusion.policy import Assignment, Place
from trident.fusion.types import Objects

FITS = st.one_of(st.just(0.0), st.integers(1, 20).map(lambda twentieths: twentieths / 20))
MATRICES = st.tuples(st.integers(0, 5), st.integers(0, 5)).flatmap(
    lambda shape: arrays(np.float64, shape, elements=FITS)
)
PLACE = Place(0.5, 0.15, 0.3)
POLICY = Assignment(min_containment=0.6, min_score=0.05, face=PLACE, plate=PLACE)


def total(fit, pairs):
    return sum(fit[row, column] for row, column in pairs.items())


def best_of_all(fit):
    """The largest total that any one-to-one pairing has, by trying them all."""
    rows, columns = fit.shape
    if rows > columns:
        return best_of_all(fit.T)
    return max(
        sum(fit[row, column] for row, column in enumerate(chosen)) for chosen in permutations(range(columns), rows)
    )


class TestAssign:
    @given(MATRICES)
    def test_no_pairing_has_a_larger_total(self, fit):
        assert abs(total(fit, assign(fit)) - best_of_all(fit)) < 1e-9

    @given(MATRICES)
    def test_it_is_one_to_one_and_every_pair_fits(self, fit):
        pairs = assign(fit)
        assert len(set(pairs.values())) == len(pairs)
        assert all(fit[pair] > 0 for pair in pairs.items())

    @given(MATRICES)
    def test_entities_and_objects_may_change_places(self, fit):
        assert abs(total(fit, assign(fit)) - total(fit.T, assign(fit.T))) < 1e-9

    @given(MATRICES, st.randoms(use_true_random=False))
    def test_the_order_counts_for_nothing(self, fit, random):
        order = list(range(len(fit)))
        random.shuffle(order)
        assert abs(total(fit[order], assign(fit[order])) - total(fit, assign(fit))) < 1e-9

    @given(MATRICES)
    def test_nobody_is_left_alone_beside_an_object_that_nobody_has(self, fit):
        pairs = assign(fit)
        free_rows = set(range(fit.shape[0])) - set(pairs)
        free_columns = set(range(fit.shape[1])) - set(pairs.values())
        assert not any(fit[row, column] > 0 for row in free_rows for column in free_columns)


SPOTS = st.tuples(*[st.integers(0, 40)] * 4).map(lambda four: (four[0], four[1], four[0] + four[2], four[1] + four[3]))


@st.composite
def scenes(draw):
    """Boxes and scores of entities, and objects."""
    entities = draw(st.lists(st.tuples(SPOTS, st.floats(0, 1)), max_size=5))
    things = draw(st.lists(st.tuples(SPOTS, st.floats(0, 1)), max_size=5))
    return (
        np.array([box for box, _ in entities], dtype=np.float64).reshape(-1, 4),
        np.array([score for _, score in entities], dtype=np.float64),
        Objects(
            np.array([box for box, _ in things], dtype=np.float64).reshape(-1, 4),
            np.array([score for _, score in things], dtype=np.float64),
            np.zeros(len(things), dtype=np.int64),
        ),
    )


class TestLink:
    @given(scenes())
    def test_a_fit_is_a_share_and_none_without_containment(self, scene):
        boxes, _, objects = scene
        fit = fit_matrix(boxes, objects, PLACE, POLICY)
        assert fit.shape == (len(boxes), len(objects))
        assert ((fit >= 0) & (fit <= 1)).all()
        for i, (x1, y1, x2, y2) in enumerate(boxes):
            for j, (left, top, right, bottom) in enumerate(objects.boxes):
                shared = max(0, min(x2, right) - max(x1, left)) * max(0, min(y2, bottom) - max(y1, top))
                too_little = shared < POLICY.min_containment * (x2 - x1) * (y2 - y1) - 1e-6
                if too_little or objects.scores[j] < POLICY.min_score:
                    assert fit[i, j] == 0

    @given(scenes())
    def test_links_are_one_to_one_among_those_that_fit(self, scene):
        boxes, scores, objects = scene
        links = link(boxes, scores, objects, PLACE, POLICY)
        fit = fit_matrix(boxes, objects, PLACE, POLICY)
        assert len(set(links.own.values())) == len(links.own)
        assert all(fit[pair] > 0 for pair in (*links.own.items(), *links.nearest.items()))
        assert set(links.own) <= set(links.nearest)
        assert all(fit[entity, thing] == fit[entity].max() for entity, thing in links.nearest.items())

    @given(scenes(), st.integers(-300, 300), st.integers(-300, 300))
    def test_moving_the_scene_changes_no_fit(self, scene, right, down):
        boxes, _, objects = scene
        shift = np.array([right, down, right, down])
        moved = Objects(objects.boxes + shift, objects.scores, objects.classes)
        there, here = fit_matrix(boxes + shift, moved, PLACE, POLICY), fit_matrix(boxes, objects, PLACE, POLICY)
        np.testing.assert_allclose(there, here, atol=1e-9)
