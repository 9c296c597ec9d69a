"""Where the time goes: statistics and traces read right, parts that add up, and a twin that is one."""

from __future__ import annotations

import importlib.util
import json
import sys
import types
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from tritonclient.grpc import service_pb2
from tritonclient.grpc.model_config_pb2 import ModelConfig

from benchmarks import report
from benchmarks.answers import OK, Answer, Answers
from benchmarks.intervals import Interval
from benchmarks.report import Summary
from benchmarks.time_spent import twin
from benchmarks.time_spent.account import BEFORE, BETWEEN, BRANCHES, OUTSIDE, SENDER, account_of, path_of, timeline
from benchmarks.time_spent.counters import Counters, counted_since, counters_of
from benchmarks.time_spent.figures import component_of, work_out
from benchmarks.time_spent.page import SUM, WHAT, account_rows, summary, to_html, to_json
from benchmarks.time_spent.processor import SERVER, spent_between
from benchmarks.time_spent.run import (
    HALF_LOAD,
    ONE_CLIENT,
    TRIDENT,
    TWIN,
    TWIN_WITHOUT_CALLS,
    Measured,
    Run,
    Served,
    Settings,
    TracingCost,
    difference_of_medians,
)
from benchmarks.time_spent.traces import Span, Traced, read_traces, traced
from benchmarks.verdict import passed
from trident.contract import CALLED, COMPONENTS, DETAIL_PIXELS, ENSEMBLE, MODELS, NETWORKS, RECOGNIZER, STEPS
from trident.errors import SetupError
from trident.layout import DEFAULT_REPOSITORY
from trident.model_config import read_config, read_repository, served_versions
from trident.rollout.consistency import tensor_problems
from trident.rollout.disk import Repository

MS = 1_000_000
FACTS = {
    "command": ".venv/bin/python -m benchmarks.time_spent",
    "commit": "c" * 40,
    "date": "2026-01-02T03:04:05+00:00",
    "machine": {"processor": "A CPU", "cores": 2},
    "load_average": [0.1, 0.2, 0.3],
}


# Triton's statistics


def statistics(**models: tuple[int, int]) -> Any:
    """Of each model, requests and milliseconds: a tenth of them in the queue, one handed in and one out, 6/10 work."""
    response = service_pb2.ModelStatisticsResponse()
    for name, (requests, ms) in models.items():
        model = response.model_stats.add(name=name, version="1", inference_count=2 * requests, execution_count=requests)
        spent = model.inference_stats
        for duration, share in (
            (spent.success, 10),
            (spent.queue, 1),
            (spent.compute_input, 1),
            (spent.compute_infer, 6),
            (spent.compute_output, 1),
        ):
            duration.count, duration.ns = requests, ms * MS * share // 10
    return response


def test_counters_are_read():
    (found,) = counters_of(statistics(detector=(4, 40))).values()
    assert (found.requests, found.pictures, found.executions, found.failed) == (4, 8, 4, 0)
    parts = {part: found.mean_ms(part) for part in ("whole", "queue", "input", "infer", "output", "rest")}
    assert parts == pytest.approx({"whole": 10, "queue": 1, "input": 1, "infer": 6, "output": 1, "rest": 1})


def test_versions_of_a_model_count_together():
    response = statistics(detector=(4, 40))
    response.model_stats.add().CopyFrom(response.model_stats[0])
    assert counters_of(response)["detector"].requests == 8
    assert counters_of(response)["detector"].mean_ms("whole") == pytest.approx(10)


def test_counters_of_a_run_are_the_difference():
    before, after = (counters_of(statistics(detector=one))["detector"] for one in ((4, 40), (6, 100)))
    assert (after - before).requests == 2
    assert (after - before).mean_ms("whole") == pytest.approx(30)


def test_a_model_that_was_not_asked_took_no_time():
    assert Counters().mean_ms("whole") == 0.0


class Counting:
    """A server that has counted the ensemble's requests a little later than they were answered."""

    def __init__(self, *requests: int) -> None:
        self.requests = list(requests)

    def get_inference_statistics(self) -> Any:
        return statistics(**{ENSEMBLE: (self.requests.pop(0) if len(self.requests) > 1 else self.requests[0], 10)})


def test_the_last_request_is_waited_for():
    client = Counting(12, 13, 14)
    found = counted_since(client, {ENSEMBLE: Counters(requests=10)}, 4)
    assert found[ENSEMBLE].requests == 4


@pytest.mark.parametrize("counted", [pytest.param(13, id="one is missing"), pytest.param(15, id="one too many")])
def test_another_number_of_requests_is_refused(counted):
    with pytest.raises(SetupError, match=f"expected 4 more requests to {ENSEMBLE}, got {counted - 10}"):
        counted_since(Counting(counted), {ENSEMBLE: Counters(requests=10)}, 4, within_s=0.1)


# Triton's traces


def span(begin: int, *lengths: int) -> Span:
    """A span in milliseconds: from its begin to the queue, the queue, in, work, out, the end."""
    moments = np.cumsum([begin, *lengths])
    return Span(*(int(moment) * MS for moment in moments))


def request(begin: int = 0) -> Traced:
    """100 ms: 1 before, preprocess 10, the branches from 11 on, the detector until 81, fusion from 83 to 97."""
    steps = {
        "preprocess": span(1, 0, 2, 1, 6, 3, 1),  # its answer goes out from 10 to 13; the branches begin at 11
        "classifier": span(11, 0, 1, 1, 20, 1, 0),
        "detector": span(11, 0, 5, 1, 64, 4, 1),  # ready at 81, handed over until 85
        "entity_recognizer": span(11, 0, 1, 1, 50, 1, 0),
        "fusion": span(83, 1, 2, 1, 9, 1, 1),
    }
    moved = {
        name: Span(*(moment + begin * MS for moment in (getattr(one, field) for field in Span.__slots__)))
        for name, one in steps.items()
    }
    return Traced(begin * MS, (begin + 100) * MS, moved)


def entries(*requests: Traced) -> list[dict[str, Any]]:
    """The same as a trace file holds it."""
    found: list[dict[str, Any]] = []

    def add(number: int, model: str, moments: dict[str, int], **more: Any) -> None:
        found.append({"id": number, "model_name": model, "model_version": 1, **more})
        found.extend({"id": number, "timestamps": [{"name": name, "ns": ns}]} for name, ns in moments.items())

    for index, one in enumerate(requests):
        parent = 100 * (index + 1)
        add(parent, ENSEMBLE, {"GRPC_WAITREAD_START": 1, "REQUEST_START": one.begin, "REQUEST_END": one.end})
        for number, (model, step) in enumerate(one.steps.items()):
            moments = {"REQUEST_START": step.begin, "QUEUE_START": step.queue, "COMPUTE_START": step.compute}
            moments |= {"COMPUTE_INPUT_END": step.input_end, "COMPUTE_OUTPUT_START": step.output}
            moments |= {"COMPUTE_END": step.compute_end, "REQUEST_END": step.end}
            add(parent + number + 1, model, moments, parent_id=parent)
    return found


def test_traces_are_read_in_the_order_in_which_requests_began(tmp_path):
    first, second = request(0), request(500)
    file = tmp_path / "traces.json"
    file.write_text(json.dumps(entries(second, first)))
    assert read_traces(file) == [first, second]


def test_requests_to_single_models_are_no_requests_to_the_ensemble():
    alone = [{"id": 1, "model_name": "detector"}, {"id": 1, "timestamps": [{"name": "REQUEST_START", "ns": 5}]}]
    assert traced([*alone, *entries(request())]) == [request()]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param(None, "has written no traces", id="no file"),
        pytest.param('[{"id": 1}', "got no JSON", id="a server that was killed"),
        pytest.param("[1, 2]", "expected Triton's traces", id="something else"),
        pytest.param('[{"id": 1, "model_name": "trident"}]', "REQUEST_START", id="a moment is missing"),
    ],
)
def test_what_is_no_trace_file_is_refused(text, message, tmp_path):
    file = tmp_path / "traces.json"
    if text is not None:
        file.write_text(text)
    with pytest.raises(SetupError, match=message):
        read_traces(file)


# The account


def test_the_path_goes_through_the_branch_that_was_ready_last():
    path = path_of(request())
    assert path.branch == "detector"
    assert list(path.stages) == ["preprocess", "detector", "fusion"]


def test_what_overlaps_counts_once():
    """Preprocess hands its outputs over until 13, but the branch begins at 11; the detector until 85, fusion at 83."""
    path = path_of(request())
    assert {name: ms / MS for name, ms in path.stages["preprocess"].items()} == {
        "queue": 2,
        "input": 1,
        "infer": 6,
        "output": 1,
    }
    assert path.stages["detector"]["output"] == 2 * MS
    assert path.before == 1 * MS
    # Fusion: 1 before its queue, and from the end of its work at 97 to the end at 100.
    assert path.between == (0 + 0 + 1 + 3) * MS
    assert path.before + path.between + sum(sum(stage.values()) for stage in path.stages.values()) == path.whole


moments = st.lists(st.integers(0, 10**6), min_size=7, max_size=7).map(sorted)


@given(st.fixed_dictionaries(dict.fromkeys(STEPS, moments)), st.integers(0, 10**6), st.integers(0, 10**7))
def test_the_parts_add_up_whatever_the_moments(steps, begin, length):
    one = Traced(begin, begin + length, {name: Span(*moments) for name, moments in steps.items()})
    path = path_of(one)
    assert path.before + path.between + sum(sum(stage.values()) for stage in path.stages.values()) == length
    assert all(ns >= 0 for stage in path.stages.values() for ns in stage.values())


def answers_of(count: int, *, ms: float = 105.0, late_ms: float = 2.0) -> list[Answer]:
    return [
        Answer(number, "one", float(number), number + late_ms / 1000, number + (late_ms + ms) / 1000, OK)
        for number in range(count)
    ]


def test_an_account_adds_up_to_the_latency():
    account = account_of(answers_of(3), [request(), request(1000), request(2000)])
    rows = {one.name: one.ms for one in account.rows}
    assert rows[SENDER] == pytest.approx(2.0)
    assert rows[OUTSIDE] == pytest.approx(5.0)
    assert (rows[BEFORE], rows["preprocess"], rows[BETWEEN]) == pytest.approx((1.0, 10.0, 4.0))
    assert rows["detector"] == pytest.approx(5 + 1 + 64 + 2)
    assert rows["classifier"] == rows["entity_recognizer"] == 0.0
    assert account.sum_ms == pytest.approx(account.latency_ms) == pytest.approx(107.0)
    assert sum(one.ms for one in account.rows[2:]) == pytest.approx(account.ensemble_ms)


def test_a_branch_counts_for_the_requests_that_waited_for_it():
    second = request(1000)
    # The detector is ready at 1081, and fusion begins at 1083: this classifier is ready between the two.
    late = Span(*(1000 * MS + ms * MS for ms in (11, 11, 12, 13, 82, 83, 83)))
    other = Traced(second.begin, second.end, {**second.steps, "classifier": late})
    account = account_of(answers_of(2), [request(), other])
    shares = {one.name: one.share_of_requests for one in account.rows}
    assert (shares["classifier"], shares["detector"], shares["entity_recognizer"]) == (0.5, 0.5, 0.0)
    assert shares["preprocess"] == 1.0
    assert account.sum_ms == pytest.approx(account.latency_ms)


@pytest.mark.parametrize("count", [0, 2], ids=["none", "one too few"])
def test_every_answer_needs_its_trace(count):
    with pytest.raises(ValueError, match="expected one for each"):
        account_of(answers_of(3 if count else 0), [request()] * count)


def test_the_timeline_holds_means_since_the_begin():
    found = {moment.model: moment for moment in timeline([request(), request(5000)])}
    assert list(found) == list(STEPS)
    assert found["detector"].parts["queue"] == pytest.approx((11.0, 16.0))
    assert found["detector"].parts["output"] == pytest.approx((81.0, 85.0))
    assert {name: moment.last for name, moment in found.items()} == {
        **dict.fromkeys(("preprocess", "fusion")),
        **dict.fromkeys(BRANCHES, 0.0),
        "detector": 1.0,
    }


# The report


def counters_for(one: Traced, count: int) -> dict[str, Counters]:
    """What Triton counts of so many requests like that, the recognizer's networks asked twice in each."""
    found = {ENSEMBLE: Counters(count, 0, count, count, count * one.whole)}
    for name, step in one.steps.items():
        parts = [end - begin for begin, end in step.parts.values()]
        found[name] = Counters(count, 0, count, count, *(count * ns for ns in (step.end - step.begin, *parts)))
    return found | {name: Counters(2 * count, 0, 2 * count, 2 * count, 20 * count * MS) for name in CALLED}


def measured(name: str, count: int = 4) -> Measured:
    spent = {SERVER: 0.04, **dict.fromkeys(COMPONENTS, 0.02)}
    return Measured(
        name,
        Answers({"begin": 0.0}, tuple(answers_of(count))),
        counters_for(request(), count),
        spent,
        0,
        10**12,
        tuple(request(1000 * number) for number in range(count)),
    )


def made_up_run() -> Run:
    loads = (measured(ONE_CLIENT), measured(HALF_LOAD, 6))
    cost = TracingCost(5.0, 5.1, Interval(0.05, 0.15))
    servers = (
        Served(TRIDENT, "tritonserver --one", 8.0, 200.0, loads, {"triton": "triton 2"}),
        Served(TWIN, "tritonserver --two", 90.0, 20.0, loads, None, cost),
        Served(TWIN_WITHOUT_CALLS, "tritonserver --three", 120.0, 15.0, loads),
    )
    return Run(Settings(), ("one.jpg",), (500, 741), servers)


def test_the_report_is_whole(tmp_path):
    run = made_up_run()
    figures = work_out(run)
    as_html, as_json = report.write("stem", to_html(run, figures, FACTS), to_json(run, figures, FACTS), tmp_path)
    told = json.loads(as_json.read_text())
    assert (told["what"], told["outcome"]) == (WHAT, "finished")
    assert [server["name"] for server in told["servers"]] == [TRIDENT, TWIN, TWIN_WITHOUT_CALLS]
    for server in told["servers"]:
        for load in server["loads"]:
            assert load["account"]["sum_ms"] == pytest.approx(load["account"]["latency_ms"])
            assert [one["name"] for one in load["components"]] == [*STEPS, *CALLED]
    assert Summary.from_json(told["summary"]).to_json() == summary(run, figures).to_json()
    page = as_html.read_text()
    assert page.count("data:image/png") == 4
    assert "741 × 500 pixels" in page


def test_the_rows_of_the_table_are_the_account():
    loads = work_out(made_up_run()).servers[0].loads
    *rows, total = account_rows(loads)
    assert total[0] == SUM
    for column, load in ((1, loads[0]), (4, loads[1])):
        assert sum(float(row[column]) for row in rows) == pytest.approx(float(total[column]), abs=0.05)
        assert float(total[column]) == pytest.approx(load.account.latency_ms, abs=0.01)


def test_a_component_tells_its_calls_and_its_processor_time():
    found = component_of("plate_detector", Counters(6, 0, 9, 5, 60 * MS, 6 * MS, 6 * MS, 36 * MS, 6 * MS), 4, 0.2)
    assert (found.calls, found.pictures, found.inner) == (1.5, 1.5, True)
    assert (found.whole, found.infer, found.rest) == pytest.approx((10.0, 6.0, 1.0))
    assert found.processor == pytest.approx(50.0)


DETECTOR = counters_for(request(), 4)["detector"]


def with_counters(load: Measured, name: str, counters: Counters) -> Measured:
    """The same load with other counters of one model."""
    return replace(load, counters={**load.counters, name: counters})


@pytest.mark.parametrize(
    ("name", "counters", "sentence"),
    [
        pytest.param("fusion", counters_for(request(), 3)["fusion"], "not so: fusion 3", id="a step too few"),
        pytest.param("detector", replace(DETECTOR, failed=1), "not so: detector 4", id="a step failed"),
        pytest.param(
            "detector", replace(DETECTOR, infer_ns=4 * 65 * MS), "1000.0 µs apart, detector", id="a part differs"
        ),
    ],
)
def test_figures_that_do_not_agree_fail_the_run(name, counters, sentence):
    run = made_up_run()
    first, *others = run.servers
    load, half = first.loads
    wrong = replace(first, loads=(with_counters(load, name, counters), half))
    figures = work_out(replace(run, servers=(wrong, *others)))
    assert not passed(figures.verdicts)
    (told,) = [verdict for verdict in figures.verdicts if not verdict.good]
    assert sentence in told.sentence


def test_callers_who_were_answered_before_triton_was_through_are_told_of():
    run = made_up_run()
    first, *others = run.servers
    load, half = first.loads
    early = replace(load, answers=Answers({}, tuple(answers_of(4, ms=90.0))))
    figures = work_out(replace(run, servers=(replace(first, loads=(early, half)), *others)))
    (told,) = [verdict for verdict in figures.verdicts if not verdict.good]
    assert "-10.00 ms after" in told.sentence
    assert passed(figures.verdicts)


def test_processor_time_of_a_process_that_came_later_counts_from_nothing():
    assert spent_between({SERVER: 1.0}, {SERVER: 1.5, "fusion": 0.25}) == {SERVER: 0.5, "fusion": 0.25}


def test_the_cost_of_tracing_is_the_difference_of_the_medians():
    chance = np.random.default_rng(0)
    found = difference_of_medians(5.0 + chance.normal(0, 0.1, 200), 5.5 + chance.normal(0, 0.1, 200))
    assert found.traced_ms - found.untraced_ms == pytest.approx(0.5, abs=0.05)
    assert found.interval.low < 0.5 < found.interval.high
    assert found.interval.high - found.interval.low < 0.1


@pytest.mark.parametrize(
    "wrong",
    [{"requests": 1}, {"twin_requests": 0}, {"saturation_s": 0.0}, {"callers": 0}],
    ids=str,
)
def test_settings_are_bounded(wrong):
    with pytest.raises(SetupError, match="expected"):
        Settings(**wrong)


# The twin


@pytest.fixture(scope="module")
def twin_repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return twin.write_twin(DEFAULT_REPOSITORY, tmp_path_factory.mktemp("twin") / "models", detail=(500, 741))


def test_the_twin_has_every_model_of_the_contract(twin_repository):
    configs = read_repository(twin_repository)
    assert set(configs) == set(MODELS)
    assert [problem for name, config in configs.items() for problem in tensor_problems(name, config)] == []


@pytest.mark.parametrize("name", COMPONENTS)
def test_a_component_of_the_twin_is_served_as_the_real_one(name, twin_repository):
    real, copied = read_config(DEFAULT_REPOSITORY / name), read_config(twin_repository / name)
    for field in ("input", "output", "max_batch_size", "instance_group", "dynamic_batching"):
        assert getattr(copied, field) == getattr(real, field)
    assert copied.HasField("dynamic_batching") == real.HasField("dynamic_batching")
    version = Repository(DEFAULT_REPOSITORY).release()[name]
    assert served_versions(copied) == (version,)
    assert copied.backend == "python"
    assert not copied.model_warmup
    code = twin_repository / name / str(version) / "model.py"
    assert "as_numpy" in code.read_text()
    assert [path.name for path in code.parent.iterdir()] == ["model.py"]


def test_the_ensemble_of_the_twin_is_the_ensemble(twin_repository):
    assert read_config(twin_repository / ENSEMBLE) == read_config(DEFAULT_REPOSITORY / ENSEMBLE)
    assert (twin_repository / ENSEMBLE / "1").is_dir()


def test_the_twin_calls_the_versions_that_answer(twin_repository):
    (folder,) = (twin_repository / RECOGNIZER).glob("[0-9]*")
    release = Repository(DEFAULT_REPOSITORY).release()
    ways = json.loads(read_config(folder.parent).parameters["ways"].string_value)
    calls = [call for way in ways for call in way]
    assert {call["model"]: call["version"] for call in calls} == {name: release[name] for name in CALLED}
    assert len(calls) == twin.CALLS


def test_a_twin_without_calls_calls_nothing(tmp_path):
    folder = twin.write_twin(DEFAULT_REPOSITORY, tmp_path / "models", detail=(1, 1), calls=False)
    assert all("ways" not in read_config(folder / name).parameters for name in COMPONENTS)


def test_a_repository_that_does_not_fit_the_contract_has_no_twin(tmp_path):
    source = twin.write_twin(DEFAULT_REPOSITORY, tmp_path / "source", detail=(1, 1))
    # A twin has no networks.json, which a release is read from.
    networks = next((DEFAULT_REPOSITORY / RECOGNIZER).glob("[0-9]*/networks.json"))
    (source / RECOGNIZER / networks.parent.name / networks.name).write_bytes(networks.read_bytes())
    file = source / "classifier" / "config.pbtxt"
    file.write_text(file.read_text().replace('name: "TOP_SCORES"', 'name: "BEST_SCORES"'))
    with pytest.raises(SetupError, match="fits the contract; classifier: outputs: expected"):
        twin.write_twin(source, tmp_path / "models", detail=(1, 1))
    assert not (tmp_path / "models").exists()


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        pytest.param([(640, 480)], (480, 640), id="a small one keeps its size"),
        pytest.param([(2560, 1920)], (960, 1280), id="a large one does not"),
        pytest.param([(100, 50), (300, 200), (900, 900)], (200, 300), id="the median"),
        pytest.param([(100, 50), (300, 200)], (50, 100), id="the smaller of the two in the middle"),
    ],
)
def test_the_detail_is_that_of_the_median_picture(sizes, expected, tmp_path):
    files = []
    for number, size in enumerate(sizes):
        files.append(tmp_path / f"{number}.png")
        Image.new("RGB", size).save(files[-1])
    assert twin.detail_of(files) == expected


class Tensor:
    def __init__(self, name: str, array: np.ndarray) -> None:
        self._name, self._array = name, array

    def name(self) -> str:
        return self._name

    def as_numpy(self) -> np.ndarray:
        return self._array


class Response:
    def __init__(self, tensors: list[Tensor] = (), error: str = "") -> None:
        self.tensors, self.message = tensors, error

    def has_error(self) -> bool:
        return bool(self.message)

    def error(self) -> Any:
        return types.SimpleNamespace(message=lambda: self.message)

    def output_tensors(self) -> list[Tensor]:
        return self.tensors


class Backend(types.ModuleType):
    """``triton_python_backend_utils``, in which called models answer with nothing."""

    TRITONSERVER_MEMORY_CPU = 0
    Tensor = Tensor

    def __init__(self) -> None:
        super().__init__("triton_python_backend_utils")
        self.calls: list[dict[str, Any]] = []
        self.failing = ""

    @staticmethod
    def triton_string_to_numpy(name: str) -> Any:
        return {"TYPE_UINT8": np.uint8, "TYPE_INT32": np.int32, "TYPE_FP32": np.float32, "TYPE_STRING": np.object_}[
            name
        ]

    @staticmethod
    def get_input_tensor_by_name(request: Any, name: str) -> Tensor:
        return Tensor(name, request.tensors[name])

    @staticmethod
    def PreferredMemory(kind: int) -> int:  # noqa: N802
        return kind

    @staticmethod
    def InferenceResponse(tensors: list[Tensor]) -> Response:  # noqa: N802
        return Response(tensors)

    def InferenceRequest(self, **call: Any) -> Any:  # noqa: N802
        async def async_exec() -> Response:
            self.calls.append(call)
            if call["model_name"] == self.failing:
                return Response(error="it broke")
            return Response([Tensor(name, np.zeros(1)) for name in call["requested_output_names"]])

        return types.SimpleNamespace(async_exec=async_exec)


@pytest.fixture
def backend(monkeypatch: pytest.MonkeyPatch) -> Backend:
    backend = Backend()
    monkeypatch.setitem(sys.modules, "triton_python_backend_utils", backend)
    return backend


def started(repository: Path, name: str) -> Any:
    """The twin of one component, as Triton starts it."""
    (folder,) = (repository / name).glob("[0-9]*")
    spec = importlib.util.spec_from_file_location(f"twin_of_{name}", folder / "model.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    config = read_config(repository / name)
    model = module.TritonPythonModel()
    model.initialize({"model_config": json.dumps(as_triton_writes(config))})
    return model


def as_triton_writes(config: ModelConfig) -> dict[str, Any]:
    """The configuration as the Python backend gets it."""

    def tensors(many: Any) -> list[dict[str, Any]]:
        names = config.DESCRIPTOR.file.enum_types_by_name["DataType"].values_by_number
        return [{"name": one.name, "data_type": names[one.data_type].name, "dims": list(one.dims)} for one in many]

    parameters = {name: {"string_value": value.string_value} for name, value in config.parameters.items()}
    return {"input": tensors(config.input), "output": tensors(config.output), "parameters": parameters}


def asked(name: str, batch: int) -> Any:
    """A request to a component, with inputs of zeros."""
    kinds = {"UINT8": np.uint8, "INT32": np.int32, "FP32": np.float32, "STRING": np.object_}
    tensors = {
        spec.name: np.zeros((batch, *(7 if dim < 0 else dim for dim in spec.dims)), kinds[spec.dtype])
        for spec in MODELS[name].inputs
    }
    return types.SimpleNamespace(tensors=tensors, request_id=lambda: "id", timeout=lambda: 0)


@pytest.mark.parametrize("name", COMPONENTS)
@pytest.mark.parametrize("batch", [1, 3])
def test_a_model_of_the_twin_answers_as_the_contract_says(name, batch, twin_repository, backend):
    model = started(twin_repository, name)
    requests = [asked(name, batch), asked(name, batch)]
    responses = model.execute(requests)
    model.finalize()
    assert len(responses) == len(requests)
    for response in responses:
        found = {tensor.name(): tensor.as_numpy() for tensor in response.tensors}
        assert list(found) == [spec.name for spec in MODELS[name].outputs]
        for spec in MODELS[name].outputs:
            array = found[spec.name]
            assert array.shape[0] == batch
            assert all(want in (-1, have) for want, have in zip(spec.dims, array.shape[1:], strict=True))
            if spec.dtype == "STRING":
                json.loads(array[0, 0])
            else:
                assert not array.any()
        if name == "preprocess":
            assert found[DETAIL_PIXELS.name].shape == (batch, 500, 741, 3)


def test_the_twin_says_of_no_model_that_it_answered(twin_repository, backend):
    model = started(twin_repository, "fusion")
    (response,) = model.execute([asked("fusion", 1)])
    model.finalize()
    result = json.loads({tensor.name(): tensor.as_numpy() for tensor in response.tensors}["RESULT"][0, 0])
    assert result["schema"] == 1
    assert not set(result["models"]) & set(MODELS)


def test_the_recognizers_twin_calls_the_networks(twin_repository, backend):
    model = started(twin_repository, RECOGNIZER)
    model.execute([asked(RECOGNIZER, 2)])
    model.finalize()
    names = [call["model_name"] for call in backend.calls]
    assert sorted(names) == sorted(network for way in twin.WAYS for network in way)
    assert set(names) == set(CALLED) <= set(NETWORKS)
    for call in backend.calls:
        (tensor,) = call["inputs"]
        (spec,) = MODELS[call["model_name"]].inputs
        assert (tensor.name(), tensor.as_numpy().shape) == (spec.name, (2, *spec.dims))
        assert tensor.as_numpy().dtype == np.uint8
        assert call["requested_output_names"] == [output.name for output in MODELS[call["model_name"]].outputs]
    for way in twin.WAYS:
        places = [names.index(network) for network in dict.fromkeys(way)]
        assert places == sorted(places), "a way goes one step after the other"


def test_a_called_model_that_fails_fails_the_request(twin_repository, backend):
    backend.failing = "plate_reader"
    model = started(twin_repository, RECOGNIZER)
    with pytest.raises(RuntimeError, match="it broke"):
        model.execute([asked(RECOGNIZER, 1)])
    model.finalize()
