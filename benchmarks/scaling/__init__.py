"""How throughput grows with cores and servers, and what limits it: ``python -m benchmarks.scaling --help``.

What it measures becomes the numbers that ``python -m benchmarks.scaling.size`` sizes a service with.
"""
