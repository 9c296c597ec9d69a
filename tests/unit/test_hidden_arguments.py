"""A program gets its secret argument, and the list of processes does not show it."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from trident.access.marks import HIDDEN, PLACEHOLDER, SECRET_VARIABLE, VISIBLE

SECRET = "a-secret-of-this-test"
PROGRAM = """
import json, os, sys
from pathlib import Path
shown = Path("/proc/self/cmdline").read_bytes().decode().split(chr(0))
inherited = [name for name in os.environ if name == "TRIDENT_GUARD_SECRET"]
print(json.dumps({"got": sys.argv[1:], "shown": shown, "inherited": inherited, "other": os.environ["OTHER"]}))
sys.exit(7)
"""
# One thread, as in the guard: pytest's process may have more.
STARTER = """
import os, sys
from trident.access import hidden_arguments
if sys.argv[1] == "no tracing":
    class Refused:
        @staticmethod
        def ptrace(*_):
            return -1
    hidden_arguments._libc = Refused
program = hidden_arguments.start(sys.argv[2:], lambda: os.write(2, b"prepared "))
sys.exit(program.wait())
"""


def start(how, *command, secret=SECRET):
    env = {"OTHER": "kept", "PATH": "/usr/bin:/bin", **({SECRET_VARIABLE: secret} if secret else {})}
    return subprocess.run(
        [sys.executable, "-c", STARTER, how, *command], capture_output=True, text=True, timeout=60, env=env, check=False
    )


def told(result):
    """What the program wrote, behind what was said of it."""
    *before, last = result.stdout.splitlines()
    return before, json.loads(last)


def test_the_argument_is_there_and_not_to_be_seen():
    result = start(
        "as it is", sys.executable, "-c", PROGRAM, "plain", f"--rule=a:k={PLACEHOLDER}", f"--x={PLACEHOLDER}"
    )
    said, program = told(result)
    assert program["got"] == ["plain", f"--rule=a:k={SECRET}", f"--x={SECRET}"]
    assert program["inherited"] == []
    assert program["other"] == "kept"
    assert result.returncode == 7
    assert "prepared" in result.stderr
    if any(VISIBLE in line for line in said):
        pytest.skip(f"this machine does not allow it: {said}")
    assert SECRET not in " ".join(program["shown"])
    assert f"--rule=a:k={HIDDEN}" in program["shown"]


def test_where_tracing_is_forbidden_it_starts_all_the_same_and_says_so():
    result = start("no tracing", sys.executable, "-c", PROGRAM, f"--rule=a:k={PLACEHOLDER}")
    said, program = told(result)
    assert program["got"] == [f"--rule=a:k={SECRET}"]
    assert program["inherited"] == []
    (line,) = said
    assert line.startswith("W")
    assert f"] {VISIBLE} (" in line
    assert result.returncode == 7


def test_a_script_gets_its_arguments_too(tmp_path):
    """Its interpreter is the program that is started, with other arguments: so they are not hidden."""
    script = tmp_path / "script"
    script.write_text('#!/bin/sh\necho "$@"\n')
    script.chmod(0o755)
    result = start("as it is", str(script), f"--x={PLACEHOLDER}")
    assert result.stdout.splitlines()[-1] == f"--x={SECRET}"
    assert VISIBLE in result.stdout
    assert result.returncode == 0


def test_without_a_secret_nothing_is_hidden_nor_said():
    result = start("as it is", sys.executable, "-c", PROGRAM, "plain", secret=None)
    said, program = told(result)
    assert said == []
    assert program["got"] == ["plain"]


def test_a_program_that_is_not_there_is_an_error():
    result = start("as it is", "/nowhere/at/all", f"--x={PLACEHOLDER}")
    assert "FileNotFoundError" in result.stderr
    assert SECRET not in result.stderr
