"""The quality report on a few pictures: that the command works, and that its numbers add up. Not how good they are."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks.self_contained import check_self_contained
from tests.labelled import write_labelled
from tests.tiny_trident import write_repository
from trident.launcher import TritonServer
from trident.rollout.golden import LABELLED_SETS


def run(data: Path, out: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "benchmarks.quality", "--data", str(data), "--out", str(out), *options]
    return subprocess.run(command, check=False, capture_output=True, text=True, timeout=200)


def figures_in(out: Path) -> dict[str, Any]:
    (file,) = out.glob("quality-*.json")
    check_self_contained(file.with_suffix(".html").read_text(encoding="utf-8"))
    return dict(json.loads(file.read_text(encoding="utf-8")))


@pytest.fixture(scope="module")
def labelled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_labelled(tmp_path_factory.mktemp("labelled"))


@pytest.fixture(scope="module")
def figures(server: TritonServer, labelled: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Of the real networks, which serve."""
    out = tmp_path_factory.mktemp("reports")
    done = run(labelled, out, "--url", server.grpc_url, "--no-floors")
    assert done.returncode == 0, done.stdout + done.stderr
    return figures_in(out)


@pytest.fixture(scope="module")
def compared(labelled: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Of constant networks, on a server that the command starts itself."""
    folder = tmp_path_factory.mktemp("compared")
    models = write_repository(folder / "models", differing=("classifier", "plate_reader"))
    before = sorted(path.relative_to(models) for path in models.rglob("*") if "__pycache__" not in path.parts)
    done = run(
        labelled,
        folder / "reports",
        *("--model-repository", str(models), "--no-floors", "--only", "imagenet", "--only", "plates"),
        *("--compare", "classifier=2", "--compare", "plate_reader=2"),
    )
    assert done.returncode == 0, done.stdout + done.stderr
    after = sorted(path.relative_to(models) for path in models.rglob("*") if "__pycache__" not in path.parts)
    assert after == before, "the repository is copied, not changed"
    return figures_in(folder / "reports")


def measures(version: dict[str, Any]) -> dict[str, float]:
    return {one["name"]: one["value"] for one in version["measures"]}


def test_every_set_was_measured(figures):
    (version,) = figures["versions"]
    assert figures["settings"]["sets"] == list(LABELLED_SETS)
    assert set(version["parts"]) == {"classes", "boxes", "categories", "faces", "plates", "plate_crops"}
    assert {"classifier", "detector", "fusion", "face_embedder", "plate_reader"} <= set(version["models"])
    assert figures["skipped"] == []


def test_the_figures_add_up(figures):
    (version,) = figures["versions"]
    found, parts = measures(version), version["parts"]
    wrong = sum(one["count"] for one in parts["classes"]["confusions"])
    assert found["ImageNet top-1"] == pytest.approx(1 - wrong / parts["classes"]["pictures"])
    assert parts["classes"]["calibration"]["count"] == parts["classes"]["pictures"] == 2

    boxes = parts["boxes"]
    assert found["COCO mAP@[.5:.95]"] == pytest.approx(boxes["stats"]["mAP@[.5:.95]"], abs=1e-4)
    mean = sum(one["AP"] for one in boxes["categories"].values()) / len(boxes["categories"])
    assert boxes["stats"]["mAP@[.5:.95]"] == pytest.approx(mean, abs=1e-4)
    # Every object is found, called something else, or missed.
    assert sum(one["count"] for one in boxes["confusions"] if one["true"]) == 4
    assert sum(one["objects"] for one in boxes["categories"].values()) == 4

    faces = parts["faces"]
    assert found["Faces, pairs right"] == pytest.approx(faces["right"] / faces["pairs"], abs=1e-4)
    for name, measure in (("plates", "Plates in photos"), ("plate_crops", "Cut-out plates")):
        plates = parts[name]
        assert found[f"{measure}, exact"] == pytest.approx(plates["exact"] / plates["plates"], abs=1e-4)
        characters = sum(one["plates"] for one in plates["by_position"])
        edits = sum(one["count"] for one in plates["confusions"])
        assert found[f"{measure}, characters"] == pytest.approx(1 - edits / characters, abs=1e-4)


def test_the_real_networks_see_what_is_there(figures):
    """Not a matter of quality: that labels and answers are about the same things."""
    (version,) = figures["versions"]
    confusions = {(one["true"], one["said"]) for one in version["parts"]["boxes"]["confusions"]}
    assert ("person", "person") in confusions
    # The dog that is not there is missed; the plate that no photo shows is not read.
    assert ("dog", None) in confusions
    assert version["parts"]["plates"]["exact"] == version["parts"]["plate_crops"]["exact"] == 1


def test_versions_stand_side_by_side(compared):
    serving, classifier, reader = compared["versions"]
    assert [one["name"] for one in compared["versions"]] == ["serving", "classifier 2", "plate_reader 2"]
    for version, component in ((classifier, "classifier"), (reader, "plate_reader")):
        assert serving["models"][component]["version"] == 1
        assert version["models"][component]["version"] == 2
        others = {name for name in serving["models"] if serving["models"][name] != version["models"][name]}
        # A network behind the recognizer comes with a recognizer that calls it.
        assert others == {component} | ({"entity_recognizer"} if component == "plate_reader" else set())
        assert [one["name"] for one in version["measures"]] == [one["name"] for one in serving["measures"]]
    # The constant readers say 皖A06725 and 京B99999: one of two photos' plates, and none.
    assert (measures(serving)["Plates in photos, exact"], measures(reader)["Plates in photos, exact"]) == (0.5, 0.0)
    assert measures(classifier)["Plates in photos, exact"] == 0.5
    table = compared["summary"]["tables"][0]
    assert table["headings"][:4] == ["measure", "serving", "classifier 2", "plate_reader 2"]


def test_a_mistake_in_the_labels_is_said_before_anything_starts(tmp_path: Path) -> None:
    folder = tmp_path / "labelled"
    (folder / "plates" / "images").mkdir(parents=True)
    (folder / "plates" / "labels.csv").write_text("file,text\nnowhere.jpg,A1\n", encoding="utf-8")
    done = run(folder, tmp_path / "reports")
    assert done.returncode == 1
    assert "labels.csv: line 2: file: expected a picture" in " ".join(done.stderr.split())
