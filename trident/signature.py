"""Holds the tensors that a network declares against the contract of its component."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from trident.contract import MODELS, TensorSpec

NEWEST_OPSET = 21
"""Newest operator set that the onnxruntime of Triton 24.10 reads."""
NEWEST_IR = 10
"""Newest ONNX file format that it reads."""

_OPEN = -1


@dataclass(frozen=True, slots=True)
class Declared:
    """One input or output, as a network declares it."""

    name: str
    dtype: str
    """As the contract writes it, without ``TYPE_``; any other name for a type that the contract does not know."""
    dims: tuple[int, ...]
    """With the batch first; -1 where the dimension is open."""


def signature_problems(component: str, inputs: Sequence[Declared], outputs: Sequence[Declared]) -> list[str]:
    """What keeps a network from being a version of ``component``; empty if nothing does.

    It must have exactly the inputs and outputs of the contract: names and dtypes equal, the batch open, and each fixed
    dim the contract's, unless the contract leaves it open.
    """
    spec = MODELS[component]
    return _side(component, "inputs", inputs, spec.inputs) + _side(component, "outputs", outputs, spec.outputs)


def _side(component: str, side: str, got: Sequence[Declared], expected: Sequence[TensorSpec]) -> list[str]:
    by_name = {tensor.name: tensor for tensor in got}
    wanted = [spec.name for spec in expected]
    if sorted(tensor.name for tensor in got) != sorted(wanted):
        names = ", ".join(tensor.name for tensor in got) or "none"
        return [f"{side} of the {component} graph: expected {', '.join(wanted)}, got {names}"]
    problems = []
    for spec in expected:
        tensor = by_name[spec.name]
        if tensor.dtype != spec.dtype:
            problems.append(f"dtype of {spec.name} of the {component} graph: expected {spec.dtype}, got {tensor.dtype}")
        if not _fits(tensor.dims, spec.dims):
            problems.append(
                f"dims of {spec.name} of the {component} graph: expected {[_OPEN, *spec.dims]}, "
                f"got {list(tensor.dims)} (-1 is open)"
            )
    return problems


def _fits(have: tuple[int, ...], wanted: tuple[int, ...]) -> bool:
    if len(have) != len(wanted) + 1 or have[0] != _OPEN:
        return False
    return all(_OPEN in (h, w) or h == w for h, w in zip(have[1:], wanted, strict=True))
