"""Every ``config.pbtxt``, parsed with Triton's own schema, against the one definition of the tensors."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterable

import numpy as np
import pytest
from tritonclient.grpc.model_config_pb2 import DataType, ModelConfig
from tritonclient.utils import triton_to_np_dtype

from trident import contract
from trident.contract import ENSEMBLE, MODELS, NETWORKS, TensorSpec
from trident.fusion.batch import fuse_batch
from trident.fusion.policy import load_policy
from trident.fusion.taxonomy import load_taxonomy
from trident.layout import DEFAULT_REPOSITORY
from trident.model_config import CONFIG_NAME, bls_pins, ensemble_pins, read_repository, served_versions
from trident.provenance import Provenance

REPOSITORY = DEFAULT_REPOSITORY
CONFIGS: dict[str, ModelConfig] = read_repository(REPOSITORY)
STEPS = {step.model_name: step for step in CONFIGS[ENSEMBLE].ensemble_scheduling.step}
FIRST_STEP = next(iter(STEPS))

Tensor = tuple[str, str, tuple[int, ...]]

every_model = pytest.mark.parametrize("name", MODELS)
every_network = pytest.mark.parametrize("name", NETWORKS)


def configured(tensors: Iterable[object]) -> list[Tensor]:
    return [(t.name, DataType.Name(t.data_type).removeprefix("TYPE_"), tuple(t.dims)) for t in tensors]  # type: ignore[attr-defined]


def defined(specs: Iterable[TensorSpec]) -> list[Tensor]:
    return [(spec.name, spec.dtype.value, spec.dims) for spec in specs]


def fits(have: tuple[int, ...], wanted: tuple[int, ...]) -> bool:
    """A dimension that the contract leaves open may be fixed by a configuration."""
    return len(have) == len(wanted) and all(w in (-1, h) for h, w in zip(have, wanted, strict=True))


def test_the_repository_holds_the_models_of_the_contract_and_no_other() -> None:
    assert set(CONFIGS) == set(MODELS)
    assert {path.name for path in REPOSITORY.iterdir() if path.is_dir()} == set(MODELS)


@every_model
def test_tensors_are_those_of_the_contract(name: str) -> None:
    for have, wanted in (
        (configured(CONFIGS[name].input), defined(MODELS[name].inputs)),
        (configured(CONFIGS[name].output), defined(MODELS[name].outputs)),
    ):
        assert [tensor[:2] for tensor in have] == [tensor[:2] for tensor in wanted]
        for (tensor, _, have_dims), (_, _, wanted_dims) in zip(have, wanted, strict=True):
            assert fits(have_dims, wanted_dims), f"{tensor}: expected {wanted_dims}, got {have_dims}"


@every_model
def test_the_name_is_the_folder_s(name: str) -> None:
    assert CONFIGS[name].name == name


@every_model
def test_versions_are_named(name: str) -> None:
    versions = served_versions(CONFIGS[name])
    assert versions
    for version in versions:
        assert (REPOSITORY / name / str(version)).is_dir()


@every_model
def test_a_request_may_carry_as_many_pictures_as_the_contract_says(name: str) -> None:
    assert CONFIGS[name].max_batch_size >= contract.MAX_BATCH_SIZE


@pytest.mark.parametrize("name", ["face_embedder", "plate_reader"])
def test_crops_of_a_request_fit_in_one_call(name: str) -> None:
    parameters = CONFIGS["entity_recognizer"].parameters
    assert CONFIGS[name].max_batch_size == int(parameters["max_crops_per_call"].string_value)


@pytest.mark.parametrize("name", MODELS.keys() - {ENSEMBLE})
def test_instances_are_chosen_on_purpose(name: str) -> None:
    assert CONFIGS[name].instance_group


@every_network
def test_networks_are_served_by_the_onnxruntime_backend_and_warmed_up(name: str) -> None:
    config = CONFIGS[name]
    assert config.backend == "onnxruntime"
    assert config.default_model_filename == "model.onnx"
    assert config.parameters["intra_op_thread_count"].string_value == "1"
    assert 1 in [warmup.batch_size for warmup in config.model_warmup]


@pytest.mark.parametrize("name", ["preprocess", "fusion"])
def test_python_models_that_call_no_other_are_warmed_up_with_every_input(name: str) -> None:
    (warmup,) = CONFIGS[name].model_warmup
    have = [(key, DataType.Name(t.data_type).removeprefix("TYPE_"), tuple(t.dims)) for key, t in warmup.inputs.items()]
    assert sorted(have) == sorted(configured(CONFIGS[name].input))


def test_the_warm_up_of_fusion_can_be_fused() -> None:
    """A warm-up that is answered with an error fails the load of the model."""
    (warmup,) = CONFIGS["fusion"].model_warmup
    tensors = {
        spec.name: np.zeros((1, *spec.dims), triton_to_np_dtype(spec.dtype.value)) for spec in MODELS["fusion"].inputs
    }
    files = {name: value.input_data_file for name, value in warmup.inputs.items() if value.input_data_file}
    data = {name: (REPOSITORY / "fusion" / "warmup" / file).read_bytes() for name, file in files.items()}
    assert set(data) == {"IMAGE_SIZE", "ENTITIES"}
    tensors["IMAGE_SIZE"][0] = np.frombuffer(data["IMAGE_SIZE"], "<i4")
    (length,) = struct.unpack("<I", data["ENTITIES"][:4])
    assert length == len(data["ENTITIES"]) - 4
    tensors["ENTITIES"] = np.array([[data["ENTITIES"][4:]]], dtype=np.object_)

    policy = load_policy(REPOSITORY / "fusion" / "1" / "policy.json")
    fused = fuse_batch(tensors, load_taxonomy(), policy, Provenance(1, "sha256:" + "0" * 64))

    assert [entity["type"] for entity in json.loads(fused["RESULT"][0, 0])["entities"]] == ["face", "plate"]


@every_model
def test_a_queue_is_limited_before_the_fan_out_only(name: str) -> None:
    """On a branch behind it, a full queue wedges Triton: requests hang, and readiness stays true."""
    batching = CONFIGS[name].dynamic_batching
    policies = [batching.default_queue_policy, *batching.priority_queue_policy.values()]
    limited = any(policy.max_queue_size for policy in policies)
    if name == FIRST_STEP:
        assert limited, "without a limit, requests pile up until memory ends"
    else:
        assert not limited


@every_model
def test_a_comment_says_what_the_model_does(name: str) -> None:
    first = (REPOSITORY / name / CONFIG_NAME).read_text().splitlines()[0]
    assert first.startswith("# ")
    assert len(first) > 20


def readme_headings(name: str) -> list[str]:
    lines = (REPOSITORY / name / "README.md").read_text().splitlines()
    return [line for line in lines if line.startswith("## ")]


@every_model
def test_every_model_s_readme_has_the_same_headings_first(name: str) -> None:
    assert readme_headings(name)[:4] == ["## What it does", "## Tensors", "## Versions", "## Adding a version"]


class TestEnsemble:
    """The maps of the ensemble: everything that is read has one producer, and is what the reader expects."""

    def producers(self) -> dict[str, list[TensorSpec]]:
        found: dict[str, list[TensorSpec]] = {spec.name: [spec] for spec in MODELS[ENSEMBLE].inputs}
        for model, step in STEPS.items():
            for output, tensor in step.output_map.items():
                found.setdefault(tensor, []).append(MODELS[model].output(output))
        return found

    def test_every_tensor_has_exactly_one_producer(self) -> None:
        assert {tensor: len(specs) for tensor, specs in self.producers().items() if len(specs) != 1} == {}

    @pytest.mark.parametrize("model", STEPS)
    def test_every_input_of_a_step_is_fed_with_what_it_expects(self, model: str) -> None:
        step = STEPS[model]
        assert set(step.input_map) == {spec.name for spec in MODELS[model].inputs}
        for name, tensor in step.input_map.items():
            (produced,) = self.producers()[tensor]
            wanted = MODELS[model].input(name)
            assert (produced.dtype, produced.dims) == (wanted.dtype, wanted.dims), f"{model}.{name}"

    @pytest.mark.parametrize("model", STEPS)
    def test_every_output_of_a_step_is_used(self, model: str) -> None:
        read = {tensor for step in STEPS.values() for tensor in step.input_map.values()}
        read |= {spec.name for spec in MODELS[ENSEMBLE].outputs}
        assert set(STEPS[model].output_map) == {spec.name for spec in MODELS[model].outputs}
        assert set(STEPS[model].output_map.values()) <= read

    def test_its_outputs_are_produced_as_the_contract_says(self) -> None:
        for spec in MODELS[ENSEMBLE].outputs:
            (produced,) = self.producers()[spec.name]
            assert (produced.dtype, produced.dims) == (spec.dtype, spec.dims), spec.name

    def test_the_steps_are_the_components_of_the_contract(self) -> None:
        behind = set(contract.ENTITY_PROVENANCE_ORDER[1:])
        assert set(STEPS) == set(MODELS) - behind - {ENSEMBLE}

    def test_every_step_is_pinned_to_a_version_that_is_served(self) -> None:
        for model, version in ensemble_pins(CONFIGS[ENSEMBLE]).items():
            assert version in served_versions(CONFIGS[model]), model


def test_what_the_entity_recognizer_calls_is_pinned_to_a_version_that_is_served() -> None:
    pins = bls_pins(CONFIGS["entity_recognizer"])
    assert set(pins) == set(contract.ENTITY_PROVENANCE_ORDER[1:])
    for model, version in pins.items():
        assert version in served_versions(CONFIGS[model]), model
