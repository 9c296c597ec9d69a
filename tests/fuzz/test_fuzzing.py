"""A bounded run of the fuzzer over each target: as many inputs each time, from the same seed, or what time allows."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from tests.fuzz import planted
from tests.fuzz.__main__ import main
from tests.fuzz.checks import CHECKS
from tests.fuzz.corpus import seeds
from tests.fuzz.runner import fuzz

pytest.importorskip("atheris", reason="atheris has no wheel for this machine")

RUNS = {"decode": 6_000, "fusion": 8_000, "answer": 60_000}
MOST_S = 60.0
"""On a slow machine time ends a run."""
LEAST = 0.1
"""Part of its inputs that a run has to come to all the same: several times what it starts from."""
SEED = 2


@pytest.mark.parametrize("target", CHECKS)
def test_no_input_breaks_a_rule(target, tmp_path):
    outcome = fuzz(target, runs=RUNS[target], seconds=MOST_S, seed=SEED, work=tmp_path)
    assert not outcome.failed, f"try it again: {outcome.replay}\n{outcome.log}"
    assert outcome.executed >= LEAST * RUNS[target] > 4 * len(seeds(target))


def test_coverage_leads_to_a_flaw(tmp_path):
    """One that lies behind three comparisons, each of which one byte in 256 passes: one input in 16 million."""
    check = f"{planted.__name__}:{planted.check_planted.__name__}"
    outcome = fuzz(
        "planted", runs=200_000, seconds=180, seed=SEED, work=tmp_path, findings=tmp_path, check=check, largest=16
    )
    assert outcome.failed, outcome.log
    assert outcome.finding is not None, outcome.log
    assert outcome.finding.read_bytes().startswith(planted.WORD)
    assert "KeyError" in outcome.log


def test_a_fuzzer_that_cannot_start_is_no_success(tmp_path):
    outcome = fuzz(
        "planted", runs=1, seconds=1, seed=SEED, work=tmp_path, findings=tmp_path, check="tests.fuzz:nothing"
    )
    assert outcome.failed
    assert outcome.finding is None
    assert "AttributeError" in outcome.log


def test_a_finding_can_be_tried_again(tmp_path, monkeypatch):
    for name, data in {"good": b"anything", "bad": planted.WORD}.items():
        (tmp_path / name).write_bytes(data)
    monkeypatch.setitem(CHECKS, "decode", planted.check_planted)
    told = CliRunner().invoke(main, ["replay", "decode", str(tmp_path)])
    assert told.exit_code == 1
    assert f"{tmp_path / 'good'}: accepted" in told.output
    assert f"{tmp_path / 'bad'}: breaks a rule" in told.output
    assert "KeyError" in told.output
    assert CliRunner().invoke(main, ["replay", "decode", str(tmp_path / "good")]).exit_code == 0


def test_a_run_by_hand_tells_how_it_went(tmp_path):
    told = CliRunner().invoke(main, ["run", "answer", "--runs", "50", "--seconds", "30", "--folder", str(tmp_path)])
    assert told.exit_code == 0, told.output
    assert "none of which breaks a rule" in told.output
