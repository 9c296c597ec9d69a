"""The process that ``trident.rollout.trial`` starts for a network: it is read, opened, run and timed."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
from google.protobuf.message import DecodeError
from onnx.external_data_helper import ExternalDataInfo, uses_external_data

from trident.contract import MODELS, PROVENANCE
from trident.onnx_backend import (
    CPU,
    ONNXRUNTIME_ERRORS,
    ConfigError,
    check_signature,
    plan_session,
    read_signature,
)
from trident.provenance import unpack
from trident.rollout.findings import Verdict
from trident.rollout.soundness import Array, inconsistencies, unsound
from trident.rollout.trial_process import Refused, Report, serve, words
from trident.signature import NEWEST_IR, NEWEST_OPSET, Declared, signature_problems

_MIB = 2**20
_ROUNDS, _LEAST_S, _MOST_S = 3, 0.3, 3.0
"""Least runs of each network that are timed, and how long that may go on."""
_BATCH_SLACK = 1e-2
_GREY = 20
_FAILURES: tuple[type[Exception], ...] = (*ONNXRUNTIME_ERRORS, RuntimeError, MemoryError)
"""What running a network may raise."""
_UNOPENED: tuple[type[Exception], ...] = (*_FAILURES, ConfigError)
"""What opening one may raise."""

Pixels = npt.NDArray[np.uint8]
Run = Callable[[Pixels], dict[str, Array]]


def main() -> None:
    """Try the network that standard input asks about."""
    serve(run_trial)


def run_trial(request: dict[str, Any], report: Report) -> None:
    """Try the network of a request, one check after the other.

    Args:
        request: ``component``, ``version``, ``file``, ``digest``, ``config`` and ``beside``, as in ``trial.Subject``.
        report: Where it is said.

    Raises:
        Refused: Something was found that makes the rest pointless.
    """
    component, version, file = request["component"], int(request["version"]), Path(request["file"])
    label = f"{component} {version}"
    report.stage("reading its graph")
    _read_graph(label, file, report)
    report.stage("opening it in onnxruntime")
    before = _resident("VmRSS")
    run = _open(component, label, file, request["config"], report)
    pictures = _pictures(component)
    report.stage("answering for one picture of noise")
    single = _answer(component, label, run, pictures[:1], report)
    report.stage("answering for two pictures, noise and an even grey")
    double = _answer(component, label, run, pictures, report)
    report.facts(memory_mib=round((_resident("VmHWM") - before) / _MIB, 1))
    _check_provenance(component, version, request["digest"], double[PROVENANCE.name], report)
    _check_batch(label, single, double, report)
    if request["beside"] is not None:
        _time_beside(label, run, pictures[:1], report, beside=Path(request["beside"]), config=request["config"])


def _time_beside(label: str, run: Run, pixels: Pixels, report: Report, *, beside: Path, config: dict[str, Any]) -> None:
    report.stage("opening the network that serves now, to compare their times")
    try:
        old = _runner(_session(beside, config))
        old(pixels)  # the first run lays out memory; the new network has had its own
    except _UNOPENED as error:
        sentence = f"{label}: its time cannot be compared, since {beside} cannot be run here: {words(error)}"
        report.finding("speed", Verdict.WARNING, sentence)
        return
    report.stage("being timed beside the network that serves now")
    new_ms, old_ms = _times(run, old, pixels)
    report.facts(ms=round(new_ms, 3), ms_before=round(old_ms, 3))


def _read_graph(label: str, file: Path, report: Report) -> None:
    """Parse and check the file as ONNX, before anything runs it."""

    def refuse(sentence: str) -> NoReturn:
        report.refuse("graph", f"{label}: {sentence}")

    try:
        model = onnx.load(file, load_external_data=False)
    except (OSError, DecodeError) as error:
        refuse(f"{file}: expected an ONNX graph, got a file that cannot be parsed ({words(error)})")
    if not model.graph.node:
        refuse(f"{file}: expected an ONNX graph, got one without nodes")
    opsets = {entry.domain or "ai.onnx": entry.version for entry in model.opset_import}
    opset = opsets.get("ai.onnx", 0)
    if not 0 < opset <= NEWEST_OPSET:
        refuse(f"operator set of {file}: expected 1 to {NEWEST_OPSET}, which the served onnxruntime reads, got {opset}")
    if model.ir_version > NEWEST_IR:
        refuse(f"file format (IR) of {file}: expected at most {NEWEST_IR}, got {model.ir_version}")
    outside = _external_files(model)
    for name, (offset, length) in outside.items():
        data = file.parent / name
        if not data.resolve().is_relative_to(file.parent.resolve()):
            refuse(f"external data of {file}: expected files in the version's folder, got {name!r}")
        if not data.is_file():
            refuse(f"external data of {file}: expected {data}, got no such file")
        if data.stat().st_size < offset + length:
            refuse(f"external data {data}: expected at least {offset + length} bytes, got {data.stat().st_size}")
    if outside:
        report.finding(
            "graph",
            Verdict.WARNING,
            f"{label}: weights lie outside of {file.name}, in {', '.join(sorted(outside))}, where no hash vouches for "
            "them; save the network in one file",
        )
    try:
        onnx.checker.check_model(str(file), full_check=True)
    except (ValueError, onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        refuse(f"{file}: expected a valid ONNX graph, got: {words(error)}")
    report.finding(
        "graph", Verdict.OK, f"{label}: a valid graph, operator set {opset}", opset=opset, ir=model.ir_version
    )


def _external_files(model: onnx.ModelProto) -> dict[str, tuple[int, int]]:
    """The files beside the graph that hold weights: for each name offset and length of what lies farthest back."""
    found: dict[str, tuple[int, int]] = {}
    for tensor in _tensors(model.graph):
        if uses_external_data(tensor):
            info = ExternalDataInfo(tensor)
            end = (int(info.offset or 0), int(info.length or 0))
            found[info.location] = max(found.get(info.location, (0, 0)), end, key=sum)
    return found


def _tensors(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    """Every constant of a graph and of the graphs in it."""
    yield from graph.initializer
    for node in graph.node:
        for attribute in node.attribute:
            yield from (attribute.t, *attribute.tensors)
            for inner in (attribute.g, *attribute.graphs):
                yield from _tensors(inner)


def _open(component: str, label: str, file: Path, config: dict[str, Any], report: Report) -> Run:
    """Open the network as the backend does, and hold what it declares against contract and configuration."""
    try:
        session = _session(file, config)
    except _UNOPENED as error:
        report.refuse("open", f"{label}: onnxruntime cannot open {file}: {words(error)}")
    try:
        signature = read_signature(session)
    except ConfigError as error:
        report.refuse("signature", f"{label}: {error}")
    inputs, outputs = (
        [Declared(tensor.name, _contract_type(tensor.dtype), tensor.shape) for tensor in side]
        for side in (signature.inputs, signature.outputs)
    )
    problems = signature_problems(component, inputs, outputs)
    if not problems:
        try:
            check_signature(config, signature)
        except ConfigError as error:
            problems = [f"{error}; expected is what {component}/config.pbtxt says of every version"]
    for problem in problems:
        report.finding("signature", Verdict.REFUSED, f"{label}: {problem}")
    if problems:
        raise Refused
    report.finding("signature", Verdict.OK, f"{label}: inputs and outputs are those of the contract")
    return _runner(session)


def _contract_type(name: str) -> str:
    return name.removeprefix("TYPE_")


def _session(file: Path, config: dict[str, Any]) -> Any:
    # On the CPU alone: whether an accelerator is there is for the server's machine to say.
    optimization = {key: value for key, value in config.get("optimization", {}).items() if "accelerators" not in key}
    plan = plan_session({**config, "optimization": optimization}, kind="CPU", device_id=0, available=[CPU])
    plan.options.log_severity_level = 4
    return onnxruntime.InferenceSession(str(file), plan.options, providers=[CPU])


def _runner(session: Any) -> Run:
    names = [output.name for output in session.get_outputs()]

    def run(pixels: Pixels) -> dict[str, Array]:
        return dict(zip(names, session.run(names, {"PIXELS": pixels}), strict=True))

    return run


def _pictures(component: str) -> Pixels:
    """A picture of noise and an even, dark grey one, UINT8 ``[2, H, W, 3]``.

    Not black: in a black face an embedder may rightly see nothing at all.
    """
    (spec,) = MODELS[component].inputs
    noise = np.random.default_rng(0).integers(0, 256, spec.dims, dtype=np.uint8)
    return np.stack([noise, np.full_like(noise, _GREY)])


def _answer(component: str, label: str, run: Run, pixels: Pixels, report: Report) -> dict[str, Array]:
    asked = f"for a batch of {len(pixels)}"
    try:
        outputs = run(pixels)
    except _FAILURES as error:
        report.refuse("answers", f"{label}: expected an answer {asked}, got an error: {words(error)}")
    wrong = unsound(component, outputs, len(pixels))
    problems = [wrong] if wrong else inconsistencies(outputs)
    for problem in problems:
        report.finding("answers", Verdict.REFUSED, f"{label}: {asked}: {problem}")
    if problems:
        raise Refused
    report.finding("answers", Verdict.OK, f"{label}: answers {asked}, within the contract's ranges")
    return outputs


def _check_provenance(component: str, version: int, digest: str, rows: Array, report: Report) -> None:
    """Every row must say the version that its folder is called, and the digest of the record."""
    said = unpack(rows[0])
    if said is None or np.any(rows != rows[:1]):
        report.finding(
            "provenance",
            Verdict.REFUSED,
            f"{component} {version}: PROVENANCE: expected one version and digest, got others",
        )
        return
    if said.version != version:
        report.finding(
            "provenance",
            Verdict.REFUSED,
            f"{component} {version}: version in PROVENANCE: expected {version}, got {said.version}: answers would name "
            "the wrong version; a network is written for one number, and cannot be copied to another",
        )
    elif digest and said.digest != digest:
        report.finding(
            "provenance",
            Verdict.REFUSED,
            f"{component} {version}: digest in PROVENANCE: expected {digest}, the record's, got {said.digest}",
        )
    else:
        report.finding("provenance", Verdict.OK, f"{component} {version}: PROVENANCE names it", digest=said.digest)


def _check_batch(label: str, single: dict[str, Array], double: dict[str, Array], report: Report) -> None:
    """The same picture must get the same answer alone and in a batch."""
    for name, alone in single.items():
        beside = double[name][:1]
        error = float(np.abs(alone.astype(np.float64) - beside).max(initial=0.0))
        largest = max(1.0, float(np.abs(alone).max(initial=0)))
        if error > _BATCH_SLACK * largest:
            report.finding(
                "batch",
                Verdict.WARNING,
                f"{label}: {name}: expected the same answer for a picture alone and beside another, got values "
                f"{error:.3g} apart; are pictures mixed in the graph?",
            )
            return


def _times(new: Run, old: Run, pixels: Pixels) -> tuple[float, float]:
    """Median processor time of one run of each in milliseconds, in turns so that both meet the same machine."""
    took: dict[Run, list[float]] = {new: [], old: []}
    began = time.process_time()
    turn = 0
    while True:
        for run in (new, old) if turn % 2 else (old, new):
            start = time.process_time()
            run(pixels)
            took[run].append(time.process_time() - start)
        turn += 1
        spent = time.process_time() - began
        if spent > _MOST_S or (turn >= _ROUNDS and spent > _LEAST_S):
            return 1000 * median(took[new]), 1000 * median(took[old])


def _resident(entry: str) -> int:
    """``VmRSS``, memory now, or ``VmHWM``, its peak, in bytes."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{entry}:"):
            return int(line.split()[1]) * 1024
    return 0


if __name__ == "__main__":
    main()
