"""Good pictures of every kind to canonical pixels."""

import io

import cv2
import numpy as np
import pytest
from PIL import Image

from tests import pictures
from trident.contract import CANVAS_SIDE, DETAIL_SIDE, SCENE_SIDE
from trident.errors import InvalidInput, SetupError
from trident.geometry import fitted_size
from trident.preprocess import Limits, decode, prepare, stack_details
from trident.preprocess.canonical import resize
from trident.preprocess.orientation import read_orientation, turn_upright

NEAR = 6
"""Largest difference that lossy coding may make within a plain area."""


def worst(left, right):
    return int(np.abs(left.astype(int) - right.astype(int)).max())


def psnr(left, right):
    return 10 * np.log10(255**2 / ((left.astype(float) - right) ** 2).mean())


def assert_shows_corners(picture, tolerance=NEAR):
    """Each quarter of the detail, and of the canvas, has the colour that belongs there."""
    height, width = picture.detail.shape[:2]
    fitted = fitted_size(picture.width, picture.height, CANVAS_SIDE, enlarge=True)
    for name, colour in pictures.CORNERS.items():
        x, y = (0.1 if "left" in name else 0.9), (0.1 if "top" in name else 0.9)
        assert worst(picture.detail[int(y * height), int(x * width)], np.array(colour)) <= tolerance, name
        assert worst(picture.canvas[int(y * fitted[1]), int(x * fitted[0])], np.array(colour)) <= tolerance, name
        assert worst(picture.scene[int(y * SCENE_SIDE), int(x * SCENE_SIDE)], np.array(colour)) <= tolerance, name


class TestCanonicalPixels:
    @pytest.mark.parametrize("kind", pictures.FORMATS)
    def test_every_format_gives_the_same_pixels(self, kind):
        picture = prepare(pictures.encode(pictures.corners(), kind))
        assert (picture.width, picture.height) == (160, 120)
        assert_shows_corners(picture)

    @pytest.mark.parametrize(
        ("width", "height"),
        [
            pytest.param(640, 480, id="smaller than the detail"),
            pytest.param(480, 640, id="upright"),
            pytest.param(64, 48, id="smaller than the scene"),
            pytest.param(1280, 960, id="exactly the detail"),
            pytest.param(1281, 960, id="one pixel more"),
            pytest.param(3001, 1999, id="large and odd"),
            pytest.param(1, 1, id="one pixel"),
            pytest.param(2, 3, id="a few pixels"),
            pytest.param(1, 10000, id="one pixel wide"),
            pytest.param(10000, 1, id="one pixel high"),
            pytest.param(5000, 300, id="panorama"),
        ],
    )
    @pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
    def test_sizes_follow_the_contract(self, width, height, kind):
        picture = prepare(
            pictures.encode(pictures.corners(width, height), kind, **({"quality": 90} if kind == "JPEG" else {}))
        )
        detail_width, detail_height = fitted_size(width, height, DETAIL_SIDE, enlarge=False)
        assert (picture.width, picture.height) == (width, height)
        assert picture.scene.shape == (SCENE_SIDE, SCENE_SIDE, 3)
        assert picture.canvas.shape == (CANVAS_SIDE, CANVAS_SIDE, 3)
        assert picture.detail.shape == (detail_height, detail_width, 3)
        assert {picture.scene.dtype, picture.canvas.dtype, picture.detail.dtype} == {np.dtype(np.uint8)}

    def test_canvas_is_black_outside_of_the_picture(self):
        white = np.full((300, 400, 3), 255, np.uint8)
        canvas = prepare(pictures.encode(white)).canvas
        assert (canvas[:480] == 255).all()
        assert (canvas[480:] == 0).all()

    def test_a_picture_that_fits_is_not_resampled(self):
        pixels = pictures.photo_like(700, 500)
        assert np.array_equal(prepare(pictures.encode(pixels)).detail, pixels)

    def test_scene_is_the_centre_square(self):
        pixels = np.zeros((288, 1000, 3), np.uint8)
        pixels[:, 356:644] = pictures.photo_like(288, 288)
        assert np.array_equal(prepare(pictures.encode(pixels)).scene, pixels[:, 356:644])

    def test_scene_of_a_panorama_is_not_cut_from_a_smaller_copy(self):
        pixels = pictures.photo_like(6000, SCENE_SIDE)
        assert np.array_equal(prepare(pictures.encode(pixels)).scene, pixels[:, 2856:3144])

    def test_the_same_bytes_give_the_same_pixels(self):
        encoded = pictures.encode(pictures.photo_like(2600, 1700), "JPEG")
        first, second = prepare(encoded), prepare(encoded)
        assert np.array_equal(first.detail, second.detail)
        assert np.array_equal(first.canvas, second.canvas)

    def test_details_of_a_batch_are_padded_with_black(self):
        small, wide = np.full((20, 30, 3), 9, np.uint8), np.full((10, 50, 3), 7, np.uint8)
        batch = stack_details([small, wide])
        assert batch.shape == (2, 20, 50, 3)
        assert np.array_equal(batch[0, :, :30], small)
        assert np.array_equal(batch[1, :10], wide)
        assert batch[0, :, 30:].sum() == 0
        assert batch[1, 10:].sum() == 0

    def test_no_details_are_a_mistake(self):
        with pytest.raises(ValueError, match="expected at least 1"):
            stack_details([])

    @pytest.mark.parametrize("ratio", [1.2, 1.6, 1.99, 2.0, 2.7, 3.3, 7.5])
    def test_shrinking_is_close_to_lanczos(self, ratio):
        pixels = pictures.photo_like(1600, 1200)
        width, height = round(1600 / ratio), round(1200 / ratio)
        best = np.asarray(Image.fromarray(pixels).resize((width, height), Image.Resampling.LANCZOS))
        assert psnr(resize(pixels, width, height), best) > 36

    def test_shrinking_does_not_alias(self):
        stripes = np.zeros((900, 900, 3), np.uint8)
        stripes[:, ::2] = 255
        assert worst(resize(stripes, 300, 300)[:, 1:-1], np.full(1, 127)) <= 43  # a third of a period may remain
        assert worst(resize(stripes, 150, 150)[:, 1:-1], np.full(1, 127)) <= 1


class TestOrientation:
    @pytest.mark.parametrize("orientation", range(1, 9))
    @pytest.mark.parametrize("kind", pictures.FORMATS_WITH_EXIF)
    def test_is_applied(self, orientation, kind):
        picture = prepare(pictures.oriented(pictures.corners(), orientation, kind))
        assert (picture.width, picture.height) == (160, 120)
        assert picture.detail.shape == (120, 160, 3)
        assert_shows_corners(picture)

    @pytest.mark.parametrize("orientation", range(1, 9))
    def test_is_exact_on_every_pixel(self, orientation):
        pixels = pictures.photo_like(37, 23)
        assert np.array_equal(prepare(pictures.oriented(pixels, orientation, "PNG")).detail, pixels)

    @pytest.mark.parametrize("orientation", [3, 6, 7])
    def test_size_is_that_of_the_full_picture_when_decoding_is_scaled(self, orientation):
        encoded = pictures.oriented(pictures.corners(4001, 2999), orientation)
        picture = prepare(encoded)
        assert decode(encoded, Limits()).pixels.shape[0] < 2999
        assert (picture.width, picture.height) == (4001, 2999)
        assert picture.detail.shape[:2] == fitted_size(4001, 2999, DETAIL_SIDE, enlarge=False)[::-1]
        assert_shows_corners(picture)

    @pytest.mark.parametrize("order", ["II", "MM"])
    def test_both_byte_orders_are_read(self, order):
        assert read_orientation(pictures.exif(6, order)) == 6
        assert read_orientation(pictures.exif(6, order)[6:]) == 6

    @pytest.mark.parametrize("kind", ["JPEG", "WEBP"])
    @pytest.mark.parametrize("block", pictures.HOSTILE_EXIF.values(), ids=pictures.HOSTILE_EXIF.keys())
    def test_hostile_exif_costs_no_answer(self, block, kind):
        assert_shows_corners(prepare(pictures.encode(pictures.corners(), kind, exif=block)))

    def test_compressed_tiff_is_turned_once(self):
        assert_shows_corners(prepare(pictures.oriented(pictures.corners(), 6, "TIFF", compression="tiff_lzw")))

    def test_one_pixel_wide_pixels_keep_three_axes(self):
        for orientation in range(1, 9):
            assert turn_upright(np.zeros((1, 5, 3), np.uint8), orientation).ndim == 3
            assert turn_upright(np.zeros((5, 1, 3), np.uint8), orientation).ndim == 3


def over_white(colour, alpha):
    return np.round((np.array(colour) * alpha + 255 * (255 - alpha)) / 255)


class TestColours:
    @pytest.mark.parametrize("adobe", [True, False], ids=["inverted by Adobe", "plain"])
    def test_cmyk_jpeg(self, adobe):
        assert_shows_corners(prepare(pictures.cmyk_jpeg(pictures.corners(), adobe=adobe)), tolerance=12)

    def test_black_ink_darkens(self):
        inks = np.zeros((20, 20, 4), np.uint8)
        inks[..., 3] = 200
        assert worst(prepare(pictures.encode(Image.fromarray(inks, "CMYK"), "TIFF")).detail, np.full(1, 55)) <= 1

    def test_cmyk_tiff(self):
        inks = np.concatenate([255 - pictures.corners(), np.zeros((120, 160, 1), np.uint8)], axis=2)
        assert_shows_corners(prepare(pictures.encode(Image.fromarray(inks, "CMYK"), "TIFF")), tolerance=1)

    @pytest.mark.parametrize("kind", pictures.FORMATS)
    def test_grey(self, kind):
        grey = pictures.ramp()[..., 0]
        detail = prepare(pictures.encode(Image.fromarray(grey), kind)).detail
        assert worst(detail, pictures.ramp()) <= 2

    def test_palette(self):
        indexed = Image.fromarray(pictures.corners()).quantize(4)
        for kind in ("PNG", "BMP", "TIFF"):
            assert_shows_corners(prepare(pictures.encode(indexed, kind)), tolerance=1)

    @pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF"])
    @pytest.mark.parametrize("alpha", [0, 128, 255])
    def test_alpha_is_laid_over_white(self, kind, alpha):
        rgba = np.dstack([pictures.corners(), np.full((120, 160), alpha, np.uint8)])
        options = {"exact": True} if kind == "WEBP" else {}
        detail = prepare(pictures.encode(rgba, kind, **options)).detail
        assert worst(detail[5, 5], over_white(pictures.CORNERS["top left"], alpha)) <= 1
        assert worst(detail[-5, -5], over_white(pictures.CORNERS["bottom right"], alpha)) <= 1

    def test_grey_with_alpha(self):
        la = np.dstack([np.full((20, 20), 100, np.uint8), np.full((20, 20), 51, np.uint8)])
        assert worst(prepare(pictures.encode(Image.fromarray(la, "LA"))).detail, over_white([100] * 3, 51)) <= 1

    def test_premultiplied_alpha_in_a_tiff(self):
        straight = Image.fromarray(np.full((8, 8, 4), (200, 100, 50, 128), np.uint8), "RGBA")
        premultiplied = np.full((8, 8, 4), (100, 50, 25, 128), np.uint8)
        made = pictures.plain_tiff(premultiplied, photometric=2, t338=("H", [1]))
        assert worst(prepare(made).detail, prepare(pictures.encode(straight)).detail) <= 2

    @pytest.mark.parametrize("mode", ["P", "L", "RGB", "1"])
    def test_a_transparent_colour_is_white(self, mode):
        image = Image.new("RGB", (20, 20), (255, 255, 255) if mode == "1" else (10, 10, 10))
        image.paste((0, 0, 0) if mode == "1" else (200, 200, 200), (10, 0, 20, 20))
        image = image.quantize(2) if mode == "P" else image.convert(mode)
        key = image.getpixel((15, 5))
        detail = prepare(pictures.encode(image, transparency=key)).detail
        assert worst(detail[5, 5], np.full(3, 255 if mode == "1" else 10)) <= 1
        assert (detail[5, 15] == 255).all()

    def test_a_palette_with_graded_transparency(self):
        image = Image.fromarray(np.repeat([[0, 1]], 4, axis=0).astype(np.uint8), "P")
        image.putpalette([10, 20, 30, 200, 100, 50])
        detail = prepare(pictures.encode(image, transparency=bytes([0, 128]))).detail
        assert (detail[0, 0] == 255).all()
        assert worst(detail[0, 1], over_white((200, 100, 50), 128)) <= 1

    def test_16_bit_grey_is_scaled_and_not_clipped(self):
        samples = np.tile(np.linspace(0, 65535, 256).round().astype(np.uint16), (8, 1))
        expected = pictures.ramp(256, 8)
        for made in (
            pictures.grey16_png(samples),
            pictures.plain_tiff(samples, "II"),
            pictures.plain_tiff(samples, "MM"),
            pictures.encode(Image.fromarray(samples), "TIFF", compression="tiff_lzw"),
        ):
            assert worst(prepare(made).detail, expected) <= 1

    def test_16_bit_grey_where_0_is_white(self):
        samples = np.tile(np.linspace(65535, 0, 256).round().astype(np.uint16), (8, 1))
        assert worst(prepare(pictures.plain_tiff(samples, photometric=0)).detail, pictures.ramp(256, 8)) <= 1

    def test_16_bit_rgb_is_scaled_and_not_clipped(self):
        samples = np.repeat(np.tile(np.linspace(0, 65535, 256).round().astype(np.uint16), (8, 1))[..., None], 3, axis=2)
        _, lzw = cv2.imencode(".tiff", samples)
        for made in (
            pictures.rgb16_png(samples),
            pictures.plain_tiff(samples, "II"),
            pictures.plain_tiff(samples, "MM"),
            lzw.tobytes(),
        ):
            assert worst(prepare(made).detail, pictures.ramp(256, 8)) <= 1

    def test_12_bit_grey_is_scaled(self):
        samples = np.full((4, 4), 2048)  # two samples in three bytes: 0x800 0x800
        made = pictures.plain_tiff(
            np.frombuffer(b"\x80\x08\x00" * 8, np.uint8).reshape(4, 6),
            t256=("L", [4]),
            t258=("H", [12]),
        )
        assert worst(prepare(made).detail, np.full(1, samples[0, 0] >> 4)) <= 1

    def test_a_transparent_16_bit_colour_is_white(self):
        samples = np.zeros((4, 4, 3), np.uint16)
        samples[:, 2:] = 40000
        key = pictures.png_chunk(b"tRNS", np.array([40000] * 3, ">u2").tobytes())
        detail = prepare(pictures.rgb16_png(samples, key)).detail
        assert (detail[:, :2] == 0).all()
        assert (detail[:, 2:] == 255).all()

    def test_one_bit(self):
        image = Image.fromarray(np.repeat([[0, 255]], 6, axis=0).astype(np.uint8)).resize((20, 6), 0).convert("1")
        for kind, options in (("PNG", {}), ("BMP", {}), ("TIFF", {}), ("TIFF", {"compression": "group4"})):
            detail = prepare(pictures.encode(image, kind, **options)).detail
            assert (detail[:, :10] == 0).all()
            assert (detail[:, 10:] == 255).all()

    @pytest.mark.parametrize("compression", ["tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg", "zstd", "raw"])
    def test_tiff_compressions(self, compression):
        assert_shows_corners(
            prepare(pictures.encode(pictures.corners(), "TIFF", compression=compression)), tolerance=12
        )

    def test_a_colour_profile_changes_nothing(self):
        profile = b"not even a profile" * 100
        for kind in ("JPEG", "PNG", "WEBP", "TIFF"):
            assert_shows_corners(prepare(pictures.encode(pictures.corners(), kind, icc_profile=profile)))


class TestFirstFrame:
    @pytest.mark.parametrize(
        "make", [pictures.animated_webp, pictures.animated_png, pictures.pages_tiff], ids=["WebP", "PNG", "TIFF"]
    )
    def test_of_an_animation_counts(self, make):
        other = np.full((120, 160, 3), 7, np.uint8)
        assert_shows_corners(prepare(make([pictures.corners(), other, other[::-1] + 50])), tolerance=2)


class TestJpeg:
    def test_large_ones_are_decoded_scaled_with_hardly_a_difference(self):
        pixels = pictures.photo_like(4000, 3000)
        encoded = pictures.encode(pixels, "JPEG", quality=90, subsampling=2)
        assert decode(encoded, Limits()).pixels.shape == (1500, 2000, 3)
        whole = cv2.cvtColor(cv2.imdecode(np.frombuffer(encoded, np.uint8), cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
        assert psnr(prepare(encoded).detail, resize(whole, 1280, 960)) > 40

    def test_never_below_what_the_branches_see(self):
        for size in ((2560, 1920), (2559, 1920), (5120, 400), (10240, 1280), (3000, 576), (400, 6000)):
            encoded = pictures.encode(pictures.corners(*size), "JPEG", subsampling=2)
            height, width = decode(encoded, Limits()).pixels.shape[:2]
            assert max(width, height) >= min(max(size), DETAIL_SIDE)
            assert min(width, height) >= min(*size, SCENE_SIDE)

    def test_progressive(self):
        assert_shows_corners(prepare(pictures.encode(pictures.corners(), "JPEG", progressive=True)))

    def test_pixels_after_the_end_do_not_matter(self):
        assert_shows_corners(prepare(pictures.encode(pictures.corners(), "JPEG") + b"a camera's maker note" * 50))

    def test_bytes_between_segments_do_not_matter(self):
        made = pictures.encode(pictures.corners(), "JPEG")
        scan = made.index(b"\xff\xda")
        assert_shows_corners(prepare(made[:scan] + b"\0\0\0" + made[scan:]))

    def test_careless_scan_header(self):
        made = bytearray(pictures.encode(pictures.corners(), "JPEG"))
        scan = made.index(b"\xff\xda")
        made[scan + int.from_bytes(made[scan + 2 : scan + 4], "big")] = 0  # end of spectral selection
        assert_shows_corners(prepare(bytes(made)))

    @pytest.mark.parametrize("subsampling", ["4:4:4", "4:2:2", "4:2:0"])
    def test_chroma_subsampling(self, subsampling):
        assert_shows_corners(prepare(pictures.encode(pictures.corners(), "JPEG", subsampling=subsampling)))

    @pytest.mark.parametrize(("across", "down"), [(2, 2), (4, 1), (1, 4), (4, 2), (3, 1)])
    def test_a_subsampling_that_has_no_name(self, across, down):
        made = pictures.flat_jpeg(96, 64, across, down)
        assert worst(prepare(made).detail, np.full(1, 128)) <= 1
        with pytest.raises(InvalidInput, match="cut short or damaged"):
            prepare(made[:-40])

    def test_rgb_without_conversion(self):
        made = pictures.encode(pictures.corners(), "JPEG", keep_rgb=True)
        assert_shows_corners(prepare(made))


class TestLimits:
    def test_parameters(self):
        limits = Limits.from_parameters({"max_megapixels": "2", "max_mebibytes": "0.5", "other": "x"})
        assert limits == Limits(max_pixels=2_000_000, max_bytes=1 << 19)
        assert Limits.from_parameters({}) == Limits()

    @pytest.mark.parametrize("value", ["", "many", "0", "-1", "nan", "inf", "1e9"])
    def test_parameters_that_are_no_sizes(self, value):
        with pytest.raises(SetupError, match="parameter max_megapixels: expected a number above 0"):
            Limits.from_parameters({"max_megapixels": value})

    def test_exactly_the_limit_is_served(self):
        encoded = pictures.encode(pictures.corners(100, 50))
        assert prepare(encoded, Limits(max_pixels=5000, max_bytes=len(encoded))).width == 100


def test_pillow_is_told_nothing_globally():
    """Other code in the process must be able to rely on Pillow's own defaults."""
    before = Image.MAX_IMAGE_PIXELS
    prepare(pictures.encode(pictures.corners()))
    assert before == Image.MAX_IMAGE_PIXELS
    with Image.open(io.BytesIO(pictures.encode(pictures.corners(), "TIFF"))) as image:
        assert type(image).__name__ == "TiffImageFile"
