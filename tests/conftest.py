"""For all tests."""

import sys

from hypothesis import HealthCheck, settings

import trident  # noqa: F401 - before onnxruntime, whose telemetry it switches off

# Tests import models from the model repository, where Triton takes a __pycache__ for a change of the model.
sys.dont_write_bytecode = True

# No deadlines, which a busy machine would miss; the same examples each time, so that a failure repeats. What was not
# tried yet is for `pytest --hypothesis-profile=search`.
_patient = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("repeatable", _patient, derandomize=True, database=None)
settings.register_profile("search", _patient, max_examples=2000)
settings.load_profile("repeatable")
