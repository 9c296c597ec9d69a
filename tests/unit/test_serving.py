"""What a server says over gRPC, and what is made of it: a refusal, a server that is being stopped, one that is gone."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import grpc
import numpy as np
import pytest
from fake_server import Answer, FakeServer, running
from tritonclient.grpc import service_pb2
from tritonclient.grpc.model_config_pb2 import ModelConfig

from trident.admission.gate import LATER
from trident.contract import ENSEMBLE
from trident.rollout import serving as serving_module
from trident.rollout.serving import Draining, ServerLost, ServingError, Statistics, TritonServing, analyze
from trident_client import TLS, SettingsError

GONE = (grpc.StatusCode.NOT_FOUND, "Request for unknown model: 'trident' has no available versions")
EXITING = (grpc.StatusCode.UNAVAILABLE, "Server exiting")
RESTRICTED = (grpc.StatusCode.UNAVAILABLE, "This protocol is restricted, expecting header 'triton-grpc-protocol-key'")
LET_GO = [(ENSEMBLE, "1", "UNAVAILABLE", "unloaded")]


class Triton(FakeServer):
    """Fails at the methods in ``failures``, with a status or for as long as a function says; notes what it loads."""

    def __init__(self) -> None:
        super().__init__()
        self.failures: dict[str, tuple[grpc.StatusCode, str]] = {}
        self.live: Callable[[], bool] = lambda: True
        self.ready = True
        self.loads: list[service_pb2.RepositoryModelLoadRequest] = []

    def ServerLive(self, request, context):  # noqa: N802
        self._allow("ServerLive", context)
        return service_pb2.ServerLiveResponse(live=self.live())

    def ModelReady(self, request, context):  # noqa: N802
        self._allow("ModelReady", context)
        return service_pb2.ModelReadyResponse(ready=self.ready)

    def RepositoryModelLoad(self, request, context):  # noqa: N802
        self._allow("RepositoryModelLoad", context)
        self.loads.append(request)
        return service_pb2.RepositoryModelLoadResponse()

    def ModelStatistics(self, request, context):  # noqa: N802
        self._allow("ModelStatistics", context)
        message = service_pb2.ModelStatisticsResponse()
        for count in (3, 4):
            inferences = message.model_stats.add(name=request.name).inference_stats
            inferences.success.count, inferences.success.ns = count, count * 1000
            inferences.fail.count = 1
        return message

    def _allow(self, method, context):
        super()._allow(method, context)
        self.metadata.append(dict(context.invocation_metadata()))
        if method in self.failures:
            context.abort(*self.failures[method])


@pytest.fixture
def triton() -> Iterator[Triton]:
    with running(Triton()) as fake:
        yield fake


@pytest.fixture
def serving(triton: Triton) -> Iterator[TritonServing]:
    with TritonServing(triton.url) as made:
        yield made


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, seconds in {"ANSWER_S": 2.0, "_LIVE_S": 0.5, "_DRAINED_S": 0.2, "_DRAINING_S": 0.6}.items():
        monkeypatch.setattr(serving_module, name, seconds)


def failure(call: Callable[[], Any]) -> ServingError:
    with pytest.raises(ServingError) as caught:
        call()
    return caught.value


class TestLost:
    @pytest.mark.parametrize(
        ("code", "details"),
        [
            pytest.param("UNAVAILABLE", "failed to connect to all addresses; last error: UNKNOWN: why", id="nobody"),
            pytest.param("UNAVAILABLE", "connections to all backends failing; last error: why", id="none of several"),
            pytest.param("UNAVAILABLE", "DNS resolution failed for host:1: why", id="no such host"),
            pytest.param("UNAVAILABLE", "errors resolving host:1: [field:hostname lookup error:why]", id="resolver"),
            pytest.param("UNAVAILABLE", "Socket closed", id="socket"),
            pytest.param("UNAVAILABLE", "Transport closed", id="transport"),
            pytest.param("UNAVAILABLE", "recvmsg:Connection reset by peer", id="reset"),
            pytest.param("UNAVAILABLE", "GOAWAY received", id="goaway"),
            pytest.param("UNAVAILABLE", "Broken pipe", id="pipe"),
            pytest.param("UNAVAILABLE", "keepalive watchdog timeout", id="keepalive"),
            pytest.param("UNKNOWN", "Stream removed", id="stream"),
            pytest.param("CANCELLED", "Stream removed", id="stream cancelled"),
        ],
    )
    def test_what_tells_of_a_lost_connection(
        self, triton: Triton, serving: TritonServing, code: str, details: str
    ) -> None:
        triton.failures["ModelConfig"] = (grpc.StatusCode[code], details)
        lost = failure(lambda: serving.config(ENSEMBLE))

        assert type(lost) is ServerLost
        assert (str(lost).partition(" (")[0], lost.code) == (f"no server answers at {triton.url}", code)
        assert "ServerLive" not in triton.calls

    def test_nobody_there(self) -> None:
        with running(Triton()) as triton, TritonServing(triton.url) as serving:
            assert serving.ready(ENSEMBLE)
            url = triton.url
        with TritonServing(url) as serving:
            assert "Connection refused" in str(failure(lambda: serving.ready(ENSEMBLE)))
            assert type(failure(lambda: serving.load(ENSEMBLE))) is ServerLost

    def test_a_server_that_ends_in_the_middle_of_a_call(self) -> None:
        failures: list[ServingError] = []
        with running(Triton()) as triton, TritonServing(triton.url) as serving:
            triton.otherwise = lambda picture: Answer(delay=1.0)
            caller = threading.Thread(target=lambda: failures.append(failure(lambda: analyze(serving, b"picture"))))
            caller.start()
            while not triton.requests:
                time.sleep(0.01)
            triton.stop()
            caller.join()

        assert [type(one) for one in failures] == [ServerLost]

    def test_a_server_that_answers_nothing_more(self, triton: Triton, serving: TritonServing) -> None:
        triton.otherwise = lambda picture: Answer(delay=2.5)
        triton.live = lambda: time.sleep(1.0) or True
        began = time.monotonic()
        lost = failure(lambda: analyze(serving, b"picture"))

        assert type(lost) is ServerLost
        assert lost.code == "DEADLINE_EXCEEDED"
        assert time.monotonic() - began < 4

    def test_a_slow_answer_of_a_living_server_is_a_failure_of_its_own(
        self, triton: Triton, serving: TritonServing, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(serving_module, "ANSWER_S", 0.2)
        triton.otherwise = lambda picture: Answer(delay=0.6)
        slow = failure(lambda: analyze(serving, b"picture"))

        assert (type(slow), slow.code) == (ServingError, "DEADLINE_EXCEEDED")

    @pytest.mark.parametrize(
        ("status", "living"),
        [
            pytest.param((grpc.StatusCode.UNAVAILABLE, "Exceeds maximum queue size"), False, id="a full queue"),
            pytest.param((grpc.StatusCode.UNAVAILABLE, f"too many requests: {LATER}"), False, id="too many requests"),
            pytest.param(RESTRICTED, False, id="a restricted protocol"),
            pytest.param((grpc.StatusCode.UNAVAILABLE, "in ensemble 'trident', not now"), True, id="not now"),
            pytest.param((grpc.StatusCode.CANCELLED, "CANCELLED"), True, id="cancelled"),
            pytest.param((grpc.StatusCode.INTERNAL, "Socket closed"), False, id="of a model's own connection"),
            pytest.param((grpc.StatusCode.INVALID_ARGUMENT, "no picture"), False, id="refused"),
        ],
    )
    def test_what_a_living_server_refuses_is_no_loss(
        self, triton: Triton, serving: TritonServing, status: tuple[grpc.StatusCode, str], living: bool
    ) -> None:
        triton.script = [Answer(*status)]
        refused = failure(lambda: analyze(serving, b"picture"))

        assert (type(refused), refused.code) == (ServingError, status[0].name)
        assert str(refused).startswith(status[1])  # and what to do, where a key is wanted
        assert ("ServerLive" in triton.calls) is living

    def test_what_was_closed_here_is_not_lost(self, triton: Triton) -> None:
        serving = TritonServing(triton.url)
        serving.close()
        closed = failure(lambda: serving.config(ENSEMBLE))

        assert (type(closed), str(closed)) == (ServingError, f"the connection to {triton.url} was closed")

    def test_a_call_under_way_while_it_is_closed_ends_likewise(self, triton: Triton) -> None:
        serving, failures = TritonServing(triton.url), list[ServingError]()
        triton.otherwise = lambda picture: Answer(delay=1.0)
        caller = threading.Thread(target=lambda: failures.append(failure(lambda: analyze(serving, b"picture"))))
        caller.start()
        while not triton.requests:
            time.sleep(0.01)
        serving.close()
        caller.join()

        assert [(type(one), one.code) for one in failures] == [(ServingError, "CANCELLED")]


class TestStopping:
    @pytest.mark.parametrize(
        "status",
        [
            pytest.param((grpc.StatusCode.UNAVAILABLE, "Server not ready"), id="not ready"),
            pytest.param((grpc.StatusCode.UNAVAILABLE, "Server is stopping, scheduler has stopped"), id="stopping"),
            pytest.param((grpc.StatusCode.CANCELLED, "CANCELLED"), id="cancelled"),
            pytest.param(
                (grpc.StatusCode.NOT_FOUND, "Request for unknown model: 'fusion' has no available versions"),
                id="its models are gone already",
            ),
        ],
    )
    @pytest.mark.parametrize("live", [EXITING, None], ids=["exiting", "not live"])
    def test_a_server_that_says_so(
        self,
        triton: Triton,
        serving: TritonServing,
        status: tuple[grpc.StatusCode, str],
        live: tuple[grpc.StatusCode, str] | None,
    ) -> None:
        triton.failures["ModelConfig"] = status
        if live:
            triton.failures["ServerLive"] = live
        triton.live = lambda: False
        stopping = failure(lambda: serving.config("fusion"))

        assert type(stopping) is Draining
        assert str(stopping) == f"the server at {triton.url} is being stopped"

    def test_a_model_that_refuses_all_in_the_place_of_the_served_one_says_so(
        self, triton: Triton, serving: TritonServing
    ) -> None:
        refusal = f"in ensemble 'trident', {serving_module.STOPPING} and takes no more requests"
        triton.script = [Answer(grpc.StatusCode.UNAVAILABLE, refusal)]
        assert type(failure(lambda: analyze(serving, b"x"))) is Draining
        assert "ServerLive" not in triton.calls, "there is nothing to find out"

    def test_nothing_is_loaded_in_its_place(
        self, triton: Triton, serving: TritonServing, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        triton.index = [(ENSEMBLE, "1", "READY", "")]
        closed = ModelConfig(name=ENSEMBLE)
        closed.parameters[serving_module.CLOSED].string_value = "1"
        monkeypatch.setattr(serving, "config", lambda model: closed)
        assert type(failure(lambda: serving.load(ENSEMBLE))) is Draining
        assert "RepositoryModelLoad" not in triton.calls

    def test_what_may_not_be_asked_says_nothing(self, triton: Triton, serving: TritonServing) -> None:
        triton.failures = {"ModelConfig": (grpc.StatusCode.UNAVAILABLE, "not now"), "ServerLive": RESTRICTED}

        assert type(failure(lambda: serving.config("fusion"))) is ServingError

    def test_a_model_that_is_not_ready_on_a_server_that_is_being_stopped(
        self, triton: Triton, serving: TritonServing
    ) -> None:
        triton.ready = False
        assert not serving.ready(ENSEMBLE)
        triton.failures["ServerLive"] = EXITING
        assert type(failure(lambda: serving.ready(ENSEMBLE))) is Draining

    @pytest.mark.parametrize("call", ["config", "statistics", "infer", "load"])
    def test_an_ensemble_that_is_let_go_before_the_end_is_not_loaded_again(
        self, triton: Triton, serving: TritonServing, call: str
    ) -> None:
        def lives() -> bool:
            triton.index = LET_GO if triton.calls.count("ServerLive") > 2 else [(ENSEMBLE, "1", "UNLOADING", "")]
            return triton.calls.count("ServerLive") <= 4

        triton.live, triton.index = lives, LET_GO
        triton.script = [Answer(*GONE)]
        triton.failures["ModelConfig"] = GONE
        triton.failures["ModelStatistics"] = (
            grpc.StatusCode.INVALID_ARGUMENT,
            "requested model 'trident' is not available",
        )
        calls: dict[str, Callable[[], Any]] = {
            "config": lambda: serving.config(ENSEMBLE),
            "statistics": lambda: serving.statistics(ENSEMBLE),
            "infer": lambda: analyze(serving, b"picture"),
            "load": lambda: serving.load(ENSEMBLE),
        }

        assert type(failure(calls[call])) is Draining
        assert triton.loads == []

    def test_an_ensemble_that_a_load_has_dropped_can_be_loaded_again(
        self, triton: Triton, serving: TritonServing
    ) -> None:
        triton.index = LET_GO
        triton.failures["ModelConfig"] = GONE
        dropped = failure(lambda: serving.config(ENSEMBLE))
        serving.load(ENSEMBLE)

        assert (type(dropped), dropped.code) == (ServingError, "NOT_FOUND")
        assert len(triton.loads) == 1

    @pytest.mark.parametrize(
        "state",
        [
            pytest.param(("READY", ""), id="ready"),
            pytest.param(("READY", "unloaded"), id="ready, with the reason of an earlier state"),
            pytest.param(("UNAVAILABLE", "Internal: ValueError"), id="failed"),
        ],
    )
    def test_an_ensemble_in_another_state_is_loaded_at_once(
        self, triton: Triton, serving: TritonServing, state: tuple[str, str]
    ) -> None:
        triton.index = [(ENSEMBLE, "1", *state)]
        serving.load(ENSEMBLE)

        assert len(triton.loads) == 1
        assert "ServerLive" not in triton.calls

    def test_requests_that_do_not_end_do_not_keep_it_for_ever(self, triton: Triton, serving: TritonServing) -> None:
        triton.index = [(ENSEMBLE, "1", "UNLOADING", "")]
        serving.load(ENSEMBLE)

        assert len(triton.loads) == 1


class TestCalls:
    def test_states_are_those_of_the_index(self, triton: Triton, serving: TritonServing) -> None:
        triton.index = [
            ("fusion", "1", "READY", ""),
            ("fusion", "2", "UNAVAILABLE", "unloaded"),
            ("detector", "", "", ""),
        ]

        assert serving.states("fusion") == {1: "READY", 2: "UNAVAILABLE"}

    def test_a_model_that_is_not_on_disk_has_a_state_too(self, triton: Triton, serving: TritonServing) -> None:
        assert serving.states("handed_over") == {1: "READY"}
        triton.ready = False
        assert serving.states("unknown") == {}

    def test_a_load_hands_over_configuration_and_files(self, triton: Triton, serving: TritonServing) -> None:
        config = ModelConfig(name="candidate", max_batch_size=8)
        serving.load("candidate", config, {"1/about.txt": b"new"})
        (load,) = triton.loads

        assert load.model_name == "candidate"
        assert load.parameters["config"].string_param == '{"name": "candidate", "max_batch_size": 8}'
        assert load.parameters["file:1/about.txt"].bytes_param == b"new"

    def test_statistics_add_up_versions(self, serving: TritonServing) -> None:
        assert serving.statistics("fusion") == Statistics(7, 2, 7000)

    def test_an_inference_names_the_outputs_that_it_wants(self, triton: Triton, serving: TritonServing) -> None:
        answer = analyze(serving, b"picture", outputs=["RESULT", "NUM_BOXES"])

        assert list(answer) == ["RESULT", "NUM_BOXES"]
        assert isinstance(answer["RESULT"], np.ndarray)
        assert triton.pictures == [b"picture"]


class TestConnection:
    def test_headers_go_with_every_call(self, triton: Triton) -> None:
        with TritonServing(triton.url, headers={"Triton-Grpc-Protocol-Admin": "key"}) as serving:
            serving.config(ENSEMBLE)
            serving.load("fusion")
            analyze(serving, b"picture")

        assert [one["triton-grpc-protocol-admin"] for one in triton.metadata] == ["key"] * 3

    def test_a_header_that_cannot_be_sent_is_refused_without_its_value(self) -> None:
        with pytest.raises(SettingsError) as caught:
            TritonServing("host:1", headers={"key": "sec\nret"})

        assert "sec" not in str(caught.value)

    def test_the_variable_names_the_server(self, triton: Triton, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("TRIDENT_URL", f"grpc://{triton.url}")
        with TritonServing() as serving:
            assert serving.ready(ENSEMBLE)
            assert serving.url == triton.url

    def test_mutual_tls(self, guarded: FakeServer, certificates: Any) -> None:
        tls = TLS(certificates / "ca.pem", certificates / "client.pem", certificates / "client.key", "vision.example")
        with TritonServing(guarded.url, tls=tls) as serving:
            assert serving.ready(ENSEMBLE)

    @pytest.mark.parametrize("tls", [None, TLS()], ids=["by its scheme", "and by an option"])
    def test_an_encrypted_address_is_never_asked_in_plain_text(self, triton: Triton, tls: TLS | None) -> None:
        with TritonServing(f"grpcs://{triton.url}", tls=tls) as serving:
            lost = failure(lambda: serving.ready(ENSEMBLE))

        assert type(lost) is ServerLost
        assert triton.calls == []
