"""The measures, the report, and the fit of the fusion weight."""

import doctest
import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score

from benchmarks import fit_fusion
from benchmarks.quality import __main__ as command
from benchmarks.quality import metrics, report
from benchmarks.quality.measures import SETS, SUBJECTS, Measure
from benchmarks.quality.report import Column, Measured
from tests.labelled import write_set
from trident.fusion.evidence import SILENT
from trident.fusion.policy import Weights
from trident.rollout.golden import LABELLED_SETS
from trident.text import edit_distance


class TestMetrics:
    @given(st.lists(st.tuples(st.booleans(), st.integers(0, 5)), min_size=1, max_size=30))
    @settings(max_examples=200, deadline=None)
    def test_average_precision_is_scikit_learns(self, rows):
        positive = np.array([row[0] for row in rows])
        scores = np.array([row[1] / 5 for row in rows])
        positive[0] = True
        assert metrics.average_precision(positive, scores) == pytest.approx(average_precision_score(positive, scores))

    def test_average_precision_wants_a_positive(self):
        with pytest.raises(ValueError, match="at least one positive"):
            metrics.average_precision(np.zeros(3, dtype=bool), np.zeros(3))

    def test_categories_without_positives_do_not_count(self):
        present = np.array([[True, False], [False, False]])
        assert metrics.image_level_map(present, np.array([[0.9, 0.1], [0.1, 0.9]])) == 1.0

    def test_top_k(self):
        ranked, labels = np.array([[1, 2, 3], [4, 5, 6], [7, 8, 9]]), np.array([1, 6, 0])
        assert metrics.top_k_accuracy(ranked, labels, 1) == pytest.approx(1 / 3)
        assert metrics.top_k_accuracy(ranked, labels, 3) == pytest.approx(2 / 3)

    @pytest.mark.parametrize(
        ("a", "b", "distance"),
        [
            pytest.param("皖A06725", "皖A06725", 0, id="equal"),
            pytest.param("皖A06725", "皖A0672S", 1, id="replaced"),
            pytest.param("皖A06725", "A06725", 1, id="deleted"),
            pytest.param("", "abc", 3, id="nothing read"),
            pytest.param("kitten", "sitting", 3, id="textbook"),
        ],
    )
    def test_edit_distance(self, a, b, distance):
        assert edit_distance(a, b) == edit_distance(b, a) == distance

    def test_text_accuracy(self):
        exact, characters = metrics.text_accuracy(["ABCD", "", "WXYZWXYZWXYZ"], ["ABCE", "PQRS", "WXYZ"])
        assert exact == 0
        # One edit, four, and no more than the label has characters.
        assert characters == pytest.approx(1 - (1 + 4 + 4) / 12)

    def test_coco_map(self):
        truth = {
            "images": [{"id": 7, "width": 100, "height": 100}],
            "categories": [{"id": 3, "name": "car"}],
            "annotations": [
                {"id": 1, "image_id": 7, "category_id": 3, "bbox": [10, 10, 50, 50], "area": 2500, "iscrowd": 0}
            ],
        }
        found = {"image_id": 7, "category_id": 3, "score": 0.9}
        assert metrics.coco_map(truth, [{**found, "bbox": [10, 10, 50, 50]}], [7]) == pytest.approx((1, 1))
        # IoU 0.7: right at the five thresholds up to 0.7.
        loose, ap50 = metrics.coco_map(truth, [{**found, "bbox": [10, 10, 50, 35.2]}], [7])
        assert loose == pytest.approx(0.5) and ap50 == pytest.approx(1)
        assert metrics.coco_map(truth, [], [7]) == (0, 0)

    def test_interval_holds_the_difference(self):
        random = np.random.default_rng(1)
        present = random.uniform(size=(60, 5)) < 0.4
        good, bad = present + random.normal(0, 0.5, present.shape), random.normal(0, 0.5, present.shape)
        low, high = metrics.bootstrap_interval(present, good, bad, rounds=100)
        assert 0 < low < metrics.image_level_map(present, good) - metrics.image_level_map(present, bad) < high

    @pytest.mark.parametrize(
        ("right", "count", "low", "high"),
        [
            # Newcombe 1998, table I, method 3.
            pytest.param(81, 263, 0.2553, 0.3662, id="81 of 263"),
            pytest.param(15, 148, 0.0624, 0.1605, id="15 of 148"),
            pytest.param(0, 20, 0.0, 0.1611, id="none"),
            pytest.param(1, 29, 0.0061, 0.1718, id="one"),
        ],
    )
    def test_interval_of_a_share(self, right, count, low, high):
        assert metrics.interval(right, count) == pytest.approx((low, high), abs=1e-4)

    def test_sign_test_is_symmetric_and_counts_tosses(self):
        assert metrics.sign_test(2, 9) == metrics.sign_test(9, 2) == pytest.approx(2 * (1 + 11 + 55) / 2**11)

    def test_examples(self):
        assert doctest.testmod(metrics).failed == 0


FACTS = {
    "command": ".venv/bin/python -m benchmarks.quality",
    "commit": "0" * 40,
    "date": "2026-01-02T03:04:05+00:00",
    "machine": {"processor": "A CPU", "cores": 2},
    "python": "3.11",
    "versions": {},
    "load_average": [0.0, 0.0, 0.0],
}


class TestReport:
    def test_floors(self):
        assert Measure("a", 0.9, 3, 0.9).reached and not Measure("a", 0.89, 3, 0.9).reached
        assert Measure("a", 0.0, 3).reached

    def test_json_names_what_was_measured(self):
        column = Column("serving", [Measure("a", 0.5, 3, 0.9, interval=(0.1, 0.8))], {"fusion": {"version": 1}})
        content = report.to_json(Measured([column], ["coco: none"], {"limit": None}), FACTS, {})
        assert content["versions"][0]["measures"] == [
            {
                "name": "a",
                "value": 0.5,
                "unit": "",
                "interval": [0.1, 0.8],
                "floor": 0.9,
                "reached": False,
                "pictures": 3,
                "note": "",
            }
        ]
        assert content["what"] == "quality" and content["missed"] == ["a"] and content["skipped"] == ["coco: none"]
        json.dumps(content, allow_nan=False)

    def test_versions_stand_side_by_side(self):
        columns = [
            Column("serving", [Measure("a", 0.5, 3, 0.4), Measure("b", 0.7, 3)]),
            Column("classifier 2", [Measure("a", 0.25, 3, 0.4)]),
        ]
        measured = Measured(columns, [], {})
        # The floors are the first one's.
        assert measured.missed == []
        assert report.summary(measured).tables[0].headings[:3] == ("measure", "serving", "classifier 2")
        assert [row[:3] for row in report.summary(measured).tables[0].rows] == [
            ("a", "0.5000", "0.2500"),
            ("b", "0.7000", "–"),
        ]

    def test_every_set_has_a_part(self):
        assert {one for one, _, _ in report.PARTS} == {one.name for one in SUBJECTS}

    def run(self, monkeypatch, tmp_path, measures, *options):
        write_set(tmp_path / "plates", "labels.csv", "file,text\na.jpg,A1\n", "a.jpg")
        monkeypatch.setattr(command, "_measured", lambda *_: ([Column("serving", measures)], {}))
        monkeypatch.setattr(command.common, "circumstances", lambda _: dict(FACTS))
        arguments = ["--data", str(tmp_path), "--url", "127.0.0.1:1", "--out", str(tmp_path / "reports"), *options]
        return CliRunner().invoke(command.main, arguments)

    @pytest.mark.parametrize(
        ("value", "options", "code"),
        [
            pytest.param(0.9, (), 0, id="reached"),
            pytest.param(0.1, (), 1, id="missed"),
            pytest.param(0.1, ("--no-floors",), 0, id="missed, only printed"),
        ],
    )
    def test_exit_code(self, monkeypatch, tmp_path, value, options, code):
        outcome = self.run(monkeypatch, tmp_path, [Measure("Plates", value, 3, 0.8, note="why")], *options)
        assert outcome.exit_code == code, outcome.output
        assert "Left out coco: there is no coco/instances.json" in outcome.output.replace("\n", " ")
        assert "Plates: why." in outcome.output
        (figures,) = (tmp_path / "reports").glob("quality-*.json")
        assert json.loads(figures.read_text(encoding="utf-8"))["versions"][0]["measures"][0]["value"] == value
        assert figures.with_suffix(".html").is_file()

    def test_every_set_that_a_folder_may_hold_can_be_measured(self):
        assert [one.name for one in SETS] == [one.name for one in SUBJECTS] == list(LABELLED_SETS)

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            pytest.param((), "holds none of the labelled sets", id="empty folder"),
            pytest.param(("--versions", "classifier"), "expected COMPONENT VERSION", id="no version"),
            pytest.param(("--compare", "nothing=2"), "component: expected one of", id="unknown component"),
        ],
    )
    def test_what_cannot_be_measured_is_an_error(self, tmp_path, options, message):
        outcome = CliRunner().invoke(command.main, ["--data", str(tmp_path), "--url", "127.0.0.1:1", *options])
        assert outcome.exit_code != 0
        assert message in " ".join(outcome.output.split())

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            pytest.param(("--url", "192.0.2.1:8001"), "expected this machine", id="another machine"),
            pytest.param(
                ("--compare", "classifier=2", "--compare", "classifier=2"),
                "got classifier 2 twice",
                id="the same twice",
            ),
        ],
    )
    def test_what_may_not_be_measured_is_an_error(self, tmp_path, options, message):
        write_set(tmp_path / "plates", "labels.csv", "file,text\na.jpg,A1\n", "a.jpg")
        outcome = CliRunner().invoke(command.main, ["--data", str(tmp_path), *options])
        assert outcome.exit_code == 1
        assert message in " ".join(outcome.output.split())


class TestFit:
    def made_up(self, strength, pictures=400, categories=12):
        """Evidence whose true log-odds are 8 times the detector's and ``strength`` times the classifier's."""
        random = np.random.default_rng(0)
        evidence = np.full((pictures, categories, 3), SILENT)
        evidence[..., :2] = random.uniform(size=(pictures, categories, 2))
        odds = 8 * evidence[..., 1] + strength * evidence[..., 0] - 6
        return random.uniform(size=odds.shape) < 1 / (1 + np.exp(-odds)), evidence

    @pytest.mark.parametrize("strength", [0.0, 2.0, 4.0])
    def test_finds_the_weight(self, strength):
        assert fit_fusion.fit_weight(*self.made_up(strength)) == pytest.approx(strength / 8, abs=0.05)

    def test_silent_categories_take_no_part(self):
        present, evidence = self.made_up(4.0)
        weight = fit_fusion.fit_weight(present, evidence)
        silent = evidence[:, :3].copy()
        silent[..., 0] = SILENT
        both = np.hstack([evidence, silent]), np.hstack([present, ~present[:, :3]])
        assert fit_fusion.fit_weight(both[1], both[0]) == pytest.approx(weight)

    def test_folds_hold_every_picture_out_once(self):
        parts = list(fit_fusion.folds(13, 4, seed=3))
        assert sorted(np.concatenate([held_out for _, held_out in parts])) == list(range(13))
        assert all(not set(fitted_on) & set(held_out) for fitted_on, held_out in parts)

    def test_cross_fitting_uses_the_fold_s_weight(self):
        present, evidence = self.made_up(4.0, pictures=120)
        held_out, fitted = fit_fusion.cross_fit(present, evidence, Weights(1.0, 1.0, 0.0), seed=0)
        _, rows = next(fit_fusion.folds(120, fit_fusion.FOLDS, 0))
        weight = fitted[0]
        expected = (weight * evidence[rows][..., 0] + evidence[rows][..., 1]) / (1 + weight)
        assert len(fitted) == fit_fusion.FOLDS
        assert held_out[rows] == pytest.approx(expected)


def test_default_policy_is_the_served_one():
    assert fit_fusion.DEFAULT_POLICY.is_file()
    assert Path("model_repository/fusion/1/policy.json").parts == fit_fusion.DEFAULT_POLICY.parts[-4:]
