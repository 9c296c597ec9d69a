"""Limits, and figures held against them."""

import doctest
import math

import pytest

from trident import text
from trident.errors import SetupError
from trident.rollout import agreement, limits
from trident.rollout.limits import Limits, limited


@pytest.mark.parametrize("module", [agreement, limits, text], ids=lambda module: module.__name__)
def test_examples(module):
    ran = doctest.testmod(module)
    assert ran.attempted
    assert not ran.failed


def test_every_limit_says_what_it_is_about():
    for name in Limits.names():
        about = Limits.about(name)
        assert len(about) > 20
        assert about.endswith(f"{getattr(Limits(), name):g}")


def test_changed_limits_keep_the_others():
    changed = Limits().changed(["latency=3.5", "reader_exact=0"])
    assert (changed.latency, changed.reader_exact) == (3.5, 0.0)
    assert changed.classifier_top1 == Limits().classifier_top1


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        pytest.param("speed=2", "expected NAME=VALUE with one of the names", id="no such limit"),
        pytest.param("latency", "expected NAME=VALUE", id="no value"),
        pytest.param("latency=fast", "expected a number of 0 or more, got 'fast'", id="no number"),
        pytest.param("latency=nan", "expected a number of 0 or more, got 'nan'", id="not a number"),
        pytest.param("latency=-1", "expected a number of 0 or more, got '-1'", id="negative"),
    ],
)
def test_what_is_no_limit_is_refused(setting, message):
    with pytest.raises(SetupError, match=message):
        Limits().changed([setting])


@pytest.mark.parametrize(
    ("option", "value", "passed"),
    [
        pytest.param("reader_exact", 0.8, True, id="just enough"),
        pytest.param("reader_exact", 0.79, False, id="too little"),
        pytest.param("latency", 2.0, True, id="just slow enough"),
        pytest.param("latency", 2.01, False, id="too slow"),
        pytest.param("latency", math.nan, False, id="no number"),
        pytest.param("reader_exact", None, True, id="nothing to measure"),
    ],
)
def test_a_figure_beside_its_limit(option, value, passed):
    metric = limited(Limits(), option, "plate_reader", value, (7, "plates"))
    assert metric.passed is passed
    assert metric.to_json()["passed"] is passed


def test_a_figure_that_was_not_measured_says_why():
    assert "there are no legible plates" in str(limited(Limits(), "reader_exact", "x", None, (0, "legible plates")))
