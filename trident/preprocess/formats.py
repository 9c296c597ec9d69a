"""What kind of file is it? Told by its first bytes, never by a name."""

from __future__ import annotations

import codecs
from enum import StrEnum

from trident.errors import UnknownFormat

ACCEPTED = "JPEG, PNG, WebP, BMP or TIFF"


class Format(StrEnum):
    """Formats that are served."""

    JPEG = "JPEG"
    PNG = "PNG"
    WEBP = "WebP"
    BMP = "BMP"
    TIFF = "TIFF"


_BMP_HEADER_SIZES = frozenset({12, 40, 52, 56, 64, 108, 124})

_BRANDS = {
    b"avif": "an AVIF picture",
    b"avis": "an AVIF picture",
    b"crx ": "a Canon raw picture",
    b"qt  ": "a QuickTime video",
    b"jxl ": "a JPEG XL picture",
    b"jp2 ": "a JPEG 2000 picture",
}
_HEIF_BRANDS = frozenset({b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"})

# Signatures of what people send by mistake, so that the answer can name it.
_OTHERS: tuple[tuple[bytes, str], ...] = (
    (b"GIF8", "a GIF picture"),
    (b"%PDF", "a PDF document"),
    (b"8BPS", "a Photoshop document"),
    (b"%!PS", "a PostScript document"),
    (b"\x00\x00\x01\x00", "an icon file"),
    (b"\xff\x0a", "a JPEG XL picture"),
    (b"\x00\x00\x00\x0cJXL ", "a JPEG XL picture"),
    (b"\x00\x00\x00\x0cjP  ", "a JPEG 2000 picture"),
    (b"\xff\x4f\xff\x51", "a JPEG 2000 picture"),
    (b"PK\x03\x04", "a ZIP archive"),
    (b"\x1f\x8b", "gzip-compressed data"),
    (b"\x1aE\xdf\xa3", "a Matroska or WebM video"),
    (b"qoif", "a QOI picture"),
    (b"\x76\x2f\x31\x01", "an OpenEXR picture"),
    (b"#?RADIANCE", "a Radiance HDR picture"),
    (b"\x93NUMPY", "a NumPy array"),
    (b"data:", "a data URL; send the decoded bytes"),
    (b"/9j/", "base64 text; send the decoded bytes"),
    (b"iVBORw0KGgo", "base64 text; send the decoded bytes"),
    (b"UklGR", "base64 text; send the decoded bytes"),
)


def sniff(encoded: bytes) -> Format:
    """The format of an encoded picture, told by its first bytes.

    Raises:
        UnknownFormat: It is empty or of a format that is not served; the message names what was sent.

    >>> sniff(b"BM" + bytes(12) + b"(" + bytes(50))
    <Format.BMP: 'BMP'>
    """
    if not encoded:
        raise UnknownFormat(f"IMAGE: expected an encoded picture ({ACCEPTED}), got no bytes")
    if encoded.startswith(b"\xff\xd8\xff"):
        return Format.JPEG
    if encoded.startswith(b"\x89PNG\r\n\x1a\n"):
        return Format.PNG
    if encoded.startswith(b"RIFF") and encoded[8:12] == b"WEBP":
        return Format.WEBP
    if encoded[:4] in {b"II*\x00", b"MM\x00*", b"II+\x00", b"MM\x00+"}:
        return Format.TIFF
    # "BM" alone also begins ordinary text.
    if encoded.startswith(b"BM") and int.from_bytes(encoded[14:18], "little") in _BMP_HEADER_SIZES:
        return Format.BMP
    raise UnknownFormat(f"IMAGE: expected {ACCEPTED}, got {_name_of(encoded)}")


def _name_of(encoded: bytes) -> str:
    if encoded[4:8] == b"ftyp":
        brand = encoded[8:12]
        return "a HEIF picture" if brand in _HEIF_BRANDS else _BRANDS.get(brand, "an MP4 file")
    for signature, name in _OTHERS:
        if encoded.startswith(signature):
            return name
    start = encoded[:1024]
    text = start.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if text.startswith(b"<"):
        return "an SVG drawing" if b"<svg" in text else "an HTML or XML document"
    try:
        # An incremental decoder forgives a character that the cut at 1024 bytes split.
        readable = codecs.getincrementaldecoder("utf-8")().decode(start)
    except UnicodeDecodeError:
        readable = ""
    if readable and all(c.isprintable() or c.isspace() for c in readable):
        return "text"
    return f"{len(encoded)} bytes of an unknown kind that begin with 0x{encoded[:8].hex()}"
