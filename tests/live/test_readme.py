"""What the documents show is run here, as it stands there, against the real server."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.asking import PHOTOS
from tests.readme import ROOT, blocks, commands
from trident.launcher import TritonServer

README = ROOT / "README.md"
PROGRAMS = [
    pytest.param(program, id=f"{document.relative_to(ROOT)} {number}")
    for document in (README, ROOT / "client" / "README.md")
    for number, program in enumerate(blocks(document, "python"), start=1)
]
TRIDENT = Path(sys.executable).parent / "trident"
DOCUMENTED_URL = "127.0.0.1:8001"
NOT_HERE = {"serve", "rollout", "rollback", "retire"}
"""Commands of ``trident`` that are not run here: a server is there, and its pins, which are the clone's, stay."""
ENDLESS = "--watch"
"""What runs until Ctrl-C; ``test_sight`` has it."""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A working folder with the pictures that the documents speak of."""
    shutil.copy(PHOTOS / "astronaut.png", tmp_path / "photo.jpg")
    (tmp_path / "photos").mkdir()
    for name in ("coffee.png", "chelsea.png"):
        shutil.copy(PHOTOS / name, tmp_path / "photos")
    return tmp_path


def run(command: list[str | Path], folder: Path, server: TritonServer, gallery_url: str) -> str:
    environment = os.environ | {"TRIDENT_URL": server.grpc_url, "TRIDENT_GALLERY_URL": gallery_url}
    done = subprocess.run(
        command, cwd=folder, env=environment, check=False, capture_output=True, text=True, timeout=240
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("program", PROGRAMS)
def test_the_programs_of_the_documents_run(program, folder, server):
    program = program.replace(DOCUMENTED_URL, server.grpc_url)
    output = run([sys.executable, "-c", program], folder, server, "sqlite://")
    assert output.strip(), "it prints nothing"


def test_the_commands_of_the_readme_run(folder, server, tmp_path):
    """In their order: what is enrolled is listed, and forgotten again. In a gallery of its own."""
    gallery_url = f"sqlite:///{tmp_path / 'readme.db'}"
    outputs = {}
    for program, *arguments in commands(README):
        if program.endswith("trident") and arguments[0] not in NOT_HERE and ENDLESS not in arguments:
            outputs[" ".join(arguments)] = run([TRIDENT, *arguments], folder, server, gallery_url)
    assert "Eileen Collins" in outputs["gallery list"]
    answers = [json.loads(line) for line in (folder / "answers.jsonl").read_text().splitlines()]
    assert len(answers) == 2
    assert all(answer["scene"] for answer in answers)
    assert len(list((folder / "annotated").iterdir())) == 2
    people = run([TRIDENT, "gallery", "list"], folder, server, gallery_url)
    assert "Eileen Collins" not in people
