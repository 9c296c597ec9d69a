"""Every ``config.pbtxt``, parsed with Triton's own schema, against the one definition of the tensors."""

from __future__ import annotations

import json
import struct

import numpy as np
import pytest
from tritonclient.grpc.model_config_pb2 import ModelConfig
from tritonclient.utils import triton_to_np_dtype

from trident.contract import ENSEMBLE, MODELS, NETWORKS
from trident.fusion.batch import fuse_batch, fusion_inputs
from trident.fusion.policy import load_policy
from trident.fusion.taxonomy import load_taxonomy
from trident.layout import DEFAULT_REPOSITORY
from trident.model_config import CONFIG_NAME, read_repository
from trident.provenance import Provenance
from trident.rollout.consistency import repository_problems

REPOSITORY = DEFAULT_REPOSITORY
CONFIGS: dict[str, ModelConfig] = read_repository(REPOSITORY)

every_model = pytest.mark.parametrize("name", MODELS)
every_network = pytest.mark.parametrize("name", NETWORKS)


def test_the_repository_holds_the_models_of_the_contract_and_no_other() -> None:
    assert set(CONFIGS) == set(MODELS)
    assert {path.name for path in REPOSITORY.iterdir() if path.is_dir()} == set(MODELS)


@every_model
def test_the_configuration_fits_the_contract_and_the_others(name: str) -> None:
    """Tensors, versions, batches, queues and warm-ups; of the ensemble also its maps, of the recognizer its calls."""
    assert repository_problems(REPOSITORY, CONFIGS).get(name, []) == []


@pytest.mark.parametrize("name", [name for name in MODELS if name != ENSEMBLE])
def test_instances_are_chosen_on_purpose(name: str) -> None:
    assert CONFIGS[name].instance_group


@every_network
def test_networks_have_one_thread_each(name: str) -> None:
    config = CONFIGS[name]
    assert config.default_model_filename == "model.onnx"
    assert config.parameters["intra_op_thread_count"].string_value == "1"


def test_only_the_first_step_can_refuse_a_request_for_want_of_room_or_time() -> None:
    """Behind the fan-out a full queue, or one that rejects, wedges the ensemble."""
    first = next(iter(MODELS))
    policy = CONFIGS[first].dynamic_batching.default_queue_policy
    assert policy.max_queue_size > 0
    assert policy.timeout_action == policy.REJECT
    assert policy.allow_timeout_override
    for name in MODELS.keys() - {first}:
        batching = CONFIGS[name].dynamic_batching
        for other in (batching.default_queue_policy, *batching.priority_queue_policy.values()):
            assert other == type(other)(), name


def test_of_steps_that_begin_together_none_can_be_dropped_from_its_queue() -> None:
    """Dynamic batching drops a request whose caller has gone.

    With another step yet to begin, Triton 2.51 dies of it; with another under way, that one's answer stays.
    """
    steps = CONFIGS[ENSEMBLE].ensemble_scheduling.step
    made_by_first = set(steps[0].output_map.values())
    together = [step.model_name for step in steps[1:] if set(step.input_map.values()) <= made_by_first]
    assert together == ["classifier", "detector", "entity_recognizer"]
    assert [CONFIGS[name].HasField("dynamic_batching") for name in together] == [False] * 3


@pytest.mark.parametrize("name", ["preprocess", "fusion"])
def test_python_models_that_call_no_other_are_warmed_up(name: str) -> None:
    assert len(CONFIGS[name].model_warmup) == 1


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


def test_fusion_inputs_are_mapped_in_code_as_the_ensemble_maps_them() -> None:
    """``fusion_inputs`` stands in for the ensemble where its models are called one by one."""
    steps = {step.model_name: step for step in CONFIGS[ENSEMBLE].ensemble_scheduling.step}
    before = ("preprocess", "classifier", "detector", "entity_recognizer")
    # Each answer says by its own name in the ensemble where it comes from.
    answers = [{name: np.array(tensor) for name, tensor in steps[model].output_map.items()} for model in before]

    mapped = {name: str(array) for name, array in fusion_inputs(*answers).items()}

    assert mapped == dict(steps["fusion"].input_map)
