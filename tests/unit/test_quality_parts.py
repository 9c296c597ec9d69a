"""The parts of the report, on answers that are made up: their figures add up, and every plot can be drawn."""

import re

import numpy as np
import pytest
from PIL import Image
from sklearn.metrics import auc, roc_auc_score

from benchmarks.quality import data, grids, report
from benchmarks.quality.asking import ClassAnswers, CocoAnswers, FaceAnswers, PlateAnswers
from benchmarks.quality.measures import SUBJECTS, coco_measures, faces_measures, imagenet_measures, plates_measures
from benchmarks.quality.parts.boxes import boxes_part
from benchmarks.quality.parts.categories import categories_part, category_quality
from benchmarks.quality.parts.classes import classes_part, confusion_of_classes, confusions
from benchmarks.quality.parts.faces import faces_part, pair_quality
from benchmarks.quality.parts.part import paired
from benchmarks.quality.parts.plates import plates_part
from benchmarks.quality.report import Column, Measured
from benchmarks.self_contained import check_self_contained
from trident.entities.faces import FoundFace
from trident.fusion.evidence import SILENT
from trident.fusion.taxonomy import load_taxonomy
from trident.fusion.types import Objects
from trident_client import Box, PlateEntity, Point

TAXONOMY = load_taxonomy()
PERSON, CAR = 0, 2


@pytest.fixture
def pictures(tmp_path):
    """Six small pictures."""
    files = []
    for number in range(6):
        file = tmp_path / f"{number}.png"
        Image.new("RGB", (120, 80), (40 * number, 90, 200)).save(file)
        files.append(file)
    return files


def class_answers(pictures, said):
    """Six pictures of the classes 0, 0, 1, 1, 2, 3; the first label of each is ``said``."""
    labelled = [data.LabelledClass(file, index) for file, index in zip(pictures, (0, 0, 1, 1, 2, 3), strict=True)]
    ranked = np.array([[first, *(index for index in range(10) if index != first)][:5] for first in said])
    confidence = np.linspace(0.95, 0.45, 6)
    return ClassAnswers(labelled, ranked, confidence, confidence / 2)


def coco_answers(pictures, shift=0.0):
    """Each picture holds a car, every other one a person too; the boxes are ``shift`` pixels off."""
    annotations = []
    for image_id in range(6):
        annotations.append({"image_id": image_id, "category_id": 3, "bbox": [10.0, 10.0, 50.0, 40.0]})
        if image_id % 2:
            annotations.append({"image_id": image_id, "category_id": 1, "bbox": [70.0, 10.0, 20.0, 60.0]})
    for number, one in enumerate(annotations, start=1):
        one |= {"id": number, "area": one["bbox"][2] * one["bbox"][3], "iscrowd": 0}
    truth = {
        "images": [{"id": image_id, "file_name": file.name} for image_id, file in enumerate(pictures)],
        "categories": [
            {"id": coco_id, "name": name} for coco_id, name in zip(TAXONOMY.coco_ids, TAXONOMY.categories, strict=True)
        ],
        "annotations": annotations,
    }
    boxes = np.add([[10, 10, 60, 50], [70, 10, 90, 70]], (shift, 0, shift, 0))
    found = Objects(boxes, np.array([0.9, 0.6]), np.array([CAR, PERSON]))
    scores, evidence = np.zeros((6, 80)), np.full((6, 80, 3), SILENT)
    scores[:, CAR], scores[:, PERSON] = 0.8, np.array([0.2, 0.9, 0.5, 0.7, 0.1, 0.4])
    evidence[..., :2] = scores[..., None] * [0.5, 1.0]
    return CocoAnswers(data.CocoSet(pictures, range(6), truth), [found] * 6, [found] * 6, scores, evidence)


def face_answers(pictures, angles, threshold=0.6):
    """Faces whose embeddings point into these directions (radians); None for a picture without a face."""
    faces = {
        file: None
        if angle is None
        else FoundFace(0, 0.9, (10.0, 10.0, 60.0, 60.0), (), np.array([np.cos(angle), np.sin(angle)]))
        for file, angle in zip(pictures, angles, strict=True)
    }
    pairs = [data.FacePair(pictures[0], pictures[1], True), data.FacePair(pictures[2], pictures[3], True)]
    pairs += [data.FacePair(pictures[0], pictures[2], False), data.FacePair(pictures[4], pictures[5], False)]
    return FaceAnswers(pairs, faces, threshold)


def plate_answers(pictures, read, labels):
    corners = (Point(10, 10), Point(60, 10), Point(60, 30), Point(10, 30))
    found = [PlateEntity(0.9, Box(10, 10, 60, 30), corners, text, 0.9, None) if text else None for text in read]
    plates = [data.LabelledPlate(file, label) for file, label in zip(pictures, labels, strict=False)]
    return PlateAnswers(plates, read, found)


def images_in(part):
    return re.findall(r"data:image/(?:png|jpeg);base64,", "".join(part.html))


def two(first, second):
    return {"serving": first, "other 2": second}


class TestClasses:
    def test_errors_are_the_confusions(self, pictures):
        answers = class_answers(pictures, [0, 1, 1, 2, 2, 9])
        part = classes_part(two(answers, class_answers(pictures, [0, 0, 1, 1, 2, 3])))
        measured = {one.name: one.value for one in imagenet_measures(answers)}
        wrong = sum(one["count"] for one in part.figures["serving"]["confusions"])
        assert 1 - wrong / 6 == measured["ImageNet top-1"] == pytest.approx(3 / 6)
        assert part.figures["other 2"]["confusions"] == []
        assert part.figures["serving"]["calibration"]["count"] == 6
        # The diagram, and of the first version the matrix and the worst pictures.
        assert len(images_in(part)) == 3

    def test_frequent_confusions_come_first_and_then_sure_ones(self, pictures):
        answers = class_answers(pictures, [1, 1, 0, 1, 0, 0])
        assert [(count, round(surest, 2)) for *_, count, surest in confusions(answers)] == [
            (2, 0.95),
            (1, 0.75),
            (1, 0.55),
            (1, 0.45),
        ]

    def test_the_matrix_holds_every_picture_of_its_classes(self, pictures):
        chosen, counts = confusion_of_classes(class_answers(pictures, [0, 1, 1, 2, 2, 9]))
        assert chosen == [0, 1, 2, 3, 9]
        assert counts.sum(axis=1).tolist() == [2, 2, 1, 1, 0]


class TestCoco:
    def test_what_is_shown_adds_up(self, pictures):
        answers = coco_answers(pictures)
        part = boxes_part(two(answers, coco_answers(pictures, shift=40.0)))
        serving, other = part.figures["serving"], part.figures["other 2"]
        assert serving["stats"]["AP50"] == pytest.approx(
            np.mean([one["AP50"] for one in serving["categories"].values()]), abs=1e-4
        )
        assert {name: one["objects"] for name, one in serving["categories"].items()} == {"car": 6, "person": 3}
        # Nine objects found, and three persons where there is none.
        assert serving["confusions"] == [
            {"true": "person", "said": "person", "count": 3},
            {"true": "car", "said": "car", "count": 6},
            {"true": None, "said": "person", "count": 3},
        ]
        assert other["stats"]["AP50"] == 0.0
        assert sum(one["count"] for one in other["confusions"] if one["true"]) == 9
        # Curves, calibration, and a matrix and a grid of each.
        assert len(images_in(part)) == 6

    def test_measures_are_those_of_the_part(self, pictures):
        answers = coco_answers(pictures)
        measured = {one.name: one.value for one in coco_measures(answers)}
        stats = boxes_part({"serving": answers}).figures["serving"]["stats"]
        fused = categories_part({"serving": answers}).figures["serving"]
        assert measured["COCO mAP@[.5:.95]"] == pytest.approx(stats["mAP@[.5:.95]"], abs=1e-4)
        assert measured["Categories, image-level mAP"] == pytest.approx(fused["mean_average_precision"], abs=1e-4)

    def test_categories(self, pictures):
        part = categories_part(two(coco_answers(pictures), coco_answers(pictures)))
        found = part.figures["serving"]
        # Every picture holds a car: there is no other to tell it from.
        assert found["categories"]["car"] == {"pictures": 6, "average_precision": 1.0, "auc": None}
        assert found["categories"]["person"]["auc"] == found["mean_auc"] == pytest.approx(8 / 9, abs=1e-4)
        assert found["calibration"]["count"] == 12
        assert len(images_in(part)) == 6

    def test_auc_is_scikit_learns(self):
        random = np.random.default_rng(3)
        present, scores = random.uniform(size=(40, 5)) < 0.3, random.uniform(size=(40, 5))
        found = category_quality(present, scores)
        assert found.mean_auc == pytest.approx(roc_auc_score(present, scores, average="macro"))
        # The area under the mean curve is the mean of the areas.
        assert auc(np.linspace(0, 1, 201), found.mean_curve) == pytest.approx(found.mean_auc, abs=0.02)


class TestFaces:
    def test_pairs(self, pictures):
        answers = face_answers(pictures, [0.0, 0.1, 2.0, 3.5, 0.2, None])
        part = faces_part(two(answers, face_answers(pictures, [0.0, 0.1, 2.0, 2.1, 5.0, 0.0])))
        found = part.figures["serving"]
        assert (found["pairs"], found["same"], found["pictures"], found["pictures_without_a_face"]) == (4, 2, 6, 1)
        assert answers.similarity == pytest.approx([np.cos(0.1), np.cos(1.5), np.cos(2.0), -1.0])
        # The second pair is one person's, and not similar enough.
        assert answers.right.tolist() == [True, False, True, True]
        assert faces_measures(answers)[0].value == found["right"] / found["pairs"] == 0.75
        assert found["auc"] == 1.0
        assert len(images_in(part)) == 4

    def test_pairs_of_one_kind_have_no_curve(self):
        found = pair_quality(np.array([True, True]), np.array([0.3, 0.9]))
        assert (found.auc, found.equal_error, found.found_at_few, found.curve) == (None, None, None, None)

    def test_equal_error(self):
        same = np.array([True] * 4 + [False] * 4)
        similarity = np.array([0.9, 0.8, 0.7, 0.2, 0.75, 0.3, 0.1, 0.0])
        found = pair_quality(same, similarity)
        assert found.equal_error == pytest.approx(0.25)
        assert found.found_at_few == pytest.approx(0.5)


class TestPlates:
    def test_characters(self, pictures):
        answers = plate_answers(pictures, ["皖A06725", "", "沪C7704"], ["皖A06725", "京B20318", "沪C77041"])
        part = plates_part(two(answers, answers))
        found = part.figures["serving"]
        measured = {one.name: one.value for one in plates_measures(answers)}
        edits = sum(one["count"] for one in found["confusions"])
        characters = sum(one["plates"] for one in found["by_position"])
        assert (found["plates"], found["exact"], characters, edits) == (3, 1, 21, 8)
        assert measured["Plates in photos, exact"] == pytest.approx(1 / 3)
        assert measured["Plates in photos, characters"] == pytest.approx(1 - edits / characters)
        assert len(images_in(part)) == 3

    def test_all_read_right(self, pictures):
        answers = plate_answers(pictures, ["A1"], ["A1"])
        assert "every plate was read exactly" in "".join(plates_part({"serving": answers}).html)


class TestPaired:
    def test_only_what_they_differ_in_counts(self):
        first, second = np.array([True, True, False, False]), np.array([True, False, True, False])
        (found,) = paired({"a": first, "b": second})
        assert (found.name, found.only_first, found.only_this, found.chance) == ("b", 1, 1, 1.0)


class TestGrids:
    def test_every_cell_has_its_place(self, pictures):
        cells = [grids.Cell([grids.View(file)], [grids.true_line("a"), grids.said_line("b")]) for file in pictures[:4]]
        whole = grids.compose(cells)
        # Three in a row; the colour of each picture is in the middle of its cell.
        assert whole.size == (3 * 308 - 8, 2 * (225 + 2 * 18 + 8) - 8)
        for number in range(4):
            middle = (308 * (number % 3) + 150, 269 * (number // 3) + 112)
            assert whole.getpixel(middle) == (40 * number, 90, 200)

    def test_marks_keep_their_place_when_the_picture_shrinks(self, pictures):
        view = grids.View(pictures[0], [grids.box_mark((60, 40, 120, 80), grids.SAID)])
        cell = grids.compose([grids.Cell([view], [])])
        # 120 × 80 in 300 × 225 is 300 × 200, 12 pixels from the top.
        assert grids.SAID in {cell.getpixel((x, 160)) for x in range(148, 153)}

    @pytest.mark.parametrize("box", [(-50, -50, 10, 10), (100, 70, 500, 500), (300, 300, 400, 400), (5, 5, 5, 5)])
    def test_any_box_can_be_looked_at(self, pictures, box):
        assert grids.compose([grids.Cell([grids.View(pictures[0], around=box)], [])]).size == (300, 225)

    def test_nothing_is_no_picture(self):
        assert grids.grid([], "nothing") == ""

    def test_long_lines_are_cut(self, pictures):
        cell = grids.Cell([grids.View(pictures[0])], [grids.true_line("person, " * 40)])
        assert grids.compose([cell]).width == 300

    def test_it_is_a_jpeg_in_the_page(self, pictures):
        html = grids.grid([grids.Cell([grids.View(pictures[0])], [])], 'a "grid"')
        assert html.startswith('<p><img alt="a &quot;grid&quot;" src="data:image/jpeg;base64,')
        check_self_contained(html)


def test_the_page_holds_all_parts(pictures):
    answers = {
        "imagenet": class_answers(pictures, [0, 1, 1, 2, 2, 9]),
        "coco": coco_answers(pictures),
        "faces": face_answers(pictures, [0.0, 0.1, 2.0, 3.5, 0.2, None]),
        "plates": plate_answers(pictures, ["A1"], ["A2"]),
        "plate_crops": plate_answers(pictures, ["A1"], ["A2"]),
    }
    measures = [measure for one in SUBJECTS for measure in one.figures(answers[one.name])]
    column = Column("serving", measures, {"fusion": {"version": 1, "digest": "sha256:" + 64 * "0"}}, answers)
    measured = Measured([column], [], {"data": "somewhere"})
    parts = report.parts_of([column])
    html = report.to_html(measured, {"command": "a command"}, parts)
    check_self_contained(html)
    assert [key for _, key, _ in report.PARTS] == list(parts)
    for part in parts.values():
        assert f"<h2>{part.title}</h2>" in html
    for measure in measures:
        assert measure.name in html
