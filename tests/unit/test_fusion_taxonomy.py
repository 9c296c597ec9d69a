import json

import numpy as np
import pytest

from export.taxonomy import CATEGORIES, CORRECTIONS, Nouns, TaxonomyError, make_taxonomy, nearest_category, parse_nouns
from trident.fusion.taxonomy import DATA_DIRECTORY, load_taxonomy, parse_taxonomy


@pytest.fixture(scope="module")
def taxonomy():
    return load_taxonomy()


def category_of(taxonomy, name):
    index = taxonomy.category_of_class[taxonomy.names.index(name)]
    return taxonomy.categories[index] if index >= 0 else None


def test_holds_all_classes_and_categories(taxonomy):
    assert len(set(taxonomy.wnids)) == len(taxonomy.names) == 1000
    assert len(set(taxonomy.categories)) == len(set(taxonomy.coco_ids)) == 80
    assert (taxonomy.categories[0], taxonomy.categories[-1]) == ("person", "toothbrush")
    assert (taxonomy.coco_ids[0], taxonomy.coco_ids[-1]) == (1, 90)
    assert taxonomy.wnids[0] == "n01440764" and taxonomy.wnids[999] == "n15075141"


@pytest.mark.parametrize(
    ("name", "category"),
    [
        pytest.param("minivan", "car", id="nearer to car than to truck"),
        pytest.param("hotdog", "hot dog", id="nearer to hot dog than to sandwich"),
        pytest.param("cheeseburger", "sandwich", id="a sandwich by the tree"),
        pytest.param("trolleybus", "bus", id="bus"),
        pytest.param("pickup", "truck", id="truck"),
        pytest.param("streetcar", "train", id="train"),
        pytest.param("laptop", "laptop", id="laptop"),
        pytest.param("notebook", "laptop", id="another word for laptop"),
        pytest.param("monitor", "tv", id="tv"),
        pytest.param("kite", "bird", id="the bird, not the toy"),
        pytest.param("ice bear", "bear", id="bear"),
        pytest.param("teddy", "teddy bear", id="toy, no bear"),
        pytest.param("giant panda", "bear", id="corrected: bear"),
        pytest.param("punching bag", None, id="corrected: no ball"),
        pytest.param("Dutch oven", None, id="corrected: no oven"),
        pytest.param("ladle", "spoon", id="corrected: spoon"),
        pytest.param("tench", None, id="a fish is nothing of COCO"),
    ],
)
def test_maps_a_class(taxonomy, name, category):
    assert category_of(taxonomy, name) == category


def test_every_dog_is_a_dog(taxonomy):
    dog = taxonomy.index("dog")
    assert taxonomy.kinds[dog].tolist() == list(range(151, 269))


def test_kinds_agree_with_the_map(taxonomy):
    for category, kinds in enumerate(taxonomy.kinds):
        assert (taxonomy.category_of_class[kinds] == category).all()
    assert sum(map(len, taxonomy.kinds)) == (taxonomy.category_of_class >= 0).sum()


def test_unknown_category_is_named(taxonomy):
    with pytest.raises(KeyError, match="'unicorn'"):
        taxonomy.index("unicorn")


def stored(name):
    return json.loads((DATA_DIRECTORY / name).read_text(encoding="utf-8"))


def test_a_class_of_two_categories_is_refused():
    mapping = stored("imagenet_to_coco.json")
    mapping["categories"][1]["classes"].append(mapping["categories"][2]["classes"][0])
    with pytest.raises(ValueError, match="to be a kind of one category, got two"):
        parse_taxonomy(stored("imagenet_classes.json"), mapping)


def test_a_lost_class_is_refused():
    classes = stored("imagenet_classes.json")
    classes["classes"].pop()
    with pytest.raises(ValueError, match="classes: expected 1000 different ones, got 999"):
        parse_taxonomy(classes, stored("imagenet_to_coco.json"))


def test_data_files_match_the_script():
    mapping = stored("imagenet_to_coco.json")
    assert [(c["coco_id"], c["name"], tuple(c["synsets"])) for c in mapping["categories"]] == list(CATEGORIES)
    assert [(c["wnid"], c["name"], c["category"], c["why"]) for c in mapping["corrections"]] == list(CORRECTIONS)


NOUN_LINES = """\
  1 This line is the licence.
00000001 03 n 01 entity 0 000 | all there is
00000002 05 n 02 dog 0 domestic_dog 0 002 @ 00000001 n 0000 ~ 00000003 n 0000 | barks
00000003 05 n 01 pug 0 001 @ 00000002 n 0000 | small
00000004 05 n 0a a 0 b 0 c 0 d 0 e 0 f 0 g 0 h 0 i 0 j 0 001 @i 00000001 n 0000 | ten words in hexadecimal
"""


def test_parses_wordnet():
    nouns = parse_nouns(NOUN_LINES)
    assert nouns.words["n00000002"] == ("dog", "domestic dog")
    assert nouns.parents["n00000003"] == ("n00000002",)
    assert len(nouns.words["n00000004"]) == 10 and nouns.parents["n00000004"] == ("n00000001",)
    assert nouns.depths("n00000003") == {"n00000003": 0, "n00000002": 1, "n00000001": 2}


def test_shortest_way_counts():
    nouns = Nouns({}, {"a": ("b", "d"), "b": ("c",), "c": ("d",), "d": ()})
    assert nouns.depths("a") == {"a": 0, "b": 1, "d": 1, "c": 2}


def test_nearest_synset_wins_and_a_tie_is_refused():
    car, truck = "n02958343", "n04490091"
    words = {wnid: (wnid,) for wnid in ("x", "van", car, truck)}
    parents = {"x": (car, "van"), "van": (truck,), car: (), truck: ()}
    assert nearest_category(Nouns(words, parents), "x") == "car"
    with pytest.raises(TaxonomyError, match="equally near to car, truck"):
        nearest_category(Nouns(words, {**parents, "x": (car, truck)}), "x")


def test_a_wrong_synset_is_refused():
    with pytest.raises(TaxonomyError, match="expected the synset of 'person'"):
        make_taxonomy(Nouns({"n00007846": ("cabbage",)}, {"n00007846": ()}), [])


def test_mapped_arrays_cannot_be_changed(taxonomy):
    with pytest.raises(ValueError, match="read-only"):
        taxonomy.category_of_class[0] = 3
    assert taxonomy.category_of_class.dtype == np.int64
