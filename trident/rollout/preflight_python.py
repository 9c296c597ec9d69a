"""The preflight of a version of a Python component: its code, its settings, and what it was made for."""

from __future__ import annotations

import ast
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tritonclient.grpc.model_config_pb2 import ModelConfig

from trident.component_digest import digest_of_component
from trident.contract import CALLED, RECOGNIZER
from trident.entities.called_networks import NETWORKS_FILE, read_networks
from trident.entities.settings import Settings
from trident.errors import SetupError
from trident.fusion.policy import load_policy
from trident.layout import CODE_FILE
from trident.model_config import network_file, read_config, string_parameters
from trident.preprocess import Limits
from trident.rollout.findings import Finding, Verdict
from trident.rollout.preflight_limits import PreflightLimits
from trident.rollout.record import read_record
from trident.rollout.release import Change, Release
from trident.rollout.trial import Subject, config_json, try_python

_FUSION, _PREPROCESS = "fusion", "preprocess"
_POLICY = "policy.json"
_CLASS, _METHOD = "TritonPythonModel", "execute"
FITTED = ("classifier", "detector")
"""The branches that the fusion's weights are fitted on."""


def examine_python(
    repository: Path, config: ModelConfig, change: Change, after: Release, limits: PreflightLimits
) -> Iterator[Finding]:
    """Look at one version of a Python component.

    Args:
        repository: The model repository.
        config: The component's configuration.
        change: From which version to which.
        after: The whole release that is to serve.
        limits: What it may take while it is tried.
    """
    component, version = change.component, change.after
    folder = repository / component / str(version)
    code = folder / (config.default_model_filename or CODE_FILE)
    whole = True
    if problem := _code_problem(code):
        whole = False
        yield Finding(component, "code", Verdict.REFUSED, f"{component} {version}: {problem}")
    else:
        yield Finding(component, "code", Verdict.OK, f"{component} {version}: {code.name} can be compiled")
    checks: list[tuple[str, Callable[[], object]]] = []
    if component == _PREPROCESS:
        checks.append(("settings", lambda: Limits.from_parameters(string_parameters(config))))
    if component == _FUSION:
        checks.append(("policy", lambda: load_policy(folder / _POLICY)))
    if component == RECOGNIZER:
        checks.append(("settings", lambda: Settings.from_parameters(string_parameters(config), read_networks(folder))))
        checks.append(("networks", lambda: _check_networks(repository, folder, after)))
    for check, read in checks:
        try:
            read()
        except SetupError as exc:
            whole = False
            yield Finding(component, check, Verdict.REFUSED, f"{component} {version}: {exc}")
        else:
            yield Finding(component, check, Verdict.OK, f"{component} {version}: its {check} can be read")
    try:
        digest = digest_of_component(component, folder)
    except SetupError as exc:
        whole = False
        yield Finding(component, "files", Verdict.REFUSED, f"{component} {version}: {exc}")
    else:
        yield Finding(component, "files", Verdict.OK, f"{component} {version}: whole", {"digest": digest})
    if whole:
        settings = config_json(config)
        yield from try_python(Subject(component, version, code, "", settings), limits.trial).findings


def _code_problem(file: Path) -> str:
    """What keeps a file from being a Python model; empty if nothing that can be seen without running it."""
    try:
        source = file.read_bytes()
    except OSError as exc:
        return f"expected {file}, got a file that cannot be read ({exc.strerror})"
    try:
        tree = ast.parse(source, str(file))
        compile(source, str(file), "exec", dont_inherit=True)
    except (SyntaxError, ValueError) as exc:
        where = f", line {exc.lineno}" if isinstance(exc, SyntaxError) else ""
        return f"{file}{where}: expected Python code, got: {exc.msg if isinstance(exc, SyntaxError) else exc}"
    for node in tree.body:
        if isinstance(node, ast.ClassDef) and node.name == _CLASS:
            methods = {one.name for one in node.body if isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef)}
            return "" if _METHOD in methods else f"{file}: expected {_CLASS}.{_METHOD}, got a class without it"
    return f"{file}: expected a class {_CLASS}, got none"


def _check_networks(repository: Path, folder: Path, after: Release) -> None:
    """The networks that it names are those of the release, and are there. Raises SetupError."""
    named = read_networks(folder).versions
    for name in CALLED:
        version = named[name]
        if version != after[name]:
            raise SetupError(
                f"{folder / NETWORKS_FILE}: version of {name}: expected {after[name]}, which is to serve, got {version}"
            )
        file = network_file(repository / name, version, read_config(repository / name))
        if not file.is_file():
            raise SetupError(f"{folder / NETWORKS_FILE}: version of {name}: it names {version}, but there is no {file}")


def examine_fit(repository: Path, before: Release, after: Release) -> Iterator[Finding]:
    """Whether the fusion's weights were fitted for the branches that it will hear: a warning if not.

    The digests of the branches' records are compared with those that the fit wrote into ``policy.json``.
    """
    heard = [{name: _digest(repository, name, release[name]) for name in FITTED} for release in (before, after)]
    if before[_FUSION] == after[_FUSION] and heard[0] == heard[1]:
        return
    policy = repository / _FUSION / str(after[_FUSION]) / _POLICY
    fitted = _fitted_for(policy)
    others = []
    for name, digest in heard[1].items():
        if digest and name in fitted and fitted[name] != digest:
            others.append(f"{name} {after[name]} ({digest[:19]}…)")
    if others:
        sentence = (
            f"fusion {after[_FUSION]}: its weights were fitted for other networks than {' and '.join(others)}; fused "
            "scores may be off. Fit a version of its own for them: `python -m benchmarks.fit_fusion --data DIR --url "
            "HOST:PORT --write`, and roll out both at once"
        )
        yield Finding(_FUSION, "fit", Verdict.WARNING, sentence, {"fitted_for": fitted})
    elif fitted:
        yield Finding(_FUSION, "fit", Verdict.OK, f"fusion {after[_FUSION]}: fitted for these networks")


def _fitted_for(policy: Path) -> dict[str, str]:
    """Digest of each branch that a policy was fitted with; empty where it does not say."""
    try:
        content: Any = json.loads(policy.read_text(encoding="utf-8"))
        networks = content["fit"]["networks"]
        return {name: str(networks[name]["digest"]) for name in FITTED if name in networks}
    except (OSError, ValueError, KeyError, TypeError):
        # A policy that cannot be read is refused when the fusion itself is looked at; a fit is not required.
        return {}


def _digest(repository: Path, component: str, version: int) -> str:
    try:
        return str(read_record(repository / component / str(version)).get("digest", ""))
    except SetupError:
        return ""
