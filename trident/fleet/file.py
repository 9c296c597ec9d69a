"""The file that names the servers of a fleet: TOML, one ``[[server]]`` for each, in the order of a rollout.

    [[server]]
    name = "a"
    url = "10.0.0.11:8001"
    model_repository = "a/models"
    admin_key_file = "a/admin.key"                       # where the server's key is not found by its address

    [server.tls]                                         # where the connection is encrypted
    ca = "ca.pem"
    certificate = "client.pem"
    key = "client.key"
    server_name = "a.trident"

Paths are taken from the folder that the file lies in.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trident.errors import SetupError
from trident_client.errors import SettingsError
from trident_client.settings import TLS, address

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
_NEEDED = ("name", "url", "model_repository")
_KNOWN = (*_NEEDED, "admin_key_file", "tls")
_OF_TLS = ("ca", "certificate", "key", "server_name")


@dataclass(frozen=True, slots=True)
class Server:
    """One server of a fleet."""

    name: str
    """What it is called in messages and journals."""
    url: str
    """Address of its own gRPC port: not that of a proxy, behind which the others answer too."""
    model_repository: Path
    """Its own model repository, as this machine reaches it; rollouts write there."""
    admin_key_file: Path | None = None
    """None for the key of this user's own server at the address."""
    tls: TLS | None = None

    def __str__(self) -> str:
        return f"{self.name} ({self.url})"


def read_fleet(file: Path) -> tuple[Server, ...]:
    """The servers that a file names, in its order.

    Raises:
        SetupError: The file cannot be read, a key is missing, unknown or of another kind, or two servers are one.
    """
    try:
        document = tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as exc:
        raise SetupError(f"{file}: cannot be read: {exc.strerror or exc}") from exc
    except UnicodeDecodeError as exc:
        raise SetupError(f"{file}: expected UTF-8, got other bytes") from exc
    except tomllib.TOMLDecodeError as exc:
        raise SetupError(f"{file}: is not TOML: {exc}") from exc
    tables = document.get("server")
    if not isinstance(tables, list) or not tables or not all(isinstance(one, dict) for one in tables):
        raise SetupError(f"{file}: expected a table [[server]] for each server, got none")
    if unknown := sorted(document.keys() - {"server"}):
        raise SetupError(f"{file}: expected [[server]] alone, got {', '.join(unknown)} too")
    servers = tuple(_server(file, number, table) for number, table in enumerate(tables, 1))
    _check_are_several(file, servers)
    return servers


def _server(file: Path, number: int, table: Mapping[str, Any]) -> Server:
    name = table.get("name")
    where = f"{file}: server {name!r}" if isinstance(name, str) and name else f"{file}: server number {number}"
    if missing := [key for key in _NEEDED if key not in table]:
        raise SetupError(f"{where}: expected {', '.join(_NEEDED)}, got no {' and no '.join(missing)}")
    _check_keys(where, table, _KNOWN)
    texts = {key: _text(where, key, table[key]) for key in _KNOWN if key in table and key != "tls"}
    if not _NAME.fullmatch(texts["name"]):
        raise SetupError(f"{where}: name: expected 1 to 63 letters, digits, '.', '_' and '-', got {texts['name']!r}")
    try:
        if address(texts["url"]).balanced:
            raise SetupError(f"{where}: url: expected the address of one server, got {texts['url']!r}")
    except SettingsError as exc:
        raise SetupError(f"{where}: {exc}") from exc
    key_file = texts.get("admin_key_file")
    return Server(
        texts["name"],
        texts["url"],
        _path(file, texts["model_repository"]),
        None if key_file is None else _path(file, key_file),
        _tls(file, where, table["tls"]) if "tls" in table else None,
    )


def _tls(file: Path, where: str, table: object) -> TLS:
    if not isinstance(table, dict):
        raise SetupError(f"{where}: tls: expected a table [server.tls], got {type(table).__name__}")
    where = f"{where}: tls"
    _check_keys(where, table, _OF_TLS)
    texts = {key: _text(where, key, value) for key, value in table.items()}
    files = {key: _path(file, texts[key]) for key in ("ca", "certificate", "key") if key in texts}
    if ("certificate" in files) != ("key" in files):
        raise SetupError(f"{where}: expected certificate and key together, got one of them")
    return TLS(server_name=texts.get("server_name"), **files)


def _check_keys(where: str, table: Mapping[str, Any], known: tuple[str, ...]) -> None:
    if unknown := sorted(table.keys() - set(known)):
        raise SetupError(f"{where}: expected some of {', '.join(known)}, got {', '.join(unknown)}")


def _text(where: str, key: str, value: object) -> str:
    if not isinstance(value, str) or not value.strip():
        got = "an empty one" if isinstance(value, str) else f"{value!r}"
        raise SetupError(f"{where}: {key}: expected a text, got {got}")
    return value


def _path(file: Path, text: str) -> Path:
    try:
        return file.absolute().parent / Path(text).expanduser()
    except RuntimeError as exc:
        raise SetupError(f"{file}: {text}: {exc}") from exc


def _check_are_several(file: Path, servers: tuple[Server, ...]) -> None:
    """No two of them may be one."""
    seen: dict[tuple[str, str], Server] = {}
    for server in servers:
        same = {
            "name": server.name,
            "url": address(server.url).target,
            "model_repository": str(server.model_repository.resolve()),
        }
        for key, value in same.items():
            if (other := seen.setdefault((key, value), server)) is not server:
                why = (
                    ": each server needs a copy of its own, since what is on disk is what it serves after a restart"
                    if key == "model_repository"
                    else ""
                )
                which = "two servers" if other.name == server.name else f"{other.name} and {server.name}"
                raise SetupError(f"{file}: {which} have the same {key}, {value}{why}")
