"""Triton's side of a canary: the Python model that stands in for the ensemble while a share goes to the candidate.

Not imported: ``trident.rollout.canary`` hands this file's text to the server. It only translates; who answers is
decided in ``trident.rollout.routing``. Answers leave by response senders, so ``execute`` does not wait for them.
"""

from __future__ import annotations

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import triton_python_backend_utils as pb_utils

from trident.contract import ENSEMBLE, MODELS, STICKY
from trident.errors import SetupError
from trident.rollout import error_codes, routing
from trident.rollout.agreement import COMPARED_OUTPUTS, disagreement
from trident.rollout.canary_record import WatchWriter
from trident.rollout.routing import Answer, Routing, Served, Settings
from trident.rollout.split import sticky_key

CODES = ("UNKNOWN", "INTERNAL", "NOT_FOUND", "INVALID_ARG", "UNAVAILABLE", "UNSUPPORTED", "ALREADY_EXISTS", "CANCELLED")
LOGGED_FAILURES = 20


class Call:
    """One request, with all that is passed on. Tensors are taken out while Triton holds the request."""

    def __init__(self, request: Any) -> None:
        self.inputs = {
            spec.name: pb_utils.get_input_tensor_by_name(request, spec.name).as_numpy()
            for spec in MODELS[ENSEMBLE].inputs
        }
        self.outputs = list(request.requested_output_names())
        self.request_id = request.request_id()
        self.correlation_id = request.correlation_id()
        self.flags = request.flags()
        self.timeout = request.timeout()
        self.trace = request.trace()
        self.parameters = json.loads(request.parameters() or "{}")
        self.is_cancelled = request.is_cancelled

    def key(self) -> bytes:
        """What keeps it on one side."""
        return sticky_key(self.parameters.get(STICKY), self.correlation_id, self.inputs["IMAGE"].reshape(-1))

    def to(self, model: str, outputs: list[str]) -> Any:
        """The same request, of another model."""
        return pb_utils.InferenceRequest(
            model_name=model,
            requested_output_names=outputs,
            inputs=[pb_utils.Tensor(name, array) for name, array in self.inputs.items()],
            request_id=self.request_id,
            correlation_id=self.correlation_id,
            flags=self.flags,
            timeout=self.timeout,
            trace=self.trace,
            preferred_memory=pb_utils.PreferredMemory(pb_utils.TRITONSERVER_MEMORY_CPU),
            # What else a parameter can be, a call between models cannot carry.
            parameters={name: value for name, value in self.parameters.items() if isinstance(value, bool | int | str)},
        )


class TritonPythonModel:
    """Every request gets exactly one final response, whatever happens to it."""

    def initialize(self, args: dict[str, str]) -> None:
        """Start the threads and the record."""
        parameters = json.loads(args["model_config"])["parameters"]
        try:
            self._settings = Settings.from_parameters(
                {name: value["string_value"] for name, value in parameters.items()}
            )
        except SetupError as error:
            raise pb_utils.TritonModelException(str(error)) from error
        # Not earlier: the server's side of this module is not there yet while the file is read.
        self._names = {getattr(pb_utils.TritonError, name): name for name in CODES}
        self._in_flight = 0
        self._logged = 0
        self._lock = threading.Lock()
        self._slots = threading.BoundedSemaphore(self._settings.concurrency)
        self._watch = WatchWriter(
            self._settings.watch_file,
            self._settings.run,
            in_flight=lambda: self._in_flight,
            complain=pb_utils.Logger.log_warn,
        )
        self._routing = Routing(self._settings, self._watch.note)
        self._workers = ThreadPoolExecutor(self._settings.concurrency, thread_name_prefix="router")

    def execute(self, requests: list[Any]) -> None:
        """Take requests over; they are answered later, by other threads."""
        for request in requests:
            # Waits where all workers are busy: the rest stays in Triton's queue, which has a limit and keeps the order.
            self._slots.acquire()
            self._workers.submit(self._respond, Call(request), request.get_response_sender())

    def finalize(self) -> None:
        """Wait for what is in flight."""
        self._workers.shutdown(wait=True)
        self._routing.close()
        self._watch.close()

    def _respond(self, call: Call, sender: Any) -> None:
        with self._lock:
            self._in_flight += 1
        served = None
        try:
            served = self._routing.answer(call.key(), partial(self._ask, call))
            response = self._to_response(served.answer, call.outputs)
        except Exception as error:  # noqa: BLE001 - without a response the caller would wait for ever
            response = _failure(error_codes.INTERNAL, f"canary: {error!r}")
        try:
            sender.send(response, flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)
            if served is not None:
                self._note(served, call)
        finally:
            with self._lock:
                self._in_flight -= 1
            self._slots.release()

    def _ask(self, call: Call, model: str, compare: bool) -> Answer:
        if call.is_cancelled():
            return Answer(error_codes.CANCELLED, "the request was cancelled")
        outputs = [*call.outputs, *(name for name in COMPARED_OUTPUTS if compare and name not in call.outputs)]
        try:
            response = call.to(model, outputs).exec()
        except pb_utils.TritonModelException as error:
            return self._failed(model, error_codes.INTERNAL, str(error))
        if response.has_error():
            failure = response.error()
            return self._failed(model, self._names.get(failure.code(), "UNKNOWN"), failure.message())
        return Answer(error_codes.OK, content=response.output_tensors())

    def _failed(self, model: str, code: str, message: str) -> Answer:
        code = error_codes.code_of(message, code)
        if model == self._settings.candidate and code not in routing.CALLERS_FAULT:
            self._log(message)
        # The caller asked the ensemble, and need not know of others.
        return Answer(code, message.replace(f"'{model}'", f"'{ENSEMBLE}'"))

    def _log(self, message: str) -> None:
        # The watch file holds numbers only; why the candidate failed is for the server's log.
        with self._lock:
            self._logged += 1
            if self._logged > LOGGED_FAILURES:
                return
        pb_utils.Logger.log_warn(f"canary: the candidate: {message}")

    def _to_response(self, answer: Answer, outputs: list[str]) -> Any:
        if not answer.good:
            return _failure(answer.code, answer.message)
        return pb_utils.InferenceResponse([tensor for tensor in answer.content if tensor.name() in outputs])

    def _note(self, served: Served, call: Call) -> None:
        compared: dict[str, float] = {}
        try:
            if served.compare:
                stable = call.to(self._settings.stable, list(COMPARED_OUTPUTS)).exec()
                if not stable.has_error():
                    compared = disagreement(_arrays(stable.output_tensors()), _arrays(served.answer.content))
        except Exception as error:  # noqa: BLE001 - the caller has its answer; what fails here is only the comparison
            self._log(f"its answer cannot be compared: {error!r}")
        finally:
            if served.compare:
                self._routing.compared()
            self._watch.note(served.line(compared))


def _arrays(tensors: list[Any]) -> dict[str, Any]:
    return {tensor.name(): tensor.as_numpy() for tensor in tensors if tensor.name() in COMPARED_OUTPUTS}


def _failure(code: str, message: str) -> Any:
    return pb_utils.InferenceResponse(error=pb_utils.TritonError(message, getattr(pb_utils.TritonError, code)))
