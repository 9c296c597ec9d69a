"""Latency against offered load: what counts in a step, how sure its p99 is, and what the report says of it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from benchmarks import report
from benchmarks.answers import NOT_SENT, OK, Answer, Answers, interval_of_percentile, summarise
from benchmarks.latency_curve.__main__ import main
from benchmarks.latency_curve.page import WHAT, row, summary, to_html, to_json, verdicts
from benchmarks.latency_curve.run import LEVELS, Run, Settings
from benchmarks.latency_curve.steps import Step, relaxation_s, step_of
from benchmarks.report import Summary
from benchmarks.verdict import passed
from trident.errors import SetupError

FACTS = {
    "command": ".venv/bin/python -m benchmarks.latency_curve",
    "commit": "c" * 40,
    "date": "2026-01-02T03:04:05+00:00",
    "machine": {"processor": "A CPU", "cores": 2},
    "load_average": [0.1, 0.2, 0.3],
}


def answer(planned: float, ms: float = 100.0, *, late_ms: float = 0.0, code: str = OK) -> Answer:
    return Answer(0, "one", planned, planned + late_ms / 1000, planned + ms / 1000, code)


def step(answers: Sequence[Answer], **more: Any) -> Step:
    settings = {"saturated": 8.0, "rate": 4.0, "settle_s": 2.0, "seconds": 10.0, **more}
    return step_of(Answers({"begin": 1000.0}, tuple(answers)), **settings)


def steady_step(share: float, *, ms: float = 100.0, late_ms: float = 1.0, failed: int = 0) -> Step:
    """A step of one request a quarter of a second, of which the first ``failed`` fail."""
    codes = ["UNAVAILABLE"] * failed + [OK] * (40 - failed)
    answers = [
        answer(1002.0 + number / 4, ms + number, late_ms=late_ms, code=code) for number, code in enumerate(codes)
    ]
    return step(answers, rate=8.0 * share)


def run_of(*steps: Step, after: float | None = 8.2) -> Run:
    return Run(Settings(), {"flags": ["--one"], "triton": "triton 2"}, ("one.jpg",), 8.0, after, steps)


# How sure a percentile is


def test_p90_lies_between_p50_and_p95():
    found = summarise(np.arange(101.0))
    assert (found.p50, found.p90, found.p95, found.p99) == pytest.approx((50.0, 90.0, 95.0, 99.0))


def test_the_interval_holds_the_percentile_and_narrows_with_more_answers():
    chance = np.random.default_rng(1)
    few, many = (interval_of_percentile(chance.exponential(100.0, count), percent=50) for count in (50, 5000))
    truth = 100.0 * np.log(2)
    assert few.low < truth < few.high
    assert many.low < truth < many.high
    assert (many.high - many.low) < (few.high - few.low) / 3


def test_neighbours_that_are_alike_make_it_wider():
    """As many answers, of a queue that was long for a while and then short: fewer of them are independent."""
    values_N = np.random.default_rng(2).exponential(100.0, 1000)
    mixed, sorted_ = (interval_of_percentile(one, percent=50) for one in (values_N, np.sort(values_N)))
    assert sorted_.high - sorted_.low > 2 * (mixed.high - mixed.low)


@pytest.mark.parametrize("count", [1, 2, 7, 100])
def test_equal_values_are_sure(count):
    found = interval_of_percentile(np.full(count, 5.0))
    assert (found.low, found.high) == (5.0, 5.0)


def test_nothing_is_unsure_of_nothing():
    assert interval_of_percentile(np.array([])) is None


def test_the_interval_is_the_same_each_time():
    values_N = np.random.default_rng(3).exponential(100.0, 200)
    assert interval_of_percentile(values_N) == interval_of_percentile(values_N)


# What counts in a step


def test_what_was_planned_while_the_queue_filled_does_not_count():
    found = step([answer(1001.9), answer(1002.0), answer(1011.9), answer(1012.0)])
    assert found.requests == 2
    assert found.offered == pytest.approx(0.2)


def test_an_answer_counts_for_the_achieved_rate_where_it_comes():
    """One of before comes in the window, one of the window comes after it: both edges are alike."""
    before, within, beyond = answer(1001.5, 600.0), answer(1005.0), answer(1011.5, 600.0)
    found = step([before, within, beyond])
    assert (found.requests, found.unanswered) == (2, 1)
    assert found.achieved == pytest.approx(0.2)
    assert found.latency.count == 2


def test_latency_counts_from_the_planned_moment_and_lateness_is_shown():
    found = step([answer(1003.0, 100.0, late_ms=30.0)])
    assert found.latency.p50 == pytest.approx(100.0)
    assert found.delay.p50 == pytest.approx(30.0)


def test_failures_are_counted_by_code_and_have_no_latency():
    codes = ["UNAVAILABLE", OK, "DEADLINE_EXCEEDED", "UNAVAILABLE", NOT_SENT]
    found = step([answer(1003.0 + number, 10.0, late_ms=1.0, code=code) for number, code in enumerate(codes)])
    assert found.codes == {"DEADLINE_EXCEEDED": 1, NOT_SENT: 1, "UNAVAILABLE": 2}
    assert (found.failed, found.latency.count) == (4, 1)
    assert found.failed + found.latency.count == found.requests
    # What was not sent was not late either.
    assert found.delay.count == 4


def test_a_step_in_which_everything_failed():
    found = step([answer(1003.0, code="UNAVAILABLE")])
    assert (found.latency, found.p99_interval, found.achieved) == (None, None, 0.0)
    assert found.rests_on_few
    assert "1 UNAVAILABLE" in row(found)


@pytest.mark.parametrize(
    ("rate", "expected"),
    [
        pytest.param(1.0, 1.0, id="a quarter of 4"),
        pytest.param(2.25, 4.0, id="nearer, slower"),
        pytest.param(4.0, None, id="at saturation it never settles"),
        pytest.param(5.0, None, id="nor above"),
    ],
)
def test_relaxation(rate, expected):
    assert relaxation_s(rate, 4.0) == (None if expected is None else pytest.approx(expected))


@pytest.mark.parametrize(
    ("seconds", "settled"), [pytest.param(2.9, False, id="too short"), pytest.param(3.1, True, id="long enough")]
)
def test_a_step_has_settled_after_three_relaxation_times(seconds, settled):
    assert step([answer(1003.0)], saturated=4.0, rate=1.0, seconds=seconds).settled is settled


# Settings


def test_a_step_lasts_for_its_requests_or_as_long_as_it_may():
    settings = Settings(levels=(0.1, 0.5), requests=300, longest_s=150, settle_s=3, rest_s=2)
    assert settings.window_s(0.8) == 150
    assert settings.window_s(4.0) == 75
    assert settings.whole_s(8.0) == pytest.approx(150 + 75 + 2 * 5)


def test_the_levels_go_up_to_saturation_and_over_it():
    assert LEVELS[0] == pytest.approx(0.1)
    assert max(LEVELS) > 1


@pytest.mark.parametrize(
    "wrong",
    [
        {"levels": ()},
        {"levels": (0.0, 0.5)},
        {"levels": (4.0,)},
        {"requests": 0},
        {"longest_s": 0.0},
        {"settle_s": -1.0},
        {"callers": 0},
        {"saturated": 0.0},
        {"url": "10.0.0.1:8001"},
    ],
    ids=lambda wrong: ",".join(f"{name}={value}" for name, value in wrong.items()),
)
def test_settings_are_bounded(wrong):
    with pytest.raises(SetupError, match="expected"):
        Settings(**wrong)


# The report


def test_the_report_is_whole(tmp_path):
    run = run_of(steady_step(0.1), steady_step(0.5), steady_step(0.9, ms=300.0), steady_step(1.1, ms=900.0, failed=3))
    as_html, as_json = report.write("stem", to_html(run, FACTS), to_json(run, FACTS), tmp_path)
    figures = json.loads(as_json.read_text())
    assert (figures["what"], figures["outcome"]) == (WHAT, "finished")
    assert [one["share"] for one in figures["steps"]] == pytest.approx([0.1, 0.5, 0.9, 1.1])
    for one in figures["steps"]:
        assert one["requests"] == one["latency"]["count"] + one["failed"]
        assert one["p99_interval"]["low"] <= one["latency"]["p99"] <= one["latency"]["worst"]
    assert Summary.from_json(figures["summary"]).to_json() == summary(run).to_json()
    page = as_html.read_text()
    assert page.count("data:image/png") == 2
    assert "3 UNAVAILABLE" in page


def test_a_report_of_failures_alone_can_be_written(tmp_path):
    run = run_of(steady_step(0.5, failed=40), after=None)
    as_html, _ = report.write("stem", to_html(run, FACTS), to_json(run, FACTS), tmp_path)
    assert "40 UNAVAILABLE" in as_html.read_text()


@pytest.mark.parametrize(
    ("steps", "after", "good"),
    [
        pytest.param([steady_step(0.5)], 8.2, True, id="all is well"),
        pytest.param([steady_step(0.5, failed=1)], 8.2, False, id="a failure below saturation"),
        pytest.param([steady_step(0.5), steady_step(1.1, failed=1)], 8.2, True, id="one above it"),
        pytest.param([steady_step(0.5, late_ms=90.0)], 8.2, True, id="a late generator is told, no more"),
        pytest.param([steady_step(0.5)], 4.0, True, id="so is a server that slowed down"),
    ],
)
def test_what_makes_the_run_fail(steps, after, good):
    run = run_of(*steps, after=after)
    assert passed(verdicts(run)) is good
    assert to_json(run, FACTS)["outcome"] == ("finished" if good else "failed")


@pytest.mark.parametrize(
    ("run", "sentence"),
    [
        pytest.param(run_of(steady_step(0.5, late_ms=90.0)), "the generator was late", id="late"),
        pytest.param(run_of(steady_step(0.5), after=4.0), "-50.0 %", id="slowed down"),
        pytest.param(run_of(steady_step(1.0, failed=2)), "2 of 40 requests at the saturated rate", id="failed over it"),
        pytest.param(run_of(replace(steady_step(0.5), others_cores=1.5)), "at most 1.50 cores", id="others worked"),
    ],
)
def test_what_speaks_against_a_run_is_told(run, sentence):
    (told,) = [verdict for verdict in verdicts(run) if not verdict.good]
    assert sentence in told.sentence


def test_remarks_say_what_a_row_rests_on():
    few, settled = steady_step(0.1), replace(steady_step(0.1), latency=summarise(np.full(100, 5.0)))
    assert row(few)[-1] == "few"
    assert row(settled)[-1] == ""
    assert "not settled" in row(steady_step(1.0))[-1]


# The command


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        pytest.param(["--levels", "10,many"], "expected percentages", id="levels"),
        pytest.param(["--url", "10.0.0.1:8001"], "expected this machine", id="somebody else's server"),
        pytest.param(["--requests", "0"], "requests: expected 1", id="no requests"),
    ],
)
def test_the_command_refuses(arguments, message, tmp_path: Path):
    result = CliRunner().invoke(main, [*arguments, "--out", str(tmp_path)])
    assert result.exit_code in (1, 2)
    assert message in result.output
    assert not list(tmp_path.iterdir())
