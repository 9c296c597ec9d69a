"""Digests of the Python components."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from trident.component_digest import digest_of_component
from trident.errors import SetupError
from trident.layout import DEFAULT_REPOSITORY


@pytest.mark.parametrize(
    ("component", "files"),
    [
        ("preprocess", ["model.py"]),
        ("entity_recognizer", ["model.py", "networks.json"]),
        ("fusion", ["model.py", "policy.json"]),
    ],
)
def test_every_file_of_a_version_counts(tmp_path: Path, component: str, files: list[str]) -> None:
    folder = tmp_path / "2"
    shutil.copytree(DEFAULT_REPOSITORY / component / "1", folder)
    seen = {digest_of_component(component, DEFAULT_REPOSITORY / component / "1")}
    # The same files in another folder are the same component: version numbers are told apart by themselves.
    assert digest_of_component(component, folder) in seen
    assert {path.name for path in folder.iterdir() if path.is_file()} == set(files)
    for name in files:
        (folder / name).write_text((folder / name).read_text() + "\n")
        seen.add(digest_of_component(component, folder))
    assert len(seen) == 1 + len(files)
    (folder / files[-1]).unlink()
    with pytest.raises(SetupError, match=rf"^{component}: cannot read .*{files[-1]}: No such file or directory$"):
        digest_of_component(component, folder)


def test_a_network_is_not_one(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match=r"^component: expected one of preprocess, .*, got 'classifier'$"):
        digest_of_component("classifier", tmp_path)
