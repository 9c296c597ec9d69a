"""What a network version is: where its weights come from, and how they become an ONNX graph."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import onnx

Files = Mapping[str, Path]
"""Local copies of a version's assets, by ``Asset.name``."""

Pixels = npt.NDArray[np.uint8]
"""RGB pixels UINT8 ``[batch, height, width, 3]``, as the component's contract says."""

Answers = Mapping[str, npt.NDArray[Any]]
"""Arrays by tensor name."""

Reference = Callable[[Pixels], Answers]
"""Evaluates the source network on a batch.

A name that is an output of the built graph is compared with that output; any other name must be an inner tensor of the
built graph, which the parity check then exposes. So logits and heatmaps are compared where a top-k or a non-maximum
suppression would hide or exaggerate a difference.
"""


@dataclass(frozen=True, slots=True)
class Decoding:
    """An independent decoding of the answers, for the outputs that lie behind a choice: a top-k, a suppression.

    Of two almost equal candidates either may come first, or suppress the other. So the graph's own choice is taken up:
    what it chose is compared with the source network at that very place, and what a suppression leaves, with what
    numpy leaves of the same candidates. The candidates' own values are compared with the source network too, so that
    nothing in the chain is compared with itself alone.
    """

    reads: tuple[str, ...]
    """Inner tensors of the graph that ``expected`` needs or speaks of."""
    expected: Callable[[Answers, Answers], Answers]
    """From the ``Reference``'s answers, and the graph's, to what tensors of the graph should be."""


@dataclass(frozen=True, slots=True)
class Asset:
    """One file of a published package, pinned by its hash."""

    registry: Literal["pypi", "npm"]
    package: str
    package_version: str
    file: str
    """Path inside the package: of the wheel or sdist (without its top folder), or of the npm package."""
    sha256: str
    """64 hexadecimal digits, of the file itself."""
    licence: str
    """SPDX expression, or a short text where there is none."""
    repository: str
    """The author's repository."""

    @property
    def name(self) -> str:
        """Last part of the path: the key under which ``build`` and ``reference`` find the file."""
        return PurePosixPath(self.file).name


@dataclass(frozen=True, slots=True)
class NetworkVersion:
    """One version of a component: a network, its weights, and how both become a graph that meets the contract."""

    component: str
    """A key of ``trident.contract.MODELS``."""
    version: int
    """Triton's model version, 1 or more."""
    name: str
    """What people call the network, such as ``EfficientNet-Lite0``."""
    assets: tuple[Asset, ...]
    """Files that ``build`` needs."""
    licence: str
    """Licence of the weights."""
    repository: str
    """Where the network itself comes from."""
    preprocessing: str
    """What the graph does to the canonical pixels, in words."""
    classes: str
    """Name of the class list, such as ``imagenet-1k``; empty where there is none."""
    build: Callable[[Files], onnx.ModelProto]
    """Gives the whole graph, contract inputs to contract outputs, without ``PROVENANCE``, which the framework adds."""
    reference: Callable[[Files], Reference]
    """Loads the source network, for the parity check."""
    reference_assets: tuple[Asset, ...] = ()
    """Files that only ``reference`` needs. It is given those of ``assets`` as well."""
    samples: Callable[[], Pixels] | None = None
    """Pictures for the parity check; by default photos that scikit-image ships, cut to the component's input."""
    tolerance: float = 1e-3
    """Largest absolute error that an output may have, as a share of the largest absolute value of the reference.

    Integer outputs must be equal.
    """
    decoding: Decoding | None = None
    """What is compared after the network itself: how its answers are decoded."""
