"""How fast each decoder is, on one thread, and whether it notices a picture that is cut short.

    python -m benchmarks.decoders [PICTURE…]

Without arguments it measures drawn pictures. Decoders that are not installed are left out; for all of them:
``pip install imagecodecs "pyvips[binary]"``.
"""

from __future__ import annotations

import importlib.util
import io
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
import cv2
import numpy as np
import numpy.typing as npt
import simplejpeg  # type: ignore[import-untyped]
from PIL import Image

from trident.preprocess import Limits, decode, prepare
from trident.preprocess.canonical import resize
from trident.preprocess.warmup import draw_photo, encode_jpeg

Pixels = npt.NDArray[np.uint8]
Decoder = Callable[[bytes], Any]

SECONDS = 2.0
"""How long each decoder is tried on each set of pictures."""


def pillow(encoded: bytes) -> Pixels:
    """Pillow, at full size."""
    return np.asarray(Image.open(io.BytesIO(encoded)).convert("RGB"))


def pillow_draft(encoded: bytes) -> Pixels:
    """Pillow, scaled in the JPEG decoder."""
    image = Image.open(io.BytesIO(encoded))
    image.draft("RGB", (1280, 960))
    return np.asarray(image.convert("RGB"))


def opencv(encoded: bytes) -> object:
    """OpenCV, at full size."""
    return cv2.imdecode(np.frombuffer(encoded, np.uint8), cv2.IMREAD_COLOR_RGB)


def opencv_half(encoded: bytes) -> object:
    """OpenCV, half size in the JPEG decoder."""
    return cv2.imdecode(np.frombuffer(encoded, np.uint8), cv2.IMREAD_REDUCED_COLOR_2)


def simplejpeg_full(encoded: bytes) -> object:
    """simplejpeg, at full size."""
    return simplejpeg.decode_jpeg(encoded)


def simplejpeg_half(encoded: bytes) -> object:
    """simplejpeg, half size in the JPEG decoder."""
    return simplejpeg.decode_jpeg(encoded, min_width=2000, min_height=1500)


def trident_decode(encoded: bytes) -> object:
    """What Trident does: the header, the limits, the pixels."""
    return decode(encoded, Limits())


def trident_prepare(encoded: bytes) -> object:
    """All of preprocess."""
    return prepare(encoded)


def others(kind: str) -> dict[str, Decoder]:
    """Decoders that Trident does not depend on, where they are installed."""
    found: dict[str, Decoder] = {}
    if importlib.util.find_spec("imagecodecs"):
        import imagecodecs  # type: ignore[import-not-found,unused-ignore]  # noqa: PLC0415

        decoders = {"JPEG": "jpeg8_decode", "PNG": "png_decode", "WebP": "webp_decode", "TIFF": "imread"}
        if kind in decoders:
            found["imagecodecs"] = getattr(imagecodecs, decoders[kind])
    if kind != "BMP" and importlib.util.find_spec("pyvips"):
        import pyvips  # type: ignore[import-not-found,unused-ignore]  # noqa: PLC0415

        pyvips.cache_set_max(0)
        found["pyvips"] = lambda encoded: pyvips.Image.new_from_buffer(encoded, "", access="sequential").numpy()
    return found


def encode(pixels: Pixels, kind: str, **options: Any) -> bytes:
    """A drawn picture as a file."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind, **options)
    return file.getvalue()


def samples(paths: list[Path]) -> Iterator[tuple[str, str, list[bytes]]]:
    """Name, format and files of each set."""
    if paths:
        yield f"{len(paths)} pictures", "JPEG", [path.read_bytes() for path in paths]
        return
    small, large = draw_photo(640, 480), draw_photo(4000, 3000)
    yield "JPEG 640 x 480", "JPEG", [encode_jpeg(small)]
    yield "JPEG 12 megapixels", "JPEG", [encode_jpeg(large)]
    yield "JPEG 12 megapixels, progressive", "JPEG", [encode(large, "JPEG", quality=90, progressive=True)]
    yield "PNG 12 megapixels", "PNG", [encode(large, "PNG", compress_level=3)]
    yield "WebP 12 megapixels", "WebP", [encode(large, "WEBP", quality=85, method=2)]
    yield "TIFF 12 megapixels, LZW", "TIFF", [encode(large, "TIFF", compression="tiff_lzw")]
    yield "BMP 12 megapixels", "BMP", [encode(large, "BMP")]


def milliseconds(decoder: Decoder, files: list[bytes]) -> float:
    """Best processor time for one picture, over some seconds of tries."""
    best, until = float("inf"), time.monotonic() + SECONDS
    while time.monotonic() < until:
        start = time.process_time()
        for encoded in files:
            decoder(encoded)
        best = min(best, (time.process_time() - start) / len(files) * 1e3)
    return best


def notices_cut(decoder: Decoder, encoded: bytes) -> bool:
    """Whether the first nine tenths of a file, with an end glued on where JPEG has one, are refused."""
    part = encoded[: len(encoded) * 9 // 10] + (b"\xff\xd9" if encoded.startswith(b"\xff\xd8") else b"")
    try:
        return decoder(part) is None
    except Exception:  # noqa: BLE001 - each decoder has its own ways to refuse
        return True


def report_scaling(encoded: bytes) -> None:
    """What scaled decoding of a JPEG costs in quality, in the detail that crops are cut from."""
    whole = resize(simplejpeg.decode_jpeg(encoded), 1280, 960).astype(np.float64)
    difference = np.abs(prepare(encoded).detail - whole)
    psnr = 10 * np.log10(255**2 / (difference**2).mean())
    print(f"\nscaled against whole decoding: mean {difference.mean():.2f} of 255, PSNR {psnr:.1f} dB")


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("paths", nargs=-1, type=click.Path(exists=True, dir_okay=False, path_type=Path), metavar="[PICTURE]…")
def main(paths: tuple[Path, ...]) -> None:
    """Measure the processor time of picture decoders, on drawn pictures or on these, and whether they notice a cut."""
    cv2.setNumThreads(1)
    for name, kind, files in samples(list(paths)):
        decoders: dict[str, Decoder] = {"Pillow": pillow, "OpenCV": opencv}
        if kind == "JPEG":
            decoders["simplejpeg"] = simplejpeg_full
        if kind == "JPEG" and "megapixels" in name:
            decoders |= {"Pillow, half": pillow_draft, "OpenCV, half": opencv_half, "simplejpeg, half": simplejpeg_half}
        decoders |= others(kind) | {"trident decode": trident_decode, "trident prepare": trident_prepare}
        print(f"\n{name}, {sum(map(len, files)) / len(files) / 1e3:.0f} kB")
        for label, decoder in decoders.items():
            cut = "refused" if all(notices_cut(decoder, encoded) for encoded in files) else "SERVED"
            print(f"  {label:20s} {milliseconds(decoder, files):8.2f} ms   cut short: {cut}")
        if name == "JPEG 12 megapixels":
            report_scaling(files[0])


if __name__ == "__main__":
    main(prog_name="python -m benchmarks.decoders")
