"""How the launcher itself reaches a server that encrypts, and lets in only clients that it knows."""

from __future__ import annotations

import os
from pathlib import Path

from trident.access.authority import Authority, name_in
from trident.access.tls import ServerTLS
from trident_client.settings import TLS

_DAYS = 3650
"""Longer than a server runs. The certificate goes when the server does."""


def own_connection(tls: ServerTLS, folder: Path) -> tuple[ServerTLS, TLS]:
    """What the server is told, and with what the launcher connects to it.

    The launcher trusts the server's own certificate, and nobody else's. For mutual TLS it gets a certificate for this
    one server, from an authority that exists for that alone and forgets its key at once: its certificate is added to
    the authorities that the server lets in.

    Args:
        tls: What the operator gave.
        folder: One that nobody else may look into, and that goes when the server has ended.

    Raises:
        SetupError: A file is not what it must be.
    """
    tls.check()
    shown = tls.certificate.read_bytes()
    # A copy, for the certificate may be renewed on disk while the server shows the one that it has read.
    trusted, name = _written(folder / "server.pem", shown), name_in(shown)
    if tls.client_ca is None:
        return ServerTLS(trusted, tls.key), TLS(ca=trusted, server_name=name)
    authority = Authority("trident launcher", _DAYS)
    own = authority.client("launcher.trident.invalid")
    known = tls.client_ca.read_bytes().rstrip() + b"\n" + authority.certificate
    authorities = _written(folder / "client-authorities.pem", known)
    certificate, key = _written(folder / "own.pem", own.certificate), _written(folder / "own.key", own.key)
    return (
        ServerTLS(trusted, tls.key, authorities),
        TLS(ca=trusted, certificate=certificate, key=key, server_name=name),
    )


def _written(file: Path, content: bytes) -> Path:
    handle = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "wb") as out:
        out.write(content)
    return file
