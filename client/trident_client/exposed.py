"""A server's metrics, as far as the live view of ``trident status --watch`` shows them."""

from __future__ import annotations

import http.client
import math
from urllib.parse import urlsplit

from trident.contract import ENSEMBLE
from trident_client.errors import ServerFailed, ServerUnreachable, SettingsError
from trident_client.settings import address
from trident_client.statistics import Exposed

_GRPC_PORT, _METRICS_PORT = 8001, 8002
_LARGEST = 16 << 20


def usual_url(url: str | None) -> str | None:
    """Where a server's metrics usually are; None where its gRPC port is not the usual one, and so neither may be this.

    >>> usual_url("vision.example")
    'http://vision.example:8002/metrics'
    >>> usual_url("127.0.0.1:40123") is None
    True
    """
    target = address(url).target
    host, _, port = target.removeprefix("dns:///").rpartition(":")
    if target.startswith("unix:") or port != str(_GRPC_PORT):
        return None
    return f"http://{host}:{_METRICS_PORT}/metrics"


def fetch(url: str, timeout: float) -> str:
    """The metrics as text.

    Args:
        url: ``http://host:port/metrics``, or https.
        timeout: In seconds.

    Raises:
        SettingsError: It is no such URL.
        ServerUnreachable: Nobody answers there.
        ServerFailed: The answer is none.
    """
    # Not urllib's opener: it would ask the proxy that the environment may name.
    kinds = {"http": http.client.HTTPConnection, "https": http.client.HTTPSConnection}
    try:
        parts = urlsplit(url)
        kind, host, port = kinds[parts.scheme], parts.hostname or "", parts.port
    except (KeyError, ValueError) as exc:
        raise SettingsError(f"metrics URL: expected http://host:port/metrics, got {url!r}") from exc
    connection = kind(host, port, timeout=timeout)
    try:
        connection.request("GET", parts.path or "/metrics")
        response = connection.getresponse()
        body: bytes = response.read(_LARGEST)
    except (OSError, http.client.HTTPException) as exc:
        raise ServerUnreachable(f"no metrics at {url} ({exc or type(exc).__name__})") from exc
    finally:
        connection.close()
    if response.status != http.client.OK:
        raise ServerFailed(f"no metrics at {url}: it answers {response.status} {response.reason}")
    return body.decode("utf-8", "replace")


def read(text: str, ensemble: str = ENSEMBLE) -> Exposed:
    """What is shown of metrics in Prometheus's text format. Raises ServerFailed if they are not in it."""
    from prometheus_client.parser import text_string_to_metric_families  # noqa: PLC0415 - only where metrics are shown

    values: dict[str, float] = {}
    pending: dict[str, int] = {}
    refused: dict[str, int] = {}
    quantiles: dict[str, float] = {}
    try:
        samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    except ValueError as exc:
        raise ServerFailed(f"expected metrics in Prometheus's text format, got something else ({exc})") from exc
    for sample in samples:
        labels, value = sample.labels, sample.value
        if sample.name == "nv_inference_pending_request_count":
            pending[labels["model"]] = pending.get(labels["model"], 0) + int(value)
        elif sample.name == "trident_pictures_refused_total":
            refused[labels["reason"]] = int(value)
        elif sample.name == "nv_inference_request_summary_us" and labels.get("model") == ensemble:
            if "quantile" in labels and not math.isnan(value):
                quantiles[labels["quantile"]] = value / 1e3
        elif not labels:
            values[sample.name] = value
    return Exposed(
        memory_used=values.get("nv_cpu_memory_used_bytes"),
        memory_total=values.get("nv_cpu_memory_total_bytes"),
        cpu=values.get("nv_cpu_utilization"),
        pending=pending,
        refused=refused,
        quantiles_ms=quantiles,
    )
