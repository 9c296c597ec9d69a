"""What a chaos run comes to, what fails it, and what its report says."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from benchmarks import report
from benchmarks.answers import NOT_SENT, OK, Answer, Answers
from benchmarks.chaos.__main__ import main
from benchmarks.chaos.accounting import INVALID, End, Expected, Stream
from benchmarks.chaos.course import Fault, line_of
from benchmarks.chaos.faults import LEFT
from benchmarks.chaos.figures import Figures, spread, work_out
from benchmarks.chaos.kinds import Kind
from benchmarks.chaos.page import (
    ACCOUNT_HEADINGS,
    FAULT_HEADINGS,
    KIND_HEADINGS,
    WHAT,
    account_rows,
    fault_row,
    kind_row,
    summary,
    to_html,
    to_json,
)
from benchmarks.chaos.readiness import Change
from benchmarks.chaos.record import BY_HAND, Run, Settings
from benchmarks.chaos.watch import Event, Sample
from benchmarks.load import Plan, arrival_times
from benchmarks.report import Summary
from benchmarks.verdict import passed
from trident.contract import STEPS
from trident.provenance import Provenance

FACTS = {
    "command": ".venv/bin/python -m benchmarks.chaos",
    "commit": "c" * 40,
    "date": "2026-01-02T03:04:05+00:00",
    "machine": {"processor": "A CPU", "cores": 2},
    "load_average": [0.1, 0.2, 0.3],
}
RELEASE = dict.fromkeys(STEPS, Provenance(1, "sha256:" + "11" * 32))
BEGIN, SECONDS = 1000.0, 100.0
PLAN, BAD_PLAN = Plan(seconds=SECONDS, rate=4, seed=1), Plan(seconds=SECONDS, rate=0.5, seed=2)
DEAD = "Stub process 'fusion_0_0' is not healthy."
HELD = "a model is being brought back: ask again later"


def fault(number: int, kind: Kind, at: float, **more: Any) -> Fault:
    facts = {
        "victim": "fusion",
        "begin": at,
        "moments": (at,),
        "over": None,
        "recovered": at + 4.0,
        "end": at + 7.0,
        "noticed_s": 0.08,
        "ready_s": 2.5,
        "note": "",
        "failed": "",
        "wrong": (),
        "left": (),
        "lingering": (),
        "events": (),
        **more,
    }
    return Fault(number=number, kind=kind, **facts)


KILL = fault(1, Kind.KILL, BEGIN + 20)
SERVER = fault(2, Kind.KILL_SERVER, BEGIN + 50, victim="", ready_s=8.0, recovered=BEGIN + 60, end=BEGIN + 63)
VANISH = fault(3, Kind.VANISH, BEGIN + 80, victim="", over=BEGIN + 80, noticed_s=None, ready_s=None)


def load(plan: Plan, failing: dict[float, tuple[str, str]], otherwise: str = OK) -> Answers:
    """Every planned request takes 0.2 s; the first one from each of the moments on, since the begin, fails."""
    left = dict(failing)
    records = []
    for number, offset in enumerate(arrival_times(plan, 0.0)):
        code, message = otherwise, ""
        for since in sorted(left):
            if offset >= since:
                code, message = left.pop(since)
                break
        planned = BEGIN + offset
        models = RELEASE if code == OK else {}
        records.append(Answer(number, "one", planned, planned, planned + 0.2, code, message, models))
    return Answers({"begin": BEGIN}, tuple(records))


def client(count: int, *failed: tuple[float, str]) -> tuple[Answer, ...]:
    good = [
        Answer(number, "one", moment, moment, moment + 0.2, OK, "", RELEASE)
        for number, moment in enumerate(BEGIN + one for one in range(count))
    ]
    lost = [Answer(count + n, "one", at, at, at + 0.5, code, DEAD) for n, (at, code) in enumerate(failed)]
    return (*good, *lost)


def left_behind(count: int) -> tuple[Answer, ...]:
    at = VANISH.begin
    answered = [Answer(0, "one", at - 1, at - 1, at - 0.5, OK, "", RELEASE)]
    return (*answered, *(Answer(1 + one, "", at, at, at, LEFT) for one in range(count)))


FAILING = {
    20.0: ("INTERNAL", DEAD),
    20.5: ("UNAVAILABLE", HELD),
    21.0: ("UNAVAILABLE", HELD),
    50.0: (NOT_SENT, "500 were in flight"),
}
RUN = Run(
    settings=Settings(),
    command="trident serve --grpc-port 1",
    private=True,
    left_out={Kind.OUT_OF_MEMORY: "no control group for memory can be made: there are none"},
    pictures=("one.jpg",),
    bad_pictures=("text.jpg",),
    expected=Expected(RELEASE, {}),
    saturated=10.0,
    rate=4.0,
    client_rate=1.0,
    plan=PLAN,
    faults=[KILL, SERVER, VANISH],
    answers=load(PLAN, FAILING),
    bad=load(BAD_PLAN, {}, INVALID),
    bad_plan=BAD_PLAN,
    client=client(90, (BEGIN + 55, "UNAVAILABLE")),
    client_asked=91,
    left=left_behind(8),
    changes=(
        Change(BEGIN, True, ""),
        Change(BEGIN + 20.1, False, "a process has ended"),
        Change(BEGIN + 22.5, True, ""),
    ),
    longest_gap_s=0.2,
    samples=(Sample(BEGIN, 14, 900.0, 20.0), Sample(BEGIN + 50, 14, 910.0, 21.0)),
    others_cores=0.05,
    begin=BEGIN,
    end=BEGIN + SECONDS,
    stopped=BEGIN + SECONDS,
    stop_s=3.0,
)


def with_fault(changed: Fault) -> Run:
    return replace(RUN, faults=[changed if one.number == changed.number else one for one in RUN.faults])


def failed_of(figures: Figures, *, required: bool = True) -> list[str]:
    return [one.sentence for one in figures.verdicts if one.required is required and not one.good]


class TestFigures:
    def test_a_run_that_shows_what_it_must_passes(self) -> None:
        figures = work_out(RUN)
        assert failed_of(figures) == []
        assert passed(figures.verdicts)

    def test_every_request_is_in_the_account(self) -> None:
        figures = work_out(RUN)
        everything = len(RUN.answers.records) + len(RUN.bad.records) + len(RUN.client) + len(RUN.left)
        assert figures.planned == everything == sum(sum(ends.values()) for ends in figures.totals.values())
        assert figures.totals[Stream.LOAD] == {
            End.RIGHT: len(RUN.answers.records) - 4,
            End.LOST: 1,
            End.REFUSED: 2,
            End.NOT_SENT: 1,
        }
        assert figures.totals[Stream.BAD] == {End.RIGHT: len(RUN.bad.records)}
        assert figures.totals[Stream.VANISHED] == {End.RIGHT: 1, End.LEFT: 8}
        assert f"every request is accounted for: {everything} = " in figures.verdicts[0].sentence

    def test_what_failed_is_the_faults_that_it_was_under_way_in(self) -> None:
        figures = work_out(RUN)
        assert {number: len(some) for number, some in figures.failed.items()} == {1: 3, 2: 2}
        assert figures.costs[1].ends == {End.LOST: 1, End.REFUSED: 2}
        assert (figures.costs[2].ends, figures.costs[2].client_failed) == ({End.NOT_SENT: 1}, 1)

    def test_kinds_are_summed_up(self) -> None:
        again = fault(4, Kind.KILL, BEGIN + 90, noticed_s=1.5, ready_s=7.5)
        rows = {row.kind: row for row in work_out(replace(RUN, faults=[*RUN.faults, again])).rows}
        assert list(rows) == [Kind.KILL, Kind.KILL_SERVER, Kind.VANISH]
        kill = rows[Kind.KILL]
        assert (kill.faults, kill.noticed, kill.ready) == (2, (0.08, 1.5), (2.5, 7.5))
        assert (kill.noticed_in_time, kill.ready_in_time, kill.lost, kill.refused) == (1, 1, 1, 2)

    def test_a_fault_that_did_not_come_about_counts_for_nothing(self) -> None:
        figures = work_out(with_fault(replace(KILL, moments=(), noticed_s=None, ready_s=None)))
        assert [row.kind for row in figures.rows] == [Kind.KILL_SERVER, Kind.VANISH]

    @pytest.mark.parametrize(("values", "text"), [([], "–"), ([2.0], "2.0"), ([1.0, 2.0, 9.0], "2.0 (9.0)")])
    def test_the_median_and_the_most(self, values: Sequence[float], text: str) -> None:
        assert spread(values, 1) == text


STORM = fault(
    1, Kind.STORM, BEGIN + 20, events=(Event(BEGIN + 30, "revival_delayed", "fusion has been brought back too often"),)
)


MISSED = replace(KILL, moments=(), noticed_s=None, ready_s=None, note="fusion asked for no memory within 10 s")


class TestVerdicts:
    @pytest.mark.parametrize(
        ("run", "sentence"),
        [
            pytest.param(
                replace(RUN, answers=Answers({}, RUN.answers.records[1:])), "once each, got other", id="one is missing"
            ),
            pytest.param(replace(RUN, client_asked=92), "the client began 92 requests, and told of 91", id="client"),
            pytest.param(
                replace(RUN, expected=Expected({**RELEASE, "fusion": Provenance(2, "sha256:" + "22" * 32)}, {})),
                "answers were wrong",
                id="versions",
            ),
            pytest.param(
                with_fault(replace(KILL, wrong=("a.jpg: RESULT.scene: expected 1, got 2",))),
                "after 1 of 3 faults the golden pictures' answers were not as before (1: a.jpg",
                id="golden",
            ),
            pytest.param(
                replace(RUN, broken_off="the launcher has gone"), "broken off: the launcher has gone", id="broken off"
            ),
            pytest.param(replace(RUN, faults=[]), "the server got over 0 of 0 faults", id="no faults"),
            pytest.param(
                replace(RUN, faults=[MISSED]),
                "the server got over 0 of 0 faults that came about, each within 90 s once it was done; 1 did not come "
                "about (1 (kill): fusion asked for no memory within 10 s)",
                id="none came about",
            ),
            pytest.param(
                with_fault(replace(MISSED, recovered=None)), "got over 2 of 2 faults", id="not well, without a fault"
            ),
            pytest.param(
                with_fault(replace(KILL, failed="trident rollback: no")),
                "1 faults did not end as they must (1 (kill): trident rollback: no)",
                id="badly",
            ),
            pytest.param(
                replace(RUN, answers=load(PLAN, {10.0: ("INTERNAL", DEAD)})),
                f"1 requests were lost while no fault was under way ({DEAD})",
                id="lost without a fault",
            ),
            pytest.param(
                replace(RUN, answers=load(PLAN, {20.0: ("UNKNOWN", "")})),
                "1 of 2 failed requests ended without",
                id="mute",
            ),
            pytest.param(
                with_fault(replace(SERVER, left=("process 7 of trident-a",))),
                "1 processes and files were left behind (process 7 of trident-a)",
                id="left by a fault",
            ),
            pytest.param(
                replace(RUN, orphans=("process 8, python",)), "were left behind (process 8", id="left in the end"
            ),
            pytest.param(replace(RUN, exit_code=1), "with exit code 1", id="exit code"),
            pytest.param(with_fault(replace(STORM, events=())), "0 of 1 storms were slowed down", id="a storm"),
        ],
    )
    def test_each_of_these_fails_it(self, run: Run, sentence: str) -> None:
        found = failed_of(work_out(run))
        assert len(found) >= 1
        assert any(sentence in one for one in found), found

    def test_one_that_was_not_got_over_fails_it(self) -> None:
        found = failed_of(work_out(with_fault(replace(SERVER, recovered=None, failed="it was not as before"))))
        assert any("got over 2 of 3 faults" in one for one in found)

    def test_one_that_did_not_come_about_is_not_got_over(self) -> None:
        figures = work_out(with_fault(MISSED))
        assert failed_of(figures) == []
        (sentence,) = (one.sentence for one in figures.verdicts if "got over" in one.sentence)
        assert "got over 2 of 2 faults that came about" in sentence
        assert "; 1 did not come about (1 (kill): fusion asked for no memory within 10 s)" in sentence
        assert summary(with_fault(MISSED), figures).sentences[0].startswith("2 faults at random")

    def test_how_long_it_took_counts_from_the_harm(self) -> None:
        """A storm, a hang and a rollout last, and what the server has to keep to begins when they are over."""
        found = work_out(with_fault(replace(SERVER, moments=(BEGIN + 40, BEGIN + 50)))).verdicts
        assert any(
            "each within 90 s once it was done, the slowest 20.0 s after its first harm" in v.sentence for v in found
        )

    def test_what_was_compared_and_what_is_only_counted_is_said(self) -> None:
        account, wrong, *_ = (one.sentence for one in work_out(RUN).verdicts)
        assert account.endswith("; those left are as many as the callers who were killed, 8 each time")
        assert "0 answers were wrong (held against the versions that were to answer, and those to the client" in wrong
        nobody_left = replace(RUN, left=())
        assert "callers who were killed" not in work_out(nobody_left).verdicts[0].sentence

    def test_a_storm_that_was_slowed_down_passes(self) -> None:
        assert failed_of(work_out(with_fault(STORM))) == []

    @pytest.mark.parametrize(
        ("run", "sentence"),
        [
            pytest.param(with_fault(replace(KILL, noticed_s=1.2)), "of the harm, reached for 1 of 2", id="late"),
            pytest.param(with_fault(replace(KILL, noticed_s=None)), "of the harm, reached for 1 of 2", id="never"),
            pytest.param(RUN, "ready again within 5 s, reached for 1 of 2", id="slow"),
            pytest.param(RUN, "the client with retries got 90 of 91 answers", id="client"),
            pytest.param(RUN, "of 1 lost ones 1 were sent after the harm was done", id="later"),
            pytest.param(
                replace(RUN, answers=load(PLAN, {10.0: ("UNAVAILABLE", HELD)})),
                "1 requests were refused, or not sent, while no fault was under way",
                id="refused without a fault",
            ),
            pytest.param(
                with_fault(replace(KILL, lingering=("1 of fusion 1",))),
                "kept a process (1 of fusion 1)",
                id="lingering",
            ),
            pytest.param(replace(RUN, others_cores=0.9), "others kept 0.90 cores busy", id="others"),
        ],
    )
    def test_an_aim_that_was_missed_is_told_and_fails_nothing(self, run: Run, sentence: str) -> None:
        figures = work_out(run)
        assert failed_of(figures) == []
        assert any(sentence in one for one in failed_of(figures, required=False))


class TestReport:
    def test_rows_have_a_cell_for_each_heading(self) -> None:
        figures = work_out(RUN)
        assert all(len(kind_row(row)) == len(KIND_HEADINGS) for row in figures.rows)
        assert all(len(fault_row(one, RUN, figures)) == len(FAULT_HEADINGS) for one in RUN.faults)
        rows = account_rows(figures)
        assert all(len(row) == len(ACCOUNT_HEADINGS) for row in rows)
        assert sum(int(row[1]) for row in rows) == figures.planned
        assert all(int(row[1]) == sum(map(int, row[2:])) for row in rows)

    def test_a_kind_that_need_not_be_noticed_is_not_measured_by_it(self) -> None:
        rows = {row[0]: row for row in map(kind_row, work_out(RUN).rows)}
        assert rows["vanish"][2:6] == ("–", "–", "–", "–")
        assert rows["kill"][:6] == ("kill", "1", "0.08", "1 of 1", "2.5", "1 of 1")

    def test_is_whole(self, tmp_path: Path) -> None:
        figures = work_out(RUN)
        as_html, as_json = report.write("chaos", to_html(RUN, figures, FACTS), to_json(RUN, figures, FACTS), tmp_path)
        found = json.loads(as_json.read_text())
        assert (found["what"], found["outcome"]) == (WHAT, "finished")
        assert found["requests"]["load"]["planned"] == len(RUN.answers.records)
        assert [one["kind"] for one in found["faults"]] == ["kill", "kill-server", "vanish"]
        assert found["faults"][0]["cost"]["ends"] == {"lost": 1, "refused": 2}
        assert found["faults"][0]["sentences"][0]["requests"] == 2
        assert [one["fault"] for one in found["failed"]] == [1, 1, 1, 2, 2]
        assert found["left_out"] == {"oom": RUN.left_out[Kind.OUT_OF_MEMORY]}
        assert found["settings"]["kinds"][0] == "kill"
        assert Summary.from_json(found["summary"]).title == summary(RUN, figures).title
        page = as_html.read_text()
        assert page.count("data:image/png") == 2
        assert HELD in page
        assert "Left out: oom" in page
        assert "nobody has a record of them" in page

    def test_one_without_any_fault_can_be_written_too(self, tmp_path: Path) -> None:
        run = replace(RUN, faults=[], answers=load(PLAN, {}), changes=(), samples=())
        figures = work_out(run)
        report.write("chaos", to_html(run, figures, FACTS), to_json(run, figures, FACTS), tmp_path)
        assert to_json(run, figures, FACTS)["outcome"] == "failed"

    def test_one_that_somebody_stopped_is_unfinished(self) -> None:
        run = replace(RUN, broken_off=BY_HAND)
        assert to_json(run, work_out(run), FACTS)["outcome"] == "unfinished"

    def test_messages_of_several_lines_do_not_break_it(self, tmp_path: Path) -> None:
        run = with_fault(replace(KILL, failed="one\ntwo", note="three\nfour"))
        figures = work_out(run)
        report.write("chaos", to_html(run, figures, FACTS), to_json(run, figures, FACTS), tmp_path)

    def test_a_line_for_the_terminal(self) -> None:
        assert " ".join(line_of(KILL).split()) == "1 kill fusion noticed after 0.08 s, ready after 2.5 s"
        assert line_of(replace(VANISH, note="8 left behind")).endswith(" 8 left behind")
        assert "not noticed, not ready again" in line_of(replace(KILL, noticed_s=None, ready_s=None))


class TestCommand:
    def test_an_unknown_kind_is_refused_in_one_sentence(self) -> None:
        done = CliRunner().invoke(main, ["--kinds", "fire"])
        assert done.exit_code == 1
        assert done.output.startswith("chaos: kinds: expected some of kill, ")

    def test_kinds_are_listed(self) -> None:
        done = CliRunner().invoke(main, ["--list"])
        assert done.exit_code == 0
        assert all(kind in done.output for kind in Kind)

    def test_help_tells_what_fails_it(self) -> None:
        assert "Exit code 1" in CliRunner().invoke(main, ["--help"]).output
