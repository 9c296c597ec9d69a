"""How good the served answers are, on labelled pictures; run as ``python -m benchmarks.quality``."""
