"""What a chaos run reads off the health endpoint."""

from __future__ import annotations

import pytest

from benchmarks.chaos.readiness import Change, Readiness, noticed_at, ready_at, unready_spans

CHANGES = [
    Change(0.0, True, ""),
    Change(10.1, False, "a process has ended"),
    Change(12.0, True, ""),
    Change(12.5, False, "no answer has come since"),
    Change(13.0, True, ""),
    Change(50.0, False, "the server is restarting"),
]


def test_only_what_differs_is_kept_and_gaps_are_told():
    readiness = Readiness()
    for at, ready in ((1.0, True), (1.05, True), (1.3, False), (1.35, False), (1.4, True)):
        readiness.note(at, ready=ready, reason="" if ready else "why")
    assert readiness.changes == [Change(1.0, True, ""), Change(1.3, False, "why"), Change(1.4, True, "")]
    assert readiness.looks == 5
    assert readiness.longest_gap_s == pytest.approx(0.25)
    assert readiness.ready_since() == 1.4


def test_before_the_first_look_and_while_it_is_not_ready_it_is_ready_since_never():
    readiness = Readiness()
    assert readiness.ready_since() is None
    readiness.note(1.0, ready=False, reason="it starts")
    assert readiness.ready_since() is None


@pytest.mark.parametrize(
    ("begin", "end", "noticed", "ready"),
    [
        pytest.param(10.0, 40.0, 10.1, 13.0, id="until it was ready for good"),
        pytest.param(10.0, 12.2, 10.1, 12.0, id="as far as it was looked at"),
        pytest.param(10.0, 12.7, 10.1, None, id="not yet"),
        pytest.param(11.0, 40.0, 11.0, 13.0, id="it was not ready then"),
        pytest.param(20.0, 40.0, None, None, id="never noticed"),
        pytest.param(45.0, 60.0, 50.0, None, id="never ready again"),
    ],
)
def test_when_it_noticed_and_when_it_was_ready_again(
    begin: float, end: float, noticed: float | None, ready: float | None
):
    assert noticed_at(CHANGES, begin, end) == noticed
    assert ready_at(CHANGES, begin, end) == ready


def test_when_it_was_not_ready():
    assert unready_spans(CHANGES, 55.0) == [(10.1, 12.0), (12.5, 13.0), (50.0, 55.0)]
    assert unready_spans(CHANGES, 49.0) == [(10.1, 12.0), (12.5, 13.0)]
    assert unready_spans([], 10.0) == []
