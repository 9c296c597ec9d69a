"""Where the time of a request goes: ``python -m benchmarks.time_spent --help``.

Triton counts, for each model, how long requests waited and were worked on, and its traces say when. Both are read over
a run, held against each other, and added up to what the caller has waited. A twin of the ensemble that computes nothing
shows what serving alone costs.
"""
