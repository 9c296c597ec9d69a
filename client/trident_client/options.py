"""The options of a command line that say which server is asked, and how."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import click

from trident_client.settings import DEFAULT_URL, TLS, URL_VARIABLE

F = TypeVar("F", bound=Callable[..., Any])


class Connection(NamedTuple):
    """What the options say."""

    url: str | None
    """None stands for the default."""
    tls: TLS | None
    headers: dict[str, str]


def connection_options(command: F) -> F:
    """Give a command the options. ``connection_of`` understands what it is called with."""
    file = click.Path(exists=True, dir_okay=False, path_type=Path)
    for option in reversed(
        (
            click.option(
                "--url", envvar=URL_VARIABLE, show_envvar=True, help=f"gRPC address.  [default: {DEFAULT_URL}]"
            ),
            click.option("--tls", is_flag=True, help="Encrypt, trusting public authorities."),
            click.option("--ca", type=file, help="Encrypt, trusting the authorities in this PEM file."),
            click.option("--cert", type=file, help="This client's certificate chain (PEM), for mutual TLS."),
            click.option("--key", type=file, help="This client's private key (PEM), for mutual TLS."),
            click.option("--server-name", help="The name that the server's certificate must bear."),
            click.option("--header", "headers", multiple=True, metavar="NAME=VALUE", help="Sent with every call."),
        )
    ):
        command = option(command)
    return command


def connection_of(options: Mapping[str, Any]) -> Connection:
    """What a command with ``connection_options`` was given.

    Args:
        options: Its keyword arguments ``url``, ``tls``, ``ca``, ``cert``, ``key``, ``server_name`` and ``headers``.

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
    return Connection(options["url"], tls if wants_tls else None, headers)
