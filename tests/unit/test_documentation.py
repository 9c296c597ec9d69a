"""What the documents tell the reader to type exists, and what exists is told."""

import importlib
import importlib.util
import re
import subprocess

import click
import pytest

from tests.readme import DOCUMENTS, ROOT, commands
from trident.cli import main

COMMANDS = [
    pytest.param(words, id=f"{document.relative_to(ROOT)}: {' '.join(words)}")
    for document in DOCUMENTS
    for words in commands(document)
]


def makefile_targets() -> set[str]:
    return set(re.findall(r"^([a-z-]+):.*## ", (ROOT / "Makefile").read_text(), re.MULTILINE))


def check_trident(words: list[str]) -> None:
    """Follow the words down to a subcommand, and let its parser read the options."""
    command: click.Command = main
    context = click.Context(main, info_name="trident")
    while isinstance(command, click.Group):
        name, *words = words
        found = command.get_command(context, name)
        assert found is not None, f"there is no command {name!r}"
        command = found
        context = click.Context(command, parent=context, info_name=name)
    command.make_parser(context).parse_args(list(words))


def check_module(name: str, words: list[str]) -> None:
    """What ``python -m`` runs is there, and its parser, if it is one of click's, reads the options."""
    found = importlib.util.find_spec(name)
    assert found is not None, f"there is no module {name!r}"
    module = importlib.import_module(f"{name}.__main__" if found.submodule_search_locations else name)
    if isinstance(module.main, click.Command):
        module.main.make_parser(click.Context(module.main, info_name=name)).parse_args(list(words))


@pytest.mark.parametrize("words", COMMANDS)
def test_every_documented_command_exists(words):
    program, *arguments = words
    if program == "make":
        targets = [word for word in arguments if "=" not in word]
        assert set(targets) <= makefile_targets()
    elif program.endswith("trident"):
        check_trident(arguments)
    elif program.endswith("python") and arguments[0] == "-m":
        check_module(arguments[1], arguments[2:])
    elif program.endswith(("pip", "docker", "kubectl")) or program == "export":
        pass
    else:
        pytest.fail(f"no way to check {program!r}")


def test_the_readme_names_every_make_target_and_command():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    for target in makefile_targets():
        assert f"make {target}" in text, f"make {target} has no place in the README"
    for name in main.list_commands(click.Context(main)):
        assert f"trident {name}" in text, f"trident {name} has no place in the README"


def test_make_help_lists_every_target():
    output = subprocess.run(["make", "help"], cwd=ROOT, check=True, capture_output=True, text=True, timeout=60).stdout
    for target in makefile_targets():
        assert re.search(rf"^  make {target} +\S", output, re.MULTILINE), target


def test_documents_of_every_folder_are_looked_at():
    names = {str(document.relative_to(ROOT)) for document in DOCUMENTS}
    assert {"README.md", "docs/rollouts.md", "model_repository/fusion/README.md"} <= names


def test_every_phony_target_explains_itself():
    phony = re.search(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert phony is not None
    assert set(phony[1].split()) == makefile_targets()


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(document):
    text = re.sub(r"^```.*?^```", "", document.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", text):
        if not target.startswith(("http://", "https://", "mailto:")):
            assert (document.parent / target).exists(), f"{document.name} links to {target}"
