"""Admission at the first step: which requests go on, and which are refused at once. No Triton in here.

Behind the first step no queue may have a limit, since a full one wedges the ensemble, and Triton 2.51 has no limit for
an ensemble as a whole. So preprocess asks its own server how many requests wait for the models behind it, and lets one
in only while these can be answered in time at the pace at which they are being answered::

    callers ──► Triton's queue ──► preprocess: [gate] ──► classifier, detector, entity recognizer … fusion
                number, time                   │          a queue before each, of max_wait_s seconds of work at most
                                          UNAVAILABLE

endpoint: where the server tells how many requests wait   gauges: what it tells   gate: what follows from it
"""

from __future__ import annotations

from trident.admission.endpoint import Endpoint, MetricsUnreadable
from trident.admission.gate import Gate, Overloaded, Settings
from trident.admission.gauges import Sample, parse
from trident.admission.of_server import gate_of_server

__all__ = ["Endpoint", "Gate", "MetricsUnreadable", "Overloaded", "Sample", "Settings", "gate_of_server", "parse"]
