"""The option ``--fleet`` of the commands that can ask several servers."""

from __future__ import annotations

from pathlib import Path

import click
from click.core import ParameterSource

fleet_option = click.option(
    "--fleet",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE",
    help="TOML file that names several servers: all of them, one after the other. It takes the place of the options "
    "that say which server, and where its models are.",
)
_OF_ONE_SERVER = {
    "url": "--url",
    "model_repository": "--model-repository",
    "tls": "--tls",
    "ca": "--tls-ca",
    "cert": "--tls-certificate",
    "key": "--tls-key",
    "server_name": "--tls-server-name",
    "admin_key_file": "--admin-key-file",
    "headers": "--header",
}
"""Parameters that say which server, and their options."""


def check_alone() -> None:
    """Refuse options that say which server, beside ``--fleet``; what the environment says of one is left aside.

    Raises:
        click.UsageError: The command that runs was given one.
    """
    source = click.get_current_context().get_parameter_source
    given = [option for name, option in _OF_ONE_SERVER.items() if source(name) is ParameterSource.COMMANDLINE]
    if given:
        raise click.UsageError(f"{', '.join(given)}: with --fleet, the file says which servers there are")
