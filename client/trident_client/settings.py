"""How to reach a server: its address, TLS and how often to try."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trident_client.errors import SettingsError

URL_VARIABLE = "TRIDENT_URL"
"""Environment variable that names the server where the caller does not."""
DEFAULT_URL = "127.0.0.1:8001"
"""Where Triton answers gRPC by default."""
DEFAULT_TIMEOUT = 30.0
"""Seconds that a call may take, all attempts together."""
TLS_VARIABLE = "TRIDENT_TLS"
"""Environment variable that asks for encryption; the others of its name, below, do too."""
TLS_CA_VARIABLE = "TRIDENT_TLS_CA"
TLS_CERTIFICATE_VARIABLE = "TRIDENT_TLS_CERTIFICATE"
TLS_KEY_VARIABLE = "TRIDENT_TLS_KEY"
TLS_SERVER_NAME_VARIABLE = "TRIDENT_TLS_SERVER_NAME"

_DEFAULT_PORT = 8001
_NO = ("", "0", "false", "no", "off")
_MOST_ATTEMPTS = 5  # gRPC's own limit: more are silently cut to it
_MOST_TOKENS = 1000  # gRPC's own limit


@dataclass(frozen=True, slots=True)
class TLS:
    """An encrypted connection. ``TLS()`` trusts gRPC's own set of public authorities."""

    ca: str | os.PathLike[str] | None = None
    """PEM file with the authorities to trust instead."""
    certificate: str | os.PathLike[str] | None = None
    """PEM file with this client's certificate chain, for mutual TLS; goes with ``key``."""
    key: str | os.PathLike[str] | None = None
    """PEM file with this client's private key; goes with ``certificate``."""
    server_name: str | None = None
    """The name that the server's certificate must bear, if it is not the host of the URL."""

    @classmethod
    def from_environment(cls) -> TLS | None:
        """What the variables ``TRIDENT_TLS``, ``TRIDENT_TLS_CA`` and so on say; None where none of them is set."""
        names = (TLS_CA_VARIABLE, TLS_CERTIFICATE_VARIABLE, TLS_KEY_VARIABLE, TLS_SERVER_NAME_VARIABLE)
        given = [os.environ.get(name) or None for name in names]
        wanted = os.environ.get(TLS_VARIABLE, "").strip().lower() not in _NO
        return cls(*given) if wanted or any(given) else None

    def read(self) -> tuple[bytes | None, bytes | None, bytes | None]:
        """Contents of ``ca``, ``key`` and ``certificate``. Raises SettingsError for what cannot be read."""
        if (self.certificate is None) != (self.key is None):
            raise SettingsError("tls: mutual TLS needs both a certificate and its key, got only one of them")
        return _pem(self.ca, "ca"), _pem(self.key, "key"), _pem(self.certificate, "certificate")


@dataclass(frozen=True, slots=True)
class Retries:
    """When to ask again. Only UNAVAILABLE is retried.

    Mostly the server has then not begun to work on the request. Where the connection was lost midway it may have, and
    asking again is harmless: an analysis changes nothing on the server.
    """

    attempts: int = 4
    """Attempts for one call, the first included, 1 to 5. 1 never retries."""
    first_backoff: float = 0.1
    """Upper bound of the wait before the second attempt, in seconds; the wait itself is random."""
    longest_backoff: float = 2.0
    """What the bound grows to, doubling each time, in seconds."""
    budget: int = 10
    """Failed attempts that all calls to one server may answer with a retry before retrying stops, 1 to 500. Ten
    successful calls earn one back, so that a server in trouble is not buried under retries."""

    def __post_init__(self) -> None:
        if not 1 <= self.attempts <= _MOST_ATTEMPTS:
            raise SettingsError(f"retries.attempts: expected 1 to {_MOST_ATTEMPTS}, got {self.attempts}")
        if not 1 <= self.budget <= _MOST_TOKENS // 2:
            raise SettingsError(f"retries.budget: expected 1 to {_MOST_TOKENS // 2}, got {self.budget}")
        if not 0 < self.first_backoff <= self.longest_backoff:
            raise SettingsError(
                "retries: expected 0 < first_backoff <= longest_backoff, "
                f"got {self.first_backoff} and {self.longest_backoff}"
            )

    def service_config(self, methods: tuple[str, ...], *, balance: bool) -> str:
        """The service config of gRPC (JSON), with this policy for the named methods of the KServe v2 service."""
        config: dict[str, Any] = {}
        if balance:
            config["loadBalancingConfig"] = [{"round_robin": {}}]
        if self.attempts > 1:
            config["methodConfig"] = [
                {
                    "name": [{"service": "inference.GRPCInferenceService", "method": method} for method in methods],
                    "retryPolicy": {
                        "maxAttempts": self.attempts,
                        "initialBackoff": f"{self.first_backoff:.3f}s",
                        "maxBackoff": f"{self.longest_backoff:.3f}s",
                        "backoffMultiplier": 2,
                        "retryableStatusCodes": ["UNAVAILABLE"],
                    },
                }
            ]
            # gRPC retries while more than half of the tokens are left; a failure costs one, a success earns a tenth.
            config["retryThrottling"] = {"maxTokens": 2 * self.budget, "tokenRatio": 0.1}
        return json.dumps(config)


@dataclass(frozen=True, slots=True)
class Address:
    """A server's address, understood."""

    target: str
    """What gRPC dials."""
    secure: bool
    """Whether the URL itself asks for TLS."""

    @property
    def balanced(self) -> bool:
        """Whether the name may stand for several servers, among which calls are spread."""
        return self.target.startswith("dns:")


_HOST_AND_PORT = re.compile(r"(?P<host>\[[0-9A-Fa-f:.%]+\]|[^\s:/\[\]]+)(?::(?P<port>\d+))?")


def address(url: str | None) -> Address:
    """Understand a URL. None stands for the environment variable ``TRIDENT_URL``, else 127.0.0.1:8001.

    It may be ``host``, ``host:port``, ``grpc://host:port``, ``grpcs://host:port`` (TLS), ``dns:///host:port`` (calls
    are spread over all addresses of the name) or ``unix:path``. Raises SettingsError for anything else.

    >>> address("grpcs://vision.example")
    Address(target='vision.example:8001', secure=True)
    """
    text = (os.environ.get(URL_VARIABLE) or DEFAULT_URL if url is None else url).strip()
    if text.startswith("unix:"):
        return Address(text, secure=False)
    scheme, separator, rest = text.partition("://")
    if not separator:
        scheme, rest = "grpc", text
    prefix = ""
    if scheme == "dns":
        prefix, rest = "dns:///", rest.removeprefix("/")
    elif scheme in ("http", "https"):
        raise SettingsError(f"url: expected the address of Triton's gRPC port, such as {DEFAULT_URL}, got {text!r}")
    elif scheme not in ("grpc", "grpcs"):
        raise SettingsError(f"url: expected host:port, grpc://, grpcs://, dns:/// or unix:, got {text!r}")
    match = _HOST_AND_PORT.fullmatch(rest.removesuffix("/"))
    if match is None or not 0 < int(match["port"] or _DEFAULT_PORT) < 2**16:
        raise SettingsError(f"url: expected host:port such as {DEFAULT_URL}, got {text!r}")
    return Address(f"{prefix}{match['host']}:{match['port'] or _DEFAULT_PORT}", secure=scheme == "grpcs")


_HEADER_NAME = re.compile(r"[0-9a-z_.-]+")
_HEADER_VALUE = re.compile(r"[\x20-\x7e]*")


def checked_headers(headers: Mapping[str, str] | None) -> tuple[tuple[str, str], ...]:
    """Headers as gRPC takes them: names in lower case, as HTTP/2 has them. Raises SettingsError for what it refuses.

    Values may be secrets, so no message shows one.
    """
    checked = []
    for name, value in (headers or {}).items():
        lower = name.lower() if isinstance(name, str) else ""
        if not _HEADER_NAME.fullmatch(lower):
            raise SettingsError(f"headers: expected a name of letters, digits, '-', '_' and '.', got {name!r}")
        if lower.endswith("-bin"):
            raise SettingsError(f"headers: expected text, got {name!r}, and names that end in -bin stand for bytes")
        if not isinstance(value, str) or not _HEADER_VALUE.fullmatch(value):
            got = "other characters" if isinstance(value, str) else type(value).__name__
            raise SettingsError(f"headers: expected printable ASCII as the value of {name!r}, got {got}")
        checked.append((lower, value))
    return tuple(checked)


def _pem(path: str | os.PathLike[str] | None, what: str) -> bytes | None:
    if path is None:
        return None
    try:
        data = Path(path).read_bytes()
    except OSError as exc:
        raise SettingsError(f"tls.{what}: cannot read {path}: {exc.strerror or exc}") from exc
    if b"-----BEGIN " not in data:
        raise SettingsError(f"tls.{what}: expected a PEM file, got {path}")
    return data
