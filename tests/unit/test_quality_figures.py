"""Calibration, and texts character by character."""

import doctest

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.calibration import calibration_curve

from benchmarks.quality import calibration, characters
from benchmarks.quality.calibration import reliability
from benchmarks.quality.characters import NOTHING, align, reading
from trident.text import edit_distance

PLATES = st.text(alphabet="皖AB01", max_size=7)


@pytest.mark.parametrize("module", [calibration, characters], ids=lambda module: module.__name__)
def test_examples(module):
    ran = doctest.testmod(module)
    assert ran.attempted and not ran.failed


class TestCalibration:
    def test_bins_are_scikit_learns(self):
        random = np.random.default_rng(0)
        scores = random.uniform(size=500)
        right = random.uniform(size=500) < scores**2
        found = reliability(scores, right, bins=10)
        full = found.counts > 0
        expected_right, expected_score = calibration_curve(right, scores, n_bins=10)
        assert found.right[full] == pytest.approx(expected_right)
        assert found.scores[full] == pytest.approx(expected_score)
        assert found.count == found.counts.sum() == 500

    def test_scores_that_mean_what_they_say_have_no_error(self):
        scores = np.repeat([0.25, 0.75], 100)
        right = np.concatenate([np.arange(100) < 25, np.arange(100) < 75])
        assert reliability(scores, right).ece == pytest.approx(0.0)

    def test_the_error_is_weighted_by_what_lies_in_a_bin(self):
        # 30 surely right that are all wrong, 10 as they should be.
        scores = np.concatenate([np.full(30, 1.0), np.full(10, 0.5)])
        right = np.concatenate([np.zeros(30, dtype=bool), np.arange(10) < 5])
        assert reliability(scores, right).ece == pytest.approx(30 / 40)

    @pytest.mark.parametrize("score", [0.0, 1.0, 1 / 15, 1e-9])
    def test_every_score_has_a_bin(self, score):
        assert reliability(np.array([score]), np.array([True])).count == 1

    def test_nothing_has_no_error(self):
        found = reliability(np.zeros(0), np.zeros(0, dtype=bool))
        assert found.ece is None
        assert found.to_json() == {"ece": None, "count": 0, "bins": []}

    def test_json_adds_up(self):
        scores = np.array([0.1, 0.5, 0.55, 0.9])
        content = reliability(scores, scores > 0.5).to_json()
        assert sum(one["count"] for one in content["bins"]) == content["count"] == 4
        gaps = [one["count"] * abs(one["score"] - one["right"]) for one in content["bins"]]
        assert content["ece"] == pytest.approx(sum(gaps) / 4, abs=1e-4)


class TestCharacters:
    @given(PLATES, PLATES)
    @settings(max_examples=300, deadline=None)
    def test_as_few_edits_as_can_be(self, read, label):
        pairs = align(read, label)
        assert sum(true != got for true, got in pairs) == edit_distance(read, label)
        assert "".join(true for true, _ in pairs) == label
        assert "".join(got for _, got in pairs) == read

    def test_positions_are_the_labels(self):
        found = reading(["A123", "B13", "C1234"], ["A123", "B123", "C123"])
        assert found.texts_at == [3, 3, 3, 3]
        # The second lacks its 2, and all after it are still right; the third has one too many.
        assert found.right_at == pytest.approx([1, 1, 2 / 3, 1])
        assert list(found.confusions) == [("2", NOTHING, 1), (NOTHING, "4", 1)]

    def test_shorter_labels_do_not_count_where_they_end(self):
        assert reading(["AB", ""], ["AB", "C"]).texts_at == [2, 1]

    def test_the_most_frequent_confusion_comes_first(self):
        found = reading(["A0", "B0", "CX"], ["AD", "BD", "CY"])
        assert list(found.confusions) == [("D", "0", 2), ("Y", "X", 1)]
