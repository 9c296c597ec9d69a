"""Saliency of networks whose reasons are known: they look at the brightness of one part of the picture."""

from dataclasses import replace

import numpy as np
import pytest

from trident.explain.masks import hiding, occlusion_masks, rise_masks, window_grid
from trident.explain.saliency import Method, Plan, masked, saliency

SIDE = 96
HEIGHT, WIDTH = 64, 96
"""Of the part that holds the picture; below it the canvas is black."""
LEFT, TOP, RIGHT, BOTTOM = 60, 10, 84, 34
"""What the network looks at."""

both = pytest.mark.parametrize("method", list(Method))


def picture():
    """A bright thing on dark ground, with some texture, at the top left of a black canvas."""
    pixels = np.zeros((SIDE, SIDE, 3), np.uint8)
    pixels[:HEIGHT, :WIDTH] = np.random.default_rng(1).integers(20, 60, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    pixels[TOP:BOTTOM, LEFT:RIGHT] = 240
    return pixels


def brightness(pictures):
    """The network: mean brightness of its part, in [0, 1]."""
    return pictures[:, TOP:BOTTOM, LEFT:RIGHT].mean(axis=(1, 2, 3)) / 255


def darkness(pictures):
    return 1 - brightness(pictures)


def look(score=brightness, method=Method.OCCLUSION, masks=200, **changes):
    plan = Plan(method, masks, **changes)
    return saliency(score, picture(), (HEIGHT, WIDTH), plan, cell=12)


def inside(x, y):
    return LEFT <= x < RIGHT and TOP <= y < BOTTOM


@both
def test_the_hottest_point_lies_where_the_network_looks(method):
    found = look(method=method)
    assert inside(*found.hottest)
    rest = np.ones((HEIGHT, WIDTH), bool)
    # Windows and cells blur the map by their own size.
    rest[:50, 44:] = False
    part = found.values[TOP:BOTTOM, LEFT:RIGHT]
    assert part.mean() > 4 * np.abs(found.values[rest]).mean()


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        pytest.param([[0, 1, 1, 0], [0, 1, 1, 0]], (2.0, 1.0), id="a patch of windows"),
        pytest.param([[0, 0, 0, 3]], (3.5, 0.5), id="one pixel"),
        pytest.param([[2, 0, 0, 0], [2, 0, 2, 2]], (0.5, 1.0), id="the first of two patches"),
    ],
)
def test_the_hottest_point_is_the_middle_of_its_patch(values, expected):
    found = replace(look(masks=20), values=np.array(values, dtype=np.float64))
    assert found.hottest == pytest.approx(expected)


@pytest.mark.parametrize(
    ("hottest_hidden", "coldest_hidden", "checked"),
    [(0.3, 0.9, True), (0.85, 0.9, False), (0.6, 0.5, False)],
    ids=["it costs", "it costs too little", "the cold costs more"],
)
def test_a_map_is_checked_by_what_hiding_costs(hottest_hidden, coldest_hidden, checked):
    found = replace(look(masks=20), base=0.9, hottest_hidden=hottest_hidden, coldest_hidden=coldest_hidden)
    assert found.checked is checked


@both
def test_hiding_what_the_map_calls_hot_costs_more_than_hiding_what_it_calls_cold(method):
    found = look(method=method)
    assert found.base == pytest.approx(240 / 255)
    assert found.hottest_hidden < 0.6 * found.base
    assert found.coldest_hidden == pytest.approx(found.base, abs=0.01)


@both
def test_what_lowers_the_score_is_below_zero(method):
    found = look(darkness, method=method)
    assert found.values[TOP:BOTTOM, LEFT:RIGHT].mean() < 0
    row, column = np.unravel_index(found.values.argmin(), found.values.shape)
    assert inside(column, row)


@both
def test_a_score_that_never_changes_has_no_map(method):
    found = look(lambda pictures: np.full(len(pictures), 0.7), method=method, masks=50)
    assert not found.values.any()
    assert not found.shown.any()


def test_occlusion_is_in_units_of_the_score():
    # Windows as large as a third of the part: its middle is hidden with all that is around it.
    found = look(masks=24)
    fill = picture()[:HEIGHT, :WIDTH].mean() / 255
    assert 0.3 * (found.base - fill) < found.values.max() <= found.base - fill + 0.01


def test_random_masks_leave_blank_what_chance_explains():
    chance = np.random.default_rng(5)
    found = look(lambda pictures: chance.random(len(pictures)), method=Method.RISE, masks=300)
    # Two standard errors leave 1 in 20 by chance; neighbours share their masks, so it may be some more.
    assert (found.shown != 0).mean() < 0.15
    assert np.abs(found.values).mean() == pytest.approx(0.8 * found.noise.mean(), rel=0.4)


def test_the_same_seed_gives_the_same_map_whatever_the_batch():
    first, again = look(method=Method.RISE, masks=40, batch=8), look(method=Method.RISE, masks=40, batch=3)
    np.testing.assert_array_equal(first.values, again.values)
    assert not np.array_equal(first.values, look(method=Method.RISE, masks=40, seed=1).values)


@both
def test_as_many_pictures_are_scored_as_announced_and_none_is_too_large_a_batch(method):
    sizes, told = [], []

    def score(pictures):
        sizes.append(len(pictures))
        return brightness(pictures)

    plan = Plan(method, 50, batch=7)
    saliency(score, picture(), (HEIGHT, WIDTH), plan, cell=12, advance=told.append)
    assert told == sizes
    assert sum(sizes) == plan.count((HEIGHT, WIDTH)) + 3
    assert max(sizes) == 7
    assert plan.count((HEIGHT, WIDTH)) <= 50


@both
def test_what_is_no_picture_is_never_touched(method):
    seen = []

    def score(pictures):
        seen.append(pictures)
        return brightness(pictures)

    saliency(score, picture(), (HEIGHT, WIDTH), Plan(method, 30), cell=12)
    everything = np.concatenate(seen)
    assert everything.dtype == np.uint8
    assert not everything[:, HEIGHT:].any()
    assert len(np.unique(everything[:, :HEIGHT].reshape(len(everything), -1), axis=0)) > 20


def test_a_mask_fades_to_the_fill():
    pixels = np.full((4, 4, 3), 200, np.uint8)
    mask = np.array([[0.0, 0.5], [1.0, 1.0]], np.float32)
    faded = masked(pixels, mask, np.array([100, 100, 0], np.float32))
    assert faded[0, 0].tolist() == [100, 100, 0]
    assert faded[0, 1].tolist() == [150, 150, 100]
    assert (faded[1] == 200).all()
    assert (faded[2:] == 200).all()
    assert (pixels == 200).all()


@pytest.mark.parametrize(
    ("count", "size"),
    [(100, (64, 96)), (400, (480, 640)), (7, (1, 640)), (400, (1, 640)), (400, (3, 2)), (4, (640, 640))],
)
def test_every_pixel_is_hidden_by_some_window_and_none_by_all(count, size):
    masks = np.stack(list(occlusion_masks(count, size)))
    rows, columns = window_grid(count, size)
    assert len(masks) == rows * columns <= count
    assert set(np.unique(masks)) <= {0.0, 1.0}
    assert (masks == 0).any(axis=0).all()
    assert (masks == 0).any(axis=(1, 2)).all()
    # Twice as wide and high as they are apart.
    assert (masks == 0).sum(axis=0).max() <= 9


def test_random_masks_keep_half_and_have_the_size_that_was_asked_for():
    masks = np.stack(list(rise_masks(300, (50, 70), 16, seed=0)))
    assert masks.shape == (300, 50, 70)
    assert 0 <= masks.min() < 0.01
    assert 0.99 < masks.max() <= 1.0001
    assert masks.mean(axis=0) == pytest.approx(np.full((50, 70), 0.5), abs=0.15)


def test_fewer_random_masks_are_the_first_of_more():
    few, more = list(rise_masks(3, (20, 30), 8, seed=4)), list(rise_masks(6, (20, 30), 8, seed=4))
    np.testing.assert_array_equal(few, more[:3])


def test_the_hottest_part_is_hidden_or_the_coldest():
    values = np.arange(20.0).reshape(4, 5)
    assert np.flatnonzero(hiding(values, 0.1, hottest=True) == 0).tolist() == [18, 19]
    assert np.flatnonzero(hiding(values, 0.1, hottest=False) == 0).tolist() == [0, 1]
