"""For all tests."""

import signal
import sys
from collections.abc import Iterator

import pytest
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


@pytest.fixture
def ended_by_hangup() -> Iterator[None]:
    """What the test starts is ended by SIGHUP, also where the tests run under ``nohup`` and it would ignore it."""
    # A handler, since a new program takes over what is ignored and not what is handled; and the tests outlive it.
    before = signal.signal(signal.SIGHUP, lambda number, frame: None)
    yield
    signal.signal(signal.SIGHUP, before)
