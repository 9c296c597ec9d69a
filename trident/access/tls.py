"""Encryption of a server's gRPC side."""

from __future__ import annotations

import ssl
import stat
from dataclasses import dataclass
from pathlib import Path

from trident.errors import SetupError


@dataclass(frozen=True, slots=True)
class ServerTLS:
    """The files that a server shows its callers, and checks them by."""

    certificate: Path
    """PEM file with the server's certificate, and what leads from it to its authority."""
    key: Path
    """PEM file with its private key, without a passphrase."""
    client_ca: Path | None = None
    """PEM file with the authorities whose clients are let in: mutual TLS. None lets in every client."""

    def check(self) -> None:
        """Check what can be known before the server starts; Triton itself would only refuse every caller later.

        Raises:
            SetupError: A file cannot be read, is not PEM, does not fit the others, or may be read by everybody.
        """
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        _read("certificate", self.certificate)
        _read("key", self.key)
        if stat.S_IMODE(self.key.stat().st_mode) & stat.S_IROTH:
            raise SetupError(f"tls key: {self.key} can be read by every user of this machine: chmod 600 it")
        try:
            # An empty passphrase, or OpenSSL would ask the terminal for one.
            context.load_cert_chain(self.certificate, self.key, password="")
        except ssl.SSLError as exc:
            raise SetupError(
                f"tls: expected a certificate and its own key, without a passphrase, got {self.certificate} and "
                f"{self.key} ({exc.reason or exc})"
            ) from exc
        if self.client_ca is not None:
            _read("client ca", self.client_ca)
            try:
                context.load_verify_locations(self.client_ca)
            except ssl.SSLError as exc:
                raise SetupError(
                    f"tls client ca: expected certificates of authorities, got {self.client_ca} ({exc.reason or exc})"
                ) from exc

    def arguments(self) -> list[str]:
        """What ``tritonserver`` is told."""
        given = [
            "--grpc-use-ssl=true",
            f"--grpc-server-cert={self.certificate.resolve()}",
            f"--grpc-server-key={self.key.resolve()}",
        ]
        if self.client_ca is not None:
            given += [f"--grpc-root-cert={self.client_ca.resolve()}", "--grpc-use-ssl-mutual=true"]
        return given


def _read(what: str, file: Path) -> None:
    try:
        data = file.read_bytes()
    except OSError as exc:
        raise SetupError(f"tls {what}: cannot read {file}: {exc.strerror or exc}") from exc
    if b"-----BEGIN " not in data:
        raise SetupError(f"tls {what}: expected a PEM file, got {file}")
