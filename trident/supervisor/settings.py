"""How patient the supervision is."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Settings:
    """All in seconds, but counts."""

    look_s: float = 0.5
    """Between two looks, where nothing wakes it."""
    question_s: float = 1.0
    """How long the server may take to answer a question."""
    probe_s: float = 5.0
    """Without a success for so long the served model is probed; 0 for never."""
    answer_s: float = 5.0
    """How long a probe may take."""
    load_s: float = 20.0
    """How long a model may take to be loaded again."""
    halted_s: float = 1.0
    """How long a process may be halted by a signal."""
    settle_s: float = 30.0
    """How long a model may take to be loaded or let go by somebody else, before it is loaded all the same."""
    let_go_s: float = 60.0
    """How long a process may finish what it has in hand after its model was loaded again; then it is killed."""
    silent_s: float = 10.0
    """How long the server may answer no question; three times that where it uses the processor meanwhile."""
    failed_probes: int = 3
    """So many probes in a row without an answer, and nobody found to be the cause: the server is started again."""
