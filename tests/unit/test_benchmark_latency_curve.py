"""Latency against offered load: what counts in a step, how sure its p99 is, and what the report says of it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from benchmarks import report
from benchmarks.answers import NOT_SENT, OK, Answer, Answers, summarise
from benchmarks.latency_curve.__main__ import main
from benchmarks.latency_curve.page import WHAT, row, summary, to_html, to_json, verdicts
from benchmarks.latency_curve.run import LEVELS, Run, Settings
from benchmarks.latency_curve.steps import Step, Window, relaxation_s, step_of, window_of
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


def window(answers: Sequence[Answer], settle_s: float = 2.0, seconds: float = 10.0) -> Window:
    return window_of(Answers({"begin": 1000.0}, tuple(answers)), settle_s=settle_s, seconds=seconds)


def step(
    answers: Sequence[Answer],
    *,
    saturated: float = 8.0,
    rate: float = 4.0,
    settle_s: float = 2.0,
    seconds: float = 10.0,
) -> Step:
    """Of one pass."""
    return step_of([window(answers, settle_s, seconds)], saturated=saturated, rate=rate, settle_s=settle_s)


def steady_step(share: float, *, ms: float = 100.0, late_ms: float = 1.0, failed: int = 0) -> Step:
    """A step of one request a quarter of a second, of which the first ``failed`` fail."""
    codes = ["UNAVAILABLE"] * failed + [OK] * (40 - failed)
    answers = [
        answer(1002.0 + number / 4, ms + number, late_ms=late_ms, code=code) for number, code in enumerate(codes)
    ]
    return step(answers, rate=8.0 * share)


def run_of(*steps: Step, after: float | None = 8.2) -> Run:
    return Run(Settings(), {"flags": ["--one"], "triton": "triton 2"}, ("one.jpg",), 8.0, after, steps)


# Percentiles, and how far passes lie apart


def test_p90_lies_between_p50_and_p95():
    found = summarise(np.arange(101.0))
    assert (found.p50, found.p90, found.p95, found.p99) == pytest.approx((50.0, 90.0, 95.0, 99.0))


def test_the_passes_range_is_told_where_there_are_several():
    fast, slow = (window([answer(1003.0 + number, ms) for number in range(9)]) for ms in (100.0, 300.0))
    both = step_of([fast, slow, fast], saturated=8.0, rate=4.0, settle_s=2.0)
    assert both.range_of("p95") == pytest.approx((100.0, 300.0))
    assert (both.requests, both.passes, both.seconds) == (27, 3, 30.0)
    assert both.latency.count == sum(one.count for one in both.by_pass)
    assert step([answer(1003.0)]).range_of("p95") is None


def test_a_pass_in_which_nothing_was_answered_has_no_range():
    failed, answered = window([answer(1003.0, code="UNAVAILABLE")]), window([answer(1003.0, 70.0)])
    both = step_of([failed, answered], saturated=8.0, rate=4.0, settle_s=2.0)
    assert both.range_of("p95") is None
    assert (both.failed, both.latency.count) == (1, 1)


def test_every_second_pass_goes_downwards():
    settings = Settings(levels=(0.1, 0.5, 0.9))
    assert [settings.order_of(number) for number in range(3)] == [[0, 1, 2], [2, 1, 0], [0, 1, 2]]


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
    assert (found.latency, found.by_pass, found.achieved) == (None, (None,), 0.0)
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
    ("settle_s", "seconds", "settled"),
    [
        pytest.param(3.1, 2.9, False, id="too short"),
        pytest.param(2.9, 3.1, False, id="begun too early"),
        pytest.param(3.1, 3.1, True, id="long enough"),
    ],
)
def test_a_step_has_settled_after_three_relaxation_times(settle_s, seconds, settled):
    found = step([answer(1005.0)], saturated=4.0, rate=1.0, settle_s=settle_s, seconds=seconds)
    assert found.settled is settled


# Settings


def test_a_step_lasts_for_its_requests_or_as_long_as_it_may():
    settings = Settings(levels=(0.1, 0.5), passes=2, requests=300, longest_s=150, settle_s=5, rest_s=2)
    assert settings.window_s(0.8) == 75
    assert settings.window_s(4.0) == 37.5
    assert settings.whole_s(8.0) == pytest.approx(2 * (75 + 37.5 + 2 * 7))


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
        {"passes": 0},
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
        assert [part["count"] for part in one["by_pass"]] == [one["latency"]["count"]]
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
        pytest.param(
            run_of(replace(steady_step(0.5), others_cores=1.5)), "others kept 1.50 cores busy", id="others worked"
        ),
    ],
)
def test_what_speaks_against_a_run_is_told(run, sentence):
    (told,) = [verdict for verdict in verdicts(run) if not verdict.good]
    assert sentence in told.sentence


def test_a_remark_says_where_the_queue_had_no_time_to_settle():
    assert row(steady_step(0.1))[-1] == ""
    assert row(steady_step(1.0))[-1] == "not settled"


@pytest.mark.parametrize(
    ("level", "left_out_s"),
    [
        pytest.param(0.25, 3.0, id="at once"),  # relaxation 1 s
        pytest.param(0.5625, 12.0, id="three relaxation times of 4 s"),
        pytest.param(0.9, 3.0, id="too long to wait for"),
        pytest.param(1.0, 3.0, id="never"),
    ],
)
def test_what_the_queue_needs_to_settle_does_not_count(level, left_out_s):
    settings = Settings(settle_s=3.0, longest_settle_s=60.0)
    assert settings.left_out_s(4.0 * level, 4.0) == pytest.approx(left_out_s)


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
