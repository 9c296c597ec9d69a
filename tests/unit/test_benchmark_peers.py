"""The peers' comparison: their folders are whole, the seam over HTTP, what counts as the same, and the figures."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from email import message_from_bytes
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import psutil
import pytest

from benchmarks import report
from benchmarks.answers import BAD_ANSWER, OK, Answer, read_answers
from benchmarks.load import Arrivals, Generator, Plan, check_loopback
from benchmarks.peers import environments, lines
from benchmarks.peers.environments import environment_of, installed, reason_of
from benchmarks.peers.figures import Measure, work_out
from benchmarks.peers.measure import Phase, Run, Settings, Visit, orders
from benchmarks.peers.page import HEADINGS, compare, row_cells, sentences, to_html, to_json
from benchmarks.peers.peer import DESCRIPTION, FOLDER, PORTS, Peer, Protocol, peer_names, read_peer, read_peers
from benchmarks.peers.processes import Family, adopt_orphans
from benchmarks.peers.same import ask, check_same, differences
from benchmarks.peers.serving import Served, Trident
from trident.errors import SetupError

ROOT = Path(__file__).resolve().parents[2]
PEERS = read_peers()
DIGEST = "sha256:" + "ab" * 32
RESULT = {"schema": 1, "models": {"classifier": {"version": 2, "digest": DIGEST}}}

each_peer = pytest.mark.parametrize("peer", PEERS, ids=lambda peer: peer.name)


def pins(file: Path) -> dict[str, str]:
    """Version by name of every line that holds more than a comment or another file."""
    found = {}
    for line in file.read_text().splitlines():
        words = line.partition("#")[0].strip()
        if words and not words.startswith("-"):
            match = re.fullmatch(r"([A-Za-z0-9._-]+)(\[[a-z,]+\])?==([^\s;]+)( *;.*)?", words)
            assert match, f"{file}: no exact version in {line!r}"
            found[match[1].lower().replace("_", "-")] = match[3]
    return found


class Server(BaseHTTPRequestHandler):
    """Takes pictures as bodies and as forms, and answers with what it was told to."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"] or 0)) if "Content-Length" in self.headers else b""
        if "chunked" in self.headers.get("Transfer-Encoding", ""):
            while size := int(self.rfile.readline(), 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
        server: Any = self.server
        server.asked.append((self.path, dict(self.headers), body))
        time.sleep(server.seconds)
        status, answer = server.answers[(len(server.asked) - 1) % len(server.answers)]
        self.send_response(status)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        with contextlib.suppress(OSError):  # the client may have gone
            self.wfile.write(answer)

    def log_message(self, *_: Any) -> None:
        """Nothing."""


@contextlib.contextmanager
def serving(*answers: tuple[int, bytes], seconds: float = 0.0) -> Iterator[tuple[str, Any]]:
    server: Any = ThreadingHTTPServer(("127.0.0.1", 0), Server)
    server.daemon_threads = True
    server.asked, server.seconds = [], seconds
    server.answers = answers or ((200, json.dumps(RESULT).encode()),)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/analyze", server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def records(url: str, plan: Plan, tmp_path: Path) -> tuple[Answer, ...]:
    async def run(sink: Any) -> None:
        await Generator(url, {"one": b"picture"}, plan, sink).run()

    file = tmp_path / "answers.jsonl"
    with file.open("w", encoding="utf-8") as sink:
        asyncio.run(run(sink))
    return read_answers(file).records


# The folders


def test_the_peers_are_those_of_the_comparison():
    assert peer_names() == ("bentoml", "fastapi_onnx", "litserve", "mlserver", "ray_serve")


@each_peer
def test_a_peer_pins_everything(peer: Peer):
    wanted = (peer.folder / "requirements.in").read_text()
    assert "-r ../common.in" in wanted.splitlines()
    everything = pins(peer.requirements)
    named = {**pins(FOLDER / "common.in"), **pins(peer.folder / "requirements.in")}
    assert named.items() <= everything.items()
    assert peer.package in named
    assert len(everything) > len(named), "requirements.txt holds only what requirements.in names: compile it"


def test_the_peers_compute_with_the_project_s_versions():
    lock = pins(ROOT / "requirements" / "lock.txt")
    for name, version in pins(FOLDER / "common.in").items():
        assert lock[name] == version, f"{name}: compile the peers' requirements anew, see benchmarks/README.md"


@each_peer
def test_a_peer_s_server_compiles_and_calls_the_one_pipeline(peer: Peer):
    source = (peer.folder / "server.py").read_text()
    compile(source, "server.py", "exec")
    assert "from benchmarks.pipeline import Pipeline" in source
    assert 'os.environ["MODEL_REPOSITORY"]' in source


@each_peer
def test_a_peer_says_what_was_tuned_and_where_it_is_documented(peer: Peer):
    assert peer.tuning
    for one in peer.tuning:
        assert one.what
        assert one.why
        assert one.page.startswith("https://")


@each_peer
def test_a_peer_is_started_on_this_machine_alone(peer: Peer, tmp_path):
    numbers = {name: 20_000 + number for number, name in enumerate(PORTS)}
    command, variables = peer.filled(numbers, tmp_path)
    told = " ".join([*command, *variables.values()])
    assert "{" not in told
    assert str(numbers["port"]) in told
    check_loopback(peer.url(numbers))
    source = (peer.folder / "server.py").read_text()
    assert "127.0.0.1" in told + source
    assert "0.0.0.0" not in told + source


def test_an_unknown_peer_is_refused_by_name():
    with pytest.raises(SetupError, match=r"peer: expected bentoml, .*, got 'flask'"):
        read_peers(["flask"])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        pytest.param("title = ", "expected the description of a peer", id="no TOML"),
        pytest.param('title = "x"', "expected the description of a peer", id="something missing"),
        pytest.param(
            'title="x"\npackage="x"\nstart=["x"]\nprotocol="smtp"\ncode=[]', "'smtp' is not a valid", id="protocol"
        ),
        pytest.param(
            'title="x"\npackage="x"\nstart=["x"]\nprotocol="http"\ncode=["server.py"]',
            "got none of server.py, requirements.txt",
            id="files missing",
        ),
    ],
)
def test_a_wrong_description_is_said(text, said, tmp_path):
    (tmp_path / DESCRIPTION).write_text(text)
    with pytest.raises(SetupError, match=said):
        read_peer(tmp_path)


# The environments


def test_an_environment_is_made_once_for_the_same_requirements(tmp_path, monkeypatch):
    ran: list[list[str]] = []
    monkeypatch.setattr(environments, "_run", lambda command, _: ran.append(command) or _made(command))
    peer, told = PEERS[0], []
    assert installed(peer, tmp_path) is None
    first = environment_of(peer, told.append, tmp_path)
    assert [command[1:3] for command in ran] == [["-m", "venv"], ["-m", "pip"]]
    assert environment_of(peer, told.append, tmp_path) == first == installed(peer, tmp_path)
    assert len(ran) == 2
    assert len(told) == 1


def _made(command: list[str]) -> None:
    if command[1:3] == ["-m", "venv"]:
        Path(command[3]).mkdir()


def test_an_environment_that_was_not_finished_is_made_anew(tmp_path, monkeypatch):
    peer = PEERS[0]

    def fail(command: list[str], _: Peer) -> None:
        _made(command)
        if "pip" in command:
            raise SetupError("no such version")

    monkeypatch.setattr(environments, "_run", fail)
    with pytest.raises(SetupError, match="no such version"):
        environment_of(peer, lambda _: None, tmp_path)
    assert installed(peer, tmp_path) is None
    monkeypatch.setattr(environments, "_run", lambda command, _: _made(command))
    assert environment_of(peer, lambda _: None, tmp_path) == installed(peer, tmp_path)


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ("Collecting x\nERROR: no matching distribution\n\n[notice] new pip", "no matching distribution"),
        ("ERROR: one\nERROR: two", "one two"),
        ("something\nlast words\n", "last words"),
        ("", "it did not say why"),
    ],
    ids=["error", "errors", "no error", "nothing"],
)
def test_why_pip_stopped(said, reason):
    assert reason_of(said) == reason


# The seam


def test_a_picture_goes_as_the_body(tmp_path):
    with serving() as (url, server):
        got = records(url, Plan(seconds=5, rate=100, requests=3, arrivals=Arrivals.FIXED), tmp_path)
    assert [one.code for one in got] == [OK] * 3
    assert (got[0].models["classifier"].version, got[0].models["classifier"].digest) == (2, DIGEST)
    assert [body for _, _, body in server.asked] == [b"picture"] * 3
    assert all(path == "/analyze" and headers["Accept-Encoding"] == "identity" for path, headers, _ in server.asked)


def test_a_picture_goes_in_a_form(tmp_path):
    with serving() as (url, server):
        got = records(url, Plan(seconds=5, workers=1, requests=1, form="photo"), tmp_path)
    ((_, headers, body),) = server.asked
    form = message_from_bytes(f"Content-Type: {headers['Content-Type']}\r\n\r\n".encode() + body)
    (part,) = form.get_payload()
    assert got[0].ok
    assert part.get_param("name", header="content-disposition") == "photo"
    assert part.get_filename()
    assert part.get_payload(decode=True) == b"picture"


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        ((503, b"too much"), "HTTP_503"),
        ((400, b"not a\npicture"), "HTTP_400"),
        ((200, b"no json"), BAD_ANSWER),
        ((200, b'{"schema": 1, "models": {}}'), BAD_ANSWER),
        ((200, b"[]"), BAD_ANSWER),
    ],
    ids=["busy", "bad picture", "no json", "no models", "no result"],
)
def test_what_fails_over_http_is_recorded_and_never_asked_again(answer, code, tmp_path):
    with serving(answer, (200, json.dumps(RESULT).encode())) as (url, server):
        plan = Plan(seconds=5, rate=20, requests=2, arrivals=Arrivals.FIXED)
        first, second = records(url, plan, tmp_path)
    assert (first.code, second.code, len(server.asked)) == (code, OK, 2)
    assert first.message
    assert "\n" not in first.message


def test_a_deadline_is_kept_over_http(tmp_path):
    with serving(seconds=1.0) as (url, _):
        (got,) = records(url, Plan(seconds=5, rate=50, requests=1, timeout_s=0.2), tmp_path)
    assert got.code == "DEADLINE_EXCEEDED"


def test_an_open_loop_does_not_wait_for_http_answers(tmp_path):
    with serving(seconds=0.5) as (url, _):
        got = records(url, Plan(seconds=5, rate=100, requests=8, arrivals=Arrivals.FIXED), tmp_path)
    assert all(one.ok for one in got)
    assert max(one.sent for one in got) < min(one.done for one in got)
    assert all(one.planned <= one.sent for one in got)


def test_nobody_there_is_said(tmp_path):
    with pytest.raises(SetupError, match="no server answers"):
        records("http://127.0.0.1:1/", Plan(seconds=1, rate=1), tmp_path)


@pytest.mark.parametrize("url", ["http://127.0.0.1:8000/analyze", "http://localhost:1", "http://[::1]:8000/"])
def test_this_machine_may_be_loaded_over_http(url):
    check_loopback(url)


@pytest.mark.parametrize(
    "url", ["http://10.0.0.1/", "http://example.org:8000/", "http://127.0.0.1@example.org/", "http://0.0.0.0:80/"]
)
def test_others_may_not_be(url):
    with pytest.raises(SetupError, match="--remote"):
        check_loopback(url)


# The same answers


def test_asking_gives_results_in_order():
    answers = [(200, json.dumps({**RESULT, "number": number}).encode()) for number in range(3)]
    with serving(*answers) as (url, _):
        assert [one["number"] for one in ask(url, None, [b"a", b"b", b"c"])] == [0, 1, 2]


def test_a_bad_answer_is_said():
    with serving((500, b"it broke")) as (url, _), pytest.raises(SetupError, match="HTTP_500: it broke"):
        ask(url, None, [b"a"])
    with serving((200, b'{"schema": 2}')) as (url, _), pytest.raises(SetupError, match="expected RESULT, schema 1"):
        ask(url, None, [b"a"])


def test_the_same_answers_are_the_same_with_and_without_models():
    expected = {"one.jpg": {**RESULT, "scene": [{"label": "moped", "score": 0.24}]}}
    check_same(expected, json.loads(json.dumps(expected)))
    check_same(expected, {"one.jpg": {name: value for name, value in expected["one.jpg"].items() if name != "models"}})


@pytest.mark.parametrize(
    ("got", "place"),
    [
        pytest.param({"schema": 1, "models": {"a": 1}, "scene": [0.2401]}, r"one: RESULT.scene\[0\]", id="a digit"),
        pytest.param({"schema": 1, "models": {"a": 1}, "scene": []}, "one: RESULT.scene", id="one less"),
        pytest.param({"schema": 1, "models": {"a": 2}, "scene": [0.24]}, "one: RESULT.models.a", id="another version"),
        pytest.param({"schema": 1, "models": {"a": 1}}, "one: RESULT.scene: .* got nothing", id="missing"),
    ],
)
def test_other_answers_are_refused_with_the_place(got, place):
    with pytest.raises(SetupError, match=place):
        check_same({"one": {"schema": 1, "models": {"a": 1}, "scene": [0.24]}}, {"one": got})


def test_a_picture_without_an_answer_is_refused():
    with pytest.raises(SetupError, match="one: RESULT"):
        check_same({"one": RESULT}, {})


def test_differences_tell_true_from_one():
    assert not list(differences({"a": [1, {"b": None}]}, {"a": [1, {"b": None}]}))
    assert len(list(differences([1, 2, 3], [1, 3, 2]))) == 2


# Lines


def test_only_lines_of_code_count(tmp_path):
    file = tmp_path / "server.py"
    file.write_text(
        '"""About\n\nthis."""\n\nimport os  # a comment\n\n# another\nA = [\n    1,\n\n]\n"""About A."""\n\n\n'
        'def f():\n    """About f."""\n    return """not\n    a docstring"""\n'
    )
    assert lines.count([file]) == 1 + 3 + 1 + 2
    config = tmp_path / "config.pbtxt"
    config.write_text('# A model.\n\nname: "x"\n  # more\ninput [\n]\n')
    assert lines.count([config]) == 3


def test_lines_of_the_ensemble_are_its_configurations_and_models():
    repository = ROOT / "model_repository"
    configurations = lines.count(repository.glob("*/config.pbtxt"))
    assert lines.of_ensemble(repository) == configurations + lines.count(repository.glob("*/1/model.py"))


# Processes


@pytest.fixture
def family() -> Iterator[Family]:
    """Of this test alone, and nothing is adopted after."""
    yield Family()
    adopt_orphans(adopt=False)


def test_a_family_holds_orphans_and_ends_them(family):
    # A child that starts a child of its own, tells its number, and leaves it alone.
    orphan = "import time; time.sleep(60)"
    parent = (
        "import subprocess, sys; quiet = dict.fromkeys(('stdout', 'stderr'), subprocess.DEVNULL); "
        f"print(subprocess.Popen([sys.executable, '-c', {orphan!r}], **quiet).pid)"
    )
    done = subprocess.run([sys.executable, "-c", parent], capture_output=True, text=True, check=True, timeout=30)
    number = int(done.stdout)
    assert [process.pid for process in family.members()] == [number]
    assert family.memory_mb() > 0
    assert len(family.end()) == 1
    assert not psutil.pid_exists(number)
    assert family.members() == []
    assert family.end() == []


def test_a_family_knows_what_its_members_spent(family):
    busy = "import time\nwhile time.process_time() < 0.3: pass\nprint('through', flush=True)\ntime.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", busy], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        assert family.cpu_s()[process.pid] >= 0.29
        process.kill()
    assert family.cpu_s() == {}


# The figures

PHASES = ("one", "saturated", "half")


def test_every_second_round_is_reversed():
    assert orders(["a", "b", "c"], 3) == [["a", "b", "c"], ["c", "b", "a"], ["a", "b", "c"]]


@pytest.mark.parametrize("wrong", [{"seconds": 0.0}, {"seconds": 1e6}, {"rounds": 0}, {"callers": 0}], ids=",".join)
def test_settings_are_bounded(wrong):
    with pytest.raises(SetupError, match=f"peers: {next(iter(wrong))}: expected"):
        Settings(**wrong)


@dataclass(frozen=True)
class Other:
    """A peer that nobody starts."""

    name: str = "other"
    title: str = "Other | Server"
    version: str = "other 1.0"
    protocol: Protocol = Protocol.HTTP


def phase(count: int, ms: float, cpu_s: float, failed: int = 0) -> Phase:
    answers = [
        Answer(number, "one", float(number), float(number), number + ms / 1000, OK if number >= failed else "HTTP_500")
        for number in range(count)
    ]
    return Phase(tuple(answers), cpu_s, others_cores=0.1, busiest=0.5)


def made_up(**more: Any) -> Run:
    """Trident in two rounds, and a peer that is half as fast at twice the cost."""
    entities = [{"type": "face"}, {"type": "plate"}, {"type": "plate"}]
    run = Run(
        Settings(rounds=2), [Trident("nvidia-pytriton 0.7.0"), Other()], results={"one.jpg": {"entities": entities}}
    )
    for number in (0, 1):
        run.visits.append(
            Visit("trident", number, 3.0, phase(10, 100, 2), phase(40, 700, 8), 10.0 + number, phase(20, 110, 4), 900.0)
        )
        run.visits.append(
            Visit("other", number, 5.0, phase(10, 200, 4), phase(20, 900, 8), 5.0, phase(20, 220, 9, **more), 600.0)
        )
    return run


def test_the_figures_of_made_up_visits(monkeypatch):
    monkeypatch.setattr(lines, "of_ensemble", lambda _: 500)
    figures = work_out(made_up())
    trident, other = figures.rows
    assert trident.rate == pytest.approx(10.5)
    assert trident.by_round[Measure.RATE] == (10.0, 11.0)
    assert trident.by_round[Measure.CPU] == pytest.approx((0.2, 0.2))
    assert other.by_round[Measure.P99] == pytest.approx((220, 220))
    assert trident.busiest == 0.5
    assert (trident.one.count, trident.half.count) == (20, 40)
    assert trident.one.p50 == pytest.approx(100)
    assert other.half.p99 == pytest.approx(220)
    assert trident.cpu_s == pytest.approx(16 / 80)
    assert other.cpu_s == pytest.approx(16 / 40)
    assert other.half_rate == pytest.approx(2.5)
    assert (trident.memory_mb, other.memory_mb) == (900.0, 600.0)
    assert (figures.faces, figures.plates) == (1, 2)


def test_failures_are_told_and_in_no_latency():
    run = made_up(failed=3)
    figures = work_out(run)
    assert figures.rows[1].failed == 6
    assert figures.rows[1].half.count == 34
    assert any("6 requests failed" in sentence and "Other" in sentence for sentence in sentences(run, figures))


def test_the_report_is_whole_and_asks_the_network_for_nothing(tmp_path):
    run = made_up()
    run.refused["BentoML"] = "cannot be installed:\nno such version"
    run.commands["Other | Server"] = "other serve"
    figures, facts = work_out(run), report.circumstances("made up")
    as_html, as_json = report.write("peers-x", to_html(run, figures, facts), to_json(run, figures, facts), tmp_path)
    written = json.loads(as_json.read_text())
    (table,) = written["summary"]["tables"]
    assert table["headings"] == list(HEADINGS)
    assert [row[0] for row in table["rows"]] == ["Trident", "Other | Server"]
    assert [row["rate"] for row in written["servers"]] == [10.5, 5.0]
    assert len(written["visits"]) == 4
    assert "Left out, BentoML: cannot be installed: no such version" in written["summary"]["sentences"]
    assert "no such version" in as_html.read_text()


def test_who_is_ahead_of_trident_is_told_and_who_cannot_be_told_from_it():
    run = made_up()
    run.visits[1] = replace(run.visits[1], half=phase(20, 100, 9))  # the other's first round, faster than Trident's
    said = " ".join(sentences(run, work_out(run)))
    assert "in throughput, answers a second: behind none;" in said
    assert "in p99 at half load, ms: behind none, not to be told from Other | Server;" in said
    assert "in memory, MB: behind Other | Server." in said


@pytest.mark.parametrize(
    ("ours", "theirs", "order"),
    [
        pytest.param([3.0, 4.0], [1.0, 2.0], 1, id="better"),
        pytest.param([1.0, 2.0], [3.0, 4.0], -1, id="worse"),
        pytest.param([1.0, 3.5], [3.0, 4.0], None, id="overlapping"),
        pytest.param([2.0], [2.0], None, id="equal"),
        pytest.param([float("nan"), 4.0], [1.0, 2.0], None, id="a round in which all failed"),
    ],
)
def test_rounds_that_overlap_decide_nothing(ours, theirs, order):
    assert compare(ours, theirs, largest_first=True) == order
    assert compare(theirs, ours, largest_first=False) == order


@pytest.mark.parametrize(("others_cores", "outcome"), [(0.1, "finished"), (0.4, "failed")])
def test_a_busy_machine_is_told_and_does_not_count(others_cores, outcome):
    run = made_up()
    run.visits = [
        replace(visit, **{name: replace(getattr(visit, name), others_cores=others_cores) for name in PHASES})
        for visit in run.visits
    ]
    figures = work_out(run)
    assert any(f"others kept {others_cores:.2f} cores busy" in sentence for sentence in sentences(run, figures))
    assert to_json(run, figures, report.circumstances("made up"))["outcome"] == outcome


def test_a_row_has_a_cell_for_each_heading():
    for row in work_out(made_up()).rows:
        assert len(row_cells(row)) == len(HEADINGS)


def test_a_peer_s_lines_are_its_server_s_and_the_pipeline_s(tmp_path):
    peer = PEERS[0]
    served = Served(peer, environments.Environment(tmp_path), "x 1")
    run = Run(Settings(rounds=1), [Trident("x"), served], results={"one.jpg": {"entities": []}})
    for name in ("trident", peer.name):
        run.visits.append(Visit(name, 0, 1.0, phase(4, 1, 1), phase(4, 1, 1), 1.0, phase(4, 1, 1), 1.0))
    trident, other = work_out(run).rows
    assert other.own_lines == lines.of_peer(peer) > 10
    assert other.pipeline_lines == lines.of_pipeline() > 50
    assert row_cells(other)[-1] == f"{other.own_lines} + {other.pipeline_lines}"
    assert (trident.pipeline_lines, row_cells(trident)[-1]) == (0, str(trident.own_lines))
