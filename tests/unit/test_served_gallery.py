"""Which gallery a server looks at, as its processes tell."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.stub_process import stub_process
from trident.contract import RECOGNIZER
from trident.entities.gallery import Gallery
from trident.layout import DEFAULT_REPOSITORY
from trident.rollout.served_gallery import served_gallery_keys, served_gallery_url

Start = Callable[..., object]


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    folder = tmp_path / "models"
    (folder / RECOGNIZER / "1").mkdir(parents=True)
    text = (DEFAULT_REPOSITORY / RECOGNIZER / "config.pbtxt").read_text()
    (folder / RECOGNIZER / "config.pbtxt").write_text(text)
    return folder


@pytest.fixture
def start(repository: Path) -> Iterator[Start]:
    """Starts a process that looks like the Python backend's for version 1, with these variables, in ``tmp_path``."""
    with ExitStack() as running:
        yield lambda **environment: running.enter_context(stub_process(repository / RECOGNIZER / "1", environment))


def name_in_configuration(repository: Path, url: str) -> None:
    file = repository / RECOGNIZER / "config.pbtxt"
    empty = 'key: "gallery_url" value { string_value: "" }'
    text = file.read_text()
    assert empty in text
    file.write_text(text.replace(empty, empty.replace('""', f'"{url}"')))


@pytest.mark.parametrize(
    ("environment", "url"),
    [
        pytest.param({"TRIDENT_GALLERY_URL": "sqlite:////srv/faces.db"}, "sqlite:////srv/faces.db", id="its variable"),
        pytest.param(
            {"TRIDENT_GALLERY_URL": "postgresql://ann:pass%40word@host/faces"},
            "postgresql://ann:pass%40word@host/faces",
            id="a database with a password",
        ),
        pytest.param({"TRIDENT_GALLERY_URL": "no url"}, "no url", id="what is no URL is for others to refuse"),
        pytest.param(
            {"HOME": "/home/ann"}, "sqlite:////home/ann/.local/share/trident/gallery.db", id="its user's data folder"
        ),
        pytest.param(
            {"HOME": "/home/ann", "XDG_DATA_HOME": "/data"}, "sqlite:////data/trident/gallery.db", id="its data folder"
        ),
        pytest.param(
            {"HOME": "/home/ann", "TRIDENT_GALLERY_URL": "sqlite:///~/faces.db"},
            "sqlite:////home/ann/faces.db",
            id="in its home",
        ),
    ],
)
def test_it_is_where_the_servers_environment_says(
    repository: Path, start: Start, environment: dict[str, str], url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRIDENT_GALLERY_URL", "sqlite:////elsewhere/gallery.db")
    start(**environment)

    assert served_gallery_url(repository, 1) == url


def test_it_is_where_the_gallery_itself_would_look(
    repository: Path, start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same rules as the server's own process follows."""
    start(HOME=str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("TRIDENT_GALLERY_URL", "XDG_DATA_HOME"):
        monkeypatch.delenv(name, raising=False)

    assert str(Gallery(served_gallery_url(repository, 1))) == str(Gallery())


def test_a_relative_file_lies_in_the_servers_folder(repository: Path, start: Start, tmp_path: Path) -> None:
    start(TRIDENT_GALLERY_URL="sqlite:///faces.db")

    assert served_gallery_url(repository, 1) == f"sqlite:///{tmp_path}/faces.db"


def test_the_configuration_comes_first(repository: Path, start: Start) -> None:
    name_in_configuration(repository, "sqlite:////srv/named.db")
    start(TRIDENT_GALLERY_URL="sqlite:////srv/faces.db")

    assert served_gallery_url(repository, 1) == "sqlite:////srv/named.db"


def test_without_a_server_only_the_configuration_tells(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRIDENT_GALLERY_URL", "sqlite:////elsewhere/gallery.db")
    assert served_gallery_url(repository, 1) is None

    name_in_configuration(repository, "sqlite:////srv/named.db")
    assert served_gallery_url(repository, 1) == "sqlite:////srv/named.db"


def test_another_version_s_processes_do_not_count(repository: Path, start: Start) -> None:
    start(TRIDENT_GALLERY_URL="sqlite:////srv/faces.db")

    assert served_gallery_url(repository, 2) is None


def test_a_configuration_that_cannot_be_read_tells_nothing(repository: Path) -> None:
    (repository / RECOGNIZER / "config.pbtxt").write_text("name: {")

    assert served_gallery_url(repository, 1) is None


def test_its_keys_are_those_of_the_servers_environment(
    repository: Path, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRIDENT_GALLERY_KEY", "somebody else's")
    assert served_gallery_keys(repository, 1) is None
    start(TRIDENT_GALLERY_KEY="new, old")

    assert served_gallery_keys(repository, 1) == "new, old"
    assert served_gallery_keys(repository, 2) is None


def test_a_server_without_a_key_has_none(repository: Path, start: Start) -> None:
    start(TRIDENT_GALLERY_KEY="")

    assert served_gallery_keys(repository, 1) is None
