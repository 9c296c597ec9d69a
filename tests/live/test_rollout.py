"""``trident rollout`` and its sisters on a real server with constant networks, under requests all the while."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import threading
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import tritonclient.grpc as grpcclient
from PIL import Image
from tritonclient.utils import InferenceServerException

from tests import faulty_networks
from tests.asking import DEADLINE_S, analyze, eventually, image_input
from tests.serving import PATIENT, TRIDENT, server_ended_at_once
from tests.tiny_trident import write_repository
from trident.access.restrictions import Access
from trident.contract import COMPONENTS, ENSEMBLE
from trident.launcher import TritonServer
from trident.rollout.disk import Repository
from trident.rollout.journal import Journal
from trident_client import probe

stress = pytest.mark.stress
OLD = dict.fromkeys(COMPONENTS, 1)
BRIGHT, BRIGHTER = 220, 250
"""Levels of grey: of a golden picture, and of what callers send."""
INTERRUPTED = 3


@dataclass
class World:
    """A repository, the server of it, and the command line."""

    server: TritonServer
    repository: Repository
    folder: Path
    env: dict[str, str] = field(default_factory=dict)

    def command(self, *arguments: str) -> list[str]:
        options = ["--model-repository", str(self.repository.path), "--url", self.server.grpc_url]
        return [str(TRIDENT), *arguments, *options]

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(*arguments), check=False, capture_output=True, text=True, timeout=120, env=self.env
        )

    def rollout(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return self.run("rollout", *arguments, *self._options())

    def _options(self) -> tuple[str, ...]:
        return "--golden", str(self.folder / "golden"), "--report", str(self.folder / "reports"), *PATIENT

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            self.command("rollout", *arguments, *self._options()),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=self.env,
        )

    def release(self) -> dict[str, int]:
        """What answers now."""
        with grpcclient.InferenceServerClient(self.server.grpc_url) as client:
            return versions_in(analyze(client, probe.picture())[0])

    def go_home(self) -> None:
        """Version 1 of everything, whatever a test has left."""
        if Journal(self.repository.path).unfinished() is not None:
            assert self.run("rollout", "--abort").returncode == 0
        away = [f"{name}=1" for name, version in self.release().items() if version != 1 and name in COMPONENTS]
        if away:
            targets = [one for one in away if not one.startswith("entity_recognizer")] or away
            done = self.rollout(*targets, "--watch", "0")
            assert done.returncode == 0, done.stdout + done.stderr
        done = self.run("retire")
        assert done.returncode == 0, done.stderr
        assert self.release() == self.repository.release() == OLD


def versions_in(answer: dict[str, Any]) -> dict[str, int]:
    return {name: model["version"] for name, model in answer["models"].items()}


class Callers:
    """Some who ask all the while, and keep what they were told."""

    def __init__(self, url: str, picture: bytes, count: int = 3) -> None:
        self.answers: list[dict[str, int]] = []
        self.failures: list[str] = []
        self._url, self._picture = url, picture
        self._enough = threading.Event()
        self._threads = [threading.Thread(target=self._ask) for _ in range(count)]

    def _ask(self) -> None:
        with grpcclient.InferenceServerClient(self._url) as client:
            while not self._enough.is_set():
                try:
                    self.answers.append(versions_in(self._answer(client)))
                except InferenceServerException as exc:
                    self.failures.append(str(exc))
                time.sleep(0.02)

    def _answer(self, client: grpcclient.InferenceServerClient) -> dict[str, Any]:
        """Each time as somebody else, so that a canary's share is one of the requests."""
        outputs, caller = [grpcclient.InferRequestedOutput("RESULT")], {"sticky": uuid.uuid4().hex}
        result = client.infer(
            ENSEMBLE, [image_input([self._picture])], outputs=outputs, parameters=caller, client_timeout=DEADLINE_S
        )
        return dict(json.loads(result.as_numpy("RESULT")[0, 0]))

    def __enter__(self) -> Callers:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._enough.set()
        for thread in self._threads:
            thread.join()

    def whole_releases(self, *releases: dict[str, int]) -> bool:
        """Whether every answer came from one of these releases as a whole, and each was met."""
        met = {tuple(sorted(answer.items())) for answer in self.answers}
        return met == {tuple(sorted(release.items())) for release in releases}


def picture(level: int) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (64, 64), (level, level, level)).save(out, "PNG")
    return out.getvalue()


def write_golden(folder: Path) -> None:
    """Two to be warmed by, and a bright one that only the shadow shows."""
    folder.mkdir()
    for name, content in (("a.jpg", probe.picture()), ("b.jpg", probe.picture()), ("c.png", picture(BRIGHT))):
        (folder / name).write_bytes(content)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("rollout")
    repository = write_repository(folder / "models")
    write_golden(folder / "golden")
    env = {**os.environ, "TRIDENT_GALLERY_URL": f"sqlite:///{folder / 'gallery.db'}", "COLUMNS": "200"}
    gallery = {"TRIDENT_GALLERY_URL": env["TRIDENT_GALLERY_URL"]}
    with server_ended_at_once(repository, env=gallery, access=Access()) as server:
        yield World(server, Repository(repository), folder, env)
        assert server.running, server.failure()


@pytest.fixture
def home(world: World) -> Iterator[World]:
    yield world
    world.go_home()


def await_step(process: subprocess.Popen[str], world: World, step: str) -> None:
    """Wait until the rollout is in a step."""

    def there() -> bool:
        record = Journal(world.repository.path).unfinished()
        return process.poll() is not None or (record is not None and record.step == step)

    assert eventually(there, 60)
    assert process.poll() is None, process.stdout.read() if process.stdout else ""
    time.sleep(1.0)


def test_there_and_back_and_over_a_restart(home: World) -> None:
    with Callers(home.server.grpc_url, probe.picture()) as callers:
        moved = home.rollout("detector=2", "plate_reader=2", "--watch", "2s")
        assert moved.returncode == 0, moved.stdout + moved.stderr
        new = home.release()
        back = home.run("rollback", "detector")
        assert back.returncode == 0, back.stdout + back.stderr
    assert callers.failures == []
    assert {name for name, version in new.items() if version != 1} == {"detector", "plate_reader", "entity_recognizer"}
    assert callers.whole_releases(OLD, new)
    assert home.release() == OLD

    again = home.rollout("fusion", "2", "--watch", "0")
    assert again.returncode == 0, again.stdout + again.stderr
    known = json.loads(home.run("versions", "fusion", "--json").stdout)
    assert [(one["version"], one["pinned"], one["state"]) for one in known["versions"]] == [
        (1, False, "READY"),
        (2, True, "READY"),
    ]
    assert known["rollouts"][0]["outcome"] == "done"
    gallery = {"TRIDENT_GALLERY_URL": home.env["TRIDENT_GALLERY_URL"]}
    with (
        server_ended_at_once(home.repository.path, env=gallery) as other,
        grpcclient.InferenceServerClient(other.grpc_url) as client,
    ):
        assert versions_in(analyze(client, probe.picture())[0]) == {**OLD, "fusion": 2}


FAULTS: tuple[tuple[str, dict[str, float], str], ...] = (
    ("corrupt", {}, "preflight"),
    ("wrong_dtype", {}, "preflight"),
    ("nan_output", {}, "preflight"),
    ("slow", {"factor": 10, "least_ms": 100.0}, "preflight"),
    ("failing", {}, "preflight"),
    ("failing_later", {"above": 200.0}, "shadow"),
    ("nan_output", {"above": 200.0}, "shadow"),
)
"""What is wrong with a network, and the step that should stop it."""


@pytest.mark.parametrize(
    "number",
    [
        # Two of them each time; all with `make stress`.
        pytest.param(number, id=f"{name} {how or ''}", marks=() if name in ("corrupt", "failing_later") else stress)
        for number, (name, how, _) in enumerate(FAULTS)
    ],
)
def test_a_bad_network_is_stopped_where_it_should_be(home: World, number: int) -> None:
    fault, how, step = FAULTS[number]
    version = 100 + number
    getattr(faulty_networks, fault)(home.repository.path / "classifier", version, **how)
    with Callers(home.server.grpc_url, probe.picture(), count=1) as callers:
        stopped = home.rollout("classifier", str(version), "--watch", "0")
    assert stopped.returncode == 1, stopped.stdout + stopped.stderr
    record = Journal(home.repository.path).records()[-1]
    assert (record.outcome, record.step) == ("stopped", step), stopped.stdout
    assert "Nothing has changed: classifier 1 answers" in stopped.stderr
    assert callers.failures == []
    assert callers.whole_releases(OLD)


@stress
def test_a_process_that_ends_while_it_loads_is_stopped(home: World) -> None:
    fusion = home.repository.path / "fusion"
    faulty_networks.python_version(fusion, 3, fault=faulty_networks.EXIT_AT_LOAD)
    with Callers(home.server.grpc_url, probe.picture(), count=1) as callers:
        stopped = home.rollout("fusion", "3", "--watch", "0")
    assert stopped.returncode == 1, stopped.stdout + stopped.stderr
    assert Journal(home.repository.path).records()[-1].step == "preflight", stopped.stdout
    assert callers.failures == []
    assert callers.whole_releases(OLD)


@stress
def test_what_fails_after_the_flip_goes_back_by_itself(home: World) -> None:
    """The callers' pictures are brighter than the golden ones, and the new version cannot take those."""
    faulty_networks.failing_later(home.repository.path / "classifier", 5, above=(BRIGHT + BRIGHTER) / 2)
    with Callers(home.server.grpc_url, picture(BRIGHTER)) as callers:
        done = home.rollout("classifier", "5", "--watch", "30s")
    assert done.returncode == 1, done.stdout + done.stderr
    assert "It went back by itself" in done.stderr
    assert Journal(home.repository.path).records()[-1].outcome == "rolled back"
    assert callers.failures  # nobody had seen it before it served
    assert home.release() == home.repository.release() == OLD


@pytest.mark.parametrize("way_out", [pytest.param("--abort", marks=stress), "--resume"])
def test_killed_in_the_middle_of_a_canary(home: World, way_out: str) -> None:
    with Callers(home.server.grpc_url, probe.picture()) as callers:
        process = home.start("classifier", "2", "--canary", "50%", "--for", "15s", "--watch", "0")
        await_step(process, home, "canary")
        busy = home.rollout("fusion", "2")
        assert busy.returncode == 1
        assert "another rollout of this repository is under way" in busy.stderr
        process.kill()
        process.communicate()
        assert home.repository.release() == OLD
        assert "was interrupted at step canary" in home.run("status").stdout
        refused = home.rollout("fusion", "2")
        assert refused.returncode == 1
        assert "--resume" in refused.stderr
        ended = home.run("rollout", way_out)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    expected = OLD if way_out == "--abort" else {**OLD, "classifier": 2}
    assert home.release() == home.repository.release() == expected
    assert callers.failures == []
    assert callers.whole_releases(OLD, {**OLD, "classifier": 2})  # the canary's share
    assert "interrupted" not in home.run("status").stdout


@stress
def test_interrupted_by_the_keyboard(home: World) -> None:
    with Callers(home.server.grpc_url, probe.picture()) as callers:
        process = home.start("plate_reader", "2", "--canary", "50%", "--for", "60s", "--watch", "0")
        await_step(process, home, "canary")
        process.send_signal(signal.SIGINT)
        said, _ = process.communicate(timeout=60)
    assert process.returncode == INTERRUPTED, said
    assert callers.failures == []
    assert home.release() == home.repository.release() == OLD
    assert home.run("rollout", "--abort").returncode == 0


def test_a_server_that_ends_in_the_middle(tmp_path: Path) -> None:
    repository = write_repository(tmp_path / "models")
    write_golden(tmp_path / "golden")
    gallery = {"TRIDENT_GALLERY_URL": f"sqlite:///{tmp_path / 'gallery.db'}"}
    with TritonServer(repository, grpc_port=0, http_port=0, metrics_port=0, env=gallery) as server:
        world = World(server, Repository(repository), tmp_path, {**os.environ, **gallery})
        process = world.start("classifier", "2", "--canary", "50%", "--for", "60s")
        await_step(process, world, "canary")
    said, _ = process.communicate(timeout=60)
    assert process.returncode == INTERRUPTED, said
    with server_ended_at_once(repository, env=gallery) as server:
        world.server = server
        assert world.release() == world.repository.release() == OLD
        assert world.run("rollout", "--abort").returncode == 0
        assert world.release() == OLD
