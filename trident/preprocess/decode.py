"""Encoded bytes to RGB pixels: the header first, then the limits, then the pixels.

JPEG goes to libjpeg-turbo (simplejpeg), WebP to libwebp (OpenCV), PNG, BMP and TIFF to Pillow; why is measured in
``docs/decisions/0002-picture-decoder.md``. Colour profiles are ignored, as the networks' training pipelines did.
"""

from __future__ import annotations

import io
import re
import struct
import warnings
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt
import simplejpeg  # type: ignore[import-untyped]
from PIL import BmpImagePlugin, Image, ImageFile, JpegImagePlugin, PngImagePlugin, TiffImagePlugin

from trident.contract import DETAIL_SIDE, SCENE_SIDE
from trident.errors import DamagedPicture, PictureTooLarge, SetupError, UnsupportedPicture
from trident.preprocess.formats import Format, sniff
from trident.preprocess.orientation import UPRIGHT, checked, read_orientation

Pixels = npt.NDArray[np.uint8]

_MEGA = 1_000_000
_MEBI = 1 << 20

# Real files stay far below these; what lies above was made to cost time.
_MAX_JPEG_SCANS = 64
_MAX_CHUNKS = 65_536
_MAX_RLE_BYTES = 4 * _MEBI

# What Pillow's readers raise on a file that is not what it says it is. Their documentation promises no closed list;
# this one was found by feeding them damaged files (tests/unit/test_preprocess_hostile.py).
_UNREADABLE = (
    OSError,
    EOFError,
    SyntaxError,
    ValueError,
    TypeError,
    AttributeError,
    LookupError,
    ArithmeticError,
    RuntimeError,
    AssertionError,
    MemoryError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
)


@dataclass(frozen=True, slots=True)
class Limits:
    """What is refused before anything is decoded."""

    max_pixels: int = 50 * _MEGA
    """Width times height."""
    max_bytes: int = 64 * _MEBI
    """Length of the encoded picture."""

    @classmethod
    def from_parameters(cls, parameters: dict[str, str]) -> Limits:
        """Read ``max_megapixels`` and ``max_mebibytes``, numbers greater than 0; what is missing keeps its default.

        Raises:
            SetupError: A value is not such a number.

        >>> Limits.from_parameters({"max_megapixels": "12.5"}).max_pixels
        12500000
        """
        defaults = cls()
        return cls(
            max_pixels=_scaled_parameter(parameters, "max_megapixels", _MEGA, defaults.max_pixels),
            max_bytes=_scaled_parameter(parameters, "max_mebibytes", _MEBI, defaults.max_bytes),
        )


def _scaled_parameter(parameters: dict[str, str], name: str, unit: int, default: int) -> int:
    text = parameters.get(name)
    if text is None:
        return default
    try:
        value = float(text)
        if not 0 < value < 1e6:
            raise ValueError
    except ValueError as error:
        raise SetupError(f"parameter {name}: expected a number above 0 and below 1000000, got {text!r}") from error
    return max(1, int(value * unit))


@dataclass(frozen=True, slots=True)
class Decoded:
    """Pixels as they are stored, not yet turned upright, and perhaps smaller than the picture itself."""

    pixels: Pixels
    """RGB [H, W, 3]. Both sides may be smaller than ``width`` and ``height`` by one common factor."""
    width: int
    """Width of the stored picture at full resolution."""
    height: int
    """Height of the stored picture at full resolution."""
    orientation: int
    """EXIF orientation, 1 to 8."""


def decode(encoded: bytes, limits: Limits) -> Decoded:
    """Decode one picture, whole or not at all.

    A picture much larger than the canonical pixels may come back smaller, never so small that its longest side would
    fall below ``DETAIL_SIDE`` or its shortest below ``SCENE_SIDE``.

    Args:
        encoded: The file's bytes.
        limits: Checked against the header, before decoding.

    Raises:
        InvalidInput: It is not such a file, too large, damaged, cut short, or of a kind that is not served; which of
            these, its class says.
    """
    if len(encoded) > limits.max_bytes:
        raise PictureTooLarge(
            f"IMAGE: expected at most {limits.max_bytes / _MEBI:g} MiB, got {len(encoded) / _MEBI:.1f} MiB"
        )
    return _DECODERS[sniff(encoded)](encoded, limits)


def _check_size(kind: Format, width: int, height: int, limits: Limits) -> None:
    if width < 1 or height < 1:
        raise DamagedPicture(f"IMAGE: expected at least 1 x 1 pixels, got a {kind} of {width} x {height}")
    if width * height > limits.max_pixels:
        raise PictureTooLarge(
            f"IMAGE: expected at most {limits.max_pixels / _MEGA:g} megapixels, got a {kind} of {width} x {height} "
            f"({width * height / _MEGA:.1f} megapixels)"
        )


def _damaged(kind: Format, why: object) -> DamagedPicture:
    sentence = " ".join(str(why).split()).rstrip(".") or type(why).__name__
    return DamagedPicture(f"IMAGE: expected a whole {kind}, got one that is cut short or damaged ({sentence[:200]})")


def _shrink_factor(width: int, height: int) -> int:
    """The largest whole factor by which a picture may be shrunk while decoding without a loss for any branch."""
    return max(1, min(max(width, height) // DETAIL_SIDE, min(width, height) // SCENE_SIDE))


# JPEG ---------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _JpegHeader:
    width: int
    height: int
    bits: int
    exif: bytes | None
    adobe: bool
    """An Adobe segment is there: inks are stored inverted."""
    one_scan: bool
    """All that the decoder will read is one scan."""


_JPEG_SCAN = 0xDA
# SOF0 to SOF15, without DHT, JPG and DAC, which share the range.
_JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_JPEG_PROGRESSIVE = frozenset({0xC2, 0xC6, 0xCA, 0xCE})
_JPEG_FILL = re.compile(rb"\xff+")
_JPEG_STAND_ALONE = frozenset({0x00, 0x01, *range(0xD0, 0xD9)})


def _jpeg_segments(encoded: bytes) -> Iterator[tuple[int, int, int]]:
    """Marker, start and end of the body of each segment, up to the first scan and including it."""
    position = 2
    for _ in range(_MAX_CHUNKS):
        fill = _JPEG_FILL.search(encoded, position)
        if fill is None or fill.end() + 3 > len(encoded):
            return
        marker = encoded[fill.end()]
        position = fill.end() + 1
        if marker in _JPEG_STAND_ALONE:
            continue
        end = position + int.from_bytes(encoded[position : position + 2], "big")
        yield marker, position + 2, end
        if marker == _JPEG_SCAN:
            return
        position = max(end, position + 2)


def _read_jpeg_header(encoded: bytes) -> _JpegHeader:
    exif: bytes | None = None
    adobe = False
    frame: tuple[int, int, int, int] | None = None
    one_scan = False
    for marker, start, end in _jpeg_segments(encoded):
        body = encoded[start:end]
        if marker == 0xE1 and exif is None and body.startswith(b"Exif\x00\x00"):
            exif = body
        elif marker == 0xEE and body.startswith(b"Adobe"):
            adobe = True
        elif marker in _JPEG_FRAMES and frame is None and len(body) >= 6:
            frame = struct.unpack_from(">BHHB", body)
            one_scan = marker not in _JPEG_PROGRESSIVE
        elif marker == _JPEG_SCAN:
            break
    else:
        raise _damaged(Format.JPEG, "it ends before the picture begins")
    if frame is None:
        raise _damaged(Format.JPEG, "it has no frame header")
    bits, height, width, components = frame
    one_scan = one_scan and body[:1] == bytes([components])
    return _JpegHeader(width, height, bits, exif, adobe, one_scan)


def _without_metadata(encoded: bytes) -> bytes:
    """The same JPEG without comments and application segments, save Adobe's, which tells how to read the colours."""
    kept = [encoded[:2]]
    for marker, start, end in _jpeg_segments(encoded):
        if marker == _JPEG_SCAN:
            kept.append(encoded[start - 4 :])
            break
        if not (0xE0 <= marker <= 0xED or marker in {0xEF, 0xFE}):
            kept.append(encoded[start - 4 : end])
    return b"".join(kept)


# What TurboJPEG stops at although every pixel is there: odd chroma subsampling, careless headers, bytes between
# segments (but not before a restart marker, where they are lost pixels).
_JPEG_ODDITIES = re.compile(
    r"subsampling|Invalid SOS parameters|color transform|JFIF revision|Inconsistent progression|ICC"
    r"|extraneous bytes before marker 0x(?!d[0-7])"
)


def _decode_jpeg(encoded: bytes, limits: Limits) -> Decoded:
    header = _read_jpeg_header(encoded)
    if header.bits != 8:
        raise UnsupportedPicture(f"IMAGE: expected a JPEG with 8 bits a sample, got one with {header.bits}")
    _check_size(Format.JPEG, header.width, header.height, limits)
    # Such a file may hold any number of scans, each over the whole picture. 0xFFDA cannot occur inside a scan.
    if not header.one_scan and encoded.count(b"\xff\xda") > _MAX_JPEG_SCANS:
        raise _damaged(Format.JPEG, f"more than {_MAX_JPEG_SCANS} scans")
    # Only these factors have fast inverse transforms; the size is then still at least what was asked for.
    factor = next(f for f in (8, 4, 2, 1) if f <= _shrink_factor(header.width, header.height))
    try:
        height, width, colours, _ = simplejpeg.decode_jpeg_header(encoded)
        # libjpeg's own reading of the header is what it will allocate for: it has to be the one that was checked.
        if (width, height) != (header.width, header.height):
            raise _damaged(Format.JPEG, "it has contradicting frame headers")
        pixels = _decode_with_turbojpeg(encoded, header, factor, inks=colours in {"CMYK", "YCCK"})
    except (ValueError, KeyError) as error:  # simplejpeg has no name for 4:4:1, and says so by a KeyError
        if isinstance(error, ValueError) and not _JPEG_ODDITIES.search(str(error)):
            raise _damaged(Format.JPEG, error) from error
        pixels = _decode_with_libjpeg(encoded, header, factor)
    return Decoded(pixels, header.width, header.height, read_orientation(header.exif))


def _decode_with_turbojpeg(encoded: bytes, header: _JpegHeader, factor: int, *, inks: bool) -> Pixels:
    pixels: Pixels = simplejpeg.decode_jpeg(
        encoded,
        colorspace="CMYK" if inks else "RGB",
        min_width=-(-header.width // factor) if factor > 1 else 0,
        min_height=-(-header.height // factor) if factor > 1 else 0,
        strict=True,  # libjpeg only warns where data are missing, and fills with grey
    )
    return _rgb_from_cmyk(pixels, inverted=header.adobe) if inks else pixels


def _decode_with_libjpeg(encoded: bytes, header: _JpegHeader, factor: int) -> Pixels:
    """For files with one of ``_JPEG_ODDITIES``; Pillow, too, refuses a file that is cut short."""
    try:
        with JpegImagePlugin.JpegImageFile(io.BytesIO(_without_metadata(encoded))) as image:
            if image.size != (header.width, header.height):
                raise _damaged(Format.JPEG, "it has contradicting frame headers")
            image.draft(image.mode, (image.width // factor, image.height // factor))
            if image.mode == "CMYK":
                # Pillow hands out CMYK as if every file were Adobe's.
                return _rgb_from_cmyk(np.asarray(image), inverted=not header.adobe)
            return np.asarray(image.convert("RGB"))
    except _UNREADABLE as error:
        raise _damaged(Format.JPEG, error) from error


def _rgb_from_cmyk(inks_HW4: Pixels, *, inverted: bool) -> Pixels:
    """Ink amounts to RGB by ``(255 - ink) * (255 - black) / 255``; Adobe's files hold 255 minus the amounts already."""
    light = inks_HW4 if inverted else cv2.bitwise_not(inks_HW4)
    cyan, magenta, yellow, black = cv2.split(light)
    return np.asarray(cv2.merge([cv2.multiply(c, black, scale=1 / 255) for c in (cyan, magenta, yellow)]), np.uint8)


# WebP ---------------------------------------------------------------------------------------------------------------


def _read_webp_header(encoded: bytes) -> tuple[int, int]:
    kind = encoded[12:16]
    if kind == b"VP8X" and len(encoded) >= 30:
        return 1 + int.from_bytes(encoded[24:27], "little"), 1 + int.from_bytes(encoded[27:30], "little")
    if kind == b"VP8L" and len(encoded) >= 25 and encoded[20] == 0x2F:
        packed = int.from_bytes(encoded[21:25], "little")
        return 1 + (packed & 0x3FFF), 1 + (packed >> 14 & 0x3FFF)
    if kind == b"VP8 " and len(encoded) >= 30 and encoded[23:26] == b"\x9d\x01\x2a":
        width, height = struct.unpack_from("<HH", encoded, 26)
        return width & 0x3FFF, height & 0x3FFF
    raise _damaged(Format.WEBP, "its header cannot be read")


def _webp_exif(encoded: bytes) -> bytes | None:
    position = 12
    for _ in range(_MAX_CHUNKS):
        name = encoded[position : position + 4]
        size = int.from_bytes(encoded[position + 4 : position + 8], "little")
        if name == b"EXIF":
            return encoded[position + 8 : position + 8 + size]
        if len(name) < 4:
            return None
        position += 8 + size + size % 2
    return None


def _decode_webp(encoded: bytes, limits: Limits) -> Decoded:
    width, height = _read_webp_header(encoded)
    _check_size(Format.WEBP, width, height, limits)
    try:
        decoded = cv2.imdecode(np.frombuffer(encoded, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error as error:
        raise _damaged(Format.WEBP, error) from error
    if decoded is None:
        raise _damaged(Format.WEBP, "it cannot be decoded")
    if decoded.shape[:2] != (height, width):
        raise _damaged(Format.WEBP, "it has contradicting headers")
    bgr = np.asarray(decoded, np.uint8)
    if bgr.shape[2] == 4:
        pixels = _on_white(Image.fromarray(cv2.cvtColor(bgr, cv2.COLOR_BGRA2RGBA)), _shrink_factor(width, height))
    else:
        pixels = np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), np.uint8)
    return Decoded(pixels, width, height, read_orientation(_webp_exif(encoded)))


# PNG, BMP and TIFF --------------------------------------------------------------------------------------------------

_BIG_TIFF = 43  # where others have 42; offsets are then of 64 bits
_TIFF_BYTES = frozenset({1, 2, 7})  # types that Pillow leaves as one string of bytes: BYTE, ASCII and UNDEFINED
_PNG_KEPT = frozenset({b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"})
_PNG_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
_INFLATED_FROM = 65_536  # bytes handed to zlib at a time: what it leaves over is copied
# Adam7: first column, first row, step between columns and between rows of each pass (PNG specification, 8.1).
_PNG_PASSES = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))


def _png_chunks(encoded: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Name, start and end of each chunk, up to IEND and including it."""
    position = 8
    for _ in range(_MAX_CHUNKS):
        length = int.from_bytes(encoded[position : position + 4], "big")
        name = encoded[position + 4 : position + 8]
        end = position + 12 + length
        if end > len(encoded):
            raise _damaged(Format.PNG, "it ends before its IEND chunk")
        yield name, position, end
        if name == b"IEND":
            return
        position = end
    raise _damaged(Format.PNG, f"it has more than {_MAX_CHUNKS} chunks")


def _strip_png(encoded: bytes) -> tuple[bytes, bytes | None]:
    """A PNG reduced to what its pixels need, and its EXIF.

    Texts and profiles are compressed, and may unpack to gigabytes; animation chunks go, and the default frame stays.
    """
    view = memoryview(encoded)
    kept = [view[:8]]
    exif: bytes | None = None
    for name, start, end in _png_chunks(encoded):
        if name in _PNG_KEPT and (name != b"IHDR" or start == 8):  # a second header would overrule the first
            kept.append(view[start:end])
        elif name == b"eXIf" and exif is None:
            exif = encoded[start + 8 : end - 4]
    return b"".join(kept), exif


def _check_png_rows(image: Image.Image, encoded: bytes) -> None:
    """Refuse a PNG whose compressed data end, in good order, before the last row does.

    Pillow serves the missing rows as zeros. Counting means to inflate twice, so it is only done where the last row is
    all zeros. Interlaced files are always counted, since their last row does not come last.
    """
    last_row = image.crop((0, image.height - 1, image.width, image.height))
    if not encoded[28] and last_row.getbbox(alpha_only=False) is not None:
        return
    expected = _png_data_bytes(encoded)
    got = _inflated_bytes(
        (encoded[start + 8 : end - 4] for name, start, end in _png_chunks(encoded) if name == b"IDAT"), expected
    )
    if got < expected:
        raise _damaged(Format.PNG, f"{got} bytes of pixels instead of {expected}")


def _png_data_bytes(encoded: bytes) -> int:
    """Bytes of all filtered rows, which the header implies."""
    width, height, depth, colour, _, _, interlaced = struct.unpack_from(">LLBBBBB", encoded, 16)
    total = 0
    for column, row, across, down in _PNG_PASSES if interlaced else ((0, 0, 1, 1),):
        columns, rows = -(-(width - column) // across), -(-(height - row) // down)
        if columns > 0 and rows > 0:
            total += rows * (1 + -(-columns * depth * _PNG_CHANNELS[colour] // 8))
    return total


def _inflated_bytes(pieces: Iterable[bytes], enough: int) -> int:
    """Length of a zlib stream's contents, counted until there are ``enough`` of them, a mebibyte at a time."""
    inflater = zlib.decompressobj()
    total = 0
    for piece in pieces:
        for start in range(0, len(piece), _INFLATED_FROM):
            rest = piece[start : start + _INFLATED_FROM]
            while rest and total < enough:
                total += len(inflater.decompress(rest, _MEBI))
                rest = inflater.unconsumed_tail
            if inflater.eof or total >= enough:
                return total
    while total < enough and (more := inflater.decompress(b"", _MEBI)):
        total += len(more)
    return total


def _decode_png(encoded: bytes, limits: Limits) -> Decoded:
    # The size stands at a fixed place: look at it before going through the chunks.
    if encoded[12:16] != b"IHDR" or len(encoded) < 33:
        raise _damaged(Format.PNG, "its header cannot be read")
    width, height = struct.unpack_from(">LL", encoded, 16)
    _check_size(Format.PNG, width, height, limits)
    stripped, exif = _strip_png(encoded)
    decoded = _decode_with_pillow(Format.PNG, PngImagePlugin.PngImageFile, stripped, limits)
    return Decoded(decoded.pixels, decoded.width, decoded.height, read_orientation(exif))


def _decode_bmp(encoded: bytes, limits: Limits) -> Decoded:
    return _decode_with_pillow(Format.BMP, BmpImagePlugin.BmpImageFile, encoded, limits)


def _check_tiff_directory(encoded: bytes) -> None:
    """Refuse a TIFF with more values than anybody writes, before Pillow makes Python objects of them.

    A file of 64 MiB may name 16 million strips, which took Pillow minutes; one for each row of a picture is usual.
    """
    order, big = ("<" if encoded.startswith(b"II") else ">"), encoded[2] == _BIG_TIFF
    entry = struct.Struct(order + ("HHQ8x" if big else "HHL4x"))  # tag, type, how many values
    try:
        (start,) = struct.unpack_from(order + ("Q" if big else "L"), encoded, 8 if big else 4)
        (entries,) = struct.unpack_from(order + ("Q" if big else "H"), encoded, start)
    except (struct.error, OverflowError):  # Pillow will say what is wrong
        return
    if entries > _MAX_CHUNKS:
        raise _damaged(Format.TIFF, f"its directory has {entries} entries")
    start += 8 if big else 2
    directory = encoded[start : start + entry.size * entries]
    for tag, kind, count in entry.iter_unpack(directory[: len(directory) // entry.size * entry.size]):
        if count > _MAX_CHUNKS and kind not in _TIFF_BYTES:
            raise _damaged(Format.TIFF, f"its tag {tag} has {count} values")


def _decode_tiff(encoded: bytes, limits: Limits) -> Decoded:
    _check_tiff_directory(encoded)
    return _decode_with_pillow(Format.TIFF, _Tiff, encoded, limits)


class _Tiff(TiffImagePlugin.TiffImageFile):
    """Pillow's reader, without its walk through the EXIF directories and its own turning upright."""

    def load_end(self) -> None:
        """Leave the pixels as they are stored."""
        self._size = self.im.size


def _decode_with_pillow(
    kind: Format, reader: Callable[[io.BytesIO], ImageFile.ImageFile], encoded: bytes, limits: Limits
) -> Decoded:
    try:
        # The reader's constructor reads the header alone, and no other format can sneak in. Warnings about tags are
        # muted: a hostile file has thousands, each with a text of its own that Python would print and keep.
        with warnings.catch_warnings(action="ignore"), reader(io.BytesIO(encoded)) as image:
            _check_size(kind, *image.size, limits)
            orientation = _check_tiff(image, limits) if isinstance(image, _Tiff) else UPRIGHT
            if isinstance(image, BmpImagePlugin.BmpImageFile):
                _check_bmp(image, encoded)
            image.load()
            if isinstance(image, PngImagePlugin.PngImageFile):
                _check_png_rows(image, encoded)
            return Decoded(_rgb(kind, image), *image.size, orientation)
    except _UNREADABLE as error:
        raise _damaged(kind, error) from error


def _check_bmp(image: BmpImagePlugin.BmpImageFile, encoded: bytes) -> None:
    # Pillow reads run lengths in Python, about a second for a mebibyte of them.
    if image.tile[0].codec_name == "bmp_rle" and len(encoded) > _MAX_RLE_BYTES:
        raise PictureTooLarge(
            f"IMAGE: expected at most {_MAX_RLE_BYTES / _MEBI:g} MiB of run-length encoded BMP, "
            f"got {len(encoded) / _MEBI:.1f} MiB"
        )


def _check_tiff(image: _Tiff, limits: Limits) -> int:
    """Refuse what would cost more than its size lets expect, or leave a part black; give the orientation."""
    if image.info.get("compression") == "lzma":  # the file says how much memory its decoder takes
        raise UnsupportedPicture("IMAGE: expected a TIFF with a usual compression, got one with LZMA")
    tags = image.tag_v2
    tile_width, tile_height = tags.get(TiffImagePlugin.TILEWIDTH, 1), tags.get(TiffImagePlugin.TILELENGTH, 1)
    # Tags may be of any type: a text times a number would be that many texts.
    if not (isinstance(tile_width, int) and isinstance(tile_height, int)):
        raise _damaged(Format.TIFF, "the sides of its tiles are no whole numbers")
    if tile_width * tile_height > limits.max_pixels:
        raise _damaged(Format.TIFF, f"its tiles are {tile_width} x {tile_height} pixels")
    if image.tile[0].codec_name != "libtiff":
        stored = image.width * image.height
        covered = sum((x2 - x1) * (y2 - y1) for x1, y1, x2, y2 in (tile.extents or (0, 0, 0, 0) for tile in image.tile))
        if covered < stored:
            raise _damaged(Format.TIFF, "it has no data for a part of the picture")
        _check_tiff_lengths(image)
    return checked(tags.get(_TIFF_ORIENTATION))


def _check_tiff_lengths(image: _Tiff) -> None:
    """Refuse uncompressed strips or tiles shorter than their rows; Pillow would read on into whatever follows."""
    tags = image.tag_v2
    lengths = tags.get(TiffImagePlugin.STRIPBYTECOUNTS, tags.get(_TIFF_TILE_BYTE_COUNTS))
    if lengths is None:  # old writers leave them out; then the end of the file is the limit
        return
    samples = tags.get(TiffImagePlugin.SAMPLESPERPIXEL, 1)
    bits = (tags.get(TiffImagePlugin.BITSPERSAMPLE, (1,)) * samples)[:samples]
    sample_bits = bits[0] if tags.get(TiffImagePlugin.PLANAR_CONFIGURATION) == 2 else sum(bits)
    if len(image.tile) == 1:  # of several that cover the whole picture, Pillow reads the last
        lengths = lengths[-1:]
    for index, tile in enumerate(image.tile):
        x1, y1, x2, y2 = tile.extents or (0, 0, 0, 0)
        row = -(-(x2 - x1) * sample_bits // 8)
        stride = tile.args[1] if isinstance(tile.args, tuple) else 0
        expected = (y2 - y1 - 1) * max(row, stride) + row
        got = lengths[index] if index < len(lengths) else 0
        if got < expected:
            raise _damaged(Format.TIFF, f"strip or tile {index} has {got} bytes instead of {expected}")


_TIFF_ORIENTATION = 274
_TIFF_TILE_BYTE_COUNTS = 325


def _rgb(kind: Format, image: Image.Image) -> Pixels:
    """Any of Pillow's modes to RGB [H, W, 3], shrunk by a whole factor where the picture is large."""
    factor = _shrink_factor(*image.size)
    if image.mode.startswith("I;16"):
        return _rgb_from_16_bit_grey(image)
    if image.mode in {"I", "F"}:
        raise UnsupportedPicture(
            f"IMAGE: expected a {kind} with 8 or 16 bit unsigned samples, got 32 bit, signed or floating point ones, "
            "whose range nobody states"
        )
    if image.mode == "CMYK":
        return _rgb_from_cmyk(np.asarray(image), inverted=False)
    if image.mode in {"La", "RGBa"}:
        image = image.convert("LA" if image.mode == "La" else "RGBA")
    if image.mode in {"LA", "PA", "RGBA"} or "transparency" in image.info:
        return _on_white(_with_alpha(image), factor)
    if image.mode not in {"1", "L", "P", "RGB", "RGBX", "YCbCr"}:
        raise UnsupportedPicture(f"IMAGE: expected a {kind} in RGB, grey, palette or CMYK, got one in {image.mode}")
    return _shrunk(image.convert("RGB"), factor)


def _with_alpha(image: Image.Image) -> Image.Image:
    key = image.info.get("transparency")
    if isinstance(key, tuple) and max(key) > 255:  # of 16 bits, where Pillow keeps the high byte of the samples
        image.info["transparency"] = tuple(value >> 8 for value in key)
    return image.convert("RGBA")


def _on_white(image: Image.Image, factor: int) -> Pixels:
    """RGBA over white, the page that most viewers show."""
    alpha = image.getchannel("A")
    opaque = image.convert("RGB")
    if alpha.getextrema() != (255, 255):
        page = Image.new("RGB", image.size, (255, 255, 255))
        page.paste(opaque, mask=alpha)
        opaque = page
    return _shrunk(opaque, factor)


def _shrunk(image: Image.Image, factor: int) -> Pixels:
    # A box mean in Pillow's own memory is far cheaper than handing every pixel over to numpy.
    return np.asarray(image.reduce(factor) if factor > 1 else image, np.uint8)


def _rgb_from_16_bit_grey(image: Image.Image) -> Pixels:
    samples = np.asarray(image).astype(np.uint16)  # also to this machine's byte order
    tags: dict[int, object] = dict(image.tag_v2) if isinstance(image, _Tiff) else {}
    bits = tags.get(TiffImagePlugin.BITSPERSAMPLE, (16,))
    grey = (samples >> (int(bits[0]) - 8 if isinstance(bits, tuple) else 8)).astype(np.uint8)
    if tags.get(TiffImagePlugin.PHOTOMETRIC_INTERPRETATION) == 0:  # 0 is white, which Pillow leaves to us at 16 bits
        grey = np.invert(grey)
    if isinstance(key := image.info.get("transparency"), int):
        grey[samples == key] = 255
    return np.asarray(cv2.cvtColor(grey, cv2.COLOR_GRAY2RGB), np.uint8)


_DECODERS: dict[Format, Callable[[bytes, Limits], Decoded]] = {
    Format.JPEG: _decode_jpeg,
    Format.PNG: _decode_png,
    Format.WEBP: _decode_webp,
    Format.BMP: _decode_bmp,
    Format.TIFF: _decode_tiff,
}
