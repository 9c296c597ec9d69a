"""One encoded picture to the canonical pixels that every branch sees. Pure functions, no Triton.

encoded bytes ──► formats: what is it?  ──► decode: check the header, then decode ──► canonical: resize and crop
"""

from __future__ import annotations

from trident.preprocess.canonical import Canonical, canonicalize, stack_details
from trident.preprocess.decode import Limits, decode

__all__ = ["Canonical", "Limits", "canonicalize", "decode", "prepare", "stack_details"]

_NO_LIMITS_GIVEN = Limits()


def prepare(encoded: bytes, limits: Limits = _NO_LIMITS_GIVEN) -> Canonical:
    """Decode one picture and make its canonical pixels.

    Args:
        encoded: A JPEG, PNG, WebP, BMP or TIFF file; of an animation the first frame counts.
        limits: What is refused before decoding.

    Returns:
        The canonical pixels, UINT8 RGB, in the orientation in which a viewer shows the picture.

    Raises:
        InvalidInput: The picture cannot be served; the message is one sentence that says why.
    """
    return canonicalize(decode(encoded, limits))
