"""Every exported ONNX file against the contract. The files are built by ``make export``; without them this fails."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from google.protobuf import json_format

from trident.contract import MODELS, NETWORKS, PROVENANCE, TensorSpec
from trident.layout import DEFAULT_REPOSITORY
from trident.model_config import network_files, read_repository
from trident.onnx_backend import read_signature
from trident.provenance import unpack
from trident.rollout.preflight_networks import read_record
from trident.rollout.trial_process import Report
from trident.rollout.trial_run import run_trial

REPOSITORY = DEFAULT_REPOSITORY
CONFIGS = read_repository(REPOSITORY)
FILES = sorted(
    {(name, int(file.parent.name), file) for name in NETWORKS for file in REPOSITORY.glob(f"{name}/*/model.onnx")}
    | set(network_files(REPOSITORY, CONFIGS))
)

every_file = pytest.mark.parametrize(
    ("name", "version", "file"), [pytest.param(*entry, id=f"{entry[0]}-{entry[1]}") for entry in FILES]
)


def session(file: object) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])


def test_every_network_has_a_served_version() -> None:
    assert {name for name, _, _ in network_files(REPOSITORY, CONFIGS)} == set(NETWORKS)


@every_file
def test_signature_is_the_contract_s(name: str, version: int, file: object) -> None:
    """Also as the native backend wants it: the batch dimension open, and the dims of outputs fixed."""
    signature = read_signature(session(file))

    for have, wanted in (
        (signature.inputs, MODELS[name].inputs),
        (signature.outputs, MODELS[name].outputs),
    ):
        assert {t.name: t.dtype for t in have} == {spec.name: f"TYPE_{spec.dtype}" for spec in wanted}
        dims = {tensor.name: tensor.shape for tensor in have}
        for spec in wanted:
            assert dims[spec.name] == (-1, *expected_dims(name, spec)), spec.name


def expected_dims(name: str, spec: TensorSpec) -> tuple[int, ...]:
    """Those of the contract; where it leaves one open, those of the configuration."""
    config = CONFIGS[name]
    (dims,) = (tuple(t.dims) for t in (*config.input, *config.output) if t.name == spec.name)
    return dims


@every_file
def test_provenance_names_the_version_and_fills_the_batch(name: str, version: int, file: object) -> None:
    spec = MODELS[name].inputs[0]
    (rows,) = session(file).run([PROVENANCE.name], {spec.name: np.zeros((2, *spec.dims), dtype=np.uint8)})

    assert rows.shape == (2, *PROVENANCE.dims)
    assert np.array_equal(rows[0], rows[1])
    provenance = unpack(rows[0])
    assert provenance is not None
    assert provenance.version == version
    assert int(provenance.digest.removeprefix("sha256:"), 16) != 0


@every_file
def test_the_preflight_of_a_rollout_finds_nothing_wrong(name: str, version: int, file: Path) -> None:
    output = io.StringIO()
    run_trial(
        {
            "component": name,
            "version": version,
            "file": str(file),
            "digest": read_record(file.parent)["digest"],
            "config": json_format.MessageToDict(CONFIGS[name], preserving_proto_field_name=True),
            "beside": None,
        },
        Report(output),
    )
    findings = [event for event in map(json.loads, output.getvalue().splitlines()) if "check" in event]
    assert [one["sentence"] for one in findings if one["verdict"] != "ok"] == []
    assert {one["check"] for one in findings} == {"graph", "signature", "answers", "provenance"}
