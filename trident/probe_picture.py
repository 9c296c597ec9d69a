"""Makes the picture that ``trident status`` asks with: small, and with something in it for every component.

A photo of an astronaut, which scikit-image ships, gives the face; a licence plate is drawn into it. Run with
``python -m trident.probe_picture client/trident_client/photos/probe.jpg``.
"""

from __future__ import annotations

import io
import sys
from pathlib import Path

from PIL import Image

from trident.errors import TridentError
from trident.sample_pictures import PLATE, photo, with_plate

SIDE = 320
"""Its sides, in pixels."""
CORNERS = ((190.0, 262.0), (310.0, 267.0), (310.0, 305.0), (190.0, 300.0))
"""Where the plate hangs: top left, top right, bottom right, bottom left, in pixels."""
QUALITY = 80
MOST_BYTES = 25_000
"""It goes with every installation of the client, and is sent with every ``trident status``."""


def make() -> bytes:
    """The picture as a JPEG file. Raises SetupError where scikit-image is not installed."""
    with Image.open(photo("astronaut.png")) as original:
        small = original.convert("RGB").resize((SIDE, SIDE), Image.Resampling.LANCZOS)
    out = io.BytesIO()
    with_plate(small, PLATE, CORNERS).save(out, "JPEG", quality=QUALITY, optimize=True)
    return out.getvalue()


def main() -> None:
    """Write the picture to the file that is named on the command line."""
    if len(sys.argv) != 2:
        sys.exit("usage: python -m trident.probe_picture FILE")
    try:
        Path(sys.argv[1]).write_bytes(make())
    except (TridentError, OSError) as exc:
        sys.exit(f"probe picture: {exc}")


if __name__ == "__main__":
    main()
