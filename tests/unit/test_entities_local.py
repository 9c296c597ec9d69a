from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from trident.entities.local import LocalNetworks, read_settings
from trident.entities.settings import CALLED_NETWORKS
from trident.errors import SetupError

REPOSITORY = Path(__file__).resolve().parents[2] / "model_repository"


def test_the_repositorys_settings_are_complete() -> None:
    settings = read_settings(REPOSITORY)
    assert set(settings.versions) == set(CALLED_NETWORKS)
    assert settings.gallery_url == ""


def test_a_folder_that_is_no_model_repository_is_named(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match=str(tmp_path)):
        read_settings(tmp_path)


async def test_a_network_that_was_not_exported_says_what_to_do(tmp_path: Path) -> None:
    networks = LocalNetworks(tmp_path, {"face_embedder": 3})
    with pytest.raises(SetupError, match=r"face_embedder/3/model\.onnx: not there; run make export first"):
        await networks.infer("face_embedder", {"PIXELS": np.zeros((1, 224, 224, 3), np.uint8)})


async def test_a_damaged_file_says_what_to_do(tmp_path: Path) -> None:
    file = tmp_path / "face_embedder" / "1" / "model.onnx"
    file.parent.mkdir(parents=True)
    file.write_bytes(b"no network")
    networks = LocalNetworks(tmp_path, {"face_embedder": 1})
    with pytest.raises(SetupError, match=r"cannot be loaded .*run make export again"):
        await networks.infer("face_embedder", {"PIXELS": np.zeros((1, 224, 224, 3), np.uint8)})
