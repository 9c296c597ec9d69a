"""The shadow and the recorder against a real server, on a copy of the model repository."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from trident.access.restrictions import Access
from trident.contract import COMPONENTS, ENSEMBLE
from trident.entities.local import read_settings
from trident.launcher import TritonServer
from trident.launcher.installation import compile_models
from trident.layout import DEFAULT_REPOSITORY, MODEL_FILE
from trident.model_config import read_config
from trident.recorder import Recording
from trident.rollout import shadow
from trident.rollout.golden import default_pictures, folder_pictures
from trident.rollout.limits import Limits
from trident.rollout.report import write_report
from trident.rollout.serving import TritonServing, analyze
from trident.rollout.shadow_result import ShadowResult

BEFORE = dict.fromkeys(COMPONENTS, 1)
# Three with something for everybody: the whole set is for rollouts.
PICTURES = [one for one in default_pictures() if one.name in ("astronaut", "motorcycle", "nothing")]
# How fast the two are is not this test's matter, and the machine may be busy.
LIMITS = Limits().changed(["latency=100", "latency_whole=100"])


@dataclass(frozen=True)
class Loaded:
    repository: Path
    serving: TritonServing
    recorded: Path

    def release(self, component: str, version: int) -> dict[str, int]:
        """Load a version beside the serving one, and the candidate ensemble that pins it."""
        after = {**BEFORE, component: version}
        config = read_config(self.repository / component)
        config.version_policy.specific.versions[:] = sorted({1, version})
        self.serving.load(component, config)
        candidate = read_config(self.repository / ENSEMBLE)
        candidate.name = shadow.CANDIDATE
        for step in candidate.ensemble_scheduling.step:
            step.model_version = after[step.model_name]
        self.serving.load(shadow.CANDIDATE, candidate, {"1/about.txt": b"the new release"})
        return after

    def compare(self, after: dict[str, int]) -> ShadowResult:
        settings = read_settings(self.repository)
        return shadow.compare(self.serving, BEFORE, after, PICTURES, limits=LIMITS, settings=settings, rest=0.0)


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Loaded]:
    folder = tmp_path_factory.mktemp("shadow")
    repository = folder / "models"
    shutil.copytree(DEFAULT_REPOSITORY, repository)
    file = repository / "classifier" / "2" / MODEL_FILE
    assert file.is_file(), f"{file} has not been exported: run make export-all"
    shutil.copytree(repository / "fusion" / "1", repository / "fusion" / "2")
    compile_models(repository)
    recording = Recording(folder / "recorded", share=1.0, most=5)
    env = {"TRIDENT_GALLERY_URL": f"sqlite:///{folder / 'gallery.db'}", **recording.to_environment()}
    with (
        TritonServer(repository, grpc_port=0, http_port=0, metrics_port=0, env=env, access=Access()) as server,
        TritonServing(server.grpc_url) as serving,
    ):
        yield Loaded(repository, serving, recording.folder)
        assert server.running, server.failure()


def test_another_network_of_the_same_task_agrees(loaded: Loaded, tmp_path: Path) -> None:
    result = loaded.compare(loaded.release("classifier", 2))

    assert result.passed, result.complaints
    assert not result.faults
    assert {one.component for one in result.latencies} == {"classifier", ENSEMBLE}
    apart = next(one for one in result.metrics if "mean total variation" in one.name)
    assert apart.value is not None
    assert 0.01 < apart.value < 0.5  # another network indeed
    report = write_report(result, tmp_path).read_text(encoding="utf-8")
    assert report.count("data:image/jpeg;base64,") == 2 * len(result.worst) > 0


def test_the_same_code_under_another_number_agrees_wholly(loaded: Loaded) -> None:
    result = loaded.compare(loaded.release("fusion", 2))

    assert result.passed, result.complaints
    assert result.worst == ()
    for one in result.metrics:
        if one.option and one.option not in ("latency", "latency_whole") and one.value is not None:
            assert one.value == (1.0 if one.at_least else 0.0), str(one)


def test_a_version_that_is_not_there_is_a_fault_and_harms_nobody(loaded: Loaded) -> None:
    loaded.release("classifier", 1)  # the candidate as the serving one
    result = loaded.compare({**BEFORE, "classifier": 9})

    assert not result.passed
    assert {(one.component, one.side) for one in result.faults} == {("classifier", "new"), (ENSEMBLE, "new")}
    assert loaded.serving.ready(ENSEMBLE)


def test_recorded_traffic_becomes_golden_pictures(loaded: Loaded) -> None:
    for one in PICTURES:
        analyze(loaded.serving, one.encoded)
    deadline = time.monotonic() + 20
    while not any(loaded.recorded.glob("picture-*")) and time.monotonic() < deadline:
        time.sleep(0.1)

    found = folder_pictures(loaded.recorded)
    assert 1 <= len(found) <= 5
    assert loaded.recorded.stat().st_mode & 0o777 == 0o700
