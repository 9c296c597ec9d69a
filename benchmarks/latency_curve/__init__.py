"""Latency against offered load: ``python -m benchmarks.latency_curve --help``.

Callers that wait for their answers ask less when the server is slow, and so hide that it is. Here requests are sent at
moments that were planned beforehand, as independent callers would send them, and latency counts from those moments.
"""
