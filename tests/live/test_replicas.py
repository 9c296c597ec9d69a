"""Three servers behind a proxy, with one gallery: rolled out to, killed and stopped under load, and nobody notices."""

from __future__ import annotations

import json
import os
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.asking import PHOTOS, eventually
from tests.postgresql import postgresql
from tests.proxy import NAMES, Backend, Proxy, haproxy
from tests.serving import PATIENT, TRIDENT, ServeProcess, guard_of
from tests.tiny_trident import write_repository
from trident.contract import COMPONENTS
from trident.launcher import ports
from trident.supervisor import leftovers
from trident_client import TridentClient, probe

HOST = "127.0.0.1"
PATIENCE_S = 90.0
"""For what takes some seconds on a machine that has nothing else to do."""
OLD = dict.fromkeys(COMPONENTS, 1)
NEW = {**OLD, "classifier": 2}
PHOTO = PHOTOS / "coffee.png"
SOMEBODY = "Ada Lovelace"


class Replica(ServeProcess):
    """A server on ports of its own, which it keeps when it is started again."""

    def __init__(self, name: str, repository: Path, held: dict[str, int], environment: dict[str, str]) -> None:
        ports = [f"--{purpose.lower()}-port={port}" for purpose, port in held.items()]
        super().__init__(repository, ["--grace=10", *ports], environment)
        self.name = name
        self.ports = held
        self.url = f"{HOST}:{held['gRPC']}"

    def kill_all(self) -> None:
        """SIGKILL to the launcher and its Triton, as a machine that goes dark; what is left clears itself away."""
        launcher, guard, triton = psutil.Process(self.process.pid), guard_of(self.process.pid), self.triton
        launcher.kill()
        triton.kill()
        self.end()
        assert eventually(lambda: not guard.is_running(), PATIENCE_S), "the guard has not ended"

    def troubles(self, since: int = 0) -> list[str]:
        """What its supervision has said, behind so many lines, that turns its readiness false."""
        return [line for line in self.said[since:] if "not ready" in line or "has ended" in line]

    def answer(self) -> dict[str, int]:
        """The versions that answer when it is asked by itself."""
        with TridentClient(self.url) as client:
            return versions_in(client.analyze(PHOTO))

    def knows(self, name: str) -> bool:
        with TridentClient(self.url) as client:
            faces = client.analyze(PHOTO).faces
        return [face.identity.name for face in faces if face.identity is not None] == [name]


@dataclass
class World:
    """All of it."""

    replicas: dict[str, Replica]
    proxy: Proxy
    fleet: Path
    folder: Path
    gallery_url: str
    environment: dict[str, str] = field(default_factory=dict)

    def run(self, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [TRIDENT, *arguments], check=False, capture_output=True, text=True, timeout=280, env=self.environment
        )
        return done

    def everybody_is_asked_again(self, name: str) -> bool:
        """Whether a server that was away gets requests."""
        before = self.proxy.answered()[name]
        return eventually(lambda: self.proxy.answered()[name] > before + 3, PATIENCE_S)


def versions_in(analysis: Any) -> dict[str, int]:
    return {name: model.version for name, model in analysis.models.items()}


class Callers:
    """Some who ask through the proxy all the while, as the project's client does by itself."""

    def __init__(self, url: str, count: int = 3) -> None:
        self.answers: list[dict[str, int]] = []
        self.failures: list[str] = []
        self._url = url
        self._enough = threading.Event()
        self._threads = [threading.Thread(target=self._ask) for _ in range(count)]

    def _ask(self) -> None:
        picture = probe.picture()
        with TridentClient(self._url) as client:
            while not self._enough.is_set():
                try:
                    self.answers.append(versions_in(client.analyze(picture)))
                except Exception as exc:  # noqa: BLE001 - also what no caller should ever see
                    self.failures.append(f"{type(exc).__name__}: {exc}")
                time.sleep(0.1)

    def __enter__(self) -> Callers:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._enough.set()
        for thread in self._threads:
            thread.join()

    def releases(self) -> set[tuple[tuple[str, int], ...]]:
        """Every release that has answered."""
        return {tuple(sorted(answer.items())) for answer in self.answers}


def whole(*releases: dict[str, int]) -> set[tuple[tuple[str, int], ...]]:
    return {tuple(sorted(release.items())) for release in releases}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("replicas")
    with ExitStack() as stack:
        database = stack.enter_context(postgresql())
        places = ports.resolve(HOST, {f"{name} {of}": 0 for name in NAMES for of in ("gRPC", "metrics", "health")})
        held = {name: {of: places[f"{name} {of}"] for of in ("gRPC", "metrics", "health")} for name in NAMES}
        backends = {name: Backend(held[name]["gRPC"], held[name]["health"]) for name in NAMES}
        proxy = stack.enter_context(haproxy(backends, folder / "haproxy.log"))
        environment = {
            **os.environ,
            "TRIDENT_GALLERY_URL": database.url,
            "XDG_STATE_HOME": str(folder / "state"),
            "COLUMNS": "200",
        }
        replicas: dict[str, Replica] = {}
        stack.callback(stop_all, replicas)
        for name in NAMES:
            repository = write_repository(folder / name / "models")
            replicas[name] = Replica(name, repository, held[name], environment)
            replicas[name].start()
        write_golden(folder / "golden")
        yield World(replicas, proxy, write_fleet(folder, replicas), folder, database.url, environment)
    for replica in replicas.values():
        assert not [line for line in replica.said if "Traceback" in line]
        for name in replica.shm_names:
            assert not leftovers.shared_memory_files(name)
            assert not leftovers.stub_processes(name)


def stop_all(replicas: dict[str, Replica]) -> None:
    """Side by side: each takes its time."""
    for replica in replicas.values():
        if replica.process.poll() is None:
            replica.process.terminate()
    for replica in replicas.values():
        replica.end()


def write_fleet(folder: Path, replicas: dict[str, Replica]) -> Path:
    file = folder / "fleet.toml"
    file.write_text(
        "".join(
            f'[[server]]\nname = "{name}"\nurl = "{replica.url}"\nmodel_repository = "{name}/models"\n\n'
            for name, replica in replicas.items()
        )
    )
    return file


def write_golden(folder: Path) -> None:
    folder.mkdir()
    (folder / "a.jpg").write_bytes(probe.picture())
    (folder / "b.png").write_bytes(PHOTO.read_bytes())


@pytest.fixture
def up(world: World) -> World:
    """With all servers there."""
    for replica in world.replicas.values():
        if not replica.shm_names:
            replica.await_start()
    assert eventually(lambda: set(world.proxy.states().values()) == {"UP"}, PATIENCE_S), world.proxy.states()
    return world


def test_all_are_asked_and_who_is_enrolled_through_one_is_known_to_all(up: World) -> None:
    first = up.replicas["a"]
    enrolled = up.run(
        "gallery", "enroll", SOMEBODY, PHOTO, "--url", up.gallery_url, "--model-repository", first.repository
    )
    assert enrolled.returncode == 0, enrolled.stderr
    for replica in up.replicas.values():
        assert eventually(lambda replica=replica: replica.knows(SOMEBODY)), replica.name

    before = up.proxy.answered()
    with TridentClient(up.proxy.url) as client:

        def names() -> set[str | None]:
            """What twelve requests in a row say: each instance of each server learns of somebody by itself."""
            faces = [face for _ in range(12) for face in client.analyze(PHOTO).faces]
            return {face.identity and face.identity.name for face in faces}

        assert eventually(lambda: names() == {SOMEBODY}), names()
    assert all(count > before[name] for name, count in up.proxy.answered().items())

    shown = up.run("status", "--fleet", up.fleet, "--json")
    assert shown.returncode == 0, shown.stderr
    assert [server["name"] for server in json.loads(shown.stdout)["servers"]] == list(NAMES)


def test_a_rollout_over_all_and_back_under_load(up: World) -> None:
    options = ["--golden", up.folder / "golden", "--report", up.folder / "reports", "--watch", "1s", *PATIENT]
    said = {name: len(replica.said) for name, replica in up.replicas.items()}
    with Callers(up.proxy.url) as callers:
        moved = up.run("rollout", "classifier", "2", "--fleet", up.fleet, *options)
        assert moved.returncode == 0, moved.stdout + moved.stderr
        assert [replica.answer() for replica in up.replicas.values()] == [NEW] * 3
        again = up.run("rollout", "classifier", "2", "--fleet", up.fleet, *options)
        assert again.returncode == 0, again.stdout + again.stderr
        back = up.run("rollback", "classifier", "--fleet", up.fleet)
        assert back.returncode == 0, back.stdout + back.stderr
    assert callers.failures == []
    assert callers.releases() == whole(OLD, NEW), "each request was answered by one whole release"
    assert [replica.answer() for replica in up.replicas.values()] == [OLD] * 3
    assert "a, b and c all serve classifier 2" in moved.stdout
    assert again.stdout.count("serves classifier 2 already") == 3

    retired = up.run("retire", "--fleet", up.fleet)
    assert retired.returncode == 0, retired.stdout + retired.stderr
    assert "c: classifier 2 retired" in retired.stdout
    for name, replica in up.replicas.items():
        assert replica.troubles(said[name]) == [], "loading and letting go of versions is no trouble"
    listed = up.run("versions", "classifier", "--fleet", up.fleet, "--json")
    servers = json.loads(listed.stdout)["servers"]
    assert [[one["answers"] for one in server["versions"]] for server in servers] == [[True, False]] * 3
    assert "READY" not in [server["versions"][1]["state"] for server in servers]


def test_one_whose_triton_is_killed(up: World) -> None:
    replica = up.replicas["b"]

    def gone() -> int:
        """Requests without an answer, and those on a new connection, which the proxy gives to another by itself."""
        return up.proxy.broken("b") + int(up.proxy.rows()["b"]["wredis"])

    with Callers(up.proxy.url) as callers:
        time.sleep(1.0)
        killed, before = replica.triton, gone()
        killed.suspend()  # what it is given from now on stays in its hand for certain
        given = up.proxy.given("b")
        assert eventually(lambda: up.proxy.given("b") > given and up.proxy.in_hand("b") > 0)
        killed.kill()
        assert eventually(lambda: up.proxy.states()["b"] == "DOWN")
        assert eventually(lambda: gone() > before), "nothing was in its hand that had to be asked again"
        assert eventually(lambda: up.proxy.states()["b"] == "UP", PATIENCE_S), replica.said
        assert up.everybody_is_asked_again("b")
    assert replica.triton.pid != killed.pid
    assert replica.troubles()
    replica.note_shm_name()
    assert callers.failures == []
    assert callers.releases() == whole(OLD)
    assert eventually(lambda: replica.knows(SOMEBODY))


@pytest.mark.stress
def test_one_that_goes_dark_as_a_whole_and_another_in_its_place(up: World) -> None:
    replica = up.replicas["c"]
    with Callers(up.proxy.url) as callers:
        time.sleep(1.0)
        replica.kill_all()
        assert eventually(lambda: up.proxy.states()["c"] == "DOWN")
        replica.start()
        replica.await_start()
        assert eventually(lambda: up.proxy.states()["c"] == "UP", PATIENCE_S), replica.said
        assert up.everybody_is_asked_again("c")
    assert callers.failures == []
    assert callers.releases() == whole(OLD)
    assert eventually(lambda: replica.knows(SOMEBODY)), "the gallery was not its own"


def test_one_that_is_stopped(up: World) -> None:
    with Callers(up.proxy.url) as callers:
        time.sleep(1.0)
        assert up.replicas["a"].stop() == 0, up.replicas["a"].said
        assert up.proxy.states()["a"] == "DOWN"
        before = len(callers.answers)
        assert eventually(lambda: len(callers.answers) > before + 10, PATIENCE_S)
    assert callers.failures == []
    assert callers.releases() == whole(OLD)
