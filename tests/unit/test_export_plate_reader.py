"""Greedy decoding of plate readers."""

from itertools import groupby

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from export.graph import Graph
from export.plate_reader import ALPHABET, SEPARATORS, STEPS, Dictionary, decode, dictionary_of, samples
from export.session import open_session
from trident.contract import MAX_CHARACTERS, PLATE_HEIGHT, PLATE_WIDTH

OUTPUTS = ["CHARACTERS", "CHARACTER_SCORES", "NUM_CHARACTERS"]
OTHERS = "绚疗a" + "。"
"""Characters that recognizers know and plates do not have."""
ENTRIES = OTHERS + ALPHABET + "·-"


def file_with(dictionary: str | None) -> onnx.ModelProto:
    model = onnx.ModelProto()
    if dictionary is not None:
        model.metadata_props.add(key="character", value=dictionary)
    return model


@pytest.fixture(scope="module")
def dictionary() -> Dictionary:
    return dictionary_of(file_with("\n".join(ENTRIES)))


@pytest.fixture(scope="module")
def session(dictionary):
    graph = Graph("plate_reader")
    decode(graph, "probabilities", dictionary)
    dims = ["batch", STEPS, len(ENTRIES) + 2]
    model = onnx.helper.make_model(
        onnx.helper.make_graph(
            graph._nodes,
            "decode",
            [onnx.helper.make_tensor_value_info("probabilities", onnx.TensorProto.FLOAT, dims)],
            [onnx.helper.make_empty_tensor_value_info(name) for name in OUTPUTS],
            list(graph._initializers.values()),
        ),
        opset_imports=[onnx.helper.make_opsetid("", 18)],
        ir_version=8,
    )
    return open_session(model)


def steps(text: str, score: float = 0.8) -> np.ndarray:
    """Probabilities whose best class at each step is that of ``text``; ``_`` is the blank, the rest is blanks."""
    classes = ["_", *ENTRIES, " "]
    made = np.full((STEPS, len(classes)), (1 - score) / (len(classes) - 1), dtype=np.float32)
    for step, character in enumerate(text.ljust(STEPS, "_")):
        made[step, classes.index(character)] = score
    return made


def read(session, *texts: str) -> list[str]:
    characters, scores, counts = session.run(OUTPUTS, {"probabilities": np.stack([steps(text) for text in texts])})
    assert characters.shape == scores.shape == (len(texts), MAX_CHARACTERS)
    for row, score, (count,) in zip(characters, scores, counts, strict=True):
        assert not row[count:].any()
        assert not score[count:].any()
        np.testing.assert_allclose(score[:count], 0.8, rtol=1e-6)
    return ["".join(map(chr, row[:count])) for row, (count,) in zip(characters, counts, strict=True)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("", "", id="nothing"),
        pytest.param("__皖皖_A__06_", "皖A06", id="repeats are one, blanks are none"),
        pytest.param("8_8", "88", id="a blank parts equal characters"),
        pytest.param("京A·A1", "京AA1", id="a separator does too, and is not read"),
        pytest.param("A B-C", "ABC", id="space and dash are separators"),
        pytest.param("88_", "8", id="no blank, one character"),
        pytest.param("AB" * 20, "AB" * 20, id="every step a character"),
    ],
)
def test_reads(session, text, expected):
    assert read(session, text) == [expected]


@settings(deadline=None, max_examples=40)
@given(st.lists(st.text(alphabet="_皖A08·", max_size=STEPS), min_size=1, max_size=4))
def test_every_plate_of_a_batch_is_read_as_python_would(session, texts):
    expected = ["".join(c for c, _ in groupby(text) if c not in "_·") for text in texts]
    assert read(session, *texts) == expected


def test_character_that_plates_do_not_have_gives_way_to_the_best_that_they_have(session):
    probabilities = steps("绚")
    probabilities[0, 1 + ENTRIES.index("皖")] = 0.15
    characters, scores, counts = session.run(OUTPUTS, {"probabilities": probabilities[None]})
    assert counts.tolist() == [[1]]
    assert chr(characters[0, 0]) == "皖"
    assert scores[0, 0] == pytest.approx(0.15)


def test_dictionary_knows_plate_characters_and_separators(dictionary):
    known = {chr(point) for point in dictionary.code_points if point}
    assert known == set(ALPHABET)
    assert len(dictionary.classes) == 1 + len(ALPHABET) + 3  # blank; middle dot, dash, space
    assert (np.diff(dictionary.classes) > 0).all()
    assert not set(SEPARATORS) & known


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param(None, "expected metadata 'character' in the ONNX file, got none", id="no dictionary"),
        pytest.param("\n".join([*ENTRIES, "ch"]), "expected one code point an entry, got 'ch'", id="two code points"),
        pytest.param("\n".join(ENTRIES.replace("皖", "")), "got none of 皖", id="no plate dictionary"),
    ],
)
def test_unfit_dictionary_is_refused(text, message):
    with pytest.raises(ValueError, match=message):
        dictionary_of(file_with(text))


def test_alphabet_has_no_character_twice():
    assert len(set(ALPHABET)) == len(ALPHABET)


def test_samples_are_plates_with_grey_to_their_right():
    plates = samples()
    assert plates.shape[1:] == (PLATE_HEIGHT, PLATE_WIDTH, 3)
    assert plates.dtype == np.uint8
    assert (plates[:, :, -8:] == 127).all()
    assert all((plate == 255).any() for plate in plates)
