"""The supervision's decisions, without a server."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from itertools import chain, repeat
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tritonclient.grpc.model_config_pb2 import ModelConfig

from trident.admission.gate import Overloaded
from trident.contract import COMPONENTS, ENSEMBLE, MODELS
from trident.errors import SetupError
from trident.layout import DEFAULT_REPOSITORY
from trident.model_config import read_config
from trident.rollout.serving import ServerLost, ServingError, Statistics, is_busy
from trident.supervisor import diagnosis, hunt, processes, stillness
from trident.supervisor.backoff import Backoff
from trident.supervisor.diagnosis import Verdict, instances, judge, matters
from trident.supervisor.endpoint import HealthEndpoint
from trident.supervisor.halts import Halts
from trident.supervisor.health import Health, Phase
from trident.supervisor.hold import VARIABLE, Hold, check_held
from trident.supervisor.hunt import Finding, Hunt
from trident.supervisor.probes import Pulse, RollCall, is_silence, smallest_request
from trident.supervisor.processes import Alarm, Stub, parse_stub
from trident.supervisor.reporter import Reporter
from trident.supervisor.reviving import REVIVED, configuration, revive
from trident.supervisor.stillness import Stillness


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class TestBackoff:
    def test_the_budget_need_not_wait(self) -> None:
        backoff = Backoff(budget=5, clock=Clock())
        for _ in range(5):
            assert backoff.wait_s("classifier") == 0
            backoff.note("classifier")
        assert backoff.wait_s("classifier") == 1.0
        assert backoff.used_up("classifier")
        assert backoff.wait_s("fusion") == 0, "each has its own"

    def test_then_it_waits_longer_and_longer_up_to_the_most(self) -> None:
        clock = Clock()
        backoff = Backoff(budget=2, most_s=30.0, clock=clock)
        waits = []
        for _ in range(10):
            waits.append(backoff.wait_s("m"))
            clock.now += waits[-1]
            backoff.note("m")
        assert waits == [0, 0, 1, 2, 4, 8, 16, 30, 30, 30]

    def test_waiting_counts_from_the_last_try(self) -> None:
        clock = Clock()
        backoff = Backoff(budget=1, clock=clock)
        backoff.note("m")
        clock.now += 0.75
        assert backoff.wait_s("m") == pytest.approx(0.25)

    def test_after_a_quiet_window_it_is_back_to_the_beginning(self) -> None:
        clock = Clock()
        backoff = Backoff(budget=2, window_s=60.0, clock=clock)
        for _ in range(6):
            clock.now += backoff.wait_s("m")
            backoff.note("m")
        clock.now += 61
        assert backoff.wait_s("m") == 0
        assert not backoff.used_up("m")

    def test_few_tries_in_a_long_time_never_wait(self) -> None:
        clock = Clock()
        backoff = Backoff(budget=3, window_s=60.0, clock=clock)
        for _ in range(20):
            assert backoff.wait_s("m") == 0
            backoff.note("m")
            clock.now += 25


class TestHealth:
    def test_ready_is_one_that_serves_without_trouble(self) -> None:
        health = Health()
        assert not health.ready
        assert health.reason == "the server is starting"
        health.enter(Phase.SERVING)
        assert health.ready
        assert health.reason == ""

    def test_a_trouble_is_new_once_and_cured_once(self) -> None:
        health = Health()
        health.enter(Phase.SERVING)
        assert health.trouble("classifier 1", "it has ended")
        assert not health.trouble("classifier 1", "it has ended again")
        assert not health.ready
        assert health.reason == "it has ended again"
        assert health.cured("classifier 1")
        assert not health.cured("classifier 1")
        assert health.ready

    def test_two_troubles_have_to_be_cured_both(self) -> None:
        health = Health()
        health.enter(Phase.SERVING)
        health.trouble("a", "one")
        health.trouble("b", "other")
        health.cured("a")
        assert not health.ready

    def test_a_restart_that_answers_ends_all_trouble(self) -> None:
        health = Health()
        health.trouble("server", "gone")
        health.enter(Phase.RESTARTING)
        health.restarted(answers=True)
        health.enter(Phase.SERVING)
        assert health.ready
        assert health.status()["restarts"] == 1

    def test_a_server_that_is_being_stopped_is_never_ready_again(self) -> None:
        health = Health()
        health.enter(Phase.SERVING)
        health.enter(Phase.DRAINING)
        health.enter(Phase.SERVING)
        assert health.phase is Phase.DRAINING
        assert not health.ready
        assert health.live
        health.enter(Phase.ENDED)
        assert not health.live

    def test_a_supervision_that_is_silent_is_dead(self) -> None:
        clock = Clock()
        health = Health(clock=clock)
        health.beat(allowance_s=100.0)
        clock.now += 120
        assert health.live
        clock.now += 20
        assert not health.live

    def test_so_is_one_whose_server_never_starts_again(self) -> None:
        health = Health(most_failed_starts=2)
        health.restarted(answers=False)
        assert health.live
        health.restarted(answers=False)
        assert not health.live
        health.restarted(answers=True)
        assert health.live

    def test_the_status_is_json_and_keeps_the_latest_events(self) -> None:
        health = Health()
        for number in range(50):
            health.happened("event", f"number {number}")
        health.revived("fusion")
        status = json.loads(json.dumps(health.status()))
        assert status["revivals"] == {"fusion": 1}
        assert [event["sentence"] for event in status["events"]][-1] == "number 49"
        assert len(status["events"]) < 50


def get(endpoint: HealthEndpoint, path: str, method: str = "GET") -> tuple[int, Any]:
    connection = http.client.HTTPConnection("127.0.0.1", endpoint.port, timeout=10)
    try:
        connection.request(method, path)
        answer = connection.getresponse()
        text = answer.read()
        return answer.status, json.loads(text) if text else None
    finally:
        connection.close()


class TestEndpoint:
    @pytest.fixture
    def health(self) -> Health:
        return Health()

    @pytest.fixture
    def endpoint(self, health: Health) -> Iterator[HealthEndpoint]:
        with HealthEndpoint(
            "127.0.0.1",
            0,
            model="trident",
            live=lambda: health.live,
            ready=lambda: health.ready,
            status=health.status,
        ) as endpoint:
            yield endpoint

    def test_a_server_that_starts_is_live_and_not_ready(self, endpoint: HealthEndpoint) -> None:
        assert get(endpoint, "/v2/health/live") == (200, {})
        assert get(endpoint, "/v2/health/ready") == (503, {"error": "the server is starting"})
        assert get(endpoint, "/v2/models/trident/ready")[0] == 503

    def test_one_that_serves_is_both(self, endpoint: HealthEndpoint, health: Health) -> None:
        health.enter(Phase.SERVING)
        for path in ("/v2/health/live", "/v2/health/ready", "/v2/models/trident/ready", "/v2/health/ready?verbose"):
            assert get(endpoint, path) == (200, {})

    def test_the_reason_goes_with_it(self, endpoint: HealthEndpoint, health: Health) -> None:
        health.enter(Phase.SERVING)
        health.trouble("classifier 1", "a process of classifier 1 has ended")
        assert get(endpoint, "/v2/health/ready") == (503, {"error": "a process of classifier 1 has ended"})
        assert get(endpoint, "/status")[1]["troubles"] == {"classifier 1": "a process of classifier 1 has ended"}

    def test_a_head_has_no_body(self, endpoint: HealthEndpoint) -> None:
        assert get(endpoint, "/v2/health/live", "HEAD") == (200, None)

    def test_another_path_is_answered_with_those_that_there_are(self, endpoint: HealthEndpoint) -> None:
        code, body = get(endpoint, "/v2/models/other/ready")
        assert code == 404
        assert "/v2/models/trident/ready" in body["error"]

    def test_a_taken_port_is_named_with_the_option(self, endpoint: HealthEndpoint) -> None:
        other = HealthEndpoint(
            "127.0.0.1", endpoint.port, model="m", live=lambda: True, ready=lambda: True, status=dict
        )
        with pytest.raises(SetupError, match=rf"^health port {endpoint.port} of 127\.0\.0\.1: .* --health-port"):
            other.start()

    def test_one_who_says_nothing_does_not_hold_up_the_others(self, endpoint: HealthEndpoint) -> None:
        with socket.create_connection(("127.0.0.1", endpoint.port)):
            assert get(endpoint, "/v2/health/live") == (200, {})


class TestStubs:
    COMMAND = (
        *("/b/python/triton_python_backend_stub", "{file}", "trident-1-mem", "1048576", "1048576", "7", "/b/python"),
        *("160", "{instance}", "DEFAULT"),
    )

    @pytest.mark.parametrize(
        ("file", "instance", "key"),
        [
            pytest.param("/models/classifier/2/model.onnx", "classifier_0_0", ("classifier", 2), id="a network"),
            pytest.param(
                "/models/entity_recognizer/1/model.py", "entity_recognizer_0_1", ("entity_recognizer", 1), id="code"
            ),
            pytest.param("/tmp/folderAbc/1/model.py", "trident_0_0", ("trident", 1), id="handed over in a load"),
            pytest.param("/tmp/folderAbc/1/model.py", "trident_0", ("trident", 1), id="the only one of its group"),
        ],
    )
    def test_a_stub_tells_whose_it_is(self, file: str, instance: str, key: tuple[str, int]) -> None:
        command = [word.format(file=file, instance=instance) for word in self.COMMAND]
        stub = parse_stub(9, command, Path("/models"))
        assert stub == Stub(9, *key, instance)
        assert stub.key == key

    def test_one_that_tells_no_version_is_left_out(self) -> None:
        assert parse_stub(9, ["triton_python_backend_stub", "/models/classifier/model.onnx"], Path("/models")) is None


@pytest.fixture
def process() -> Iterator[subprocess.Popen[bytes]]:
    """One that sleeps."""
    sleeper = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    try:
        yield sleeper
    finally:
        sleeper.kill()
        sleeper.wait()


class TestProcesses:
    def test_a_halted_one_is_seen_and_one_that_goes_on(self, process: subprocess.Popen[bytes]) -> None:
        process.send_signal(signal.SIGSTOP)
        assert comes_true(lambda: processes.state_of(process.pid) == processes.STOPPED)
        process.send_signal(signal.SIGCONT)
        assert comes_true(lambda: processes.state_of(process.pid) != processes.STOPPED)

    def test_one_that_has_ended_is_in_no_state(self, process: subprocess.Popen[bytes]) -> None:
        process.kill()
        assert comes_true(lambda: processes.state_of(process.pid) in processes.ENDED)
        process.wait()
        assert processes.state_of(process.pid) == ""
        assert processes.cpu_seconds(process.pid) == 0

    def test_one_that_waits_for_something_wants_no_processor(self, process: subprocess.Popen[bytes]) -> None:
        assert comes_true(lambda: not processes.wants_processor(process.pid))
        assert processes.wants_processor(os.getpid()), "the one that asks runs"
        process.kill()
        process.wait()
        assert not processes.wants_processor(process.pid)

    def test_stillness_is_no_work_and_no_wish_for_it(self, monkeypatch: pytest.MonkeyPatch) -> None:
        clock, used, wants = Clock(), {1: 5.0, 2: 5.0, 3: 5.0}, {3}
        monkeypatch.setattr(processes, "cpu_seconds", used.__getitem__)
        monkeypatch.setattr(processes, "wants_processor", wants.__contains__)
        still = Stillness([1, 2, 3], clock=clock)
        for _ in range(10):
            clock.now += 0.2
            still.look()
        used[2] += 0.1
        assert still.long_enough
        assert [still.idle(pid) for pid in (1, 2, 3)] == [True, False, False]

    def test_one_glimpse_of_a_wish_is_none(self, monkeypatch: pytest.MonkeyPatch) -> None:
        clock, wants = Clock(), {1}
        monkeypatch.setattr(processes, "cpu_seconds", lambda pid: 0.0)
        monkeypatch.setattr(processes, "wants_processor", wants.__contains__)
        still = Stillness([1], clock=clock)
        assert not still.long_enough
        for _ in range(10):
            clock.now += 0.2
            still.look()
            wants.clear()
        assert still.idle(1)

    def test_processor_time_grows_with_work(self) -> None:
        before = processes.cpu_seconds(os.getpid())
        end = time.monotonic() + 20
        while processes.cpu_seconds(os.getpid()) - before < 0.05 and time.monotonic() < end:
            sum(range(10_000))
        assert processes.cpu_seconds(os.getpid()) - before >= 0.05

    def test_an_alarm_goes_off_when_a_process_ends(self, process: subprocess.Popen[bytes]) -> None:
        alarm = Alarm()
        alarm.watch([process.pid])
        process.kill()
        began = time.monotonic()
        alarm.wait(30.0)
        assert time.monotonic() - began < 10
        alarm.watch([])
        alarm.close()

    def test_an_alarm_can_be_set_off_and_closed(self) -> None:
        alarm = Alarm()
        alarm.wake()
        began = time.monotonic()
        alarm.wait(30.0)
        assert time.monotonic() - began < 10
        alarm.wait(0.01)
        alarm.close()
        alarm.wake()

    def test_the_machine_tells_of_its_memory(self) -> None:
        assert processes.out_of_memory_kills() >= 0
        assert processes.shared_memory_free() is not None


def comes_true(condition: Any, seconds: float = 10.0) -> bool:
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.02)
    return bool(condition())


class TestHalts:
    def test_one_may_be_halted_for_a_while(self, monkeypatch: pytest.MonkeyPatch) -> None:
        state, clock, health = "T", Clock(), Health()
        monkeypatch.setattr(processes, "state_of", lambda pid: state)
        halts = Halts(Reporter(health), 1.0, clock=clock)
        assert not halts.look(7, "a process")
        assert health.troubled("process 7")
        clock.now += 1
        assert halts.look(7, "a process")
        state = "S"
        assert not halts.look(7, "a process")
        assert not health.troubled("process 7")

    def test_one_that_is_no_more_is_no_trouble(self, monkeypatch: pytest.MonkeyPatch) -> None:
        health = Health()
        monkeypatch.setattr(processes, "state_of", lambda pid: "T")
        halts = Halts(Reporter(health), 1.0)
        halts.look(7, "a process")
        halts.keep([8])
        assert not health.troubled("process 7")


class TestHold:
    def test_requests_are_refused_while_it_is_set(self, tmp_path: Path) -> None:
        file = tmp_path / "hold"
        hold = Hold(file)
        check_held({VARIABLE: str(file)})
        hold.set(True)
        with pytest.raises(Overloaded, match=r"^a model is being brought back: ask again later$"):
            check_held({VARIABLE: str(file)})
        hold.set(False)
        check_held({VARIABLE: str(file)})

    def test_a_server_without_a_folder_refuses_nothing(self, tmp_path: Path) -> None:
        Hold(None).set(True)
        Hold(tmp_path / "gone" / "hold").set(True)
        check_held({})
        check_held({VARIABLE: str(tmp_path / "gone" / "hold")})

    def test_what_could_not_be_said_is_said_the_next_time(self, tmp_path: Path) -> None:
        file = tmp_path / "full" / "hold"
        hold = Hold(file)
        hold.set(True)
        file.parent.mkdir()
        hold.set(True)
        with pytest.raises(Overloaded):
            check_held({VARIABLE: str(file)})


class TestJudging:
    @pytest.mark.parametrize(
        ("states", "alive", "verdict"),
        [
            pytest.param({1: "READY"}, 1, Verdict.DEAD, id="one of two is missing"),
            pytest.param({1: "READY"}, 2, Verdict.FINE, id="others have taken over"),
            pytest.param({1: "UNLOADING"}, 0, Verdict.WAIT, id="it is let go"),
            pytest.param({1: "LOADING"}, 0, Verdict.WAIT, id="it is loaded"),
            pytest.param({1: "UNAVAILABLE"}, 0, Verdict.FINE, id="it was let go"),
            pytest.param({2: "READY"}, 0, Verdict.FINE, id="the server knows nothing of it"),
        ],
    )
    def test_what_the_end_of_a_process_means(self, states: dict[int, str], alive: int, verdict: Verdict) -> None:
        assert judge(states, 1, alive=alive, expected=2) is verdict

    @pytest.mark.parametrize(
        ("groups", "count"),
        [
            pytest.param([], 1, id="none"),
            pytest.param([{"count": 2}], 2, id="two"),
            pytest.param([{"count": 2, "gpus": [0, 1]}, {"count": 1}], 5, id="two on each of two GPUs, and one"),
        ],
    )
    def test_how_many_processes_a_version_has(self, groups: list[dict[str, Any]], count: int) -> None:
        config = ModelConfig()
        for group in groups:
            config.instance_group.add(**group)
        assert instances(config) == count

    def test_an_ensemble_has_none(self) -> None:
        assert instances(read_config(DEFAULT_REPOSITORY / ENSEMBLE)) == 0

    def test_the_project_s_own_are_counted(self) -> None:
        assert {name: instances(read_config(DEFAULT_REPOSITORY / name)) for name in ("fusion", "preprocess")} == {
            "fusion": sum(group.count for group in read_config(DEFAULT_REPOSITORY / "fusion").instance_group),
            "preprocess": sum(group.count for group in read_config(DEFAULT_REPOSITORY / "preprocess").instance_group),
        }

    def test_only_what_answers_callers_matters(self) -> None:
        assert matters(("classifier", 1), {("classifier", 1)})
        assert not matters(("classifier", 2), {("classifier", 1)})
        assert matters(("linear", 1), None)


class FakeServing:
    """Configurations from the project's repository; what fails is told."""

    url = "fake"

    def __init__(
        self,
        *,
        fails: dict[str, ServingError] | None = None,
        moves: tuple[str, ...] = (),
        hangs: tuple[str, ...] = (),
        slow: int = 0,
        step: int = 1,
    ) -> None:
        self._step = step
        self._slow = slow
        self.fails = fails or {}
        self._hangs = hangs
        self.goes_on = threading.Event()
        self._moves = moves
        self._counted: dict[str, int] = {}
        self.loaded: list[tuple[str, ModelConfig | None]] = []
        self.configs: dict[str, ModelConfig] = {}

    def config(self, model: str) -> ModelConfig:
        return self.configs.get(model) or read_config(DEFAULT_REPOSITORY / model)

    def load(self, model: str, config: ModelConfig | None = None, files: object = None) -> None:
        self.loaded.append((model, config))

    def ready(self, model: str, version: int | None = None) -> bool:
        if self._slow > 0:
            self._slow -= 1
            raise LATE
        return model not in self.fails

    def statistics(self, model: str, version: int | None = None) -> Statistics:
        if model in self._moves:
            self._counted[model] = self._counted.get(model, 0) + self._step
        return Statistics(self._counted.get(model, 0))

    def infer(self, model: str, tensors: object, **_: object) -> dict[str, Any]:
        if model in self._hangs:
            self.goes_on.wait(10.0)
        if model in self.fails:
            raise self.fails[model]
        return {"RESULT": np.array([[b"{}"]], dtype=np.object_)}


LATE = ServingError("Deadline Exceeded", "DEADLINE_EXCEEDED")
UNWELL = ServingError("Stub process 'classifier_0_0' is not healthy.", "INTERNAL")
FULL = ServingError("Exceeds maximum queue size", "UNAVAILABLE")
BAD = ServingError("it does not like that", "INTERNAL")
TRACED = ServingError("it fails\n\nAt:\n  model.py(12): execute\n", "INTERNAL")
ONES = dict.fromkeys(COMPONENTS, 1)


def roll_call(serving: FakeServing) -> set[str]:
    call = RollCall(serving, ONES)  # type: ignore[arg-type]
    assert comes_true(lambda: call.over)
    return call.silent()


class TestAnswering:
    def test_the_ensemble_s_pins_and_what_the_recognizer_calls_answer(self) -> None:
        found = diagnosis.answering(FakeServing(), DEFAULT_REPOSITORY, ENSEMBLE)  # type: ignore[arg-type]
        assert found is not None
        assert {name for name, _ in found} == set(COMPONENTS)

    def test_during_a_canary_the_router_and_the_release_of_before_do(self) -> None:
        serving = FakeServing()
        serving.configs["trident_stable"] = read_config(DEFAULT_REPOSITORY / ENSEMBLE)
        serving.configs[ENSEMBLE] = ModelConfig(name=ENSEMBLE, backend="python")
        found = diagnosis.answering(serving, DEFAULT_REPOSITORY, ENSEMBLE)  # type: ignore[arg-type]
        assert found is not None
        assert (ENSEMBLE, 1) in found
        assert {name for name, _ in found} == {*COMPONENTS, ENSEMBLE}

    def test_of_another_model_nothing_is_known(self) -> None:
        assert diagnosis.answering(FakeServing(), DEFAULT_REPOSITORY, "linear") is None  # type: ignore[arg-type]


def brought_back(serving: FakeServing, model: str) -> None:
    config = configuration(serving, DEFAULT_REPOSITORY, model)  # type: ignore[arg-type]
    revive(serving, model, config)  # type: ignore[arg-type]


class TestReviving:
    def test_a_component_is_loaded_with_one_parameter_changed(self) -> None:
        serving = FakeServing()
        brought_back(serving, "entity_recognizer")
        ((model, config),) = serving.loaded
        assert model == "entity_recognizer"
        assert config is not None
        assert config.parameters[REVIVED].string_value
        del config.parameters[REVIVED]
        assert config == read_config(DEFAULT_REPOSITORY / "entity_recognizer")

    def test_the_parameter_is_one_that_models_leave_alone(self) -> None:
        assert REVIVED.isupper()

    def test_the_ensemble_is_loaded_from_disk(self) -> None:
        serving = FakeServing()
        brought_back(serving, ENSEMBLE)
        assert serving.loaded == [(ENSEMBLE, None)]

    def test_one_that_is_not_ready_afterwards_is_not_back(self) -> None:
        with pytest.raises(ServingError, match="fusion is not ready although"):
            brought_back(FakeServing(fails={"fusion": BAD}), "fusion")

    def test_a_slow_answer_to_whether_it_is_ready_says_nothing(self) -> None:
        serving = FakeServing(slow=1)
        brought_back(serving, "fusion")
        assert len(serving.loaded) == 1
        with pytest.raises(ServingError, match="Deadline"):
            brought_back(FakeServing(slow=9), "fusion")


class TestProbing:
    @pytest.mark.parametrize("model", COMPONENTS)
    def test_the_smallest_request_fits_the_contract(self, model: str) -> None:
        tensors = smallest_request(model)
        assert list(tensors) == [spec.name for spec in MODELS[model].inputs]
        for spec in MODELS[model].inputs:
            shape = tensors[spec.name].shape
            assert shape[0] == 1
            assert all(want in (-1, have) for want, have in zip(spec.dims, shape[1:], strict=True))

    def test_errors_are_told_apart(self) -> None:
        assert is_silence(LATE)
        assert is_silence(UNWELL)
        assert not is_silence(BAD)
        assert is_busy(FULL)
        assert not is_busy(ServerLost("gone", "UNAVAILABLE"))

    def test_who_does_not_answer_is_found(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("trident.supervisor.probes._WINDOW_S", 0.0)
        fails = {"classifier": LATE, "detector": BAD, "fusion": UNWELL, "preprocess": FULL, "plate_reader": FULL}
        serving = FakeServing(fails=fails, moves=("plate_reader",))
        found = roll_call(serving)
        assert found == {"classifier", "fusion", "preprocess"}, "an error is an answer, and so is one to somebody else"

    def test_whoever_still_thinks_is_silent_so_far(self) -> None:
        serving = FakeServing(hangs=("fusion",))
        call = RollCall(serving, ONES)  # type: ignore[arg-type]
        assert comes_true(lambda: call.silent() == {"fusion"})
        assert not call.over
        serving.goes_on.set()
        assert comes_true(lambda: call.over)
        assert call.silent() == set()

    def test_the_recognizer_may_only_wait_for_what_it_calls(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("trident.supervisor.probes._WINDOW_S", 0.0)
        serving = FakeServing(fails={"entity_recognizer": LATE, "plate_reader": LATE})
        assert roll_call(serving) == {"plate_reader"}

    def test_or_for_what_it_is_answered_all_the_time(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("trident.supervisor.probes._WINDOW_S", 0.0)
        serving = FakeServing(fails={"entity_recognizer": LATE}, moves=("face_detector",), step=3)
        assert roll_call(serving) == set()
        serving = FakeServing(fails={"entity_recognizer": LATE}, moves=("face_detector",))
        assert roll_call(serving) == {"entity_recognizer"}, "the one answer is that to the question itself"

    def test_a_first_step_that_refuses_by_itself_answers(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("trident.supervisor.probes._WINDOW_S", 0.0)
        held = ServingError("too many requests: 24 wait: ask again later", "UNAVAILABLE")
        assert roll_call(FakeServing(fails={"preprocess": held})) == set()

    def test_where_all_are_silent_it_is_none_of_them(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("trident.supervisor.probes._WINDOW_S", 0.0)
        assert roll_call(FakeServing(fails=dict.fromkeys(COMPONENTS, LATE))) == set()

    STUBS = (Stub(1, "classifier", 1, "classifier_0_0"), Stub(2, "classifier", 2, "c"), Stub(3, "fusion", 1, "f"))

    @pytest.mark.parametrize(
        ("fails", "used", "expected"),
        [
            pytest.param({}, 0.0, Finding(), id="all is well"),
            pytest.param({ENSEMBLE: BAD}, 0.0, Finding(str(BAD)), id="an error is not silence"),
            pytest.param({ENSEMBLE: TRACED}, 0.0, Finding("it fails"), id="without its trace"),
            pytest.param({ENSEMBLE: FULL}, 0.0, Finding(), id="only busy"),
            pytest.param({ENSEMBLE: LATE}, 0.0, Finding(str(LATE), silence=True), id="silent, and nobody to blame"),
            pytest.param(
                {ENSEMBLE: LATE, "classifier": LATE}, 0.0, Finding(str(LATE), True, hung=(STUBS[0],)), id="hung"
            ),
            pytest.param(
                {ENSEMBLE: LATE, "classifier": LATE}, 5.0, Finding(str(LATE), True, busy=(STUBS[0],)), id="busy"
            ),
            pytest.param(
                {ENSEMBLE: FULL, "classifier": LATE}, 0.0, Finding(str(FULL), True, hung=(STUBS[0],)), id="full of it"
            ),
        ],
    )
    def test_what_a_probe_shows(
        self, monkeypatch: pytest.MonkeyPatch, fails: dict[str, ServingError], used: float, expected: Finding
    ) -> None:
        seconds = chain([0.0] * len(self.STUBS), repeat(used))
        monkeypatch.setattr("trident.supervisor.probes._WINDOW_S", 0.0)
        monkeypatch.setattr(stillness, "_SHORTEST_S", 0.0)
        monkeypatch.setattr(processes, "cpu_seconds", lambda pid: next(seconds))
        found = hunt.ask(FakeServing(fails=fails), ONES, self.STUBS)  # type: ignore[arg-type]
        assert found == expected

    @pytest.mark.parametrize("wants", [False, True])
    def test_one_that_does_nothing_is_found_long_before_the_deadline(
        self, monkeypatch: pytest.MonkeyPatch, wants: bool
    ) -> None:
        monkeypatch.setattr("trident.supervisor.probes._WINDOW_S", 0.3)
        monkeypatch.setattr(hunt, "_PATIENCE_S", 0.1)
        monkeypatch.setattr(hunt, "_LOOK_S", 0.05)
        monkeypatch.setattr(stillness, "_SHORTEST_S", 0.2)
        monkeypatch.setattr(processes, "cpu_seconds", lambda pid: 0.0)
        monkeypatch.setattr(processes, "wants_processor", lambda pid: wants)
        serving = FakeServing(hangs=("fusion", ENSEMBLE))
        asking = Hunt(lambda: None)
        asking.begin(serving, ONES, self.STUBS)  # type: ignore[arg-type]
        try:
            if wants:  # it waits for a processor that others have
                assert not comes_true(lambda: not asking.under_way or asking.finding() is not None, 1.0)
            else:
                findings: list[Finding] = []

                def found() -> bool:
                    findings.extend(filter(None, [asking.finding()]))
                    return bool(findings)

                assert comes_true(found)
                assert findings[0].hung == (self.STUBS[2],)
        finally:
            serving.goes_on.set()
            asking.close()

    def test_beside_a_triton_that_gets_no_processor_nobody_is_known_to_hang(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        triton = 900_002
        monkeypatch.setattr("trident.supervisor.probes._WINDOW_S", 0.1)
        monkeypatch.setattr(hunt, "_PATIENCE_S", 0.05)
        monkeypatch.setattr(hunt, "_LOOK_S", 0.05)
        monkeypatch.setattr(stillness, "_SHORTEST_S", 0.1)
        monkeypatch.setattr(processes, "cpu_seconds", lambda pid: 0.0)
        monkeypatch.setattr(processes, "wants_processor", lambda pid: pid == triton)
        hanging = ("fusion", ENSEMBLE)
        serving = FakeServing(hangs=hanging, fails=dict.fromkeys(hanging, LATE))
        threading.Timer(0.5, serving.goes_on.set).start()  # the deadline
        found = hunt.ask(serving, ONES, self.STUBS, triton)  # type: ignore[arg-type]
        assert (found.silence, found.hung, found.busy) == (True, (), (self.STUBS[2],))

    def test_an_answer_that_comes_late_is_one(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(hunt, "_PATIENCE_S", 0.05)
        serving = FakeServing(hangs=(ENSEMBLE,))
        threading.Timer(0.3, serving.goes_on.set).start()
        assert hunt.ask(serving, ONES, self.STUBS) == Finding()  # type: ignore[arg-type]

    def test_a_hunt_gives_its_finding_once(self) -> None:
        woken: list[bool] = []
        asking = Hunt(lambda: woken.append(True))
        assert asking.finding() is None
        asking.begin(FakeServing(), ONES, ())  # type: ignore[arg-type]
        assert asking.under_way
        assert comes_true(lambda: woken)
        assert asking.finding() == Finding()
        assert asking.finding() is None
        assert not asking.under_way
        asking.close()


class TestPulse:
    def test_answers_to_callers_spare_the_probe(self) -> None:
        clock = Clock()
        pulse = Pulse(5.0, clock=clock)
        for count in range(20):
            clock.now += 1
            assert pulse.seen(count + 1, 0) == (count > 0)
            assert not pulse.due

    def test_quiet_calls_for_one(self) -> None:
        clock = Clock()
        pulse = Pulse(5.0, clock=clock)
        pulse.seen(3, 0)
        clock.now += 4.9
        assert not pulse.due
        clock.now += 0.2
        assert pulse.due
        pulse.probed(good=True)
        assert not pulse.due

    def test_requests_that_begin_and_do_not_end_call_for_one_soon(self) -> None:
        clock = Clock()
        pulse = Pulse(5.0, clock=clock)
        for count in range(10):
            clock.now += 1.0
            pulse.seen(count, 0, count + 1)
            assert not pulse.due, "each second one begins and one ends"
        clock.now += 0.5
        pulse.seen(9, 0, 11)
        assert not pulse.due
        clock.now += 0.6
        pulse.seen(9, 0, 12)
        assert pulse.due
        pulse.probed(good=True)
        clock.now += 2.0
        pulse.seen(9, 0, 12)
        assert not pulse.due, "a slow machine is not asked all the time"

    def test_nobody_who_has_begun_nothing_is_waited_for(self) -> None:
        clock = Clock()
        pulse = Pulse(5.0, clock=clock)
        pulse.seen(9, 0, 10)
        clock.now += 3.0
        pulse.seen(9, 0, 10)
        assert not pulse.due
        clock.now += 0.4
        pulse.seen(9, 0, 2)
        assert not pulse.due, "the first step was loaded again"

    def test_failures_call_for_one_soon_but_not_all_the_time(self) -> None:
        clock = Clock()
        pulse = Pulse(5.0, clock=clock)
        pulse.seen(3, 0)
        clock.now += 0.5
        pulse.seen(3, 1)
        assert pulse.due
        pulse.probed(good=False)
        assert not pulse.due
        clock.now += 2.5
        assert pulse.due

    def test_a_model_that_was_loaded_again_counts_from_nothing(self) -> None:
        pulse = Pulse(5.0, clock=Clock())
        pulse.seen(100, 7)
        assert pulse.seen(2, 0)
        assert not pulse.seen(2, 0)

    def test_what_was_changed_is_probed_at_once(self) -> None:
        pulse = Pulse(5.0, clock=Clock())
        pulse.seen(3, 0)
        pulse.probed(good=True)
        pulse.suspect()
        assert pulse.due

    def test_an_answer_that_came_before_the_change_says_nothing(self) -> None:
        pulse = Pulse(5.0, clock=Clock())
        pulse.seen(3, 0)
        pulse.suspect()
        assert not pulse.seen(4, 0)
        assert pulse.due
        assert pulse.seen(5, 0)
        assert not pulse.due
