"""Which gallery a server looks at: its own environment says so, not that of whoever rolls something out."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from pathlib import Path

from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

from trident.contract import RECOGNIZER
from trident.entities.gallery import URL_VARIABLE
from trident.entities.sealing import KEY_VARIABLE
from trident.errors import SetupError
from trident.model_config import CONFIG_NAME, read_config, string_parameters
from trident.rollout.memory import processes_of


def served_gallery_url(repository: Path, version: int) -> str | None:
    """The URL of the gallery that a version of the entity recognizer looks at, by the rules by which it finds it.

    The parameter in its configuration comes first, then the variable ``TRIDENT_GALLERY_URL`` in the environment of its
    processes, then the data folder of the user whom they run as.

    Args:
        repository: The model repository.
        version: The recognizer version that serves.

    Returns:
        The URL; it may hold a password. None where that cannot be known: the server runs elsewhere or as somebody else,
        does not run, or the configuration cannot be read.
    """
    try:
        named = string_parameters(read_config(repository / RECOGNIZER / CONFIG_NAME)).get("gallery_url", "")
    except SetupError:
        return None
    for pid in processes_of(repository, RECOGNIZER, version):
        with contextlib.suppress(OSError):  # it has ended, or is somebody else's
            folder = Path(f"/proc/{pid}")
            return _resolved(named, _environment(folder), (folder / "cwd").readlink())
    return named or None


def served_gallery_keys(repository: Path, version: int) -> str | None:
    """The keys that a version of the entity recognizer opens its gallery with: ``TRIDENT_GALLERY_KEY`` as it has it.

    Args:
        repository: The model repository.
        version: The recognizer version that serves.

    Returns:
        As ``Gallery`` takes them, and secret; None where it has none, or that cannot be known.
    """
    for pid in processes_of(repository, RECOGNIZER, version):
        with contextlib.suppress(OSError):  # it has ended, or is somebody else's
            return _environment(Path(f"/proc/{pid}")).get(KEY_VARIABLE) or None
    return None


def _environment(process: Path) -> dict[str, str]:
    pairs = (pair.partition(b"=") for pair in (process / "environ").read_bytes().split(b"\0"))
    return {os.fsdecode(name): os.fsdecode(value) for name, _, value in pairs if name}


def _resolved(named: str, environment: Mapping[str, str], folder: Path) -> str:
    """What ``trident.entities.gallery.resolve_url`` makes of it in a process with this environment and folder."""
    home = environment.get("HOME") or str(Path.home())
    url = named or environment.get(URL_VARIABLE)
    if not url:
        data = environment.get("XDG_DATA_HOME", "").strip() or f"{home}/.local/share"
        return URL.create("sqlite", database=f"{data}/trident/gallery.db").render_as_string()
    try:
        parsed = make_url(url)
    except ArgumentError:
        return url  # whoever opens it says what is wrong
    if parsed.get_backend_name() != "sqlite" or not parsed.database or parsed.database.startswith((":", "file:")):
        return url
    place = parsed.database
    if place == "~" or place.startswith("~/"):
        place = home + place[1:]
    return parsed.set(database=str(folder / place)).render_as_string(hide_password=False)
