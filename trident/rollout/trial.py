"""Tries a version in a process of its own, where it may crash, hang or eat memory without harm to anybody else.

The process, ``trial_run`` for a network and ``python_trial_run`` for a ``model.py``, has limits on processor time, wall
time and memory, and the lowest priority, since a server may be answering on the same machine.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from google.protobuf import json_format
from tritonclient.grpc.model_config_pb2 import ModelConfig

import trident
from trident.model_config import string_parameters
from trident.rollout.findings import Finding, Verdict

_RUN = "trident.rollout.trial_run"
_PYTHON_RUN = "trident.rollout.python_trial_run"
_PACKAGE_ROOT = Path(trident.__file__).resolve().parent.parent
_LAST_WORDS = 300


@dataclass(frozen=True, slots=True)
class TrialLimits:
    """What a network may take while it is tried."""

    cpu_s: float = 60.0
    """Processor time of the whole trial in seconds, the libraries' imports included."""
    wall_s: float = 180.0
    """Time of the whole trial; far more than ``cpu_s``, since a server that is busy comes first."""
    memory_mib: int = 8192
    """Address space of the process."""


@dataclass(frozen=True, slots=True)
class Subject:
    """The network that is tried, and what it is held against."""

    component: str
    version: int
    file: Path
    digest: str
    """What its ``PROVENANCE`` must say; empty for anything."""
    config: Mapping[str, Any]
    """The component's configuration in its JSON form, as Triton hands it to a backend."""
    beside: Path | None = None
    """The network that serves now, for its time; None for no comparison."""


@dataclass(frozen=True, slots=True)
class Trial:
    """What came out of it."""

    findings: tuple[Finding, ...]
    facts: Mapping[str, Any] = field(default_factory=dict)
    """``ms`` and ``ms_before``: processor time of one picture, of the new and of the old network; ``memory_mib``."""

    @property
    def passed(self) -> bool:
        """Whether nothing was refused."""
        return all(finding.verdict is not Verdict.REFUSED for finding in self.findings)


def config_json(config: ModelConfig) -> dict[str, Any]:
    """A configuration in the JSON form in which Triton hands it to a backend."""
    settings: dict[str, Any] = json_format.MessageToDict(config, preserving_proto_field_name=True)
    # An empty value is left out by protobuf, and not by Triton.
    settings["parameters"] = {key: {"string_value": value} for key, value in string_parameters(config).items()}
    return settings


def try_network(subject: Subject, limits: TrialLimits | None = None) -> Trial:
    """Read, open and run a network in a process of its own, and time it beside the old one.

    Never raises for what the network does: a crash, a hang and a wrong answer are findings.

    Args:
        subject: The network.
        limits: What it may take.
    """
    return _run(_RUN, subject, limits or TrialLimits())


def try_python(subject: Subject, limits: TrialLimits | None = None) -> Trial:
    """Load a version of a Python component in a process of its own, and have it answer its warm-up.

    Never raises for what the version does.

    Args:
        subject: The version; ``file`` is its ``model.py``.
        limits: What it may take.
    """
    return _run(_PYTHON_RUN, subject, limits or TrialLimits())


def _run(module: str, subject: Subject, limits: TrialLimits) -> Trial:
    request = {
        "component": subject.component,
        "version": subject.version,
        "file": str(subject.file.resolve()),
        "digest": subject.digest,
        "config": dict(subject.config),
        "beside": None if subject.beside is None else str(subject.beside.resolve()),
        "cpu_s": limits.cpu_s,
        "wall_s": limits.wall_s,
        "memory_mib": limits.memory_mib,
    }
    # -P: a file called onnx.py in the operator's folder is not our onnx.
    command = [sys.executable, "-P", "-m", module]
    with tempfile.TemporaryFile() as errors:
        try:
            done = subprocess.run(
                command,
                input=json.dumps(request).encode(),
                stdout=subprocess.PIPE,
                stderr=errors,
                env=_environment(),
                timeout=limits.wall_s,
                check=False,
                start_new_session=True,  # so that its priority counts beside a server's
            )
            output, code = done.stdout, done.returncode
        except subprocess.TimeoutExpired as exc:
            output, code = exc.stdout or b"", -signal.SIGALRM
        errors.seek(0)
        words = errors.read().decode(errors="replace")
    return _understood(subject, limits, output, code, words)


def _environment() -> dict[str, str]:
    # No recording of live traffic: what is tried is fed no traffic.
    env = {name: value for name, value in os.environ.items() if not name.startswith("TRIDENT_RECORD")}
    inherited = env.get("PYTHONPATH")
    env["PYTHONPATH"] = f"{_PACKAGE_ROOT}{os.pathsep}{inherited}" if inherited else str(_PACKAGE_ROOT)
    env["PYTHONDONTWRITEBYTECODE"] = "1"
    env |= dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    return env


def _understood(subject: Subject, limits: TrialLimits, output: bytes, code: int, words: str) -> Trial:
    findings: list[Finding] = []
    facts: dict[str, Any] = {}
    stage, done = "starting", False
    for line in output.splitlines():
        try:
            event = json.loads(line)
        except ValueError:
            continue  # cut off by the end of the process
        stage = event.get("stage", stage)
        done = done or bool(event.get("done"))
        facts |= event.get("facts", {})
        if "check" in event:
            findings.append(
                Finding(subject.component, event["check"], Verdict(event["verdict"]), event["sentence"], event["more"])
            )
    if not done:
        sentence = (
            f"{subject.component} {subject.version}, {subject.file}: expected a version that can be tried, "
            f"got one that {_end(code, limits, words)} while {stage}"
        )
        findings.append(Finding(subject.component, "trial", Verdict.REFUSED, sentence, {"exit_code": code}))
    return Trial(tuple(findings), facts)


def _end(code: int, limits: TrialLimits, words: str) -> str:
    """How a process that did not finish ended."""
    if code in (-signal.SIGXCPU, -signal.SIGKILL):
        return f"took more than {limits.cpu_s:g} s of processor time, or was killed,"
    if code == -signal.SIGALRM:
        return f"had not ended after {limits.wall_s:g} s"
    if code < 0:
        name = signal.Signals(-code).name
        return f"crashed its process ({name}; it may use up to {limits.memory_mib} MiB)"
    last = next((line.strip() for line in reversed(words.splitlines()) if line.strip()), "no word why")
    return f"ended its process with code {code} ({last[:_LAST_WORDS]})"
