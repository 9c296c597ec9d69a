"""The stand-in for the onnxruntime backend, without Triton."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import onnx
import onnxruntime
import pytest

from tests.tiny_models import WEIGHTS, linear_network, table_network
from trident import onnx_backend
from trident.onnx_backend import (
    CPU,
    CUDA,
    OPENVINO,
    TENSORRT,
    ConfigError,
    Network,
    Request,
    RunError,
    Signature,
    Tensor,
    check_signature,
    complete_config,
    group_requests,
    model_file,
    open_network,
    plan_session,
)

LEVEL = onnxruntime.GraphOptimizationLevel

SIGNATURE = Signature(
    (Tensor("X", "TYPE_FP32", (-1, 4)),),
    (Tensor("Y", "TYPE_FP32", (-1, 3)), Tensor("TOTAL", "TYPE_FP32", (-1, 1))),
)


def io(name: str, dims: list[int], data_type: str = "TYPE_FP32") -> dict[str, Any]:
    return {"name": name, "data_type": data_type, "dims": dims}


def config(**changes: Any) -> dict[str, Any]:
    return {"max_batch_size": 8, "input": [io("X", [4])], "output": [io("Y", [3]), io("TOTAL", [1])], **changes}


def parameters(**values: str) -> dict[str, Any]:
    return config(parameters={key.replace("__", "."): {"string_value": value} for key, value in values.items()})


def plan(configuration: dict[str, Any], kind: str = "CPU", available: tuple[str, ...] = (CPU,)) -> Any:
    return plan_session(configuration, kind=kind, device_id=1, available=available)


def accelerated(role: str, name: str, **values: str) -> dict[str, Any]:
    return config(
        optimization={
            "execution_accelerators": {f"{role}_execution_accelerator": [{"name": name, "parameters": values}]}
        }
    )


@pytest.fixture
def network(tmp_path: Path) -> Network:
    return opened(tmp_path, config())


def opened(folder: Path, configuration: dict[str, Any], model: onnx.ModelProto | None = None) -> Network:
    onnx.save(model or linear_network(), folder / "model.onnx")
    return Network(folder / "model.onnx", configuration, plan(configuration))


def rows(count: int, start: float = 0.0) -> np.ndarray[Any, Any]:
    return np.arange(count * 4, dtype=np.float32).reshape(count, 4) + np.float32(start)


class TestSessionOptions:
    @pytest.mark.parametrize(
        ("level", "expected"),
        [
            pytest.param(-1, LEVEL.ORT_ENABLE_BASIC, id="-1 is basic"),
            pytest.param(1, LEVEL.ORT_ENABLE_EXTENDED, id="1 is extended"),
            pytest.param(2, LEVEL.ORT_DISABLE_ALL, id="2 is none"),
            pytest.param(0, LEVEL.ORT_ENABLE_ALL, id="0 is all"),
            pytest.param("1", LEVEL.ORT_ENABLE_EXTENDED, id="as JSON writes 64-bit numbers"),
        ],
    )
    def test_graph_level_means_what_the_native_backend_means(self, level: Any, expected: Any) -> None:
        assert plan(config(optimization={"graph": {"level": level}})).options.graph_optimization_level == expected

    def test_without_any_parameter_all_optimizations_run_and_no_thread_spins(self) -> None:
        options = plan(config()).options
        assert options.graph_optimization_level == LEVEL.ORT_ENABLE_ALL
        assert options.execution_mode == onnxruntime.ExecutionMode.ORT_SEQUENTIAL
        assert (options.intra_op_num_threads, options.inter_op_num_threads) == (0, 0)
        assert options.get_session_config_entry("session.intra_op.allow_spinning") == "0"

    def test_parameters_are_honoured(self) -> None:
        made = plan(
            parameters(
                intra_op_thread_count="3",
                inter_op_thread_count="2",
                execution_mode="1",
                enable_mem_arena="0",
                enable_mem_pattern="false",
                session__intra_op__allow_spinning="1",
                session__set_denormal_as_zero="1",
                memory__enable_memory_arena_shrinkage="cpu:0",
            )
        )
        options = made.options
        assert (options.intra_op_num_threads, options.inter_op_num_threads) == (3, 2)
        assert options.execution_mode == onnxruntime.ExecutionMode.ORT_PARALLEL
        assert not options.enable_cpu_mem_arena
        assert not options.enable_mem_pattern
        assert options.get_session_config_entry("session.intra_op.allow_spinning") == "1"
        assert options.get_session_config_entry("session.set_denormal_as_zero") == "1"
        assert made.run_entries == {"memory.enable_memory_arena_shrinkage": "cpu:0"}

    @pytest.mark.parametrize(
        ("key", "value", "sentence"),
        [
            ("intra_op_thread_count", "many", "intra_op_thread_count: expected a whole number, got 'many'"),
            ("execution_mode", "2", r"execution_mode: expected 0 \(sequential\) or 1 \(parallel\), got 2"),
            ("enable_mem_arena", "maybe", "enable_mem_arena: expected 1, true, 0 or false, got 'maybe'"),
        ],
    )
    def test_a_value_that_makes_no_sense_is_refused(self, key: str, value: str, sentence: str) -> None:
        with pytest.raises(ConfigError, match=sentence):
            plan(parameters(**{key: value}))


class TestProviders:
    def test_openvino_is_used_where_onnxruntime_offers_it(self) -> None:
        made = plan(accelerated("cpu", "openvino", precision="FP32"), available=(OPENVINO, CPU))
        assert made.providers == [(OPENVINO, {"device_type": "CPU", "precision": "FP32"}), (CPU, {})]

    @pytest.mark.parametrize("name", ["openvino", "abacus"])
    def test_an_accelerator_that_is_not_there_is_refused(self, name: str) -> None:
        with pytest.raises(ConfigError, match=f"unknown Execution Accelerator '{name}' is requested"):
            plan(accelerated("cpu", name))

    def test_a_gpu_instance_runs_on_its_gpu(self) -> None:
        assert plan(config(), "GPU", (CUDA, CPU)).providers == [(CUDA, {"device_id": "1"}), (CPU, {})]

    def test_a_gpu_instance_without_cuda_runs_on_the_cpu_and_says_so(self) -> None:
        made = plan(config(), "GPU")
        assert made.providers == [(CPU, {})]
        assert made.warnings == ["this onnxruntime has no CUDA provider: the network runs on the CPU"]

    def test_tensorrt_s_options_have_onnxruntime_s_names(self) -> None:
        configuration = accelerated("gpu", "tensorrt", precision_mode="FP16", max_workspace_size_bytes="1024")
        made = plan(configuration, "GPU", (TENSORRT, CUDA, CPU))
        assert made.providers[0] == (
            TENSORRT,
            {"device_id": "1", "trt_fp16_enable": "1", "trt_max_workspace_size": "1024"},
        )

    def test_gpu_accelerators_are_nothing_to_a_cpu_instance(self) -> None:
        assert plan(accelerated("gpu", "tensorrt")).providers == [(CPU, {})]


class TestThreads:
    ONE: ClassVar[dict[str, str]] = {"intra_op_thread_count": "1"}

    @pytest.mark.parametrize(
        ("made", "single"),
        [
            pytest.param(plan(parameters(**ONE)), True, id="one thread"),
            pytest.param(plan(config()), False, id="as many as there are cores"),
            pytest.param(plan(parameters(intra_op_thread_count="2")), False, id="two threads"),
            pytest.param(plan(parameters(**ONE, execution_mode="1")), False, id="branches side by side"),
            pytest.param(plan(parameters(**ONE), "GPU", (CUDA, CPU)), False, id="CUDA has threads of its own"),
        ],
    )
    def test_only_a_session_that_starts_none_is_opened_at_low_priority(
        self, made: Any, single: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        assert made.single_threaded is single
        seen: list[str] = []

        class Opened:
            def __init__(self, *_: object) -> None:
                seen.append(threading.current_thread().name)

        monkeypatch.setattr(onnx_backend, "Network", Opened)
        open_network(tmp_path, config(), made)
        assert (seen == ["low-priority"]) is single

    def test_a_network_that_cannot_be_opened_says_so_as_ever(self, tmp_path: Path) -> None:
        (tmp_path / "model.onnx").write_bytes(b"not a network")
        with pytest.raises(ConfigError, match=r"model\.onnx"):
            open_network(tmp_path / "model.onnx", config(), plan(parameters(**self.ONE)))


class TestModelFile:
    def test_is_the_configured_one_or_model_onnx(self, tmp_path: Path) -> None:
        (tmp_path / "model.onnx").touch()
        (tmp_path / "other.onnx").touch()
        assert model_file({}, tmp_path).name == "model.onnx"
        assert model_file({"default_model_filename": "other.onnx"}, tmp_path).name == "other.onnx"

    def test_may_stand_in_a_folder_of_that_name(self, tmp_path: Path) -> None:
        (tmp_path / "model.onnx").mkdir()
        (tmp_path / "model.onnx" / "model.onnx").touch()
        assert model_file({}, tmp_path) == tmp_path / "model.onnx" / "model.onnx"

    def test_missing_is_said(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match=r"there is no file .*model\.onnx: run `make export`"):
            model_file({}, tmp_path)


class TestSignature:
    def test_a_fitting_configuration_passes(self) -> None:
        check_signature(config(), SIGNATURE)

    def test_fewer_outputs_than_the_network_has_pass(self) -> None:
        check_signature(config(output=[io("Y", [3])]), SIGNATURE)

    @pytest.mark.parametrize(
        ("changes", "sentence"),
        [
            pytest.param({"input": []}, "input X of the network is not in the configuration", id="input left out"),
            pytest.param({"input": [io("X", [4]), io("Z", [1])]}, "input Z: the network has X", id="input too many"),
            pytest.param({"output": [io("Z", [3])]}, "output Z: the network has Y, TOTAL", id="unknown output"),
            pytest.param(
                {"input": [io("X", [4], "TYPE_UINT8")]}, "input X: expected TYPE_UINT8, .* TYPE_FP32", id="dtype"
            ),
            pytest.param(
                {"input": [io("X", [5])]}, r"input X: expected shape \[-1, 5\], .* \[-1, 4\]", id="other dims"
            ),
            pytest.param({"input": [io("X", [4, 1])]}, r"expected shape \[-1, 4, 1\]", id="other rank"),
            pytest.param({"output": [io("Y", [-1])]}, r"output Y: expected shape \[-1, -1\]", id="open output dim"),
            pytest.param({"max_batch_size": 0}, r"expected shape \[4\], the network has \[-1, 4\]", id="no batching"),
        ],
    )
    def test_one_that_does_not_fit_is_refused(self, changes: dict[str, Any], sentence: str) -> None:
        with pytest.raises(ConfigError, match=sentence):
            check_signature(config(**changes), SIGNATURE)

    def test_a_fixed_batch_dimension_cannot_batch(self) -> None:
        fixed = Signature((Tensor("X", "TYPE_FP32", (1, 4)),), SIGNATURE.outputs)
        with pytest.raises(ConfigError, match=r"input X: expected a first dimension that is not fixed, got \[1, 4\]"):
            check_signature(config(), fixed)

    def test_a_network_that_is_no_network_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "model.onnx").write_bytes(b"not a network")
        with pytest.raises(ConfigError, match=r"model\.onnx"):
            Network(tmp_path / "model.onnx", config(), plan(config()))


class TestAutoComplete:
    def test_a_bare_configuration_is_filled_in(self) -> None:
        completion = complete_config({}, SIGNATURE)
        assert completion is not None
        assert completion.max_batch_size == 4
        assert completion.inputs == (io("X", [4]),)
        assert completion.outputs == (io("Y", [3]), io("TOTAL", [1]))

    def test_a_configured_batch_size_stays(self) -> None:
        completion = complete_config({"max_batch_size": 16}, SIGNATURE)
        assert completion is not None
        assert completion.max_batch_size == 16

    def test_a_network_that_cannot_batch_keeps_all_its_dims(self) -> None:
        fixed = Signature((Tensor("X", "TYPE_FP32", (1, 4)),), (Tensor("Y", "TYPE_FP32", (1, 3)),))
        completion = complete_config({}, fixed)
        assert completion is not None
        assert completion.max_batch_size == 0
        assert completion.inputs == (io("X", [1, 4]),)

    def test_a_full_configuration_is_left_alone(self) -> None:
        assert complete_config(config(), SIGNATURE) is None


class TestAnswers:
    def test_requests_run_as_one_batch_and_get_their_own_rows(self, network: Network) -> None:
        asked = [Request({"X": rows(n, n)}, ("Y", "TOTAL")) for n in (1, 3, 2)]

        for request, answer in zip(asked, network.answer(asked), strict=True):
            assert not isinstance(answer, RunError)
            assert np.allclose(answer["Y"], request.inputs["X"] @ WEIGHTS)
            assert np.allclose(answer["TOTAL"][:, 0], answer["Y"].sum(axis=1))

    def test_only_the_outputs_asked_for_are_given(self, network: Network) -> None:
        answers = network.answer([Request({"X": rows(1)}, ("TOTAL",)), Request({"X": rows(1)}, ("Y",))])
        assert [list(answer) for answer in answers if not isinstance(answer, RunError)] == [["TOTAL"], ["Y"]]

    def test_nan_stays_nan(self, network: Network) -> None:
        poisoned = rows(2)
        poisoned[0, 0] = np.nan
        (answer,) = network.answer([Request({"X": poisoned}, ("Y",))])
        assert not isinstance(answer, RunError)
        assert np.isnan(answer["Y"][0]).all()
        assert np.isfinite(answer["Y"][1]).all()

    def test_a_request_that_does_not_fit_fails_alone(self, network: Network) -> None:
        bad = Request({"X": np.zeros((1, 5), dtype=np.float32)}, ("Y",))
        good = Request({"X": rows(1)}, ("Y",))

        first, second, third = network.answer([good, bad, good])

        assert isinstance(second, RunError)
        assert second.code == "INVALID_ARG"
        assert "onnxruntime: " in str(second)
        for answer in (first, third):
            assert not isinstance(answer, RunError)

    def test_a_request_that_fails_inside_the_network_takes_no_other_with_it(self, tmp_path: Path) -> None:
        configuration = config(input=[io("INDEX", [1], "TYPE_INT64")], output=[io("VALUE", [1])])
        network = opened(tmp_path, configuration, table_network())
        asked = [Request({"INDEX": np.array([[index]], dtype=np.int64)}, ("VALUE",)) for index in (0, 99, 2)]

        first, second, third = network.answer(asked)

        assert isinstance(second, RunError)
        assert not isinstance(first, RunError)
        assert not isinstance(third, RunError)
        assert (first["VALUE"].item(), third["VALUE"].item()) == (10.0, 12.0)

    def test_requests_of_different_shapes_run_apart(self) -> None:
        asked = [Request({"X": np.zeros(shape, dtype=dtype)}, ()) for shape, dtype in SHAPES]
        assert group_requests(asked, batched=True) == [[0, 2], [1], [3]]
        assert group_requests(asked, batched=False) == [[0], [1], [2], [3]]


SHAPES: list[tuple[tuple[int, ...], type]] = [
    ((1, 4), np.float32),
    ((1, 5), np.float32),
    ((3, 4), np.float32),
    ((1, 4), np.uint8),
]


class TestTheFirstRun:
    """A network that fails at every run must fail while it is opened: Triton can crash over a warm-up that fails."""

    @staticmethod
    def failing() -> onnx.ModelProto:
        """A table of no rows: whatever index is asked for is out of it."""
        model = table_network()
        model.graph.initializer[0].CopyFrom(onnx.helper.make_tensor("TABLE", onnx.TensorProto.FLOAT, [0], []))
        return model

    @staticmethod
    def configuration(**changes: Any) -> dict[str, Any]:
        inputs, outputs = [io("INDEX", [1], "TYPE_INT64")], [io("VALUE", [1])]
        return config(input=inputs, output=outputs, **changes)

    def test_that_fails_is_said_at_the_load(self, tmp_path: Path) -> None:
        onnx.save(self.failing(), tmp_path / "model.onnx")
        made = self.configuration(model_warmup=[{"name": "one"}])
        with pytest.raises(ConfigError, match="fails on its first run, of zeros"):
            open_network(tmp_path / "model.onnx", made, plan(made))

    def test_is_left_out_without_a_warm_up(self, tmp_path: Path) -> None:
        onnx.save(self.failing(), tmp_path / "model.onnx")
        made = self.configuration()
        assert open_network(tmp_path / "model.onnx", made, plan(made)).providers == [CPU]

    def test_that_works_is_no_news(self, tmp_path: Path) -> None:
        onnx.save(table_network(), tmp_path / "model.onnx")
        made = self.configuration(model_warmup=[{"name": "one"}])
        assert open_network(tmp_path / "model.onnx", made, plan(made)).providers == [CPU]
