"""A network that is not what the record of its export says is loaded by nobody, and what serves goes on."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.asking import PHOTOS
from tests.tiny_trident import write_repository
from trident.errors import SetupError
from trident.launcher import TritonServer
from trident.layout import MODEL_FILE, RECORD_FILE
from trident.model_config import read_config
from trident.rollout.serving import ServingError, TritonServing, analyze

TRIDENT = Path(sys.executable).parent / "trident"
FREE = {"grpc_port": 0, "http_port": 0, "metrics_port": 0}


@dataclass(frozen=True)
class Home:
    repository: Path
    serving: TritonServing

    def answer(self) -> object:
        result = analyze(self.serving, (PHOTOS / "astronaut.png").read_bytes(), outputs=["RESULT"])["RESULT"]
        return json.loads(result[0, 0])


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_repository(tmp_path_factory.mktemp("whole") / "models")


@pytest.fixture
def repository(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "models"))


@pytest.fixture
def home(repository: Path) -> Iterator[Home]:
    gallery = {"TRIDENT_GALLERY_URL": f"sqlite:///{repository.parent}/gallery.db"}
    with (
        TritonServer(repository, env=gallery, **FREE) as server,  # type: ignore[arg-type]
        TritonServing(server.grpc_url) as serving,
    ):
        yield Home(repository, serving)
        assert server.running, server.failure()


def change(file: Path) -> bytes:
    """Flip the last bit of a file; give what it was."""
    content = file.read_bytes()
    file.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    return content


def test_what_is_changed_after_every_other_check_does_not_load_and_the_old_version_goes_on(home: Home) -> None:
    before = home.answer()
    file = home.repository / "classifier" / "2" / MODEL_FILE
    content = change(file)
    both = read_config(home.repository / "classifier")
    both.version_policy.specific.versions[:] = [1, 2]

    refused = rf"classifier 2: SHA-256 of {file}: expected [0-9a-f]{{64}}, its record's, got "
    with pytest.raises(ServingError, match=refused):
        home.serving.load("classifier", both)

    assert home.serving.ready("classifier", 1)
    assert not home.serving.ready("classifier", 2)
    assert home.answer() == before

    file.write_bytes(content)
    home.serving.load("classifier", both)
    assert home.serving.ready("classifier", 2)
    assert home.answer() == before


def test_a_server_is_not_started_on_a_changed_network(repository: Path) -> None:
    file = repository / "plate_reader" / "1" / MODEL_FILE
    change(file)
    done = subprocess.run(
        [TRIDENT, "serve", f"--model-repository={repository}", "--grpc-port=0", "--metrics-port=0", "--health-port=0"],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 1
    assert f"Error: plate_reader 1: SHA-256 of {file}: expected " in done.stderr
    assert "write it again: `python -m export.own plate_reader 1 … --replace`" in done.stderr
    assert done.stdout == ""


def test_without_a_record_it_takes_leave_to_start_and_is_named(whole: Path, tmp_path: Path) -> None:
    shutil.copytree(whole / "classifier", tmp_path / "classifier")
    (tmp_path / "classifier" / "1" / RECORD_FILE).unlink()
    with pytest.raises(SetupError, match=r"^classifier 1: .*expected the record that `make export`"):
        TritonServer(tmp_path, model="classifier", **FREE).start()  # type: ignore[arg-type]
    with TritonServer(tmp_path, model="classifier", unverified=True, **FREE) as server:  # type: ignore[arg-type]
        (sentence,) = server.loaded_unverified
        assert sentence.startswith("classifier 1 is loaded unverified: ")
        assert any(sentence in entry.text and entry.worth_showing for entry in server.log_entries)


def test_the_command_tells_what_would_be_refused(repository: Path) -> None:
    command = [TRIDENT, "verify", f"--model-repository={repository}"]
    assert subprocess.run(command, check=False, capture_output=True, timeout=60).returncode == 0
    change(repository / "detector" / "2" / MODEL_FILE)
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert "detector 2: SHA-256 of " in done.stderr
