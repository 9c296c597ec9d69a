"""What fusion gains over its branches, as a whole and part by part; run as ``python -m benchmarks.fusion_gain``."""
