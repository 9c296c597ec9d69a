"""A canary: a share of the traffic is answered by the new release, in the server, while it is watched.

While it runs, three models share the work. ``trident_stable`` and ``trident_candidate`` are the ensemble with the old
and the new release, and a Python model takes the place of ``trident`` and sends each request to one of them. None of
the three is on disk: a restart of the server ends the canary, and so does loading ``trident``.
"""

from __future__ import annotations

import contextlib
import time
import uuid
from collections.abc import Mapping
from dataclasses import replace
from importlib import resources
from pathlib import Path

from tritonclient.grpc.model_config_pb2 import ModelConfig

from trident.contract import CANDIDATE, ENSEMBLE, STABLE
from trident.errors import SetupError
from trident.model_config import ensemble_pins, string_parameters
from trident.rollout.canary_record import SILENT_S, WatchReader, older
from trident.rollout.release import Release
from trident.rollout.routing import PATIENCE_S, Settings
from trident.rollout.serving import READY, Serving, ServingError

WATCH_FILE = "canary.jsonl"
"""Usual name of the watch file. At the root of a model repository it is in nobody's way: Triton looks at folders."""

# Triton wants a file in the folder of a version, also of an ensemble, which has none.
_PLACEHOLDER: Mapping[str, bytes] = {"1/about.txt": b"An ensemble: its configuration is all there is.\n"}
_MARGIN_S = 30.0
_COMPARE_SHARE = 0.25

_LOOK_S = 0.05
_THROUGH_S = 60.0


def ensemble_config(base: ModelConfig, name: str, release: Release) -> ModelConfig:
    """The ensemble under another name, its steps pinned to a release.

    Args:
        base: The ensemble's configuration.
        name: ``CANDIDATE`` or ``STABLE``.
        release: Versions of the steps at least.

    Raises:
        SetupError: A step has no version in the release.
    """
    config = ModelConfig()
    config.CopyFrom(base)
    config.name = name
    config.version_policy.specific.versions[:] = [1]
    for step in config.ensemble_scheduling.step:
        if step.model_name not in release:
            raise SetupError(f"release: expected a version of {step.model_name}, got {', '.join(sorted(release))}")
        step.model_version = release[step.model_name]
    return config


def load_ensemble(serving: Serving, base: ModelConfig, name: str, release: Release) -> None:
    """Load the ensemble with a release under another name, unless it is there already.

    Raises:
        ServingError: The server refuses it, or it is not ready afterwards.
    """
    config = ensemble_config(base, name, release)
    if serving.ready(name) and ensemble_pins(serving.config(name)) == ensemble_pins(config):
        return
    serving.load(name, config, _PLACEHOLDER)
    _check_ready(serving, name)


def router_config(base: ModelConfig, first_step: ModelConfig, settings: Settings) -> ModelConfig:
    """The configuration of the Python model that stands in for the ensemble.

    Args:
        base: The ensemble's configuration: same name, tensors and batch size.
        first_step: That of its first step, whose queue has the limits of the whole ensemble: the router has them too.
        settings: Become its parameters.
    """
    config = ModelConfig()
    config.CopyFrom(base)
    config.ClearField("ensemble_scheduling")
    config.ClearField("platform")
    config.backend = "python"
    config.version_policy.specific.versions[:] = [1]
    config.instance_group.add(kind="KIND_CPU", count=1)
    if first_step.HasField("dynamic_batching"):
        config.dynamic_batching.CopyFrom(first_step.dynamic_batching)
        # The router takes whatever waits. Triton's batcher looks for an idle instance when a request comes, or after
        # half a second: one at a time, those who came together would be taken two a second.
        config.dynamic_batching.ClearField("preferred_batch_size")
    for name, value in settings.to_parameters().items():
        config.parameters[name].string_value = value
    return config


def running(config: ModelConfig) -> Settings | None:
    """The settings of the canary that a configuration of ``trident`` belongs to; None for anything else."""
    if config.HasField("ensemble_scheduling"):
        return None
    try:
        return Settings.from_parameters(string_parameters(config))
    except SetupError:
        return None


def begin(
    serving: Serving,
    base: ModelConfig,
    first_step: ModelConfig,
    before: Release,
    after: Release,
    *,
    share: float,
    seconds: float,
    watch_file: Path,
    salt: str,
    compare_share: float = _COMPARE_SHARE,
    patience_s: float = PATIENCE_S,
) -> Settings:
    """Put the router in the place of the ensemble. No request fails by it.

    The versions of both releases must be loaded. If anything goes wrong, or interrupts it, the ensemble answers as
    before.

    Args:
        serving: The server.
        base: The ensemble's configuration on disk.
        first_step: That of its first step.
        before: The release that answers now.
        after: The one to try.
        share: Of the requests, in (0, 1], for the new one.
        seconds: How long it is to run. A little later the share ends by itself, should nobody end it.
        watch_file: Where the router notes what it does; on a disk that the server writes and this process reads.
        salt: One a rollout, for example its id.
        compare_share: Of the candidate's answers, in [0, 1], that are compared.
        patience_s: How long a caller waits for the candidate before the old release is asked.

    Raises:
        SetupError: A share out of its range, or an old watch file that cannot be removed.
        ServingError: The server refuses something, or ends.
    """
    if not 0 < share <= 1:
        raise SetupError(f"share of a canary: expected more than 0 and at most 1, got {share:g}")
    settings = Settings(
        stable=STABLE,
        candidate=CANDIDATE,
        run=uuid.uuid4().hex[:12],
        salt=salt,
        share=share,
        expires=time.time() + seconds + _MARGIN_S,
        compare_share=compare_share,
        watch_file=watch_file.resolve(),
        patience_s=patience_s,
    )
    try:
        for file in (settings.watch_file, older(settings.watch_file)):
            file.unlink(missing_ok=True)
    except OSError as exc:
        raise SetupError(f"watch file of the canary: cannot remove an old {file}: {exc.strerror}") from exc
    try:
        load_ensemble(serving, base, CANDIDATE, after)
        load_ensemble(serving, base, STABLE, before)
        _load_router(serving, router_config(base, first_step, settings))
    except BaseException:  # also Ctrl-C: nobody else knows of it yet
        with contextlib.suppress(ServingError):
            end(serving)
        raise
    return settings


def renew(serving: Serving, settings: Settings, *, seconds: float, share: float | None = None) -> Settings:
    """Let a canary run on, or with another share. Whom the candidate answers, it goes on to answer if the share grows.

    Args:
        serving: The server.
        settings: What ``begin`` gave.
        seconds: How long it is to run from now.
        share: Another share.

    Raises:
        SetupError: No canary runs.
        ServingError: The server refuses.
    """
    config = serving.config(ENSEMBLE)
    if running(config) is None:
        raise SetupError(f"{ENSEMBLE} is not a canary any more: the server was restarted, or it was ended")
    renewed = replace(
        settings,
        run=uuid.uuid4().hex[:12],
        expires=time.time() + seconds + _MARGIN_S,
        share=settings.share if share is None else share,
    )
    for name, value in renewed.to_parameters().items():
        config.parameters[name].string_value = value
    _load_router(serving, config)
    return renewed


def answer_from_disk(serving: Serving, base: ModelConfig | None = None) -> None:
    """Have the ensemble answer as its configuration on disk says, whatever stood in for it.

    Args:
        serving: The server.
        base: The ensemble's configuration on disk. Once it has dropped the ensemble, Triton answers a load from an
            unchanged file with OK, and does nothing; then this is handed over.

    Raises:
        Draining: The server is being stopped, and has let the ensemble go: it is not loaded again.
        ServingError: The server refuses, or the ensemble is not ready afterwards.
    """
    serving.load(ENSEMBLE)
    if base is not None and not serving.ready(ENSEMBLE):
        serving.load(ENSEMBLE, base)
    _check_ready(serving, ENSEMBLE)


def let_companions_go(serving: Serving) -> None:
    """Let the candidate and the stable ensemble go, where they are loaded. Raises ServingError."""
    for name in (CANDIDATE, STABLE):
        if READY in serving.states(name).values():
            serving.unload(name)


def end(serving: Serving, base: ModelConfig | None = None, *, wait_s: float = _THROUGH_S) -> bool:
    """Have the ensemble answer as its configuration on disk says, and let the canary's models go.

    No request fails by it. Harmless where no canary runs. The candidate and the stable ensemble go once the router has
    answered all that it had accepted, which it notes in the watch file.

    Args:
        serving: The server.
        base: As for ``answer_from_disk``.
        wait_s: How long to wait for that.

    Returns:
        Whether all was answered; False if the router did not say so, since it was killed or could not write.

    Raises:
        Draining: The server is being stopped, and has let the ensemble go: it is not loaded again.
        ServingError: The server refuses, or the ensemble is not ready.
    """
    settings = running(serving.config(ENSEMBLE)) if serving.ready(ENSEMBLE) else None
    answer_from_disk(serving, base)
    through = settings is None or _await_end(settings, wait_s)
    let_companions_go(serving)
    return through


def _load_router(serving: Serving, config: ModelConfig) -> None:
    code = resources.files("trident.rollout").joinpath("router.py").read_bytes()
    serving.load(ENSEMBLE, config, {"1/model.py": code})
    _check_ready(serving, ENSEMBLE)


def _check_ready(serving: Serving, model: str) -> None:
    if not serving.ready(model):
        raise ServingError(f"{model} is not ready although its load was answered OK", "INTERNAL")


def _await_end(settings: Settings, wait_s: float) -> bool:
    reader = WatchReader(settings.watch_file)
    began = last_beat = time.monotonic()
    while time.monotonic() < began + wait_s:
        try:
            lines = reader.read()
        except OSError:
            return False
        if any(line.get("end") == settings.run for line in lines):
            return True
        if any(line.get("beat") == settings.run for line in lines):
            last_beat = time.monotonic()
        if time.monotonic() > last_beat + SILENT_S:
            return False
        time.sleep(_LOOK_S)
    return False
