"""The onnxruntime backend for a Triton that has no native one: a Python-based backend.

Triton finds this file as ``<backend directory>/onnxruntime/model.py`` and runs it for every model with
``backend: "onnxruntime"``. What it does is in ``trident.onnx_backend``; here tensors are only handed over.
"""

from __future__ import annotations

from trident.background import WarmUp, give_way, import_at_low_priority

import_at_low_priority("trident.onnx_backend")

import json
import os
from pathlib import Path
from typing import Any

import onnxruntime
import triton_python_backend_utils as pb_utils

from trident import onnx_backend
from trident.onnx_backend import ConfigError, Network, Request, RunError, open_network


class TritonPythonModel:
    """One instance of one version of a network."""

    @staticmethod
    def auto_complete_config(auto_complete_model_config: Any) -> Any:
        """Fill in inputs, outputs and batching from the ONNX file, where the configuration has none."""
        config = auto_complete_model_config.as_dict()
        if config.get("input") and config.get("output"):
            return auto_complete_model_config
        # Triton hands over the configuration alone; its stub process knows the file's path from its command line.
        folder = Path(os.fsdecode(Path("/proc/self/cmdline").read_bytes().split(b"\0")[1])).parent
        session = onnxruntime.InferenceSession(
            str(onnx_backend.model_file(config, folder)), providers=["CPUExecutionProvider"]
        )
        completion = onnx_backend.complete_config(config, onnx_backend.read_signature(session))
        if completion is not None:
            auto_complete_model_config.set_max_batch_size(completion.max_batch_size)
            for tensor in completion.inputs:
                auto_complete_model_config.add_input(tensor)
            for tensor in completion.outputs:
                auto_complete_model_config.add_output(tensor)
            if completion.max_batch_size > 1:
                auto_complete_model_config.set_dynamic_batching()
        return auto_complete_model_config

    def initialize(self, args: dict[str, str]) -> None:
        config = json.loads(args["model_config"])
        try:
            plan = onnx_backend.plan_session(
                config,
                kind=args["model_instance_kind"],
                device_id=int(args["model_instance_device_id"]),
                available=onnxruntime.get_available_providers(),
            )
            file = onnx_backend.model_file(config, Path(args["model_repository"]) / args["model_version"])
            self._network: Network | None = open_network(file, config, plan)
        except ConfigError as exc:
            raise pb_utils.TritonModelException(str(exc)) from exc
        for warning in plan.warnings:
            pb_utils.Logger.log_warn(f"{args['model_instance_name']}: {warning}")
        self._warm_up = WarmUp(config if plan.single_threaded else {})
        self._inputs = [tensor["name"] for tensor in config["input"]]
        self._codes = {
            "INVALID_ARG": pb_utils.TritonError.INVALID_ARG,
            "NOT_FOUND": pb_utils.TritonError.NOT_FOUND,
            "UNSUPPORTED": pb_utils.TritonError.UNSUPPORTED,
            "INTERNAL": pb_utils.TritonError.INTERNAL,
        }

    def execute(self, requests: list[Any]) -> list[Any]:
        network = self._network
        assert network is not None  # noqa: S101 - Triton executes between initialize and finalize
        decoded = [self._decoded(request) for request in requests]
        return [self._response(answer) for answer in self._warm_up.run(lambda: network.answer(decoded))]

    def finalize(self) -> None:
        give_way()
        self._network = None

    def _decoded(self, request: Any) -> Request:
        tensors = ((name, pb_utils.get_input_tensor_by_name(request, name)) for name in self._inputs)
        inputs = {name: tensor.as_numpy() for name, tensor in tensors if tensor is not None}
        return Request(inputs, tuple(request.requested_output_names()))

    def _response(self, answer: dict[str, Any] | RunError) -> Any:
        if isinstance(answer, RunError):
            return pb_utils.InferenceResponse([], pb_utils.TritonError(str(answer), self._codes[answer.code]))
        return pb_utils.InferenceResponse([pb_utils.Tensor(name, value) for name, value in answer.items()])
