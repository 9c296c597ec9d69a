"""A canary on a real server, under load: nobody's request may fail by it, whatever the candidate does."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc as grpcclient

from tests import faulty_networks
from tests.asking import PHOTOS, eventually, image_input
from tests.serving import server_ended_at_once
from tests.tiny_trident import write_repository
from trident.access.restrictions import Access
from trident.contract import CANDIDATE, ENSEMBLE, MODELS, STABLE
from trident.launcher import TritonServer
from trident.launcher.installation import compile_models
from trident.model_config import ensemble_pins, read_config
from trident.rollout import canary
from trident.rollout.canary_record import WatchReader
from trident.rollout.canary_watch import CanaryLimits, Judgement, Observation, Verdict, watch
from trident.rollout.routing import Settings
from trident.rollout.serving import READY, TritonServing
from trident.supervisor.leftovers import stub_processes

PHOTO = (PHOTOS / "chelsea.png").read_bytes()
CLIENTS = 6
AGREEING = 2
"""Version of the classifier."""
SLEEPING, FAILING = 3, 4
"""Versions of fusion: one takes its time, one fails all but its warm-up."""
SLEEP_S = 1.5

_SLEEPS = f"""

import time

_Good = TritonPythonModel


class TritonPythonModel(_Good):
    def execute(self, requests):
        time.sleep({SLEEP_S})
        return super().execute(requests)
"""


@dataclass
class World:
    """A server with versions to try, and what belongs to it."""

    server: TritonServer
    serving: TritonServing
    folder: Path

    @property
    def repository(self) -> Path:
        return self.server.repository

    @property
    def release(self) -> dict[str, int]:
        return ensemble_pins(read_config(self.repository / ENSEMBLE))

    def begin(self, share: float, after: Mapping[str, int], **more: Any) -> Settings:
        return canary.begin(
            self.serving,
            read_config(self.repository / ENSEMBLE),
            read_config(self.repository / "preprocess"),
            self.release,
            {**self.release, **after},
            **{"share": share, "seconds": 120.0, "watch_file": self.folder / "canary.jsonl", "salt": "salt"} | more,
        )

    @contextmanager
    def canary(self, share: float, after: Mapping[str, int], **more: Any) -> Iterator[Settings]:
        settings = self.begin(share, after, **more)
        try:
            yield settings
        finally:
            canary.end(self.serving)

    def stubs(self, part: str) -> list[int]:
        """Stub processes of this server with that in their command line."""
        found = []
        for pid in stub_processes(str(self.server.name)):
            with_arguments = Path(f"/proc/{pid}/cmdline")
            if part.encode() in with_arguments.read_bytes():
                found.append(pid)
        return found


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("canary")
    repository = write_repository(folder / "models")
    faulty_networks.python_version(repository / "fusion", FAILING, fault=faulty_networks.RAISE_IN_EXECUTE, after=1)
    sleeping = faulty_networks.python_version(repository / "fusion", SLEEPING) / "model.py"
    sleeping.write_text(sleeping.read_text() + _SLEEPS)
    compile_models(repository)
    gallery = {"TRIDENT_GALLERY_URL": f"sqlite:///{folder}/gallery.db"}
    with (
        server_ended_at_once(repository, env=gallery, access=Access()) as server,
        TritonServing(server.grpc_url) as serving,
    ):
        for component, versions in (("classifier", [1, AGREEING]), ("fusion", [1, SLEEPING, FAILING])):
            config = read_config(repository / component)
            config.version_policy.specific.versions[:] = versions
            serving.load(component, config)
        yield World(server, serving, folder)
        assert server.running, server.failure()


@dataclass
class Load:
    """Clients that ask without a pause, each request with one of the sticky keys."""

    url: str
    keys: int = 40
    failures: list[str] = field(default_factory=list)
    answers: list[tuple[str, float, int]] = field(default_factory=list)
    """Sticky key, when it was sent, and the classifier's version that answered."""

    def __enter__(self) -> Load:
        self._ending = threading.Event()
        self._threads = [threading.Thread(target=self._ask, args=(one,), daemon=True) for one in range(CLIENTS)]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.set()
        for thread in self._threads:
            thread.join(60)

    def await_answers(self, count: int) -> None:
        goal = len(self.answers) + count
        assert eventually(lambda: len(self.answers) >= goal, 60.0), self.failures[:3]

    def versions_since(self, moment: float) -> list[int]:
        return [version for _, sent, version in self.answers if sent > moment]

    def sides_since(self, moment: float) -> dict[str, set[int]]:
        sides: dict[str, set[int]] = defaultdict(set)
        for key, sent, version in self.answers:
            if sent > moment:
                sides[key].add(version)
        return sides

    def _ask(self, index: int) -> None:
        with grpcclient.InferenceServerClient(self.url) as client:
            turn = index
            while not self._ending.is_set():
                key, sent = f"caller {turn % self.keys}", time.time()
                turn += CLIENTS + 1
                try:
                    version = answer(client, key)["models"]["classifier"]["version"]
                except grpcclient.InferenceServerException as exc:
                    self.failures.append(str(exc))
                    time.sleep(0.05)
                else:
                    self.answers.append((key, sent, version))


def answer(client: grpcclient.InferenceServerClient, key: str, timeout_s: float = 30.0) -> dict[str, Any]:
    result = client.infer(
        ENSEMBLE,
        [image_input([PHOTO])],
        outputs=[grpcclient.InferRequestedOutput("RESULT")],
        client_timeout=timeout_s,
        parameters={"sticky": key},
    )
    return dict(json.loads(result.as_numpy("RESULT")[0, 0]))


def watched(world: World, settings: Settings, seconds: float = 30.0, **limits: float) -> tuple[Observation, Judgement]:
    return watch(world.serving, settings, CanaryLimits(**limits), seconds=seconds)  # type: ignore[arg-type]


@pytest.fixture
def client(world: World) -> Iterator[grpcclient.InferenceServerClient]:
    with grpcclient.InferenceServerClient(world.server.grpc_url) as connected:
        yield connected


def test_a_share_of_the_callers_gets_the_candidate_and_nobody_fails(world: World) -> None:
    with Load(world.server.grpc_url) as load:
        load.await_answers(30)
        settings = world.begin(0.3, {"classifier": AGREEING}, compare_share=1.0)
        begun = time.time()
        seen, judgement = watched(
            world, settings, seconds=8.0, min_requests=5, min_compared=1, latency_ratio=20, tail_ratio=50
        )
        ending = time.time()
        through = canary.end(world.serving)
        ended = time.time()
        load.await_answers(20)

    assert load.failures == []
    sides = load.sides_since(begun)
    between = {key: {v for k, sent, v in load.answers if k == key and begun < sent < ending} for key in sides}
    assert all(len(versions) <= 1 for versions in between.values())
    share = np.mean([versions == {AGREEING} for versions in between.values() if versions])
    assert 0.1 < share < 0.5
    assert set(load.versions_since(ended)) == {1}
    assert through
    assert judgement.verdict is Verdict.PASSED, judgement
    assert seen.candidate.requests >= 5
    assert (seen.candidate.errors, seen.stable.errors) == (0, 0)
    assert seen.compared >= 1
    assert seen.same_top == seen.objects_f1 == 1.0
    assert seen.category_distance is not None
    assert 0 < seen.category_distance < 0.05
    assert not any(READY in world.serving.states(name).values() for name in (CANDIDATE, STABLE))
    assert eventually(lambda: world.stubs("/tmp/folder") == [])


def test_the_watch_file_holds_numbers_only(world: World, client: grpcclient.InferenceServerClient) -> None:
    with world.canary(1.0, {"classifier": AGREEING}) as settings:
        answer(client, "somebody's name")
    text = settings.watch_file.read_text()

    lines = [json.loads(line) for line in text.splitlines()]
    assert {"begin", "request", "beat", "end"} <= {next(iter(line)) for line in lines}
    assert "somebody" not in text
    strings = {value for line in lines for value in line.values() if isinstance(value, str)}
    assert strings == {settings.run, "candidate", "OK"}


def outcome(client: grpcclient.InferenceServerClient, *pictures: bytes, **more: Any) -> tuple[str, str]:
    try:
        client.infer(ENSEMBLE, [image_input(pictures)], client_timeout=30.0, **more)
    except grpcclient.InferenceServerException as exc:
        return str(exc.status()), str(exc.message())
    return "OK", ""


@pytest.mark.parametrize("share", [pytest.param(1e-9, id="stable"), pytest.param(1.0, id="candidate")])
def test_refusals_and_answers_are_those_of_the_ensemble(
    world: World, client: grpcclient.InferenceServerClient, share: float
) -> None:
    def all_of() -> list[Any]:
        result = client.infer(ENSEMBLE, [image_input([PHOTO] * 3)], request_id="mine", client_timeout=30.0)
        response = result.get_response()
        only = client.infer(
            ENSEMBLE, [image_input([PHOTO])], outputs=[grpcclient.InferRequestedOutput("BOXES")], client_timeout=30.0
        )
        return [
            outcome(client, b"no picture"),
            outcome(client, b""),
            outcome(client, PHOTO, PHOTO[:5000]),
            outcome(client, *[PHOTO] * 9),
            outcome(client, PHOTO, outputs=[grpcclient.InferRequestedOutput("NOTHING")]),
            outcome(client, PHOTO, sequence_id=3),
            outcome(client, PHOTO, sequence_id="a conversation"),
            outcome(client, PHOTO, priority=1),
            outcome(client, PHOTO, parameters={"mine": 1.5, "yours": True, "theirs": "text", "ours": 2}),
            outcome(client, PHOTO, timeout=1)[0],
            (response.model_name, response.model_version, response.id),
            {output.name: tuple(output.shape) for output in response.outputs},
            [output.name for output in only.get_response().outputs],
        ]

    before = all_of()
    with world.canary(share, {"classifier": AGREEING}):
        during = all_of()

    assert during == before
    assert before[0][0] == "StatusCode.INVALID_ARGUMENT"
    assert before[2][1].startswith("in ensemble 'trident', picture 1 of 2: IMAGE: ")
    assert before[11].keys() == {spec.name for spec in MODELS[ENSEMBLE].outputs}
    assert before[12] == ["BOXES"]


def test_a_candidate_that_fails_every_request_costs_no_caller_an_answer(world: World) -> None:
    with Load(world.server.grpc_url) as load:
        load.await_answers(10)
        with world.canary(0.5, {"fusion": FAILING}) as settings:
            begun = time.time()
            seen, judgement = watched(world, settings)
            seconds = time.time() - begun
            load.await_answers(20)

    assert load.failures == []
    assert set(load.versions_since(begun)) == {1}
    assert judgement.verdict is Verdict.STOP
    assert seen.tripped == "INTERNAL"
    assert seen.candidate.errors >= 5
    assert seconds < 20


def test_a_candidate_that_is_too_slow_to_wait_for_costs_no_caller_an_answer(world: World) -> None:
    with Load(world.server.grpc_url) as load:
        with world.canary(0.5, {"fusion": SLEEPING}, patience_s=0.5) as settings:
            begun = time.time()
            seen, judgement = watched(world, settings)
        load.await_answers(10)

    assert load.failures == []
    assert judgement.verdict is Verdict.STOP
    assert seen.tripped == "LATE"
    assert time.time() - begun < 60


def test_what_is_in_flight_when_a_canary_ends_is_answered(
    world: World, client: grpcclient.InferenceServerClient
) -> None:
    results: list[dict[str, Any]] = []
    settings = world.begin(1.0, {"fusion": SLEEPING})
    thread = threading.Thread(target=lambda: results.append(answer(client, "somebody")))
    thread.start()
    time.sleep(SLEEP_S / 3)
    through = canary.end(world.serving)
    thread.join(30)

    assert through
    assert [result["models"]["fusion"]["version"] for result in results] == [SLEEPING]
    assert WatchReader(settings.watch_file).read()[-1]["end"] == settings.run


def test_a_caller_that_gives_up_harms_nobody(world: World, client: grpcclient.InferenceServerClient) -> None:
    with world.canary(1.0, {"fusion": SLEEPING}) as settings:
        for _ in range(3):
            with pytest.raises(grpcclient.InferenceServerException, match="Deadline Exceeded"):
                answer(client, "impatient", timeout_s=0.3)
        assert answer(client, "patient")["models"]["fusion"]["version"] == SLEEPING

        def idle() -> bool:
            beats = [line for line in WatchReader(settings.watch_file).read() if "beat" in line]
            return bool(beats) and beats[-1]["in_flight"] == 0

        assert eventually(idle)


def test_the_share_ends_by_itself(
    world: World, client: grpcclient.InferenceServerClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(canary, "_MARGIN_S", 0.0)
    with world.canary(1.0, {"classifier": AGREEING}, seconds=6.0) as settings:
        early = answer(client, "somebody")["models"]["classifier"]["version"]
        time.sleep(max(0.0, settings.expires - time.time()) + 0.1)
        late = answer(client, "somebody")["models"]["classifier"]["version"]

    assert (early, late) == (AGREEING, 1)


def test_a_renewed_canary_keeps_whom_it_has_and_takes_more(world: World) -> None:
    with Load(world.server.grpc_url, keys=30) as load, world.canary(0.2, {"classifier": AGREEING}) as settings:
        begun = time.time()
        load.await_answers(60)
        renewing = time.time()
        larger = canary.renew(world.serving, settings, seconds=60.0, share=0.7)
        renewed = time.time()
        load.await_answers(60)
        end = time.time()

    assert load.failures == []
    assert larger.share == 0.7

    def taken(first: float, last: float) -> set[str]:
        return {key for key, sent, version in load.answers if first < sent < last and version == AGREEING}

    few, many = taken(begun, renewing), taken(renewed, end)
    assert few < many


def test_a_killed_router_is_noticed_and_ended(world: World) -> None:
    with Load(world.server.grpc_url) as load:
        settings = world.begin(0.3, {"classifier": AGREEING})
        load.await_answers(10)
        assert load.failures == []
        (router,) = world.stubs("/tmp/folder")
        os.kill(router, signal.SIGKILL)
        killed = time.time()
        seen, judgement = watched(world, settings)
        canary.end(world.serving)
        ended = time.time()
        count = len(load.failures)
        load.await_answers(20)

    assert judgement.verdict is Verdict.STOP
    assert seen.broken is not None
    assert ended - killed < 20
    assert len(load.failures) - count <= CLIENTS  # those that were under way
    assert set(load.versions_since(ended)) == {1}


def test_more_requests_than_workers_wait_and_are_answered(world: World) -> None:
    with world.canary(0.5, {"classifier": AGREEING}):
        results: list[tuple[str, str]] = []

        def ask(index: int) -> None:
            with grpcclient.InferenceServerClient(world.server.grpc_url) as own:
                results.append(outcome(own, PHOTO, parameters={"sticky": f"caller {index}"}))

        threads = [threading.Thread(target=ask, args=(index,)) for index in range(64)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)

    assert Counter(results) == {("OK", ""): 64}
