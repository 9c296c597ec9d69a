"""The same network under another number."""

import json

import numpy as np
import onnx
import pytest

from export.restamp import restamp, write_restamped
from export.session import open_session
from tests.tiny_models import linear_network
from tests.tiny_trident import write_network
from trident.errors import SetupError
from trident.layout import MODEL_FILE, RECORD_FILE
from trident.provenance import unpack

PIXELS = np.zeros((2, 48, 320, 3), np.uint8)


@pytest.fixture
def component_folder(tmp_path):
    write_network(tmp_path, "plate_reader", 1)
    return tmp_path / "plate_reader"


def answered(folder):
    session = open_session(folder / MODEL_FILE)
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, {"PIXELS": PIXELS}), strict=True))


def test_only_the_version_in_its_answers_changes(component_folder):
    folder = write_restamped(component_folder, 1, 7)
    old, new = answered(component_folder / "1"), answered(folder)
    was, now = (unpack(one.pop("PROVENANCE")[1]) for one in (old, new))
    assert (was.version, now.version) == (1, 7)
    assert was.digest == now.digest
    for name, values in old.items():
        np.testing.assert_array_equal(values, new[name])


def test_the_record_is_of_the_new_file_and_claims_no_build(component_folder):
    record = json.loads((component_folder / "1" / RECORD_FILE).read_text()) | {"recipe": "abc", "classes": "letters"}
    (component_folder / "1" / RECORD_FILE).write_text(json.dumps(record))
    folder = write_restamped(component_folder, 1, 7)
    written = json.loads((folder / RECORD_FILE).read_text())
    assert (written["component"], written["version"]) == ("plate_reader", 7)
    assert written["digest"] == record["digest"]
    assert written["classes"] == "letters"
    assert written["bytes"] == (folder / MODEL_FILE).stat().st_size
    assert written["restamp_of"]["sha256"] == record["sha256"] != written["sha256"]
    assert "recipe" not in written


def test_the_model_that_is_given_stays_as_it_is(component_folder):
    model = onnx.load(component_folder / "1" / MODEL_FILE)
    before = model.SerializeToString(deterministic=True)
    restamp(model, 2)
    assert model.SerializeToString(deterministic=True) == before


def test_a_network_without_provenance_is_refused():
    with pytest.raises(SetupError, match="no constant provenance_row"):
        restamp(linear_network(), 2)


@pytest.mark.parametrize("version", [0, -1, 2**31])
def test_a_number_that_is_no_version_is_refused(component_folder, version):
    with pytest.raises(ValueError, match="version: expected 1 to 2147483647"):
        restamp(onnx.load(component_folder / "1" / MODEL_FILE), version)


def test_a_source_that_is_not_there_is_named(component_folder):
    with pytest.raises(SetupError, match=r"4/model\.onnx: expected an exported network"):
        write_restamped(component_folder, 4, 5)
