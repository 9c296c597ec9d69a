"""Putting a canary in the ensemble's place and taking it away again, on a server that only notes what it is asked."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from tritonclient.grpc.model_config_pb2 import ModelConfig

from trident.contract import CANDIDATE, ENSEMBLE, MODELS, STABLE
from trident.errors import SetupError
from trident.layout import DEFAULT_REPOSITORY
from trident.model_config import ensemble_pins, read_config, string_parameters
from trident.rollout import canary
from trident.rollout.routing import Settings
from trident.rollout.serving import READY, Draining, ServingError

BASE = read_config(DEFAULT_REPOSITORY / ENSEMBLE)
FIRST = read_config(DEFAULT_REPOSITORY / "preprocess")
BEFORE = ensemble_pins(BASE)
AFTER = BEFORE | {"classifier": 7}


class FakeServing:
    """Holds models as Triton would; loading ``fails`` fails."""

    def __init__(self, fails: str = "", not_ready: str = "") -> None:
        self.models = {ENSEMBLE: BASE}
        self.files: dict[str, Mapping[str, bytes]] = {}
        self.done: list[str] = []
        self._fails = fails
        self._not_ready = not_ready

    def ready(self, model: str, version: int | None = None) -> bool:
        return model in self.models and model != self._not_ready

    def states(self, model: str) -> Mapping[int, str]:
        return {1: READY} if model in self.models else {}

    def config(self, model: str) -> ModelConfig:
        return self.models[model]

    def load(self, model: str, config: ModelConfig | None = None, files: Mapping[str, bytes] | None = None) -> None:
        if config is not None and model == self._fails:
            raise ServingError("no", "INVALID_ARGUMENT")
        self.done.append(f"load {model}" + ("" if config is not None else " from disk"))
        self.models[model] = BASE if config is None else config
        self.files[model] = files or {}

    def unload(self, model: str) -> None:
        self.done.append(f"unload {model}")
        del self.models[model]


def begin(serving: FakeServing, folder: Path, **more: Any) -> Settings:
    options: dict[str, Any] = {"share": 0.1, "seconds": 60.0, "watch_file": folder / "canary.jsonl", "salt": "id"}
    return canary.begin(serving, BASE, FIRST, BEFORE, AFTER, **options | more)  # type: ignore[arg-type]


def say_end(settings: Settings) -> None:
    with settings.watch_file.open("a") as file:
        file.write(json.dumps({"end": settings.run}) + "\n")


def test_an_ensemble_under_another_name_differs_in_name_and_pins_alone() -> None:
    made = canary.ensemble_config(BASE, CANDIDATE, AFTER)

    assert (made.name, ensemble_pins(made)) == (CANDIDATE, AFTER)
    made.name = ENSEMBLE
    for step in made.ensemble_scheduling.step:
        step.model_version = BEFORE[step.model_name]
    assert made == BASE


def test_a_release_without_a_step_is_refused() -> None:
    with pytest.raises(SetupError, match="expected a version of fusion, got classifier"):
        canary.ensemble_config(
            BASE, CANDIDATE, {"classifier": 1, "preprocess": 1, "detector": 1, "entity_recognizer": 1}
        )


def test_the_router_looks_like_the_ensemble_from_outside(tmp_path: Path) -> None:
    serving = FakeServing()
    settings = begin(serving, tmp_path)
    router = serving.models[ENSEMBLE]

    assert (router.name, router.backend, router.platform) == (ENSEMBLE, "python", "")
    assert not router.HasField("ensemble_scheduling")
    assert (list(router.input), list(router.output)) == (list(BASE.input), list(BASE.output))
    assert [tensor.name for tensor in router.output] == [spec.name for spec in MODELS[ENSEMBLE].outputs]
    assert router.max_batch_size == BASE.max_batch_size
    batching = deepcopy(FIRST.dynamic_batching)
    assert batching.preferred_batch_size
    del batching.preferred_batch_size[:]  # with it, requests that come together wait for half seconds
    assert router.dynamic_batching == batching
    assert router.dynamic_batching.default_queue_policy.max_queue_size > 0
    assert Settings.from_parameters(string_parameters(router)) == settings == canary.running(router)
    assert b"class TritonPythonModel" in serving.files[ENSEMBLE]["1/model.py"]


def test_both_releases_are_there_before_the_router(tmp_path: Path) -> None:
    serving = FakeServing()
    settings = begin(serving, tmp_path)

    assert serving.done == [f"load {CANDIDATE}", f"load {STABLE}", f"load {ENSEMBLE}"]
    assert (ensemble_pins(serving.models[CANDIDATE]), ensemble_pins(serving.models[STABLE])) == (AFTER, BEFORE)
    assert 80 < settings.expires - time.time() < 100


def test_a_candidate_that_is_there_already_is_not_loaded_again(tmp_path: Path) -> None:
    serving = FakeServing()
    canary.load_ensemble(serving, BASE, CANDIDATE, AFTER)  # type: ignore[arg-type]
    begin(serving, tmp_path)

    assert serving.done.count(f"load {CANDIDATE}") == 1


def test_a_candidate_with_another_release_is_loaded_anew(tmp_path: Path) -> None:
    serving = FakeServing()
    canary.load_ensemble(serving, BASE, CANDIDATE, BEFORE)  # type: ignore[arg-type]
    begin(serving, tmp_path)

    assert ensemble_pins(serving.models[CANDIDATE]) == AFTER


@pytest.mark.parametrize(
    "serving",
    [
        pytest.param(FakeServing(fails=STABLE), id="the stable ensemble"),
        pytest.param(FakeServing(fails=ENSEMBLE), id="the router"),
        pytest.param(FakeServing(not_ready=STABLE), id="not ready"),
    ],
)
def test_what_cannot_be_loaded_leaves_the_ensemble_as_it_was(tmp_path: Path, serving: FakeServing) -> None:
    with pytest.raises(ServingError):
        begin(serving, tmp_path)

    assert serving.models == {ENSEMBLE: BASE}


@pytest.mark.parametrize("model", [CANDIDATE, STABLE, ENSEMBLE])
@pytest.mark.parametrize("when", ["before", "after"])
def test_an_interruption_leaves_the_ensemble_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model: str, when: str
) -> None:
    monkeypatch.setattr(canary, "SILENT_S", 0.05)  # there is no router that could say that it has ended

    class Interrupted(FakeServing):
        def load(self, name: str, config: ModelConfig | None = None, files: Mapping[str, bytes] | None = None) -> None:
            if when == "after":
                super().load(name, config, files)
            if name == model and config is not None:
                raise KeyboardInterrupt
            if when == "before":
                super().load(name, config, files)

    serving = Interrupted()
    with pytest.raises(KeyboardInterrupt):
        begin(serving, tmp_path)

    assert serving.models == {ENSEMBLE: BASE}


@pytest.mark.parametrize("share", [0.0, -0.1, 1.1, float("nan")])
def test_a_share_out_of_its_range_is_refused(tmp_path: Path, share: float) -> None:
    serving = FakeServing()
    with pytest.raises(SetupError, match="expected more than 0 and at most 1"):
        begin(serving, tmp_path, share=share)

    assert serving.done == []


def test_an_old_record_is_not_taken_for_this_canary_s(tmp_path: Path) -> None:
    for name in ("canary.jsonl", "canary.jsonl.1"):
        (tmp_path / name).write_text("{}\n")
    begin(FakeServing(), tmp_path)

    assert list(tmp_path.iterdir()) == []


def test_the_end_waits_for_the_router_s_last_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    serving = FakeServing()
    settings = begin(serving, tmp_path)
    waits: list[float] = []

    def sleep(seconds: float) -> None:
        waits.append(seconds)
        assert CANDIDATE in serving.models
        if len(waits) == 3:
            say_end(settings)

    monkeypatch.setattr(time, "sleep", sleep)
    through = canary.end(serving)  # type: ignore[arg-type]

    assert through
    assert len(waits) == 3
    assert serving.done[3:] == [f"load {ENSEMBLE} from disk", f"unload {CANDIDATE}", f"unload {STABLE}"]
    assert serving.models == {ENSEMBLE: BASE}


def test_the_end_does_not_wait_for_ever(tmp_path: Path) -> None:
    serving = FakeServing()
    begin(serving, tmp_path)

    assert canary.end(serving, wait_s=0.1) is False  # type: ignore[arg-type]
    assert serving.models == {ENSEMBLE: BASE}


def test_the_end_of_another_router_is_not_this_one_s(tmp_path: Path) -> None:
    serving = FakeServing()
    settings = begin(serving, tmp_path)
    settings.watch_file.write_text('{"end":"another"}\n')

    assert canary.end(serving, wait_s=0.1) is False  # type: ignore[arg-type]


def test_without_a_canary_the_end_waits_for_nothing() -> None:
    serving = FakeServing()

    assert canary.end(serving)  # type: ignore[arg-type]
    assert serving.done == [f"load {ENSEMBLE} from disk"]
    assert canary.running(BASE) is None


def test_a_server_that_is_being_stopped_is_left_alone(tmp_path: Path) -> None:
    class Stopping(FakeServing):
        def load(self, model: str, config: ModelConfig | None = None, files: Mapping[str, bytes] | None = None) -> None:
            if ENSEMBLE not in self.models:
                raise Draining("it is being stopped", "UNAVAILABLE")
            super().load(model, config, files)

    serving = Stopping()
    begin(serving, tmp_path)
    del serving.models[ENSEMBLE]
    loaded = list(serving.done)

    with pytest.raises(Draining):
        canary.end(serving)  # type: ignore[arg-type]
    assert serving.done == loaded


def test_renewing_keeps_the_salt_and_changes_the_run(tmp_path: Path) -> None:
    serving = FakeServing()
    settings = begin(serving, tmp_path)
    renewed = canary.renew(serving, settings, seconds=600.0, share=0.5)  # type: ignore[arg-type]

    assert (renewed.share, renewed.salt) == (0.5, settings.salt)
    assert renewed.run != settings.run
    assert renewed.expires > settings.expires
    assert canary.running(serving.models[ENSEMBLE]) == renewed


def test_what_has_ended_cannot_be_renewed(tmp_path: Path) -> None:
    serving = FakeServing()
    settings = begin(serving, tmp_path)
    say_end(settings)
    canary.end(serving)  # type: ignore[arg-type]

    with pytest.raises(SetupError, match="is not a canary any more"):
        canary.renew(serving, settings, seconds=60.0)  # type: ignore[arg-type]
