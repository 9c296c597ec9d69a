"""Gives a network another version number: the same answers, and a ``PROVENANCE`` that names the new version.

With it, swaps of a component can be tried and measured of which only one version is published. The digest stays, for
it is that of the network without its provenance: whatever rests on it, such as a gallery of faces, still fits.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from google.protobuf.message import DecodeError
from onnx import numpy_helper

from export.build import read_record, write_model
from export.fetch import sha256_of
from export.signature import PROVENANCE_ROW
from trident.contract import PROVENANCE_BYTES
from trident.errors import SetupError
from trident.layout import MODEL_FILE
from trident.provenance import Provenance, pack, unpack

_KEPT = ("name", "digest", "licence", "repository", "preprocessing", "classes")
"""What stays true of a network under another number. ``recipe`` does not: nothing was built."""


def restamp(model: onnx.ModelProto, version: int) -> onnx.ModelProto:
    """A copy of an exported network that calls itself another version.

    Args:
        model: An exported network, with its provenance in it.
        version: 1 to 2147483647.

    Raises:
        SetupError: The network has no provenance to change.
        ValueError: The number cannot be a version.
    """
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    row = _provenance_row(copy)
    known = unpack(numpy_helper.to_array(row).reshape(-1))
    if known is None:
        raise SetupError(f"constant {PROVENANCE_ROW}: expected a version and a digest, got zeros")
    stamped = pack(Provenance(version, known.digest)).reshape(1, PROVENANCE_BYTES)
    row.CopyFrom(numpy_helper.from_array(stamped.copy(), PROVENANCE_ROW))
    return copy


def _provenance_row(model: onnx.ModelProto) -> onnx.TensorProto:
    for tensor in model.graph.initializer:
        if tensor.name == PROVENANCE_ROW:
            if numpy_helper.to_array(tensor).dtype != np.uint8 or list(tensor.dims) != [1, PROVENANCE_BYTES]:
                raise SetupError(
                    f"constant {PROVENANCE_ROW}: expected UINT8 [1, {PROVENANCE_BYTES}], got {list(tensor.dims)}"
                )
            return tensor
    raise SetupError(f"the graph has no constant {PROVENANCE_ROW}: expected a network that `make export` wrote")


def write_restamped(component_folder: Path, source: int, version: int) -> Path:
    """Write the network of one version of a component as another version, with its record.

    Args:
        component_folder: The component's folder in a model repository.
        source: The version that is there.
        version: The version to write; one that is there already is replaced.

    Returns:
        The new version's folder.

    Raises:
        SetupError: The source is not there, cannot be read, or has no provenance.
    """
    file = component_folder / str(source) / MODEL_FILE
    try:
        model = onnx.load(file)
    except (OSError, DecodeError) as error:
        raise SetupError(f"{file}: expected an exported network, got one that cannot be read ({error})") from error
    record = read_record(file.parent) or {}
    folder = component_folder / str(version)
    write_model(
        restamp(model, version),
        folder,
        {key: record[key] for key in _KEPT if key in record}
        | {"restamp_of": {"version": source, "sha256": sha256_of(file)}},
        None,
    )
    return folder
