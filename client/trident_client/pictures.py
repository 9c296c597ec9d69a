"""From what a caller holds to the encoded bytes that the server takes."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from trident_client.errors import PictureUnreadable

Picture = bytes | bytearray | memoryview | str | os.PathLike[str] | Image.Image | npt.NDArray[Any]
"""Encoded bytes, a path, a Pillow image, or RGB or grey pixels as UINT8 [H, W, 3] or [H, W]."""


def encoded(picture: Picture) -> bytes:
    """The picture as one encoded file.

    Bytes and files are sent as they are, so that the server sees the original; it alone decides what it can read.
    Pillow images and arrays are encoded as PNG, which loses nothing.

    Raises:
        PictureUnreadable: The file or the image cannot be read, or there is nothing in it.
        TypeError, ValueError: The argument is no picture at all.
    """
    if isinstance(picture, bytes | bytearray | memoryview):
        data = bytes(picture)
        if not data:
            raise PictureUnreadable("the picture is empty: 0 bytes")
        return data
    if isinstance(picture, str | os.PathLike):
        return _file(Path(picture))
    if isinstance(picture, Image.Image):
        return _png(picture)
    if isinstance(picture, np.ndarray):
        is_pixels = picture.ndim == 2 or (picture.ndim == 3 and picture.shape[2] == 3)
        if picture.dtype != np.uint8 or not is_pixels or picture.size == 0:
            raise ValueError(f"picture: expected uint8 [H, W, 3] or [H, W], got {picture.dtype} {list(picture.shape)}")
        return _png(Image.fromarray(np.ascontiguousarray(picture)))
    raise TypeError(f"picture: expected bytes, a path, a Pillow image or an array, got {type(picture).__name__}")


def _file(path: Path) -> bytes:
    try:
        data = path.read_bytes()
    except OSError as exc:
        raise PictureUnreadable(f"{path}: {exc.strerror or exc}") from exc
    except ValueError as exc:
        # A name that no file system takes, such as one with a NUL in it.
        raise PictureUnreadable(f"{path}: {exc}") from exc
    if not data:
        raise PictureUnreadable(f"{path}: the file is empty")
    return data


def _png(image: Image.Image) -> bytes:
    try:
        # Pillow opens files lazily: whether this one can be decoded shows only here.
        image.load()
        try:
            return _saved(image)
        except OSError:
            # PNG has no form for CMYK, YCbCr and the like.
            return _saved(image.convert("RGB"), exif=image.getexif())
    except (OSError, ValueError, SyntaxError) as exc:  # Pillow's SyntaxError is one of the file, not of a program
        raise PictureUnreadable(f"the image of {image.width} × {image.height} pixels: {exc}") from exc


def _saved(image: Image.Image, exif: Image.Exif | None = None) -> bytes:
    buffer = io.BytesIO()
    # Level 1: on the way to a server nearby, time counts for more than bytes. Orientation in EXIF goes along.
    image.save(buffer, format="PNG", compress_level=1, exif=image.getexif() if exif is None else exif)
    return buffer.getvalue()
