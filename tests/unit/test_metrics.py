"""What is counted, how it is gathered, and how it reaches Triton; with a stand-in for Triton's side."""

from __future__ import annotations

import re
import sys
import threading
from types import SimpleNamespace
from typing import ClassVar

import pytest

from trident import metrics
from trident.errors import InvalidInput
from trident.metrics import (
    METRICS,
    REASONS,
    SUPERVISION,
    Kind,
    Tally,
    count_answer,
    expect_answers,
    expect_refusals,
    set_gallery,
)
from trident.triton_metrics import Meter

MODELS = {
    "classifier": {"version": 2, "digest": "sha256:ab"},
    "fusion": {"version": 1, "digest": "sha256:cd"},
}
RESULT = {
    "objects": [{"score": 0.9}, {"score": 0.3}, {"score": 0.29}],
    "entities": [
        {"type": "face", "score": 0.9, "identity": {"name": "Ada Lovelace"}},
        {"type": "plate", "score": 0.5, "text": "皖A06725"},
        {"type": "plate", "score": 0.1, "text": "B"},
    ],
    "categories": [{"name": "car", "score": 0.9}, {"name": "person", "score": 0.4}, {"name": "dog", "score": 0.01}],
}


def taken(tally: Tally) -> dict[tuple[str, ...], float]:
    return {(spec.name, *labels): value for (spec, labels), value in tally.take().items()}


class TestDefinitions:
    @pytest.mark.parametrize("spec", (METRICS | SUPERVISION).values(), ids=lambda spec: spec.name)
    def test_names_follow_prometheus_conventions(self, spec):
        assert re.fullmatch(r"trident_[a-z]+(_[a-z]+)*", spec.name)
        assert spec.name.endswith("_total") == (spec.kind is Kind.COUNTER)
        assert spec.help
        assert not spec.help.endswith(".")
        assert all(re.fullmatch(r"[a-z]+", label) for label in spec.labels)

    def test_every_kind_of_fault_has_a_reason_of_its_own(self):
        kinds = [InvalidInput, *InvalidInput.__subclasses__()]
        assert len({kind.reason for kind in kinds}) == len(kinds) == len(REASONS)
        assert all(re.fullmatch(r"[a-z_]+", reason) for reason in REASONS)


class TestTally:
    def test_counters_add_up_and_gauges_are_as_they_were_last(self):
        tally = Tally()
        for _ in range(3):
            tally.count(metrics.REFUSED, "damaged")
        tally.set(metrics.GALLERY_PEOPLE, 4)
        tally.set(metrics.GALLERY_PEOPLE, 5)
        assert taken(tally) == {("trident_pictures_refused_total", "damaged"): 3, ("trident_gallery_people",): 5}
        assert taken(tally) == {}

    def test_wrong_use_is_an_error(self):
        tally = Tally()
        with pytest.raises(ValueError, match="expected labels"):
            tally.count(metrics.REFUSED)
        with pytest.raises(ValueError, match="expected a counter, got a gauge"):
            tally.count(metrics.GALLERY_PEOPLE)
        with pytest.raises(ValueError, match="only grows"):
            tally.count(metrics.ANSWERED, by=-1)

    def test_nothing_is_lost_between_threads(self):
        tally, total = Tally(), 0.0

        def count():
            for _ in range(2000):
                tally.count(metrics.ANSWERED)

        threads = [threading.Thread(target=count) for _ in range(4)]
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            total += sum(tally.take().values())
        assert total + sum(tally.take().values()) == 8000


class TestAnswers:
    def test_what_is_shown_is_counted(self):
        tally = Tally()
        count_answer(tally, RESULT, MODELS)
        counted = taken(tally)
        assert counted == {
            ("trident_pictures_answered_total",): 1,
            ("trident_objects_total",): 2,
            ("trident_entities_total", "face"): 1,
            ("trident_entities_total", "plate"): 1,
            ("trident_categories_total", "car"): 1,
            ("trident_categories_total", "person"): 1,
            ("trident_component_answers_total", "classifier", "2"): 1,
            ("trident_component_answers_total", "fusion", "1"): 1,
            ("trident_component_info", "classifier", "2", "sha256:ab"): 1,
            ("trident_component_info", "fusion", "1", "sha256:cd"): 1,
        }
        assert not any("Ada" in label or "06725" in label for series in counted for label in series)

    def test_the_warm_up_is_no_picture(self):
        tally = Tally()
        count_answer(tally, RESULT, {"fusion": MODELS["fusion"]})
        assert taken(tally) == {}

    def test_series_are_known_before_anything_happens(self):
        tally = Tally()
        expect_answers(tally)
        expect_refusals(tally)
        known = taken(tally)
        assert set(known.values()) == {0}
        assert {series[1] for series in known if series[0] == "trident_pictures_refused_total"} == set(REASONS)
        assert ("trident_entities_total", "plate") in known

    def test_the_gallery(self):
        tally = Tally()
        set_gallery(tally, people=2, embeddings=5, changed=12.5, readable=False)
        assert list(taken(tally).values()) == [2, 5, 12.5, 0]


class Number:
    def __init__(self, labels):
        self.labels, self.value, self.calls = labels, 0.0, 0

    def increment(self, value):
        self.value += value
        self.calls += 1

    def set(self, value):
        self.value = value
        self.calls += 1


class Family:
    COUNTER, GAUGE = "counter", "gauge"
    made: ClassVar[list[Family]] = []

    def __init__(self, name, description, kind):
        self.name, self.description, self.kind, self.numbers = name, description, kind, []
        Family.made.append(self)

    def Metric(self, labels):  # noqa: N802
        self.numbers.append(Number(labels))
        return self.numbers[-1]


class Refused(Exception):
    pass


@pytest.fixture
def utils():
    Family.made.clear()
    return SimpleNamespace(MetricFamily=Family, TritonModelException=Refused)


def shown() -> dict[tuple[str, ...], float]:
    return {(family.name, *one.labels.values()): one.value for family in Family.made for one in family.numbers}


class TestMeter:
    def test_values_reach_triton_at_the_start_in_between_and_at_the_end(self, utils):
        meter = Meter(utils, every_s=0.01)
        expect_refusals(meter.tally)
        meter.start()
        assert set(shown().values()) == {0}
        meter.tally.count(metrics.REFUSED, "damaged", by=2)
        for _ in range(500):
            if shown()["trident_pictures_refused_total", "damaged"] == 2:
                break
            threading.Event().wait(0.01)
        assert shown()["trident_pictures_refused_total", "damaged"] == 2
        meter.stop()
        meter.tally.count(metrics.REFUSED, "damaged")
        meter.stop()
        assert shown()["trident_pictures_refused_total", "damaged"] == 3
        assert not [thread for thread in threading.enumerate() if thread.name == "metrics"]

    def test_each_family_and_series_is_made_once_and_a_gauge_that_stays_is_not_sent_again(self, utils):
        meter = Meter(utils, every_s=60, look=lambda tally: tally.set(metrics.GALLERY_PEOPLE, 3))
        for _ in range(4):
            meter.tally.count(metrics.REFUSED, "damaged")
            meter._hand_on()
        assert [(family.name, family.kind) for family in Family.made] == [
            ("trident_pictures_refused_total", "counter"),
            ("trident_gallery_people", "gauge"),
        ]
        assert [len(family.numbers) for family in Family.made] == [1, 1]
        assert Family.made[1].numbers[0].calls == 1
        assert Family.made[0].numbers[0].labels == {"reason": "damaged"}

    def test_what_triton_holds_is_never_given_back(self, utils):
        meter = Meter(utils, every_s=60)
        meter.tally.count(metrics.ANSWERED)
        meter._hand_on()
        number = Family.made[0].numbers[0]
        held = sys.getrefcount(number)
        meter._series.clear()
        # The one reference that nobody drops is the reason that this object outlives its model.
        assert sys.getrefcount(number) == held - 1
        Family.made[0].numbers.clear()
        assert sys.getrefcount(number) == 3, "this name, the call's argument, and the one that is kept"

    def test_a_server_that_takes_no_metrics_costs_no_answer(self, utils, caplog):
        def refuse(**_):
            raise Refused("metrics are off")

        utils.MetricFamily = refuse
        utils.MetricFamily.COUNTER = "counter"
        meter = Meter(utils, every_s=0.01)
        meter.tally.count(metrics.ANSWERED)
        meter.start()
        meter.stop()
        assert caplog.text.count("takes no metrics") == 1

    def test_outside_of_a_server_nothing_is_handed_on(self):
        meter = Meter(SimpleNamespace())
        meter.tally.count(metrics.ANSWERED)
        meter.start()
        meter.stop()
        assert sum(meter.tally.take().values()) == 1
