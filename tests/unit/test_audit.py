"""``make audit``: what an advisory service says, held against what is accepted. The service itself is not asked."""

from __future__ import annotations

import importlib.util
import json
import sys
from datetime import date
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from click.testing import CliRunner, Result

FILE = Path(__file__).resolve().parents[2] / "requirements" / "audit.py"
ANSWER = [
    {"name": "harmless", "version": "1.0", "vulns": []},
    {"name": "unknown", "skip_reason": "not on the index"},
    {
        "name": "leaky",
        "version": "2.0",
        "vulns": [
            {"id": "PYSEC-1", "aliases": ["CVE-2030-1", "GHSA-1"], "fix_versions": ["2.1"]},
            {"id": "PYSEC-2", "aliases": [], "fix_versions": []},
        ],
    },
]


@pytest.fixture(scope="module")
def audit() -> ModuleType:
    spec = importlib.util.spec_from_file_location("trident_audit", FILE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # its dataclasses look themselves up
    spec.loader.exec_module(module)
    return module


def program(folder: Path, answer: str, *, code: int = 0, words: str = "") -> str:
    """Something in pip-audit's place that says just this."""
    (folder / "answer").write_text(answer)
    (folder / "words").write_text(words)
    file = folder / "pip-audit"
    file.write_text(f'#!/bin/sh\ncat "{folder}/answer"\ncat "{folder}/words" >&2\nexit {code}\n')
    file.chmod(0o755)
    return str(file)


@pytest.fixture
def run(audit: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("COLUMNS", "200")
    lock = tmp_path / "lock.txt"
    lock.write_text("leaky==2.0\n")
    excuses = tmp_path / "audited.toml"
    monkeypatch.setattr(audit, "EXCUSES", excuses)

    def invoke(answer: str, excused: str = "", **more: Any) -> Result:
        excuses.write_text(excused)
        return CliRunner().invoke(audit.main, [program(tmp_path, answer, **more), str(lock)])

    return invoke


def test_what_is_known_fails_and_is_shown(run: Any) -> None:
    result = run(json.dumps({"dependencies": ANSWER, "fixes": []}), code=1)
    assert result.exit_code == 1
    for words in ("leaky 2.0", "PYSEC-1, CVE-2030-1, GHSA-1", "2.1", "2 known vulnerabilities not accepted"):
        assert words in result.output
    assert "not looked at: unknown: not on the index" in result.output


def test_nothing_known_passes(run: Any) -> None:
    result = run(json.dumps({"dependencies": [ANSWER[0]]}))
    assert result.exit_code == 0, result.output
    assert "no known vulnerabilities not accepted" in result.output


def test_what_is_accepted_passes_until_its_day(run: Any) -> None:
    excused = '["GHSA-1"]\nreason = "never called"\nuntil = {}\n["PYSEC-2"]\nreason = "so"\nuntil = 9999-01-01\n'
    answer = json.dumps({"dependencies": [ANSWER[0], ANSWER[2]]})
    result = run(answer, excused.format("9999-01-01"), code=1)
    assert result.exit_code == 0, result.output
    assert "accepted until 9999-01-01: never called" in result.output
    result = run(answer, excused.format("2020-01-01"), code=1)
    assert result.exit_code == 1
    assert "1 known vulnerability not accepted" in result.output


def test_without_a_network_it_says_so_and_passes_for_nothing(run: Any) -> None:
    result = run("", code=1, words="Traceback\n  much\nConnectionError: no route to host\n")
    assert result.exit_code == 2
    assert (
        "was not audited: pip-audit gave no answer: ConnectionError: no route to host. An audit needs" in result.output
    )


def test_an_index_without_advisories_is_no_clean_bill(run: Any) -> None:
    """What pip-audit takes for a success: no package is known to the service, and so nothing against any."""
    result = run(json.dumps({"dependencies": [ANSWER[1]]}))
    assert result.exit_code == 2
    assert "1 of the packages were not looked at: the service does not know them" in result.output


def test_a_program_that_is_not_there_is_said(audit: ModuleType, tmp_path: Path) -> None:
    lock = tmp_path / "lock.txt"
    lock.touch()
    result = CliRunner().invoke(audit.main, [str(tmp_path / "nothing"), str(lock)])
    assert result.exit_code == 2
    assert "cannot be run: No such file or directory" in result.output


def test_what_is_accepted_here_has_reasons_and_days(audit: ModuleType) -> None:
    for excuse in audit.read_excuses(FILE.with_name("audited.toml").read_text()).values():
        assert excuse.reason
        assert isinstance(excuse.until, date)
    with pytest.raises(ValueError, match="until: expected a date"):
        audit.read_excuses('["X"]\nreason = "so"\nuntil = "soon"')
