"""Each rule about configurations, by breaking it in a repository that keeps them all."""

from __future__ import annotations

import shutil

import pytest

from tests.tiny_trident import write_repository
from trident.model_config import CONFIG_NAME, read_repository
from trident.rollout.consistency import repository_problems


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return write_repository(tmp_path_factory.mktemp("consistency") / "models")


@pytest.fixture
def repository(whole, tmp_path):
    return shutil.copytree(whole, tmp_path / "models")


def replaced(repository, model, old, new):
    """Change a configuration, and give what is then wrong."""
    file = repository / model / CONFIG_NAME
    text = file.read_text()
    assert old in text, f"{old!r} is not in {file}"
    file.write_text(text.replace(old, new, 1))
    return repository_problems(repository, read_repository(repository))


def mapped(side, name, tensor):
    return f'{side}_map {{ key: "{name}" value: "{tensor}" }}'


def parameter(name, value):
    return f'"{name}" value {{ string_value: "{value}" }}'


def test_a_whole_repository_has_no_problems(whole):
    assert repository_problems(whole, read_repository(whole)) == {}


@pytest.mark.parametrize(
    ("model", "old", "new", "sentence"),
    [
        pytest.param("classifier", 'name: "classifier"', 'name: "classifer"', "name: expected 'classifier'", id="name"),
        pytest.param("classifier", '"onnxruntime"', '"python"', "backend: expected 'onnxruntime'", id="backend"),
        pytest.param(
            "fusion", 'backend: "python"', 'backend: "onnxruntime"', "backend: expected 'python'", id="Python"
        ),
        pytest.param("trident", '"ensemble"', '"onnxruntime_onnx"', 'platform: expected "ensemble"', id="platform"),
        pytest.param("classifier", '"TOP_SCORES"', '"SCORES"', "outputs: expected PROBABILITIES", id="output's name"),
        pytest.param(
            "detector",
            "TYPE_UINT8 dims: [ 640",
            "TYPE_FP32 dims: [ 640",
            "input PIXELS: expected TYPE_UINT8",
            id="dtype",
        ),
        pytest.param(
            "detector", "dims: [ 100, 4 ]", "dims: [ 50, 4 ]", "BOXES: expected [100, 4], got [50, 4]", id="dims"
        ),
        pytest.param("classifier", "versions: [ 1 ]", "versions: [ 1, 7 ]", "it names version 7, but", id="no folder"),
        pytest.param(
            "classifier", "specific { versions: [ 1 ] }", "latest { num_versions: 1 }", "got latest", id="latest"
        ),
        pytest.param("fusion", "max_batch_size: 8", "max_batch_size: 4", "expected at least 8, got 4", id="batch"),
        pytest.param(
            "preprocess", "max_queue_size: 256", "max_queue_size: 0", "expected a limit on the first", id="no queue"
        ),
        pytest.param(
            "fusion",
            "dynamic_batching { }",
            "dynamic_batching { default_queue_policy { max_queue_size: 8 } }",
            "max_queue_size: expected none behind the first step",
            id="queue behind the fan-out",
        ),
        pytest.param(
            "classifier", "batch_size: 1 inputs", "batch_size: 2 inputs", "expected one with batch_size 1", id="warm-up"
        ),
        pytest.param("fusion", '"entities"', '"nobody"', "there is no file", id="warm-up's file"),
        pytest.param(
            "fusion", 'inputs { key: "TOP_SCORES"', 'inputs { key: "SCORES"', "expected inputs", id="warm-up's input"
        ),
        pytest.param(
            "classifier",
            "TYPE_UINT8 dims: [ 288, 288, 3 ] random",
            "TYPE_UINT8 dims: [ 2, 2, 3 ] random",
            "PIXELS: expected TYPE_UINT8 [288, 288, 3], got TYPE_UINT8 [2, 2, 3]",
            id="warm-up's dims",
        ),
        pytest.param(
            "trident", "model_version: 1", "model_version: 2", "model_version of preprocess: expected one", id="pin"
        ),
        pytest.param(
            "trident", 'model_name: "fusion"', 'model_name: "fusing"', "steps: expected preprocess", id="step"
        ),
        pytest.param(
            "trident",
            mapped("input", "PIXELS", "SCENE_PIXELS"),
            mapped("input", "PIXELS", "NOTHING"),
            "classifier.PIXELS reads NOTHING: no step gives it",
            id="nobody gives",
        ),
        pytest.param(
            "trident",
            mapped("input", "PIXELS", "SCENE_PIXELS"),
            mapped("input", "PIXELS", "CANVAS_PIXELS"),
            "expected TYPE_UINT8 [288, 288, 3], got TYPE_UINT8 [640, 640, 3] from preprocess.CANVAS_PIXELS",
            id="crossed",
        ),
        pytest.param(
            "trident",
            mapped("output", "TOP_SCORES", "TOP_SCORES"),
            mapped("output", "TOP_SCORES", "LOST"),
            "tensor LOST: classifier.TOP_SCORES gives it and nobody reads it",
            id="nobody reads",
        ),
        pytest.param(
            "trident",
            mapped("output", "TOP_CLASSES", "TOP_CLASSES"),
            mapped("output", "TOP_CLASSES", "TOP_SCORES"),
            "tensor TOP_SCORES: expected one producer",
            id="two producers",
        ),
        pytest.param(
            "trident",
            mapped("input", "ENTITIES", "ENTITIES"),
            "",
            "input_map of fusion: expected",
            id="unfed",
        ),
        pytest.param(
            "entity_recognizer",
            parameter("max_crops_per_call", 64),
            parameter("max_crops_per_call", 65),
            "parameter max_crops_per_call: expected 64, the max_batch_size of face_embedder, got '65'",
            id="crops",
        ),
    ],
)
def test_what_breaks_a_rule_is_named(repository, model, old, new, sentence):
    problems = replaced(repository, model, old, new)
    assert any(sentence in problem for problem in problems[model]), problems


def test_a_network_that_a_served_recognizer_calls_is_served(repository):
    file = repository / "entity_recognizer" / "1" / "networks.json"
    file.write_text(file.read_text().replace('"plate_reader": {"version": 1}', '"plate_reader": {"version": 2}'))
    (problem,) = repository_problems(repository, read_repository(repository))["entity_recognizer"]
    assert problem == (
        "entity_recognizer 1: version of plate_reader: expected one that plate_reader/config.pbtxt names (1), got 2"
    )


def test_a_model_that_is_missing_is_named(repository):
    shutil.rmtree(repository / "detector")
    problems = repository_problems(repository, read_repository(repository))
    assert "expected a folder with a config.pbtxt" in problems["detector"][0]
