import copy
import json
from pathlib import Path

import pytest

from trident.errors import SetupError
from trident.fusion.policy import load_policy, parse_policy

SERVED = Path(__file__).parents[2] / "model_repository" / "fusion" / "1" / "policy.json"


@pytest.fixture
def content():
    return json.loads(SERVED.read_text(encoding="utf-8"))


def changed(content, path, value):
    content = copy.deepcopy(content)
    *way, last = path.split(".")
    table = content
    for key in way:
        table = table[key]
    if value is ...:
        del table[last]
    else:
        table[last] = value
    return content


def test_served_policy_is_valid():
    policy = load_policy(SERVED)
    assert policy.weights.detector == 1.0
    assert 0 < policy.weights.classifier < 1


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        pytest.param("schema", 2, "schema: expected 1, got 2", id="other schema"),
        pytest.param("weights.detector", ..., "weights: .*missing detector", id="missing weight"),
        pytest.param("weights.oracle", 1.0, "weights: .*unknown oracle", id="unknown weight"),
        pytest.param("weights.detector", "much", "weights.detector: expected a number, got 'much'", id="text"),
        pytest.param("weights.detector", True, "weights.detector: expected a number", id="bool is no number"),
        pytest.param("weights.detector", float("nan"), "weights.detector: expected a number", id="nan"),
        pytest.param("weights.detector", -0.1, "weights.detector: expected 0 to 1", id="negative"),
        pytest.param("weights", [1, 2], "weights: expected an object, got list", id="list"),
        pytest.param("assignment", ..., "policy: .*missing assignment", id="missing section"),
        pytest.param("assignment.face.x", 3, "assignment.face.x: expected 0 to 1, got 3", id="deep"),
        pytest.param("assignment.plate.spread", 0, "assignment.plate.spread: expected above 0", id="no spread"),
        pytest.param("rescoring.classifier", 1, "rescoring.classifier: expected below 1", id="lift to certainty"),
        pytest.param(
            "weights", {"classifier": 0, "detector": 0, "entities": 1}, "weights: expected the class", id="all zero"
        ),
    ],
)
def test_refuses(content, path, value, message):
    with pytest.raises(ValueError, match=message):
        parse_policy(changed(content, path, value))


def test_provenance_of_the_numbers_is_not_read(content):
    assert parse_policy({**content, "fit": ["anything"], "about": 3}) == parse_policy(content)


def test_file_errors_name_the_file(tmp_path, content):
    missing = tmp_path / "policy.json"
    with pytest.raises(SetupError, match=f"{missing}: no such file"):
        load_policy(missing)
    missing.write_text("{", encoding="utf-8")
    with pytest.raises(SetupError, match=r"policy\.json: cannot be read as JSON"):
        load_policy(missing)
    missing.write_text(json.dumps(changed(content, "weights.detector", 7)), encoding="utf-8")
    with pytest.raises(SetupError, match=r"policy\.json: weights\.detector: expected 0 to 1, got 7"):
        load_policy(missing)
