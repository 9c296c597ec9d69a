"""``trident explain`` against a server in this process: what it refuses, and what it tells without a map."""

from __future__ import annotations

import io
import json

import pytest
from click.testing import CliRunner
from fake_server import Answer, FakeServer, result, running
from PIL import Image

from trident.cli import main
from trident.component_digest import digest_of_component
from trident.layout import DEFAULT_REPOSITORY

DIGEST = "sha256:" + "ab" * 32
# So the policy is taken: the typed outputs of this server are all zeros, and tell nothing of weights.
FUSION = {"version": 1, "digest": digest_of_component("fusion", DEFAULT_REPOSITORY / "fusion" / "1")}
MODELS = {"classifier": {"version": 1, "digest": DIGEST}, "fusion": FUSION}


@pytest.fixture(scope="module")
def server():
    with running(FakeServer()) as fake:
        fake.otherwise = lambda picture: Answer(result=result(models=MODELS))
        yield fake


@pytest.fixture
def run(server, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TRIDENT_URL", server.url)
    monkeypatch.setenv("COLUMNS", "160")
    file = io.BytesIO()
    Image.new("RGB", (64, 48), (90, 90, 90)).save(file, "PNG")
    (tmp_path / "photo.png").write_bytes(file.getvalue())
    server.requests.clear()

    def invoke(*arguments):
        return CliRunner().invoke(main, ["explain", *map(str, arguments)])

    return invoke


def test_the_table_is_one_request_and_writes_nothing(run, server, tmp_path):
    outcome = run("photo.png", "--table-only")
    assert outcome.exit_code == 0, outcome.output
    assert "photo.png: 640 × 480 pixels, answered by classifier 1, fusion 1" in outcome.output
    assert "Weights: classifier 0.3, detector 1, entities 1 (the policy of fusion 1" in outcome.output
    assert [request.model_name for request in server.requests] == ["trident"]
    assert [path.name for path in tmp_path.iterdir()] == ["photo.png"]


def test_json_has_the_category_that_was_asked_for(run):
    outcome = run("photo.png", "--table-only", "--json", "--category", "Car")
    assert outcome.exit_code == 0, outcome.output
    document = json.loads(outcome.stdout)
    assert [one["name"] for one in document["categories"]] == ["car"]
    assert document["weights"] == {"classifier": 0.3, "detector": 1.0, "entities": 1.0}
    assert (document["maps"], document["picture"]) == ([], None)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        pytest.param(("gone.png",), "'gone.png' does not exist", id="no such photo"),
        pytest.param(("photo.png", "--category", "motorbike"), "near it: motorcycle", id="no such category"),
        pytest.param(("photo.png", "--label", "minivann"), "near it: minivan", id="no such label"),
        pytest.param(("photo.png", "--out", "x.jpg"), "ends in .png or .html, got x.jpg", id="no such kind of file"),
        pytest.param(("photo.png", "--out", "no/x.png"), "there is no folder no", id="no such folder"),
        pytest.param(("photo.png", "--out", "photo.png"), "the photo itself", id="over the photo"),
        pytest.param(("photo.png", "--box", "-1"), "-1 is not in the range", id="a negative box"),
        pytest.param(("photo.png", "--table-only", "--out", "x.png"), "leave out --out", id="a picture of no map"),
        pytest.param(("photo.png", "--url", "http://here"), "gRPC port", id="no such kind of address"),
    ],
)
def test_what_cannot_be_is_said_before_anything_is_asked(run, server, tmp_path, arguments, message):
    outcome = run(*arguments)
    assert outcome.exit_code in (1, 2)
    assert message in " ".join(outcome.output.split())
    assert server.requests == []
    assert [path.name for path in tmp_path.iterdir()] == ["photo.png"]


def test_a_box_that_is_not_there_is_said_before_the_networks_are_asked(run, server):
    outcome = run("photo.png", "--box", "2")
    assert outcome.exit_code == 1
    assert "Error: box: expected a number of one of the objects (0 to 1), got 2" in outcome.output
    assert len(server.requests) == 1


def test_an_empty_photo(run, tmp_path):
    (tmp_path / "empty.png").touch()
    outcome = run("empty.png")
    assert outcome.exit_code == 1
    assert outcome.output == "Error: empty.png: the file is empty\n"


def test_without_a_server_it_says_how_to_start_one(run):
    outcome = run("photo.png", "--url", "127.0.0.1:1")
    assert outcome.exit_code == 1
    assert "cannot reach a server at 127.0.0.1:1" in outcome.output
    assert outcome.output.endswith("start one with: trident serve\n")


def test_an_answer_that_does_not_name_its_fusion(run, server):
    server.script.append(Answer(result=result()))
    outcome = run("photo.png", "--table-only")
    assert outcome.exit_code == 1
    assert "RESULT.models: expected fusion in it" in outcome.output
