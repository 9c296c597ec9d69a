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
from pathlib import Path
from types import FrameType
from typing import NoReturn

import click
from PIL import Image
from rich.console import Console

from trident.access.restrictions import Access
from trident.errors import SetupError, TridentError
from trident.sample_pictures import PLATE, PLATE_CORNERS, other_rendition, photo, with_plate
from trident_client import Analysis, TridentClient, draw
from trident_client.drawing import SHOWN_ABOVE
from trident_client.tables import overview_table, row_of

OUTPUT = Path("demo_output")
PERSON = "Eileen Collins"


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

    server = TritonServer(grpc_port=0, metrics_port=0, env={"TRIDENT_GALLERY_URL": gallery_url}, access=Access())
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
