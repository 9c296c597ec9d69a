"""The demo: starts a real server, shows it four photos, and writes down what it saw. ``make demo`` runs it.

The photos come with scikit-image. None of them shows a licence plate, so one is drawn into the picture of a motorcycle;
and the astronaut is known because the demo enrols her, from another rendition of her photo, in a gallery of its own.
"""

from __future__ import annotations

import io
import json
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from importlib.util import find_spec
from pathlib import Path
from types import FrameType
from typing import NoReturn

import click
import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageEnhance, ImageFont, ImageOps
from rich.console import Console

from trident.errors import SetupError, TridentError
from trident_client import Analysis, TridentClient, draw
from trident_client.drawing import FONT, SHOWN_ABOVE
from trident_client.tables import overview_table, row_of

OUTPUT = Path("demo_output")
PERSON = "Eileen Collins"
PLATE = "皖A·06725"
"""An invented number, in the form of the blue plates."""
PLATE_CORNERS = ((112.0, 235.0), (212.0, 249.0), (211.0, 282.0), (111.0, 267.0))
"""Where the plate hangs in the picture of the motorcycle: top left, top right, bottom right, bottom left, in pixels."""

Corners = tuple[tuple[float, float], ...]

_PLATE_SIZE = (880, 280)  # 440 mm × 140 mm, two pixels a millimetre
_PLATE_MARGIN, _LETTER_HEIGHT = 34, 190
_BLUE, _WHITE = (12, 66, 168), (244, 246, 250)


def photo(name: str) -> Path:
    """A photo that scikit-image ships. Raises SetupError if it is not installed."""
    package = find_spec("skimage")
    if package is None or package.origin is None:
        raise SetupError("the demo shows photos of scikit-image: run `make demo`, which installs it")
    path = Path(package.origin).parent / "data" / name
    if not path.is_file():
        raise SetupError(f"the installed scikit-image has no {path}: run `make demo`, which installs the right one")
    return path


def drawn_plate(text: str) -> Image.Image:
    """A clean blue licence plate with white characters, RGB, 880 × 280."""
    width, height = _PLATE_SIZE
    plate = Image.new("RGB", _PLATE_SIZE, _BLUE)
    ImageDraw.Draw(plate).rounded_rectangle([8, 8, width - 9, height - 9], radius=22, outline=_WHITE, width=6)
    letters = ImageFont.truetype(FONT, _LETTER_HEIGHT)
    shares = [0.4 if character == "·" else 1.0 for character in text]
    slot = (width - 2 * _PLATE_MARGIN) / sum(shares)
    left = float(_PLATE_MARGIN)
    for character, share in zip(text, shares, strict=True):
        glyph = _glyph(character, letters)
        # Every stamped character fills the same width, Chinese ones too.
        wide = round(min(slot * share * 0.84, glyph.width))
        glyph = glyph.resize((wide, glyph.height), Image.Resampling.LANCZOS)
        plate.paste(_WHITE, (round(left + (slot * share - wide) / 2), (height - glyph.height) // 2), glyph)
        left += slot * share
    return plate


def _glyph(character: str, letters: ImageFont.FreeTypeFont) -> Image.Image:
    """One character as a mask, as wide as its ink; the stroke makes it as heavy as stamped letters are."""
    room = 2 * _LETTER_HEIGHT
    mask = Image.new("L", (room, room), 0)
    ImageDraw.Draw(mask).text((room / 2, room / 2), character, font=letters, fill=255, anchor="mm", stroke_width=4)
    left, _, right, _ = mask.getbbox() or (0, 0, 1, 1)
    return mask.crop((left, 0, right, room))


def with_plate(picture: Image.Image, text: str, corners: Corners) -> Image.Image:
    """The picture with a plate hung into it in perspective.

    Args:
        picture: RGB.
        text: What the plate says.
        corners: Where its corners go, in pixels: top left, top right, bottom right, bottom left.
    """
    plate = drawn_plate(text)
    # Drawn four times as large and then shrunk: the edges and letters become as soft as the photo is.
    scale = 4
    large = (picture.width * scale, picture.height * scale)
    targets = [(x * scale, y * scale) for x, y in corners]
    coefficients = _perspective(targets, [(0, 0), (plate.width, 0), (plate.width, plate.height), (0, plate.height)])
    how = (large, Image.Transform.PERSPECTIVE, coefficients.tolist(), Image.Resampling.BICUBIC)
    layer = plate.transform(*how).resize(picture.size, Image.Resampling.BOX)
    mask = Image.new("L", plate.size, 255).transform(*how).resize(picture.size, Image.Resampling.BOX)
    # A little darker than paper white, as the garage around it is.
    return Image.composite(ImageEnhance.Brightness(layer).enhance(0.85), picture, mask)


def _perspective(sources: list[tuple[float, float]], targets: list[tuple[float, float]]) -> npt.NDArray[np.float64]:
    """The eight coefficients of the perspective that takes four source points to four target points.

    ``x' = (ax + by + c) / (gx + hy + 1)``, ``y' = (dx + ey + f) / (gx + hy + 1)``: two linear equations a point.
    """
    rows, values = [], []
    for (x, y), (u, v) in zip(sources, targets, strict=True):
        rows += [[x, y, 1, 0, 0, 0, -u * x, -u * y], [0, 0, 0, x, y, 1, -v * x, -v * y]]
        values += [u, v]
    return np.linalg.solve(np.array(rows, dtype=np.float64), np.array(values, dtype=np.float64))


def other_rendition(picture: Image.Image) -> Image.Image:
    """The astronaut's photo as another print of it might look: cut, smaller, mirrored and darker."""
    face = picture.crop((90, 20, 370, 300)).resize((230, 230), Image.Resampling.LANCZOS)
    return ImageEnhance.Brightness(ImageOps.mirror(face)).enhance(0.75)


def prepare_photos(folder: Path) -> dict[str, Path]:
    """The photos of the demo by name. What is not as scikit-image ships it is written into ``folder``."""
    motorcycle = folder / "motorcycle_with_plate.png"
    with Image.open(photo("motorcycle_left.png")) as original:
        with_plate(original.convert("RGB"), PLATE, PLATE_CORNERS).save(motorcycle)
    return {
        "astronaut": photo("astronaut.png"),
        "motorcycle": motorcycle,
        "coffee": photo("coffee.png"),
        "cat": photo("chelsea.png"),
    }


def enroll(name: str, picture: Image.Image, gallery_url: str) -> None:
    """Enrol a person with ``trident gallery enroll``, as a user does. Raises SetupError or click's exceptions."""
    from trident.commands.gallery import gallery  # noqa: PLC0415 - loads the networks' runtime

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "photo.jpg"
        picture.save(file, quality=90)
        # What the command says names files that are gone when it is read.
        with redirect_stdout(io.StringIO()):
            gallery.main(["enroll", name, str(file), "--url", gallery_url], standalone_mode=False)


def show(analyses: dict[str, Analysis], photos: dict[str, Path], output: Path) -> list[Path]:
    """Write what was seen: an annotated picture and the JSON of each photo. Gives the files."""
    written = []
    for name, analysis in analyses.items():
        picture, document = output / f"{name}.png", output / f"{name}.json"
        draw(photos[name], analysis).save(picture)
        document.write_text(json.dumps(analysis.to_json(), ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
        written += [picture, document]
    return written


@contextmanager
def _server(console: Console, gallery_url: str) -> Iterator[str]:
    """A server on free ports with a gallery of its own, and its gRPC address. It is stopped whatever happens."""
    from trident.launcher import TritonServer  # noqa: PLC0415 - the server's packages

    server = TritonServer(grpc_port=0, http_port=0, metrics_port=0, env={"TRIDENT_GALLERY_URL": gallery_url})
    start = time.monotonic()
    with console.status("starting Triton and loading the models"):
        server.start()
    try:
        _say(console, f"Triton answers at {server.grpc_url} after {time.monotonic() - start:.1f} s")
        yield server.grpc_url
    finally:
        with console.status("stopping Triton"):
            server.stop()
        _say(console, "Triton has stopped.")


def _analyze(url: str, photos: dict[str, Path], console: Console) -> dict[str, Analysis]:
    """Every photo, one after the other."""
    analyses = {}
    with TridentClient(url) as client:
        for name, path in photos.items():
            start = time.monotonic()
            with console.status(f"analysing {name}"):
                analyses[name] = client.analyze(path)
            _say(console, f"{name}: answered in {1000 * (time.monotonic() - start):.0f} ms")
    return analyses


def run(output: Path, console: Console) -> None:
    """The whole demo. Raises TridentError with one sentence for whatever goes wrong."""
    try:
        output.mkdir(parents=True, exist_ok=True)
        photos = prepare_photos(output)
    except OSError as exc:
        raise SetupError(f"cannot write to {output}: {exc.strerror or exc}") from exc
    with tempfile.TemporaryDirectory(prefix="trident-demo-") as folder:
        gallery_url = f"sqlite:///{folder}/gallery.sqlite"
        _say(console, f"Enrolling {PERSON}, from a smaller, mirrored and darker print of her photo.")
        with Image.open(photo("astronaut.png")) as astronaut, console.status("loading the face networks"):
            enroll(PERSON, other_rendition(astronaut.convert("RGB")), gallery_url)
        _say(console, f"{PERSON}: 1 face enrolled, in a gallery that lasts as long as this demo.")
        with _server(console, gallery_url) as url:
            analyses = _analyze(url, photos, console)
            files = show(analyses, photos, output)
    shown = {name: analysis.above(SHOWN_ABOVE) for name, analysis in analyses.items()}
    console.print(overview_table(row_of(name, analysis) for name, analysis in shown.items()))
    read = ", ".join(plate.text for plate in shown["motorcycle"].plates) or "none"
    _say(console, f"The plate drawn into the motorcycle's photo says {PLATE}; read: {read}")
    _say(console, "Annotated photos and the whole answers:")
    for file in files:
        _say(console, f"  {file}")


def _say(console: Console, sentence: str) -> None:
    """Print a sentence as it is: paths in it are neither coloured nor broken."""
    console.print(sentence, markup=False, highlight=False, soft_wrap=True)


def main() -> None:
    """Run the demo; the exit code says whether everything went well."""
    # SIGTERM ends the demo as Ctrl-C does, so that the server is stopped.
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        run(OUTPUT, Console())
    except (TridentError, click.ClickException) as exc:
        sentence = exc.format_message() if isinstance(exc, click.ClickException) else str(exc)
        sys.exit(f"demo: {sentence}")
    except KeyboardInterrupt:
        sys.exit("demo: interrupted")


def _interrupt(signum: int, frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt


if __name__ == "__main__":
    main()
