"""The options of ``trident serve`` that say how open the server is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import click
from click.core import ParameterSource

from trident.access.keys import KEY_FILE_VARIABLE
from trident.access.restrictions import Access
from trident.access.tls import ServerTLS

F = TypeVar("F", bound=Callable[..., Any])

ACCESS_OPTIONS = ("http", "open_control", "admin_key_file", "tls_certificate", "tls_key", "tls_client_ca")
"""What ``access_options`` adds to a command's keyword arguments."""


def access_options(command: F) -> F:
    """Give a command the options. ``access_of`` understands what it is called with."""
    file = click.Path(exists=True, dir_okay=False, path_type=Path)
    for option in reversed(
        (
            click.option("--http", is_flag=True, help="Open Triton's HTTP side too. It is closed by default."),
            click.option(
                "--open-control",
                is_flag=True,
                help="Let everybody who reaches the server control it, as plain Triton does. By default that needs the "
                "admin key, which `trident rollout` and `trident status` of the same user find by themselves.",
            ),
            click.option(
                "--admin-key-file",
                type=click.Path(dir_okay=False, path_type=Path),
                envvar=KEY_FILE_VARIABLE,
                show_envvar=True,
                help="File with the admin key. One that is there is read; else a new key is written to it, for as long "
                "as the server runs.  [default: a file in the user's state folder]",
            ),
            click.option("--tls-certificate", type=file, help="Encrypt gRPC with this certificate chain (PEM)."),
            click.option("--tls-key", type=file, help="Private key of --tls-certificate (PEM)."),
            click.option(
                "--tls-client-ca",
                type=file,
                help="Mutual TLS: let in only clients with a certificate by an authority in this file (PEM).",
            ),
        )
    ):
        command = option(command)
    return command


def access_of(options: Mapping[str, Any]) -> Access:
    """What a command with ``access_options``, and an option ``--http-port``, was given.

    Args:
        options: Its keyword arguments, at least those of ``ACCESS_OPTIONS``.

    Raises:
        click.UsageError: Options that belong together are not together.
        SetupError: HTTP, which Triton does not encrypt, is to be open beside TLS.
    """
    certificate, key, client_ca = options["tls_certificate"], options["tls_key"], options["tls_client_ca"]
    if (certificate is None) != (key is None):
        raise click.UsageError("--tls-certificate and --tls-key go together, got only one of them")
    if client_ca is not None and certificate is None:
        raise click.UsageError("--tls-client-ca asks for --tls-certificate and --tls-key, got neither")
    source = click.get_current_context().get_parameter_source("http_port")
    return Access(
        restricted=not options["open_control"],
        http=options["http"] or source in (ParameterSource.COMMANDLINE, ParameterSource.ENVIRONMENT),
        tls=None if certificate is None else ServerTLS(certificate, key, client_ca),
        key_file=options["admin_key_file"],
    )
