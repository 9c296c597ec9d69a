"""Sizing on paper: the arithmetic, where its inputs come from, and the page that shows it."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from scaling_run import COMPONENT_S, FACTS, MEMORY_MB, a_run

from benchmarks.scaling.figures import work_out
from benchmarks.scaling.inputs import Inputs, Point, inputs_from, read_inputs, write_inputs
from benchmarks.scaling.page import to_json
from benchmarks.scaling.size import PROGRAM, main, refreshed
from benchmarks.scaling.sizing import GPU_CALLS, Wish, size
from benchmarks.time_spent.processor import SERVER
from trident.contract import COMPONENTS, NETWORKS
from trident.errors import SetupError

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "scaling.md"
INPUTS = ROOT / "benchmarks" / "scaling" / "inputs.json"

SERVER_TAKES = Inputs(
    machine="A CPU, 2 cores",
    measured=("scaling-a-cpu", "latency-curve-a-cpu"),
    cores=2,
    rate=8.0,
    processor_ms=250.0,
    component_ms={**dict.fromkeys(COMPONENTS, 10.0), SERVER: 10.0},
    canvas_calls=4.0,
    memory_mb=1000.0,
    second_version_mb=200.0,
    start_s=10.0,
    recognizers=2,
    request_bytes=250_000.0,
    answer_bytes=2000.0,
    curve=(Point(0.1, 160, 300), Point(0.5, 200, 800), Point(0.7, 300, 1600)),
)


# How much a server is loaded with


@pytest.mark.parametrize(
    ("p99_ms", "share"),
    [
        pytest.param(800, 0.5, id="a measured point"),
        pytest.param(1200, 0.6, id="between two"),
        pytest.param(300, 0.1, id="the lowest"),
        pytest.param(5000, 0.7, id="never more than the highest at which the queue settled"),
    ],
)
def test_the_load_is_read_off_the_curve(p99_ms, share):
    assert SERVER_TAKES.share_at(p99_ms) == pytest.approx(share)


def test_where_the_curve_comes_down_again_its_first_crossing_counts():
    curve = (Point(0.1, 1, 300), Point(0.3, 1, 900), Point(0.5, 1, 700), Point(0.7, 1, 1600))
    assert replace(SERVER_TAKES, curve=curve).share_at(600) == pytest.approx(0.2)


def test_a_p99_that_no_load_keeps_is_refused():
    with pytest.raises(SetupError, match="more than the 300 ms that it takes at 10%"):
        SERVER_TAKES.share_at(299)


# The arithmetic


def sized(pictures: float, **wish: Any):
    return size(SERVER_TAKES, Wish(pictures, **{"p99_ms": 800, **wish}))


def test_servers_are_what_the_pictures_need_at_that_load():
    found = sized(1000)
    assert found.of_a_server == pytest.approx(8.0 * 0.5)
    assert found.working == 250
    assert sized(1001).working == 251
    assert sized(0.5).working == 1


def test_the_load_that_just_fits_takes_no_further_server():
    assert sized(3 * 8.0 * 0.5).working == 3


@pytest.mark.parametrize("zones", [2, 3, 5])
@pytest.mark.parametrize("pictures", [1, 10, 1000, 12_345])
def test_without_any_one_zone_the_others_carry_the_load(pictures, zones):
    found = sized(pictures, zones=zones)
    assert found.servers == zones * found.in_a_zone
    left = found.servers - found.in_a_zone
    assert left >= found.working
    assert left * found.of_a_server >= pictures * (1 - 1e-9)
    assert (left - (zones - 1)) < found.working, "a server less in each zone would not do"


def test_one_zone_has_nothing_to_spare():
    found = sized(1000, zones=1)
    assert found.servers == found.working == 250


def test_machines_hold_whole_servers_of_one_zone():
    found = sized(1000, zones=3, machine_cores=64)
    assert found.in_a_zone == 125
    assert found.machines == 3 * math.ceil(125 / 32)
    assert sized(1, zones=3, machine_cores=64).machines == 3


def test_a_machine_that_holds_no_server_is_refused():
    with pytest.raises(SetupError, match="at least the 2 cores of one server, got 1"):
        sized(1000, machine_cores=1)


def test_memory_is_that_of_two_versions_and_of_the_gallery_in_every_recognizer():
    found = sized(1000, embeddings=10_000)
    assert found.server_memory_mb == pytest.approx(1000 + 200 + 2 * 10_000 * 1024 * 4 / 1e6)


def test_what_gpus_do_not_take_over_is_everything_but_the_networks():
    found = sized(1000)
    others = len(COMPONENTS) + 1 - len(NETWORKS)
    assert found.on_processors_ms == pytest.approx(250.0 * others / (len(COMPONENTS) + 1))
    assert found.gpus == math.ceil(1000 * 4 / (GPU_CALLS * 0.5))


def lines(found, what: str) -> tuple[str, str]:
    (line,) = [line for line in [*found.lines(), *found.component_lines()] if line.what == what]
    return line.value, line.how


@pytest.mark.parametrize(
    ("what", "value", "how"),
    [
        pytest.param("load of a server", "0.50 × saturated", "within 800 ms", id="load"),
        pytest.param("a server answers", "4.00 /s", "8.00 /s saturated, on 2 cores, × 0.50", id="server"),
        pytest.param("servers at work", "250", "1,000 /s ÷ 4.00 /s, rounded up", id="servers"),
        pytest.param("servers in all", "375", "3 zones × 125, so that 2 of them carry 250", id="zones"),
        pytest.param("cores kept busy", "250", "1,000 /s × 250 ms", id="busy"),
        pytest.param("cores in all", "750", "375 servers × 2; 33% of them busy", id="cores"),
        pytest.param("memory of a server", "1.28 GB", "1000 MB + 200 a second version + 82 gallery", id="memory"),
        pytest.param("pictures in", "2 Gbit/s", "1,000 /s × 250.0 kB × 8", id="in"),
        pytest.param("answers out", "16 Mbit/s", "1,000 /s × 2.0 kB × 8", id="out"),
        pytest.param("gallery: connections", "750", "375 servers × 2 recognizers", id="connections"),
        pytest.param("gallery: transactions", "1,500 /s", "750 × 2 ÷ 1 s", id="transactions"),
        pytest.param("gallery: after a change", "30.7 GB", "750 × 10,000 embeddings × 4,096 bytes", id="change"),
        pytest.param("gRPC connections", "37,500", "100 clients × 375 servers", id="gRPC"),
        pytest.param("to replace all servers", "62 min", "375 × 10.0 s", id="replacing"),
        pytest.param("with GPUs: cores busy", "100", "40% of the whole", id="cores beside GPUs"),
        pytest.param("with GPUs: GPUs at work", "7", "1,000 /s × 4.0 calls ÷ (1,187 /s published × 0.50)", id="GPUs"),
        pytest.param("detector", "25 cores", "1,000 /s × 25.0 ms, busy", id="component"),
        pytest.param("Triton itself", "25 cores", "1,000 /s × 25.0 ms, busy", id="Triton"),
        pytest.param("pixels between them", "41.3 Gbit/s", "1,000 /s × (4.0 × 1.23 MB + 0.25 MB) × 8", id="pixels"),
    ],
)
def test_every_step_says_how_it_was_reckoned(what, value, how):
    got = lines(sized(1000), what)
    assert got[0] == value
    assert how in got[1]


@pytest.mark.parametrize(
    "wrong",
    [{"pictures": 0.0}, {"p99_ms": 0}, {"zones": 0}, {"machine_cores": 0}, {"poll_s": 0}, {"clients": 0}],
    ids=lambda wrong: next(iter(wrong)),
)
def test_wishes_are_bounded(wrong):
    with pytest.raises(SetupError, match=f"{next(iter(wrong))}: expected"):
        Wish(**{"pictures": 10.0, **wrong})


# The inputs


def curve_report(**changes: Any) -> dict[str, Any]:
    steps = [
        {"share": share, "settled": settled, "latency": {"p50": p50, "p99": p99}}
        for share, p50, p99, settled in ((0.5, 200, 800, True), (0.1, 160, 300, True), (1.1, 900, 9000, False))
    ]
    return {
        "what": "latency-curve",
        "circumstances": {**FACTS, "date": "2026-01-03T03:04:05+00:00"},
        "summary": {"title": "A curve", "sentences": ["It goes up."], "tables": []},
        "saturated_per_second": 5.0,
        "saturated_per_second_after": 6.0,
        "steps": steps,
        **changes,
    }


def reports(folder: Path, curve: dict[str, Any] | None = None) -> Path:
    run = a_run()
    scaling = to_json(run, work_out(run), FACTS)
    for stem, figures in (("scaling-a-cpu", scaling), ("latency-curve-a-cpu", curve or curve_report())):
        (folder / f"{stem}.json").write_text(json.dumps(figures), encoding="utf-8")
    return folder


def test_inputs_are_taken_from_the_newest_reports(tmp_path):
    found = inputs_from(reports(tmp_path))
    assert found.machine == "A CPU, 2 cores"
    assert found.measured == ("scaling-a-cpu", "latency-curve-a-cpu")
    assert (found.cores, found.recognizers) == (2, 2)
    assert found.rate == pytest.approx(5.5), "of the curve, whose shares are of it"
    assert found.processor_ms == pytest.approx(1000 * sum(COMPONENT_S.values()))
    assert found.component_ms == pytest.approx({name: 1000 * one for name, one in COMPONENT_S.items()})
    assert found.canvas_calls == pytest.approx(4.0, rel=0.01)
    assert (found.memory_mb, found.second_version_mb) == (pytest.approx(10 * MEMORY_MB), MEMORY_MB)
    assert (found.start_s, found.request_bytes, found.answer_bytes) == (12.0, 200_100.0, 1500.0)
    assert found.curve == (Point(0.1, 160, 300), Point(0.5, 200, 800)), "settled ones, from the lowest"


def test_a_curve_of_fewer_cores_takes_the_server_on_as_many(tmp_path):
    machine = {"processor": "A CPU", "cores": 1}
    curve = curve_report(circumstances={**FACTS, "machine": machine})
    assert inputs_from(reports(tmp_path, curve)).cores == 1


@pytest.mark.parametrize(
    ("machine", "message"),
    [
        pytest.param({"processor": "Another", "cores": 2}, "two reports of the same machine", id="another processor"),
        pytest.param({"processor": "A CPU", "cores": 16}, "expected one server on 16 cores", id="other cores"),
    ],
)
def test_reports_that_do_not_fit_each_other_are_refused(machine, message, tmp_path):
    curve = curve_report(circumstances={**FACTS, "machine": machine})
    with pytest.raises(SetupError, match=message):
        inputs_from(reports(tmp_path, curve))


def test_a_missing_report_says_by_which_command_to_make_it(tmp_path):
    with pytest.raises(SetupError, match="make bench-scaling"):
        inputs_from(tmp_path)
    reports(tmp_path)
    (tmp_path / "latency-curve-a-cpu.json").unlink()
    with pytest.raises(SetupError, match="make latency-curve"):
        inputs_from(tmp_path)


def test_a_report_that_lacks_something_is_refused(tmp_path):
    curve = curve_report()
    del curve["steps"][0]["settled"]
    with pytest.raises(SetupError, match="lacks what a sizing needs: KeyError"):
        inputs_from(reports(tmp_path, curve))


def test_inputs_are_read_as_they_were_written(tmp_path):
    file = tmp_path / "inputs.json"
    write_inputs(SERVER_TAKES, file)
    assert read_inputs(file) == SERVER_TAKES


@pytest.mark.parametrize(
    ("change", "message"),
    [
        pytest.param({"rate": 0}, "rate: expected a number above 0", id="no rate"),
        pytest.param({"curve": []}, "curve: expected shares", id="no curve"),
        pytest.param({"curve": [{"share": 0.1}]}, "got something else", id="half a point"),
        pytest.param({"component_ms": {"fusion": 1.0}}, "component_ms: expected every component", id="no components"),
        pytest.param({"more": 1}, "expected exactly", id="something unknown"),
    ],
)
def test_inputs_that_are_not_whole_are_refused(change, message, tmp_path):
    file = tmp_path / "inputs.json"
    write_inputs(SERVER_TAKES, file)
    file.write_text(json.dumps({**json.loads(file.read_text()), **change}))
    with pytest.raises(SetupError, match=message):
        read_inputs(file)


@pytest.mark.parametrize("text", [None, "{", "[]"])
def test_a_file_that_holds_no_inputs_is_refused(text, tmp_path):
    file = tmp_path / "inputs.json"
    if text is not None:
        file.write_text(text)
    with pytest.raises(SetupError, match=r"inputs\.json"):
        read_inputs(file)


# The command, and the page that shows it


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, list(map(str, arguments)))


def test_the_command_shows_the_arithmetic(tmp_path):
    file = tmp_path / "inputs.json"
    write_inputs(SERVER_TAKES, file)
    result = run("--pictures", "1000", "--p99", "800", "--inputs", file)
    assert result.exit_code == 0, result.output
    first, second, *rest = result.output.splitlines()
    assert first == "1,000 pictures a second at the busiest; p99 within 800 ms; 3 zones, one of which may be lost"
    assert "scaling-a-cpu" in second
    assert any(line.startswith("servers in all") and " 375 " in line for line in rest)
    assert "pixels between them" not in result.output
    assert "pixels between them" in run("--inputs", file, "--components").output


def test_without_inputs_the_newest_reports_are_taken(tmp_path):
    result = run("--reports", reports(tmp_path), "--p99", "500")
    assert result.exit_code == 0, result.output
    assert "5.50 /s saturated" in result.output


def test_inputs_are_written_for_later(tmp_path):
    file = tmp_path / "mine.json"
    assert run("--reports", reports(tmp_path), "--write-inputs", file).exit_code == 0
    assert read_inputs(file) == inputs_from(tmp_path)


def test_what_is_wrong_is_said_in_one_sentence(tmp_path):
    result = run("--reports", tmp_path)
    assert result.exit_code == 1
    assert "run `make bench-scaling` first" in " ".join(result.output.split())


def test_a_document_is_refreshed_where_it_shows_the_command_and_nowhere_else(tmp_path):
    file = tmp_path / "inputs.json"
    write_inputs(SERVER_TAKES, file)
    shown = f"```console\n$ {PROGRAM} --pictures 10 --p99 800 --inputs {file}\nold\n\nolder\n```"
    other = "```console\n$ make help\nold\n```"
    document = tmp_path / "page.md"
    document.write_text(f"# Page\n\n{shown}\n\ntext\n\n{other}\n")
    assert run("--refresh", document).exit_code == 0
    text = document.read_text()
    assert text.startswith(f"# Page\n\n```console\n$ {PROGRAM} --pictures 10")
    assert text.endswith(f"text\n\n{other}\n")
    assert run("--pictures", "10", "--p99", "800", "--inputs", file).output in text
    assert "older" not in text
    assert refreshed(text) == text


def test_a_document_with_options_that_there_are_not_is_refused(tmp_path):
    document = tmp_path / "page.md"
    document.write_text(f"```console\n$ {PROGRAM} --photos 10\n```\n")
    result = run("--refresh", document)
    assert result.exit_code == 1
    assert "--photos" in result.output


def test_the_page_shows_what_the_command_prints(monkeypatch):
    monkeypatch.chdir(ROOT)
    text = PAGE.read_text(encoding="utf-8")
    assert text.count(f"$ {PROGRAM} ") == 3
    assert refreshed(text) == text, f"run `{PROGRAM} --refresh docs/scaling.md`"


def test_the_pages_inputs_are_whole():
    read_inputs(INPUTS)
