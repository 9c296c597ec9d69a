"""Triton's own statistics: how many requests each model has answered, and how long they waited and were worked on."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import astuple, dataclass
from typing import Any

from tritonclient.grpc import InferenceServerClient

from trident.contract import ENSEMBLE
from trident.errors import SetupError

_COUNTED_WITHIN_S = 5.0
_LOOK_S = 0.02
_NS_PER_MS = 1e6


@dataclass(frozen=True, slots=True)
class Counters:
    """Of one model, all its versions together. Durations are sums over its requests, in nanoseconds."""

    requests: int = 0
    """Answered."""
    failed: int = 0
    pictures: int = 0
    """A request carries one or several."""
    executions: int = 0
    """Calls of the model; several requests may go through in one."""
    whole_ns: int = 0
    """From the moment at which the model was asked to the moment at which Triton was through with the request."""
    queue_ns: int = 0
    """Waiting for an instance of the model."""
    input_ns: int = 0
    """Handing the inputs over, for a Python model by way of shared memory."""
    infer_ns: int = 0
    """Working; of the entity recognizer, with the networks that it waits for."""
    output_ns: int = 0
    """Handing the outputs over, and sending the response on."""

    def __add__(self, other: Counters) -> Counters:
        return Counters(*(mine + its for mine, its in zip(astuple(self), astuple(other), strict=True)))

    def __sub__(self, before: Counters) -> Counters:
        return Counters(*(mine - its for mine, its in zip(astuple(self), astuple(before), strict=True)))

    @property
    def rest_ns(self) -> int:
        """What is neither waiting nor work: before the queue, and between the last response and the end."""
        return self.whole_ns - self.queue_ns - self.input_ns - self.infer_ns - self.output_ns

    def mean_ms(self, part: str) -> float:
        """Milliseconds a request; ``part`` is ``whole``, ``queue``, ``input``, ``infer``, ``output`` or ``rest``."""
        return float(getattr(self, f"{part}_ns")) / self.requests / _NS_PER_MS if self.requests else 0.0


def counters_of(response: Any) -> dict[str, Counters]:
    """The counters of each model in a ``ModelStatisticsResponse``."""
    found: dict[str, Counters] = {}
    for model in response.model_stats:
        spent = model.inference_stats
        counters = Counters(
            requests=spent.success.count,
            failed=spent.fail.count,
            pictures=model.inference_count,
            executions=model.execution_count,
            whole_ns=spent.success.ns,
            queue_ns=spent.queue.ns,
            input_ns=spent.compute_input.ns,
            infer_ns=spent.compute_infer.ns,
            output_ns=spent.compute_output.ns,
        )
        found[model.name] = found.get(model.name, Counters()) + counters
    return found


def read_counters(client: InferenceServerClient) -> dict[str, Counters]:
    """The counters of each model since the server's start."""
    return counters_of(client.get_inference_statistics())


def counted_since(
    client: InferenceServerClient, before: Mapping[str, Counters], requests: int, *, within_s: float = _COUNTED_WITHIN_S
) -> dict[str, Counters]:
    """What has been counted since ``before``, once the ensemble's last request is among it.

    A request is counted when Triton has released it, which is a little after its caller has been answered.

    Args:
        client: Of the server.
        before: Of the same server.
        requests: How many the ensemble has been sent since.
        within_s: How long to wait for the last one.

    Raises:
        SetupError: Another number has been counted: somebody else asks this server, or something failed.
    """
    deadline = time.monotonic() + within_s
    while True:
        now = read_counters(client)
        counted = {name: counters - before.get(name, Counters()) for name, counters in now.items()}
        ensemble = counted.get(ENSEMBLE, Counters())
        if ensemble.requests == requests:
            return counted
        if ensemble.requests > requests or time.monotonic() > deadline:
            raise SetupError(
                f"Triton's statistics: expected {requests} more requests to {ENSEMBLE}, got {ensemble.requests} and "
                f"{ensemble.failed} failed: nobody else may ask the server while it is measured"
            )
        time.sleep(_LOOK_S)
