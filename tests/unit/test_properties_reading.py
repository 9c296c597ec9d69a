"""Reading plates: greedy decoding of steps, and what becomes of the characters."""

import unicodedata
from itertools import groupby

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from export.plate_reader import ALPHABET, Dictionary, read_greedily
from trident.contract import MAX_CHARACTERS
from trident.entities.plates import plate_score, plate_text

LETTERS = "AB皖7"
# The blank is class 0; class 2 is of no plate.
CLASSES = np.array([0, 1, 3, 4, 5])
DICTIONARY = Dictionary(CLASSES, np.array([0, *map(ord, LETTERS)], dtype=np.int32))
BLANK = "_"


def steps_of(classes, score=0.9):
    """Probabilities of the steps whose best classes are these, by place in the dictionary."""
    made = np.full((len(classes), 6), (1 - score) / 5, dtype=np.float32)
    made[np.arange(len(classes)), CLASSES[list(classes)]] = score
    return made


def read(path):
    """The text of a path such as ``AA_A``."""
    return "".join(
        chr(code) for code, _ in read_greedily(steps_of([(BLANK + LETTERS).index(c) for c in path]), DICTIONARY)
    )


PATHS = st.text(alphabet=BLANK + LETTERS, max_size=40)
TEXTS = st.text(alphabet=LETTERS, max_size=12)


class TestGreedyDecoding:
    @given(PATHS)
    def test_it_is_collapsing_repeats_and_leaving_out_blanks(self, path):
        assert read(path) == "".join(character for character, _ in groupby(path) if character != BLANK)

    @given(TEXTS, st.data())
    def test_every_way_to_write_a_text_is_read_as_it(self, text, data):
        """Each character for some steps, blanks between, which equal neighbours need."""
        path = BLANK * data.draw(st.integers(0, 3))
        for before, character in zip((BLANK, *text), text, strict=False):
            path += BLANK * data.draw(st.integers(int(before == character), 3))
            path += character * data.draw(st.integers(1, 4))
        assert read(path + BLANK * data.draw(st.integers(0, 3))) == text

    @given(PATHS, st.integers(0, 40))
    def test_a_step_that_repeats_the_one_before_changes_nothing(self, path, where):
        where = min(where, len(path))
        assert read(path[:where] + path[where - 1 : where] + path[where:]) == read(path)

    @given(PATHS)
    def test_it_reads_the_same_from_behind(self, path):
        assert read(path[::-1]) == read(path)[::-1]

    @given(st.lists(st.lists(st.floats(0, 1, width=32), min_size=6, max_size=6), max_size=20))
    def test_any_probabilities_give_characters_and_their_own_scores(self, steps):
        probabilities = np.array(steps, dtype=np.float32).reshape(-1, 6)
        found = read_greedily(probabilities, DICTIONARY)
        assert len(found) <= len(steps)
        assert {chr(code) for code, _ in found} <= set(LETTERS)
        assert {np.float32(score) for _, score in found} <= set(probabilities.reshape(-1))


CHARACTERS = st.one_of(st.sampled_from(ALPHABET), st.characters())


def as_outputs(text, scores):
    codes, values = np.zeros(MAX_CHARACTERS, np.int32), np.zeros(MAX_CHARACTERS, np.float32)
    codes[: len(text)] = [ord(character) for character in text]
    values[: len(scores)] = scores
    return codes, values, len(text)


class TestPlateText:
    @given(st.text(alphabet=CHARACTERS, max_size=MAX_CHARACTERS), st.data())
    def test_any_characters_give_letters_and_digits_and_a_score_between_theirs(self, text, data):
        scores = data.draw(st.lists(st.floats(0, 1, width=32), min_size=len(text), max_size=len(text)))
        found, score = plate_text(*as_outputs(text, scores))
        assert found == found.upper()
        assert all(character.isalnum() for character in found)
        assert 0 <= score <= max(scores, default=0) + 1e-6
        if found:
            assert score >= min(scores) - 1e-6
        else:
            assert score == 0

    @given(st.text(alphabet=ALPHABET, max_size=MAX_CHARACTERS))
    def test_what_plates_have_is_kept(self, text):
        assert plate_text(*as_outputs(text, [1.0] * len(text))) == (text, 1.0 if text else 0.0)

    @given(st.text(alphabet=CHARACTERS, max_size=MAX_CHARACTERS))
    def test_read_twice_it_is_the_same(self, text):
        once, _ = plate_text(*as_outputs(text, [1.0] * len(text)))
        if len(once) <= MAX_CHARACTERS and unicodedata.is_normalized("NFKC", once):
            assert plate_text(*as_outputs(once, [1.0] * len(once)))[0] == once


class TestPlateScore:
    SCORES = st.floats(0, 1)

    @given(SCORES, st.text(alphabet=ALPHABET, max_size=10), SCORES)
    def test_reading_never_makes_a_plate_surer_than_seeing(self, detection, text, score):
        assert 0.1 * detection <= plate_score(detection, text, score) + 1e-12
        assert plate_score(detection, text, score) <= detection

    @given(SCORES, st.text(alphabet=ALPHABET, max_size=9), SCORES, st.sampled_from(ALPHABET))
    def test_a_character_more_is_worth_no_less(self, detection, text, score, more):
        assert plate_score(detection, text + more, score) >= plate_score(detection, text, score)

    @given(SCORES, st.text(alphabet=ALPHABET, max_size=9), SCORES, SCORES)
    def test_surer_characters_are_worth_no_less(self, detection, text, one, other):
        low, high = sorted((one, other))
        assert plate_score(detection, text, low) <= plate_score(detection, text, high)


@pytest.mark.parametrize("count", [0, 1, 3])
def test_no_steps_are_no_text(count):
    assert read(BLANK * count) == ""
