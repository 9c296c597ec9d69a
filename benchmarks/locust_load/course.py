"""Locust's load shapes: the stages of ``shapes``, as locust asks for them."""

from __future__ import annotations

import time
from typing import Any

from locust import LoadTestShape, runners

from benchmarks.locust_load.shapes import Kind, stage_at, stages
from benchmarks.locust_load.state import give_up, ledger
from trident.errors import SetupError

_START_S = 180.0
"""How long it may take until the first answer: the inputs are made before."""
_SETTLE_S = 2.0
"""From the last answer to the end, so that locust's own files, which it writes every second, hold it as well."""


class StagedShape(LoadTestShape):
    """Users by stages. The clock begins when every worker has had an answer: until then the inputs are made."""

    abstract = True
    use_common_options = True
    kind: Kind

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.rewind()

    def rewind(self) -> None:
        """Begin anew."""
        self.begins: list[tuple[float, int]] = []
        """When each stage began, in seconds of the Unix clock, and with how many users."""
        self.end: float | None = None
        """When the last one ended."""
        self._empty_since: float | None = None

    def tick(self) -> tuple[int, float] | None:
        """How many users there are to be now, and how many may start in a second.

        Locust asks about once a second. None ends the load.
        """
        now, runner = time.time(), self._its_runner
        options: Any = runner.environment.parsed_options
        users, rate = options.num_users or 1, float(options.spawn_rate or 1)
        try:
            planned = stages(self.kind, users, options.run_time or self.kind.usual_s)
        except SetupError as error:
            give_up(runner.environment, str(error))
            return None
        if not self.begins:
            if not _begun(runner):
                if self.get_run_time() > _START_S:  # type: ignore[no-untyped-call]
                    give_up(runner.environment, f"nothing was answered within {_START_S:.0f} seconds")
                    return None
                return planned[0].users, rate
            self.begins.append((now, planned[0].users))
        stage = stage_at(planned, now - self.begins[0][0]) if self.end is None else None
        if stage is None:
            return self._ending(now, rate, options.deadline)
        while len(self.begins) <= stage:
            self.begins.append((now, planned[len(self.begins)].users))
        return planned[stage].users, rate

    def _ending(self, now: float, rate: float, deadline_s: float) -> tuple[int, float] | None:
        """Let users end their last request, and what was answered reach the master, before the load is over."""
        if self.end is None:
            self.end = now
        runner = self._its_runner
        if runner.user_count and now < self.end + deadline_s + _SETTLE_S:
            return 0, rate
        if self._empty_since is None:
            self._empty_since = now
        reported_s = runners.WORKER_REPORT_INTERVAL if isinstance(runner, runners.MasterRunner) else 0.0
        return (0, rate) if now < self._empty_since + _SETTLE_S + reported_s else None

    @property
    def _its_runner(self) -> runners.Runner:
        if self.runner is None:
            raise RuntimeError("the shape has no runner: locust gives it one before it asks")
        return self.runner


def _begun(runner: runners.Runner) -> bool:
    """Whether users are being answered; those of every worker that has some."""
    if not runner.stats.num_requests:
        return False
    workers = runner.clients.all if isinstance(runner, runners.MasterRunner) else ()
    return all(ledger.workers[worker.id] for worker in workers if worker.user_count)


class Constant(StagedShape):
    """All users from the beginning to the end."""

    kind = Kind.CONSTANT


class Steps(StagedShape):
    """A quarter of the users, half of them, three quarters, all."""

    kind = Kind.STEPS


class Spike(StagedShape):
    """A fifth of the users, all at once, a fifth."""

    kind = Kind.SPIKE


class Soak(StagedShape):
    """All users for long."""

    kind = Kind.SOAK
