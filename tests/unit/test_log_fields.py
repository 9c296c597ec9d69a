"""Facts at the end of log lines: written by models, read by the launcher, and never filled by callers."""

from __future__ import annotations

import pytest

from trident.log_fields import Sparingly, split_fields, with_fields


def test_what_is_written_is_read_again():
    line = with_fields("refused a picture", component="preprocess", request_id="4f1c-9.A:b_", reason="damaged")
    assert split_fields(line) == (
        "refused a picture",
        {"component": "preprocess", "request_id": "4f1c-9.A:b_", "reason": "damaged"},
    )


def test_facts_stand_before_a_trace():
    line = with_fields("a request failed\nTraceback:\n  File [component=x]", request_id="7")
    assert line == "a request failed [request_id=7]\nTraceback:\n  File [component=x]"
    assert split_fields(line) == ("a request failed\nTraceback:\n  File [component=x]", {"request_id": "7"})


@pytest.mark.parametrize(
    "request_id",
    ["a b", "x\ny", "] [component=fusion", "Ada Lovelace", "皖A06725", "a=b", "\x00"],
)
def test_a_callers_id_cannot_pass_for_something_else(request_id):
    line = with_fields("refused a picture", component="preprocess", request_id=request_id)
    message, facts = split_fields(line)
    assert message == "refused a picture"
    assert set(facts) == {"component", "request_id"}
    assert facts["component"] == "preprocess"
    assert "\n" not in line


def test_a_long_id_is_cut():
    assert len(with_fields("x", request_id="a" * 10_000)) < 100


@pytest.mark.parametrize(
    "text", ["", "plain", "a list [1, 2]", "[a=b]", "x [other=1]", "x [component=]", "x [reason=a"]
)
def test_other_lines_have_no_facts(text):
    assert split_fields(text) == (text, {})


def test_no_facts_leave_the_message_as_it_is():
    assert with_fields("as it is", reason="", left_out="") == "as it is"


def test_an_unknown_fact_is_an_error():
    with pytest.raises(ValueError, match="got plate"):
        with_fields("x", plate="A")


def test_lines_are_said_sparingly_and_the_rest_is_counted():
    now = [0.0]
    sparingly = Sparingly(most=2, seconds=10, clock=lambda: now[0])
    assert [sparingly.may_say() for _ in range(5)] == [0, 0, None, None, None]
    now[0] = 10.0
    assert [sparingly.may_say() for _ in range(3)] == [3, 0, None]
