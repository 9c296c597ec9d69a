"""Hands what ``trident.metrics`` gathers to Triton, which shows it beside its own on its metrics port.

Each value that Triton is told crosses to its process and waits there for an answer, with Python's lock held. A request
therefore only adds to numbers in memory; a thread hands them on every two seconds.

Triton's metrics are never given back, on purpose. Its registry keeps one number for all that bear the same name and
labels, across processes, but each process counts its own references to it (release 24.10): when the first of two
instances, or the older of two versions, gives a metric back, the number goes, and the other one writes to freed memory.
Kept, the number belongs to the server: counters go on across versions and reloads, and none is counted twice. What that
leaves behind in the server is a few hundred bytes for each series and load.
"""

from __future__ import annotations

import ctypes
import logging
import threading
from collections.abc import Callable
from typing import Any

from trident.metrics import Kind, MetricSpec, Series, Tally

HANDED_ON_EVERY_S = 2.0
"""Seconds; metrics are usually collected every 15."""
_JOIN_S = 10.0


class Meter:
    """The metrics of one instance of a Python model.

    Args:
        utils: ``triton_python_backend_utils``, as the model imports it. Where it knows no metrics, as outside of a
            server, nothing is handed on.
        look: Called before values are handed on, for gauges that are looked at rather than counted. It has to be quick
            and to raise nothing.
        every_s: How often values are handed on, in seconds.
        logger: Is told if Triton takes no metrics.
    """

    def __init__(
        self,
        utils: Any,
        *,
        look: Callable[[Tally], None] = lambda _: None,
        every_s: float = HANDED_ON_EVERY_S,
        logger: logging.Logger | None = None,
    ) -> None:
        self.tally = Tally()
        self._utils = utils
        self._look = look
        self._every_s = every_s
        self._logger = logger or logging.getLogger(__name__)
        self._families: dict[str, Any] = {}
        self._series: dict[Series, Any] = {}
        self._shown: dict[Series, float] = {}
        self._works = getattr(utils, "MetricFamily", None) is not None
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Hand on what is known, and go on with it from a thread. For ``initialize``."""
        self._hand_on()
        if self._works:
            self._thread = threading.Thread(target=self._run, name="metrics", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """Hand on the rest, and end the thread. For ``finalize``: afterwards Triton listens no more."""
        self._ended.set()
        if self._thread is not None:
            self._thread.join(_JOIN_S)
            if self._thread.is_alive():  # it waits for a server that does not answer: so would this
                return
        self._hand_on()

    def _run(self) -> None:
        while not self._ended.wait(self._every_s):
            self._hand_on()

    def _hand_on(self) -> None:
        if not self._works:
            return
        self._look(self.tally)
        try:
            for series, value in self.tally.take().items():
                self._show(series, value)
        except self._utils.TritonModelException as exc:
            self._works = False
            self._logger.warning("the server takes no metrics of this model, it goes on without: %s", exc)

    def _show(self, series: Series, value: float) -> None:
        spec, labels = series
        metric = self._series.get(series)
        if metric is None:
            metric = self._series[series] = self._made(spec, labels)
        if spec.kind is Kind.GAUGE:
            if self._shown.get(series) != value:
                metric.set(value)
                self._shown[series] = value
        elif value:
            metric.increment(value)

    def _made(self, spec: MetricSpec, labels: tuple[str, ...]) -> Any:
        family = self._families.get(spec.name)
        if family is None:
            kinds = self._utils.MetricFamily
            kind = kinds.GAUGE if spec.kind is Kind.GAUGE else kinds.COUNTER
            family = self._families[spec.name] = self._utils.MetricFamily(
                name=spec.name, description=spec.help, kind=kind
            )
            _keep_for_good(family)
        metric = family.Metric(labels=dict(zip(spec.labels, labels, strict=True)))
        _keep_for_good(metric)
        return metric


def _keep_for_good(thing: object) -> None:
    """Take a reference that is never given back, also not when the interpreter ends: see the module's docstring."""
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(thing))
