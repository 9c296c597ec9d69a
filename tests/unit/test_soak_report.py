"""The soak's verdicts and its report, on runs that are made up."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from benchmarks import report
from benchmarks.report import Outcome, Summary
from benchmarks.soak.__main__ import TOO_SHORT, exit_code, main
from benchmarks.soak.account import Account
from benchmarks.soak.figures import work_out
from benchmarks.soak.guest import Changes
from benchmarks.soak.page import WHAT, outcome, summary, to_html, to_json
from benchmarks.soak.run import Run
from benchmarks.soak.settings import Limits, Settings
from benchmarks.soak.trends import State
from benchmarks.soak.weights import LAUNCHER, TRITON, Look, Weight
from trident.errors import SetupError

FACTS = {
    "command": ".venv/bin/python -m benchmarks.soak",
    "commit": "c" * 40,
    "date": "2026-01-02T03:04:05+00:00",
    "machine": {"processor": "A CPU", "cores": 2},
    "load_average": [0.1, 0.2, 0.3],
}
BEGIN = 10_000.0


def look(second: float, **more: Any) -> Look:
    """The server after so many seconds; ``more`` is added to Triton's weight, or takes the place of a field."""
    wander = 2 * np.sin(second)
    added = {name: more.pop(name, 0) for name in ("memory_mb", "handles", "processes")}
    triton = Weight(900.0, 700.0 + wander + added["memory_mb"], 50.0, 300 + added["handles"], 90, 1)
    triton = replace(triton, processes=1 + added["processes"])
    roles = {LAUNCHER: Weight(60.0, 50.0, 0.0, 20, 8, 1), TRITON: triton, "classifier": Weight(80, 60, 5, 30, 4, 1)}
    fields = {
        "roles": roles,
        "shm_files": 12,
        "shm_mb": 40.0,
        "disk_mb": {"log": 0.1, "state": 0.0},
        "free_mb": 5000.0,
        "own_mb": 150.0,
        "others_cores": 0.02,
        "cost_s": 0.04,
    }
    return Look(at=BEGIN + second, **{**fields, **more})


def account(seconds: float, *, late_ms: float = 100.0, failed: int = 0) -> Account:
    """A request a second, of which the last ones took ``late_ms``."""
    found = Account(window_s=60.0)
    found.add({"begin": BEGIN, "unix_minus_monotonic": 0.0})
    count = int(seconds)
    for number in range(count):
        planned = BEGIN + number
        ms = (late_ms if number > 0.75 * count else 100.0) + number % 7
        code = "UNAVAILABLE" if number < failed else "OK"
        found.add(
            {"number": number, "picture": "good/one.jpg", "planned": planned, "sent": planned}
            | {"done": planned + ms / 1000, "code": code, "message": ""}
        )
    found.add({"planned": count})
    return found


def run(seconds: float = 3600.0, looks: Callable[[float], Look] = look, **more: Any) -> Run:
    fields: dict[str, Any] = {
        "settings": Settings(seconds=max(seconds, 1.0)),
        "server": {"triton": "triton 2"},
        "pictures": ("one.jpg",),
        "bad_pictures": ("noise",),
        "saturated": 8.0,
        "rate": 4.0,
        "account": account(seconds),
        "looks": tuple(looks(float(second)) for second in np.arange(0.0, seconds, 5.0)),
        "changes": Changes(enrolled=30, forgotten=30),
        "status": {"restarts": 0, "revivals": {}},
        "begin": BEGIN,
        "end": BEGIN + seconds,
        "stopped": "",
        "by_hand": False,
        "exit_code": 0,
        "orphans": (),
        "said": "W <a warning>",
    }
    return Run(**{**fields, **more})


CALM = run()


def test_an_hour_without_growth_passes():
    figures = work_out(CALM)
    assert [verdict.sentence for verdict in figures.verdicts if not verdict.good] == []
    assert (figures.passed, figures.unknown) == (True, False)
    assert outcome(CALM, figures) is Outcome.FINISHED
    assert exit_code(CALM, figures) == 0
    assert figures.counted[0].at == BEGIN + 600
    assert {one.name for one in figures.memory} >= {"memory of all processes", TRITON, LAUNCHER, "classifier"}


@pytest.mark.parametrize(
    ("growing", "named"),
    [
        pytest.param(lambda s: look(s, memory_mb=s / 60), "memory of all processes: grows", id="memory"),
        pytest.param(lambda s: look(s, handles=int(s // 600)), "open file handles: grows", id="handles"),
        pytest.param(lambda s: look(s, shm_files=12 + int(s // 900)), "shared-memory files: grows", id="files"),
        pytest.param(lambda s: look(s, shm_mb=40 + s // 900), "held by shared-memory files: grows", id="shared"),
        pytest.param(lambda s: look(s, disk_mb={"log": s / 60}), "disk: grows", id="log"),
        pytest.param(lambda s: look(s, processes=int(s // 900)), "processes: grows", id="processes"),
    ],
)
def test_whatever_grows_fails_it(growing, named):
    found = run(looks=growing)
    figures = work_out(found)
    failed = [verdict.sentence for verdict in figures.verdicts if verdict.required and not verdict.good]
    assert len(failed) == 1
    assert named in failed[0]
    assert outcome(found, figures) is Outcome.FAILED
    assert exit_code(found, figures) == 1


def test_what_is_allowed_to_grow_may():
    limits = Limits(memory_mb=100.0)
    found = run(settings=Settings(limits=limits), looks=lambda s: look(s, memory_mb=s / 60))
    assert work_out(found).passed


@pytest.mark.parametrize(
    ("more", "named"),
    [
        pytest.param({"account": account(3600, failed=2)}, "2 of 3600 requests ended as they should not", id="failed"),
        pytest.param({"account": Account(60.0)}, "of 0 planned requests", id="nothing told"),
        pytest.param({"status": {"restarts": 1, "revivals": {}}}, "started again 1 times", id="restart"),
        pytest.param({"status": {"restarts": 0, "revivals": {"fusion": 2}}}, "2 times one of its", id="revival"),
        pytest.param({"status": {}}, "never said how often the server", id="no status"),
        pytest.param({"status": {"error": "not found"}}, "never said how often the server", id="another status"),
        pytest.param({"exit_code": -9}, "exit code -9", id="exit code"),
        pytest.param({"orphans": ("process 7",)}, "it left 1 processes", id="orphan"),
        pytest.param({"changes": Changes(1, 0, 1, ["locked"])}, "1 changes failed: locked", id="gallery"),
        pytest.param({"stopped": "the disk is nearly full"}, "the disk is nearly full", id="ended early"),
    ],
)
def test_each_fault_fails_it(more, named):
    figures = work_out(run(**more))
    failed = [verdict.sentence for verdict in figures.verdicts if verdict.required and not verdict.good]
    assert len(failed) == 1
    assert named in failed[0]
    assert not figures.passed


def test_a_server_that_could_not_be_looked_at_is_not_flat():
    figures = work_out(run(looks=lambda s: look(s, roles={})))
    assert not figures.passed


@pytest.mark.parametrize(
    ("growing", "named"),
    [
        pytest.param(
            lambda s: look(s, memory_mb=300 * (s > 3300)),
            ("memory of all processes: too short to tell: +", "; it ended +30", "MB above the first third"),
            id="memory",
        ),
        pytest.param(
            lambda s: look(s, handles=40 * (s > 3000)),
            ("open file handles: too short to tell: never below 350 ", "350 in the last, 390 at its end (once; up to"),
            id="handles",
        ),
    ],
)
def test_what_rose_at_the_end_is_no_pass_and_is_told(growing, named):
    found = run(looks=growing)
    figures = work_out(found)
    assert (figures.passed, figures.unknown) == (True, True)
    (sentence,) = (verdict.sentence for verdict in figures.verdicts if not verdict.good)
    assert all(words in sentence for words in named), sentence
    assert exit_code(found, figures) == TOO_SHORT


def test_a_short_run_cannot_tell_and_does_not_pass():
    short = run(60.0)
    figures = work_out(short)
    assert (figures.passed, figures.unknown) == (True, True)
    assert sum(str(State.UNKNOWN) in verdict.sentence for verdict in figures.verdicts) >= 5
    assert outcome(short, figures) is Outcome.FAILED
    assert exit_code(short, figures) == TOO_SHORT


@pytest.mark.parametrize("seconds", [0.0, 4.0, 11.0])
def test_a_run_of_next_to_nothing_has_a_report(seconds, tmp_path):
    cut = run(seconds, settings=Settings(), stopped="stopped by hand", by_hand=True)
    figures = work_out(cut)
    assert figures.unknown
    report.write("soak", to_html(cut, figures, FACTS), to_json(cut, figures, FACTS), tmp_path)


def test_one_that_was_stopped_by_hand_is_unfinished():
    cut = run(2400.0, settings=Settings(), stopped="stopped by hand", by_hand=True)
    figures = work_out(cut)
    assert figures.passed
    assert any("after 40.0 of 60.0 minutes: stopped by hand" in verdict.sentence for verdict in figures.verdicts)
    assert outcome(cut, figures) is Outcome.UNFINISHED
    assert exit_code(cut, figures) == TOO_SHORT
    assert "cut short" in to_html(cut, figures, FACTS)


def test_latency_is_compared_late_against_early():
    found = work_out(run(account=account(3600, late_ms=300.0)))
    assert found.p50_ratio is not None and found.p99_ratio is not None
    assert found.p50_ratio.value == pytest.approx(303 / 103, rel=0.01)
    slower = [verdict for verdict in found.verdicts if "latency of the last quarter" in verdict.sentence]
    assert [(one.good, one.required) for one in slower] == [(False, False)]
    assert work_out(run(60.0)).p50_ratio is None


def test_the_report_is_whole_and_holds_every_look(tmp_path: Path):
    figures = work_out(CALM)
    as_html, as_json = report.write("soak", to_html(CALM, figures, FACTS), to_json(CALM, figures, FACTS), tmp_path)
    found = json.loads(as_json.read_text())
    assert (found["what"], found["outcome"], found["too_short_to_tell"]) == (WHAT, "finished", False)
    assert len(found["looks"]["at"]) == len(CALM.looks)
    assert all(len(column) == len(CALM.looks) for column in found["looks"]["roles"][TRITON].values())
    assert sum(window["requests"] for window in found["windows"]) == found["told"] == found["planned"] == 3600
    assert sum(row["requests"] for row in found["codes"]) == found["told"]
    assert found["looks_cost_cores"] < 0.01
    page = as_html.read_text()
    assert page.count("data:image/png") == 4
    assert "W &lt;a warning&gt;" in page
    assert Summary.from_json(found["summary"]) == Summary.from_json(summary(CALM, figures).to_json())


def test_failures_are_shown_with_their_words(tmp_path: Path):
    failing = run(account=account(3600, failed=3))
    figures = work_out(failing)
    page = to_html(failing, figures, FACTS)
    assert "The first that failed" in page
    assert page.count("UNAVAILABLE") > 3


@pytest.mark.parametrize(
    "wrong", [{"seconds": 0.0}, {"share": 3.0}, {"bad": 0.9}, {"look_s": 0.0}, {"warm_s": -1.0}], ids=str
)
def test_settings_are_bounded(wrong):
    with pytest.raises(SetupError, match=f"{next(iter(wrong))}: expected"):
        Settings(**wrong)
    with pytest.raises(SetupError, match="limits: handles"):
        Limits(handles=-1)


def test_a_long_soak_looks_less_often():
    assert Settings().between_looks_s == 5
    day = Settings(seconds=7 * 86_400.0)
    assert day.seconds / day.between_looks_s <= 5000
    assert day.left_out_s == 600
    assert Settings().window_s == 60


def test_a_flood_before_takes_the_place_of_a_long_beginning_that_does_not_count():
    assert Settings().left_out_s == 600
    assert Settings(seconds=1200).left_out_s == 300
    assert Settings(flood_s=0).left_out_s == Settings(rate=3.0).left_out_s == 1440
    assert Settings(seconds=7 * 86_400.0, flood_s=0).left_out_s == 1800
    assert Settings(warm_s=7.0).left_out_s == 7


class TestCommand:
    def test_a_setting_out_of_range_is_refused_before_anything_starts(self) -> None:
        done = CliRunner().invoke(main, ["--share", "9"])
        assert done.exit_code == 1
        assert "share: expected" in done.output

    def test_help_tells_what_its_exit_codes_mean(self) -> None:
        assert "3:" in CliRunner().invoke(main, ["--help"]).output
