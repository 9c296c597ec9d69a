"""What a peer is: a folder beside this file with a ``peer.toml``, its server, and what it needs installed."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from trident.errors import SetupError

FOLDER = Path(__file__).resolve().parent
DESCRIPTION = "peer.toml"
REQUIREMENTS = "requirements.txt"
PORTS = ("port", "grpc_port", "metrics_port")
"""What ``{…}`` may stand for in commands and environment variables, beside ``{folder}``, an empty folder of its own."""


class Protocol(StrEnum):
    """How a server is asked."""

    GRPC = "grpc"
    """KServe's v2 protocol, the model being named ``trident``."""
    HTTP = "http"
    """POST of a picture, answered with ``RESULT``."""


@dataclass(frozen=True, slots=True)
class Tuning:
    """One thing that was chosen for this work and this machine."""

    what: str
    why: str
    page: str
    """The page of the documentation that says so."""


@dataclass(frozen=True, slots=True)
class Peer:
    """Another server for the same work."""

    name: str
    """Of its folder."""
    folder: Path
    title: str
    package: str
    """Whose version is told."""
    start: tuple[str, ...]
    """The command, run in ``folder``; its first word is a program of the peer's own environment."""
    protocol: Protocol
    code: tuple[str, ...]
    """The files that are its server."""
    path: str = "/"
    """Over HTTP: where to send pictures."""
    form: str | None = None
    """Over HTTP: the field of the form that carries the picture; None sends it as the body."""
    environment: Mapping[str, str] | None = None
    tuning: tuple[Tuning, ...] = ()

    @property
    def requirements(self) -> Path:
        """What to install, exact versions of everything."""
        return self.folder / REQUIREMENTS

    def url(self, ports: Mapping[str, int]) -> str:
        """Where it is asked, as ``benchmarks.load`` takes it."""
        if self.protocol is Protocol.GRPC:
            return f"127.0.0.1:{ports['grpc_port']}"
        return f"http://127.0.0.1:{ports['port']}{self.path}"

    def filled(self, ports: Mapping[str, int], folder: Path) -> tuple[list[str], dict[str, str]]:
        """Command and environment variables, with ports and folder in their places."""
        values = {**{name: str(ports[name]) for name in PORTS}, "folder": str(folder)}

        def fill(text: str) -> str:
            for name, value in values.items():
                text = text.replace(f"{{{name}}}", value)
            return text

        return [fill(word) for word in self.start], {
            name: fill(value) for name, value in (self.environment or {}).items()
        }


def peer_names(folder: Path = FOLDER) -> tuple[str, ...]:
    """The peers that there are."""
    return tuple(sorted(file.parent.name for file in folder.glob(f"*/{DESCRIPTION}")))


def read_peers(names: Sequence[str] | None = None, folder: Path = FOLDER) -> tuple[Peer, ...]:
    """Read the peers of those names, or all.

    Raises:
        SetupError: There is none of that name, or its description cannot be understood.
    """
    known = peer_names(folder)
    for name in names or ():
        if name not in known:
            raise SetupError(f"peer: expected {', '.join(known)}, got {name!r}")
    return tuple(read_peer(folder / name) for name in dict.fromkeys(names or known))


def read_peer(folder: Path) -> Peer:
    """Read the ``peer.toml`` of a folder.

    Raises:
        SetupError: It cannot be understood, or a file that it names is not there.
    """
    file = folder / DESCRIPTION
    try:
        found: dict[str, Any] = tomllib.loads(file.read_text(encoding="utf-8"))
        tuning = tuple(Tuning(**one) for one in found.pop("tuning", ()))
        start, code = tuple(found.pop("start")), tuple(found.pop("code"))
        protocol = Protocol(found.pop("protocol"))
        peer = Peer(name=folder.name, folder=folder, start=start, code=code, protocol=protocol, tuning=tuning, **found)
    except OSError as error:
        raise SetupError(f"cannot read {file}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, KeyError, TypeError, ValueError) as error:
        raise SetupError(f"{file}: expected the description of a peer, got something else ({error})") from error
    missing = [name for name in (*code, REQUIREMENTS) if not (folder / name).is_file()]
    if missing:
        raise SetupError(f"{file}: expected the files of the peer beside it, got none of {', '.join(missing)}")
    return peer
