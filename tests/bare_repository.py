"""The project's repository without networks, for what reads no network: nothing has to be exported."""

from __future__ import annotations

import shutil
from pathlib import Path

from trident.contract import NETWORKS
from trident.layout import DEFAULT_REPOSITORY, MODEL_FILE
from trident.model_config import read_repository, served_versions


def write_bare(folder: Path) -> Path:
    """Write it into the new ``folder``, with an empty file for each network; gives ``folder``."""
    shutil.copytree(DEFAULT_REPOSITORY, folder, ignore=shutil.ignore_patterns("*.onnx", "model.json", "__pycache__"))
    for name, config in read_repository(folder).items():
        for version in served_versions(config):
            (folder / name / str(version)).mkdir(exist_ok=True)
            if name in NETWORKS:
                (folder / name / str(version) / MODEL_FILE).touch()
    return folder
