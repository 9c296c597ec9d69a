"""The corpus of bad and odd pictures is what it says, and what is served of it is what a viewer would show."""

from __future__ import annotations

import numpy as np
import pytest

from tests import pictures
from tests.bad_inputs import REFUSED, SERVED, Served
from trident.preprocess import Limits, decode, prepare


@pytest.mark.parametrize("odd", SERVED.values(), ids=SERVED.keys())
def test_an_odd_picture_has_the_pixels_of_the_plain_one(odd: Served) -> None:
    got, plain = prepare(odd.make()), prepare(pictures.encode(odd.shows()))

    assert (got.width, got.height) == (plain.width, plain.height)
    for name in ("scene", "canvas", "detail"):
        difference = np.abs(getattr(got, name).astype(int) - getattr(plain, name)).max()
        assert difference <= (8 if odd.lossy else 0), name


@pytest.mark.parametrize(("width", "height"), [(8, 8), (90, 61), (701, 1203)])
@pytest.mark.parametrize(
    ("make", "colour"),
    [
        pytest.param(pictures.webp_of_one_colour, (90, 120, 40), id="WebP"),
        pytest.param(pictures.flat_progressive_jpeg, (128, 128, 128), id="JPEG"),
    ],
)
def test_a_bomb_is_a_whole_file(make, colour, width: int, height: int) -> None:
    """At any size that may be looked at, so that the size alone speaks against the large ones."""
    made = make(width, height)
    pixels = decode(made, Limits()).pixels

    assert pixels.shape == (height, width, 3)
    assert (pixels == colour).all()
    assert len(make(10 * width, 10 * height)) < 10 * width * height


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP", "GIF"])
def test_of_each_kind_there_are_a_bomb_and_a_forged_size(kind: str) -> None:
    assert len(REFUSED[f"{kind} bomb"].make()) < 4 << 20
    assert len(REFUSED[f"{kind} with a forged size"].make()) < 4096
