"""Networks are held against the record of their export before anything loads them."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import onnx
import onnxruntime
import pytest
from click.testing import CliRunner

from tests.tiny_models import linear_network
from trident import onnx_backend
from trident.commands.verify import verify
from trident.contract import COMPONENTS, NETWORKS
from trident.errors import SetupError
from trident.launcher import TritonServer
from trident.launcher.verified import check_networks, survey
from trident.layout import DEFAULT_REPOSITORY, MODEL_FILE, RECORD_FILE
from trident.onnx_backend import ConfigError, open_network, plan_session
from trident.verification import UNVERIFIED_VARIABLE, Standing, check_network, is_unverified

CONTENT = b"a network, as far as its hash is concerned"


def write(folder: Path, content: bytes = CONTENT, **changes: Any) -> Path:
    """Write a network and its record into the folder of its version; give the network's file."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / MODEL_FILE
    file.write_bytes(content)
    digest = hashlib.sha256(content).hexdigest()
    record = {
        "component": folder.parent.name,
        "version": int(folder.name),
        "name": "SomeNet",
        "digest": f"sha256:{digest}",
        "sha256": digest,
        "bytes": len(content),
        "recipe": "0" * 64,
    }
    (folder / RECORD_FILE).write_text(json.dumps(record | changes))
    return file


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return write(tmp_path / "classifier" / "2")


class TestOneNetwork:
    def test_one_that_is_what_its_record_says_may_be_loaded(self, file: Path) -> None:
        assert check_network("classifier", 2, file) is Standing.FITS

    def test_one_changed_bit_is_refused_with_file_expected_got_and_advice(self, file: Path) -> None:
        changed = bytearray(CONTENT)
        changed[7] ^= 1
        file.write_bytes(changed)
        expected, got = (hashlib.sha256(content).hexdigest() for content in (CONTENT, changed))
        with pytest.raises(SetupError) as caught:
            check_network("classifier", 2, file)
        assert str(caught.value) == (
            f"classifier 2: SHA-256 of {file}: expected {expected}, its record's, got {got}: it was changed or damaged "
            "after its export; write it again: `python -m export classifier=2`"
        )

    @pytest.mark.parametrize(
        ("changes", "words"),
        [
            pytest.param({"bytes": 7}, "expected 7 bytes, its record's, got 42: it is cut off", id="another size"),
            pytest.param({"component": "detector"}, "expected classifier, got 'detector': the folder", id="component"),
            pytest.param({"version": 1}, "version: expected 2, got 1: the folder was copied", id="version"),
            pytest.param({"digest": "md5:1"}, "digest: expected sha256:<64 hexadecimal digits>", id="digest"),
            pytest.param({"sha256": None}, "expected None, its record's, got", id="no hash"),
        ],
    )
    def test_a_record_of_something_else_is_refused(self, file: Path, changes: dict[str, Any], words: str) -> None:
        write(file.parent, **changes)
        with pytest.raises(SetupError, match=words) as caught:
            check_network("classifier", 2, file)
        assert "write it again: " in str(caught.value)

    @pytest.mark.parametrize("unverified", [False, True])
    def test_a_record_that_cannot_be_read_is_refused(self, file: Path, unverified: bool) -> None:
        (file.parent / RECORD_FILE).write_text("{")
        with pytest.raises(SetupError, match=r"^classifier 2: .*expected a JSON object, .*write it again: "):
            check_network("classifier", 2, file, unverified=unverified)

    def test_without_a_record_it_is_refused_unless_that_is_allowed(self, file: Path) -> None:
        (file.parent / RECORD_FILE).unlink()
        with pytest.raises(SetupError, match=r"expected the record .*got none; .*or `python -m export\.own cl"):
            check_network("classifier", 2, file)
        assert check_network("classifier", 2, file, unverified=True) is Standing.UNRECORDED

    def test_one_that_was_changed_is_refused_also_where_records_may_lack(self, file: Path) -> None:
        file.write_bytes(CONTENT[::-1])
        with pytest.raises(SetupError, match="SHA-256"):
            check_network("classifier", 2, file, unverified=True)

    def test_a_network_of_ones_own_is_to_be_brought_in_again(self, file: Path) -> None:
        write(file.parent, recipe=None, own={"file": "my.onnx"}, bytes=1)
        with pytest.raises(SetupError, match=r"write it again: `python -m export\.own classifier 2 … --replace`$"):
            check_network("classifier", 2, file)

    def test_models_that_are_no_components_have_no_record(self, tmp_path: Path) -> None:
        assert check_network("linear", 1, tmp_path / MODEL_FILE) is Standing.FOREIGN

    def test_the_environment_allows_it_with_1_alone(self) -> None:
        assert is_unverified({UNVERIFIED_VARIABLE: "1"})
        assert not is_unverified({UNVERIFIED_VARIABLE: "0"})
        assert not is_unverified({})


class TestBackend:
    """The stand-in looks at the file that it opens, whatever was looked at before."""

    CONFIG: Any = {  # noqa: RUF012 - not changed
        "name": "classifier",
        "max_batch_size": 8,
        "input": [{"name": "X", "data_type": "TYPE_FP32", "dims": [4]}],
        "output": [{"name": "Y", "data_type": "TYPE_FP32", "dims": [3]}],
    }

    @pytest.fixture
    def network(self, tmp_path: Path) -> Path:
        onnx.save(linear_network(), tmp_path / "linear.onnx")
        return write(tmp_path / "classifier" / "1", (tmp_path / "linear.onnx").read_bytes())

    def opened(self, file: Path) -> tuple[onnx_backend.Network, list[str]]:
        plan = plan_session(self.CONFIG, kind="CPU", device_id=0, available=["CPUExecutionProvider"])
        return open_network(file, self.CONFIG, plan), plan.warnings

    def test_what_fits_is_opened(self, network: Path) -> None:
        opened, warnings = self.opened(network)
        assert opened.providers == ["CPUExecutionProvider"]
        assert warnings == []

    def test_what_was_changed_never_reaches_onnxruntime(self, network: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        content = bytearray(network.read_bytes())
        content[-1] ^= 1
        network.write_bytes(content)

        def reached(*_: object, **__: object) -> None:
            pytest.fail("it was opened")

        monkeypatch.setattr(onnxruntime, "InferenceSession", reached)
        with pytest.raises(ConfigError, match=r"^classifier 1: SHA-256 of .*/classifier/1/model\.onnx: expected "):
            self.opened(network)

    def test_without_a_record_the_servers_environment_decides(
        self, network: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (network.parent / RECORD_FILE).unlink()
        monkeypatch.delenv(UNVERIFIED_VARIABLE, raising=False)
        with pytest.raises(ConfigError, match="expected the record"):
            self.opened(network)
        monkeypatch.setenv(UNVERIFIED_VARIABLE, "1")
        _, warnings = self.opened(network)
        assert [one.startswith("classifier 1 is loaded unverified: ") for one in warnings] == [True]


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """The project's configurations, with networks that are hashed and never opened."""
    ignored = shutil.ignore_patterns("model.onnx", "model.json", "__pycache__", "*.md", "*.jsonl", ".*", "warmup", "2")
    folder = tmp_path / "models"
    shutil.copytree(DEFAULT_REPOSITORY, folder, ignore=ignored)
    for name in NETWORKS:
        write(folder / name / "1", name.encode())
    return folder


class TestRepository:
    def test_one_that_is_whole_has_nothing_to_say(self, repository: Path) -> None:
        assert check_networks(repository) == []

    def test_a_server_is_not_started_on_a_changed_network(
        self, repository: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (repository / "plate_reader" / "1" / MODEL_FILE).write_bytes(b"plate_READER")
        monkeypatch.setattr("trident.launcher.installation.find_installation", lambda _: pytest.fail("it was started"))
        with pytest.raises(SetupError, match=r"^plate_reader 1: SHA-256 of "):
            TritonServer(repository, grpc_port=0, http_port=0, metrics_port=0).start()

    def test_versions_that_are_not_served_are_not_looked_at(self, repository: Path) -> None:
        write(repository / "classifier" / "2", sha256="0")
        assert check_networks(repository) == []

    def test_what_is_loaded_unverified_is_named(self, repository: Path) -> None:
        (repository / "detector" / "1" / RECORD_FILE).unlink()
        with pytest.raises(SetupError, match=r"^detector 1: "):
            check_networks(repository)
        foreign = repository / "linear"
        foreign.mkdir()
        (foreign / "config.pbtxt").write_text(
            'name: "linear" backend: "onnxruntime" version_policy { specific { versions: [ 1 ] } }'
        )
        detector, linear = check_networks(repository, unverified=True)
        assert detector.startswith("detector 1 is loaded unverified: ")
        assert linear == "linear 1 is loaded unverified: no component of Trident, it has no record"

    def test_all_versions_are_surveyed(self, repository: Path) -> None:
        write(repository / "classifier" / "2", sha256="0")
        found = list(survey(repository))
        assert {one.component for one in found} == set(COMPONENTS)
        assert [(one.component, one.version) for one in found if one.problem] == [("classifier", 2)]
        assert all(one.digest.startswith("sha256:") for one in found if not one.problem)


class TestCommand:
    @pytest.fixture(autouse=True)
    def _wide(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("COLUMNS", "200")

    def test_it_lists_what_fits(self, repository: Path) -> None:
        result = CliRunner().invoke(verify, ["--model-repository", str(repository)])
        assert result.exit_code == 0, result.output
        assert result.output.count("SomeNet") == len(NETWORKS)
        assert result.output.count("code, in no record") == len(COMPONENTS) - len(NETWORKS)

    def test_it_fails_for_what_does_not(self, repository: Path) -> None:
        (repository / "detector" / "1" / MODEL_FILE).write_bytes(b"DETECTOR")
        result = CliRunner().invoke(verify, ["--model-repository", str(repository)])
        assert result.exit_code == 1
        assert "detector 1: SHA-256 of " in result.output
        assert "1 of the versions above may not be loaded" in result.output

    def test_a_folder_that_is_not_there_is_said(self, tmp_path: Path) -> None:
        result = CliRunner().invoke(verify, ["--model-repository", str(tmp_path / "nowhere")])
        assert isinstance(result.exception, SetupError)
