"""The model repository on disk, as a rollout changes it."""

from __future__ import annotations

import errno
import json
import os
import py_compile
import shutil
from pathlib import Path

import pytest

from trident.contract import COMPONENTS, ENSEMBLE, MODELS, NETWORKS, RECOGNIZER, STEPS
from trident.errors import SetupError
from trident.layout import DEFAULT_REPOSITORY, MODEL_FILE
from trident.model_config import CONFIG_NAME
from trident.rollout import disk
from trident.rollout.disk import Repository


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    """The project's configurations and Python models; of each network, two versions that are files without meaning."""
    path = tmp_path / "models"
    for model in MODELS:
        folder = path / model
        folder.mkdir(parents=True)
        shutil.copy(DEFAULT_REPOSITORY / model / CONFIG_NAME, folder)
        for version in ("1", "2") if model in NETWORKS else ():
            (folder / version).mkdir()
            (folder / version / MODEL_FILE).write_bytes(b"")
    for model in ("preprocess", RECOGNIZER, "fusion"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(DEFAULT_REPOSITORY / model / "1", path / model / "1", ignore=ignored)
    (path / ENSEMBLE / "1").mkdir()
    return Repository(path)


def snapshot(repository: Repository) -> dict[str, bytes]:
    found = repository.path.rglob("*")
    return {str(file.relative_to(repository.path)): file.read_bytes() for file in found if file.is_file()}


def calling(repository: Repository, **versions: int) -> dict[str, int]:
    return {**repository.networks(1).versions, **versions}


class TestReading:
    def test_the_projects_own_release_is_the_first_version_of_everything(self) -> None:
        assert Repository(DEFAULT_REPOSITORY).release() == dict.fromkeys(COMPONENTS, 1)

    def test_versions_are_folders_that_hold_a_model(self, repository: Repository) -> None:
        folder = repository.path / "classifier"
        for name in ("10", "9", "012", "new", "3"):
            (folder / name).mkdir()
        for name in ("10", "9", "012", "new"):
            (folder / name / MODEL_FILE).touch()
        assert repository.versions("classifier") == (1, 2, 9, 10)
        assert repository.versions("fusion") == (1,)
        assert repository.served("classifier") == (1,)

    def test_an_unknown_component_is_refused(self, repository: Repository) -> None:
        with pytest.raises(SetupError, match=r"^component: expected one of preprocess, .*, got 'trident'$"):
            repository.versions("trident")

    def test_a_folder_that_is_not_there_is_said(self, tmp_path: Path) -> None:
        with pytest.raises(SetupError, match="there is no model repository at"):
            Repository(tmp_path / "nowhere")

    def test_a_pin_that_follows_the_newest_is_no_release(self, repository: Repository) -> None:
        file = repository.path / ENSEMBLE / CONFIG_NAME
        file.write_text(file.read_text().replace("model_version: 1", "model_version: -1", 1))
        with pytest.raises(SetupError, match="step preprocess: expected a model_version of 1 or more, got -1"):
            repository.release()


class TestServe:
    def test_only_the_one_file_changes(self, repository: Repository) -> None:
        before = snapshot(repository)
        repository.serve("classifier", [2, 1, 2])
        after = snapshot(repository)
        changed = [name for name in before | after if before.get(name) != after.get(name)]
        assert changed == ["classifier/config.pbtxt"]
        assert repository.served("classifier") == (1, 2)

    def test_nothing_to_change_leaves_the_file_alone(self, repository: Repository) -> None:
        file = repository.path / "classifier" / CONFIG_NAME
        before = file.stat()
        repository.serve("classifier", (1,))
        assert (file.stat().st_ino, file.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)

    def test_the_version_that_answers_cannot_be_left_out(self, repository: Repository) -> None:
        before = snapshot(repository)
        with pytest.raises(
            SetupError, match=r"^versions of classifier to serve: expected 1 among them, .*, got \[2\]$"
        ):
            repository.serve("classifier", (2,))
        with pytest.raises(SetupError, match=r"^versions of plate_reader to serve: expected 1 among them"):
            repository.serve("plate_reader", (2,))
        assert snapshot(repository) == before

    def test_a_version_that_is_not_there_is_refused(self, repository: Repository) -> None:
        with pytest.raises(SetupError, match=r"^versions of classifier to serve: .*on disk \(1, 2\), got \[7\]$"):
            repository.serve("classifier", (1, 7))


class TestPin:
    def test_several_move_in_one_rename(self, repository: Repository, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in ("classifier", "detector"):
            repository.serve(name, (1, 2))
        renamed: list[Path] = []
        real = Path.replace

        def replace(self: Path, target: Path) -> Path:
            # Nothing of it is to be seen before.
            assert repository.release()["detector"] == 1
            renamed.append(target)
            return real(self, target)

        monkeypatch.setattr(Path, "replace", replace)
        repository.pin({"classifier": 2, "detector": 2})
        assert renamed == [repository.path / ENSEMBLE / CONFIG_NAME]
        assert repository.release() == dict.fromkeys(COMPONENTS, 1) | {"classifier": 2, "detector": 2}

    @pytest.mark.parametrize(
        ("pins", "message"),
        [
            pytest.param({"classifier": 2}, r"^pin of classifier: expected .* serves \(1\), got 2$", id="not served"),
            pytest.param({"plate_reader": 1}, "^plate_reader is pinned by a version of entity_recognizer", id="called"),
            pytest.param({"trident": 1}, "^step: expected one of preprocess, .*, got 'trident'$", id="no step"),
        ],
    )
    def test_what_a_server_could_not_start_from_is_refused(
        self, repository: Repository, pins: dict[str, int], message: str
    ) -> None:
        before = snapshot(repository)
        with pytest.raises(SetupError, match=message):
            repository.pin(pins)
        assert snapshot(repository) == before

    def test_a_recognizer_whose_networks_are_not_served_is_refused(self, repository: Repository) -> None:
        version = repository.recognizer_for(calling(repository, plate_reader=2), code_of=1)
        repository.serve(RECOGNIZER, (1, version))
        with pytest.raises(SetupError, match=r"^pin of plate_reader: expected .* serves \(1\), got 2$"):
            repository.pin({RECOGNIZER: version})
        repository.serve("plate_reader", (1, 2))
        repository.pin({RECOGNIZER: version})
        assert repository.release()["plate_reader"] == 2

    def test_a_full_disk_leaves_the_pins_as_they_were(
        self, repository: Repository, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        repository.serve("classifier", (1, 2))
        before = snapshot(repository)

        def full(_: int) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(os, "fsync", full)
        with pytest.raises(SetupError, match=r"trident/config\.pbtxt: cannot be written \(No space left on device\)"):
            repository.pin({"classifier": 2})
        assert snapshot(repository) == before

    def test_all_steps_and_back(self, repository: Repository) -> None:
        before = (repository.path / ENSEMBLE / CONFIG_NAME).read_bytes()
        for name in ("preprocess", "fusion", RECOGNIZER):
            shutil.copytree(repository.folder(name, 1), repository.folder(name, 2))
        for name in STEPS:
            repository.serve(name, (1, 2))
        repository.pin(dict.fromkeys(STEPS, 2))
        assert {name: repository.release()[name] for name in STEPS} == dict.fromkeys(STEPS, 2)
        repository.pin(dict.fromkeys(STEPS, 1))
        assert (repository.path / ENSEMBLE / CONFIG_NAME).read_bytes() == before


class TestRecognizerFor:
    def test_a_new_one_is_the_same_code_with_other_networks(self, repository: Repository) -> None:
        version = repository.recognizer_for(calling(repository, plate_reader=2), code_of=1)
        assert version == 2
        assert repository.networks(2).versions == calling(repository, plate_reader=2)
        assert repository.networks(2).identity_threshold == repository.networks(1).identity_threshold
        old, new = repository.folder(RECOGNIZER, 1), repository.folder(RECOGNIZER, 2)
        assert (new / "model.py").read_bytes() == (old / "model.py").read_bytes()
        assert json.loads((new / "origin.json").read_text()) == {"code_of": 1, "made_by": "trident rollout"}
        assert new.stat().st_mode == old.stat().st_mode
        assert [path.name for path in (repository.path / RECOGNIZER).iterdir() if path.name[0] == "."] == []
        # Nothing that serves has changed.
        assert repository.release() == dict.fromkeys(COMPONENTS, 1)
        assert repository.served(RECOGNIZER) == (1,)

    def test_it_is_compiled_so_that_loading_it_writes_nothing(
        self, repository: Repository, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        version = repository.recognizer_for(calling(repository, plate_reader=2), code_of=1)
        code = repository.file(RECOGNIZER, version)
        (compiled,) = (code.parent / "__pycache__").iterdir()
        before = compiled.stat().st_mtime_ns
        # As `compile_models` does when a server starts: what is up to date is left alone.
        import compileall

        def written(*_: object, **__: object) -> None:
            raise AssertionError("it was compiled again")

        monkeypatch.setattr(py_compile, "compile", written)
        assert compileall.compile_file(code, quiet=2)
        assert compiled.stat().st_mtime_ns == before
        assert str(code).encode() in compiled.read_bytes()  # tracebacks name the file where it lies

    def test_it_is_found_again(self, repository: Repository) -> None:
        wanted = calling(repository, plate_reader=2)
        made = repository.recognizer_for(wanted, code_of=1)
        assert repository.recognizer_for(wanted, code_of=1) == made
        assert repository.recognizer_for(wanted, code_of=made) == made
        assert repository.recognizer_for(calling(repository), code_of=made) == 1
        assert repository.versions(RECOGNIZER) == (1, made)

    def test_other_code_is_another_version(self, repository: Repository) -> None:
        folder = repository.folder(RECOGNIZER, 2)
        shutil.copytree(repository.folder(RECOGNIZER, 1), folder)
        (folder / "model.py").write_text((folder / "model.py").read_text() + "# other\n")
        wanted = calling(repository, plate_reader=2)
        assert repository.recognizer_for(wanted, code_of=1) == 3
        assert repository.recognizer_for(wanted, code_of=2) == 4
        assert repository.recognizer_for(calling(repository), code_of=2) == 2

    def test_files_beside_the_model_count_as_code(self, repository: Repository) -> None:
        folder = repository.folder(RECOGNIZER, 1) / "parts"
        folder.mkdir()
        (folder / "more.py").write_text("MORE = 1\n")
        made = repository.recognizer_for(calling(repository, plate_reader=2), code_of=1)
        assert (repository.folder(RECOGNIZER, made) / "parts" / "more.py").read_text() == "MORE = 1\n"
        (folder / "more.py").write_text("MORE = 2\n")
        assert repository.recognizer_for(calling(repository, plate_reader=2), code_of=1) == made + 1

    def test_another_threshold_is_another_version(self, repository: Repository) -> None:
        made = repository.recognizer_for(calling(repository, face_embedder=2), code_of=1, identity_threshold=0.5)
        assert repository.networks(made).identity_threshold == 0.5
        assert repository.recognizer_for(calling(repository, face_embedder=2), code_of=1) == made + 1

    def test_a_number_in_use_is_not_taken(self, repository: Repository) -> None:
        (repository.path / RECOGNIZER / "7").mkdir()  # somebody has begun to write it
        assert repository.recognizer_for(calling(repository, plate_reader=2), code_of=1) == 8

    def test_a_damaged_version_is_passed_over(self, repository: Repository) -> None:
        wanted = calling(repository, plate_reader=2)
        made = repository.recognizer_for(wanted, code_of=1)
        (repository.folder(RECOGNIZER, made) / "networks.json").write_text("{")
        assert repository.recognizer_for(wanted, code_of=1) == made + 1

    @pytest.mark.parametrize(
        ("versions", "message"),
        [
            pytest.param({"plate_reader": 9}, "^plate_reader 9 is not on disk: .*model.onnx is missing$", id="missing"),
            pytest.param({"detector": 1}, "^expected the fields face_detector, .*, got .*detector", id="not called"),
        ],
    )
    def test_networks_that_cannot_be_called_are_refused(
        self, repository: Repository, versions: dict[str, int], message: str
    ) -> None:
        before = snapshot(repository)
        with pytest.raises(SetupError, match=message):
            repository.recognizer_for(calling(repository, **versions), code_of=1)
        assert snapshot(repository) == before

    @pytest.mark.parametrize("step", ["write_bytes", "rename"])
    def test_a_full_disk_leaves_nothing_behind(
        self, repository: Repository, step: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        before = snapshot(repository)

        def full(*_: object, **__: object) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(Path if step == "write_bytes" else disk.os, step, full)
        with pytest.raises(SetupError, match=r"cannot be written \(No space left on device\); nothing has changed$"):
            repository.recognizer_for(calling(repository, plate_reader=2), code_of=1)
        monkeypatch.undo()
        assert snapshot(repository) == before
        assert repository.versions(RECOGNIZER) == (1,)

    def test_what_a_killed_rollout_left_is_cleared_away(self, repository: Repository) -> None:
        left = repository.path / RECOGNIZER / ".unfinished-abc"
        left.mkdir()
        (left / "model.py").touch()
        assert repository.versions(RECOGNIZER) == (1,)
        repository.tidy()
        assert not left.exists()
