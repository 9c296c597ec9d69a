"""What a network is tried for, each by a network that lacks it; and the process that it is tried in."""

from __future__ import annotations

import contextlib
import io
import json
import os

import numpy as np
import onnx
import pytest
from google.protobuf import json_format
from onnx import TensorProto, helper, numpy_helper

from tests import faulty_networks as faulty
from tests.tiny_trident import answers, constant_network, write_network, write_repository
from trident.layout import MODEL_FILE
from trident.model_config import read_config
from trident.rollout import trial as trial_module
from trident.rollout.findings import Verdict
from trident.rollout.trial import Subject, TrialLimits, try_network
from trident.rollout.trial_process import Refused, Report
from trident.rollout.trial_run import run_trial


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    return write_repository(tmp_path_factory.mktemp("trial") / "models")


def config_of(component_folder):
    return json_format.MessageToDict(read_config(component_folder), preserving_proto_field_name=True)


def tried(folder, *, digest="", beside=None, config=None):
    """Findings and facts of a trial in this process."""
    component_folder = folder.parent
    request = {
        "component": component_folder.name,
        "version": int(folder.name),
        "file": str(folder / MODEL_FILE),
        "digest": digest,
        "config": config or config_of(component_folder),
        "beside": None if beside is None else str(beside / MODEL_FILE),
    }
    output = io.StringIO()
    with contextlib.suppress(Refused):
        run_trial(request, Report(output))
    events = [json.loads(line) for line in output.getvalue().splitlines()]
    facts = {key: value for event in events for key, value in event.get("facts", {}).items()}
    return [event for event in events if "check" in event], facts


def complaints(findings):
    return [(one["check"], one["verdict"], one["sentence"]) for one in findings if one["verdict"] != "ok"]


@pytest.mark.parametrize(
    "component", ["classifier", "detector", "face_detector", "face_embedder", "plate_detector", "plate_reader"]
)
def test_a_good_network_passes_every_check(repository, component):
    folder = faulty.restamped(repository / component, 50)
    digest = json.loads((folder / "model.json").read_text())["digest"]
    findings, facts = tried(folder, digest=digest, beside=repository / component / "1")
    assert complaints(findings) == []
    assert [one["check"] for one in findings] == ["graph", "signature", "answers", "answers", "provenance"]
    assert facts["ms"] > 0
    assert facts["ms_before"] > 0
    assert facts["memory_mib"] >= 0


EXPECTED = {
    "corrupt": ("graph", "expected an ONNX graph, got a file that cannot be parsed"),
    "garbage": ("graph", "expected an ONNX graph, got a file that cannot be parsed"),
    "wrong_dtype": ("signature", "dtype of PROBABILITIES of the classifier graph: expected FP32, got FP64"),
    "renamed_output": ("signature", "expected PROBABILITIES, TOP_CLASSES, TOP_SCORES, PROVENANCE, got LOGITS,"),
    "missing_output": ("signature", "expected PROBABILITIES, TOP_CLASSES, TOP_SCORES, PROVENANCE, got TOP_CLASSES,"),
    "other_dims": ("signature", "dims of PROBABILITIES of the classifier graph: expected [-1, 1000], got [-1, 999]"),
    "wrong_provenance": ("provenance", "version in PROVENANCE: expected 60, got 1"),
    "nan_output": ("answers", "PROBABILITIES: expected numbers, got 1000 that are NaN"),
    "failing": ("answers", "expected an answer for a batch of 1, got an error: "),
}


@pytest.mark.parametrize("fault", faulty.NETWORK_FAULTS)
def test_a_fault_is_found_and_named(repository, tmp_path, fault):
    component_folder = tmp_path / "classifier"
    component_folder.mkdir()
    (component_folder / "config.pbtxt").write_bytes((repository / "classifier" / "config.pbtxt").read_bytes())
    (component_folder / "1").symlink_to(repository / "classifier" / "1")
    findings, _ = tried(faulty.NETWORK_FAULTS[fault](component_folder, 60))
    ((check, verdict, sentence),) = complaints(findings)
    assert (check, verdict) == (EXPECTED[fault][0], "refused")
    assert EXPECTED[fault][1] in sentence
    assert sentence.startswith("classifier 60")


def test_the_configured_dims_count_where_the_contract_leaves_them_open(repository):
    ((check, _, sentence),) = complaints(tried(faulty.other_dims(repository / "face_embedder", 61))[0])
    assert check == "signature"
    assert "EMBEDDING: expected shape [-1, 1024], the network has [-1, 1023]" in sentence
    assert "face_embedder/config.pbtxt" in sentence


def test_the_digest_of_the_record_must_be_the_baked_one(repository):
    digest = "sha256:" + "0" * 64
    ((check, verdict, sentence),) = complaints(tried(repository / "classifier" / "1", digest=digest)[0])
    assert (check, verdict) == ("provenance", "refused")
    assert f"expected {digest}, the record's, got sha256:" in sentence


def edited(repository, component, version, edit):
    """A version of a tiny network that ``edit`` has changed."""
    model = onnx.load(repository / component / "1" / MODEL_FILE)
    edit(model)
    return faulty.write_version(repository / component, version, model)


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        pytest.param(
            lambda model: setattr(model.opset_import[0], "version", 99), "operator set of", id="newer operator set"
        ),
        pytest.param(lambda model: setattr(model, "ir_version", 99), "file format (IR) of", id="newer file format"),
        pytest.param(lambda model: model.graph.ClearField("node"), "got one without nodes", id="empty"),
        pytest.param(
            lambda model: model.graph.node.append(helper.make_node("Relu", ["nowhere"], ["lost"])),
            "expected a valid ONNX graph",
            id="an input that nobody makes",
        ),
    ],
)
def test_a_graph_that_cannot_be_served_is_not_opened(repository, edit, words):
    ((check, verdict, sentence),) = complaints(tried(edited(repository, "classifier", 62, edit))[0])
    assert (check, verdict) == ("graph", "refused")
    assert words in sentence


def with_weights_outside(model, location, length):
    tensor = onnx.TensorProto(name="outside", data_type=TensorProto.FLOAT, dims=[length // 4])
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in (("location", location), ("offset", "0"), ("length", str(length))):
        tensor.external_data.add(key=key, value=value)
    model.graph.initializer.append(tensor)


@pytest.mark.parametrize(
    ("location", "written", "verdict", "words"),
    [
        pytest.param("weights", 400, "warning", "no hash vouches for them", id="there"),
        pytest.param("weights", None, "refused", "got no such file", id="missing"),
        pytest.param("weights", 100, "refused", "expected at least 400 bytes, got 100", id="cut off"),
        pytest.param("../weights", 400, "refused", "expected files in the version's folder", id="elsewhere"),
    ],
)
def test_weights_outside_of_the_file(repository, location, written, verdict, words):
    folder = edited(repository, "classifier", 63, lambda model: with_weights_outside(model, location, 400))
    (folder / "weights").unlink(missing_ok=True)
    if written is not None:
        (folder / location).write_bytes(bytes(written))
    first = complaints(tried(folder)[0])[0]
    assert first[:2] == ("graph", verdict)
    assert words in first[2]


def with_value(component, tensor, change):
    """The constants of a tiny network, one of them changed."""
    values = answers(component, 1, False)
    values[tensor] = change(values[tensor].copy())
    return constant_network(component, values)


def put(index, value):
    def change(array):
        array[index] = value
        return array

    return change


@pytest.mark.parametrize(
    ("component", "tensor", "change", "words"),
    [
        pytest.param("detector", "SCORES", put(0, 1.5), "SCORES: expected scores in [0, 1]", id="score above 1"),
        pytest.param("detector", "NUM_BOXES", put(0, 101), "NUM_BOXES: expected 0 to 100", id="too many boxes"),
        pytest.param("detector", "CLASSES", put(0, 80), "CLASSES: expected 0 to 79", id="unknown category"),
        pytest.param(
            "detector", "NUM_BOXES", put(0, 0), "SCORES: expected 0 in the rows that NUM_BOXES", id="uncounted"
        ),
        pytest.param("detector", "BOXES", put(0, (9, 9, 1, 1)), "BOXES: expected x1 ≤ x2", id="corners exchanged"),
        pytest.param("detector", "BOXES", put((0, 0), np.inf), "BOXES: expected numbers", id="infinite"),
        pytest.param("classifier", "PROBABILITIES", lambda array: array * 0.5, "expected a sum of 1", id="no softmax"),
        pytest.param("classifier", "TOP_CLASSES", put(0, 1000), "TOP_CLASSES: expected 0 to 999", id="no such class"),
        pytest.param(
            "classifier", "TOP_SCORES", put(0, 0.1), "TOP_SCORES: expected the PROBABILITIES", id="other scores"
        ),
        pytest.param(
            "face_embedder", "EMBEDDING", lambda array: array * 3, "expected vectors of length 1", id="length"
        ),
        pytest.param("plate_reader", "NUM_CHARACTERS", put(0, 41), "expected 0 to 40", id="too many characters"),
    ],
)
def test_an_answer_that_cannot_be_is_refused(repository, component, tensor, change, words):
    from export.signature import with_provenance

    model, _ = with_provenance(with_value(component, tensor, change), 64)
    ((check, verdict, sentence),) = complaints(tried(faulty.write_version(repository / component, 64, model))[0])
    assert (check, verdict) == ("answers", "refused")
    assert words in sentence


def test_pictures_that_are_mixed_in_a_batch_are_a_warning(repository):
    def mix(model):
        # Adds the batch's largest size to the boxes.
        (output,) = (value for value in model.graph.output if value.name == "BOXES")
        good = faulty._set_aside(model, output.name)
        model.graph.node.extend(
            [
                helper.make_node("Size", ["PIXELS"], ["mix_size"]),
                helper.make_node("Cast", ["mix_size"], ["mix_value"], to=TensorProto.FLOAT),
                helper.make_node("Add", [good, "mix_value"], [output.name]),
            ]
        )

    findings, _ = tried(edited(repository, "detector", 1, mix))
    write_network(repository, "detector", 1)
    ((check, verdict, sentence),) = complaints(findings)
    assert (check, verdict) == ("batch", "warning")
    assert "BOXES: expected the same answer for a picture alone and beside another" in sentence


def test_a_configuration_that_cannot_be_honoured_is_refused(repository):
    config = config_of(repository / "classifier")
    config["parameters"]["intra_op_thread_count"]["string_value"] = "many"
    ((check, _, sentence),) = complaints(tried(repository / "classifier" / "1", config=config)[0])
    assert check == "open"
    assert "intra_op_thread_count: expected a whole number, got 'many'" in sentence


def test_an_old_network_that_does_not_run_only_leaves_the_comparison_out(repository):
    broken = faulty.failing(repository / "classifier", 65)
    findings, facts = tried(faulty.restamped(repository / "classifier", 66), beside=broken)
    ((check, verdict, _),) = complaints(findings)
    assert (check, verdict) == ("speed", "warning")
    assert "ms" not in facts


# The process


def subject(repository, folder, **more):
    return Subject(
        "classifier", int(folder.name), folder / MODEL_FILE, "", config_of(repository / "classifier"), **more
    )


def test_a_good_network_in_a_process_of_its_own(repository):
    folder = repository / "classifier" / "1"
    trial = try_network(subject(repository, folder, beside=folder / MODEL_FILE))
    assert trial.passed
    assert {finding.verdict for finding in trial.findings} == {Verdict.OK}
    assert {"ms", "ms_before", "memory_mib"} <= trial.facts.keys()


def test_a_network_that_never_ends_is_stopped(repository):
    def never(model):
        (output,) = (value for value in model.graph.output if value.name == "PROBABILITIES")
        mean = faulty._mean_of_pixels(model)
        good = faulty._set_aside(model, output.name)
        state = helper.make_tensor_value_info("loop_in", TensorProto.FLOAT, None)
        body = helper.make_graph(
            [
                helper.make_node("Identity", ["loop_go"], ["loop_goes_on"]),
                helper.make_node("Tanh", ["loop_in"], ["loop_out"]),
            ],
            "never",
            [
                helper.make_tensor_value_info("loop_round", TensorProto.INT64, []),
                helper.make_tensor_value_info("loop_go", TensorProto.BOOL, []),
                state,
            ],
            [
                helper.make_tensor_value_info("loop_goes_on", TensorProto.BOOL, []),
                helper.make_tensor_value_info("loop_out", TensorProto.FLOAT, None),
            ],
        )
        model.graph.initializer.append(numpy_helper.from_array(np.array(True), "loop_goes"))
        model.graph.initializer.append(numpy_helper.from_array(np.array([1]), "loop_axis"))
        model.graph.node.extend(
            [
                helper.make_node("Loop", ["", "loop_goes", mean], ["loop_result"], body=body),
                helper.make_node("Unsqueeze", ["loop_result", "loop_axis"], ["loop_column"]),
                helper.make_node("Add", [good, "loop_column"], [output.name]),
            ]
        )

    folder = edited(repository, "classifier", 67, never)
    trial = try_network(subject(repository, folder), TrialLimits(cpu_s=3, wall_s=120))
    assert not trial.passed
    assert "took more than 3 s of processor time" in trial.findings[-1].sentence
    assert "while answering for one picture of noise" in trial.findings[-1].sentence


def test_a_network_that_wants_all_memory_is_refused(repository):
    def hungry(model):
        (output,) = (value for value in model.graph.output if value.name == "PROBABILITIES")
        mean = faulty._mean_of_pixels(model)
        good = faulty._set_aside(model, output.name)
        for name, value in (("dims", [4_000_000_000, 1]), ("axes", [0]), ("zero", 0.0)):
            dtype = np.float32 if name == "zero" else np.int64
            model.graph.initializer.append(numpy_helper.from_array(np.array(value, dtype), f"hungry_{name}"))
        model.graph.node.extend(
            [
                helper.make_node("Expand", [mean, "hungry_dims"], ["hungry_all"]),
                helper.make_node("ReduceMax", ["hungry_all", "hungry_axes"], ["hungry_most"], keepdims=1),
                helper.make_node("Mul", ["hungry_most", "hungry_zero"], ["hungry_nothing"]),
                helper.make_node("Add", [good, "hungry_nothing"], [output.name]),
            ]
        )

    folder = edited(repository, "classifier", 68, hungry)
    trial = try_network(subject(repository, folder), TrialLimits(memory_mib=2048))
    assert not trial.passed
    assert trial.findings[-1].check in ("answers", "trial")
    assert trial.findings[-1].verdict is Verdict.REFUSED


def stand_in(tmp_path, monkeypatch, code):
    """Have another program run in place of the trial's."""
    (tmp_path / "standing_in.py").write_text(
        f'import os, signal, sys, time\nprint(\'{{"stage": "answering"}}\', flush=True)\n{code}\n'
    )
    monkeypatch.setattr(trial_module, "_RUN", "standing_in")
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")


@pytest.mark.parametrize(
    ("code", "words"),
    [
        pytest.param("os.kill(os.getpid(), signal.SIGSEGV)", "crashed its process (SIGSEGV", id="crash"),
        pytest.param("os.kill(os.getpid(), signal.SIGKILL)", "or was killed", id="killed"),
        pytest.param("sys.exit('no such thing')", "ended its process with code 1 (no such thing)", id="exit"),
        pytest.param("time.sleep(60)", "had not ended after 1 s", id="sleeps"),
        pytest.param("print('{\"chec')", "ended its process with code 0", id="says half a word"),
    ],
)
def test_however_the_process_ends_it_is_a_finding(repository, tmp_path, monkeypatch, code, words):
    stand_in(tmp_path, monkeypatch, code)
    trial = try_network(subject(repository, repository / "classifier" / "1"), TrialLimits(wall_s=1))
    (finding,) = trial.findings
    assert (finding.check, finding.verdict) == ("trial", Verdict.REFUSED)
    assert words in finding.sentence
    assert finding.sentence.endswith("while answering")


def test_the_trial_has_the_lowest_priority_and_its_limits(repository, tmp_path, monkeypatch):
    stand_in(
        tmp_path,
        monkeypatch,
        "import json, resource\n"
        "from trident.rollout import trial_process\n"
        "trial_process.keep_within(json.load(sys.stdin))\n"
        "limits = [resource.getrlimit(one)[0] for one in (resource.RLIMIT_CPU, resource.RLIMIT_AS)]\n"
        "leads = os.getsid(0) == os.getpid()\n"
        "facts = {'nice': os.nice(0), 'limits': limits, 'alarm': signal.alarm(0), 'leads': leads}\n"
        "print(json.dumps({'facts': facts, 'done': True}))",
    )
    limits = TrialLimits(cpu_s=7, wall_s=100, memory_mib=3000)
    trial = try_network(subject(repository, repository / "classifier" / "1"), limits)
    assert trial.facts["nice"] == 19
    assert trial.facts["leads"], "a session of its own, or its priority does not count beside other sessions"
    assert trial.facts["limits"] == [7, 3000 * 2**20]
    assert 90 < trial.facts["alarm"] <= 101
