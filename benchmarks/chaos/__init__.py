"""Faults at random under a steady load: ``python -m benchmarks.chaos --help``.

A server as ``trident serve`` runs it, three streams of requests, and one fault after the other: processes that are
killed, halted or hang, the same with Triton, memory that is used up, callers who leave, a rollout in between. What
became of every request is told, and during which fault.
"""
