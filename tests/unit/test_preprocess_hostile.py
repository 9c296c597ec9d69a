"""What must be refused, with one sentence, quickly, and without taking memory."""

import io
import re
import struct
import time
import zlib

import numpy as np
import psutil
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from tests import pictures
from trident.errors import InvalidInput
from trident.preprocess import Canonical, Limits, prepare

SENTENCE = re.compile(r"IMAGE: expected [^\n]{5,250}, got [^\n]{3,250}")


def refusal(encoded, limits=None):
    """The message with which a picture is refused; it must be one sentence in the usual form."""
    with pytest.raises(InvalidInput) as caught:
        prepare(encoded, limits or Limits())
    message = str(caught.value)
    assert SENTENCE.fullmatch(message), message
    return message


class TestNotAPicture:
    def test_no_bytes(self):
        assert "got no bytes" in refusal(b"")

    @pytest.mark.parametrize(("encoded", "name"), pictures.NOT_PICTURES.values(), ids=pictures.NOT_PICTURES.keys())
    def test_is_named(self, encoded, name):
        assert f"expected JPEG, PNG, WebP, BMP or TIFF, got {name}" in refusal(encoded)

    def test_a_real_gif(self):
        assert "got a GIF picture" in refusal(pictures.encode(pictures.corners(), "GIF"))

    @pytest.mark.parametrize(
        "encoded",
        [b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"RIFF\0\0\0\0WEBP", b"II*\0", b"BM" + bytes(12) + b"\x28\0\0\0"],
        ids=["JPEG", "PNG", "WEBP", "TIFF", "BMP"],
    )
    def test_a_signature_alone(self, encoded):
        assert "cut short or damaged" in refusal(encoded)


class TestTooLarge:
    @pytest.mark.parametrize("kind", pictures.FORMATS)
    @pytest.mark.parametrize(("width", "height"), [(10001, 5000), (30000, 30000), (16384, 16384)], ids=str)
    def test_by_its_header_is_refused_at_once(self, kind, width, height):
        encoded = pictures.forged(kind, width, height)
        refusal(encoded)  # loads what has to be loaded
        memory, start = psutil.Process().memory_info().rss, time.process_time()
        message = refusal(encoded)
        assert time.process_time() - start < 0.05
        assert psutil.Process().memory_info().rss - memory < 8 << 20
        assert f"{width} x {height}" in message
        assert f"({width * height / 1e6:.1f} megapixels)" in message
        assert "at most 50 megapixels" in message

    def test_a_forged_size_below_the_limit_is_not_half_served(self):
        for kind in pictures.FORMATS:
            assert "cut short or damaged" in refusal(pictures.forged(kind, 640, 480))

    @pytest.mark.parametrize("kind", pictures.FORMATS)
    def test_the_limit_is_the_operators(self, kind):
        encoded = pictures.encode(pictures.corners(101, 100), kind)
        assert "at most 0.01 megapixels" in refusal(encoded, Limits(max_pixels=10_000))
        prepare(encoded, Limits(max_pixels=10_100))

    def test_encoded_size(self):
        encoded = pictures.encode(pictures.corners()) + bytes(3 << 20)
        assert "expected at most 2 MiB, got 3.0 MiB" in refusal(encoded, Limits(max_bytes=2 << 20))

    @pytest.mark.parametrize("kind", ["JPEG", "PNG", "BMP", "TIFF"])
    @pytest.mark.parametrize(("width", "height"), [(0, 0), (0, 10), (10, 0)])
    def test_no_pixels(self, kind, width, height):
        assert "IMAGE" in refusal(pictures.forged(kind, width, height))

    def test_a_tower_of_a_megapixel_is_served(self):
        picture = prepare(pictures.png(1, 1_000_000, 8, 0, [b"\x80"] * 1_000_000))
        assert (picture.width, picture.height) == (1, 1_000_000)
        assert (picture.scene == 128).all()


class TestCutShort:
    @pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.99])
    @pytest.mark.parametrize("kind", pictures.FORMATS)
    def test_files(self, kind, share):
        assert "cut short or damaged" in refusal(
            pictures.cut(pictures.encode(pictures.photo_like(320, 240), kind), share)
        )

    @pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.99])
    @pytest.mark.parametrize(
        ("kind", "options"),
        [
            pytest.param("JPEG", {"progressive": True}, id="progressive JPEG"),
            pytest.param("WEBP", {"lossless": False}, id="lossy WebP"),
            pytest.param("TIFF", {"compression": "tiff_lzw"}, id="LZW TIFF"),
            pytest.param("TIFF", {"compression": "jpeg"}, id="JPEG TIFF"),
            pytest.param("TIFF", {"compression": "tiff_adobe_deflate"}, id="deflate TIFF"),
            pytest.param("TIFF", {"compression": "packbits"}, id="packbits TIFF"),
        ],
    )
    def test_other_codings(self, kind, options, share):
        encoded = pictures.encode(pictures.photo_like(320, 240), kind, **options)
        assert "cut short or damaged" in refusal(pictures.cut(encoded, share))

    @pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.99])
    @pytest.mark.parametrize("progressive", [False, True], ids=["baseline", "progressive"])
    def test_large_jpegs_whose_decoding_is_scaled(self, share, progressive):
        encoded = pictures.encode(pictures.photo_like(2600, 1950), "JPEG", quality=80, progressive=progressive)
        assert "Premature end" in refusal(pictures.cut(encoded, share))

    @pytest.mark.parametrize("share", [0.3, 0.5, 0.9, 0.99])
    def test_jpegs_with_an_end_marker_glued_on(self, share):
        encoded = pictures.encode(pictures.photo_like(640, 480), "JPEG")
        assert "premature end" in refusal(pictures.cut(encoded, share) + b"\xff\xd9")

    def test_a_jpeg_that_lacks_its_last_bytes(self):
        encoded = pictures.encode(pictures.photo_like(640, 480), "JPEG")
        for missing in (1, 2, 3, 10):
            assert "Premature end" in refusal(encoded[:-missing])

    @pytest.mark.parametrize("adobe", [True, False])
    def test_cmyk_jpegs(self, adobe):
        encoded = pictures.cmyk_jpeg(pictures.photo_like(320, 240), adobe=adobe)
        assert "cut short or damaged" in refusal(pictures.cut(encoded, 0.8))

    @pytest.mark.parametrize("kind", pictures.FORMATS)
    def test_at_any_byte(self, kind):
        """Never an exception of another kind, and never a picture with a part made up."""
        pixels = pictures.photo_like(48, 40)
        encoded = pictures.encode(pixels, kind)
        whole = prepare(encoded).detail
        for end in range(0, len(encoded), max(1, len(encoded) // 400)):
            try:
                served = prepare(encoded[:end])
            except InvalidInput:
                continue
            assert np.array_equal(served.detail, whole)

    def test_scan_data_of_another_picture(self):
        encoded = bytearray(pictures.encode(pictures.photo_like(320, 240), "JPEG"))
        middle = len(encoded) // 2
        encoded[middle : middle + 40] = b"\x55" * 40
        assert "Corrupt JPEG data" in refusal(bytes(encoded))


class TestMadeToCost:
    def served_within(self, encoded, seconds, mebibytes):
        memory, start = psutil.Process().memory_info().rss, time.process_time()
        try:
            prepare(encoded)
        except InvalidInput as error:
            assert SENTENCE.fullmatch(str(error)), error
        assert time.process_time() - start < seconds
        assert psutil.Process().memory_info().rss - memory < mebibytes << 20

    @pytest.mark.parametrize("make", [pictures.png_with_text_bomb, pictures.png_with_profile_bomb])
    def test_png_chunks_that_unpack_to_much_are_not_unpacked(self, make):
        encoded = make()
        start = time.process_time()
        assert prepare(encoded).width == 160
        assert time.process_time() - start < 0.1

    def test_png_of_empty_chunks(self):
        encoded = pictures.encode(pictures.corners())
        self.served_within(encoded[:33] + pictures.png_chunk(b"teXt") * 500_000 + encoded[33:], 1.0, 64)

    def test_png_whose_data_hold_more_than_its_pixels(self):
        rows = [bytes(3 * 8)] * 8
        made = pictures.png(8, 8, 8, 2, [*rows, bytes(100 << 20)])
        self.served_within(made, 1.0, 64)

    def test_jpeg_of_fill_bytes(self):
        self.served_within(b"\xff\xd8" + b"\xff" * (16 << 20), 1.0, 64)

    def test_jpeg_of_empty_segments(self):
        encoded = pictures.encode(pictures.corners(), "JPEG")
        self.served_within(encoded[:2] + b"\xff\xfe\0\2" * 2_000_000 + encoded[2:], 2.0, 64)

    def test_jpeg_of_many_scans(self):
        assert "more than 64 scans" in refusal(pictures.progressive_with_scans(1000))

    def test_webp_of_empty_chunks(self):
        encoded = pictures.encode(pictures.corners(), "WEBP", exif=pictures.exif(1))
        body = encoded[12:] + b"JUNK\0\0\0\0" * 1_000_000
        self.served_within(b"RIFF" + struct.pack("<L", len(body) + 4) + b"WEBP" + body, 1.0, 64)

    def test_jpeg_exif_whose_entries_all_point_at_everything(self):
        block = b"Exif\0\0II*\0\x08\0\0\0" + struct.pack("<H", 5000)
        block += b"".join(struct.pack("<HHLL", 0x9000 + i, 7, 60_000, 0) for i in range(5000))
        encoded = pictures.encode(pictures.corners(), "JPEG", exif=block)
        self.served_within(encoded, 0.5, 32)

    def test_tiff_whose_entries_all_point_at_everything(self):
        count, size = 4000, 1 << 20
        entries = b"".join(struct.pack("<HHLL", 1000 + i, 7, size, 0) for i in range(count))
        self.served_within(b"II*\0" + struct.pack("<L", 8) + struct.pack("<H", count) + entries + bytes(size), 2.0, 128)

    def test_tiff_whose_directories_form_a_ring(self):
        encoded = bytearray(pictures.plain_tiff(pictures.corners(16, 16)))
        directory = int.from_bytes(encoded[4:8], "little")
        entries = int.from_bytes(encoded[directory : directory + 2], "little")
        following = directory + 2 + 12 * entries
        encoded[following : following + 4] = encoded[4:8]
        assert prepare(bytes(encoded)).width == 16

    def test_tiff_of_one_huge_tile(self):
        tiles = {"t322": ("L", [60000]), "t323": ("L", [60000]), "t324": ("L", [8]), "t325": ("L", [768])}
        for compression in (1, 5, 8):
            self.served_within(
                pictures.plain_tiff(pictures.corners(16, 16), **tiles, t259=("H", [compression])), 0.5, 64
            )

    def test_tiff_strip_that_unpacks_to_much(self):
        data = zlib.compress(bytes(300 << 20), 9)
        pixels = np.frombuffer(data, np.uint8).reshape(1, -1)
        made = pictures.plain_tiff(
            pixels, t256=("L", [16]), t257=("L", [16]), t259=("H", [8]), t279=("L", [len(data)]), t278=("L", [16])
        )
        self.served_within(made, 0.5, 64)

    def test_tiff_without_data_for_a_part(self):
        assert "no data for a part" in refusal(pictures.plain_tiff(pictures.corners(16, 16), t278=("L", [8])))

    def test_tiff_with_lzma(self):
        assert "LZMA" in refusal(pictures.encode(pictures.corners(), "TIFF", compression="lzma"))

    def test_run_length_bmp(self):
        indexed = np.full((400, 400), 3, np.uint8)
        header = bytearray(pictures.encode(Image.fromarray(indexed).quantize(4), "BMP"))
        offset = int.from_bytes(header[10:14], "little")
        header[30:34] = struct.pack("<L", 1)
        runs = (b"\xc8\0" * 2 + b"\0\0") * 400 + b"\0\1"
        assert prepare(bytes(header[:offset]) + runs).width == 400
        assert "run-length" in refusal(bytes(header[:offset]) + b"\1\0" * (3 << 20))
        assert "cut short" in refusal(bytes(header[:offset]) + runs[:600])


class TestKindsThatAreNotServed:
    @pytest.mark.parametrize(
        "made",
        [
            pytest.param(pictures.plain_tiff(np.ones((4, 4), np.float32), sample_format=3), id="float"),
            pytest.param(pictures.plain_tiff(np.ones((4, 4), np.int32), sample_format=2), id="32 bit"),
            pytest.param(pictures.plain_tiff(np.ones((4, 4), np.int16), sample_format=2), id="signed"),
        ],
    )
    def test_samples_without_a_range(self, made):
        assert "whose range nobody states" in refusal(made)

    def test_lab(self):
        assert "got one in LAB" in refusal(pictures.encode(Image.new("LAB", (4, 4)), "TIFF"))

    def test_12_bit_jpeg(self):
        encoded = bytearray(pictures.encode(pictures.corners(), "JPEG"))
        encoded[encoded.index(b"\xff\xc0") + 4] = 12
        assert "8 bits a sample, got one with 12" in refusal(bytes(encoded))

    def test_jpeg_with_two_frame_headers(self):
        encoded = pictures.encode(pictures.corners(), "JPEG")
        start = encoded.index(b"\xff\xc0")
        length = 2 + int.from_bytes(encoded[start + 2 : start + 4], "big")
        second = bytearray(encoded[start : start + length])
        second[5:9] = struct.pack(">HH", 30000, 30000)
        refusal(encoded[: start + length] + bytes(second) + encoded[start + length :])


@settings(max_examples=150, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(
    kind=st.sampled_from([*pictures.FORMATS, "LZW", "palette", "progressive"]),
    damage=st.lists(st.tuples(st.floats(0, 0.999), st.integers(0, 255)), min_size=1, max_size=8),
    keep=st.floats(0.2, 1),
)
def test_damage_of_any_kind_is_a_refusal_or_a_picture(kind, damage, keep):
    pixels = pictures.corners(40, 30)
    made = {
        "LZW": lambda: pictures.encode(pixels, "TIFF", compression="tiff_lzw"),
        "palette": lambda: pictures.encode(Image.fromarray(pixels).quantize(4), "PNG", transparency=1),
        "progressive": lambda: pictures.encode(pixels, "JPEG", progressive=True),
    }.get(kind, lambda: pictures.encode(pixels, kind))()
    damaged = bytearray(made)
    for position, value in damage:
        # Headers come first in all of these files, and are where damage does most.
        damaged[int(position**3 * len(damaged))] = value
    try:
        assert isinstance(prepare(bytes(damaged[: int(keep * len(damaged))])), Canonical)
    except InvalidInput as error:
        assert SENTENCE.fullmatch(str(error)), error


@settings(max_examples=200, deadline=None, derandomize=True)
@given(
    st.binary(max_size=300), st.sampled_from([b"", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"II*\0", b"MM\0*", b"BM"])
)
def test_arbitrary_bytes_are_refused(body, start):
    with pytest.raises(InvalidInput):
        prepare(start + body)


def test_pillow_keeps_no_file_open():
    file = io.BytesIO(pictures.encode(pictures.corners()))
    prepare(file.getvalue())
    assert not file.closed
