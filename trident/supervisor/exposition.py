"""What the launcher tells Prometheus: the metrics of ``trident.metrics.SUPERVISION``, and those of its own process.

Triton cannot count how often it was started again, so these stand beside its metrics, on the port of the health
endpoint. They are made of the status when somebody asks, and go on while there is no server. Counters start at 0 with
the launcher.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric

from trident.metrics import (
    LAUNCHER_LIVE,
    MODEL_REVIVALS,
    SERVER_FAILED_STARTS,
    SERVER_READY,
    SERVER_RESTARTS,
    SHARED_MEMORY_FREE,
    SUPERVISION,
    Kind,
    Series,
)

_encode, CONTENT_TYPE = choose_encoder("")  # the plain text format, which every Prometheus reads
_FAMILIES: dict[Kind, type[CounterMetricFamily] | type[GaugeMetricFamily]] = {
    Kind.COUNTER: CounterMetricFamily,
    Kind.GAUGE: GaugeMetricFamily,
}
_MEBI = 1 << 20


class Exposition:
    """Prometheus' view of the supervision. May be asked from any thread.

    Args:
        status: ``Supervisor.status``; with ``Health.status``, which knows less, what it does not know is left out.
    """

    def __init__(self, status: Callable[[], Mapping[str, Any]]) -> None:
        self._status = status
        self._models: frozenset[str] = frozenset()
        self._registry = CollectorRegistry()
        self._registry.register(self)
        ProcessCollector(registry=self._registry)

    def text(self) -> bytes:
        """All metrics in Prometheus' text format, of the type ``CONTENT_TYPE``."""
        return _encode(self._registry)

    def collect(self) -> Iterable[Metric]:
        """The metrics of the supervision as they are now. Called by the registry."""
        families = {
            spec: _FAMILIES[spec.kind](name, spec.help, labels=spec.labels) for name, spec in SUPERVISION.items()
        }
        for (spec, labels), value in self._series(self._status()).items():
            families[spec].add_metric(labels, value)
        return [family for family in families.values() if family.samples]

    def _series(self, status: Mapping[str, Any]) -> dict[Series, float]:
        series: dict[Series, float] = {
            (SERVER_READY, ()): status["ready"],
            (SERVER_RESTARTS, ()): status["restarts"],
            (SERVER_FAILED_STARTS, ()): status["failed_starts"],
            (LAUNCHER_LIVE, ()): status["live"],
        }
        revivals = status["revivals"]
        # A counter that appears with 1 has not grown, for Prometheus: each model that has had a process begins at 0.
        self._models |= {*revivals, *(process["model"] for process in status.get("processes", ()))}
        series |= {(MODEL_REVIVALS, (model,)): revivals.get(model, 0) for model in sorted(self._models)}
        free = status.get("shared_memory_free_mib")
        if free is not None:
            series[SHARED_MEMORY_FREE, ()] = free * _MEBI
        return series
