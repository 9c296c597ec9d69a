import subprocess
import sys

import pytest
from click.testing import CliRunner

from trident import cli


def test_help_lists_every_command_with_a_sentence():
    result = CliRunner().invoke(cli.main, ["--help"])
    assert result.exit_code == 0
    lines = {
        line.split()[0]: line.split()[1:]
        for line in result.output.splitlines()
        if line.startswith("  ") and line.split()
    }
    for command in cli._COMMANDS:
        assert lines.get(command), f"{command} has no help"


@pytest.mark.parametrize("command", sorted(cli._COMMANDS))
def test_every_command_explains_itself(command):
    result = CliRunner().invoke(cli.main, [command, "--help"])
    assert result.exit_code == 0
    assert "Usage:" in result.output


def test_an_unknown_command_is_refused():
    result = CliRunner().invoke(cli.main, ["analyse"])
    assert result.exit_code == 2
    assert "analyse" in result.output


@pytest.mark.parametrize("arguments", [["list"], ["--help"], ["enroll", "Someone", "photo.jpg", "--url", "sqlite://"]])
def test_a_command_without_its_packages_says_what_to_install_whatever_its_arguments(monkeypatch, arguments):
    monkeypatch.setitem(sys.modules, "sqlalchemy", None)  # as if it were not installed
    needing = ("trident.commands.gallery", "trident.entities.gallery")
    for module in [name for name in sys.modules if name.startswith(needing)]:
        monkeypatch.delitem(sys.modules, module)

    result = CliRunner().invoke(cli.main, ["gallery", *arguments])

    assert result.exit_code == 1
    assert result.output == (
        "Error: trident gallery needs sqlalchemy: run pip install '.[serve]' in a clone of the repository\n"
    )
    overview = CliRunner().invoke(cli.main, ["--help"]).output
    assert "Needs sqlalchemy: pip install '.[serve]'" in overview


def test_the_clients_commands_load_no_server_package():
    program = (
        "import sys\n"
        "from click.testing import CliRunner\n"
        "from trident.cli import main\n"
        "assert CliRunner().invoke(main, ['analyze', '--help']).exit_code == 0\n"
        "heavy = {'torch', 'onnx', 'onnxruntime', 'cv2', 'scipy', 'sqlalchemy', 'skimage'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
