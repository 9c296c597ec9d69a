"""Overlays: what they may change, and the copy that they are merged into."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner
from google.protobuf.json_format import MessageToDict

from tests.bare_repository import write_bare
from trident import onnx_backend
from trident.contract import MODELS, NETWORKS
from trident.errors import SetupError
from trident.model_config import CONFIG_NAME, parse_config, read_config, read_repository
from trident.overlay import main, merged, overlaid, write_copy
from trident.pbtxt import with_pins, with_served_versions
from trident.rollout.consistency import repository_problems

GPU = Path(__file__).resolve().parents[2] / "deploy" / "overlays" / "gpu"

BASE = parse_config(
    """
    name: "net"
    max_batch_size: 8
    instance_group [ { kind: KIND_AUTO count: 1 }, { kind: KIND_CPU count: 3 } ]
    dynamic_batching { max_queue_delay_microseconds: 100 preserve_ordering: true }
    parameters { key: "kept" value { string_value: "a" } }
    parameters { key: "changed" value { string_value: "b" } }
    """
)


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    return write_bare(tmp_path / "repository")


def write_overlay(folder: Path, **texts: str) -> Path:
    folder.mkdir()
    for model, text in texts.items():
        (folder / f"{model}.pbtxt").write_text(text)
    return folder


class TestMerging:
    def test_a_list_is_replaced_as_a_whole(self) -> None:
        config = merged(BASE, parse_config("instance_group [ { kind: KIND_GPU count: 2 } ]"))

        assert [(group.kind, group.count) for group in config.instance_group] == [(1, 2)]

    def test_a_message_is_merged_field_by_field(self) -> None:
        config = merged(BASE, parse_config("dynamic_batching { max_queue_delay_microseconds: 500 }"))

        assert config.dynamic_batching.max_queue_delay_microseconds == 500
        assert config.dynamic_batching.preserve_ordering

    def test_a_map_is_merged_key_by_key(self) -> None:
        overlay = 'parameters { key: "changed" value { string_value: "c" } } parameters { key: "new" value { } }'
        config = merged(BASE, parse_config(overlay))

        values = {key: value.string_value for key, value in config.parameters.items()}
        assert values == {"kept": "a", "changed": "c", "new": ""}

    def test_an_empty_message_is_set(self) -> None:
        base = parse_config('name: "net"')
        assert merged(base, parse_config("dynamic_batching { }")).HasField("dynamic_batching")
        assert not base.HasField("dynamic_batching"), "what was given is not changed"

    def test_what_no_overlay_names_stays(self) -> None:
        assert merged(BASE, parse_config("")) == BASE

    @pytest.mark.parametrize(
        "text",
        [
            pytest.param('name: "other"', id="name"),
            pytest.param("max_batch_size: 4", id="batch size"),
            pytest.param('input [ { name: "X" data_type: TYPE_FP32 dims: [ 1 ] } ]', id="tensors"),
            pytest.param("version_policy { latest { } }", id="versions"),
            pytest.param('ensemble_scheduling { step [ { model_name: "a" } ] }', id="pins"),
            pytest.param("response_cache { enable: true }", id="a cache, which would outlive a swap"),
        ],
    )
    def test_what_a_model_is_cannot_be_changed(self, text: str) -> None:
        overlay = parse_config(text)
        ((descriptor, _),) = overlay.ListFields()
        with pytest.raises(SetupError, match=rf"^here: expected only .*, got {descriptor.name}: an overlay says how"):
            merged(BASE, overlay, "here")


class TestTheProjectsOverlay:
    def test_every_network_runs_on_the_gpu_and_fits_the_contract(self, repository: Path) -> None:
        changed = overlaid(repository, [GPU])

        assert set(changed) == {*NETWORKS, "entity_recognizer"}
        assert repository_problems(repository, read_repository(repository) | changed) == {}
        assert all(config.HasField("dynamic_batching") for config in changed.values())
        for name in NETWORKS:
            config = changed[name]
            assert [group.kind for group in config.instance_group] == [1], f"{name}: KIND_GPU"
            batches = [warmup.batch_size for warmup in config.model_warmup]
            assert batches == [1, config.max_batch_size], name

    @pytest.mark.parametrize("name", NETWORKS)
    def test_its_accelerator_is_one_that_the_backend_knows(self, repository: Path, name: str) -> None:
        config = MessageToDict(overlaid(repository, [GPU])[name], preserving_proto_field_name=True)

        plan = onnx_backend.plan_session(
            config, kind="GPU", device_id=0, available=[onnx_backend.CUDA, onnx_backend.CPU]
        )

        (cuda, options), (cpu, _) = plan.providers
        assert (cuda, cpu) == (onnx_backend.CUDA, onnx_backend.CPU)
        assert options == {"device_id": "0", "cudnn_conv_algo_search": "HEURISTIC"}
        assert plan.warnings == []


class TestRefused:
    def test_a_folder_without_overlays(self, repository: Path, tmp_path: Path) -> None:
        with pytest.raises(SetupError, match=r"^overlay .*missing: expected a folder with a MODEL.pbtxt in it"):
            overlaid(repository, [tmp_path / "missing"])

    def test_an_overlay_for_a_model_that_is_not_there(self, repository: Path, tmp_path: Path) -> None:
        overlay = write_overlay(tmp_path / "overlay", clasifier="dynamic_batching { }")
        with pytest.raises(SetupError, match=r"clasifier\.pbtxt: expected the name of a model \(classifier, detector"):
            overlaid(repository, [overlay])

    def test_a_misspelt_field(self, repository: Path, tmp_path: Path) -> None:
        overlay = write_overlay(tmp_path / "overlay", classifier="instance_groups [ { count: 1 } ]")
        with pytest.raises(SetupError, match=r"classifier\.pbtxt is not a valid model configuration: 1:1"):
            overlaid(repository, [overlay])

    def test_an_outcome_that_breaks_a_rule_of_the_repository(self, repository: Path, tmp_path: Path) -> None:
        limited = "dynamic_batching { default_queue_policy { max_queue_size: 8 } }"
        overlay = write_overlay(tmp_path / "overlay", detector=limited)
        with pytest.raises(SetupError, match=r"does not fit the contract: detector: max_queue_size: expected none"):
            overlaid(repository, [overlay])

    def test_a_warm_up_that_does_not_fit_the_tensors(self, repository: Path, tmp_path: Path) -> None:
        text = (GPU / "classifier.pbtxt").read_text().replace("288", "224")
        overlay = write_overlay(tmp_path / "overlay", classifier=text)
        with pytest.raises(SetupError, match=r"does not fit the contract: classifier: model_warmup 'one': PIXELS"):
            overlaid(repository, [overlay])


class TestCopy:
    def test_only_configurations_that_an_overlay_names_differ(self, repository: Path, tmp_path: Path) -> None:
        target = tmp_path / "copy"
        overlay = write_overlay(tmp_path / "overlay", detector="instance_group [ { kind: KIND_CPU count: 2 } ]")

        write_copy(repository, target, [overlay])

        assert files(target) == files(repository)
        differ = {name for name in files(target) if (target / name).read_bytes() != (repository / name).read_bytes()}
        assert differ == {f"detector/{CONFIG_NAME}"}
        assert read_config(target / "detector").instance_group[0].count == 2
        assert repository_problems(target, read_repository(target)) == {}

    def test_a_rollout_can_change_the_copy(self, repository: Path, tmp_path: Path) -> None:
        target = tmp_path / "copy"
        write_copy(repository, target, [GPU])
        text = (target / "classifier" / CONFIG_NAME).read_text()

        assert tuple(parse_config(with_served_versions(text, (1, 2))).version_policy.specific.versions) == (1, 2)
        assert with_pins((target / "trident" / CONFIG_NAME).read_text(), {"classifier": 2})

    def test_the_later_of_two_overlays_counts(self, repository: Path, tmp_path: Path) -> None:
        one = write_overlay(tmp_path / "one", detector="instance_group [ { kind: KIND_CPU count: 2 } ]")
        two = write_overlay(tmp_path / "two", detector="instance_group [ { kind: KIND_CPU count: 3 } ]")

        assert overlaid(repository, [one, two])["detector"].instance_group[0].count == 3
        assert overlaid(repository, [two, one])["detector"].instance_group[0].count == 2

    def test_traces_of_running_are_left_behind(self, repository: Path, tmp_path: Path) -> None:
        (repository / "fusion" / "1" / "__pycache__").mkdir()
        (repository / "fusion" / "1" / "__pycache__" / "model.cpython-311.pyc").touch()
        for name in ("rollouts.jsonl", ".rollouts.lock", "canary.jsonl.1"):
            (repository / name).touch()

        write_copy(repository, tmp_path / "copy")

        assert not [name for name in files(tmp_path / "copy") if "pyc" in name or "jsonl" in name or "lock" in name]

    def test_a_refused_overlay_leaves_nothing(self, repository: Path, tmp_path: Path) -> None:
        overlay = write_overlay(tmp_path / "overlay", detector="max_batch_size: 1")
        before = sorted(path.name for path in tmp_path.iterdir())
        with pytest.raises(SetupError):
            write_copy(repository, tmp_path / "copy", [overlay])

        assert sorted(path.name for path in tmp_path.iterdir()) == before

    def test_a_copy_that_breaks_off_leaves_nothing(
        self, repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def full(*_: object, **__: object) -> None:
            raise OSError(28, "No space left on device")

        before = sorted(path.name for path in tmp_path.iterdir())
        monkeypatch.setattr("trident.overlay._write_configs", full)
        with pytest.raises(SetupError, match=r"copy: cannot be written: No space left on device$"):
            write_copy(repository, tmp_path / "copy")

        assert sorted(path.name for path in tmp_path.iterdir()) == before

    def test_a_target_inside_the_repository_is_refused(self, repository: Path) -> None:
        with pytest.raises(SetupError, match=r"^target: expected a folder outside "):
            write_copy(repository, repository / "copy")


class TestCommand:
    def test_it_copies_and_says_so(self, repository: Path, tmp_path: Path) -> None:
        result = CliRunner().invoke(main, [str(repository), str(tmp_path / "copy"), "--overlay", str(GPU)])

        assert result.exit_code == 0, result.output
        assert "with overlay gpu" in result.output
        assert set(read_repository(tmp_path / "copy")) == set(MODELS)

    def test_a_target_that_is_there_is_refused_or_kept(self, repository: Path, tmp_path: Path) -> None:
        target = tmp_path / "copy"
        target.mkdir()
        (target / "mine").write_text(json.dumps("kept"))

        refused = CliRunner().invoke(main, [str(repository), str(target)])
        assert refused.exit_code == 1
        assert "exists: choose another target" in refused.output

        kept = CliRunner().invoke(main, [str(repository), str(target), "--keep"])
        assert kept.exit_code == 0
        assert files(target) == {"mine"}


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file() and path.name[0] != "."}
