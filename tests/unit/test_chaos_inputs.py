"""What a chaos run sends and serves: bad pictures, and Python models that can be made to hang."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from benchmarks.chaos.inputs import _HOOK, add_hooks, write_bad_pictures
from benchmarks.chaos.kinds import HANGING
from benchmarks.pictures import write_pictures
from trident.errors import InvalidInput
from trident.preprocess import prepare

MODEL = """
class TritonPythonModel:
    def execute(self, requests):
        return [request + 1 for request in requests]
"""


@pytest.fixture(scope="module")
def bad(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("pictures")
    return write_bad_pictures(folder / "bad", write_pictures(folder, other_sizes=False))


def test_every_bad_picture_is_one(bad: list[Path]):
    assert len(bad) == len({path.read_bytes() for path in bad}) >= 5
    for path in bad:
        with pytest.raises(InvalidInput, match="IMAGE"):
            prepare(path.read_bytes())


def executed(model: dict[str, object], seconds: float) -> list[object] | None:
    """What the model gives within so many seconds; None while it gives nothing."""
    results: list[list[object]] = []
    instance = model["TritonPythonModel"]()
    thread = threading.Thread(target=lambda: results.append(instance.execute([1, 2])), daemon=True)
    thread.start()
    thread.join(seconds)
    return results[0] if results else None


def test_a_process_hangs_for_as_long_as_the_file_names_it(tmp_path: Path):
    file, model = tmp_path / "hang", {}
    exec(MODEL + _HOOK.format(file=str(file)), model)

    assert executed(model, 20.0) == [2, 3], "there is no file"
    file.write_text(f"1{os.getpid()} 7")
    assert executed(model, 20.0) == [2, 3], "it names others"

    file.write_text(f"7 {os.getpid()}")
    results: list[object] = []
    instance = model["TritonPythonModel"]()
    hanging = threading.Thread(target=lambda: results.append(instance.execute([1])), daemon=True)
    hanging.start()
    hanging.join(0.3)
    assert hanging.is_alive()
    assert not results
    file.unlink()
    hanging.join(20.0)
    assert results == [[2]]


class Disk:
    """As much of a repository as is asked of it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def versions(self, component: str) -> tuple[int, ...]:
        return (1, 2)

    def file(self, component: str, version: int) -> Path:
        return self.path / f"{component}-{version}.py"


def test_each_version_of_each_python_component_gets_a_hook_with_its_components_file(tmp_path: Path):
    disk = Disk(tmp_path)
    for component in HANGING:
        for version in (1, 2):
            disk.file(component, version).write_text(MODEL)

    files = add_hooks(disk, tmp_path / "flags")

    assert set(files) == set(HANGING)
    assert not any(file.exists() for file in files.values())
    for component, file in files.items():
        for version in (1, 2):
            code = disk.file(component, version).read_text()
            assert code.startswith(MODEL)
            assert repr(str(file)) in code
            compile(code, "model.py", "exec")
