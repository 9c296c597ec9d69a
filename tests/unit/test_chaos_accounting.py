"""A chaos run's account: what a request's end means, and during which fault it ended so."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks.answers import BAD_ANSWER, NOT_SENT, OK, Answer, Answers
from benchmarks.chaos.accounting import (
    INVALID,
    End,
    Ended,
    Expected,
    Stream,
    Window,
    by_fault,
    cost_of,
    end_of,
    judged,
    sentence_of,
    sentences,
    totals,
    unaccounted,
    window_of,
    without_sentence,
)
from benchmarks.load import Plan, arrival_times
from trident.contract import STEPS
from trident.provenance import Provenance

ONE, TWO = Provenance(1, "sha256:" + "11" * 32), Provenance(2, "sha256:" + "22" * 32)
RELEASE = dict.fromkeys(STEPS, ONE)
EXPECTED = Expected(RELEASE, {"fusion": TWO}, [(100.0, 120.0)])
NOBODY = "failed to connect to all addresses; last error: UNKNOWN: ipv4:127.0.0.1:1: connect: Connection refused (111)"


def answer(sent: float = 10.0, done: float = 11.0, code: str = OK, **more: Any) -> Answer:
    facts = {"number": 0, "picture": "one", "planned": sent, "models": RELEASE if code == OK else {}, **more}
    return Answer(sent=sent, done=done, code=code, **facts)


def lost(sent: float, done: float, stream: Stream = Stream.LOAD, end: End = End.LOST) -> Ended:
    return Ended(stream, answer(sent, done, "INTERNAL"), end, "Stub process is not healthy")


class TestEnds:
    @pytest.mark.parametrize(
        ("code", "message", "end"),
        [
            pytest.param("UNAVAILABLE", "a model is being brought back: ask again later", End.REFUSED, id="held"),
            pytest.param("UNAVAILABLE", "Exceeds maximum queue size", End.REFUSED, id="a full queue"),
            pytest.param("UNAVAILABLE", NOBODY, End.REFUSED, id="nobody listens"),
            pytest.param("UNAVAILABLE", "Socket closed", End.LOST, id="cut off"),
            pytest.param("UNAVAILABLE", "recvmsg:Connection reset by peer", End.LOST, id="reset"),
            pytest.param("INTERNAL", "Stub process 'fusion_0_0' is not healthy.", End.LOST, id="a dead process"),
            pytest.param("DEADLINE_EXCEEDED", "Deadline Exceeded", End.LOST, id="too late"),
            pytest.param("UNKNOWN", "", End.LOST, id="whatever else"),
            pytest.param(INVALID, "IMAGE: cut short or damaged", End.WRONG, id="a good picture is refused for itself"),
            pytest.param(BAD_ANSWER, "KeyError('models')", End.WRONG, id="no answer at all"),
            pytest.param(NOT_SENT, "500 were in flight", End.NOT_SENT, id="not sent"),
        ],
    )
    def test_of_a_good_picture(self, code: str, message: str, end: End) -> None:
        assert end_of(code, message) is end
        (ended,) = judged(Stream.LOAD, [answer(code=code, message=message)], EXPECTED)
        assert (ended.end, ended.failed, ended.why) == (end, True, message)

    def test_a_bad_picture_is_answered_right_by_a_refusal_of_itself(self) -> None:
        found = judged(Stream.BAD, [answer(code=INVALID), answer(), answer(code="INTERNAL")], EXPECTED)
        assert [one.end for one in found] == [End.RIGHT, End.WRONG, End.LOST]
        assert found[1].why == "a bad picture was answered"

    def test_an_answer_that_differs_in_what_it_says_is_wrong(self) -> None:
        (ended,) = judged(Stream.CLIENT, [answer(message="RESULT.scene: expected 1, got 2")], EXPECTED)
        assert (ended.end, ended.why) == (End.WRONG, "RESULT.scene: expected 1, got 2")

    def test_who_left_has_not_failed(self) -> None:
        assert not Ended(Stream.VANISHED, answer(code="LEFT"), End.LEFT).failed


class TestVersions:
    def test_the_release_is_right_at_any_time(self) -> None:
        assert EXPECTED.problem(answer()) == EXPECTED.problem(answer(110, 111)) == ""

    @pytest.mark.parametrize(
        ("sent", "done", "right"),
        [
            pytest.param(110, 111, True, id="during"),
            pytest.param(99, 100, True, id="across its begin"),
            pytest.param(120, 121, True, id="across its end"),
            pytest.param(98, 99, False, id="before"),
            pytest.param(121, 122, False, id="after"),
        ],
    )
    def test_the_other_version_only_while_a_rollout_is_under_way(self, sent: float, done: float, right: bool) -> None:
        found = EXPECTED.problem(answer(sent, done, models={**RELEASE, "fusion": TWO}))
        assert (found == "") is right

    def test_a_component_that_no_rollout_moves_is_wrong_at_any_time(self) -> None:
        found = EXPECTED.problem(answer(110, 111, models={**RELEASE, "detector": TWO}))
        assert found.startswith("not to answer then: detector 2 (sha256:22")

    def test_the_right_number_with_another_digest_is_wrong(self) -> None:
        assert EXPECTED.problem(answer(models={**RELEASE, "detector": Provenance(1, TWO.digest)}))

    def test_every_step_has_to_be_named(self) -> None:
        assert EXPECTED.problem(answer(models={"fusion": ONE})).startswith("it does not name preprocess, ")


PLAN = Plan(seconds=60, rate=5, seed=3)


def recorded(count: int, begin: float = 1000.0) -> list[Answer]:
    moments = [begin + offset for offset, _ in zip(arrival_times(PLAN, 0.0), range(count), strict=False)]
    return [answer(moment, moment + 1, number=number) for number, moment in enumerate(moments)]


STOPPED = recorded(40)[-1].planned + 1.0


class TestNothingIsLeftOut:
    def test_what_was_planned_is_what_was_told(self) -> None:
        assert unaccounted(Answers({}, tuple(recorded(40))), PLAN, STOPPED) == ""

    def test_in_whatever_order_they_ended(self) -> None:
        assert unaccounted(Answers({}, tuple(reversed(recorded(40)))), PLAN, STOPPED) == ""

    def test_one_that_is_missing_is_told(self) -> None:
        some = recorded(40)
        assert "expected the requests 0 to 38" in unaccounted(Answers({}, (*some[:7], *some[8:])), PLAN, STOPPED)

    def test_one_that_is_there_twice_is_told(self) -> None:
        some = recorded(40)
        assert "once each" in unaccounted(Answers({}, (*some, some[3])), PLAN, STOPPED)

    def test_one_that_was_skipped_in_silence_is_told(self) -> None:
        some = recorded(40)
        renumbered = [answer(one.sent, one.done, number=number) for number, one in enumerate((*some[:7], *some[8:]))]
        assert "requests were not planned for the moment that they name" in unaccounted(
            Answers({}, tuple(renumbered)), PLAN, STOPPED
        )

    def test_a_load_that_ended_before_it_was_stopped_is_told(self) -> None:
        said = unaccounted(Answers({}, tuple(recorded(20))), PLAN, recorded(40)[-1].planned + 5.1)
        assert said == "20 requests were recorded, 40 were due before the load was stopped"

    def test_more_than_were_planned_are_told(self) -> None:
        short = Plan(seconds=2, rate=5, seed=3)
        planned = len(list(arrival_times(short, 0.0)))
        assert unaccounted(Answers({}, tuple(recorded(planned + 1))), short, STOPPED) == (
            f"{planned + 1} requests were recorded, {planned} were planned"
        )

    def test_nothing_at_all_is_told(self) -> None:
        assert unaccounted(Answers({}, ()), PLAN, STOPPED) == "no request was recorded"


WINDOWS = (Window(1, 10.0, 20.0), Window(2, 30.0, 40.0))


class TestFaults:
    @pytest.mark.parametrize(
        ("sent", "done", "fault"),
        [
            pytest.param(8, 9.9, None, id="over before"),
            pytest.param(8, 10, 1, id="under way when it began"),
            pytest.param(12, 13, 1, id="within"),
            pytest.param(20, 25, 1, id="sent at its last moment"),
            pytest.param(21, 29, None, id="between two"),
            pytest.param(15, 35, 1, id="the first of two"),
            pytest.param(41, 42, None, id="after"),
        ],
    )
    def test_a_request_belongs_to_the_fault_that_it_was_under_way_in(
        self, sent: float, done: float, fault: int | None
    ) -> None:
        assert window_of(answer(sent, done), WINDOWS) == fault

    def test_only_those_that_failed_are_assigned(self) -> None:
        right, left = Ended(Stream.LOAD, answer(12, 13), End.RIGHT), Ended(Stream.VANISHED, answer(12, 13), End.LEFT)
        one, two, none = lost(11, 12), lost(29, 31), lost(50, 51)
        assert by_fault([right, one, left, two, none], WINDOWS) == {1: [one], 2: [two], None: [none]}

    def test_what_a_fault_cost(self) -> None:
        strike = 100.0
        flying = [lost(99.0, 100.5), lost(99.9, 103.0, Stream.BAD)]
        later = lost(100.2, 101.0)
        refused = lost(101.0, 101.1, end=End.REFUSED)
        client = lost(99.0, 104.0, Stream.CLIENT)
        through = Ended(Stream.LOAD, answer(99.5, 100.1), End.RIGHT)
        unsent = Ended(Stream.LOAD, answer(100.0, 100.0, NOT_SENT), End.NOT_SENT)
        failed = [*flying, later, refused, client, unsent]
        cost = cost_of([strike], [*failed, through], failed)
        assert cost.in_flight == 3, "two that were lost, and one that got through"
        assert cost.ends == {End.LOST: 3, End.NOT_SENT: 1, End.REFUSED: 1}
        assert (cost.lost_later, cost.client_failed, cost.last_failure) == (1, 1, 103.0)

    def test_one_that_was_under_way_at_any_of_several_strikes_was_in_flight(self) -> None:
        failed = [lost(99.0, 101.0), lost(109.0, 111.0), lost(105.0, 106.0)]
        cost = cost_of([100.0, 110.0], failed, failed)
        assert (cost.in_flight, cost.lost_later) == (2, 1)

    def test_a_fault_that_cost_nothing(self) -> None:
        cost = cost_of([100.0], [Ended(Stream.LOAD, answer(1, 2), End.RIGHT)], [])
        assert (cost.in_flight, cost.ends, cost.lost_later, cost.last_failure) == (0, {}, 0, None)


def test_every_request_has_its_place_in_the_totals():
    ended = [
        *judged(Stream.LOAD, [answer(), answer(), answer(code="INTERNAL"), answer(code=NOT_SENT)], EXPECTED),
        *judged(Stream.BAD, [answer(code=INVALID)], EXPECTED),
    ]
    assert totals(ended) == {
        Stream.LOAD: {End.RIGHT: 2, End.LOST: 1, End.NOT_SENT: 1},
        Stream.BAD: {End.RIGHT: 1},
    }


class TestSentences:
    @pytest.mark.parametrize(
        ("message", "sentence"),
        [
            pytest.param("Stub process 'a_0_1' is not healthy.", "Stub process 'a_N_N' is not healthy.", id="numbers"),
            pytest.param("it waited\n 2.5 s", "it waited N s", id="lines"),
            pytest.param("it failed\n\nAt:\n  /models/x/1/model.py(3): execute", "it failed", id="a trace"),
            pytest.param("", "", id="nothing"),
        ],
    )
    def test_what_differs_from_request_to_request_is_left_out(self, message: str, sentence: str) -> None:
        assert sentence_of(message) == sentence

    def test_those_of_a_kind_are_counted(self) -> None:
        failed = judged(
            Stream.LOAD,
            [answer(code="INTERNAL", message=f"process {number} has gone") for number in range(3)]
            + [answer(code="UNAVAILABLE", message="ask again later")],
            EXPECTED,
        )
        assert sentences(failed) == [
            (End.LOST, "INTERNAL", "process N has gone", 3),
            (End.REFUSED, "UNAVAILABLE", "ask again later", 1),
        ]

    def test_those_without_a_word_are_counted(self) -> None:
        failed = judged(Stream.LOAD, [answer(code="UNKNOWN"), answer(code="INTERNAL", message="why")], EXPECTED)
        assert without_sentence(failed) == 1
