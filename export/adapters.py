"""The seam for detectors of the usual families: what turns a foreign network's answers into the contract's.

A network that meets the contract by itself needs no adapter. An adapter for a family (torchvision's Faster R-CNN, SSD
and RetinaNet; YOLOX-style heads) is one function here: it takes the ONNX graph as its author exports it, and gives one
from the contract's inputs to the contract's outputs, without ``PROVENANCE``. ``export.graph.Graph`` has what that
takes: ``planes``, ``resize`` and ``normalise`` on the way in, ``splice`` for the network itself, ``select_boxes`` on
the way out.
"""

from __future__ import annotations

from collections.abc import Callable

import onnx

from trident.errors import SetupError

Adapter = Callable[[onnx.ModelProto, str], onnx.ModelProto]
"""Takes the foreign graph and the component's name, and gives a graph that meets the component's contract."""


def unchanged(model: onnx.ModelProto, component: str) -> onnx.ModelProto:
    """For a graph that meets the contract of ``component`` as it is."""
    del component
    return model


ADAPTERS: dict[str, Adapter] = {"none": unchanged}
"""Adapters by the name that ``python -m export.own --adapter`` takes."""


def adapter(name: str) -> Adapter:
    """The adapter of that name.

    Raises:
        SetupError: there is none.
    """
    if name not in ADAPTERS:
        raise SetupError(f"adapter: expected one of {', '.join(ADAPTERS)}, got {name!r}")
    return ADAPTERS[name]
