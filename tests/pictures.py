"""Pictures of every kind, made by code: the odd, the broken and the hostile ones too."""

import io
import struct
import zlib

import cv2
import numpy as np
from PIL import Image

FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "BMP")
FORMATS_WITH_EXIF = ("JPEG", "PNG", "WEBP", "TIFF")

CORNERS = {
    "top left": (220, 40, 40),
    "top right": (40, 200, 40),
    "bottom left": (40, 60, 220),
    "bottom right": (240, 220, 40),
}


def corners(width=160, height=120):
    """RGB [height, width, 3] with another colour in each quarter: tells every turn and flip from every other."""
    pixels = np.zeros((height, width, 3), np.uint8)
    for name, colour in CORNERS.items():
        rows = slice(0, height // 2) if "top" in name else slice(height // 2, None)
        columns = slice(0, width // 2) if "left" in name else slice(width // 2, None)
        pixels[rows, columns] = colour
    return pixels


def ramp(width=256, height=64):
    """RGB ramp over all 256 levels, from left to right."""
    levels = np.linspace(0, 255, width).round().astype(np.uint8)
    return np.repeat(np.tile(levels, (height, 1))[..., None], 3, axis=2)


def encode(pixels, kind="PNG", **options):
    """Any array or Pillow image as a file of that kind; lossless or nearly so unless told otherwise."""
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    defaults = {"JPEG": {"quality": 95, "subsampling": 0}, "WEBP": {"lossless": True}}.get(kind, {})
    file = io.BytesIO()
    image.save(file, kind, **(defaults | options))
    return file.getvalue()


def exif(orientation, order="II"):
    """An EXIF block that holds an orientation alone."""
    mark = "<" if order == "II" else ">"
    entry = struct.pack(f"{mark}HHLHH", 0x0112, 3, 1, orientation, 0)
    return (
        b"Exif\0\0" + order.encode() + struct.pack(f"{mark}HL", 42, 8) + struct.pack(f"{mark}H", 1) + entry + bytes(4)
    )


def as_stored(pixels, orientation):
    """The pixels as a camera stores them, so that a viewer who obeys the orientation sees ``pixels``."""
    # Inverse of what EXIF asks of a viewer, written with numpy and not with the code under test.
    return np.ascontiguousarray(
        {
            1: lambda a: a,
            2: lambda a: a[:, ::-1],
            3: lambda a: a[::-1, ::-1],
            4: lambda a: a[::-1],
            5: lambda a: a.transpose(1, 0, 2),
            6: lambda a: np.rot90(a, 1),  # viewer turns it clockwise
            7: lambda a: a[::-1, ::-1].transpose(1, 0, 2),
            8: lambda a: np.rot90(a, -1),
        }[orientation](pixels)
    )


def oriented(pixels, orientation, kind="JPEG", **options):
    """A file of that kind which shows ``pixels``, stored in another orientation."""
    stored = Image.fromarray(as_stored(pixels, orientation))
    if kind == "TIFF":
        return encode(stored, kind, tiffinfo={274: orientation}, **options)
    return encode(stored, kind, exif=exif(orientation) if kind != "PNG" else exif(orientation)[6:], **options)


HOSTILE_EXIF = {
    "empty": b"",
    "only a name": b"Exif\0\0",
    "noise": bytes(range(256)) * 4,
    "directory past the end": b"Exif\0\0II*\0\xff\xff\xff\xff",
    "more entries than bytes": b"Exif\0\0II*\0\x08\0\0\0\xff\xff" + b"\x12\x01\x03\0" * 3,
    "directory that points to itself": b"Exif\0\0II*\0\x08\0\0\0\0\0\x08\0\0\0",
    "orientation 0": exif(0),
    "orientation 9": exif(9),
    "orientation 65535": exif(65535),
    "orientation of 2 values": exif(6).replace(b"\x03\0\x01\0\0\0", b"\x03\0\x02\0\0\0"),
    "orientation of a rational": exif(6).replace(b"\x12\x01\x03\0", b"\x12\x01\x05\0"),
    "orientation of a huge count": exif(6).replace(b"\x03\0\x01\0\0\0", b"\x03\0\xff\xff\xff\xff"),
}


def cmyk_jpeg(rgb, *, adobe):
    """A CMYK JPEG of plain RGB; Adobe's kind stores inverted inks and says so, the other stores them as they are."""
    light = rgb.astype(np.int16)
    inks = np.concatenate([255 - light, np.zeros_like(light[..., :1])], axis=2).astype(np.uint8)
    # Pillow always writes Adobe's kind, which inverts what it is given.
    written = encode(Image.fromarray(inks if adobe else 255 - inks, "CMYK"), "JPEG", subsampling=-1)
    if adobe:
        return written
    start = written.index(b"\xff\xee")
    return written[:start] + written[start + 2 + int.from_bytes(written[start + 2 : start + 4], "big") :]


def png_chunk(name, body=b""):
    """One PNG chunk with its checksum."""
    return struct.pack(">L", len(body)) + name + body + struct.pack(">L", zlib.crc32(name + body))


def png(width, height, depth, colour, rows, *chunks):
    """A PNG from its parts: ``rows`` are the unfiltered bytes of each row, ``chunks`` come before the pixels."""
    header = png_chunk(b"IHDR", struct.pack(">LLBBBBB", width, height, depth, colour, 0, 0, 0))
    data = png_chunk(b"IDAT", zlib.compress(b"".join(b"\0" + row for row in rows)))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(chunks) + data + png_chunk(b"IEND")


def png_of_filtered_rows(width, height, depth, colour, rows, *chunks, interlaced=False):
    """A PNG whose compressed data are ``rows``, filter bytes and all, however many the header implies."""
    header = png_chunk(b"IHDR", struct.pack(">LLBBBBB", width, height, depth, colour, 0, 0, interlaced))
    data = zlib.compress(rows)
    parts = b"".join(png_chunk(b"IDAT", data[start : start + 1000]) for start in range(0, len(data), 1000))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(chunks) + parts + png_chunk(b"IEND")


def adam7_rows(pixels):
    """The seven passes of an interlaced PNG of 8-bit [H, W] or [H, W, C] samples, each row with filter 0."""
    starts = ((0, 0), (0, 4), (4, 0), (0, 2), (2, 0), (0, 1), (1, 0))
    steps = ((8, 8), (8, 8), (8, 4), (4, 4), (4, 2), (2, 2), (2, 1))
    passes = [pixels[y::down, x::across] for (y, x), (down, across) in zip(starts, steps, strict=True)]
    return b"".join(b"\0" + row.tobytes() for part in passes if part.shape[1] for row in part)


def grey16_png(samples):
    """UINT16 [H, W] as a 16-bit grey PNG."""
    height, width = samples.shape
    return png(width, height, 16, 0, [row.astype(">u2").tobytes() for row in samples])


def rgb16_png(samples, *chunks):
    """UINT16 [H, W, 3] as a 16-bit RGB PNG."""
    height, width = samples.shape[:2]
    return png(width, height, 16, 2, [row.astype(">u2").tobytes() for row in samples], *chunks)


def tiff(tags, data=b"", order="II"):
    """A TIFF from its tags, ``{number: (type, values)}`` with type H or L; ``data`` starts at byte 8."""
    mark = "<" if order == "II" else ">"
    directory = 8 + len(data) + len(data) % 2
    outside = directory + 2 + 12 * len(tags) + 4
    entries, extra = b"", b""
    for number, (kind, values) in sorted(tags.items()):
        packed = struct.pack(f"{mark}{len(values)}{kind}", *values)
        if len(packed) > 4:
            packed, extra = struct.pack(f"{mark}L", outside + len(extra)), extra + packed + bytes(len(packed) % 2)
        entries += struct.pack(f"{mark}HHL", number, {"H": 3, "L": 4}[kind], len(values)) + packed.ljust(4, b"\0")
    head = order.encode() + struct.pack(f"{mark}HL", 42, directory)
    return head + data + bytes(len(data) % 2) + struct.pack(f"{mark}H", len(tags)) + entries + bytes(4) + extra


def plain_tiff(samples, order="II", photometric=None, bits=None, sample_format=1, **changes):
    """An uncompressed TIFF of [H, W] or [H, W, C] samples of any type; ``changes`` are tags such as ``t277=...``."""
    height, width = samples.shape[:2]
    channels = samples.shape[2] if samples.ndim == 3 else 1
    bits = bits or samples.dtype.itemsize * 8
    data = samples.astype(samples.dtype.newbyteorder("<" if order == "II" else ">")).tobytes()
    if photometric is None:
        photometric = 2 if channels == 3 else 1
    tags = {
        256: ("L", [width]),
        257: ("L", [height]),
        258: ("H", [bits] * channels),
        259: ("H", [1]),
        262: ("H", [photometric]),
        273: ("L", [8]),
        277: ("H", [channels]),
        278: ("L", [height]),
        279: ("L", [len(data)]),
        339: ("H", [sample_format] * channels),
    }
    return tiff(tags | {int(name[1:]): value for name, value in changes.items()}, data, order)


def strips_tiff(pixels, rows, counts=None):
    """An uncompressed RGB TIFF in strips of ``rows`` rows; ``counts`` overrules single lengths, ``{strip: bytes}``."""
    height, width = pixels.shape[:2]
    starts = range(0, height, rows)
    lengths = [min(rows, height - start) * width * 3 for start in starts]
    offsets = [8 + start * width * 3 for start in starts]
    for strip, count in (counts or {}).items():
        lengths[strip] = count
    return plain_tiff(pixels, t273=("L", offsets), t278=("L", [rows]), t279=("L", lengths))


def tiles_tiff(pixels, side, counts=None):
    """An uncompressed RGB TIFF in square tiles, those at the edges padded with 0 as the format asks."""
    height, width = pixels.shape[:2]
    down, across = -(-height // side), -(-width // side)
    padded = np.zeros((down * side, across * side, 3), np.uint8)
    padded[:height, :width] = pixels
    tiles = padded.reshape(down, side, across, side, 3).transpose(0, 2, 1, 3, 4)
    size = side * side * 3
    lengths = [size] * (down * across)
    for tile, count in (counts or {}).items():
        lengths[tile] = count
    tags = {256: ("L", [width]), 257: ("L", [height]), 258: ("H", [8] * 3), 259: ("H", [1]), 262: ("H", [2])}
    tags |= {277: ("H", [3]), 322: ("L", [side]), 323: ("L", [side])}
    tags |= {324: ("L", [8 + size * tile for tile in range(down * across)]), 325: ("L", lengths)}
    return tiff(tags, tiles.tobytes())


def planes_tiff(pixels, counts=None):
    """An uncompressed RGB TIFF with one plane for each colour, a strip each."""
    height, width = pixels.shape[:2]
    size = height * width
    lengths = [size] * 3
    for plane, count in (counts or {}).items():
        lengths[plane] = count
    flat = np.ascontiguousarray(pixels.transpose(2, 0, 1)).reshape(1, -1)
    return plain_tiff(
        flat,
        t256=("L", [width]),
        t257=("L", [height]),
        t258=("H", [8] * 3),
        t262=("H", [2]),
        t273=("L", [8 + size * plane for plane in range(3)]),
        t277=("H", [3]),
        t278=("L", [height]),
        t279=("L", lengths),
        t284=("H", [2]),
        t339=("H", [1] * 3),
    )


def tiff_whose_tile_is_a_text(kind=2):
    """A TIFF of a kilobyte with a tile four thousand million high, and as wide as one byte of type ``kind``."""
    made = bytearray(plain_tiff(corners(16, 16), t322=("L", [1]), t323=("L", [0xFFFFFFFF])))
    made[made.index(struct.pack("<HHL", 322, 4, 1)) + 2] = kind
    return bytes(made)


def tiff_of_strips(count, compression=1):
    """A TIFF that names so many strips, all of them the same bytes."""
    many = {"t273": ("L", [8] * count), "t278": ("L", [1]), "t279": ("L", [48] * count)}
    return plain_tiff(corners(16, 16), **many, t259=("H", [compression]))


def animated_webp(frames):
    """A WebP animation, 100 ms a frame."""
    first, *rest = (Image.fromarray(frame) for frame in frames)
    return encode(first, "WEBP", save_all=True, append_images=rest, duration=100)


def animated_png(frames):
    """An APNG."""
    first, *rest = (Image.fromarray(frame) for frame in frames)
    return encode(first, "PNG", save_all=True, append_images=rest, duration=100)


def pages_tiff(frames, **options):
    """A TIFF of several pages."""
    first, *rest = (Image.fromarray(frame) for frame in frames)
    return encode(first, "TIFF", save_all=True, append_images=rest, **options)


def forged(kind, width, height):
    """A small real file of that kind whose header claims another size."""
    small = corners(32, 24)
    if kind == "JPEG":
        made = bytearray(encode(small, "JPEG"))
        start = made.index(b"\xff\xc0") + 5
        made[start : start + 4] = struct.pack(">HH", height, width)
        return bytes(made)
    if kind == "PNG":
        made = encode(small, "PNG")
        header = png_chunk(b"IHDR", struct.pack(">LL", width, height) + made[24:29])
        return made[:8] + header + made[33:]
    if kind == "WEBP":
        made = bytearray(encode(small, "WEBP", lossless=False, exif=exif(1)))
        assert made[12:16] == b"VP8X"
        made[24:30] = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
        return bytes(made)
    if kind == "BMP":
        made = bytearray(encode(small, "BMP"))
        made[18:26] = struct.pack("<ll", width, height)
        return bytes(made)
    if kind == "GIF":
        made = bytearray(encode(small, "GIF"))
        frame = made.index(b"\x2c\0\0\0\0" + struct.pack("<HH", 32, 24)) + 5
        made[6:10] = made[frame : frame + 4] = struct.pack("<HH", width, height)
        return bytes(made)
    return plain_tiff(small, t256=("L", [width]), t257=("L", [height]))


def webp_of_one_colour(width, height, colour=(90, 120, 40)):
    """A lossless WebP of 38 bytes, and whole at any size up to 16384: its only colour takes no bits at all."""
    made = bytearray(encode(Image.new("RGB", (64, 64), colour), "WEBP", method=0, quality=0))
    assert made[12:16] == b"VP8L"
    alpha_and_version = made[24] >> 4
    made[21:25] = (width - 1 | height - 1 << 14 | alpha_and_version << 28).to_bytes(4, "little")
    return bytes(made)


def png_with_text_bomb(megabytes=200):
    """A PNG whose compressed text unpacks to that much."""
    body = b"Comment\0\0" + zlib.compress(bytes(megabytes << 20), 9)
    return _inserted(encode(corners()), png_chunk(b"zTXt", body))


def png_with_profile_bomb(megabytes=200):
    """A PNG whose colour profile unpacks to that much."""
    body = b"icc\0\0" + zlib.compress(bytes(megabytes << 20), 9)
    return _inserted(encode(corners()), png_chunk(b"iCCP", body))


def _inserted(made, chunk):
    return made[:33] + chunk + made[33:]


def progressive_with_scans(scans):
    """A progressive JPEG whose last scan is repeated."""
    made = encode(corners(), "JPEG", progressive=True)
    start = made.rindex(b"\xff\xda")
    return made[:-2] + made[start:-2] * scans + made[-2:]


def flat_jpeg(width, height, across, down):
    """A middle grey colour JPEG with ``across`` x ``down`` luma blocks to one of each chroma."""
    made = bytearray(encode(np.full((height, width, 3), 128, np.uint8), "JPEG"))
    made[made.index(b"\xff\xc0") + 11] = across << 4 | down
    scan = made.index(b"\xff\xda")
    units = -(-width // (8 * across)) * -(-height // (8 * down))
    # In the usual Huffman tables: no change of mean and end of block, for luma and for chroma.
    bits = ("001010" * across * down + "0000" * 2) * units
    bits += "1" * (-len(bits) % 8)
    data = int(bits, 2).to_bytes(len(bits) // 8, "big").replace(b"\xff", b"\xff\0")
    return bytes(made[: scan + 2 + int.from_bytes(made[scan + 2 : scan + 4], "big")]) + data + b"\xff\xd9"


def flat_progressive_jpeg(width, height):
    """A whole grey JPEG whose one scan takes a bit a block, and whose decoder keeps 6 bytes for each pixel of it."""

    def segment(marker, body):
        return bytes([0xFF, marker]) + struct.pack(">H", 2 + len(body)) + body

    components = b"".join(bytes([number, 0x11, 0]) for number in (1, 2, 3))
    table = bytes([0, 1, *[0] * 15, 0])  # for means alone: no change is a 0
    scan = bytes([3, *(1, 0), *(2, 0), *(3, 0), *(0, 0, 0)])  # means alone
    blocks = 3 * -(-width // 8) * -(-height // 8)
    return b"".join(
        [
            b"\xff\xd8",
            segment(0xDB, bytes([0, *[1] * 64])),
            segment(0xC2, struct.pack(">BHHB", 8, height, width, 3) + components),
            segment(0xC4, table),
            segment(0xDA, scan),
            bytes(blocks // 8) + (bytes([0xFF >> blocks % 8]) if blocks % 8 else b""),
            b"\xff\xd9",
        ]
    )


def cut(encoded, share):
    """The first part of a file."""
    return encoded[: int(len(encoded) * share)]


def photo_like(width, height, seed=0):
    """Smooth random RGB with detail at every scale, so that resizing has something to lose."""
    rng = np.random.default_rng(seed)
    pixels = np.zeros((height, width, 3), np.float32)
    for octave in range(2, 9):
        shape = (max(2, height * 2**octave // 2048), max(2, width * 2**octave // 2048), 3)
        layer = rng.normal(0, 1, shape).astype(np.float32)
        pixels += cv2.resize(layer, (width, height), interpolation=cv2.INTER_CUBIC) * (60 / octave)
    return np.clip(pixels + 128, 0, 255).astype(np.uint8)


NOT_PICTURES = {
    "GIF": (b"GIF89a" + bytes(50), "a GIF picture"),
    "PDF": (b"%PDF-1.7\n" + bytes(50), "a PDF document"),
    "HEIC": (b"\0\0\0\x18ftypheic" + bytes(50), "a HEIF picture"),
    "HEIF": (b"\0\0\0\x18ftypmif1" + bytes(50), "a HEIF picture"),
    "AVIF": (b"\0\0\0\x18ftypavif" + bytes(50), "an AVIF picture"),
    "MP4": (b"\0\0\0\x18ftypisom" + bytes(50), "an MP4 file"),
    "SVG": (b'<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg"/>', "an SVG drawing"),
    "HTML": (b"<!DOCTYPE html><html><body>404</body></html>", "an HTML or XML document"),
    "text": ("A photo of a cat, désolé".encode(), "text"),
    "JSON": (b'{"image": "cat.jpg"}', "text"),
    "text that begins like a BMP": (b"BMW cars, a list of them: " + b"x" * 50, "text"),
    "base64 of a JPEG": (b"/9j/4AAQSkZJRgABAQAAAQABAAD", "base64 text"),
    "base64 of a PNG": (b"iVBORw0KGgoAAAANSUhEUgAA", "base64 text"),
    "data URL": (b"data:image/png;base64,iVBORw0KGgo", "a data URL"),
    "ZIP": (b"PK\x03\x04" + bytes(50), "a ZIP archive"),
    "gzip": (b"\x1f\x8b\x08" + bytes(50), "gzip-compressed data"),
    "Photoshop": (b"8BPS\0\x01" + bytes(50), "a Photoshop document"),
    "icon": (b"\0\0\x01\0\x01\0" + bytes(50), "an icon file"),
    "JPEG XL": (b"\xff\x0a" + bytes(50), "a JPEG XL picture"),
    "zeros": (bytes(64), "64 bytes of an unknown kind"),
    "one byte": (b"\xff", "1 bytes of an unknown kind"),
}
"""What people send that is not served, and how the answer names it."""
