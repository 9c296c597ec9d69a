"""``trident certificates``: an authority, and certificates by it, to try TLS with."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import click

from trident.access.authority import Authority
from trident.errors import SetupError

_HOSTS = ("localhost", "127.0.0.1", "::1")
_CLIENT = "client"


@click.command(short_help="Make certificates to try TLS with.")
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
@click.option(
    "--host",
    "hosts",
    multiple=True,
    default=_HOSTS,
    show_default=", ".join(_HOSTS),
    help="Name or IP address under which the server is reached. Repeatable.",
)
@click.option(
    "--client",
    "clients",
    multiple=True,
    default=(_CLIENT,),
    show_default=_CLIENT,
    help="Name of a client that gets a certificate for mutual TLS. Repeatable.",
)
@click.option("--days", type=click.IntRange(1, 825), default=30, show_default=True, help="How long they are valid.")
def certificates(*, folder: Path, hosts: tuple[str, ...], clients: tuple[str, ...], days: int) -> None:
    """Make an authority in FOLDER, and by it certificates of a server and of clients, to try TLS with.

    The authority's private key is not kept: nobody can make another certificate that these would trust. For anything
    but a trial, take certificates from an authority that renews and revokes them.
    """
    authority = Authority("Trident test authority", days)
    files: dict[str, bytes] = {"ca.pem": authority.certificate}
    server = authority.server(hosts)
    files |= {"server.pem": server.certificate, "server.key": server.key}
    for name in clients:
        if not name or Path(name).name != name or name in ("ca", "server"):
            raise click.BadParameter(f"expected a name that can be a file's, and not a taken one, got {name!r}")
        client = authority.client(name)
        files |= {f"{name}.pem": client.certificate, f"{name}.key": client.key}
    _write(folder, files)
    first = clients[0]
    click.echo(
        f"In {folder}, for {', '.join(hosts)}, valid for {days} days: {', '.join(files)}.\n"
        f"trident serve --tls-certificate {folder / 'server.pem'} --tls-key {folder / 'server.key'} "
        f"--tls-client-ca {folder / 'ca.pem'}\n"
        f"trident status --tls-ca {folder / 'ca.pem'} --tls-certificate {folder / f'{first}.pem'} "
        f"--tls-key {folder / f'{first}.key'}"
    )


def _write(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write all files, none of which may be there yet: keys for this user alone."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        there = [name for name in files if (folder / name).exists()]
        if there:
            raise SetupError(f"{folder} already holds {', '.join(there)}: remove them, or name another folder")
        for name, content in files.items():
            mode = 0o600 if name.endswith(".key") else 0o644
            handle = os.open(folder / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
            with os.fdopen(handle, "wb") as out:
                out.write(content)
    except OSError as exc:
        raise SetupError(f"{folder}: cannot write certificates: {exc.strerror or exc}") from exc
