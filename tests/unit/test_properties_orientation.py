"""The eight orientations of EXIF are the symmetries of a rectangle, and reading one never costs an answer."""

import struct
from itertools import product

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tests import pictures
from trident.preprocess.orientation import UPRIGHT, read_orientation, swaps_sides, turn_upright

ORIENTATIONS = st.integers(1, 8)
BACK = {1: 1, 2: 2, 3: 3, 4: 4, 5: 5, 6: 8, 7: 7, 8: 6}
"""What undoes each: all but the quarter turns undo themselves."""


@st.composite
def photos(draw):
    """RGB in which every pixel is another."""
    height, width = draw(st.integers(1, 9)), draw(st.integers(1, 9))
    return np.arange(height * width * 3, dtype=np.uint8).reshape(height, width, 3)


@given(photos(), ORIENTATIONS)
def test_what_a_camera_stored_is_what_a_viewer_shows(photo, orientation):
    assert np.array_equal(turn_upright(pictures.as_stored(photo, orientation), orientation), photo)


@given(photos(), ORIENTATIONS)
def test_every_turn_has_one_back(photo, orientation):
    turned = turn_upright(photo, orientation)
    assert np.array_equal(turn_upright(turned, BACK[orientation]), photo)


@given(photos(), ORIENTATIONS)
def test_pixels_are_moved_and_none_is_changed(photo, orientation):
    turned = turn_upright(photo, orientation)
    assert turned.shape[:2] == (photo.shape[1::-1] if swaps_sides(orientation) else photo.shape[:2])
    assert sorted(map(tuple, turned.reshape(-1, 3).tolist())) == sorted(map(tuple, photo.reshape(-1, 3).tolist()))


def test_two_turns_are_one_of_the_eight():
    """And each of the eight comes about once from each first turn: it is a group."""
    photo = np.arange(4 * 5 * 3, dtype=np.uint8).reshape(4, 5, 3)
    known = {turn_upright(photo, one).tobytes() + bytes([swaps_sides(one)]): one for one in range(1, 9)}
    assert len(known) == 8
    after = {}
    for first, second in product(range(1, 9), repeat=2):
        twice = turn_upright(turn_upright(photo, first), second)
        after[first, second] = known[twice.tobytes() + bytes([twice.shape != photo.shape])]
    for first in range(1, 9):
        assert {after[first, second] for second in range(1, 9)} == set(range(1, 9))
        assert after[first, UPRIGHT] == after[UPRIGHT, first] == first
    assert after[6, 8] == after[8, 6] == UPRIGHT
    assert after[6, 6] == 3


@given(st.integers(0, 65535), st.sampled_from(["II", "MM"]), st.booleans())
def test_a_block_gives_its_orientation_or_none(value, order, named):
    block = pictures.exif(value, order)
    assert read_orientation(block if named else block[6:]) == (value if 1 <= value <= 8 else UPRIGHT)


@given(st.binary(max_size=80), st.sampled_from([b"", b"Exif\0\0", b"II*\0\x08\0\0\0", b"Exif\0\0MM\0*\0\0\0\x08"]))
def test_a_block_of_any_bytes_gives_an_orientation(noise, start):
    assert 1 <= read_orientation(start + noise) <= 8


@given(st.lists(st.tuples(st.integers(0, 0xFFFF), st.integers(0, 12), st.integers(0, 3)), max_size=30), ORIENTATIONS)
def test_other_entries_before_it_do_not_matter(others, orientation):
    entries = [struct.pack("<HHLHH", tag, kind, count, 3, 0) for tag, kind, count in others if tag != 0x0112]
    entries.append(struct.pack("<HHLHH", 0x0112, 3, 1, orientation, 0))
    block = b"Exif\0\0II*\0\x08\0\0\0" + struct.pack("<H", len(entries)) + b"".join(entries) + bytes(4)
    assert read_orientation(block) == orientation
