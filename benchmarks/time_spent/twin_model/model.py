"""The code of every model of the twin: takes the tensors that its configuration names, and answers with constants.

What it does for each request is what serving costs whatever a model computes: it looks at every input, and hands over
outputs of the right names, types and dims. ``benchmarks.time_spent.twin`` writes the configuration.
"""

from __future__ import annotations

import asyncio
import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils

PARALLEL_CALLS = 32
"""Threads that wait for other models, as many as the entity recognizer has."""


class TritonPythonModel:
    """One instance of one model of the twin."""

    def initialize(self, args: dict[str, str]) -> None:
        config = json.loads(args["model_config"])
        parameters = {name: value["string_value"] for name, value in config.get("parameters", {}).items()}
        texts = json.loads(parameters.get("texts", "{}"))
        dims = json.loads(parameters.get("dims", "{}"))
        self._ways = json.loads(parameters.get("ways", "[]"))
        self._inputs = [tensor["name"] for tensor in config["input"]]
        self._rows: dict[str, Any] = {}
        for tensor in config["output"]:
            name, kind = tensor["name"], pb_utils.triton_string_to_numpy(tensor["data_type"])
            shape = [int(size) for size in dims.get(name, tensor["dims"])]
            row = np.zeros(shape, kind)
            if name in texts:
                row[...] = texts[name].encode()
            self._rows[name] = row
        self._outputs: dict[int, dict[str, Any]] = {}
        # As the entity recognizer has them: one loop for the model's whole life, and threads that wait for answers.
        self._loop = asyncio.new_event_loop()
        self._loop.set_default_executor(ThreadPoolExecutor(PARALLEL_CALLS, thread_name_prefix="bls"))

    def execute(self, requests: list[Any]) -> list[Any]:
        if self._ways:
            return self._loop.run_until_complete(self._answer_all(requests))
        return [self._response(len(next(iter(self._seen(request).values())))) for request in requests]

    def finalize(self) -> None:
        self._loop.run_until_complete(self._loop.shutdown_default_executor())
        self._loop.close()

    def _seen(self, request: Any) -> dict[str, Any]:
        """Every input as an array, the batch first."""
        return {name: pb_utils.get_input_tensor_by_name(request, name).as_numpy() for name in self._inputs}

    def _response(self, count: int) -> Any:
        if count not in self._outputs:
            self._outputs[count] = {name: np.stack([row] * count) for name, row in self._rows.items()}
        return pb_utils.InferenceResponse(
            [pb_utils.Tensor(name, array) for name, array in self._outputs[count].items()]
        )

    async def _answer_all(self, requests: list[Any]) -> list[Any]:
        return list(await asyncio.gather(*map(self._answer, requests)))

    async def _answer(self, request: Any) -> Any:
        tensors = self._seen(request)
        count = len(next(iter(tensors.values())))
        await asyncio.gather(*(self._go(way, request, tensors, count) for way in self._ways))
        return self._response(count)

    async def _go(self, way: list[dict[str, Any]], request: Any, tensors: dict[str, Any], count: int) -> None:
        """Call one model after the other, each with an input of this request where it takes one, else with zeros."""
        for call in way:
            # As large as they are in the recognizer: the whole canvas, or one crop of each picture.
            array = tensors[call["of"]] if call["of"] else np.zeros((count, *call["dims"]), np.uint8)
            response = await pb_utils.InferenceRequest(
                model_name=call["model"],
                model_version=call["version"],
                requested_output_names=call["outputs"],
                inputs=[pb_utils.Tensor(call["input"], np.ascontiguousarray(array))],
                request_id=request.request_id(),
                timeout=request.timeout(),
                preferred_memory=pb_utils.PreferredMemory(pb_utils.TRITONSERVER_MEMORY_CPU),
            ).async_exec()
            if response.has_error():
                raise RuntimeError(response.error().message())
            for tensor in response.output_tensors():
                tensor.as_numpy().copy()
