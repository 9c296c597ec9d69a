"""Does the exported graph answer as the source network does? Numbers, for every tensor that both can give."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime

from export import samples
from export.graph import PIXELS
from export.session import open_session
from export.sources import Answers, Decoding, Pixels, Reference
from trident.errors import SetupError
from trident.onnx_backend import ONNXRUNTIME_ERRORS

BATCH = 4
"""Batch that must answer as single pictures do."""
_FLOOR = 1e-3
"""Relative errors are taken of at least this share of the tensor's largest absolute value."""


@dataclass(frozen=True, slots=True)
class TensorParity:
    """How far one tensor of the graph is from the source network's, over all samples."""

    name: str
    dims: tuple[int, ...]
    """Without the batch."""
    largest_value: float
    """Largest absolute value of the source network's tensor."""
    absolute_error: float
    """Largest absolute difference."""
    relative_error: float
    """Largest difference relative to the value itself, or to a thousandth of ``largest_value`` if that is more."""
    tolerance: float
    """Largest ``absolute_error`` allowed, as a share of ``largest_value``; 0 for integers."""

    @property
    def passed(self) -> bool:
        """Whether the error is within the tolerance."""
        return self.absolute_error <= self.tolerance * self.largest_value


@dataclass(frozen=True, slots=True)
class ParityReport:
    """All that the parity check found out about one network version."""

    component: str
    version: int
    network: str
    photos: int
    noise: int
    tensors: tuple[TensorParity, ...]
    batch_error: float
    """Largest difference between a batch of 4 and single pictures, over all outputs, as a share of each's largest."""

    def to_json(self) -> dict[str, Any]:
        """A dictionary for JSON."""
        return asdict(self)


def check(
    model: onnx.ModelProto,
    *,
    component: str,
    version: int,
    network: str,
    reference: Reference | None,
    tolerance: float,
    photos: Pixels | None = None,
    decoding: Decoding | None = None,
) -> ParityReport:
    """Compare a graph with its source network on photos and on noise, and a batch of it with single pictures.

    Args:
        model: The graph, contract inputs to contract outputs.
        component: Its component.
        version: Its version.
        network: What people call it.
        reference: The source network; None compares the graph with itself only.
        tolerance: See ``NetworkVersion.tolerance``.
        photos: Pictures to use instead of ``samples.of_component``.
        decoding: See ``NetworkVersion.decoding``.

    Raises:
        SetupError: a difference is too large, an answer is not a finite number, or onnxruntime cannot run the graph;
            the sentence says where.
    """
    label = f"{component} {version} ({network})"
    real = samples.of_component(component) if photos is None else photos
    noise = samples.noise(component)
    pixels = np.concatenate([real, noise])
    expected: Answers = {} if reference is None else reference(pixels)

    outputs = [value.name for value in model.graph.output]
    read = () if decoding is None else decoding.reads
    inner = [name for name in dict.fromkeys([*expected, *read]) if name not in outputs]
    observed = with_extra_outputs(model, inner)
    try:
        session = open_session(observed)
    except ONNXRUNTIME_ERRORS as error:
        raise SetupError(f"parity of {label}: onnxruntime cannot load the graph: {_reason(error)}") from error
    single = _run(label, session, [*outputs, *inner], pixels, 1)
    _check_finite(label, single)
    batched = _run(label, session, outputs, pixels, BATCH)
    _check_finite(f"{label}, a batch of {BATCH}", batched)
    batch_error = max(_batch_error(label, name, single[name], batched[name], tolerance) for name in outputs)
    if decoding is not None:
        expected = {**expected, **decoding.expected(expected, single)}

    tensors = tuple(_compare(label, name, expected[name], single[name], tolerance) for name in expected)
    report = ParityReport(component, version, network, len(real), len(noise), tensors, batch_error)
    for tensor in tensors:
        if not tensor.passed:
            raise SetupError(
                f"parity of {label}: {tensor.name} differs from the source network by {tensor.absolute_error:.3g}, "
                f"expected at most {tensor.tolerance * tensor.largest_value:.3g}"
            )
    return report


def with_extra_outputs(model: onnx.ModelProto, names: Sequence[str]) -> onnx.ModelProto:
    """A copy that also gives inner tensors.

    Raises:
        ValueError: the graph has no tensor of such a name.
    """
    made = {name for node in model.graph.node for name in node.output}
    for name in names:
        if name not in made:
            raise ValueError(f"reference: expected tensors of the {model.graph.name} graph, got {name!r}")
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    copy.graph.output.extend(onnx.helper.make_empty_tensor_value_info(name) for name in names)
    return copy


def _run(
    label: str, session: onnxruntime.InferenceSession, names: Sequence[str], pixels: Pixels, batch: int
) -> dict[str, Any]:
    answers: dict[str, list[npt.NDArray[Any]]] = {name: [] for name in names}
    for start in range(0, len(pixels), batch):
        part = pixels[start : start + batch]
        of = f"a batch of {len(part)}"
        try:
            made = session.run(list(names), {PIXELS: part})
        except ONNXRUNTIME_ERRORS as error:
            fixed = "; is the batch fixed inside the graph? It has to be open" if len(part) > 1 else ""
            raise SetupError(f"parity of {label}: onnxruntime cannot run {of}{fixed}: {_reason(error)}") from error
        for name, values in zip(names, made, strict=True):
            before = answers[name][0].shape[1:] if answers[name] else values.shape[1:]
            if values.shape != (len(part), *before):
                raise SetupError(
                    f"parity of {label}: dims of {name} of {of}: expected {(len(part), *before)}, got {values.shape}"
                )
            answers[name].append(values)
    return {name: np.concatenate(parts) for name, parts in answers.items()}


def _reason(error: Exception) -> str:
    """What an error says, on one line, without onnxruntime's own source file and function."""
    said = re.sub(r"/\S+\.(?:h|cc):\d+ .*?\) ", "", " ".join(str(error).split()))
    return said[:300] or type(error).__name__


def _check_finite(label: str, answers: Answers) -> None:
    for name, values in answers.items():
        if np.issubdtype(values.dtype, np.floating) and not np.isfinite(values).all():
            raise SetupError(f"parity of {label}: {name} holds values that are not finite numbers")


def _batch_error(label: str, name: str, single: npt.NDArray[Any], batched: npt.NDArray[Any], tolerance: float) -> float:
    if single.shape != batched.shape:
        raise SetupError(
            f"parity of {label}: {name} of a batch of {BATCH}: expected dims {single.shape}, got {batched.shape}"
        )
    difference = np.abs(single.astype(np.float64) - batched.astype(np.float64)).max(initial=0.0)
    largest = np.abs(single.astype(np.float64)).max(initial=0.0)
    share = float(difference / largest) if largest > 0 else float(difference)
    # Written so that not-a-number fails.
    if not share <= (tolerance if np.issubdtype(single.dtype, np.floating) else 0.0):
        raise SetupError(
            f"parity of {label}: {name} of a batch of {BATCH} differs from single pictures by {difference:.3g}"
        )
    return share


def _compare(
    label: str, name: str, expected: npt.NDArray[Any], got: npt.NDArray[Any], tolerance: float
) -> TensorParity:
    if expected.shape != got.shape:
        raise SetupError(f"parity of {label}: dims of {name}: expected {expected.shape}, got {got.shape}")
    if not np.isfinite(expected).all():
        raise SetupError(f"parity of {label}: the source network's {name} holds values that are not finite numbers")
    wanted = expected.astype(np.float64)
    difference = np.abs(got.astype(np.float64) - wanted)
    largest = float(np.abs(wanted).max(initial=0.0))
    floor = max(largest * _FLOOR, float(np.finfo(np.float32).tiny))
    relative = difference / np.maximum(np.abs(wanted), floor)
    exact = not np.issubdtype(got.dtype, np.floating)
    return TensorParity(
        name,
        expected.shape[1:],
        largest,
        float(difference.max(initial=0.0)),
        float(relative.max(initial=0.0)),
        0.0 if exact else tolerance,
    )


# Reports


def write_report(report: ParityReport, folder: Path) -> None:
    """Write the report as ``COMPONENT-VERSION.json``, and ``parity.md`` anew from all that the folder holds."""
    folder.mkdir(parents=True, exist_ok=True)
    place = folder / f"{report.component}-{report.version}.json"
    write_text(place, json.dumps(report.to_json(), indent=2) + "\n")
    entries = [json.loads(path.read_text()) for path in sorted(folder.glob("*-*.json"))]
    write_text(folder / "parity.md", markdown(entries))


def markdown(entries: Iterable[dict[str, Any]]) -> str:
    """A table of parity reports in the form of ``ParityReport.to_json``."""
    lines = [
        "# Parity",
        "",
        "The exported graphs against their source networks, on photos and on noise. Errors are the largest over all",
        "samples; a relative error is taken of the value itself, or of a thousandth of the tensor's largest. What",
        "a suppression leaves is held against what numpy leaves of the same candidates, which are compared too.",
        "",
        "| network | tensor | largest value | absolute error | relative error | allowed | batch of 4 |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for entry in entries:
        title = f"{entry['component']} {entry['version']}: {entry['network']}"
        for tensor in entry["tensors"]:
            allowed = tensor["tolerance"] * tensor["largest_value"]
            lines.append(
                f"| {title} | `{tensor['name']}` | {tensor['largest_value']:.4g} | {tensor['absolute_error']:.2e} "
                f"| {tensor['relative_error']:.2e} | {allowed:.2e} | {entry['batch_error']:.1e} |"
            )
        if not entry["tensors"]:
            lines.append(f"| {title} | (no source network) | | | | | {entry['batch_error']:.1e} |")
    return "\n".join(lines) + "\n"


def write_text(path: Path, text: str) -> None:
    """Write a text file whole or not at all."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_text(text)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
