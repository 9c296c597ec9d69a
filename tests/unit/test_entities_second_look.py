from __future__ import annotations

import numpy as np
import pytest

from trident.contract import CANVAS_SIDE
from trident.entities.second_look import TILE_SIDE, compose


def picture_with(box: tuple[int, int, int, int], width: int = 1200, height: int = 800) -> np.ndarray:
    x1, y1, x2, y2 = box
    picture = np.full((height, width, 3), 30, np.uint8)
    picture[y1:y2, x1:x2] = (250, 20, 20)
    return picture


@pytest.mark.parametrize(
    "box",
    [
        pytest.param((500, 300, 540, 312), id="small, magnified"),
        pytest.param((300, 300, 900, 480), id="large, reduced"),
        pytest.param((0, 0, 60, 20), id="in the corner"),
        pytest.param((1150, 760, 1200, 800), id="in the other corner"),
    ],
)
def test_what_is_found_on_a_tile_maps_back_to_the_detail(box: tuple[int, int, int, int]) -> None:
    # The candidate is a little off, as the first look is.
    candidate = np.array(box, dtype=float) + np.array([3, -2, -4, 3])
    canvases, tiles = compose([(picture_with(box), candidate)])
    assert canvases.shape == (1, CANVAS_SIDE, CANVAS_SIDE, 3)
    assert not canvases[:, TILE_SIDE:].any()
    rows, columns = np.nonzero(canvases[0, :, :, 0] > 140)
    found = np.array([[columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]], dtype=float)
    result = tiles[0].find(candidate, found, np.array([0.7]), found[0][[[[0, 1], [2, 1], [2, 3], [0, 3]]]])
    assert result is not None
    score, refined, corners = result
    assert score == 0.7
    pixel = 1 / tiles[0].scale
    assert refined == pytest.approx(box, abs=0.6 + pixel)
    assert corners[2] == pytest.approx(box[2:], abs=0.6 + pixel)


def test_four_candidates_share_a_canvas_and_do_not_mix() -> None:
    boxes = [(100 + 150 * row, 100, 160 + 150 * row, 120) for row in range(6)]
    pictures = [picture_with(box) for box in boxes]
    canvases, tiles = compose([(picture, np.array(box)) for picture, box in zip(pictures, boxes, strict=True)])
    assert len(canvases) == 2
    places = [(tile.canvas, tile.left, tile.top) for tile in tiles]
    assert places == [
        (0, 0, 0),
        (0, TILE_SIDE, 0),
        (0, 0, TILE_SIDE),
        (0, TILE_SIDE, TILE_SIDE),
        (1, 0, 0),
        (1, TILE_SIDE, 0),
    ]
    for tile, box in zip(tiles, boxes, strict=True):
        shown = canvases[tile.canvas, tile.top : tile.top + TILE_SIDE, tile.left : tile.left + TILE_SIDE]
        assert (shown[..., 0] > 140).any(axis=0).sum() == pytest.approx(TILE_SIDE / 2, abs=3)
        # What was found on the other tiles of the canvas is not this candidate.
        others = [other for other in tiles if other is not tile and other.canvas == tile.canvas]
        finds = np.array([[o.left + 80.0, o.top + 130.0, o.left + 240.0, o.top + 190.0] for o in others]).reshape(-1, 4)
        corners = np.zeros((len(finds), 4, 2))
        assert tile.find(np.array(box), finds, np.ones(len(finds)), corners) is None


def test_the_best_of_several_finds_counts() -> None:
    box = (500, 300, 600, 330)
    _, (tile,) = compose([(picture_with(box), np.array(box))])
    finds = np.array([[70.0, 130.0, 250.0, 190.0], [80.0, 136.0, 240.0, 184.0], [0.0, 0.0, 20.0, 20.0]])
    result = tile.find(np.array(box), finds, np.array([0.5, 0.8, 0.99]), np.zeros((3, 4, 2)))
    assert result is not None
    assert result[0] == 0.8


def test_none() -> None:
    canvases, tiles = compose([])
    assert canvases.shape == (0, CANVAS_SIDE, CANVAS_SIDE, 3)
    assert tiles == []


def test_a_box_without_an_extent_is_no_error() -> None:
    canvases, (tile,) = compose([(picture_with((1, 1, 9, 9)), np.array([50.0, 50.0, 50.0, 50.0]))])
    assert np.isfinite(tile.scale)
    assert canvases.shape[0] == 1
