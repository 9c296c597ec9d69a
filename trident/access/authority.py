"""Certificates: a small authority, and those that it signs. For `trident certificates`, and for the launcher's own.

An authority's private key lives in memory alone, and goes with the object: what has not been signed by then never will.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from trident.errors import SetupError

_CLOCKS_APART = timedelta(hours=1)
"""Clocks of two machines may differ by so much."""
_LONGEST_NAME = 64  # of a common name, by the standard
_HOST = re.compile(r"(?=.{1,253}$)(\*\.)?[0-9A-Za-z]([0-9A-Za-z-]{0,62})(\.[0-9A-Za-z]([0-9A-Za-z-]{0,62}))*")


@dataclass(frozen=True, slots=True)
class Identity:
    """A certificate and its private key, both PEM."""

    certificate: bytes
    key: bytes

    def __repr__(self) -> str:
        return "Identity(…)"


class Authority:
    """Signs certificates, each for one use.

    Args:
        name: What it calls itself.
        days: How long it, and so all that it signs, is valid.
    """

    def __init__(self, name: str, days: int) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        now = datetime.now(UTC)
        self._begin, self._end = now - _CLOCKS_APART, now + timedelta(days=days)
        self._name = _named(name)
        builder = self._builder(self._name, self._key.public_key())
        self._certificate = (
            builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_usage(signs=True), critical=True)
            .sign(self._key, hashes.SHA256())
        )

    @property
    def certificate(self) -> bytes:
        """What others are to trust, PEM."""
        return self._certificate.public_bytes(Encoding.PEM)

    def server(self, hosts: tuple[str, ...]) -> Identity:
        """For a server that is reached under these names and IP addresses.

        Raises:
            SetupError: One of them is neither.
        """
        if not hosts:
            raise SetupError("certificates: expected at least one host, got none")
        return self._signed(ExtendedKeyUsageOID.SERVER_AUTH, hosts)

    def client(self, name: str) -> Identity:
        """For a client of that name. Raises SetupError if it is none."""
        return self._signed(ExtendedKeyUsageOID.CLIENT_AUTH, (name,))

    def _signed(self, use: x509.ObjectIdentifier, hosts: tuple[str, ...]) -> Identity:
        names = [_general_name(host) for host in hosts]
        key = ec.generate_private_key(ec.SECP256R1())
        authority = self._certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
        certificate = (
            self._builder(_named(str(names[0].value)), key.public_key())
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(signs=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([use]), critical=False)
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(authority), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        return Identity(
            certificate.public_bytes(Encoding.PEM),
            key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
        )

    def _builder(self, subject: x509.Name, key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(self._begin)
            .not_valid_after(self._end)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
        )


def name_in(certificate: bytes) -> str | None:
    """A name that a certificate (PEM, the first of a chain) is valid for, as a client would write it; None for none."""
    try:
        first = x509.load_pem_x509_certificates(certificate)[0]
        names = first.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (ValueError, x509.ExtensionNotFound):
        return None
    # A wildcard stands for one label, whichever.
    hosts = [host.replace("*", "trident", 1) for host in names.get_values_for_type(x509.DNSName)]
    hosts += [str(address) for address in names.get_values_for_type(x509.IPAddress)]
    return hosts[0] if hosts else None


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name[:_LONGEST_NAME])])


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        pass
    try:
        name = host if host.isascii() else host.encode("idna").decode("ascii")
    except UnicodeError:
        name = ""
    if not _HOST.fullmatch(name):
        raise SetupError(f"certificates: expected a host name or an IP address, got {host!r}")
    return x509.DNSName(name)


def _usage(*, signs: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs,
        crl_sign=signs,
        encipher_only=False,
        decipher_only=False,
    )
