"""Fits a model repository to other hardware, in a copy: the same models, with other instances.

There is one repository. What a GPU wants of it stands in an overlay, a folder with a ``MODEL.pbtxt`` for each model
whose configuration differs, which names only what differs. ``python -m trident.overlay REPOSITORY TARGET --overlay
FOLDER`` writes a copy of the repository with the overlays merged in; a container does so when it starts.

An overlay says how a model runs, never what it is: tensors, versions, pins and batch sizes are the contract's, and an
overlay that names them is refused. So is one whose outcome does not fit the contract.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import click
from google.protobuf import text_format
from google.protobuf.message import Message
from tritonclient.grpc.model_config_pb2 import ModelConfig

from trident.errors import SetupError, TridentError
from trident.model_config import CONFIG_NAME, parse_config, read_repository
from trident.rollout.consistency import repository_problems

OVERLAY_SUFFIX = ".pbtxt"

FIELDS = ("dynamic_batching", "instance_group", "model_warmup", "optimization", "parameters")
"""What an overlay may set."""

_NOT_COPIED = ("__pycache__", ".*", "rollouts.jsonl", "canary.jsonl*")
"""Compiled code is the other interpreter's; what a rollout has noted belongs to the repository that it changed."""


def merged(config: ModelConfig, overlay: ModelConfig, source: str = "overlay") -> ModelConfig:
    """A model configuration with an overlay merged in.

    Numbers and texts are replaced, messages are merged field by field, maps (``parameters``) key by key, and lists
    (``instance_group``, ``model_warmup``) are replaced as a whole. An overlay cannot take a field out.

    Args:
        config: Is not changed.
        overlay: Only what differs.
        source: Where the overlay came from, for messages.

    Raises:
        SetupError: The overlay names a field that is not one of ``FIELDS``.

    >>> base = parse_config('name: "net" instance_group [ { kind: KIND_AUTO count: 1 } ]')
    >>> merged(base, parse_config("instance_group [ { kind: KIND_GPU count: 2 } ]")).instance_group[0].count
    2
    """
    foreign = sorted({descriptor.name for descriptor, _ in overlay.ListFields()} - set(FIELDS))
    if foreign:
        raise SetupError(
            f"{source}: expected only {', '.join(FIELDS)}, got {', '.join(foreign)}: an overlay says how a model runs, "
            f"not what it is; change that in the model's own {CONFIG_NAME}"
        )
    result = ModelConfig()
    result.CopyFrom(config)
    _merge(result, overlay)
    return result


def _merge(target: Message, overlay: Message) -> None:
    for descriptor, value in overlay.ListFields():
        if descriptor.message_type is not None and descriptor.message_type.GetOptions().map_entry:
            getattr(target, descriptor.name).MergeFrom(value)
        elif descriptor.is_repeated:
            target.ClearField(descriptor.name)
            getattr(target, descriptor.name).MergeFrom(value)
        elif isinstance(value, Message):
            child = getattr(target, descriptor.name)
            child.SetInParent()  # an empty message says something too: dynamic_batching { }
            _merge(child, value)
        else:
            setattr(target, descriptor.name, value)


def read_overlay(folder: Path, models: Sequence[str]) -> dict[str, ModelConfig]:
    """The files of an overlay by the model that they are for.

    Args:
        folder: Holds a ``MODEL.pbtxt`` for each model that differs.
        models: Those of the repository.

    Raises:
        SetupError: The folder is missing or holds no overlay, a file is for no model of the repository, or it does
            not fit the schema of a model configuration.
    """
    files = sorted(folder.glob(f"*{OVERLAY_SUFFIX}"))
    if not files:
        raise SetupError(f"overlay {folder}: expected a folder with a MODEL{OVERLAY_SUFFIX} in it, found none")
    overlays = {}
    for file in files:
        if file.stem not in models:
            raise SetupError(f"{file}: expected the name of a model ({', '.join(models)}), got {file.stem!r}")
        try:
            text = file.read_text(encoding="utf-8")
        except OSError as exc:
            raise SetupError(f"cannot read {file}: {exc.strerror}") from exc
        overlays[file.stem] = parse_config(text, str(file))
    return overlays


def overlaid(repository: Path, overlays: Sequence[Path]) -> dict[str, ModelConfig]:
    """The configurations of the models that overlays change, merged in the order of the overlays.

    Args:
        repository: A model repository with every model of the contract.
        overlays: Folders of overlays; of two that set the same, the later one counts.

    Returns:
        By model; those that no overlay names are left out.

    Raises:
        SetupError: An overlay cannot be read or merged, or the outcome does not fit the contract or itself.
    """
    configs = read_repository(repository)
    changed: dict[str, ModelConfig] = {}
    for folder in overlays:
        for name, overlay in read_overlay(folder, tuple(configs)).items():
            configs[name] = changed[name] = merged(configs[name], overlay, str(folder / f"{name}{OVERLAY_SUFFIX}"))
    problems = [problem for found in repository_problems(repository, configs).values() for problem in found]
    if problems:
        raise SetupError(f"{repository} with {_names(overlays)} does not fit the contract: {'; '.join(problems)}")
    return changed


def write_copy(repository: Path, target: Path, overlays: Sequence[Path] = ()) -> None:
    """Copy a model repository, with overlays merged in. The copy appears whole or not at all.

    Args:
        repository: Is only read.
        target: Must not exist; the folder that it lies in must, and have room for the copy.
        overlays: Folders of overlays, in the order in which they are merged.

    Raises:
        SetupError: The target exists or lies in the repository, the copy cannot be written, or as of ``overlaid``.
    """
    source, target = repository.resolve(), target.absolute()
    if os.path.lexists(target):
        raise SetupError(f"{target} exists: choose another target, or keep what is there with --keep")
    if target.resolve().is_relative_to(source):
        raise SetupError(f"target: expected a folder outside {source}, got {target}")
    changed = overlaid(source, overlays)
    try:
        with tempfile.TemporaryDirectory(prefix=".unfinished-", dir=target.parent) as folder:
            copy = Path(folder) / target.name
            shutil.copytree(source, copy, ignore=shutil.ignore_patterns(*_NOT_COPIED))
            _write_configs(copy, changed, _names(overlays))
            copy.rename(target)
    except OSError as exc:  # shutil.Error is one
        raise SetupError(f"{target}: cannot be written: {exc.strerror or exc}") from exc


def _write_configs(copy: Path, changed: Mapping[str, ModelConfig], overlays: str) -> None:
    for name, config in changed.items():
        text = text_format.MessageToString(config, as_utf8=True)
        note = f"# Written by `python -m trident.overlay` from the model's own {CONFIG_NAME} and {overlays}.\n\n"
        (copy / name / CONFIG_NAME).write_text(note + text, encoding="utf-8")


def _names(overlays: Sequence[Path]) -> str:
    return f"overlay {', '.join(folder.name for folder in overlays)}" if overlays else "no overlay"


@click.command()
@click.argument("repository", type=click.Path(path_type=Path))
@click.argument("target", type=click.Path(path_type=Path))
@click.option(
    "--overlay",
    "overlays",
    type=click.Path(path_type=Path),
    multiple=True,
    help="Folder of an overlay; may be given several times, and later ones count more.",
)
@click.option("--keep", is_flag=True, help="Leave a target that is there already as it is.")
def main(*, repository: Path, target: Path, overlays: tuple[Path, ...], keep: bool) -> None:
    """Copy the model repository REPOSITORY to TARGET, with overlays merged into its configurations."""
    if keep and target.is_dir():
        click.echo(f"{target} is there already, and is kept.")
        return
    try:
        write_copy(repository, target, overlays)
    except TridentError as exc:
        raise click.ClickException(str(exc)) from exc
    click.echo(f"{target} is a copy of {repository}, with {_names(overlays)}.")


if __name__ == "__main__":
    main()
