"""The gate of a model, with the eyes of its own server."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from trident.admission.endpoint import Endpoint, MetricsUnreadable
from trident.admission.gate import Gate, Settings
from trident.admission.gauges import Sample, parse
from trident.contract import COMPONENTS


def gate_of_server(config: Mapping[str, Any]) -> Gate:
    """The gate of a model that was started by a Triton server, for the process that this is called in.

    Args:
        config: The model's configuration, as Triton hands it to Python. What its own queue may hold at most may wait
            behind it as well.

    Raises:
        SetupError: One of its parameters cannot be used.
    """
    parameters = {name: value["string_value"] for name, value in config.get("parameters", {}).items()}
    policy = config.get("dynamic_batching", {}).get("default_queue_policy", {})
    endpoint = Endpoint.of_parent()

    def look() -> Sample | None:
        if endpoint is None:
            raise MetricsUnreadable(
                "metrics: expected a server that serves its own, got one without: requests are refused only once the "
                "queue is full; start it with --allow-metrics=true"
            )
        return parse(endpoint.lines(), COMPONENTS)

    return Gate(Settings.from_parameters(parameters, int(policy.get("max_queue_size", 0))), look)
