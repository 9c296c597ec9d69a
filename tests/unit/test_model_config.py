"""Model configurations as typed objects."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.tiny_models import write_repository
from trident.errors import SetupError
from trident.model_config import (
    bls_pins,
    ensemble_pins,
    network_files,
    parse_config,
    pinned_versions,
    read_config,
    read_repository,
    served_versions,
    string_parameters,
)

ENSEMBLE = """
name: "whole" platform: "ensemble"
ensemble_scheduling { step [
  { model_name: "caller" model_version: 2 input_map { key: "A" value: "B" } },
  { model_name: "linear" model_version: -1 }
] }
"""
CALLER = """
name: "caller"
version_policy { specific { versions: [ 2, 3 ] } }
parameters { key: "reader_version" value { string_value: "7" } }
parameters { key: "threshold" value { string_value: "0.5" } }
"""


def test_pins_of_an_ensemble_and_of_what_its_steps_call() -> None:
    configs = {name: parse_config(text) for name, text in (("whole", ENSEMBLE), ("caller", CALLER), ("linear", ""))}

    assert ensemble_pins(configs["whole"]) == {"caller": 2, "linear": -1}
    assert bls_pins(configs["caller"]) == {"reader": 7}
    assert pinned_versions(configs, "whole") == {"caller": 2, "linear": -1, "reader": 7}
    assert served_versions(configs["caller"]) == (2, 3)
    assert string_parameters(configs["caller"])["threshold"] == "0.5"


def test_a_pin_that_is_no_number_is_refused() -> None:
    with pytest.raises(SetupError, match=r"^caller: parameter reader_version: expected a model version, got 'newest'$"):
        bls_pins(parse_config(CALLER.replace('"7"', '"newest"')))


def test_a_step_without_a_model_is_refused() -> None:
    with pytest.raises(SetupError, match=r"^whole has a step 'caller' that is not in the repository$"):
        pinned_versions({"whole": parse_config(ENSEMBLE)}, "whole")


def test_an_unknown_ensemble_is_refused() -> None:
    with pytest.raises(SetupError, match=r"^there is no model 'hole'; the repository holds whole$"):
        pinned_versions({"whole": parse_config(ENSEMBLE)}, "hole")


def test_no_version_policy_names_no_versions() -> None:
    assert served_versions(parse_config("version_policy { latest { num_versions: 1 } }")) == ()


def test_files_that_a_repository_needs(tmp_path: Path) -> None:
    repository = write_repository(tmp_path)
    files = list(network_files(repository, read_repository(repository)))
    assert files == [("linear", 1, repository / "linear" / "1" / "model.onnx")]
    assert read_config(repository / "linear") == read_config(repository / "linear" / "config.pbtxt")


def test_a_missing_file_is_said(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match=r"^cannot read .*config\.pbtxt: No such file or directory$"):
        read_config(tmp_path / "config.pbtxt")
