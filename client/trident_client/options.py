"""The options of a command line that say which server is asked, and how."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import click

from trident.access.keys import KEY_FILE_VARIABLE
from trident_client.settings import (
    DEFAULT_URL,
    TLS,
    TLS_CA_VARIABLE,
    TLS_CERTIFICATE_VARIABLE,
    TLS_KEY_VARIABLE,
    TLS_SERVER_NAME_VARIABLE,
    TLS_VARIABLE,
    URL_VARIABLE,
)

F = TypeVar("F", bound=Callable[..., Any])


class Connection(NamedTuple):
    """What the options say."""

    url: str | None
    """None stands for the default."""
    tls: TLS | None
    headers: dict[str, str]
    admin_key_file: Path | None
    """None stands for where it usually is."""


def connection_options(command: F) -> F:
    """Give a command the options. ``connection_of`` understands what it is called with."""
    file = click.Path(exists=True, dir_okay=False, path_type=Path)
    for option in reversed(
        (
            click.option(
                "--url", envvar=URL_VARIABLE, show_envvar=True, help=f"gRPC address.  [default: {DEFAULT_URL}]"
            ),
            click.option(
                "--tls",
                is_flag=True,
                envvar=TLS_VARIABLE,
                show_envvar=True,
                help="Encrypt, trusting public authorities.",
            ),
            click.option(
                "--tls-ca",
                "--ca",
                "ca",
                type=file,
                envvar=TLS_CA_VARIABLE,
                show_envvar=True,
                help="Encrypt, trusting the authorities in this PEM file.",
            ),
            click.option(
                "--tls-certificate",
                "--cert",
                "cert",
                type=file,
                envvar=TLS_CERTIFICATE_VARIABLE,
                show_envvar=True,
                help="This client's certificate chain (PEM), for mutual TLS.",
            ),
            click.option(
                "--tls-key",
                "--key",
                "key",
                type=file,
                envvar=TLS_KEY_VARIABLE,
                show_envvar=True,
                help="This client's private key (PEM), for mutual TLS.",
            ),
            click.option(
                "--tls-server-name",
                "--server-name",
                "server_name",
                envvar=TLS_SERVER_NAME_VARIABLE,
                show_envvar=True,
                help="The name that the server's certificate must bear.",
            ),
            click.option(
                "--admin-key-file",
                type=click.Path(dir_okay=False, path_type=Path),
                envvar=KEY_FILE_VARIABLE,
                show_envvar=True,
                help="The server's admin key, for what it restricts.  [default: that of this user's server at the "
                "address]",
            ),
            click.option("--header", "headers", multiple=True, metavar="NAME=VALUE", help="Sent with every call."),
        )
    ):
        command = option(command)
    return command


def connection_of(options: Mapping[str, Any]) -> Connection:
    """What a command with ``connection_options`` was given.

    Args:
        options: Its keyword arguments ``url``, ``tls``, ``ca``, ``cert``, ``key``, ``server_name``,
            ``admin_key_file`` and ``headers``.

    Raises:
        click.BadParameter: A header is not ``NAME=VALUE``.
    """
    wants_tls = options["tls"] or any(options[name] for name in ("ca", "cert", "key", "server_name"))
    tls = TLS(options["ca"], options["cert"], options["key"], options["server_name"])
    headers = {}
    for header in options["headers"]:
        name, separator, value = header.partition("=")
        if not separator or not name:
            # Its value may be a secret: it is not repeated.
            raise click.BadParameter("expected NAME=VALUE, got something else", param_hint="--header")
        headers[name.strip().lower()] = value.strip()
    return Connection(options["url"], tls if wants_tls else None, headers, options["admin_key_file"])
