"""The corpora hold what they promise, and every check bites."""

from __future__ import annotations

import random

import numpy as np
import pytest

from tests.fuzz import bounds, checks
from tests.fuzz.bounds import MOST_MEMORY, Broken, bounded
from tests.fuzz.checks import CHECKS, check_decode, check_fusion
from tests.fuzz.corpus import LARGEST, face, seeds, write_words
from tests.fuzz.mutators import mutate_picture, with_other_entries, with_right_checksums
from tests.fuzz.tensors import MOST_PICTURES, bytes_of, tensors_of
from trident.contract import MODELS
from trident.errors import InvalidInput

LEAST_SEEDS = {"decode": 100, "fusion": 50, "answer": 30}


@pytest.mark.parametrize("target", CHECKS)
def test_every_seed_holds(target):
    accepted = [bounded(CHECKS[target], data) for data in seeds(target).values()]
    assert len(accepted) >= LEAST_SEEDS[target]
    assert True in accepted
    assert False in accepted


@pytest.mark.parametrize("target", CHECKS)
def test_seeds_are_as_large_as_the_fuzzer_makes_them(target):
    assert max(map(len, seeds(target).values())) <= LARGEST


def test_words_are_written_as_libfuzzer_reads_them(tmp_path):
    write_words("decode", tmp_path / "words")
    lines = (tmp_path / "words").read_text().splitlines()
    assert lines[0] == r'"\xFF\xD8\xFF"'
    assert all(line.startswith('"') and line.endswith('"') for line in lines)


class TestTensors:
    def test_good_inputs_survive_being_bytes(self):
        tensors = tensors_of(
            bytes_of(
                size=(30, 20), boxes=2, probabilities=[0.5], scores=[0.9, 0.1], places=[1, 2, 3, 4], classes=[3, 79]
            )
        )
        assert tensors["IMAGE_SIZE"].tolist() == [[30, 20]]
        assert tensors["DETECTOR_NUM_BOXES"].tolist() == [[2]]
        assert tensors["DETECTOR_SCORES"][0, :3] == pytest.approx([0.9, 0.1, 0.9])
        assert tensors["DETECTOR_BOXES"][0, 7].tolist() == [1, 2, 3, 4]
        assert tensors["DETECTOR_CLASSES"][0, :2].tolist() == [3, 79]
        assert tensors["ENTITIES"][0, 0] == b"[]"

    @pytest.mark.parametrize("data", [b"", b"\1", bytes(range(256)) * 3, bytes_of(pictures=2, entities=b"[]\0\0")])
    def test_any_bytes_have_the_contracts_form(self, data):
        tensors = tensors_of(data)
        kinds = {"FP32": "f", "INT32": "i", "UINT8": "u", "STRING": "O"}
        assert len(tensors["IMAGE_SIZE"]) <= MOST_PICTURES
        for spec in MODELS["fusion"].inputs:
            assert tensors[spec.name].shape[1:] == spec.dims
            assert tensors[spec.name].dtype.kind == kinds[spec.dtype.value]

    def test_zeros_at_the_end_of_the_entities_are_kept(self):
        assert tensors_of(bytes_of(entities=b"[]\0\0"))["ENTITIES"][0, 0] == b"[]\0\0"


class TestMutations:
    @pytest.mark.parametrize("target", ["PNG, plain", "interlaced PNG", "palette PNG", "orientation 6"])
    def test_checksums_are_made_right(self, target):
        good = seeds("decode")[target]
        assert with_right_checksums(good) == good
        for position in (*range(29, 33), len(good) - 4):
            broken = bytearray(good)
            broken[position] ^= 1
            assert not check_decode(bytes(broken)) or position > 40
            assert with_right_checksums(bytes(broken)) == good

    @pytest.mark.parametrize("data", [b"", b"\x89PNG\r\n\x1a\n", b"\x89PNG\r\n\x1a\n\xff\xff\xff\xffIHDR" + bytes(9)])
    def test_what_has_no_chunks_is_left(self, data):
        assert with_right_checksums(data) == data

    @pytest.mark.parametrize("target", ["TIFF, plain", "TIFF, most significant first, plain"])
    def test_only_the_directory_is_changed(self, target):
        good = seeds("decode")[target]
        order = "little" if good.startswith(b"II") else "big"
        start = int.from_bytes(good[4:8], order)
        made = [with_other_entries(good, random.Random(seed)) for seed in range(50)]
        assert len(set(made)) > 25
        end = start + 2 + 12 * int.from_bytes(good[start : start + 2], order)
        for one in made:
            assert one[: start + 2] == good[: start + 2]
            assert one[end:] == good[end:]

    @pytest.mark.parametrize(
        "data", [b"II*\0", b"II*\0\xff\xff\xff\xff", b"II*\0\x08\0\0\0\xff\xff", b"MM\0*\0\0\0\x08\0\0"]
    )
    def test_what_has_no_directory_is_left(self, data):
        assert with_other_entries(data, random.Random(0)) == data

    def test_the_same_seed_gives_the_same(self):
        def turned(data, most):
            return data[::-1][:most]

        for name in ("PNG, plain", "TIFF, plain", "JPEG, plain"):
            picture = seeds("decode")[name]
            made = [[mutate_picture(picture, 5000, seed, turned) for seed in range(30)] for _ in range(2)]
            assert made[0] == made[1]
            assert turned(picture, 5000) in made[0]


GOOD_PICTURE = "PNG, plain"


def fails(error):
    def prepare(data, limits):
        raise error

    return prepare


class TestChecksBite:
    """Each with a flaw put in."""

    @pytest.fixture
    def picture(self):
        return seeds("decode")[GOOD_PICTURE]

    def test_an_undocumented_error(self, monkeypatch, picture):
        monkeypatch.setattr(checks, "prepare", fails(KeyError("colour")))
        with pytest.raises(KeyError, match="colour"):
            check_decode(picture)

    @pytest.mark.parametrize("message", ["no", "IMAGE: expected a whole JPEG, got \x1b[31mred", "IMAGE: expected\nany"])
    def test_a_refusal_that_is_no_sentence(self, monkeypatch, picture, message):
        monkeypatch.setattr(checks, "prepare", fails(InvalidInput(message)))
        with pytest.raises(Broken, match="refused with"):
            check_decode(picture)

    def test_pixels_that_differ_from_time_to_time(self, monkeypatch, picture):
        noise, prepare = np.random.default_rng(0), checks.prepare

        def noisy(data, limits):
            made = prepare(data, limits)
            made.scene[0, 0] = noise.integers(0, 256, 3)
            return made

        monkeypatch.setattr(checks, "prepare", noisy)
        with pytest.raises(Broken, match="other pixels in scene"):
            check_decode(picture)

    def test_a_picture_beyond_the_limit(self, monkeypatch):
        large = b"BM" + b"anything"
        prepare, whole = checks.prepare, seeds("decode")[GOOD_PICTURE]
        monkeypatch.setattr(checks, "prepare", lambda data, limits: prepare(whole, limits))
        monkeypatch.setattr(checks, "LIMITS", checks.Limits(max_pixels=1200))
        assert check_decode(large)
        monkeypatch.setattr(checks, "prepare", lambda data, limits: prepare(whole, checks.Limits()))
        monkeypatch.setattr(checks, "LIMITS", checks.Limits(max_pixels=1199))
        with pytest.raises(Broken, match="a picture of 40 x 30"):
            check_decode(large)

    def test_memory_however_short_it_lives(self):
        def hungry(data):
            return bool(np.ones(MOST_MEMORY + (32 << 20), np.uint8).any())

        with pytest.raises(Broken, match="MiB of memory"):
            bounded(hungry, b"")

    def test_time(self, monkeypatch):
        monkeypatch.setattr(bounds, "MOST_CPU_S", 0.0)
        with pytest.raises(Broken, match="s of CPU time"):
            bounded(lambda data: bool(sum(range(100_000))), b"")

    @pytest.mark.parametrize(
        ("change", "complaint"),
        [
            pytest.param(lambda o: o.pop("BOXES"), "outputs", id="an output missing"),
            pytest.param(lambda o: o.update(BOXES=o["BOXES"][:, :99]), "shape", id="another shape"),
            pytest.param(lambda o: o.update(NUM_BOXES=o["NUM_BOXES"].astype("i8")), "type", id="another type"),
            pytest.param(lambda o: o["CATEGORY_SCORES"].fill(np.nan), "finite", id="no number"),
            pytest.param(lambda o: o["BOX_SCORES"][0].sort(), "out of order", id="worst first"),
            pytest.param(lambda o: o["BOXES"][0].fill(1), "unused rows", id="unused rows"),
            pytest.param(lambda o: o["NUM_BOXES"].fill(1), "1 boxes", id="another count"),
            pytest.param(lambda o: o["CATEGORY_EVIDENCE"].fill(1.5), "evidence", id="evidence"),
        ],
    )
    def test_outputs_that_are_none(self, monkeypatch, change, complaint):
        def flawed(*arguments):
            outputs = fuse_batch(*arguments)
            change(outputs)
            return outputs

        fuse_batch = checks.fuse_batch
        monkeypatch.setattr(checks, "fuse_batch", flawed)
        with pytest.raises(Broken, match=complaint):
            check_fusion(seeds("fusion")["everything"])

    @pytest.mark.parametrize(
        ("old", "new", "complaint"),
        [
            pytest.param(b'"width":640', b'"width":641', "another size", id="size"),
            pytest.param(b'"object":0', b'"object":null', "do not agree", id="links"),
            pytest.param(b'"box":[50.0', b'"box":[-50.0', "out of the picture", id="box"),
        ],
    )
    def test_a_result_that_is_none(self, monkeypatch, old, new, complaint):
        def flawed(*arguments):
            outputs = fuse_batch(*arguments)
            assert old in outputs["RESULT"][0, 0]
            outputs["RESULT"][0, 0] = outputs["RESULT"][0, 0].replace(old, new)
            return outputs

        fuse_batch = checks.fuse_batch
        monkeypatch.setattr(checks, "fuse_batch", flawed)
        with pytest.raises(Broken, match=complaint):
            check_fusion(seeds("fusion")["everything"])

    def test_links_of_two_to_one(self):
        everything = seeds("answer")["everything"]
        checks.demand_links(checks.parse(everything))
        twice = everything.replace(b'"object": null', b'"object": 0').replace(b'"entities": [0]', b'"entities": [0, 1]')
        with pytest.raises(Broken, match="two entities of one object"):
            checks.demand_links(checks.parse(twice))

    def test_an_answer_that_does_not_survive(self, monkeypatch):
        monkeypatch.setattr(checks.Analysis, "to_json", lambda self: {**TO_JSON(self), "objects": []})
        with pytest.raises((Broken, checks.AnswerError)):
            checks.check_answer(seeds("answer")["everything"])


TO_JSON = checks.Analysis.to_json


def test_a_face_of_the_corpus_is_one():
    assert face(0.5)["score"] == 0.5
    assert check_fusion(seeds("fusion")["everything"])
