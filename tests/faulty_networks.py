"""Versions of components that go wrong, each in its own way, made from a good one.

Every function takes the component's folder in a *copy* of a model repository, writes a version folder beside the good
one, and gives its path. They work on exported networks and on those of ``tests.tiny_trident`` alike: what they need is
the constant ``provenance_row``. Unless it says otherwise, a version's record fits its file.

    folder = repository / "classifier"
    restamped(folder, 2)                    # good: the same network under another number
    failing(folder, 3)                      # onnxruntime raises at every run
    failing_later(folder, 4, above=200)     # ... for bright pictures alone, so nothing sees it before it serves
    python_version(repository / "fusion", 2, fault=EXIT_IN_EXECUTE)

===========================  ==========================================================================
version                      what should stop it
===========================  ==========================================================================
corrupt, garbage             preflight: SHA-256; with ``vouched``, the ONNX parser
wrong_dtype, renamed_output  preflight: signature
missing_output, other_dims   preflight: signature
nan_output                   preflight: answers; with ``above``, shadow or what comes after
slow(factor)                 preflight: speed, from 5 times; a warning from 2
failing                      preflight: answers
failing_later                shadow if a golden picture is bright, else canary or watch
wrong_provenance             preflight: provenance
python: SYNTAX               preflight: code
python: RAISE_AT_LOAD        preflight: load
python: EXIT_AT_LOAD         preflight: trial
python: EXIT_IN_EXECUTE      shadow or canary, so many requests of one instance later as ``after`` says;
python: RAISE_IN_EXECUTE     ... with ``after=0`` preflight, since the warm-up fails
python: GARBAGE              shadow, and with ``after=0`` fusion's in preflight
===========================  ==========================================================================
"""

from __future__ import annotations

import compileall
import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from export.build import write_model
from export.fetch import sha256_of
from export.restamp import restamp, write_restamped
from trident.contract import MODELS, PROVENANCE
from trident.layout import CODE_FILE, MODEL_FILE, RECORD_FILE
from trident.rollout.disk import ORIGIN_FILE

SCORES = {
    "classifier": "PROBABILITIES",
    "detector": "SCORES",
    "face_detector": "SCORES",
    "face_embedder": "EMBEDDING",
    "plate_detector": "SCORES",
    "plate_reader": "CHARACTER_SCORES",
}
"""The output of each network that faults are put into."""

_SIDE = 192
"""Of the matrices that ``slow`` multiplies."""


def good_network(component_folder: Path, source: int = 1) -> onnx.ModelProto:
    """The network of a version."""
    return onnx.load(component_folder / str(source) / MODEL_FILE)


def write_version(component_folder: Path, version: int, model: onnx.ModelProto, source: int = 1) -> Path:
    """Write a network as a version, with a record that fits it; name, digest and classes are the source's."""
    record = json.loads((component_folder / str(source) / RECORD_FILE).read_text())
    kept = {key: record[key] for key in ("name", "digest", "classes") if key in record}
    folder = component_folder / str(version)
    write_model(model, folder, kept, None)
    return folder


# Good


def restamped(component_folder: Path, version: int, source: int = 1) -> Path:
    """The same network under another number: a good version, whose answers differ in PROVENANCE alone."""
    return write_restamped(component_folder, source, version)


# Not a network


def corrupt(component_folder: Path, version: int, source: int = 1, *, vouched: bool = False) -> Path:
    """A file that is cut off in the middle.

    Args:
        vouched: Whether the record fits the cut file, as if it had been cut before it was recorded.
    """
    folder = restamped(component_folder, version, source)
    file = folder / MODEL_FILE
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    return _vouch(folder) if vouched else folder


def garbage(component_folder: Path, version: int, source: int = 1, *, vouched: bool = False) -> Path:
    """Random bytes in place of a network, as many as it has."""
    folder = restamped(component_folder, version, source)
    file = folder / MODEL_FILE
    file.write_bytes(np.random.default_rng(0).bytes(file.stat().st_size))
    return _vouch(folder) if vouched else folder


def _vouch(folder: Path) -> Path:
    """Have the record say what the file now is."""
    file = folder / MODEL_FILE
    record = json.loads((folder / RECORD_FILE).read_text())
    record |= {"sha256": sha256_of(file), "bytes": file.stat().st_size}
    (folder / RECORD_FILE).write_text(json.dumps(record))
    return folder


# Another signature


def wrong_dtype(component_folder: Path, version: int, source: int = 1) -> Path:
    """A network that gives its scores as double."""

    def change(model: onnx.ModelProto, output: onnx.ValueInfoProto) -> None:
        good = _set_aside(model, output.name)
        model.graph.node.append(helper.make_node("Cast", [good], [output.name], to=TensorProto.DOUBLE))
        output.type.tensor_type.elem_type = TensorProto.DOUBLE

    return _changed(component_folder, version, source, change)


def renamed_output(component_folder: Path, version: int, source: int = 1) -> Path:
    """A network whose scores have another name."""

    def change(model: onnx.ModelProto, output: onnx.ValueInfoProto) -> None:
        good = _set_aside(model, output.name)
        output.name = "LOGITS"
        model.graph.node.append(helper.make_node("Identity", [good], [output.name]))

    return _changed(component_folder, version, source, change)


def missing_output(component_folder: Path, version: int, source: int = 1) -> Path:
    """A network without its scores."""
    return _changed(component_folder, version, source, lambda model, output: model.graph.output.remove(output))


def other_dims(component_folder: Path, version: int, source: int = 1) -> Path:
    """A network that gives one score less in each row."""

    def change(model: onnx.ModelProto, output: onnx.ValueInfoProto) -> None:
        good = _set_aside(model, output.name)
        for name, value in (("first", [0]), ("last", [-1]), ("axis", [1])):
            model.graph.initializer.append(numpy_helper.from_array(np.array(value), f"cut_{name}"))
        model.graph.node.append(
            helper.make_node("Slice", [good, "cut_first", "cut_last", "cut_axis"], [output.name], "cut")
        )
        dim = output.type.tensor_type.shape.dim[1]
        if dim.HasField("dim_value"):
            dim.dim_value -= 1

    return _changed(component_folder, version, source, change)


def wrong_provenance(component_folder: Path, version: int, source: int = 1) -> Path:
    """A network that was copied to another number: its answers name the number that it was made for."""
    return write_version(component_folder, version, good_network(component_folder, source), source)


# Another behaviour


def nan_output(component_folder: Path, version: int, source: int = 1, *, above: float = -1.0) -> Path:
    """A network whose scores are NaN for pictures whose mean pixel is larger than ``above``; by default for all."""

    def change(model: onnx.ModelProto, output: onnx.ValueInfoProto) -> None:
        # √(above − mean), times 0: NaN where the mean is larger, else 0.
        mean = _mean_of_pixels(model)
        model.graph.initializer.append(numpy_helper.from_array(np.array(above, np.float32), "fault_above"))
        model.graph.node.append(helper.make_node("Sub", ["fault_above", mean], ["fault_room"]))
        model.graph.node.append(helper.make_node("Sqrt", ["fault_room"], ["fault_root"]))
        _add_nothing(model, output, "fault_root")

    return _changed(component_folder, version, source, change)


def failing(component_folder: Path, version: int, source: int = 1) -> Path:
    """A network that onnxruntime fails to run, at every run."""
    return failing_later(component_folder, version, source, above=-1.0)


def failing_later(component_folder: Path, version: int, source: int = 1, *, above: float) -> Path:
    """A network that onnxruntime fails to run for pictures whose mean pixel is larger than ``above``, 0 to 255."""

    def change(model: onnx.ModelProto, output: onnx.ValueInfoProto) -> None:
        # A look into a table of one entry, at 0 or far beyond it.
        mean = _mean_of_pixels(model)
        for name, value in (("above", np.float32(above)), ("far", np.int64(1000))):
            model.graph.initializer.append(numpy_helper.from_array(np.array(value), f"fault_{name}"))
        model.graph.initializer.append(numpy_helper.from_array(np.zeros(1, np.float32), "fault_table"))
        model.graph.node.extend(
            [
                helper.make_node("Greater", [mean, "fault_above"], ["fault_is"]),
                helper.make_node("Cast", ["fault_is"], ["fault_one"], to=TensorProto.INT64),
                helper.make_node("Mul", ["fault_one", "fault_far"], ["fault_index"]),
                helper.make_node("Gather", ["fault_table", "fault_index"], ["fault_looked_up"]),
            ]
        )
        _add_nothing(model, output, "fault_looked_up")

    return _changed(component_folder, version, source, change)


def slow(component_folder: Path, version: int, source: int = 1, *, factor: float, least_ms: float = 25.0) -> Path:
    """A network with the same answers that takes about ``factor`` times as long, as measured here.

    Args:
        least_ms: What is added at least: of the tiny networks a multiple would still be nothing.
    """
    good = restamp(good_network(component_folder, source), version)
    component = component_folder.name
    alone = _run_s(good, component)
    wanted = max((factor - 1) * alone, least_ms / 1000)
    # So much work that the machine's noise does not count beside it.
    tried, took = 16, 0.0
    while took < wanted / 2:
        tried *= 3
        took = _run_s(_with_work(good, component, tried), component) - alone
    rounds = max(1, round(tried * wanted / took))
    return write_version(component_folder, version, _with_work(good, component, rounds), source)


def _with_work(model: onnx.ModelProto, component: str, rounds: int) -> onnx.ModelProto:
    """A copy that multiplies matrices so many times for each picture, and adds nothing of it to its scores."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    output = _output(copy, component)
    mean = _mean_of_pixels(copy)
    matrix = np.random.default_rng(0).normal(size=(_SIDE, _SIDE)).astype(np.float32) / np.sqrt(_SIDE, dtype=np.float32)
    # The body takes round, condition and state; the state starts as the matrix, shifted by each picture's mean.
    state = helper.make_tensor_value_info("work_in", TensorProto.FLOAT, [None, _SIDE, _SIDE])
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["work_go"], ["work_goes_on"]),
            helper.make_node("MatMul", ["work_in", "work_matrix"], ["work_product"]),
            helper.make_node("Tanh", ["work_product"], ["work_out"]),
        ],
        "work",
        [
            helper.make_tensor_value_info("work_round", TensorProto.INT64, []),
            helper.make_tensor_value_info("work_go", TensorProto.BOOL, []),
            state,
        ],
        [
            helper.make_tensor_value_info("work_goes_on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("work_out", TensorProto.FLOAT, [None, _SIDE, _SIDE]),
        ],
    )
    constants = {
        "work_matrix": matrix,
        "work_rounds": np.array(rounds, np.int64),
        "work_goes": np.array(True),
        "work_axes": np.array([1, 2], np.int64),
    }
    copy.graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in constants.items())
    copy.graph.node.extend(
        [
            helper.make_node("Unsqueeze", [mean, "work_axes"], ["work_means"]),
            helper.make_node("Add", ["work_means", "work_matrix"], ["work_start"]),
            helper.make_node("Loop", ["work_rounds", "work_goes", "work_start"], ["work_done"], body=body),
            helper.make_node("ReduceMean", ["work_done", "work_axes"], ["work_result"], keepdims=0),
        ]
    )
    _add_nothing(copy, output, "work_result")
    return copy


def _run_s(model: onnx.ModelProto, component: str) -> float:
    """Least processor time of a run of one picture, in seconds."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    (spec,) = MODELS[component].inputs
    pixels = np.zeros((1, *spec.dims), np.uint8)
    took = []
    for _ in range(5):
        began = time.process_time()
        session.run(None, {spec.name: pixels})
        took.append(time.process_time() - began)
    return min(took)


# Parts


def _changed(
    component_folder: Path,
    version: int,
    source: int,
    change: Callable[[onnx.ModelProto, onnx.ValueInfoProto], object],
) -> Path:
    model = restamp(good_network(component_folder, source), version)
    change(model, _output(model, component_folder.name))
    return write_version(component_folder, version, model, source)


def _output(model: onnx.ModelProto, component: str) -> onnx.ValueInfoProto:
    (output,) = (value for value in model.graph.output if value.name == SCORES[component])
    return output


def _set_aside(model: onnx.ModelProto, name: str) -> str:
    """Give a tensor another name wherever it is made or read, so that an output of its name can be made from it."""
    good = f"{name}_good"
    for node in model.graph.node:
        node.input[:] = [good if one == name else one for one in node.input]
        node.output[:] = [good if one == name else one for one in node.output]
    for tensor in model.graph.initializer:
        if tensor.name == name:
            tensor.name = good
    return good


def _mean_of_pixels(model: onnx.ModelProto) -> str:
    """The mean of each picture, float32 ``[B]``; it depends on the input, so nothing of it can be worked out before."""
    model.graph.initializer.append(numpy_helper.from_array(np.array([1, 2, 3]), "fault_axes"))
    model.graph.node.extend(
        [
            helper.make_node("Cast", ["PIXELS"], ["fault_pixels"], to=TensorProto.FLOAT),
            helper.make_node("ReduceMean", ["fault_pixels", "fault_axes"], ["fault_mean"], keepdims=0),
        ]
    )
    return "fault_mean"


def _add_nothing(model: onnx.ModelProto, output: onnx.ValueInfoProto, values_B: str) -> None:
    """Add 0 times a value of each picture to an output: nothing, where the value is a number and can be computed."""
    good = _set_aside(model, output.name)
    rank = len(output.type.tensor_type.shape.dim)
    for name, value in (("zero", np.float32(0)), ("all_axes", np.arange(1, rank))):
        model.graph.initializer.append(numpy_helper.from_array(np.array(value), f"fault_{name}"))
    model.graph.node.extend(
        [
            helper.make_node("Mul", [values_B, "fault_zero"], ["fault_nothing"]),
            helper.make_node("Unsqueeze", ["fault_nothing", "fault_all_axes"], ["fault_column"]),
            helper.make_node("Add", [good, "fault_column"], [output.name]),
        ]
    )


# Python components

SYNTAX = "class TritonPythonModel(:\n"
RAISE_AT_LOAD = """
class TritonPythonModel(TritonPythonModel):
    def initialize(self, args):
        raise RuntimeError("this version cannot be loaded")
"""
EXIT_AT_LOAD = """
import os
class TritonPythonModel(TritonPythonModel):
    def initialize(self, args):
        os._exit(1)
"""
EXIT_IN_EXECUTE = """
import os
class TritonPythonModel(TritonPythonModel):
    answered = 0
    def execute(self, requests):
        self.answered += len(requests)
        if self.answered > AFTER:
            os._exit(1)
        return super().execute(requests)
"""
RAISE_IN_EXECUTE = """
class TritonPythonModel(TritonPythonModel):
    answered = 0
    def execute(self, requests):
        self.answered += len(requests)
        if self.answered > AFTER:
            raise RuntimeError("this version cannot answer")
        return super().execute(requests)
"""
GARBAGE = """
class TritonPythonModel(TritonPythonModel):
    answered = 0
    def execute(self, requests):
        self.answered += len(requests)
        responses = super().execute(requests)
        return [self.spoilt(one) for one in responses] if self.answered > AFTER else responses
    def spoilt(self, response):
        if response.has_error():
            return response
        tensors = []
        for tensor in response.output_tensors():
            values = tensor.as_numpy()
            if tensor.name() != "PROVENANCE":
                values = np.full_like(values, b"{not JSON" if values.dtype.hasobject else 1)
            tensors.append(pb_utils.Tensor(tensor.name(), values))
        return pb_utils.InferenceResponse(tensors)
"""


def python_version(component_folder: Path, version: int, source: int = 1, *, fault: str = "", after: int = 1) -> Path:
    """A copy of a version of a Python component, good or with a fault.

    Args:
        fault: One of ``SYNTAX``, ``RAISE_AT_LOAD``, ``EXIT_AT_LOAD``, ``EXIT_IN_EXECUTE``, ``RAISE_IN_EXECUTE`` and
            ``GARBAGE``; empty for a good copy.
        after: After how many pictures of one instance a fault in ``execute`` shows; the warm-up of preprocess and
            fusion is the first.
    """
    folder = component_folder / str(version)
    shutil.copytree(component_folder / str(source), folder, ignore=shutil.ignore_patterns("__pycache__", ORIGIN_FILE))
    code = folder / CODE_FILE
    if fault:
        code.write_text(f"{code.read_text()}\n\n{fault.replace('AFTER', str(after))}")
    # What Triton's stub would write while it loads counts as a change of the model.
    compileall.compile_file(code, quiet=2)
    return folder


NETWORK_FAULTS: dict[str, Callable[..., Path]] = {
    fault.__name__: fault
    for fault in (
        corrupt,
        garbage,
        wrong_dtype,
        renamed_output,
        missing_output,
        other_dims,
        wrong_provenance,
        nan_output,
        failing,
    )
}
"""Every fault of a network that a look at its file or its answers to two pictures finds."""

assert PROVENANCE.name not in SCORES.values()
