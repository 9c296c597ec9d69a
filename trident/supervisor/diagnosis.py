"""Which processes are missing, and of which versions that matters: decisions only."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from enum import Enum, auto
from pathlib import Path

from tritonclient.grpc.model_config_pb2 import ModelConfig

from trident.contract import ENSEMBLE, RECOGNIZER, STABLE
from trident.entities.called_networks import read_networks
from trident.model_config import ensemble_pins
from trident.rollout.serving import READY, UNAVAILABLE, Serving
from trident.supervisor.processes import Stub

Version = tuple[str, int]
"""A model and one of its versions."""


class Verdict(Enum):
    """What the end of a process means for the version that it belonged to."""

    FINE = auto()
    """The version was let go, or other processes have taken over."""
    WAIT = auto()
    """It is being loaded or let go: look again."""
    DEAD = auto()
    """The server takes it for ready, and it lacks a process."""


def instances(config: ModelConfig) -> int:
    """How many processes one version of a model runs in, by the configuration that the server gives."""
    if config.HasField("ensemble_scheduling"):
        return 0
    return sum(max(1, group.count) * max(1, len(group.gpus)) for group in config.instance_group) or 1


def living(stubs: Iterable[Stub]) -> Counter[Version]:
    """How many processes each version has."""
    return Counter(stub.key for stub in stubs)


def judge(states: Mapping[int, str], version: int, *, alive: int, expected: int) -> Verdict:
    """What has become of a version one of whose processes has ended.

    Args:
        states: The server's word for each version of the model.
        version: The one in question.
        alive: How many processes it has.
        expected: How many it is to have.
    """
    state = states.get(version, UNAVAILABLE)
    if alive >= expected or state == UNAVAILABLE:
        return Verdict.FINE
    return Verdict.DEAD if state == READY else Verdict.WAIT


def answering(serving: Serving, repository: Path, model: str) -> set[Version] | None:
    """The versions that callers' answers come from now; None where all that are loaded count.

    A version that a rollout has loaded to look at is not among them: what becomes of it is for the rollout to judge.

    Args:
        serving: The server.
        repository: Its model repository.
        model: The served model. Only the ensemble is known to pin versions.

    Raises:
        ServingError: The server does not tell.
        SetupError: It cannot be read which networks the recognizer calls.
    """
    if model != ENSEMBLE:
        return None
    config = serving.config(ENSEMBLE)
    found: set[Version] = set()
    if not config.HasField("ensemble_scheduling"):  # a canary's router, which itself is a process
        found.add((ENSEMBLE, 1))
        config = serving.config(STABLE)
    pins = ensemble_pins(config)
    found |= set(pins.items())
    if RECOGNIZER in pins:
        found |= set(read_networks(repository / RECOGNIZER / str(pins[RECOGNIZER])).versions.items())
    return found


def matters(version: Version, answers: Collection[Version] | None) -> bool:
    """Whether callers' answers come from a version."""
    return answers is None or version in answers
