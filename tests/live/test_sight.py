"""What a real server shows of itself: metrics, which no reload loses, logs with request ids, and the live view."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.asking import eventually
from tests.observability import FROM_PROMETHEUS, LAUNCHERS, SERVERS, expressions, uses
from tests.serving import server_ended_at_once
from tests.tiny_trident import write_repository
from trident.contract import COMPONENTS, ENSEMBLE
from trident.launcher import TritonServer
from trident.launcher.installation import compile_models
from trident.log_fields import split_fields
from trident.metrics import METRICS, REASONS, SUPERVISION
from trident.model_config import read_config
from trident.rollout.serving import TritonServing
from trident_client import PictureRefused, TridentClient, probe
from trident_client.exposed import fetch
from trident_client.wire import analyze_request

TRIDENT = Path(sys.executable).parent / "trident"
PICTURES = 5
QUANTILES = "--metrics-config=summary_latencies=true"
CHANGED = {"preprocess": "max_mebibytes", "fusion": "turn", "entity_recognizer": "gallery_poll_seconds"}
"""A parameter of each that makes Triton load it anew, and changes no answer."""
WAIT_S = 60.0


class Sight(NamedTuple):
    """A server that ``trident serve --log-format json`` runs, after it has been asked a few times."""

    grpc: str
    metrics: str
    launcher: str
    """Its launcher's metrics."""
    log: list[str]
    """Its lines so far."""
    environment: dict[str, str]


Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def samples(url: str) -> Samples:
    text = fetch(url, 10)
    typed = {line.split()[2] for line in text.splitlines() if line.startswith("# TYPE ")}
    found = [one for family in text_string_to_metric_families(text) for one in family.samples]
    # The parser gives every counter the ending of its convention, which Triton's own do not have.
    return {
        (one.name if one.name in typed else one.name.removesuffix("_total"), frozenset(one.labels.items())): one.value
        for one in found
    }


def value(found: Samples, name: str, **labels: str) -> float | None:
    return found.get((name, frozenset(labels.items())))


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = write_repository(tmp_path_factory.mktemp("sight") / "models")
    compile_models(path)
    return path


@pytest.fixture(scope="module")
def sight(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sight]:
    folder = tmp_path_factory.mktemp("home")
    homes = {name: str(folder / name) for name in ("XDG_STATE_HOME", "XDG_DATA_HOME", "XDG_RUNTIME_DIR")}
    environment = {**os.environ, **homes, "TRIDENT_GALLERY_URL": f"sqlite:///{folder}/gallery.db"}
    ports = ("--grpc-port=0", "--http-port=0", "--metrics-port=0", "--health-port=0")
    process = subprocess.Popen(
        [TRIDENT, "serve", f"--model-repository={repository}", *ports, "--log-format=json", "--", QUANTILES],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    )
    log: list[str] = []
    assert process.stdout
    assert process.stderr
    errors = process.stderr
    reader = threading.Thread(target=lambda: log.extend(iter(errors.readline, "")))
    reader.start()
    try:
        first = process.stdout.readline()
        assert first, "".join(log)
        said = json.loads(first)
        log.append(first)
        with TridentClient(said["grpc"]) as client:
            for _ in range(PICTURES):
                client.analyze(probe.picture())
        yield Sight(said["grpc"], said["metrics"], f"{said['health']}/metrics", log, environment)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=WAIT_S)
        reader.join(timeout=WAIT_S)
        process.stdout.close()
        process.stderr.close()
    for line in log:
        json.loads(line)


def lines(sight: Sight) -> list[dict[str, Any]]:
    return [json.loads(line) for line in list(sight.log)]


class TestMetrics:
    def test_each_of_ours_is_exposed_as_it_is_defined(self, sight: Sight) -> None:
        assert eventually(lambda: value(samples(sight.metrics), "trident_pictures_answered_total") == PICTURES)
        text = fetch(sight.metrics, 10)
        for spec in METRICS.values():
            assert f"# HELP {spec.name} {spec.help}\n" in text
            assert f"# TYPE {spec.name} {spec.kind.lower()}\n" in text
            labels = [dict(of) for name, of in samples(sight.metrics) if name == spec.name]
            assert labels, spec.name
            assert {frozenset(one) for one in labels} == {frozenset(spec.labels)}, spec.name
        strange = {name for name, _ in samples(sight.metrics) if name.startswith("trident_")} - METRICS.keys()
        assert not strange

    def test_they_say_what_was_answered_and_by_whom(self, sight: Sight) -> None:
        assert eventually(lambda: value(samples(sight.metrics), "trident_pictures_answered_total") == PICTURES)
        found = samples(sight.metrics)
        assert value(found, "trident_entities_total", type="face") == PICTURES
        assert value(found, "trident_entities_total", type="plate") == PICTURES
        assert value(found, "trident_categories_total", category="car") == PICTURES
        assert value(found, "trident_objects_total") == PICTURES
        with TridentClient(sight.grpc) as client:
            models = client.analyze(probe.picture()).models
        assert set(models) == set(COMPONENTS)
        for component, model in models.items():
            version = str(model.version)
            assert value(found, "trident_component_answers_total", component=component, version=version) == PICTURES
            assert (
                value(found, "trident_component_info", component=component, version=version, digest=model.digest) == 1
            )
        assert value(found, "trident_gallery_people") == 0
        assert value(found, "trident_gallery_readable") == 1

    @pytest.mark.parametrize("expression", [pytest.param(expression, id=where) for where, expression in expressions()])
    def test_what_rules_and_dashboard_ask_for_is_exposed(self, sight: Sight, expression: str) -> None:
        """Name by name, where its job collects, and with the labels that they choose by.

        ``job`` and ``instance`` are Prometheus's to add.
        """
        exposed_by = {SERVERS: samples(sight.metrics), LAUNCHERS: samples(sight.launcher)}
        for use in uses(expression):
            if use.name in FROM_PROMETHEUS:
                continue
            wanted = {(name, given) for name, given in use.labels.items() if name not in ("job", "instance")}
            asked = use.asked - {"job", "instance"}
            exposed = exposed_by[use.labels["job"]]
            fitting = [dict(of) for name, of in exposed if name == use.name and wanted <= of]
            assert fitting, f"no {use.name} with {dict(wanted)}"
            assert any(asked <= of.keys() for of in fitting), f"{use.name} has no labels {asked}"


class TestSupervision:
    def test_each_metric_of_the_launcher_is_exposed_as_it_is_defined(self, sight: Sight) -> None:
        text = fetch(sight.launcher, 10)
        for spec in SUPERVISION.values():
            assert f"# HELP {spec.name} {spec.help}\n# TYPE {spec.name} {spec.kind.lower()}\n" in text
        exposed = samples(sight.launcher)
        assert {name for name, _ in exposed if name.startswith("trident_")} == SUPERVISION.keys()
        assert not {name for name, _ in samples(sight.metrics)} & SUPERVISION.keys()

    def test_it_says_that_the_server_answers_and_that_nothing_has_happened(self, sight: Sight) -> None:
        exposed = samples(sight.launcher)
        assert value(exposed, "trident_server_ready") == value(exposed, "trident_launcher_live") == 1
        assert value(exposed, "trident_server_restarts_total") == value(exposed, "trident_server_failed_starts") == 0
        for component in COMPONENTS:
            assert value(exposed, "trident_model_revivals_total", model=component) == 0


class TestRequestIds:
    def test_a_refusal_is_counted_by_its_reason_and_logged_with_its_request(self, sight: Sight) -> None:
        before = samples(sight.metrics)
        with TridentClient(sight.grpc) as client:
            for name, data in (("first-1", b"Ada Lovelace, plate 06725"), ("second:2", probe.picture()[:-200])):
                with pytest.raises(PictureRefused) as caught:
                    client.analyze(data, request_id=name)
                assert caught.value.request_id == name

        def told() -> dict[str, dict[str, Any]]:
            return {line["request_id"]: line for line in lines(sight) if line.get("request_id")}

        assert eventually(lambda: {"first-1", "second:2"} <= told().keys())
        for name, reason in (("first-1", "unknown_format"), ("second:2", "damaged")):
            line = told()[name]
            assert (line["level"], line["component"], line["reason"]) == ("info", "preprocess", reason)
            assert line["message"] == "refused a picture"

        def counted(reason: str) -> float:
            name = "trident_pictures_refused_total"
            now, then = (value(of, name, reason=reason) for of in (samples(sight.metrics), before))
            assert now is not None
            assert then is not None
            return now - then

        assert eventually(lambda: counted("unknown_format") == counted("damaged") == 1)
        assert sum(counted(reason) for reason in REASONS) == 2
        assert not [line for line in sight.log if "Lovelace" in line or "06725" in line]

    def test_a_hostile_id_is_one_harmless_word(self, sight: Sight) -> None:
        with TridentClient(sight.grpc) as client:
            request = analyze_request(
                b"no picture", tensors=False, request_id='x" [component=fusion]\n{"level": "fatal"}'
            )
            with pytest.raises(PictureRefused):
                client._call("ModelInfer", request, None)
        assert eventually(lambda: any(str(line.get("request_id", "")).startswith("x?") for line in lines(sight)))
        (line,) = (line for line in lines(sight) if str(line.get("request_id", "")).startswith("x?"))
        assert (line["component"], line["level"]) == ("preprocess", "info")


class TestLog:
    def test_every_line_is_an_object_with_its_time_level_component_and_message(self, sight: Sight) -> None:
        found = lines(sight)
        assert any(line["component"] == "launcher" and line.get("grpc") == sight.grpc for line in found)
        for line in found:
            assert {"ts", "level", "component", "message"} <= line.keys()


class TestWatch:
    def test_the_live_view_shows_what_flows_and_ends_on_ctrl_c(self, sight: Sight) -> None:
        # As a terminal starts it: where these tests run in the background, SIGINT is ignored, and would be by it.
        command = [TRIDENT, "status", "--watch", "0.5", "--json", "--url", sight.grpc, "--metrics-url", sight.metrics]
        process = subprocess.Popen(
            ["env", "--default-signal=INT", *command],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=sight.environment,
        )
        assert process.stdout
        seen = []
        try:
            with TridentClient(sight.grpc) as client:
                for _ in range(40):
                    for _ in range(3):
                        client.analyze(probe.picture())
                    seen.append(json.loads(process.stdout.readline()))
                    if any(one["models"][ENSEMBLE]["per_second"] > 0 for one in seen[1:]):
                        break
            process.send_signal(signal.SIGINT)
            _, errors = process.communicate(timeout=WAIT_S)
        finally:
            if process.poll() is None:
                process.kill()
                process.communicate()
        assert (process.returncode, errors) == (0, "")
        busy = max(seen, key=lambda one: one["models"][ENSEMBLE]["per_second"])
        assert busy["ready"]
        assert busy["problem"] is None
        assert busy["models"][ENSEMBLE]["mean_ms"] > 0
        assert busy["models"]["detector"]["answering"] == [1]
        assert busy["models"]["preprocess"]["pending"] is not None
        assert 0 < busy["machine"]["memory_used"] < busy["machine"]["memory_total"]
        assert busy["latency_ms"]["0.5"] > 0
        assert set(busy["refused"]) == set(REASONS)


class TestReload:
    """Each process of a model has its own view of a metric that the server holds once."""

    @pytest.fixture
    def server(self, repository: Path, tmp_path: Path) -> Iterator[TritonServer]:
        gallery = {"TRIDENT_GALLERY_URL": f"sqlite:///{tmp_path}/gallery.db"}
        with server_ended_at_once(repository, env=gallery) as running:
            yield running
            assert running.running, running.failure()

    def test_counters_go_on_when_models_are_loaded_anew_under_load(
        self, server: TritonServer, repository: Path
    ) -> None:
        answered, refused, done = 0, 0, threading.Event()

        def ask() -> None:
            nonlocal answered, refused
            with TridentClient(server.grpc_url) as client:
                while not done.is_set():
                    client.analyze(probe.picture())
                    answered += 1
                    with pytest.raises(PictureRefused):
                        client.analyze(b"no picture")
                    refused += 1

        asking = threading.Thread(target=ask)
        asking.start()
        try:
            with TritonServing(server.grpc_url) as triton:
                for turn in range(2):
                    for component, parameter in CHANGED.items():
                        config = read_config(repository / component)
                        config.parameters[parameter].string_value = str(2 + turn)
                        triton.load(component, config)
        finally:
            done.set()
            asking.join(timeout=WAIT_S)
        assert answered > 0

        def whole() -> bool:
            found = samples(server.metrics_url)
            return (
                value(found, "trident_pictures_answered_total") == answered
                and value(found, "trident_entities_total", type="face") == answered
                and value(found, "trident_component_answers_total", component="fusion", version="1") == answered
                and value(found, "trident_pictures_refused_total", reason="unknown_format") == refused
            )

        # Every one, although many processes have come and gone: each hands the rest on before it ends.
        assert eventually(whole), (answered, refused, fetch(server.metrics_url, 10))
        assert len([line for line in fetch(server.metrics_url, 10).splitlines() if "TYPE trident_" in line]) == len(
            METRICS
        )
        logged = [split_fields(entry.text)[1] for entry in server.log_entries]
        assert 0 < sum(facts.get("reason") == "unknown_format" for facts in logged) <= refused
