"""``trident serve`` brings back what dies or hangs, tells whether it answers, and is stopped gently."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import tritonclient.grpc as grpcclient
from tritonclient.utils import InferenceServerException

from tests.asking import Answer, eventually
from tests.serving import PATIENCE_S, SLOW, Served, write_slow
from tests.tiny_trident import write_repository
from trident.contract import COMPONENTS
from trident.rollout.serving import STOPPING
from trident.supervisor import leftovers

HANGING = """
import os
import time

_execute = TritonPythonModel.execute


def _hanging(self, requests):
    while os.path.exists({flag!r}):
        time.sleep(0.05)
    return _execute(self, requests)


TritonPythonModel.execute = _hanging
"""


@pytest.fixture(scope="module")
def flag(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """While this file exists, fusion hangs."""
    return tmp_path_factory.mktemp("flag") / "hang"


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, flag: Path) -> Iterator[Served]:
    """All of Trident, with networks that take no time."""
    home = tmp_path_factory.mktemp("served")
    repository = write_repository(home / "models", versions=1)
    with (repository / "fusion" / "1" / "model.py").open("a", encoding="utf-8") as code:
        code.write(HANGING.format(flag=str(flag)))
    served = Served(repository, home, "--probe-seconds=2")
    try:
        yield served
    finally:
        assert served.stop() == 0, served.said
        for name in served.shm_names:
            assert not leftovers.shared_memory_files(name)
            assert not leftovers.stub_processes(name)
            assert not (leftovers.run_folders() / name).exists()
        assert not [line for line in served.said if "Traceback" in line]


@pytest.fixture
def answer(served: Served) -> Iterator[Answer]:
    """What it answers before; and afterwards it answers the same, and is ready."""
    assert eventually(lambda: served.ready, PATIENCE_S), (served.status, served.said)
    before = served.ask()
    served.note_shm_name()
    yield before
    assert served.ask() == before
    assert eventually(lambda: served.ready, PATIENCE_S), (served.status, served.said)
    served.note_shm_name()


def test_one_that_serves_says_so(served: Served, answer: Answer) -> None:
    assert served.get("/v2/health/live") == (200, {})
    assert served.get("/v2/health/ready") == (200, {})
    status = served.status
    assert status["phase"] == "serving"
    assert {process["model"] for process in status["processes"]} >= {"classifier", "preprocess", "fusion"}


@pytest.mark.parametrize("component", COMPONENTS)
@pytest.mark.usefixtures("answer")
def test_a_model_whose_process_is_killed_comes_back_alone(served: Served, component: str) -> None:
    server, before = served.triton.pid, served.stubs(component)
    neighbours = [name for name in COMPONENTS if name != component]
    others = {stub.pid for name in neighbours for stub in served.stubs(name)}

    os.kill(before[0].pid, signal.SIGKILL)
    served.back()

    assert served.status["revivals"][component] >= 1
    assert eventually(lambda: len(served.stubs(component)) == len(before), PATIENCE_S), served.stubs(component)
    assert not {stub.pid for stub in served.stubs(component)} & {stub.pid for stub in before}
    assert {stub.pid for name in neighbours for stub in served.stubs(name)} == others
    assert served.triton.pid == server, "Triton itself goes on"
    assert served.status["restarts"] == 0


@pytest.mark.usefixtures("answer")
def test_a_process_that_is_halted_is_replaced(served: Served) -> None:
    (halted,) = served.stubs("detector")

    os.kill(halted.pid, signal.SIGSTOP)
    served.back()

    (now,) = served.stubs("detector")
    assert now.pid != halted.pid
    assert any("halted" in sentence for sentence in served.happened("process_hung"))


def fusion_was_killed(served: Served) -> bool:
    return any(sentence.startswith("fusion_0") for sentence in served.happened("process_hung"))


@pytest.mark.usefixtures("answer")
def test_a_process_that_hangs_is_found_and_replaced(served: Served, flag: Path) -> None:
    (hanging,) = served.stubs("fusion")

    flag.touch()
    try:
        assert eventually(lambda: not served.ready, PATIENCE_S), (served.status, served.said)
        assert eventually(lambda: fusion_was_killed(served), PATIENCE_S), (served.status, served.said)
    finally:
        flag.unlink()

    assert eventually(lambda: served.ready, PATIENCE_S), (served.status, served.said)
    assert hanging.pid not in {stub.pid for stub in served.stubs("fusion")}
    assert served.status["restarts"] == 0


def test_a_killed_server_is_started_again_in_its_place(served: Served, answer: Answer) -> None:
    killed, name, restarts = served.triton, served.shm_name, served.status["restarts"]

    killed.kill()
    served.back()

    assert served.triton.pid != killed.pid
    assert served.ask() == answer, "at the same address"
    assert served.status["restarts"] == restarts + 1
    assert not leftovers.shared_memory_files(name)
    assert not leftovers.stub_processes(name)
    assert any("started again: Triton has ended with exit code 137" in line for line in served.said)


@pytest.fixture
def slow(tmp_path: Path) -> Iterator[Served]:
    """A server of one model that sleeps for as long as it is asked to."""
    write_slow(tmp_path / "models")
    served = Served(tmp_path / "models", tmp_path, "--model=slow", "--grace=60")
    try:
        yield served
    finally:
        served.stop()


def sleep(client: grpcclient.InferenceServerClient, seconds: float) -> float:
    tensor = grpcclient.InferInput("SECONDS", [1, 1], "FP32")
    tensor.set_data_from_numpy(np.array([[seconds]], dtype=np.float32))
    return float(client.infer("slow", [tensor], client_timeout=60).as_numpy("SLEPT")[0, 0])


def test_one_that_is_stopped_refuses_what_is_new_and_answers_what_it_has_accepted(slow: Served) -> None:
    answered, refusals = [], []
    with grpcclient.InferenceServerClient(slow.grpc_url) as client, ThreadPoolExecutor(1) as pool:
        accepted = pool.submit(sleep, client, 8.0)
        time.sleep(0.5)
        slow.process.send_signal(signal.SIGTERM)
        assert eventually(lambda: slow.get("/v2/health/ready")[0] == 503), "before anything else"
        assert slow.get("/v2/health/live")[0] == 200
        while not accepted.done():
            try:
                sleep(client, 0.0)
            except InferenceServerException as exc:
                if not accepted.done():  # afterwards Triton lets its models go
                    refusals.append((exc.status(), STOPPING in exc.message()))
            else:
                assert not refusals, "one that has begun to refuse answers nothing new"
                answered.append(time.monotonic())
            time.sleep(0.05)
        assert accepted.result() == 8.0

    assert slow.stop() == 0, slow.said
    assert answered[-1] - answered[0] > 1.0, "for the notice, two seconds, all is answered"
    assert set(refusals) == {("StatusCode.UNAVAILABLE", True)}


def test_what_is_left_of_a_load_does_not_stand_in_for_a_process_that_ends(slow: Served) -> None:
    """Triton keeps the other processes of a load one of whose processes died with a request in hand."""
    first = {stub.pid for stub in slow.stubs("slow")}
    with grpcclient.InferenceServerClient(slow.grpc_url) as client, ThreadPoolExecutor(2) as pool:
        accepted = [pool.submit(sleep, client, 6.0) for _ in range(2)]
        time.sleep(1.0)
        os.kill(min(first), signal.SIGKILL)
        assert eventually(lambda: slow.status["revivals"] == {"slow": 1}, PATIENCE_S), slow.said
        (lost,) = [future for future in accepted if future.exception() is not None]
        assert sum(future.result() for future in accepted if future is not lost) == 6.0, "the other one's goes on"
        now = {stub.pid for stub in slow.stubs("slow")}
        assert len(now - first) == 2

        os.kill(min(now - first), signal.SIGKILL)
        assert eventually(lambda: slow.status["revivals"] == {"slow": 2}, 20.0), (slow.status, slow.said)

        assert eventually(lambda: not {process["pid"] for process in slow.status["processes"]} & now)
        assert [sleep(client, 0.0) for _ in range(8)] == [0.0] * 8

    # What is stuck would take the whole grace.
    slow.process.send_signal(signal.SIGTERM)
    assert eventually(lambda: any("Stopping" in line for line in slow.said))
    slow.process.send_signal(signal.SIGTERM)


def test_a_second_signal_does_not_wait(slow: Served) -> None:
    name = slow.shm_name
    with grpcclient.InferenceServerClient(slow.grpc_url) as client, ThreadPoolExecutor(1) as pool:
        accepted = pool.submit(sleep, client, 50.0)
        time.sleep(0.5)
        slow.process.send_signal(signal.SIGTERM)
        assert eventually(lambda: any("Stopping" in line for line in slow.said))
        began = time.monotonic()
        slow.process.send_signal(signal.SIGTERM)
        assert slow.process.wait(timeout=60) == 0
        assert time.monotonic() - began < 30
        with pytest.raises(InferenceServerException):
            accepted.result()
    assert not leftovers.shared_memory_files(name)
    assert not leftovers.stub_processes(name)


def test_a_server_that_cannot_start_again_is_tried_again_and_said(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    folder = write_slow(tmp_path / "models")
    served = Served(tmp_path / "models", home, "--model=slow", "--grace=5")
    try:
        (folder / "model.py").write_text("raise RuntimeError('broken meanwhile')\n")
        served.triton.kill()
        assert eventually(lambda: served.status["failed_starts"] >= 1, PATIENCE_S), served.said
        assert served.get("/v2/health/ready")[0] != 200
        assert any("broken meanwhile" in sentence for sentence in served.happened("server_failed"))
        (folder / "model.py").write_text(SLOW)
        assert eventually(lambda: served.get("/v2/health/ready")[0] == 200, PATIENCE_S), served.said
    finally:
        assert served.stop() == 0, served.said
