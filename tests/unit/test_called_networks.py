"""The networks that a version of the entity recognizer calls."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trident.contract import CALLED, RECOGNIZER
from trident.entities.called_networks import NETWORKS_FILE, Networks, read_networks
from trident.errors import SetupError
from trident.layout import DEFAULT_REPOSITORY

GOOD = {name: {"version": 1} for name in CALLED} | {"face_embedder": {"version": 2, "identity_threshold": 0.6}}


def test_values_are_typed() -> None:
    networks = Networks.parse(json.dumps(GOOD))
    assert networks.versions == dict.fromkeys(CALLED, 1) | {"face_embedder": 2}
    assert networks.identity_threshold == 0.6


def test_the_projects_own_is_written_as_code_writes_it() -> None:
    folder = DEFAULT_REPOSITORY / RECOGNIZER / "1"
    assert read_networks(folder).to_text() == (folder / NETWORKS_FILE).read_text()


@given(st.lists(st.integers(1, 2**31 - 1), min_size=4, max_size=4), st.floats(0, 1))
def test_what_is_written_is_read_as_it_was(versions: list[int], threshold: float) -> None:
    networks = Networks(dict(zip(CALLED, versions, strict=True)), threshold)
    assert Networks.parse(networks.to_text()) == networks


@pytest.mark.parametrize(
    ("change", "message"),
    [
        pytest.param(
            {"plate_reader": {"version": 0}}, "plate_reader.version: expected a whole number .*, got 0", id="0"
        ),
        pytest.param({"plate_reader": {"version": "1"}}, "plate_reader.version: .*, got '1'", id="text"),
        pytest.param({"plate_reader": {"version": True}}, "plate_reader.version: .*, got True", id="bool"),
        pytest.param({"plate_reader": {"version": 2**31}}, "plate_reader.version: .*, got 2147483648", id="huge"),
        pytest.param({"plate_reader": 1}, "plate_reader: expected an object with version, got int", id="no object"),
        pytest.param(
            {"plate_reader": {"version": 1, "identity_threshold": 0.5}},
            "plate_reader: expected the fields version, got version, identity_threshold",
            id="a threshold where none belongs",
        ),
        pytest.param(
            {"face_embedder": {"version": 1}},
            "face_embedder: expected the fields version, identity_threshold, got version",
            id="no threshold",
        ),
        pytest.param(
            {"face_embedder": {"version": 1, "identity_threshold": float("nan")}},
            "face_embedder.identity_threshold: expected a number from 0 to 1, got nan",
            id="not a number",
        ),
        pytest.param(
            {"face_embedder": {"version": 1, "identity_threshold": 61}},
            "face_embedder.identity_threshold: expected a number from 0 to 1, got 61",
            id="percent",
        ),
        pytest.param({"fusion": {"version": 1}}, "expected the fields face_detector, .*, got .*fusion", id="another"),
    ],
)
def test_wrong_values_are_refused(tmp_path: Path, change: dict[str, object], message: str) -> None:
    (tmp_path / NETWORKS_FILE).write_text(json.dumps(GOOD | change))
    with pytest.raises(SetupError, match=rf"^{tmp_path}/{NETWORKS_FILE}: {message}"):
        read_networks(tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        pytest.param(b"{", "expected JSON, got something else", id="cut off"),
        pytest.param(b"[]", "expected an object with face_detector, .*, got list", id="a list"),
        pytest.param(b"{}", "expected the fields face_detector, .*, got none", id="empty"),
        pytest.param(b"\xff", "expected JSON in UTF-8, got other bytes", id="other bytes"),
        pytest.param(b"[" * 100_000, "expected JSON, got something else", id="deep"),
    ],
)
def test_what_is_not_it_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / NETWORKS_FILE).write_bytes(content)
    with pytest.raises(SetupError, match=message):
        read_networks(tmp_path)


def test_a_missing_file_is_said(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match=r"networks\.json: cannot be read \(No such file or directory\)"):
        read_networks(tmp_path)
