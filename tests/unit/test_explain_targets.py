"""What of an answer is explained: names, near misses, and scores for it."""

import json

import numpy as np
import pytest
from fake_server import result

from trident.errors import SetupError
from trident.explain.targets import (
    BoxTarget,
    ClassTarget,
    box_scores,
    category_named,
    choose_box,
    choose_class,
    class_named,
    class_scores,
)
from trident.fusion.taxonomy import load_taxonomy
from trident_client import parse

TAXONOMY = load_taxonomy()
CAR, PERSON, DOG = (TAXONOMY.index(name) for name in ("car", "person", "dog"))
MINIVAN = TAXONOMY.names.index("minivan")


def analysis(**changes):
    return parse(json.dumps(result(**changes)))


def boxes(*pictures):
    """Detections from lists of (box, score, category), one list a picture."""
    tensors = {
        "BOXES": np.zeros((len(pictures), 100, 4), np.float32),
        "SCORES": np.zeros((len(pictures), 100), np.float32),
        "CLASSES": np.zeros((len(pictures), 100), np.int32),
        "NUM_BOXES": np.array([[len(found)] for found in pictures], np.int32),
    }
    for row, found in enumerate(pictures):
        for place, (box, score, category) in enumerate(found):
            tensors["BOXES"][row, place] = box
            tensors["SCORES"][row, place], tensors["CLASSES"][row, place] = score, category
    return tensors


@pytest.mark.parametrize("name", ["car", " Car ", "CAR"])
def test_a_category_is_found_in_any_case(name):
    assert category_named(name, TAXONOMY) == CAR


@pytest.mark.parametrize(
    ("name", "near"),
    [("motorbike", "motorcycle"), ("phone", "cell phone"), ("carr", "car"), ("tennis raquet", "tennis racket")],
)
def test_who_names_no_category_is_told_those_near_it(name, near):
    with pytest.raises(SetupError, match=rf"one of COCO's 80, got '{name}'; near it: .*\b{near}\b"):
        category_named(name, TAXONOMY)


def test_a_name_that_is_near_nothing_is_only_refused():
    with pytest.raises(SetupError, match=r"got 'qqqqqq'$"):
        category_named("qqqqqq", TAXONOMY)


@pytest.mark.parametrize("name", ["minivan", "Minivan", "n03770679"])
def test_a_class_is_found_by_name_or_id(name):
    assert class_named(name, TAXONOMY) == MINIVAN


def test_who_names_no_class_is_told_those_near_it():
    with pytest.raises(SetupError, match=r"one of ImageNet's 1000, got 'minivann'; near it: minivan"):
        class_named("minivann", TAXONOMY)


def test_a_name_of_two_classes_asks_for_the_id():
    with pytest.raises(SetupError, match=r"n\d{8} and n\d{8} are called"):
        class_named("crane", TAXONOMY)
    both = [wnid for wnid, name in zip(TAXONOMY.wnids, TAXONOMY.names, strict=True) if name == "crane"]
    assert [TAXONOMY.wnids[class_named(wnid, TAXONOMY)] for wnid in both] == both


def test_the_first_label_is_explained_unless_another_is_wanted():
    assert choose_class(analysis(), TAXONOMY, None, None) == ClassTarget("minivan", (MINIVAN,))
    other = TAXONOMY.names.index("pug")
    assert choose_class(analysis(), TAXONOMY, other, CAR) == ClassTarget("pug", (other,))


def test_a_category_stands_for_all_classes_that_are_a_kind_of_it():
    chosen = choose_class(analysis(), TAXONOMY, None, CAR)
    assert chosen is not None
    assert MINIVAN in chosen.classes
    assert chosen.classes == tuple(TAXONOMY.kinds[CAR])


def test_of_some_categories_the_classifier_cannot_speak():
    silent = next(number for number, kinds in enumerate(TAXONOMY.kinds) if not len(kinds))
    assert choose_class(analysis(), TAXONOMY, None, silent) is None
    assert choose_class(analysis(scene=[]), TAXONOMY, None, None) is None


def test_the_best_box_is_explained_unless_another_is_wanted():
    assert choose_box(analysis(), TAXONOMY, None, None) == BoxTarget(0, CAR)
    assert choose_box(analysis(), TAXONOMY, None, PERSON) == BoxTarget(1, PERSON)
    assert choose_box(analysis(), TAXONOMY, 1, CAR) == BoxTarget(1, PERSON)
    assert choose_box(analysis(), TAXONOMY, None, DOG) is None


def test_a_box_that_is_not_there():
    with pytest.raises(SetupError, match=r"\(0 to 1\), got 2"):
        choose_box(analysis(), TAXONOMY, 2, None)
    nothing = analysis(objects=[], entities=[])
    assert choose_box(nothing, TAXONOMY, None, None) is None
    with pytest.raises(SetupError, match="none, for nothing was found"):
        choose_box(nothing, TAXONOMY, 0, None)


def test_the_classes_probabilities_are_added():
    probabilities = np.zeros((2, 1000), np.float32)
    probabilities[0, [3, 5, 9]] = 0.25, 0.5, 0.1
    assert class_scores(probabilities, (3, 5)).tolist() == [0.75, 0.0]


def test_a_box_scores_what_its_best_likeness_of_its_category_does():
    box = np.array([0.0, 0.0, 10.0, 10.0])
    detected = boxes(
        [(box, 0.8, CAR)],
        [((0, 0, 10, 5), 0.9, CAR), (box, 0.3, CAR)],
        [(box, 0.9, DOG)],
        [((50, 50, 60, 60), 0.9, CAR)],
        [],
    )
    assert box_scores(detected, box, CAR).tolist() == pytest.approx([0.8, 0.45, 0.0, 0.0, 0.0])


def test_rows_that_are_not_used_do_not_count():
    detected = boxes([((0, 0, 10, 10), 0.8, CAR)])
    detected["NUM_BOXES"][0] = 0
    assert box_scores(detected, np.array([0.0, 0.0, 10.0, 10.0]), CAR).tolist() == [0.0]
