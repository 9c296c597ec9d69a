"""Plates that are drawn into photos."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from trident import sample_pictures
from trident.errors import SetupError

SQUARE = ((0.0, 0.0), (80.0, 0.0), (80.0, 40.0), (0.0, 40.0))


@pytest.mark.parametrize("corners", [SQUARE, sample_pictures.PLATE_CORNERS, ((5, 9), (70, 2), (60, 44), (9, 30))])
def test_a_perspective_takes_corners_to_corners(corners):
    a, b, c, d, e, f, g, h = sample_pictures._perspective(list(corners), list(SQUARE))
    for (x, y), target in zip(corners, SQUARE, strict=True):
        scale = g * x + h * y + 1
        assert ((a * x + b * y + c) / scale, (d * x + e * y + f) / scale) == pytest.approx(target, abs=1e-6)


def test_the_plate_hangs_where_it_should_and_nowhere_else():
    grey = Image.new("RGB", (300, 200), (127, 127, 127))
    corners = ((100.0, 60.0), (200.0, 80.0), (200.0, 120.0), (100.0, 100.0))
    changed = (np.asarray(sample_pictures.with_plate(grey, "皖A·06725", corners)) != 127).any(axis=-1)
    rows, columns = np.nonzero(changed)
    assert (columns.min(), columns.max()) == pytest.approx((100, 199), abs=1)
    assert (rows.min(), rows.max()) == pytest.approx((60, 119), abs=1)
    # A slanted plate: its upper right and lower left are still the picture's own.
    assert not changed[61, 190]
    assert not changed[118, 110]


def test_plates_with_other_texts_differ():
    plates = [np.asarray(sample_pictures.drawn_plate(text)) for text in ("皖A·06725", "苏A·06725")]
    differing = np.nonzero((plates[0] != plates[1]).any(axis=(0, 2)))[0]
    assert differing.max() < plates[0].shape[1] / 4  # only the first character does


def test_the_enrolled_print_is_not_the_analysed_photo():
    astronaut = Image.open(sample_pictures.photo("astronaut.png"))
    print_ = sample_pictures.other_rendition(astronaut)
    assert print_.size != astronaut.size
    assert np.asarray(print_).mean() < np.asarray(astronaut).mean()


def test_a_photo_that_is_not_shipped_is_one_sentence():
    with pytest.raises(SetupError, match=r"the installed scikit-image has no .*nothing\.png"):
        sample_pictures.photo("nothing.png")
