"""The commands ``trident analyze`` and ``trident status`` against a server in this process."""

from __future__ import annotations

import io
import json
import os

import grpc
import pytest
from click.testing import CliRunner
from fake_server import Answer, FakeServer, result, running
from PIL import Image

from trident.cli import main
from trident.rollout.journal import JOURNAL_FILE, Journal


def png(width=64, height=48):
    buffer = io.BytesIO()
    Image.new("RGB", (width, height), (90, 90, 90)).save(buffer, "PNG")
    return buffer.getvalue()


def sees(picture: bytes) -> Answer:
    """What the server answers: the picture's own size, or a refusal of what is no picture."""
    try:
        width, height = Image.open(io.BytesIO(picture)).size
    except OSError:
        return Answer(grpc.StatusCode.INVALID_ARGUMENT, "in ensemble 'trident', the picture cannot be decoded")
    return Answer(result=result(image={"width": width, "height": height}))


@pytest.fixture(scope="module")
def server():
    with running(FakeServer()) as fake:
        fake.otherwise = sees
        yield fake


@pytest.fixture
def run(server, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TRIDENT_URL", server.url)
    monkeypatch.setenv("COLUMNS", "160")
    server.pictures.clear()
    server.index = [("trident", "1", "READY", ""), ("detector", "2", "READY", "")]

    def invoke(*arguments, stdin=None):
        return CliRunner().invoke(main, [str(one) for one in arguments], input=stdin)

    return invoke


@pytest.fixture
def photos(tmp_path):
    for name in ("a/x.png", "b/x.png", "b/deep/y.PNG", "z.png"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(png())
    (tmp_path / "b/notes.txt").write_text("no picture")
    return tmp_path


def documents(text):
    """A stream of JSON documents."""
    found, decoder, text = [], json.JSONDecoder(), text.strip()
    while text:
        document, end = decoder.raw_decode(text)
        found.append(document)
        text = text[end:].strip()
    return found


def test_one_picture_is_told_in_full(run, photos):
    outcome = run("analyze", "z.png")
    assert outcome.exit_code == 0, outcome.output
    for words in ("64 × 48", "minivan 0.61", "car", "0.71", "皖A06725D", "Eileen Collins", "answered by classifier 1"):
        assert words in outcome.stdout
    assert "dog" not in outcome.stdout  # below the threshold
    assert outcome.stderr == ""


def test_several_pictures_are_a_table(run, photos):
    outcome = run("analyze", "a/x.png", "z.png")
    assert outcome.exit_code == 0
    assert outcome.stdout.count("皖A06725D") == 2


def test_the_threshold_is_for_what_is_shown(run, photos):
    assert "dog" in run("analyze", "z.png", "--threshold", "0.01").stdout
    assert "皖A06725D" not in run("analyze", "z.png", "--threshold", "0.99").stdout


def test_json_is_whole_unless_a_threshold_is_given(run, photos):
    (document,) = documents(run("analyze", "z.png", "--json").stdout)
    assert document["path"] == "z.png"
    assert document["request_id"]
    assert document["schema"] == 1
    assert len(document["categories"]) == 2
    (document,) = documents(run("analyze", "z.png", "--json", "--threshold", "0.3").stdout)
    assert len(document["categories"]) == 1


def test_a_folder_is_searched_to_the_bottom(run, photos):
    paths = [document["path"] for document in documents(run("analyze", "b", "--json").stdout)]
    assert paths == ["b/x.png", "b/deep/y.PNG"]


def test_globs_are_expanded(run, photos):
    paths = [document["path"] for document in documents(run("analyze", "**/x.png", "--json").stdout)]
    assert paths == ["a/x.png", "b/x.png"]


def test_a_file_with_a_name_like_a_glob_is_a_file(run, photos):
    (photos / "[1].png").write_bytes(png())
    assert run("analyze", "[1].png").exit_code == 0


def test_a_picture_named_twice_is_asked_once(run, photos, server):
    run("analyze", "z.png", "./z.png", "*.png")
    assert len(server.pictures) == 1


def test_standard_input(run, server):
    outcome = run("analyze", "-", "--json", stdin=png())
    assert documents(outcome.stdout)[0]["path"] == "-"
    assert server.pictures == [png()]


def test_a_bad_picture_is_named_and_the_rest_go_on(run, photos):
    (photos / "a/bad.png").write_bytes(b"no picture")
    outcome = run("analyze", "a", "gone.png", "z.png", "--jsonl", "out.jsonl")
    assert outcome.exit_code == 1
    assert outcome.stderr.splitlines() == [
        "a/bad.png: the picture cannot be decoded",
        "gone.png: No such file or directory",
    ]
    lines = [json.loads(line) for line in (photos / "out.jsonl").read_text().splitlines()]
    assert [(line["path"], "error" in line) for line in lines] == [
        ("a/bad.png", True), ("a/x.png", False), ("gone.png", True), ("z.png", False),
    ]  # fmt: skip
    assert lines[0]["error"] == {"kind": "PictureRefused", "message": "the picture cannot be decoded"}


def test_lines_to_standard_output_are_all_that_is_there(run, photos):
    outcome = run("analyze", "a", "b", "--jsonl", "-")
    assert [json.loads(line)["path"] for line in outcome.stdout.splitlines()] == ["a/x.png", "b/x.png", "b/deep/y.PNG"]


def test_lines_take_the_place_of_those_of_an_earlier_run(run, photos):
    (photos / "out.jsonl").write_text("what was there, and longer than what comes\n" * 100)
    assert run("analyze", "a", "z.png", "--jsonl", "out.jsonl").exit_code == 0
    lines = (photos / "out.jsonl").read_text().splitlines()
    assert [json.loads(line)["path"] for line in lines] == ["a/x.png", "z.png"]


def test_without_a_server_the_lines_of_an_earlier_run_stay(run, photos):
    (photos / "out.jsonl").write_text("what was there\n")
    for name in ("out.jsonl", "new.jsonl"):
        outcome = run("analyze", "z.png", "--jsonl", name, "--url", "127.0.0.1:1", "--timeout", "3")
        assert outcome.stderr.startswith("Error: cannot reach a server")
    assert (photos / "out.jsonl").read_text() == "what was there\n"
    assert not (photos / "new.jsonl").exists()


def test_lines_go_to_what_is_no_file_as_well(run, photos):
    assert run("analyze", "z.png", "--jsonl", os.devnull).exit_code == 0


def test_json_and_lines_to_one_place_are_refused(run, photos):
    assert run("analyze", "z.png", "--json", "--jsonl", "-").exit_code == 2


@pytest.mark.parametrize(
    ("argument", "words"),
    [
        pytest.param("empty", "empty: no picture in this folder", id="empty folder"),
        pytest.param("*.webp", "*.webp: no file matches", id="glob without a match"),
    ],
)
def test_arguments_that_stand_for_nothing_fail(run, photos, argument, words):
    (photos / "empty").mkdir()
    assert run("analyze", argument).stderr.splitlines() == [words]
    outcome = run("analyze", argument, "z.png")
    assert outcome.exit_code == 1
    assert "minivan" in outcome.stdout


def test_drawings_of_one_name_do_not_replace_each_other(run, photos):
    outcome = run("analyze", "a", "b", "--draw", "drawn", "--jsonl", "out.jsonl")
    assert outcome.exit_code == 0, outcome.output
    assert sorted(one.name for one in (photos / "drawn").iterdir()) == ["x-2.png", "x.png", "y.png"]
    lines = [json.loads(line) for line in (photos / "out.jsonl").read_text().splitlines()]
    assert [line["drawn"] for line in lines] == ["drawn/x.png", "drawn/x-2.png", "drawn/y.png"]
    assert Image.open(photos / "drawn/x.png").width == 64
    assert "drew 3 pictures into drawn" in outcome.stderr


def test_drawings_never_replace_an_input(run, photos):
    before = (photos / "z.png").read_bytes()
    assert run("analyze", "z.png", "--draw", ".").exit_code == 0
    assert (photos / "z.png").read_bytes() == before
    assert (photos / "z-2.png").exists()


@pytest.mark.parametrize("option", ["--draw", "--jsonl"])
def test_an_output_that_cannot_be_written_is_one_sentence(run, photos, server, option):
    outcome = run("analyze", "z.png", option, "z.png/below")
    assert outcome.exit_code == 1
    assert (
        outcome.stderr == f"Error: {option}: cannot write {'to ' * (option == '--draw')}z.png/below: Not a directory\n"
    )
    assert server.pictures == []


@pytest.mark.parametrize("command", [("analyze", "a", "b"), ("status",)])
def test_no_server_is_one_sentence(run, photos, command):
    outcome = run(*command, "--url", "127.0.0.1:1", "--timeout", "3")
    assert outcome.exit_code == 1
    assert outcome.stderr.count("\n") == 1
    assert outcome.stderr.startswith("Error: cannot reach a server at 127.0.0.1:1 (")
    assert outcome.stderr.endswith("start one with: trident serve\n")


def test_an_address_that_is_none_is_one_sentence(run, photos):
    outcome = run("analyze", "z.png", "--url", "http://host:8000")
    assert outcome.exit_code == 1
    assert outcome.stderr.startswith("Error: url: expected the address of Triton's gRPC port")


def test_file_names_are_not_markup(run, photos):
    (photos / "[red]a.png").write_bytes(b"no picture")
    (photos / "[bold]b.png").write_bytes(png())
    outcome = run("analyze", "[red]a.png", "[bold]b.png", "z.png")
    assert outcome.stderr == "[red]a.png: the picture cannot be decoded\n"
    assert "[bold]b.png" in outcome.stdout


def test_headers_are_sent(run, photos, server):
    run("analyze", "z.png", "--header", "X-Key=secret=1")
    assert server.metadata[-1]["x-key"] == "secret=1"
    assert run("analyze", "z.png", "--header", "nonsense").exit_code == 2


def test_a_header_that_cannot_be_sent_is_one_sentence(run, photos):
    outcome = run("analyze", "z.png", "--header", "Bad Key=1")
    assert outcome.exit_code == 1
    assert outcome.stderr.startswith("Error: headers: expected a name of letters")
    assert outcome.stderr.count("\n") == 1


def test_status_tells_versions_pins_and_digests(run):
    outcome = run("status")
    assert outcome.exit_code == 0, outcome.output
    assert "triton 2.51.0 at 127.0.0.1:" in outcome.stdout
    lines = [line.split() for line in outcome.stdout.splitlines() if "detector" in line]
    assert lines == [["detector", "2", "ready", "trident"], ["detector", "2", "sha256:020202020202"]]


@pytest.fixture
def interrupted(tmp_path):
    """A model repository of which the journal says that a rollout has begun, and not how it ended."""
    Journal(tmp_path).append("7", "started", kind="rollout", who="ann@host", targets={"detector": 2})
    return tmp_path


SENTENCE = "rollout of detector=2 was interrupted at step start"


def test_status_mentions_a_rollout_that_was_interrupted(run, tmp_path):
    assert "interrupted" not in run("status", "--model-repository", tmp_path).output
    Journal(tmp_path).append("7", "started", kind="rollout", who="ann@host", targets={"detector": 2})
    outcome = run("status", "--model-repository", tmp_path)
    assert outcome.exit_code == 0
    assert outcome.stdout.splitlines()[-1].startswith(SENTENCE)
    document = json.loads(run("status", "--json", "--model-repository", tmp_path).stdout)
    assert document["interrupted_rollout"].startswith(SENTENCE)


def test_an_interruption_is_said_without_a_server_too(run, interrupted):
    gone = ("--url", "127.0.0.1:1", "--timeout", "3", "--model-repository", interrupted)
    outcome = run("status", *gone)
    assert outcome.exit_code == 1
    assert outcome.stdout.startswith(SENTENCE)
    assert outcome.stderr.startswith("Error: cannot reach a server")
    outcome = run("status", "--json", *gone)
    assert (outcome.exit_code, outcome.stdout) == (1, "")
    assert outcome.stderr.startswith(SENTENCE)


def test_a_journal_that_cannot_be_read_does_not_hide_the_server(run, tmp_path):
    (tmp_path / JOURNAL_FILE).mkdir()
    outcome = run("status", "--model-repository", tmp_path)
    assert outcome.exit_code == 0
    assert "triton 2.51.0" in outcome.stdout
    assert outcome.stdout.splitlines()[-1] == f"{tmp_path / JOURNAL_FILE} cannot be read: Is a directory"


def test_status_as_json(run):
    document = json.loads(run("status", "--json", "--no-probe").stdout)
    assert [model["name"] for model in document["models"]] == ["trident", "detector"]
    assert document["models"][1]["pinned"] == 2


def test_status_says_what_it_may_not_know(run, server):
    server.restricted = {"ModelConfig"}
    try:
        outcome = run("status")
    finally:
        server.restricted = set()
    assert outcome.exit_code == 0
    assert "note: the ensemble's pins are unknown" in outcome.stderr


def test_a_digest_has_its_models_name_also_where_an_earlier_version_has_none(run, server):
    server.index = [
        ("trident", "1", "READY", ""),
        ("plate_reader", "1", "READY", ""),
        ("fusion", "1", "READY", ""),
        ("fusion", "2", "READY", ""),
    ]
    server.results = {"trident": result(models={"fusion": {"version": 2, "digest": "sha256:" + "cd" * 32}})}
    try:
        lines = [line.split()[:3] for line in run("status").stdout.splitlines()]
    finally:
        server.results = {}
    assert ["fusion", "2", "sha256:cdcdcdcdcdcd"] in lines
