"""The reading of labelled pictures: every format, and what is said of labels that are not as they must be."""

import json

import numpy as np
import pytest

from benchmarks.quality import data
from tests.labelled import write_set
from trident.errors import SetupError
from trident.fusion.taxonomy import load_taxonomy
from trident.rollout.golden import labelled_sets

TRUTH = {
    "images": [{"id": 9, "file_name": "b.jpg"}, {"id": 4, "file_name": "a.jpg"}],
    "annotations": [
        {"image_id": 4, "category_id": 90, "bbox": [0, 0, 2, 3]},
        {"image_id": 9, "category_id": 1, "bbox": [0, 0, 4, 4], "area": 9.5, "iscrowd": 1, "id": 0},
    ],
}


def coco_set(folder, truth):
    return write_set(folder, "instances.json", json.dumps(truth), "a.jpg", "b.jpg")


def test_coco(tmp_path):
    pictures = data.coco(coco_set(tmp_path, TRUTH))
    assert pictures.image_ids == [4, 9] and pictures.paths[0] == tmp_path / "images" / "a.jpg"
    assert np.argwhere(pictures.present(load_taxonomy())).tolist() == [[0, 79], [1, 0]]
    # Ids from 1: to pycocotools, a match with the annotation 0 is none.
    assert [(one["id"], one["area"], one["iscrowd"]) for one in pictures.truth["annotations"]] == [
        (1, 6.0, 0),
        (2, 9.5, 1),
    ]


def test_a_limit_takes_the_first_pictures_and_their_objects_alone(tmp_path):
    limited = data.coco(coco_set(tmp_path, TRUTH), 1)
    assert limited.image_ids == [4]
    assert np.argwhere(limited.present(load_taxonomy())).tolist() == [[0, 79]]
    assert len(limited.truth["annotations"]) == 1


def test_categories_go_by_their_names_where_there_are_names(tmp_path):
    truth = {
        **TRUTH,
        "categories": [{"id": 0, "name": "toothbrush"}, {"id": 1, "name": "dog"}],
        "annotations": [
            {"image_id": 4, "category_id": 0, "bbox": [0, 0, 2, 3]},
            {"image_id": 9, "category_id": 1, "bbox": [0, 0, 4, 4]},
        ],
    }
    pictures = data.coco(coco_set(tmp_path, truth))
    assert [one["category_id"] for one in pictures.truth["annotations"]] == [90, 18]


def test_tables(tmp_path):
    write_set(tmp_path, "labels.csv", "file,text,class_index\na.jpg,皖A1,7\n\nb.jpg,川B2,8\n", "a.jpg", "b.jpg")
    write_set(tmp_path, "pairs.csv", "\ufefffile_a,file_b,same\na.jpg,b.jpg,0\na.jpg,a.jpg,1\n")
    assert data.plates(tmp_path, 1) == [data.LabelledPlate(tmp_path / "images" / "a.jpg", "皖A1")]
    assert [one.class_index for one in data.imagenet(tmp_path)] == [7, 8]
    assert [pair.same for pair in data.faces(tmp_path)] == [False, True]


def test_classes_by_wordnet_id(tmp_path):
    write_set(tmp_path, "labels.csv", "file,wnid\na.jpg,n01443537\n", "a.jpg")
    assert [one.class_index for one in data.imagenet(tmp_path)] == [1]


def test_folders_of_classes_are_taken_in_turn(tmp_path):
    place = tmp_path / "imagenet"
    for name in ("n01443537/b.JPEG", "n01443537/a.jpg", "7/c.png", "7/notes.txt", "others/d.jpg"):
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).touch()
    found = [(one.path.name, one.class_index) for one in data.imagenet(place)]
    assert found == [("c.png", 7), ("a.jpg", 1), ("b.JPEG", 1)]
    assert data.imagenet(place, 2) == data.imagenet(place)[:2]
    assert labelled_sets(tmp_path) == ("imagenet",)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param("", "line 1: expected the columns file, got nothing: file is missing", id="empty"),
        pytest.param("file,text\n", "expected a row for each picture", id="no row"),
        pytest.param("file,text\na.jpg,x\n", "file and class_index, or file and wnid, got file, text", id="no class"),
        pytest.param(
            "file,class_index\na.jpg,1000\n",
            'line 2: class_index: expected a whole number from 0 to 999, got "1000"',
            id="class out of range",
        ),
        pytest.param(
            "file,class_index\na.jpg,1\ngone.jpg,1\n", 'line 3: file: expected a picture in .*"gone.jpg"', id="gone"
        ),
        pytest.param("file,class_index\na.jpg\n", 'line 2: class_index: expected a text, got ""', id="short row"),
        pytest.param("file,class_index\na.jpg,1,2\n", "line 2: expected 2 values .* got 3", id="long row"),
        pytest.param("file,wnid\na.jpg,n0\n", 'line 2: wnid: expected the WordNet id .* got "n0"', id="unknown wnid"),
        pytest.param('file,wnid\n"a.jpg,n0\n', "expected a CSV file", id="open quote"),
    ],
)
def test_a_bad_table_is_refused_with_its_line(tmp_path, text, message):
    folder = write_set(tmp_path, "labels.csv", text, "a.jpg")
    with pytest.raises(SetupError, match=message) as raised:
        data.imagenet(folder)
    assert str(folder / "labels.csv") in str(raised.value)


def test_other_bytes_than_utf_8_are_refused(tmp_path):
    (tmp_path / "labels.csv").write_bytes("file,text\na.jpg,é\n".encode("latin-1"))
    with pytest.raises(SetupError, match=r"labels.csv: expected UTF-8"):
        data.plates(tmp_path)


def test_pairs_are_the_same_or_not(tmp_path):
    write_set(tmp_path, "pairs.csv", "file_a,file_b,same\na.jpg,a.jpg,yes\n", "a.jpg")
    with pytest.raises(SetupError, match='line 2: same: expected 1 or 0, got "yes"'):
        data.faces(tmp_path)


def test_a_folder_of_an_unknown_class_is_refused(tmp_path):
    (tmp_path / "n99999999").mkdir()
    with pytest.raises(SetupError, match=r"n99999999: expected the WordNet id"):
        data.imagenet(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        pytest.param({"images": 3}, "images: expected a list, got 3", id="no list"),
        pytest.param({"images": []}, "images: expected at least one image", id="no image"),
        pytest.param({"annotations": []}, "expected objects on the 2 pictures", id="no object"),
        pytest.param(
            {"images": [{"id": "4", "file_name": "a.jpg"}]}, r"images\[0\].id: expected a whole number", id="id"
        ),
        pytest.param(
            {"images": [{"id": 4, "file_name": "a.jpg"}, {"id": 4, "file_name": "b.jpg"}]},
            r"images\[1\].id: expected a number that no other",
            id="the same id twice",
        ),
        pytest.param(
            {"images": [{"id": 4, "file_name": "c.jpg"}]}, r"images\[0\].file_name: expected a picture", id="gone"
        ),
        pytest.param(
            {"annotations": [{"image_id": 5, "category_id": 1, "bbox": [0, 0, 1, 1]}]},
            r"annotations\[0\].image_id: expected the id of one of the images, got 5",
            id="an object of no image",
        ),
        pytest.param(
            {"annotations": [{"image_id": 4, "category_id": 12, "bbox": [0, 0, 1, 1]}]},
            r"annotations\[0\].category_id: expected the id of one of the categories, got 12",
            id="one of the gaps in COCO's ids",
        ),
        pytest.param(
            {"annotations": [{"image_id": 4, "category_id": 1, "bbox": [0, 0, -1, 1]}]},
            r"annotations\[0\].bbox: expected x, y, width and height",
            id="a box without size",
        ),
        pytest.param(
            {"annotations": [{"image_id": 4, "category_id": 1}]},
            r"annotations\[0\].bbox: expected a value, got nothing",
            id="no box",
        ),
        pytest.param(
            {"categories": [{"id": 1, "name": "forklift"}]},
            r"categories\[0\].name: expected the name of one of COCO's 80, got \"forklift\"",
            id="another category",
        ),
    ],
)
def test_bad_coco_is_refused_with_its_place(tmp_path, change, message):
    folder = coco_set(tmp_path, {**TRUTH, **change})
    with pytest.raises(SetupError, match=message) as raised:
        data.coco(folder)
    assert str(folder / "instances.json") in str(raised.value)


def test_what_is_no_json_is_refused_with_its_line(tmp_path):
    (tmp_path / "instances.json").write_text('{\n"images": [}\n', encoding="utf-8")
    with pytest.raises(SetupError, match=r"instances.json: line 2: expected JSON"):
        data.coco(tmp_path)
