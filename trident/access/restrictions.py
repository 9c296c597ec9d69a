"""What a server answers to everybody, and what only to those who hold its admin key.

Triton calls the groups of its calls "protocols" over gRPC and "APIs" over HTTP. A group that is restricted is answered
only with a header whose value is the key; over gRPC the refusal is ``UNAVAILABLE``, over HTTP 403.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from trident.access.keys import KEY_NAME
from trident.access.marks import PLACEHOLDER
from trident.access.tls import ServerTLS
from trident.errors import SetupError

CONTROL = ("model-repository", "model-config", "shared-memory", "trace", "logging")
"""Groups that change a server, or tell what is on its disk. Loading a model runs code that comes with the call, shared
memory makes the server read and write what the caller names, traces and logs go to files that the caller names: all are
for the operator alone. Inference, health, metadata and statistics are for everybody who reaches the server."""

_RESTRICTING = "-restricted-"


@dataclass(frozen=True, slots=True)
class Access:
    """How open a server is. ``Access()`` is what ``trident serve`` has; ``OPEN`` is plain Triton."""

    restricted: bool = True
    """Whether control needs the admin key."""
    http: bool = False
    """Whether Triton's HTTP side is open."""
    tls: ServerTLS | None = None
    """Encryption of the gRPC side, mutual where it names an authority for clients."""
    key_file: Path | None = None
    """Where the key is; ``trident.access.keys.KeyFile`` says what becomes of it. None for the usual place."""

    def __post_init__(self) -> None:
        if self.tls is not None and self.http:
            raise SetupError(
                "access: Triton does not encrypt HTTP, so its open HTTP side would undo TLS: expected one of the two, "
                "got both"
            )

    def arguments(self, tls: ServerTLS | None = None) -> list[str]:
        """What ``tritonserver`` is told, with ``PLACEHOLDER`` where the key belongs.

        Args:
            tls: In place of ``tls``: the same with files that the launcher has made of it.
        """
        encryption = tls or self.tls
        given = [] if encryption is None else encryption.arguments()
        if self.restricted:
            rule = f"{','.join(CONTROL)}:{KEY_NAME}={PLACEHOLDER}"
            given.append(f"--grpc-restricted-protocol={rule}")
            if self.http:
                given.append(f"--http-restricted-api={rule}")
        return given


OPEN = Access(restricted=False, http=True)
"""Everybody who reaches the server may do everything, as with a Triton that was told nothing. For tests and
measurements on one's own machine."""


def without_key(words: Iterable[str]) -> list[str]:
    """The words of a server's command line as they may be shown or stored: without any key.

    >>> without_key(["tritonserver", "--grpc-restricted-protocol=trace:admin=secret", "--grpc-port=8001"])
    ['tritonserver', '--grpc-restricted-protocol=trace:admin=…', '--grpc-port=8001']
    """
    shown = []
    is_rule = False
    for word in words:
        name, separator, value = word.partition("=")
        if is_rule:  # Triton also takes a value as a word of its own
            shown.append(f"{name}=…")
            is_rule = False
        elif name.startswith("--") and _RESTRICTING in name:
            shown.append(f"{name}={value.partition('=')[0]}=…" if separator else word)
            is_rule = not separator
        else:
            shown.append(word)
    return shown
