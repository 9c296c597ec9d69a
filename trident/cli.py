"""The ``trident`` command. Each subcommand is loaded when it is asked for, so the client's need no server packages."""

from __future__ import annotations

import importlib

import click

from trident import __version__
from trident.errors import TridentError

_COMMANDS = {
    "analyze": "trident_client.commands:analyze",
    "certificates": "trident.commands.certificates:certificates",
    "explain": "trident.commands.explain:explain",
    "gallery": "trident.commands.gallery:gallery",
    "retire": "trident.commands.rollout:retire",
    "rollback": "trident.commands.rollout:rollback",
    "rollout": "trident.commands.rollout:rollout",
    "serve": "trident.commands.serve:serve",
    "status": "trident_client.commands:status",
    "verify": "trident.commands.verify:verify",
    "versions": "trident.commands.rollout:versions",
}


class _LazyGroup(click.Group):
    """A group that imports a command's module only when the command, or the list of all, is wanted."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        module, _, attribute = _COMMANDS[cmd_name].partition(":")
        try:
            loaded = importlib.import_module(module)
        except ModuleNotFoundError as exc:
            if exc.name is None or exc.name.partition(".")[0] in ("trident", "trident_client"):
                raise
            return _unavailable(cmd_name, exc.name, module)
        command: click.Command = getattr(loaded, attribute)
        return command

    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except TridentError as exc:
            raise click.ClickException(str(exc)) from exc


def _unavailable(name: str, missing: str, module: str) -> click.Command:
    """A command in place of one that lacks a package: whatever its arguments, it says what to install."""
    what = "'.[serve]'" if module.startswith("trident.") else "."
    message = f"trident {name} needs {missing}: run pip install {what} in a clone of the repository"

    def fail() -> None:
        raise click.ClickException(message)

    return click.Command(
        name,
        callback=fail,
        short_help=f"Needs {missing}: pip install {what}",
        add_help_option=False,
        context_settings={"ignore_unknown_options": True, "allow_extra_args": True},
    )


@click.group(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="trident")
def main() -> None:
    """Serve and ask the Trident vision ensemble."""
