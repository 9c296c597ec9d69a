"""What must be refused, with one sentence, quickly, and without taking memory."""

import io
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
from tests.fuzz.checks import SENTENCE
from trident.errors import InvalidInput
from trident.preprocess import Canonical, Limits, decode, prepare


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
    @pytest.mark.parametrize("compression", ["group3", "group4"])
    def test_fax_tiffs(self, compression, share):
        """Only where the file itself ends: libtiff hides damage inside fax data."""
        page = Image.fromarray(pictures.photo_like(320, 240)).convert("1")
        encoded = pictures.encode(page, "TIFF", compression=compression)
        assert prepare(encoded).width == 320
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


PNG_KINDS = {
    "1 bit grey": (1, 0, 1),
    "4 bit grey": (4, 0, 4),
    "8 bit grey": (8, 0, 8),
    "16 bit grey": (16, 0, 16),
    "RGB": (8, 2, 24),
    "16 bit RGB": (16, 2, 48),
    "palette": (8, 3, 8),
    "2 bit palette": (2, 3, 2),
    "grey and alpha": (8, 4, 16),
    "RGBA": (8, 6, 32),
    "16 bit RGBA": (16, 6, 64),
}


class TestPngWhoseDataEndTooEarly:
    """The zlib stream ends in good order, with its checksum, but some rows are not in it."""

    WIDTH, HEIGHT = 37, 23

    def made(self, kind, keep, value):
        depth, colour, bits = PNG_KINDS[kind]
        row = b"\0" + bytes([value]) * -(-self.WIDTH * bits // 8)
        palette = [pictures.png_chunk(b"PLTE", bytes(range(96)) * 8)] if colour == 3 else []
        data = row * self.HEIGHT
        return pictures.png_of_filtered_rows(self.WIDTH, self.HEIGHT, depth, colour, data[: keep(data, row)], *palette)

    @pytest.mark.parametrize("value", [0, 0x55])
    @pytest.mark.parametrize("kind", PNG_KINDS)
    def test_whole_is_served(self, kind, value):
        picture = prepare(self.made(kind, lambda data, row: len(data), value))
        assert (picture.width, picture.height) == (self.WIDTH, self.HEIGHT)

    @pytest.mark.parametrize("value", [0, 0x55])
    @pytest.mark.parametrize("kind", PNG_KINDS)
    def test_short_by_a_byte_or_a_row_or_half_is_refused(self, kind, value):
        for keep in (
            lambda data, row: len(data) - 1,
            lambda data, row: len(data) - len(row),
            lambda data, row: len(data) // 2,
            lambda data, row: len(row),
        ):
            assert "cut short or damaged" in refusal(self.made(kind, keep, value))

    @pytest.mark.parametrize(("width", "height"), [(1, 1), (2, 1), (5, 1), (1, 2), (8, 8), (13, 9), (40, 30), (64, 3)])
    def test_interlaced(self, width, height):
        pixels = pictures.photo_like(width, height)
        rows = pictures.adam7_rows(pixels)
        whole = pictures.png_of_filtered_rows(width, height, 8, 2, rows, interlaced=True)
        assert np.array_equal(prepare(whole).detail, pixels)
        for end in (len(rows) - 1, len(rows) - 4, len(rows) * 3 // 4, 5):
            if 0 < end < len(rows):
                cut = pictures.png_of_filtered_rows(width, height, 8, 2, rows[:end], interlaced=True)
                assert "cut short or damaged" in refusal(cut)

    def test_a_last_row_of_black_is_a_picture(self):
        pixels = pictures.photo_like(320, 240)
        pixels[-40:] = 0
        assert np.array_equal(prepare(pictures.encode(pixels)).detail, pixels)

    def test_a_second_header_does_not_overrule_the_first(self):
        pixels = pictures.photo_like(32, 24)
        made = pictures.encode(pixels)
        other = pictures.png_chunk(b"IHDR", struct.pack(">LLBBBBB", 32, 12, 8, 2, 0, 0, 0))
        assert np.array_equal(prepare(made[:33] + other + made[33:]).detail, pixels)

    def test_data_after_the_end_of_the_stream_do_not_count(self):
        rows = (b"\0" + bytes([90] * 96)) * 12
        made = pictures.png_of_filtered_rows(32, 24, 8, 2, rows, pictures.png_chunk(b"IDAT", zlib.compress(rows)))
        assert "cut short or damaged" in refusal(made)


class TestTiffWhoseStripsAreTooShort:
    """Uncompressed, and the file is long enough: Pillow would read on into what follows."""

    PIXELS = pictures.photo_like(50, 41)

    @pytest.mark.parametrize("rows", [1, 8, 41, 100])
    def test_whole_strips_are_served(self, rows):
        assert np.array_equal(prepare(pictures.strips_tiff(self.PIXELS, rows)).detail, self.PIXELS)

    @pytest.mark.parametrize(("strip", "count"), [(0, 100), (0, 1199), (3, 0), (5, 149), (2, 1199)])
    def test_short_strips(self, strip, count):
        made = pictures.strips_tiff(self.PIXELS, 8, {strip: count})
        assert f"strip or tile {strip} has {count} bytes instead of" in refusal(made)

    def test_one_strip(self):
        assert "has 6149 bytes instead of 6150" in refusal(pictures.strips_tiff(self.PIXELS, 41, {0: 6149}))

    def test_a_long_strip_does_not_make_up_for_a_short_one(self):
        assert "cut short or damaged" in refusal(pictures.strips_tiff(self.PIXELS, 8, {1: 2000, 2: 1199}))

    def test_lengths_that_are_missing(self):
        made = pictures.plain_tiff(self.PIXELS, t278=("L", [8]), t273=("L", [8 + 1200 * n for n in range(6)]))
        assert "strip or tile 1 has 0 bytes" in refusal(made)

    def test_tiles(self):
        assert np.array_equal(prepare(pictures.tiles_tiff(self.PIXELS, 16)).detail, self.PIXELS)
        for tile, count in ((0, 767), (5, 0), (11, 100)):
            assert f"strip or tile {tile} has" in refusal(pictures.tiles_tiff(self.PIXELS, 16, {tile: count}))

    def test_planes(self):
        assert np.array_equal(prepare(pictures.planes_tiff(self.PIXELS)).detail, self.PIXELS)
        for plane in range(3):
            assert f"strip or tile {plane} has" in refusal(pictures.planes_tiff(self.PIXELS, {plane: 2049}))

    @pytest.mark.parametrize("bits", [1, 8, 16])
    def test_grey(self, bits):
        row = -(-50 * bits // 8)
        flat = np.full((41, row), 0x0F, np.uint8)
        changes = {"t256": ("L", [50]), "t258": ("H", [bits])}
        assert prepare(pictures.plain_tiff(flat, **changes)).width == 50
        short = pictures.plain_tiff(flat, t279=("L", [41 * row - 1]), **changes)
        assert f"has {41 * row - 1} bytes instead of {41 * row}" in refusal(short)


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

    @pytest.mark.parametrize(
        "kind", [pytest.param(1, id="bytes"), pytest.param(2, id="text"), pytest.param(7, id="any")]
    )
    def test_tiff_whose_tile_is_a_text_as_often_as_it_is_high(self, kind):
        """A byte times four thousand million took 4 GiB, in a file of a kilobyte."""
        made = pictures.tiff_whose_tile_is_a_text(kind)
        assert "no whole numbers" in refusal(made)
        self.served_within(made, 0.5, 64)

    @pytest.mark.parametrize("compression", [1, 5], ids=["plain", "LZW"])
    def test_tiff_of_a_million_strips(self, compression):
        """Pillow makes an object of each: 8 MiB took 6 s."""
        made = pictures.tiff_of_strips(1 << 20, compression)
        assert "tag 273 has 1048576 values" in refusal(made)
        self.served_within(made, 0.5, 64)

    def test_tiff_of_as_many_strips_as_rows(self):
        pixels = pictures.photo_like(4, 60_000)
        assert np.array_equal(decode(pictures.strips_tiff(pixels, 1), Limits()).pixels, pixels)

    def test_tiff_of_a_million_fractions(self):
        """A resolution of so many values."""
        made = bytearray(pictures.plain_tiff(pictures.corners(16, 16), t282=("L", [1] * (2 << 20))))
        resolution = made.index(struct.pack("<HHL", 282, 4, 2 << 20))
        made[resolution + 2 : resolution + 8] = struct.pack("<HL", 5, 1 << 20)
        assert "tag 282 has 1048576 values" in refusal(bytes(made))

    @pytest.mark.parametrize("kind", [0, 4], ids=["of a type that is none", "of numbers"])
    def test_big_tiff_of_a_million_entries(self, kind):
        entries = b"".join(struct.pack("<HHQQ", number & 0xFFFF, kind, 1, 0) for number in range(1 << 20))
        made = b"II+\0\x08\0\0\0" + struct.pack("<QQ", 16, 1 << 20) + entries + bytes(8)
        assert "directory has 1048576 entries" in refusal(made)
        self.served_within(made, 0.5, 64)

    def test_big_tiff_is_served(self):
        pixels = pictures.corners(40, 30)
        assert np.array_equal(decode(pictures.encode(pixels, "TIFF", big_tiff=True), Limits()).pixels, pixels)

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
