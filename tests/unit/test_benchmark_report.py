"""What every benchmark's report says of itself: circumstances, summary, and a page that needs no network."""

from __future__ import annotations

import base64
import doctest
import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from fake_server import FakeServer, result, running
from matplotlib.figure import Figure
from PIL import Image

from benchmarks import charts, circumstances, report, self_contained
from benchmarks.report import Summary, SummaryTable
from benchmarks.self_contained import asks_network
from trident.access.restrictions import without_key
from trident.errors import SetupError

FACTS = {
    "command": ".venv/bin/python -m benchmarks.some --name 'a <b>'",
    "commit": "a" * 40,
    "date": "2026-01-02T03:04:05+00:00",
    "machine": {"processor": "A CPU @ 2GHz", "cores": 2},
    "load_average": [0.1, 0.2, 0.3],
}
SUMMARY = Summary("Some figures", ["This was held against that."], [SummaryTable(["", "ms"], [["this", "3.0"]])])
FIGURES = {"what": "some", "circumstances": FACTS, "settings": {}, "summary": SUMMARY.to_json()}


def made_up_page(*parts: str) -> str:
    return report.page("Some", "some figures", [*parts, report.facts_table(FACTS)])


@pytest.mark.parametrize("module", [report, self_contained], ids=lambda module: module.__name__)
def test_examples(module):
    ran = doctest.testmod(module)
    assert ran.attempted
    assert not ran.failed


class TestWritten:
    def test_the_files_are_named_by_what_hardware_and_date(self, tmp_path):
        stem = report.report_stem("some", FACTS)
        as_html, as_json = report.write(stem, made_up_page(), FIGURES, tmp_path / "new" / "folder")
        assert as_html.name == "some-a-cpu-2ghz-2-cores-20260102T030405.html"
        assert as_json.stem == as_html.stem
        assert json.loads(as_json.read_text(encoding="utf-8")) == FIGURES

    def test_json_is_plain(self, tmp_path):
        odd = {"none": float("nan"), "most": np.inf, "rows": np.arange(3), "one": np.float32(0.5), "file": tmp_path}
        _, as_json = report.write("some", made_up_page(), {**FIGURES, "odd": odd}, tmp_path)

        def refuse(constant: str) -> None:
            raise AssertionError(f"{constant} is no JSON")

        read = json.loads(as_json.read_text(encoding="utf-8"), parse_constant=refuse)["odd"]
        assert read == {"none": None, "most": None, "rows": [0, 1, 2], "one": 0.5, "file": str(tmp_path)}

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            pytest.param({"what": None}, "a report's what", id="no kind"),
            pytest.param({"what": "Some Thing"}, "a report's what", id="a kind that is no name"),
            pytest.param({"circumstances": None}, "circumstances: .* commit", id="no circumstances"),
            pytest.param(
                {"circumstances": {**FACTS, "machine": {"cores": 2}}}, "some report's machine", id="no machine"
            ),
            pytest.param({"summary": None}, "a report's summary", id="no summary"),
            pytest.param({"summary": {"title": "x", "sentences": ["y"]}}, "a report's summary", id="half a summary"),
            pytest.param({"outcome": "fine"}, "outcome: .* finished, failed, unfinished", id="an unknown outcome"),
        ],
    )
    def test_what_is_missing_is_named_and_nothing_is_lost(self, changes, message, tmp_path):
        with pytest.raises(SetupError, match=message):
            report.write("some", made_up_page(), {**FIGURES, **changes}, tmp_path)
        assert sorted(file.name for file in tmp_path.iterdir()) == ["some.html", "some.json"]

    def test_the_page_says_the_command_and_the_commit(self, tmp_path):
        with pytest.raises(SetupError, match="got none of command, commit"):
            report.write("some", report.page("Some", "some figures", []), FIGURES, tmp_path)

    def test_a_page_that_asks_the_network_is_refused(self, tmp_path):
        page = made_up_page('<img src="https://pictures.example/1.png">')
        with pytest.raises(SetupError, match="expected everything inside of it"):
            report.write("some", page, FIGURES, tmp_path)


class TestPage:
    def test_it_asks_the_network_for_nothing(self):
        figure = Figure(figsize=(2, 1))
        with charts.style():
            figure.add_subplot().plot([1, 2, 3])
        page = made_up_page(
            report.heading("A heading"),
            report.paragraph("A paragraph with http://an.address/ in it"),
            report.verdict(True, "good"),
            report.table(("a", "b"), [("<script>", "2")]),
            charts.Drawn(figure, 'a "line"').to_html(),
        )
        assert asks_network(page) == []
        # Once more without the parser: all that is fetched from anywhere is inside of the page.
        assert set(re.findall(r"\b(?:src|href|data|url)\s*[=(]\s*[\"']?([^\"',;)]*)", page)) == {"data:image/png"}
        (picture,) = re.findall(r'src="data:image/png;base64,([^"]+)"', page)
        with Image.open(io.BytesIO(base64.b64decode(picture))) as opened:
            assert opened.format == "PNG"

    @pytest.mark.parametrize(
        "part",
        [
            pytest.param('<img src="pictures/1.png">', id="a file beside it"),
            pytest.param('<IMG SRC="//pictures.example/1.png">', id="another server"),
            pytest.param('<img srcset="https://pictures.example/1.png 2x">', id="for sharp screens"),
            pytest.param("<a href=https://example.org>there</a>", id="a link"),
            pytest.param("<script>fetch('https://example.org')</script>", id="a program"),
            pytest.param('<link rel="stylesheet" href="#">', id="a style sheet"),
            pytest.param("<style>@import 'a.css';</style>", id="a style within a style"),
            pytest.param("<p style=\"background: url('https://example.org/1.png')\">", id="a background"),
            pytest.param("<style>p { background: URL(1.png) }</style>", id="a background of all"),
            pytest.param('<meta http-equiv="Refresh" content="0; https://example.org">', id="another page"),
            pytest.param('<svg><image xlink:href="https://example.org/1.svg"/></svg>', id="a picture in a drawing"),
            pytest.param('<iframe srcdoc="x"></iframe>', id="a page within the page"),
        ],
    )
    def test_what_would_ask_the_network_is_found(self, part):
        assert len(asks_network(made_up_page(part))) == 1

    @pytest.mark.parametrize(
        "part",
        ['<a href="#figures">x</a>', "<style>p { background: url(data:image/png;base64,AA==) }</style>", "url(x.png)"],
    )
    def test_what_is_inside_is_no_question(self, part):
        assert asks_network(made_up_page(part)) == []

    def test_facts_are_shown_and_escaped(self):
        shown = report.facts_table({**FACTS, "commit": None, "environment": {}})
        assert "&#x27;a &lt;b&gt;&#x27;" in shown
        assert "processor A CPU @ 2GHz, cores 2" in shown
        assert "<td>commit</td><td>unknown</td>" in shown
        assert "<td>environment</td><td>none</td>" in shown


class TestSummary:
    def test_there_and_back(self):
        read = Summary.from_json(json.loads(json.dumps(SUMMARY.to_json())))
        assert read.to_json() == SUMMARY.to_json()

    @pytest.mark.parametrize(
        ("make", "message"),
        [
            pytest.param(lambda: Summary("", ["x"]), "title", id="no title"),
            pytest.param(lambda: Summary("x", []), "at least one", id="no sentence"),
            pytest.param(lambda: Summary("x", "one"), "expected a list of texts, got 'one'", id="a text for a list"),
            pytest.param(lambda: Summary("x", ["one\ntwo"]), "a line of text", id="two lines"),
            pytest.param(lambda: Summary("x", [1.5]), "a line of text, got 1.5", id="a number for a sentence"),
            pytest.param(lambda: SummaryTable([], []), "expected headings", id="no headings"),
            pytest.param(lambda: SummaryTable(["a", "b"], [["1"]]), "expected 2 cells", id="a short row"),
            pytest.param(lambda: SummaryTable(["a"], [[1]]), "a line of text, got 1", id="a number for a cell"),
            pytest.param(lambda: SummaryTable(["a"], ["1"]), "a list of texts", id="a text for a row"),
        ],
    )
    def test_what_is_no_summary_is_refused(self, make, message):
        with pytest.raises(SetupError, match=message):
            make()


class TestCircumstances:
    def test_they_say_what_it_takes_to_measure_again(self):
        facts = report.circumstances("make some")
        assert {*report._FACTS} <= set(facts)
        assert facts["command"] == "make some"
        assert facts["machine"]["cores"] == len(os.sched_getaffinity(0))
        assert facts["machine"]["processor"]
        assert facts["versions"]["numpy"] == np.__version__
        assert len(facts["load_average"]) == 3
        assert json.loads(json.dumps(facts)) == facts

    def test_the_environment_that_matters_is_there_and_no_other(self):
        """As the process was started: what a library sets when it is imported is not the user's."""
        code = (
            "import json, os\nos.environ['KMP_MADE_UP'] = '1'\nfrom benchmarks import report\n"
            "print(json.dumps(report.circumstances('make some')['environment']))"
        )
        variables = {"OMP_NUM_THREADS": "3", "TRIDENT_GALLERY_URL": "postgresql://me:secret@host/faces"}
        done = subprocess.run(
            [sys.executable, "-c", code], env=os.environ | variables, capture_output=True, text=True, check=True
        )
        found = json.loads(done.stdout)
        assert found["OMP_NUM_THREADS"] == "3"
        assert "KMP_MADE_UP" not in found
        assert "secret" not in done.stdout

    def test_the_command_can_be_typed_again(self, monkeypatch):
        monkeypatch.setattr("sys.argv", ["/somewhere/some.py", "--name", "two words", "--rate", "4"])
        assert (
            report.command_line("benchmarks.some") == ".venv/bin/python -m benchmarks.some --name 'two words' --rate 4"
        )

    def test_a_server_says_its_version_and_release(self):
        with running(FakeServer()) as fake:
            fake.index = [
                ("trident", "1", "READY", ""),
                ("classifier", "1", "READY", ""),
                ("another", "3", "READY", ""),
            ]
            found = report.served_by(fake.url)
        assert found["triton"] == "triton 2.51.0"
        (digest,) = {model["digest"] for model in result()["models"].values()}
        assert found["release"] == {"classifier": {"version": 1, "digest": digest}}
        assert found["flags"] is None  # no process of that name listens there

    def test_a_server_that_is_not_there_is_one_sentence(self):
        with running(FakeServer()) as fake:
            url = fake.url
        with pytest.raises(SetupError, match=f"expected a server at {url}"):
            report.served_by(url)

    def test_the_key_of_a_flag_is_not_shown(self):
        flag = "--grpc-restricted-protocol=model-repository,shared-memory,admin-key=secret"
        assert without_key([flag, "--grpc-port=8001"]) == [
            "--grpc-restricted-protocol=model-repository,shared-memory,admin-key=…",
            "--grpc-port=8001",
        ]


class TestCommit:
    @pytest.fixture
    def clone(self, tmp_path: Path) -> Path:
        self.git(tmp_path, "init", "--quiet")
        (tmp_path / "benchmarks").mkdir()
        (tmp_path / "benchmarks" / "RESULTS.md").write_text("old\n")
        (tmp_path / "code.py").write_text("1\n")
        (tmp_path / ".gitignore").write_text("reports/\n")
        self.git(tmp_path, "add", ".")
        self.git(tmp_path, "commit", "--quiet", "--message", "first")
        return tmp_path

    def git(self, folder: Path, *arguments: str) -> None:
        who = ("-c", "user.name=somebody", "-c", "user.email=somebody@example.org", "-c", "commit.gpgsign=false")
        subprocess.run(["git", *who, *arguments], cwd=folder, check=True, capture_output=True)

    def test_what_is_committed_has_a_number(self, clone):
        assert re.fullmatch(r"[0-9a-f]{40}", circumstances.commit(clone) or "")

    @pytest.mark.parametrize(
        ("file", "dirty"),
        [
            pytest.param("code.py", True, id="a changed file"),
            pytest.param("new.py", True, id="a new file"),
            pytest.param("reports/some.json", False, id="a file that git ignores"),
            pytest.param("benchmarks/RESULTS.md", False, id="the results, which are made of reports"),
        ],
    )
    def test_what_is_not_committed_is_marked(self, clone, file, dirty):
        (clone / file).parent.mkdir(exist_ok=True)
        (clone / file).write_text("new\n")
        assert (circumstances.commit(clone) or "").endswith(circumstances.DIRTY) == dirty

    def test_somebody_elses_clone_around_it_does_not_count(self, clone):
        assert circumstances.commit(clone / "benchmarks") is None

    def test_outside_of_a_clone_there_is_none(self, tmp_path):
        assert circumstances.commit(tmp_path) is None
