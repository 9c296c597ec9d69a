"""``trident explain`` on a real server: the terms add up, and the maps are hot where the things are."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.asking import PHOTOS, Ask
from trident.errors import SetupError
from trident.explain.served import ask as ask_version
from trident.launcher import TritonServer
from trident.rollout.serving import TritonServing
from trident_client.results import ModelVersion

Explain = Callable[..., dict[str, Any]]


@pytest.fixture
def explain(server: TritonServer, tmp_path: Path) -> Explain:
    """``explain(photo, …)``: what the command prints for programs."""

    def run(name: str, *arguments: str) -> dict[str, Any]:
        program = "from trident.cli import main; main()"
        command = [sys.executable, "-c", program, "explain", str(PHOTOS / name), "--url", server.grpc_url, "--json"]
        done = subprocess.run(
            [*command, *arguments], check=False, capture_output=True, text=True, timeout=120, cwd=tmp_path
        )
        assert done.returncode == 0, done.stderr
        return dict(json.loads(done.stdout))

    return run


def test_the_terms_add_up_to_the_scores_of_the_answer(explain: Explain, ask: Ask, photo: Callable[[str], bytes]):
    document = explain("astronaut.png", "--table-only", "--threshold", "0.01")
    (answer,) = ask(photo("astronaut.png"))
    assert document["weights_source"].startswith("the policy of fusion")
    # The answer has four digits; a score at the very edge may be in one list alone.
    scores = {one["name"]: one["score"] for one in answer["categories"] if one["score"] > 0.0101}
    explained = {one["name"]: one for one in document["categories"] if one["score"] > 0.0101}
    assert explained.keys() == scores.keys()
    for name, one in explained.items():
        assert sum(branch["adds"] for branch in one["branches"].values()) == pytest.approx(one["score"], abs=1e-12)
        assert one["score"] == pytest.approx(scores[name], abs=6e-5)
    assert set(explained["person"]["branches"]) == {"classifier", "detector", "entities"}


def test_without_the_policys_files_the_weights_are_worked_out(explain: Explain, tmp_path: Path):
    known = explain("astronaut.png", "--table-only")
    found = explain("astronaut.png", "--table-only", "--model-repository", str(tmp_path))
    assert found["weights_source"].startswith("worked out of the answer")
    assert found["weights"] == pytest.approx(known["weights"], abs=1e-3)


def test_the_maps_are_hot_where_the_thing_is(explain: Explain, tmp_path: Path):
    document = explain("coffee.png", "--masks", "40", "--out", "cup.png")
    classifier, detector = document["maps"]
    x1, y1, x2, y2 = detector["box"]
    x, y = detector["hottest"]
    assert x1 <= x <= x2
    assert y1 <= y <= y2
    for one in (classifier, detector):
        assert one["hottest_hidden"] < one["coldest_hidden"]
        assert one["masks"] <= 40
    with Image.open(tmp_path / "cup.png") as image:
        assert image.format == "PNG"
        assert np.asarray(image.convert("L")).std() > 20
    assert [path.name for path in tmp_path.iterdir()] == ["cup.png"]


def test_the_same_seed_gives_the_same_page(explain: Explain, tmp_path: Path):
    options = ("--method", "rise", "--masks", "16", "--category", "cat", "--seed", "3")
    first, again = (explain("chelsea.png", *options, "--out", f"{name}.html") for name in ("first", "again"))
    assert {**first, "picture": ""} == {**again, "picture": ""}
    pages = [(tmp_path / f"{name}.html").read_text() for name in ("first", "again")]
    assert pages[0] == pages[1]
    assert "://" not in pages[0]  # which base64 cannot hold by chance
    assert first["maps"][0]["target"].startswith("cat (")


def test_a_version_that_is_not_loaded_is_named(server: TritonServer):
    pixels = {"PIXELS": np.zeros((1, 288, 288, 3), np.uint8)}
    with TritonServing(server.grpc_url) as serving, pytest.raises(SetupError, match="classifier 77, which answered"):
        ask_version(serving, "classifier", ModelVersion(77, "sha256:" + "0" * 64), pixels, ("PROBABILITIES",))
