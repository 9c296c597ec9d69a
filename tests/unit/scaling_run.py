"""A run of the scaling benchmark that was never made, whose figures are known."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.answers import Latency
from benchmarks.scaling.run import Run, Settings, Visit
from benchmarks.scaling.setups import AS_SERVED, Layout, Setup
from benchmarks.scaling.traffic import Sizes
from benchmarks.scaling.variants import Places
from benchmarks.scaling.windows import Window
from benchmarks.time_spent.counters import Counters
from benchmarks.time_spent.processor import SERVER
from trident.contract import COMPONENTS, ENSEMBLE, RECOGNIZER

COMPONENT_S = {
    "preprocess": 0.09,
    "classifier": 0.016,
    "detector": 0.06,
    "entity_recognizer": 0.01,
    "fusion": 0.003,
    "face_detector": 0.08,
    "face_embedder": 0.005,
    "plate_detector": 0.07,
    "plate_reader": 0.024,
    SERVER: 0.007,
}
"""Processor time of an answer, by component and of Triton itself."""
RATE = 1 / sum(COMPONENT_S.values())
"""Answers a second of one core."""
PLACES = {name: Places(2 if name in ("preprocess", RECOGNIZER) else 1, 1) for name in COMPONENTS}
CALLS = {"plate_detector": 2.0, "face_embedder": 0.5}
"""Of an answer, where that is not one."""
MEMORY_MB = 100.0
"""Of each component, and of Triton itself."""
SETUPS = (
    Setup(1),
    Setup(2),
    Setup(2, variant="2 threads in each network"),
    Setup(2, 2, Layout.SHARED),
    Setup(2, 2),
)
FACTS = {
    "command": ".venv/bin/python -m benchmarks.scaling",
    "commit": "c" * 40,
    "date": "2026-01-02T03:04:05+00:00",
    "machine": {"processor": "A CPU", "cores": 2},
    "load_average": [0.1, 0.2, 0.3],
}


def a_window(cores: int, *, servers: int = 1, seconds: float = 100.0) -> Window:
    """Every core is busy all the time."""
    answered = round(cores * RATE * seconds)
    by_server = [answered // servers] * servers
    by_server[0] += answered - sum(by_server)
    return Window(
        seconds=seconds,
        callers=8,
        by_server=tuple(by_server),
        failed={},
        latency=Latency(answered, 100.0, 150.0, 180.0, 200.0, 300.0),
        processor_s={name: one * answered for name, one in COMPONENT_S.items()},
        counters={
            name: Counters(
                requests=round(answered * CALLS.get(name, 1.0)),
                executions=round(answered * CALLS.get(name, 1.0)),
                infer_ns=round(1e9 * COMPONENT_S.get(name, 0.2) * answered),
            )
            for name in (*COMPONENTS, ENSEMBLE)
        },
        generator_s=0.3,
        others_cores=0.01,
    )


def a_visit(setup: Setup, number: int) -> Visit:
    """One setup in one round."""
    return Visit(
        setup=setup,
        round=number,
        start_s=12.0,
        one=a_window(1, seconds=10.0),
        saturated=a_window(setup.cores, servers=setup.servers),
        memory_mb=dict.fromkeys(COMPONENT_S, MEMORY_MB * setup.servers),
        shared_memory_mb=11.0,
        held=True,
    )


def a_run(setups: Sequence[Setup] = SETUPS) -> Run:
    """Two rounds of everything."""
    run = Run(
        settings=Settings(),
        setups=setups,
        cpus=list(range(64)),
        cores_of_their_own=64,
        pictures={"a.jpg": 100_000, "b.jpg": 300_000},
        places={AS_SERVED: PLACES},
    )
    run.visits = [a_visit(setup, number) for number in range(2) for setup in setups]
    run.sizes = Sizes(200_100.0, 1500.0)
    run.seconds = 600.0
    return run
