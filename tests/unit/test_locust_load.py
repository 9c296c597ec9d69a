"""Load by locust, without locust and without a server: stages, requests, counts, and what is made of them."""

from __future__ import annotations

import itertools
import json
import struct
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from fake_server import response, result
from tritonclient.grpc import service_pb2

from benchmarks import report
from benchmarks.answers import BAD_ANSWER, OK
from benchmarks.locust_load import page
from benchmarks.locust_load.__main__ import main
from benchmarks.locust_load.figures import work_out
from benchmarks.locust_load.ledger import Counts, Ledger, rounded
from benchmarks.locust_load.payloads import (
    ASKED_FOR,
    Payload,
    in_batches,
    parse_batches,
    payloads,
    problem,
    to_request,
)
from benchmarks.locust_load.process import (
    MODELS,
    Settings,
    command,
    distributed,
    headless,
    user_class,
    web_page,
    worker,
)
from benchmarks.locust_load.shapes import MOST_USERS, Kind, Stage, stage_at, stages
from benchmarks.pictures import write_pictures
from benchmarks.swaps.resources import Sample
from tests.tiny_trident import answers as tiny_answers
from trident.contract import CALLED, COMPONENTS, DETAIL_SIDE, ENSEMBLE, NETWORKS, DType
from trident.contract import MODELS as SPECS
from trident.errors import SetupError
from trident.preprocess import prepare, stack_details


@pytest.mark.parametrize(
    ("kind", "users", "expected"),
    [
        pytest.param(Kind.CONSTANT, 8, [(8, 100)], id="constant"),
        pytest.param(Kind.STEPS, 8, [(2, 25), (4, 25), (6, 25), (8, 25)], id="steps"),
        pytest.param(Kind.STEPS, 2, [(1, 50), (2, 50)], id="steps of few"),
        pytest.param(Kind.SPIKE, 10, [(2, 40), (10, 20), (2, 40)], id="spike"),
        pytest.param(Kind.SPIKE, 1, [(1, 100)], id="a spike of one is none"),
        pytest.param(Kind.SOAK, 1, [(1, 25)] * 4, id="soak of one"),
    ],
)
def test_the_stages_of_a_shape(kind, users, expected):
    assert [(stage.users, pytest.approx(stage.seconds)) for stage in stages(kind, users, 100)] == expected


@pytest.mark.parametrize("kind", Kind)
@pytest.mark.parametrize("users", [1, 2, 3, 7, 500])
@pytest.mark.parametrize("seconds", [2, 61.5, 14_400])
def test_stages_take_the_time_and_reach_the_users(kind, users, seconds):
    planned = stages(kind, users, seconds)
    assert sum(stage.seconds for stage in planned) == pytest.approx(seconds)
    assert max(stage.users for stage in planned) == users
    assert all(stage.users >= 1 and stage.seconds > 0 for stage in planned)


def test_a_soak_holds_all_users_in_quarters_after_a_ramp():
    planned = stages(Kind.SOAK, 8, 3600)
    assert [stage.users for stage in planned] == [2, 4, 6, 8, 8, 8, 8]
    assert sum(stage.seconds for stage in planned[:3]) == pytest.approx(60)
    assert len({stage.seconds for stage in planned[3:]}) == 1


@pytest.mark.parametrize(("users", "seconds"), [(0, 60), (MOST_USERS + 1, 60), (1, 1), (1, 1e6)])
def test_stages_are_bounded(users, seconds):
    with pytest.raises(SetupError, match=r"expected .*, got"):
        stages(Kind.STEPS, users, seconds)


def test_which_stage_it_is():
    planned = (Stage(1, 2.0), Stage(2, 3.0))
    assert [stage_at(planned, at) for at in (0.0, 1.99, 2.0, 4.99, 5.0)] == [0, 0, 1, 1, None]


# Requests ------------------------------------------------------------------------------------------------------------


class Served:
    """Serves the contract's models with the real preprocess and constant networks."""

    def __init__(self, nothing_found: bool = False) -> None:
        self.nothing_found = nothing_found
        self.calls: list[tuple[str, int]] = []

    def infer(self, model: str, tensors: Any) -> dict[str, np.ndarray]:
        batch = len(next(iter(tensors.values())))
        self.calls.append((model, batch))
        for spec in SPECS[model].inputs:
            assert tensors[spec.name].shape[1:] == spec.dims or -1 in spec.dims
        if model == "preprocess":
            made = [prepare(picture) for picture in tensors["IMAGE"].reshape(-1)]
            return {
                "SCENE_PIXELS": np.stack([one.scene for one in made]),
                "CANVAS_PIXELS": np.stack([one.canvas for one in made]),
                "DETAIL_PIXELS": stack_details([one.detail for one in made]),
                "IMAGE_SIZE": np.array([(one.width, one.height) for one in made], dtype=np.int32),
                "PROVENANCE": np.zeros((batch, 36), np.uint8),
            }
        if model in NETWORKS:
            constant = tiny_answers(model, 1) | {"PROVENANCE": np.zeros(36, np.uint8)}
            if self.nothing_found and "NUM_BOXES" in constant:
                constant["NUM_BOXES"] = np.array([0], np.int32)
            return {name: np.repeat(value[None], batch, axis=0) for name, value in constant.items()}
        assert model == "entity_recognizer"
        return {
            "ENTITIES": np.array([[b"[]"]] * batch, dtype=np.object_),
            "PROVENANCE": np.zeros((batch, 5, 36), np.uint8),
        }


@pytest.fixture(scope="module")
def pictures(tmp_path_factory) -> list[bytes]:
    return [file.read_bytes() for file in write_pictures(tmp_path_factory.mktemp("pictures"), other_sizes=False)][:3]


def read_request(body: bytes) -> service_pb2.ModelInferRequest:
    return service_pb2.ModelInferRequest.FromString(body)


@pytest.mark.parametrize("model", MODELS)
def test_every_model_is_sent_what_its_contract_says(model, pictures):
    made = payloads(Served(), model, pictures, (1, 2))
    assert {payload.batch for payload in made} == {1, 2}
    for payload in made:
        request = read_request(payload.body)
        assert request.model_name == payload.model == model
        assert [output.name for output in request.outputs] == list(ASKED_FOR[model])
        for spec, tensor, raw in zip(SPECS[model].inputs, request.inputs, request.raw_input_contents, strict=True):
            assert (tensor.name, tensor.datatype) == (spec.name, spec.dtype.wire)
            assert tensor.shape[0] == payload.batch
            assert all(wanted in (-1, got) for wanted, got in zip(spec.dims, tensor.shape[1:], strict=True))
            if spec.dtype is not DType.STRING:
                size = {DType.UINT8: 1, DType.INT32: 4, DType.FP32: 4}[spec.dtype]
                assert len(raw) == size * int(np.prod(tensor.shape))


def test_every_picture_is_sent_in_every_batch_size(pictures):
    for batch in (1, 2):
        sent = b"".join(one.body for one in payloads(Served(), ENSEMBLE, pictures, (batch,)))
        assert all(picture in sent for picture in pictures)


def test_pictures_of_a_batch_are_prepared_in_one_request(pictures):
    """So that their details are padded to the largest, as the ensemble's are."""
    served = Served()
    (only,) = payloads(served, "entity_recognizer", pictures[:2], (2,))
    assert served.calls == [("preprocess", 2)]
    detail = read_request(only.body).inputs[1]
    assert detail.name == "DETAIL_PIXELS"
    assert max(detail.shape[1:3]) <= DETAIL_SIDE


@pytest.mark.parametrize(("model", "what"), [("face_embedder", "face"), ("plate_reader", "licence plate")])
def test_without_crops_there_is_nothing_to_send(model, what, pictures):
    with pytest.raises(SetupError, match=f"expected a {what} in one of 3 pictures, got none"):
        payloads(Served(nothing_found=True), model, pictures, (1,))


def test_bytes_on_the_wire_are_those_of_triton_s_own_client():
    from tritonclient.grpc import InferInput
    from tritonclient.grpc._utils import _get_inference_request

    texts = np.array([[b"a"], ["皖A".encode()]], dtype=np.object_)
    tensor = InferInput("IMAGE", [2, 1], "BYTES")
    tensor.set_data_from_numpy(texts)
    theirs = _get_inference_request(
        inputs=[tensor],
        model_name="preprocess",
        model_version="",
        request_id="",
        outputs=None,
        sequence_id=0,
        sequence_start=False,
        sequence_end=False,
        priority=0,
        timeout=None,
        parameters=None,
    )
    ours = read_request(to_request("preprocess", {"IMAGE": texts}))
    assert ours.raw_input_contents == theirs.raw_input_contents
    assert ours.inputs == theirs.inputs


def test_groups_hold_every_item():
    assert list(in_batches([1, 2, 3], 2)) == [[1, 2], [3, 1]]
    assert list(in_batches([1, 2], 4)) == [[1, 2, 1, 2]]


@pytest.mark.parametrize("text", ["", "0", "9", "1,x", "1;2"])
def test_batches_are_bounded(text):
    with pytest.raises(SetupError, match="batch: expected numbers"):
        parse_batches(text)


def ensemble_answer(text: bytes, shape: tuple[int, int] = (1, 1)) -> bytes:
    message = service_pb2.ModelInferResponse(model_name=ENSEMBLE)
    message.outputs.add(name="RESULT", datatype="BYTES", shape=shape)
    message.raw_output_contents.append((struct.pack("<I", len(text)) + text) * shape[0])
    return message.SerializeToString()


def test_a_right_answer_is_one():
    text = json.dumps(result()).encode()
    assert problem(Payload(ENSEMBLE, 1, b""), ensemble_answer(text)) == ""
    assert problem(Payload(ENSEMBLE, 3, b""), ensemble_answer(text, (3, 1))) == ""


@pytest.mark.parametrize(
    ("answer", "about"),
    [
        pytest.param(b"\xff\xff", "cannot be read", id="no message"),
        pytest.param(b"", "RESULT: expected it among the outputs", id="empty"),
        pytest.param(ensemble_answer(b"no json"), "JSON", id="no json"),
        pytest.param(ensemble_answer(b'{"schema": 9}'), "schema", id="another schema"),
        pytest.param(ensemble_answer(json.dumps(result()).encode(), (2, 1)), "expected shape", id="another batch"),
    ],
)
def test_a_wrong_answer_is_told(answer, about):
    assert about in problem(Payload(ENSEMBLE, 1, b""), answer)


def test_a_component_s_answer_is_held_against_the_contract():
    request = service_pb2.ModelInferRequest(model_name="classifier", model_version="1")
    for name in ASKED_FOR["classifier"]:
        request.outputs.add(name=name)
    whole = response(request, {})
    assert problem(Payload("classifier", 1, b""), whole.SerializeToString()) == ""
    whole.outputs[0].shape[1] = 999
    assert "cannot be read" in problem(Payload("classifier", 1, b""), whole.SerializeToString())


# Counts --------------------------------------------------------------------------------------------------------------


def test_counts_are_handed_on_whole():
    worker_counts, master = Counts(), Counts()
    for moment, milliseconds in ((1.2, 147.26), (1.9, 147.4), (2.0, 147.26)):
        worker_counts.add(moment, "trident x1", OK, milliseconds)
    worker_counts.add(2.5, "trident x1", "UNAVAILABLE", 0.5)
    over_the_wire = json.loads(json.dumps(worker_counts.take()))
    assert master.merge(over_the_wire) == 4
    assert master.merge(worker_counts.take()) == 0
    assert master.rows() == [
        (1, "trident x1", OK, 147.0, 2),
        (2, "trident x1", OK, 147.0, 1),
        (2, "trident x1", "UNAVAILABLE", 0.5, 1),
    ]


@pytest.mark.parametrize("milliseconds", [0.123456, 9.87654, 147.26, 3432.1, 58_760.0])
def test_rounding_takes_at_most_half_a_percent(milliseconds):
    assert rounded(milliseconds) == pytest.approx(milliseconds, rel=0.005)


def test_the_ledger_knows_who_answered_how_often():
    one, other, master = Ledger(), Ledger(), Ledger()
    for ledger, number in ((one, 2), (other, 3)):
        for _ in range(number):
            ledger.answers.add(1.0, "trident x1", OK, 10.0)
    master.merge("a", one.report())
    master.merge("b", other.report())
    master.merge("b", other.report())
    assert master.workers == {"a": 2, "b": 3}
    master.clear()
    assert (master.answers.rows(), dict(master.workers)) == ([], {})


def counted(**changes: Any) -> dict[str, Any]:
    """Two stages of ten seconds: one user with answers of 100 ms, then two with answers of 200 ms, one failure."""
    answers = [[second, "trident x1", OK, 100.0, 10] for second in range(1000, 1010)]
    answers += [[second, "trident x1", OK, 200.0, 8] for second in range(1010, 1020)]
    answers += [[second, "trident x4", OK, 400.0, 2] for second in range(1010, 1020)]
    answers += [[1015, "trident x1", "UNAVAILABLE", 1.0, 1], [1020, "trident x1", OK, 300.0, 1]]
    return {
        "answers": answers,
        "lateness": [[1000, "", OK, 0.5, 99], [1001, "", OK, 20.0, 1]],
        "workers": {},
        "problem": "",
        "begins": [[1000.0, 1], [1010.0, 2]],
        "end": 1020.0,
        "locust": {"requests": 202, "failures": 1},
        **changes,
    }


def test_figures_add_up():
    figures = work_out(counted())
    assert figures.whole.requests == sum(one.requests for one in figures.by_request) == 202
    assert figures.whole.failed == {"UNAVAILABLE": 1}
    assert figures.failed == 1
    assert figures.whole.per_second == pytest.approx(200 / 20)
    assert [one.name for one in figures.by_request] == ["trident x1", "trident x4"]
    assert figures.seconds == pytest.approx(20)


def test_figures_of_the_stages():
    first, second = work_out(counted()).stages
    # The first second of each is left out.
    assert (first.users, first.group.requests, first.group.per_second) == (1, 90, 10.0)
    assert first.group.latency is not None
    assert (first.group.latency.p50, first.group.latency.worst) == (100.0, 100.0)
    assert (second.users, second.begin_s, second.end_s) == (2, 10.0, 20.0)
    assert (second.group.requests, second.group.failed) == (91, {"UNAVAILABLE": 1})
    assert second.group.latency is not None
    assert (second.group.latency.p50, second.group.latency.p95) == (200.0, 400.0)


def test_figures_over_time_hold_every_whole_second():
    figures = work_out(counted())
    assert [moment.at_s for moment in figures.moments] == [second + 0.5 for second in range(20)]
    assert sum(moment.per_second for moment in figures.moments) == 200
    assert sum(moment.failed_per_second for moment in figures.moments) == 1


def test_how_late_the_generator_was():
    lateness = work_out(counted()).lateness
    assert lateness is not None
    assert (lateness.count, lateness.p50, lateness.worst) == (100, 0.5, 20.0)


@pytest.mark.parametrize(
    ("changes", "about"),
    [
        ({"problem": "no server answers"}, "no server answers"),
        ({"answers": []}, "no user was answered"),
        ({"begins": []}, "no user was answered"),
    ],
    ids=["a reason", "nothing", "never begun"],
)
def test_a_load_that_was_not_made_says_so(changes, about):
    with pytest.raises(SetupError, match=about):
        work_out(counted(**changes))


def sample(memory_mb: float, others_cores: float = 0.03) -> Sample:
    return Sample(
        at=0.0,
        swaps=0,
        memory_mb=memory_mb,
        server_mb=memory_mb / 2,
        stubs=9,
        handles=300,
        shm_files=9,
        shm_mb=1.0,
        load_average=1.0,
        others_cores=others_cores,
    )


@pytest.mark.parametrize(("others_cores", "mark"), [(0.05, "✓"), (0.9, "✗")])
def test_whether_the_machine_was_left_alone_is_told(run, others_cores, mark):
    found = replace(run, samples=[sample(900.0, others_cores)])
    assert f"{mark} others kept {others_cores:.2f} cores busy" in " ".join(page.summary(found).sentences)
    assert page.to_json(found)["others_cores"] == [others_cores]


@pytest.fixture
def run(tmp_path) -> page.Run:
    facts = report.circumstances("a command")
    pictures = write_pictures(tmp_path / "pictures")
    settings = Settings(batch="1,4", users=2, seconds=20)
    return page.Run(work_out(counted()), settings, facts, counted(), pictures, [sample(900.0), sample(950.0)], [])


def test_the_report_is_whole(run, tmp_path):
    as_html, as_json = report.write("load-test", page.to_html(run), page.to_json(run), tmp_path / "reports")
    figures = json.loads(as_json.read_text())
    assert (figures["what"], figures["outcome"], figures["requests"]) == ("load", "failed", 202)
    assert figures["locust"] == {"requests": 202, "failures": 1}
    told = report.Summary.from_json(figures["summary"])
    assert [len(table.rows) for table in told.tables] == [2, 3]
    assert "6 pictures of 0.04 to 6.07 megapixels" in " ".join(told.sentences)
    assert "1 UNAVAILABLE" in as_html.read_text()


# Locust's command line -----------------------------------------------------------------------------------------------


def test_there_is_a_user_for_every_model():
    """By name only: to import them would have locust patch the standard library of this process."""
    source = (Path(page.__file__).parent / "users.py").read_text()
    found = (Path(page.__file__).parent / "locustfile.py").read_text()
    for model in (ENSEMBLE, *COMPONENTS):
        assert f"class {user_class(model)}(AskingUser):\n" in source
        assert f'    model = "{model}"\n' in source
        assert f'    "{user_class(model)}",\n' in found
    assert set(CALLED) < set(MODELS)


def test_the_command_line_says_it_all(tmp_path):
    settings = Settings(
        models=("trident", "face_detector"), pictures=tmp_path, batch="1,4", shape=Kind.SPIKE, think_s=0.5
    )
    words = command(settings, "127.0.0.1:1234", *headless(tmp_path / "stem", tmp_path / "counts.json"))
    assert words[-2:] == ["Trident", "FaceDetector"]
    by_option = dict(itertools.pairwise(words))
    assert by_option["--host"] == "127.0.0.1:1234"
    assert (by_option["--shape"], by_option["--batch"], by_option["--think"]) == ("spike", "1,4", "0.5")
    assert by_option["--pictures"] == str(tmp_path)
    assert by_option["--html"] == f"{tmp_path}/stem-locust.html"
    assert "--remote" not in words


def test_nothing_listens_to_other_machines():
    here, workers = distributed(processes=2)
    assert len(workers) == 2
    for words in (web_page(8089), here, distributed(workers=2)[0], *workers):
        hosts = [after for word, after in itertools.pairwise(words) if word.endswith("-host")]
        assert hosts
        assert set(hosts) == {"127.0.0.1"}


def test_a_worker_is_told_its_master():
    words = worker("127.0.0.1:6000")
    assert words[words.index("--worker") :] == ["--worker", "--master-host", "127.0.0.1", "--master-port", "6000"]


@pytest.mark.parametrize(
    "wrong",
    [{"processes": 0}, {"workers": -1}, {"processes": 2, "workers": 2}, {"workers": 1, "bind": "nowhere"}],
    ids=["no process", "less than none", "both", "no port"],
)
def test_what_cannot_be_distributed(wrong):
    with pytest.raises(SetupError, match=r"expected .*, got"):
        distributed(**wrong)


@pytest.mark.parametrize(
    "wrong",
    [
        {"models": ("tridnet",)},
        {"models": ()},
        {"models": MODELS, "users": 3},
        {"users": 0},
        {"seconds": 0},
        {"batch": "0"},
        {"think_s": -1.0},
        {"deadline_s": 0.0},
    ],
    ids=",".join,
)
def test_settings_are_checked(wrong):
    with pytest.raises(SetupError, match=r"expected .*, got"):
        Settings(**wrong)


@pytest.mark.parametrize(
    "arguments",
    [["--url", "10.0.0.1:8001"], ["--worker-of", "10.0.0.1:5557"], ["--expect-workers", "2", "--bind", "0.0.0.0:5557"]],
    ids=["server", "master", "bind"],
)
def test_other_machines_are_not_touched_unasked(arguments):
    done = CliRunner().invoke(main, arguments)
    assert done.exit_code == 1
    assert "--remote" in done.output


def test_a_bad_answer_is_not_ok():
    assert BAD_ANSWER != OK
