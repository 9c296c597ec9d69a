"""One run of the fuzzer over one target, in a process of its own, and what it came to."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from tests.fuzz.checks import CHECKS
from tests.fuzz.corpus import LARGEST, write_seeds, write_words

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / ".cache" / "fuzz"
"""Grown corpora and findings; git ignores it."""

_INPUT_S = 60
_MOST_MEBIBYTES = 2048
_SPARE_S = 120.0
"""For imports, and for the input that is under way when the time is up."""
_CHATTER = ("INFO: Instrumenting", "WARNING: Failed to find function")
_WRITTEN = re.compile(r"Test unit written to (.+)$", re.MULTILINE)
_EXECUTED = re.compile(r"stat::number_of_executed_units:\s*(\d+)")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a run came to."""

    target: str
    executed: int
    """Inputs that were tried, those of the corpus included."""
    seconds: float
    finding: Path | None
    """The input that broke a rule, kept where git ignores it."""
    failed: bool
    log: str
    """The fuzzer's own words, the last of them."""

    @property
    def replay(self) -> str:
        """The command that tries the finding again."""
        return f".venv/bin/python -m tests.fuzz replay {self.target} {self.finding}"


def fuzz(
    target: str,
    *,
    runs: int | None,
    seconds: float,
    seed: int,
    work: Path,
    findings: Path = FOLDER,
    check: str | None = None,
    largest: int = LARGEST,
) -> Outcome:
    """Fuzz one target.

    Args:
        target: One of ``CHECKS``.
        runs: After how many inputs it ends; None if only the time counts. With ``seed`` and a new ``work`` this makes
            a run that repeats.
        seconds: After which time it ends at the latest.
        seed: Of the mutations.
        work: Folder of the corpus that grows, of seeds and log. What is in it already is gone on from.
        findings: An input that breaks a rule is kept in a folder of the target's name in here.
        check: ``module:name`` of another check than the target's.
        largest: Bytes of the largest input.
    """
    work = work.resolve()  # the fuzzer's own folder is another
    corpus, seeds, found = (work / target / name for name in ("corpus", "seeds", "found"))
    for folder in (corpus, found):
        folder.mkdir(parents=True, exist_ok=True)
    if target in CHECKS:
        shutil.rmtree(seeds, ignore_errors=True)
        write_seeds(target, seeds)
        write_words(target, work / target / "words")
    command = [
        *(sys.executable, "-m", "tests.fuzz.engine", check or f"tests.fuzz.checks:check_{target}"),
        *(str(folder) for folder in (corpus, seeds) if folder.is_dir()),
        *([f"-dict={work / target / 'words'}"] if target in CHECKS else []),
        *([] if runs is None else [f"-runs={runs}"]),
        *(f"-max_total_time={max(1, round(seconds))}", f"-seed={seed}", f"-max_len={largest}", "-len_control=0"),
        *(f"-timeout={_INPUT_S}", f"-rss_limit_mb={_MOST_MEBIBYTES}", "-reload=0", "-print_final_stats=1"),
        f"-artifact_prefix={found}/",
    ]
    # The same hashes each time: the order of sets is part of what repeats.
    environment = {**os.environ, "PYTHONHASHSEED": "0", "PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "1"}
    log, start = work / target / "log.txt", time.monotonic()
    with log.open("wb") as sink:
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=sink, stderr=subprocess.STDOUT)
        try:
            code = process.wait(seconds + _SPARE_S)
        except subprocess.TimeoutExpired:
            code = -1
        finally:
            process.kill()
            process.wait()
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    text = "\n".join(line for line in lines if not line.startswith(_CHATTER))
    written = [Path(path) for path in _WRITTEN.findall(text) if not Path(path).name.startswith("slow-unit")]
    executed = _EXECUTED.search(text)
    return Outcome(
        target=target,
        executed=int(executed[1]) if executed else 0,
        seconds=time.monotonic() - start,
        finding=_kept(written[-1], findings / target / "findings") if written and code else None,
        failed=code != 0,
        log=text[-6000:],
    )


def _kept(finding: Path, folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return Path(shutil.copy(finding, folder / finding.name))
