"""A Triton that is only its bookkeeping: which versions are loaded, and what the ensemble calls. For tests of rollouts.

It behaves as the bundled server was seen to: a load in line with a policy starts and stops only the versions that
differ, a failed load leaves the old as it was, loading the ensemble looks at its components' folders again, and what
was loaded with a configuration of its own lasts until the server ends.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tritonclient.grpc.model_config_pb2 import ModelConfig

from trident.contract import CALLED, CANDIDATE, COMPONENTS, ENSEMBLE, RECOGNIZER, STABLE
from trident.model_config import ensemble_pins, read_config, served_versions
from trident.rollout.serving import ServerLost, ServingError, Statistics, Tensors


class FakeTriton:
    """Meets ``trident.rollout.serving.Serving``. ``before_call`` is told the name of each call, and may raise."""

    url = "fake:8001"

    def __init__(self, repository: Path, *, before_call: Callable[[str], None] = lambda _: None) -> None:
        self.repository = repository
        self.before_call = before_call
        self.broken: set[tuple[str, int]] = set()
        """Versions that cannot be loaded."""
        self.running = False
        self.start()

    def start(self) -> None:
        """Start, or start again, with what is on disk."""
        self.held: dict[str, set[int]] = {}
        self.ensembles: dict[str, ModelConfig] = {}
        self._seen: dict[str, str] = {}
        for component in COMPONENTS:
            self._load_component(component, None)
        self._load_ensemble(ENSEMBLE, None)
        self.running = True

    def kill(self) -> None:
        """End at once."""
        self.running = False

    def release(self, model: str = ENSEMBLE) -> dict[str, int]:
        """What answers: with the recognizer's networks, as its version names them. All of it has to be loaded."""
        config = self.ensembles[model]
        if not config.HasField("ensemble_scheduling"):  # a canary's router: the old release, and a share of the new
            self.release(CANDIDATE)
            return self.release(STABLE)
        pins = ensemble_pins(config)
        named = json.loads((self.repository / RECOGNIZER / str(pins[RECOGNIZER]) / "networks.json").read_text())
        release = pins | {name: int(named[name]["version"]) for name in CALLED}
        for name, version in release.items():
            assert version in self.held[name], f"{model} calls {name} {version}, which is not loaded"
        return release

    def ready(self, model: str, version: int | None = None) -> bool:
        """See ``Serving``."""
        self._called("ready")
        if model in self.ensembles:
            return True
        return bool(self.held.get(model)) if version is None else version in self.held.get(model, set())

    def states(self, model: str) -> Mapping[int, str]:
        """See ``Serving``."""
        self._called("states")
        if model in self.ensembles:
            return {1: "READY"}
        return dict.fromkeys(self.held.get(model, ()), "READY")

    def config(self, model: str) -> ModelConfig:
        """See ``Serving``."""
        self._called("config")
        return self.ensembles[model] if model in self.ensembles else read_config(self.repository / model)

    def load(self, model: str, config: ModelConfig | None = None, files: Mapping[str, bytes] | None = None) -> None:
        """See ``Serving``."""
        self._called(f"load {model}")
        if model in COMPONENTS:
            self._load_component(model, config)
        else:
            self._load_ensemble(model, config)
        self._called(f"loaded {model}")

    def unload(self, model: str) -> None:
        """See ``Serving``."""
        self._called(f"unload {model}")
        assert model not in COMPONENTS, "unloading a component takes the ensemble down"
        self.ensembles.pop(model, None)
        self._called(f"unloaded {model}")

    def statistics(self, model: str, version: int | None = None) -> Statistics:
        """See ``Serving``."""
        self._called("statistics")
        return Statistics()

    def infer(
        self,
        model: str,
        tensors: Tensors,
        *,
        version: int | None = None,
        like: str | None = None,
        outputs: Sequence[str] | None = None,
    ) -> dict[str, Any]:
        """See ``Serving``: an answer that holds nothing but who answered."""
        self._called(f"infer {model}")
        if model not in self.ensembles:
            raise ServingError(f"Request for unknown model: '{model}' is not found", "NOT_FOUND")
        models = {name: {"version": number} for name, number in self.release(model).items()}
        return {"RESULT": np.array([[json.dumps({"models": models}).encode()]], dtype=np.object_)}

    def _called(self, what: str) -> None:
        self.before_call(what)
        if not self.running:
            raise ServerLost(f"no server answers at {self.url}", "UNAVAILABLE")

    def _load_component(self, name: str, config: ModelConfig | None) -> None:
        on_disk = (self.repository / name / "config.pbtxt").read_text()
        wanted = set(served_versions(config or read_config(self.repository / name)))
        for version in wanted - self.held.get(name, set()):
            if (name, version) in self.broken or not (self.repository / name / str(version)).is_dir():
                raise ServingError(f"load failed for model '{name}': version {version} is at UNAVAILABLE", "INTERNAL")
        self.held[name] = wanted
        self._seen[name] = on_disk

    def _load_ensemble(self, name: str, config: ModelConfig | None) -> None:
        if config is None and name != ENSEMBLE:
            raise ServingError(f"failed to load '{name}', failed to poll from model repository", "INTERNAL")
        config = config or read_config(self.repository / name)
        for component in ensemble_pins(config):
            if self._seen[component] != (self.repository / component / "config.pbtxt").read_text():
                self._load_component(component, None)
        for component, version in ensemble_pins(config).items():
            if version not in self.held[component]:
                raise ServingError(
                    f"'{name}' depends on '{component}' whose version {version} is not loaded", "INTERNAL"
                )
        self.ensembles[name] = config
