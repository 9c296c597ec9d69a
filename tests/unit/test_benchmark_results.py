"""``RESULTS.md``: made of the newest reports, by the command alone."""

from __future__ import annotations

import doctest
import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from benchmarks import markdown, results_page
from benchmarks.report import Outcome, Summary, SummaryTable
from benchmarks.results import RESULTS, main
from trident.errors import SetupError

COMMIT = "0123456789" * 4


def figures(what: str, date: str, *, commit: str | None = COMMIT, title: str = "", **more: Any) -> dict[str, Any]:
    table = SummaryTable(["", "p50 ms", "note"], [["this", "3.0", "a|b"], ["that", "–", "`x|y`"]])
    return {
        "what": what,
        "circumstances": {
            "command": f".venv/bin/python -m benchmarks.{what} --data /home/me/photos --out=/tmp/x",
            "commit": commit,
            "date": date,
            "machine": {
                "processor": "A CPU @ 2GHz",
                "cores": 2,
                "memory_gb": 25.3,
                "accelerators": [],
                "instructions": ["avx2"],
            },
            "load_average": [0.1, 0.25, 3.0],
        },
        "summary": Summary(title or f"About {what}", [f"Measured on {date}", "- *Not* a list."], [table]).to_json(),
        **more,
    }


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "reports").mkdir()
    return tmp_path


def put(folder: Path, what: str, day: int, **changes: Any) -> str:
    stem = f"{what}-a-cpu-202601{day:02}T030405"
    content = figures(what, f"2026-01-{day:02}T03:04:05+00:00", **changes)
    (folder / "reports" / f"{stem}.json").write_text(json.dumps(content), encoding="utf-8")
    return stem


def run(folder: Path, *arguments: str) -> Result:
    return CliRunner().invoke(
        main, ["--reports", str(folder / "reports"), "--out", str(folder / "RESULTS.md"), *arguments]
    )


def text(folder: Path) -> str:
    return (folder / "RESULTS.md").read_text(encoding="utf-8")


def stems(folder: Path) -> dict[str, str]:
    return {section.kind: section.stem for section in results_page.parse(text(folder))}


def test_the_newest_report_of_each_kind_in_a_stable_order(folder):
    put(folder, "swaps", 1)
    put(folder, "zoo", 1)
    put(folder, "ant", 1)
    put(folder, "floor", 3)
    put(folder, "floor", 2)
    put(folder, "load", 9)
    done = run(folder)
    assert done.exit_code == 0, done.output
    assert list(stems(folder)) == ["load", "floor", "swaps", "ant", "zoo"]
    assert stems(folder)["floor"] == "floor-a-cpu-20260103T030405"
    missing = [kind for kind in results_page.KINDS if kind not in ("load", "floor", "swaps")]
    assert f"Not measured yet: {', '.join(missing)}.\n" in text(folder)
    before = text(folder)
    assert run(folder).exit_code == 0
    assert text(folder) == before


def test_a_section_says_where_when_at_which_commit_and_how(folder):
    put(folder, "floor", 2)
    run(folder)
    (section,) = results_page.parse(text(folder))
    assert section.body.splitlines() == [
        "## About floor",
        "",
        "- Measured on 2026-01-02T03:04:05+00:00.",
        r"- \- \*Not\* a list.",
        "",
        "|  | p50 ms | note |",
        "| --- | ---: | --- |",
        r"| this | 3.0 | a\|b |",
        r"| that | – | `x\|y` |",
        "",
        "How it was measured:",
        "",
        "- Machine: A CPU @ 2GHz, 2 cores, 25.3 GB of memory, no accelerator, instructions avx2",
        f"- Measured: 2026-01-02 03:04 UTC, commit `{COMMIT}`",
        "- Load average before it, over 1, 5 and 15 minutes: 0.10, 0.25, 3.00",
        "- Command: `.venv/bin/python -m benchmarks.floor --data …/photos --out=…/x`",
    ]
    assert f"Measured on:\n\n- {section.machine}\n" in text(folder)


def test_one_benchmark_alone_can_be_renewed(folder):
    put(folder, "load", 1)
    floor = put(folder, "floor", 1)
    run(folder)
    for file in (folder / "reports").iterdir():
        file.unlink()
    put(folder, "load", 2, title="Another")
    before = results_page.parse(text(folder))
    assert run(folder).exit_code == 0
    after = results_page.parse(text(folder))
    assert [section.kind for section in after] == ["load", "floor"]
    assert after[0].body.startswith("## Another\n")
    assert after[1] == before[1]
    assert after[1].stem == floor


def test_an_older_report_does_not_take_a_newer_ones_place(folder):
    put(folder, "load", 5)
    run(folder)
    (folder / "reports" / "load-a-cpu-20260105T030405.json").unlink()
    # An old one that would be refused is no reason to refuse either.
    put(folder, "load", 4, commit=None)
    done = run(folder)
    assert done.exit_code == 0
    assert "is older than" in done.output
    assert stems(folder) == {"load": "load-a-cpu-20260105T030405"}


@pytest.mark.parametrize(
    ("changes", "option", "said"),
    [
        pytest.param({"commit": f"{COMMIT}-dirty"}, "--allow-dirty", "files that differ from it", id="dirty"),
        pytest.param({"commit": None}, "--allow-dirty", "at an unknown commit", id="unknown commit"),
        pytest.param({"outcome": Outcome.FAILED}, "--allow-failed", "This run counts as failed", id="failed"),
        pytest.param({"left_alone": False}, "--allow-failed", "", id="on a busy machine"),
    ],
)
def test_a_report_that_nobody_can_trust_is_refused_or_said_to_be_so(folder, changes, option, said):
    put(folder, "load", 1)
    run(folder)
    before = text(folder)
    stem = put(folder, "load", 2, **changes)
    done = run(folder)
    assert done.exit_code == 1
    assert stem in done.output
    assert option in done.output
    assert text(folder) == before
    assert run(folder, option).exit_code == 0
    assert said in text(folder)
    assert stems(folder) == {"load": stem}


def test_a_run_that_was_broken_off_never_counts(folder):
    put(folder, "load", 2, outcome=Outcome.UNFINISHED)
    done = run(folder, "--allow-dirty", "--allow-failed")
    assert done.exit_code == 1
    assert not (folder / "RESULTS.md").exists()


def test_single_kinds(folder):
    put(folder, "load", 1)
    put(folder, "floor", 1, commit=None)
    assert run(folder).exit_code == 1
    assert run(folder, "--only", "load").exit_code == 0
    assert list(stems(folder)) == ["load"]
    done = run(folder, "--only", "peers")
    assert done.exit_code == 1
    assert "got peers" in done.stderr


def test_files_that_are_no_reports_are_named_and_left_out(folder):
    put(folder, "load", 1)
    (folder / "reports" / "broken.json").write_text("{")
    (folder / "reports" / "list.json").write_text("[]")
    (folder / "reports" / "other.json").write_text(json.dumps({"what": "other"}))
    done = run(folder)
    assert done.exit_code == 0
    assert [name for name in ("broken", "list", "other") if f"{name}.json is not a report" in done.output] == [
        "broken",
        "list",
        "other",
    ]
    assert list(stems(folder)) == ["load"]


def test_no_reports_to_read_is_one_sentence(tmp_path):
    done = run(tmp_path)
    assert done.exit_code == 1
    assert "run a benchmark first" in done.stderr


class TestCheck:
    def test_what_the_command_wrote_is_right_with_and_without_the_reports(self, folder):
        put(folder, "load", 1)
        run(folder)
        assert run(folder, "--check").exit_code == 0
        (folder / "reports" / "load-a-cpu-20260101T030405.json").unlink()
        (folder / "reports").rmdir()
        assert run(folder, "--check").exit_code == 0

    def test_a_newer_report_makes_it_old(self, folder):
        put(folder, "load", 1)
        run(folder)
        before = text(folder)
        put(folder, "load", 2)
        done = run(folder, "--check")
        assert done.exit_code == 1
        assert "(load)" in done.output
        assert text(folder) == before

    def test_a_newer_report_that_is_refused_does_not(self, folder):
        put(folder, "load", 1)
        run(folder)
        put(folder, "load", 2, commit=None)
        done = run(folder, "--check")
        assert done.exit_code == 0
        assert "load-a-cpu-20260102T030405" in done.output

    def test_a_missing_file_is_not_right(self, folder):
        assert run(folder, "--check").exit_code == 1
        assert not (folder / "RESULTS.md").exists()

    @pytest.mark.parametrize("where", ["What these figures do not say", "Load average before it", "| 3.0 |"])
    def test_a_change_by_hand_is_seen(self, folder, where):
        put(folder, "load", 1)
        run(folder)
        changed = text(folder)
        assert where in changed
        (folder / "RESULTS.md").write_text(changed.replace(where, f"{where} "), encoding="utf-8")
        assert run(folder, "--check").exit_code == 1


class TestParse:
    def test_another_page_is_not_overwritten(self, folder):
        put(folder, "load", 1)
        (folder / "RESULTS.md").write_text("# My notes\n")
        done = run(folder)
        assert done.exit_code == 1
        assert "was not written by this command" in done.stderr
        assert text(folder) == "# My notes\n"

    def test_a_section_that_is_there_twice(self, folder):
        put(folder, "load", 1)
        run(folder)
        (section,) = results_page.parse(text(folder))
        with pytest.raises(SetupError, match="expected one section load, got two"):
            results_page.parse(text(folder) + section.to_markdown())

    def test_a_mark_within_a_summary_is_text(self, folder):
        put(folder, "load", 1)
        run(folder)
        (mark,) = (line for line in text(folder).splitlines() if line.startswith("<!-- report:"))
        put(folder, "load", 2, title=mark)
        summary = Summary("Tricky", [mark, f"`{mark}`"], [SummaryTable([mark], [[mark]])])
        put(folder, "floor", 2, summary=summary.to_json())
        assert run(folder).exit_code == 0
        assert list(stems(folder)) == ["load", "floor"]

    def test_the_committed_results_are_such_a_page(self):
        committed = RESULTS.read_text(encoding="utf-8")
        sections = results_page.parse(committed, RESULTS.name)
        assert results_page.render(sections) == committed
        assert [results_page.order(section.kind) for section in sections] == sorted(
            results_page.order(section.kind) for section in sections
        )
        for section in sections:
            assert section.body.startswith("## ")
            for name in ("Machine", "Measured", "Load average", "Command"):
                assert f"\n- {name}" in section.body


class TestMarkdown:
    def test_examples(self):
        ran = doctest.testmod(markdown)
        assert ran.attempted
        assert not ran.failed

    @pytest.mark.parametrize(
        ("plain", "marked"),
        [
            pytest.param("p50 of `make load` is 3 ms", "p50 of `make load` is 3 ms", id="code"),
            pytest.param("one ` alone", r"one \` alone", id="a backtick alone"),
            pytest.param("**all** of <b>it</b>", r"\*\*all\*\* of \<b\>it\</b\>", id="emphasis and tags"),
            pytest.param("min_size and _this_", r"min_size and \_this\_", id="underscores"),
            pytest.param(r"a\*b", r"a\\\*b", id="a backslash"),
            pytest.param("AT&T &amp; so", r"AT&T \&amp; so", id="entities"),
            pytest.param("[a](b)", r"\[a\]\(b)", id="a link"),
            pytest.param("~5 ms, $3", r"\~5 ms, \$3", id="strikethrough and formulas"),
        ],
    )
    def test_text_stays_text(self, plain, marked):
        assert markdown.inline(plain) == marked

    @pytest.mark.parametrize(
        ("plain", "marked"),
        [
            ("# of requests", r"\# of requests"),
            ("-3 points", r"\-3 points"),
            ("+ more", r"\+ more"),
            ("12. of them", r"12\. of them"),
            ("12) of them", r"12\) of them"),
            ("1.5 times", "1.5 times"),
            ("  said", "said"),
        ],
    )
    def test_no_line_begins_a_list_or_a_heading(self, plain, marked):
        assert markdown.line(plain) == marked

    def test_columns_of_figures_are_at_the_right(self):
        rows = [["a", "1.5", "fast", "-", "+0.1"], ["2", "–", "3", "", "≈2"]]
        assert markdown.table(list("vwxyz"), rows).splitlines()[1] == "| --- | ---: | --- | --- | --- |"

    def test_a_bar_does_not_end_a_cell(self):
        assert markdown.table(["a|b"], [[r"c\|d"], ["`e|f`"]]).splitlines() == [
            r"| a\|b |",
            "| --- |",
            r"| c\\\|d |",
            r"| `e\|f` |",
        ]

    def test_a_table_without_rows(self):
        assert markdown.table(["a", "b"], []) == "| a | b |\n| --- | --- |"
