"""The preflight of one network version: its files, its record, and how it answers."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tritonclient.grpc.model_config_pb2 import ModelConfig

from trident.errors import SetupError
from trident.model_config import network_file
from trident.rollout.findings import Finding, Verdict
from trident.rollout.preflight_limits import PreflightLimits
from trident.rollout.record import read_record
from trident.rollout.release import Change
from trident.rollout.trial import Subject, Trial, config_json, try_network
from trident.verification import again, record_problems


def examine_network(
    repository: Path, config: ModelConfig, change: Change, limits: PreflightLimits
) -> Iterator[Finding]:
    """Look at one network version, cheap checks first; what the later ones need must have passed.

    Args:
        repository: The model repository.
        config: The component's configuration.
        change: From which version to which.
        limits: What it may take.
    """
    component, version = change.component, change.after
    file = network_file(repository / component, version, config)
    if not file.is_file():
        yield _refused(change, "files", f"{component} {version}: expected {file}, got no such file; {_again(change)}")
        return
    try:
        record = read_record(file.parent)
    except SetupError as exc:
        yield _refused(change, "record", f"{component} {version}: {exc}; {_again(change)}")
        return
    problems = list(_record_problems(change, file, record))
    yield from problems
    if problems:
        # A file that is not what its record says is nobody's network: it is not run.
        return
    facts: dict[str, Any] = {key: record[key] for key in ("name", "digest", "sha256") if key in record}
    about = f"{component} {version}: {record.get('name') or 'a network'}, whole"
    yield Finding(component, "record", Verdict.OK, about, {**facts, "bytes": file.stat().st_size})
    yield from _classes(repository, config, change, record)
    yield from _tried(repository, config, change, file=file, record=record, limits=limits)


def _record_problems(change: Change, file: Path, record: dict[str, Any]) -> Iterator[Finding]:
    for check, sentence in record_problems(change.component, change.after, file, record):
        yield _refused(change, check, f"{sentence}; {_again(change, record)}")


def _classes(repository: Path, config: ModelConfig, change: Change, record: dict[str, Any]) -> Iterator[Finding]:
    """The class list is the one whose names the answers are given: that of the version that serves."""
    component, version = change.component, change.after
    try:
        serving = read_record(network_file(repository / component, change.before, config).parent).get("classes")
    except SetupError:
        serving = None
    if not serving:
        return
    classes = record.get("classes")
    if not classes:
        sentence = (
            f"{component} {version}: class list: expected {serving!r}, that of version {change.before}, got none in "
            "its record: make sure that its classes are in that order"
        )
        yield Finding(component, "classes", Verdict.WARNING, sentence)
    elif classes != serving:
        sentence = (
            f"{component} {version}: class list: expected {serving!r}, that of version {change.before}, got {classes!r}"
            ": its answers would be given the wrong names"
        )
        yield _refused(change, "classes", sentence)
    else:
        yield Finding(component, "classes", Verdict.OK, f"{component} {version}: class list {classes}")


def _tried(
    repository: Path,
    config: ModelConfig,
    change: Change,
    *,
    file: Path,
    record: Mapping[str, Any],
    limits: PreflightLimits,
) -> Iterator[Finding]:
    component, version = change.component, change.after
    if missing := [name for name in ("onnx", "onnxruntime") if importlib.util.find_spec(name) is None]:
        sentence = (
            f"{component} {version}: expected the packages onnx and onnxruntime, which it is tried with, got an "
            f"installation without {' and '.join(missing)}: run `make install` in the clone, or pip install '.[serve]'"
        )
        yield _refused(change, "trial", sentence)
        return
    beside = network_file(repository / component, change.before, config)
    settings = config_json(config)
    subject = Subject(component, version, file, str(record["digest"]), settings, beside if beside.is_file() else None)
    trial = try_network(subject, limits.trial)
    for finding in trial.findings:
        if finding.verdict is Verdict.REFUSED:
            sentence = f"{finding.sentence}; repair it and {_again(change, record)}"
            yield Finding(component, finding.check, finding.verdict, sentence, finding.facts)
        else:
            yield finding
    if trial.passed and not any(finding.check == "speed" for finding in trial.findings):
        yield _speed(change, trial, limits)


def _speed(change: Change, trial: Trial, limits: PreflightLimits) -> Finding:
    component, version = change.component, change.after
    facts = dict(trial.facts)
    if "ms" not in facts:
        sentence = f"{component} {version}: version {change.before} is not there to compare its time with"
        return Finding(component, "speed", Verdict.WARNING, sentence, facts)
    ratio = facts["ms"] / max(facts["ms_before"], 1e-3)
    noticed = facts["ms"] - facts["ms_before"] >= limits.least_ms
    facts["slower"] = round(ratio, 2)
    took = (
        f"{component} {version}: {facts['ms']:.1f} ms of processor time a picture, {ratio:.1f} times the "
        f"{facts['ms_before']:.1f} ms of version {change.before}"
    )
    if noticed and ratio >= limits.slower:
        sentence = (
            f"{took}; expected less than {limits.slower:g} times: take a smaller network, or raise the limit "
            "preflight.slower"
        )
        return _refused(change, "speed", sentence, facts)
    if noticed and ratio >= limits.slower_warning:
        sentence = (
            f"{took}; expected less than {limits.slower_warning:g} times: fewer pictures will be answered a second"
        )
        return Finding(component, "speed", Verdict.WARNING, sentence, facts)
    return Finding(component, "speed", Verdict.OK, took, facts)


def _refused(change: Change, check: str, sentence: str, facts: dict[str, Any] | None = None) -> Finding:
    return Finding(change.component, check, Verdict.REFUSED, sentence, facts or {})


def _again(change: Change, record: Mapping[str, Any] | None = None) -> str:
    return again(change.component, change.after, record)
