"""Explanations of made-up networks on a server that is a function: where things lie, and what is drawn and written."""

import io
import json
import re

import numpy as np
import pytest
from fake_server import result
from PIL import Image

from trident.contract import CANVAS_SIDE, SCENE_SIDE
from trident.errors import SetupError
from trident.explain.contributions import split, splits_above
from trident.explain.explanation import Question, canonical, explain_box, explain_class
from trident.explain.page import render
from trident.explain.picture import bars_image, sheet_image, view_image
from trident.explain.saliency import Method, Plan
from trident.explain.served import ask
from trident.explain.sheet import Sheet, split_table
from trident.explain.targets import BoxTarget, ClassTarget
from trident.explain.weights import KnownWeights
from trident.fusion.evidence import SILENT
from trident.fusion.policy import Weights
from trident.fusion.taxonomy import load_taxonomy
from trident.preprocess import prepare
from trident.provenance import Provenance, pack
from trident.rollout.serving import ServerLost, ServingError
from trident_client import AnswerError, parse
from trident_client.results import ModelVersion

TAXONOMY = load_taxonomy()
CAR = TAXONOMY.index("car")
MINIVAN = TAXONOMY.names.index("minivan")
WIDTH, HEIGHT = 400, 200
BOX = (240.0, 60.0, 340.0, 160.0)
"""The thing, in pixels of the photo. The classifier sees 100 to 300 of the width, and so 60 pixels of it."""
DIGEST = "sha256:" + "ab" * 32
MODELS = {name: {"version": 1, "digest": DIGEST} for name in ("preprocess", "classifier", "detector", "fusion")}


def photo():
    pixels = np.random.default_rng(0).integers(30, 70, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    x1, y1, x2, y2 = map(int, BOX)
    pixels[y1:y2, x1:x2] = 230
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def analysis(**changes):
    thing = {"category": "car", "score": 0.95, "box": list(BOX), "fine_label": None, "entities": []}
    found = {"image": {"width": WIDTH, "height": HEIGHT}, "objects": [thing], "entities": [], "models": MODELS}
    return parse(json.dumps(result(**{**found, **changes})))


class Synthetic:
    """Networks that go by the brightness of the thing: the classifier by what it sees of it, the detector by it all."""

    url = "synthetic:8001"

    def __init__(self):
        self.calls = []
        self.digest = DIGEST
        self.fails = None
        self.loaded = True

    def ready(self, model, version=None):
        return self.loaded

    def infer(self, model, tensors, *, version=None, like=None, outputs=None):
        self.calls.append((model, version, len(next(iter(tensors.values())))))
        if self.fails is not None:
            raise self.fails
        answer = getattr(self, f"_{model}")(*tensors.values())
        count = len(next(iter(answer.values())))
        answer["PROVENANCE"] = np.tile(pack(Provenance(version, self.digest)), (count, 1))
        return {name: answer[name] for name in outputs}

    def _preprocess(self, images):
        made = prepare(images[0, 0])
        return {
            "SCENE_PIXELS": made.scene[None], "CANVAS_PIXELS": made.canvas[None], "DETAIL_PIXELS": made.detail[None],
        }  # fmt: skip

    def _classifier(self, pixels):
        # 140 to 200 of the 200 pixels across that it sees, and 60 to 160 down.
        scale = SCENE_SIDE / HEIGHT
        part = pixels[:, round(60 * scale) : round(160 * scale), round(140 * scale) : round(200 * scale)]
        probabilities = np.zeros((len(pixels), 1000), np.float32)
        probabilities[:, MINIVAN] = part.mean(axis=(1, 2, 3)) / 255
        return {"PROBABILITIES": probabilities}

    def _detector(self, pixels):
        x1, y1, x2, y2 = (round(edge * CANVAS_SIDE / WIDTH) for edge in BOX)
        boxes = np.zeros((len(pixels), 100, 4), np.float32)
        scores = np.zeros((len(pixels), 100), np.float32)
        # Another box of the category elsewhere, which must not be taken for the one.
        boxes[:, 0], scores[:, 0] = (0, 0, 100, 100), 0.9
        boxes[:, 1], scores[:, 1] = (x1, y1, x2, y2), pixels[:, y1:y2, x1:x2].mean(axis=(1, 2, 3)) / 255
        return {
            "BOXES": boxes,
            "SCORES": scores,
            "CLASSES": np.full((len(pixels), 100), CAR, np.int32),
            "NUM_BOXES": np.full((len(pixels), 1), 2, np.int32),
        }


def ignore(what, total):
    return lambda count: None


def question(serving, watch=ignore, **changes):
    plan = Plan(**{"method": Method.OCCLUSION, "masks": 100, **changes})
    return Question(serving, analysis(), canonical(serving, photo(), analysis()), plan, watch)


@pytest.fixture
def serving():
    return Synthetic()


def inside(point):
    return BOX[0] <= point.x < BOX[2] and BOX[1] <= point.y < BOX[3]


@pytest.mark.parametrize("method", list(Method))
def test_the_detectors_hottest_point_lies_on_the_thing(serving, method):
    view = explain_box(question(serving, method=method), BoxTarget(0, CAR), TAXONOMY)
    assert inside(view.hottest)
    assert view.saliency.base == pytest.approx(230 / 255, abs=0.01)
    assert view.saliency.hottest_hidden < view.saliency.coldest_hidden
    assert view.place == (0, 0, WIDTH, HEIGHT)
    # The map is of the picture alone, not of the black below it.
    assert view.saliency.values.shape == (CANVAS_SIDE * HEIGHT // WIDTH, CANVAS_SIDE)


@pytest.mark.parametrize("method", list(Method))
def test_the_classifiers_hottest_point_lies_on_what_it_sees_of_the_thing(serving, method):
    view = explain_class(question(serving, method=method), ClassTarget("minivan", (MINIVAN,)))
    assert inside(view.hottest)
    assert view.hottest.x < 300
    assert view.place == (100, 0, 300, 200)


def test_only_the_versions_that_answered_are_asked_and_as_often_as_announced(serving):
    told = []
    one = question(serving, lambda what, total: told.append([what, total, 0]) or told[-1].append)
    explain_class(one, ClassTarget("minivan", (MINIVAN,)))
    explain_box(one, BoxTarget(0, CAR), TAXONOMY)
    assert {(model, version) for model, version, _ in serving.calls} == {
        ("preprocess", 1), ("classifier", 1), ("detector", 1),
    }  # fmt: skip
    assert max(count for _, _, count in serving.calls) <= 8
    for what, total, _, *counts in told:
        assert sum(counts) == total, what
    assert [what for what, *_ in told] == ["classifier: minivan", "detector: car, box 0"]


def test_a_version_that_is_gone_is_named(serving):
    one = question(serving)
    serving.fails = ServingError("Request for unknown model: 'detector' version 1 is not at ready state", "UNAVAILABLE")
    serving.loaded = False
    with pytest.raises(SetupError, match="detector 1, which answered the photo, is not loaded at synthetic:8001"):
        explain_box(one, BoxTarget(0, CAR), TAXONOMY)


@pytest.mark.parametrize("failure", [ServingError("out of memory", "INTERNAL"), ServerLost("gone", "UNAVAILABLE")])
def test_other_failures_stay_what_they_are(serving, failure):
    serving.fails = failure
    with pytest.raises(type(failure), match=str(failure)):
        ask(serving, "classifier", ModelVersion(1, DIGEST), {"PIXELS": np.zeros((1, 288, 288, 3), np.uint8)}, ())


def test_another_network_under_the_same_number_is_not_taken_for_it(serving):
    one = question(serving)
    serving.digest = "sha256:" + "cd" * 32
    with pytest.raises(SetupError, match=r"classifier: expected version 1, sha256:abab.*, got 1, sha256:cdcd"):
        explain_class(one, ClassTarget("minivan", (MINIVAN,)))


def test_a_box_that_the_detector_does_not_give_again(serving):
    elsewhere = {"category": "car", "score": 0.9, "box": [0, 100, 90, 190], "fine_label": None, "entities": []}
    one = question(serving)
    other = Question(serving, analysis(objects=[elsewhere]), one.pixels, one.plan, one.watch)
    with pytest.raises(AnswerError, match="expected the box of object 0 again"):
        explain_box(other, BoxTarget(0, CAR), TAXONOMY)


@pytest.fixture
def sheet(serving):
    evidence = np.full((80, 3), SILENT)
    evidence[CAR] = 0.2, 0.8, 0.6
    evidence[0, 1] = 0.4
    weights = Weights(0.5, 1.0, 0.5)
    one = question(serving, masks=30)
    views = (
        explain_class(one, ClassTarget("minivan", (MINIVAN,))),
        explain_box(one, BoxTarget(0, CAR), TAXONOMY),
    )
    splits = splits_above(split(evidence, weights), TAXONOMY.categories, 0.1)
    notes = ("A note.",)
    return Sheet("a <photo>.png", analysis(), KnownWeights(weights, "made up"), splits, views, notes), one.pixels.photo


def near(pixels, colour, tolerance=3):
    """Where an image has a colour, [H, W]."""
    return (np.abs(pixels.astype(int) - colour) <= tolerance).all(axis=-1)


def test_the_map_is_hot_on_the_thing_and_dark_outside_of_what_is_seen(sheet):
    told, pixels = sheet
    classifier, _ = told.views
    drawn = np.asarray(view_image(pixels, classifier, told.size)).astype(int)
    scale = 620 / WIDTH
    orange = drawn[..., 0] - drawn[..., 2]
    patch = round(20 * scale)
    middle = slice(round(100 * scale), round(100 * scale) + patch)
    on, off = (slice(round(x * scale), round(x * scale) + patch) for x in (260, 130))
    assert orange[middle, on].mean() > 80
    assert orange[middle, off].mean() < 40
    grey = drawn[: round(40 * scale)].mean(axis=-1)
    assert grey[:, : round(95 * scale)].mean() < 0.6 * grey[:, round(110 * scale) : round(200 * scale)].mean()


def test_the_box_is_framed(sheet):
    told, pixels = sheet
    _, detector = told.views
    drawn = np.asarray(view_image(pixels, detector, told.size))
    scale = 620 / WIDTH
    left, top, bottom = (round(edge * scale) for edge in (BOX[0], BOX[1], BOX[3]))
    assert near(drawn, (255, 255, 255))[top + 5 : bottom - 5, left : left + 3].mean() > 0.9


def test_the_bars_are_as_long_as_the_terms(sheet):
    told, _ = sheet
    drawn = np.asarray(bars_image(told.splits, 1280))
    room = 1280 - 190 - 80
    (car, *_) = told.splits
    assert car.name == "car"
    # The key's squares lie above the bars.
    bar = drawn[34 + 8 : 34 + 8 + 24]
    for part, colour in zip(car.parts, ((0, 114, 178), (240, 175, 40), (0, 158, 115)), strict=True):
        assert near(bar, colour)[2].sum() == pytest.approx(part.adds * room, abs=2), part.branch


def test_the_sheet_holds_everything(sheet):
    told, pixels = sheet
    image = sheet_image(told, pixels)
    assert image.width == 2 * 36 + 2 * 620 + 40
    alone = Sheet(told.photo, told.analysis, told.known, told.splits)
    assert sheet_image(alone, pixels).height < image.height - 300


def test_the_page_needs_no_network_and_shows_every_figure(sheet):
    told, pixels = sheet
    page = render(told, pixels)
    assert "://" not in page  # which base64 cannot hold by chance
    assert page.count("data:image/png;base64,") == 2
    assert "a &lt;photo&gt;.png" in page
    assert "<photo>" not in page
    text = re.sub(r"<[^>]*>", " ", page)
    for split_ in told.splits:
        for part in split_.parts:
            assert f"{part.adds:.4f}" in text
    for view in told.views:
        assert view.heading in text
    assert "A note." in text


def test_figures_for_programs_add_up(sheet):
    told, _ = sheet
    document = json.loads(json.dumps(told.to_json()))
    for category in document["categories"]:
        assert sum(one["adds"] for one in category["branches"].values()) == pytest.approx(category["score"], abs=1e-12)
    assert [one["model"] for one in document["maps"]] == ["classifier", "detector"]
    assert document["maps"][1]["box"] == list(BOX)


def test_the_table_has_a_row_for_every_branch_that_speaks(sheet):
    told, _ = sheet
    assert split_table(told.splits).row_count == sum(len(one.parts) for one in told.splits) == 4


def test_a_score_that_nothing_changes_can_be_drawn(serving, sheet):
    told, pixels = sheet
    view = explain_class(question(serving, masks=10), ClassTarget("pug", (TAXONOMY.names.index("pug"),)))
    assert "there is nothing to see" in " ".join(view.sentences)
    drawn = np.asarray(view_image(pixels, view, told.size)).astype(int)
    map_only = drawn[: round(HEIGHT * 620 / WIDTH)]
    assert (map_only.max(axis=-1) == map_only.min(axis=-1)).all()
