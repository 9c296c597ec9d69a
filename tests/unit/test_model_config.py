"""Model configurations as typed objects."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.tiny_models import write_repository
from trident.errors import SetupError
from trident.model_config import (
    ensemble_pins,
    network_files,
    parse_config,
    pinned_step,
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
parameters { key: "threshold" value { string_value: "0.5" } }
"""


def test_pins_of_an_ensemble() -> None:
    ensemble, caller = parse_config(ENSEMBLE), parse_config(CALLER)

    assert ensemble_pins(ensemble) == {"caller": 2, "linear": -1}
    assert pinned_step(ensemble, "caller") == 2
    assert served_versions(caller) == (2, 3)
    assert string_parameters(caller)["threshold"] == "0.5"


def test_a_step_that_follows_the_newest_version_pins_none() -> None:
    with pytest.raises(SetupError, match=r"^whole: step linear: expected a model_version of 1 or more, got -1$"):
        pinned_step(parse_config(ENSEMBLE), "linear")


def test_a_model_that_is_no_step_pins_none() -> None:
    with pytest.raises(SetupError, match=r"^whole has no step 'hole'; its steps are caller, linear$"):
        pinned_step(parse_config(ENSEMBLE), "hole")


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
