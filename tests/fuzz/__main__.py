"""``python -m tests.fuzz``: fuzz for as long as one likes, and try a finding again."""

from __future__ import annotations

import importlib.util
import sys
import traceback
from pathlib import Path

import click
from rich.console import Console

from tests.fuzz.bounds import bounded
from tests.fuzz.checks import CHECKS
from tests.fuzz.runner import FOLDER, fuzz

_TARGET = click.Choice(sorted(CHECKS))


@click.group()
def main() -> None:
    """Coverage-guided fuzzing of the decoder step, the fusion functions and the client's reading of answers."""


@main.command()
@click.argument("targets", nargs=-1, type=_TARGET)
@click.option("--seconds", default=600.0, show_default=True, type=click.FloatRange(min=1), help="For each target.")
@click.option("--runs", type=click.IntRange(min=1), help="End each after so many inputs; by default time alone counts.")
@click.option("--seed", default=1, show_default=True, type=click.IntRange(1, 2**31 - 1), help="Of the mutations.")
@click.option(
    "--folder",
    default=FOLDER,
    type=click.Path(file_okay=False, path_type=Path),
    help="Where the corpora grow and findings are kept.  [default: .cache/fuzz]",
)
def run(targets: tuple[str, ...], seconds: float, runs: int | None, seed: int, folder: Path) -> None:
    """Fuzz the TARGETS one after the other, by default all of them."""
    console = Console(highlight=False, soft_wrap=True)
    if importlib.util.find_spec("atheris") is None:
        raise click.ClickException("atheris is not installed: pip install -e '.[dev]', or make install")
    broken = 0
    for target in targets or sorted(CHECKS):
        outcome = fuzz(target, runs=runs, seconds=seconds, seed=seed, work=folder, findings=folder)
        told = f"{target}: {outcome.executed} inputs in {outcome.seconds:.0f} s"
        if not outcome.failed:
            console.print(f"{told}, none of which breaks a rule")
            continue
        broken += 1
        if outcome.finding is None:
            console.print(f"{told}; the fuzzer ended without a finding:\n{outcome.log}", markup=False)
        else:
            console.print(f"{told}; one breaks a rule:\n{outcome.log}\nTry it again:\n  {outcome.replay}", markup=False)
    sys.exit(1 if broken else 0)


@main.command()
@click.argument("target", type=_TARGET)
@click.argument("files", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
def replay(target: str, files: tuple[Path, ...]) -> None:
    """Try FILES, or all files of a folder, without the fuzzer."""
    inputs = [file for path in files for file in (sorted(path.iterdir()) if path.is_dir() else [path])]
    broken = 0
    for file in inputs:
        try:
            accepted = bounded(CHECKS[target], file.read_bytes())
        except Exception:  # noqa: BLE001 - whatever leaves a check is the finding
            broken += 1
            click.echo(f"{file}: breaks a rule\n{traceback.format_exc()}")
        else:
            click.echo(f"{file}: {'accepted' if accepted else 'refused'}, as it may be")
    sys.exit(1 if broken else 0)


if __name__ == "__main__":
    main()
