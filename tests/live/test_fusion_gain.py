"""What fusion gains, small: the command on a few labelled photos, against the real server, and its numbers add up."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageEnhance, ImageOps

from trident.fusion.taxonomy import load_taxonomy
from trident.launcher import TritonServer
from trident.sample_pictures import PLATE, PLATE_CORNERS, photo, with_plate

# What each photo shows, with boxes drawn by hand: x1, y1, x2, y2.
SHOWN = {
    "astronaut.png": [("person", (0, 0, 460, 512))],
    "motorcycle_left.png": [("motorcycle", (120, 35, 680, 445))],
    "coffee.png": [("cup", (160, 60, 440, 330))],
    "chelsea.png": [("cat", (0, 0, 450, 300))],
}
RENDITIONS = {
    "plain": (lambda picture: picture, False),
    "mirrored": (ImageOps.mirror, True),
    "darker": (lambda picture: ImageEnhance.Brightness(picture).enhance(0.6), False),
    "grey": (lambda picture: ImageOps.grayscale(picture).convert("RGB"), False),
}
PICTURES = len(SHOWN) * len(RENDITIONS)


def write_labelled(folder: Path) -> Path:
    """Write labelled pictures in the benchmark's form: COCO, ImageNet classes, and a plate without labels."""
    taxonomy = load_taxonomy()
    for name in ("coco", "imagenet", "plates"):
        (folder / name / "images").mkdir(parents=True)
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for file, things in SHOWN.items():
        with Image.open(photo(file)) as opened:
            picture = opened.convert("RGB")
        for name, (change, mirrored) in RENDITIONS.items():
            image_id = len(images) + 1
            images.append({"id": image_id, "file_name": f"{name}-{Path(file).stem}.jpg"})
            change(picture).save(folder / "coco" / "images" / images[-1]["file_name"], quality=90)
            for category, (x1, y1, x2, y2) in things:
                left = picture.width - x2 if mirrored else x1
                annotation = {"id": len(annotations) + 1, "image_id": image_id, "bbox": [left, y1, x2 - x1, y2 - y1]}
                coco_id = taxonomy.coco_ids[taxonomy.index(category)]
                annotations.append({**annotation, "category_id": coco_id, "area": (x2 - x1) * (y2 - y1), "iscrowd": 0})
    content = {"images": images, "annotations": annotations}
    (folder / "coco" / "instances.json").write_text(json.dumps(content), encoding="utf-8")

    with Image.open(photo("chelsea.png")) as cat, Image.open(photo("motorcycle_left.png")) as motorcycle:
        cat.save(folder / "imagenet" / "images" / "cat.png")
        with_plate(motorcycle.convert("RGB"), PLATE, PLATE_CORNERS).save(folder / "plates" / "images" / "plate.jpg")
    label = taxonomy.names.index("Egyptian cat")
    (folder / "imagenet" / "labels.csv").write_text(f"file,class_index\ncat.png,{label}\n", encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def figures(server: TritonServer, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("fusion_gain")
    command = [
        *(sys.executable, "-m", "benchmarks.fusion_gain", "--url", server.grpc_url),
        *("--data", str(write_labelled(folder / "labelled")), "--out", str(folder / "reports")),
        *("--resamples", "40", "--box-resamples", "10"),
    ]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=120, env=dict(os.environ))
    assert done.returncode == 0, done.stdout + done.stderr
    (file,) = (folder / "reports").glob("fusion-gain-*.json")
    assert file.with_suffix(".html").is_file()
    return dict(json.loads(file.read_text()))


def test_the_server_s_own_scores_came_out(figures):
    assert figures["largest_difference_to_the_server"] <= 1e-4
    assert figures["models"]["fusion"]["digest"] == figures["server"]["release"]["fusion"]["digest"]


def test_the_categories_are_those_of_the_labels(figures):
    shown = Counter(category for things in SHOWN.values() for category, _ in things)
    assert figures["pictures"] == PICTURES
    positives = {one["name"]: one["positives"] for one in figures["by_category"]}
    assert positives == {name: count * len(RENDITIONS) for name, count in shown.items()}
    assert figures["left_out"] == ["faces"]


def test_the_gains_add_up(figures):
    ways = {way["name"]: way for way in figures["ways"]}
    for name, key in (("detector alone", "detector"), ("fused, as served", "fused")):
        mean = sum(one[key] for one in figures["by_category"]) / len(figures["by_category"])
        assert ways[name]["map"]["value"] == pytest.approx(mean)
    assert "fused, held out" in ways and figures["not_held_out"] is None
    for part in figures["parts"]:
        assert part["gain"]["value"] == pytest.approx(part["served"] - part["without"])
        # Of four nearly equal renditions a picture may lie outside of what resamples give, but not the ends in order.
        assert part["gain"]["low"] <= part["gain"]["high"]
    first = figures["classifier_weight"][0]
    assert (first["weight"], first["map"]) == (0, pytest.approx(ways["fused without the classifier"]["map"]["value"]))


def test_the_boxes_are_measured(figures):
    ways = {way["name"]: way for way in figures["boxes"]["ways"]}
    assert 0 < ways["rescored, as served"]["map"]["value"] <= ways["rescored, as served"]["ap50"] <= 1
    assert figures["boxes"]["held_out"]["coco_map_detector_alone"] == pytest.approx(
        ways["detector alone"]["map"]["value"], abs=1e-4
    )


def test_the_rules_of_assignment_judge_the_same_faces(figures):
    links = figures["assignment"]
    served, *_, none = links["rules"]
    assert links["faces"] > 0 and links["plates"] > 0
    assert (served["otherwise"], none["faces"], none["plates"]) == (0, 0, 0)
    assert none["otherwise"] == served["faces"] + served["plates"]
    assert len({rule["right"] + rule["wrong"] + rule["unlinked"] for rule in links["rules"]}) == 1


def test_fine_labels_are_counted(figures):
    labels = figures["fine_labels"]
    assert labels["pictures"] == 1 >= labels["with_object"]
    for rule in labels["rules"]:
        assert rule["right"] + rule["wrong"] == rule["labelled"] <= labels["with_object"]


def test_the_summary_is_what_the_figures_say(figures):
    ways, parts = figures["summary"]["tables"]
    assert [row[0] for row in ways["rows"]] == [way["name"] for way in figures["ways"]]
    assert [row[0] for row in parts["rows"]] == [part["name"] for part in figures["parts"]]
    assert f"{PICTURES} labelled pictures" in figures["summary"]["sentences"][0]
