"""Triton's traces: when each model was asked, worked and was through, for every single request.

The file is a JSON list (Triton's user guide, "Triton Server Trace"): an entry with ``model_name`` for each request to a
model, with the ``parent_id`` of the ensemble's request that it belongs to, and one entry for each moment.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tritonclient.grpc import InferenceServerClient

from trident.contract import ENSEMBLE
from trident.errors import SetupError

_MOMENTS = (
    "REQUEST_START",
    "QUEUE_START",
    "COMPUTE_START",
    "COMPUTE_INPUT_END",
    "COMPUTE_OUTPUT_START",
    "COMPUTE_END",
    "REQUEST_END",
)


@dataclass(frozen=True, slots=True)
class Span:
    """One request to one model. Moments in nanoseconds of the clock that ``time.monotonic_ns`` reads."""

    begin: int
    queue: int
    compute: int
    input_end: int
    output: int
    compute_end: int
    end: int

    @property
    def parts(self) -> dict[str, tuple[int, int]]:
        """Begin and end of what it waited for and of what was done, by the names that ``Counters`` uses."""
        return {
            "queue": (self.queue, self.compute),
            "input": (self.compute, self.input_end),
            "infer": (self.input_end, self.output),
            "output": (self.output, self.compute_end),
        }


@dataclass(frozen=True, slots=True)
class Traced:
    """One request to the ensemble."""

    begin: int
    end: int
    steps: Mapping[str, Span]
    """What it asked of each of its steps, by model."""

    @property
    def whole(self) -> int:
        """Nanoseconds from its begin to its end."""
        return self.end - self.begin


def server_arguments(file: Path) -> tuple[str, ...]:
    """What ``tritonserver`` is to be started with, for traces to go to ``file``: none yet, and then every request."""
    return (f"--trace-config=triton,file={file}", "--trace-config=rate=1")


def switch(client: InferenceServerClient, *, on: bool) -> None:
    """Begin to trace every request, or end it."""
    client.update_trace_settings(settings={"trace_level": ["TIMESTAMPS" if on else "OFF"]})


def read_traces(file: Path) -> list[Traced]:
    """All requests to the ensemble in a server's trace file, in the order in which they began.

    The server writes it when it ends.

    Raises:
        SetupError: There is no such file, or it holds something else.
    """
    try:
        entries = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise SetupError(f"{file}: the server has written no traces ({error.strerror or error})") from None
    except ValueError as error:
        raise SetupError(f"{file}: expected the traces of a server that has ended, got no JSON: {error}") from None
    try:
        return traced(entries)
    except (KeyError, TypeError, AttributeError) as error:
        raise SetupError(f"{file}: expected Triton's traces, got something else: {error!r}") from None


def traced(entries: Iterable[Mapping[str, Any]]) -> list[Traced]:
    """The requests to the ensemble among the entries of a trace file.

    Raises:
        KeyError: One lacks a moment.
    """
    about: dict[int, Mapping[str, Any]] = {}
    moments: dict[int, dict[str, int]] = defaultdict(dict)
    for entry in entries:
        if "model_name" in entry:
            about[entry["id"]] = entry
        for moment in entry.get("timestamps", ()):
            moments[entry["id"]][moment["name"]] = int(moment["ns"])
    steps: dict[int, dict[str, Span]] = defaultdict(dict)
    for number, entry in about.items():
        if "parent_id" in entry:
            steps[entry["parent_id"]][entry["model_name"]] = Span(*(moments[number][name] for name in _MOMENTS))
    found = [
        Traced(moments[number][_MOMENTS[0]], moments[number][_MOMENTS[-1]], steps[number])
        for number, entry in about.items()
        if entry["model_name"] == ENSEMBLE and "parent_id" not in entry
    ]
    return sorted(found, key=lambda one: one.begin)
