from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest

from trident.contract import CALLED
from trident.entities.local import LocalNetworks, read_limits, read_settings
from trident.errors import SetupError
from trident.layout import RECORD_FILE
from trident.preprocess import Limits

REPOSITORY = Path(__file__).resolve().parents[2] / "model_repository"


def test_the_repositorys_settings_are_complete() -> None:
    settings = read_settings(REPOSITORY)
    assert set(settings.versions) == set(CALLED)
    assert settings.gallery_url == ""


def test_the_limits_are_those_of_preprocess(tmp_path: Path) -> None:
    assert read_limits(REPOSITORY) == Limits(50_000_000, 64 * 2**20)
    (tmp_path / "preprocess").mkdir()
    (tmp_path / "preprocess" / "config.pbtxt").write_text(
        'parameters { key: "max_megapixels" value { string_value: "2" } }'
    )
    assert read_limits(tmp_path).max_pixels == 2_000_000
    with pytest.raises(SetupError, match="no model repository"):
        read_limits(tmp_path / "nowhere")


def test_a_folder_that_is_no_model_repository_is_named(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match=str(tmp_path)):
        read_settings(tmp_path)


def configure(repository: Path, more: str = "") -> Path:
    """Write the embedder's configuration; give the model's folder."""
    folder = repository / "face_embedder"
    folder.mkdir()
    (folder / "config.pbtxt").write_text(f'name: "face_embedder" backend: "onnxruntime" {more}')
    return folder


def vouch(file: Path) -> None:
    """Write the record of an export that fits the file."""
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    record = {"component": "face_embedder", "version": 1, "digest": f"sha256:{digest}", "sha256": digest}
    file.with_name(RECORD_FILE).write_text(json.dumps(record))


async def test_a_network_that_was_not_exported_says_what_to_do(tmp_path: Path) -> None:
    configure(tmp_path)
    networks = LocalNetworks(tmp_path, {"face_embedder": 3})
    with pytest.raises(SetupError, match=r"face_embedder/3/model\.onnx: not there; run make export first"):
        await networks.infer("face_embedder", {"PIXELS": np.zeros((1, 224, 224, 3), np.uint8)})


async def test_a_damaged_file_says_what_to_do(tmp_path: Path) -> None:
    file = configure(tmp_path) / "1" / "model.onnx"
    file.parent.mkdir()
    file.write_bytes(b"no network")
    with pytest.raises(SetupError, match=r"face_embedder 1: .*expected the record .*got none; write it again: "):
        await LocalNetworks(tmp_path, {"face_embedder": 1}).infer("face_embedder", {})
    vouch(file)
    networks = LocalNetworks(tmp_path, {"face_embedder": 1})
    with pytest.raises(SetupError, match=r"cannot be loaded .*run make export again"):
        await networks.infer("face_embedder", {"PIXELS": np.zeros((1, 224, 224, 3), np.uint8)})


async def test_the_file_that_the_configuration_names_is_run_with_one_thread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[tuple[str, int]] = []

    class Session:
        def __init__(self, path: str, options: ort.SessionOptions, **_: object) -> None:
            opened.append((path, options.intra_op_num_threads))

        def run(self, names: list[str], feed: object) -> list[np.ndarray]:
            return [np.zeros(1)] * len(names)

    monkeypatch.setattr(ort, "InferenceSession", Session)
    file = configure(tmp_path, 'default_model_filename: "other.onnx"') / "1" / "other.onnx"
    file.parent.mkdir()
    file.touch()
    vouch(file)

    await LocalNetworks(tmp_path, {"face_embedder": 1}).infer("face_embedder", {})

    assert opened == [(str(file), 1)]
