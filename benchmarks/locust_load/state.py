"""What one process of locust keeps while a load lasts, and how a load that cannot be made is ended."""

from __future__ import annotations

import logging
import time
from typing import Any

import gevent  # type: ignore[import-untyped]
from locust import runners
from locust.env import Environment

from benchmarks.answers import OK
from benchmarks.locust_load.ledger import Ledger

CANNOT_LOAD = "trident_cannot_load"
"""A worker's message to its master: why it cannot make the load."""
_EVERY_S = 0.1

log = logging.getLogger("trident.load")
"""Shown by locust on the terminal and on its web page."""
ledger = Ledger()


def give_up(environment: Environment, why: str) -> None:
    """End the load, since it cannot be made. A worker has its master end it."""
    runner: Any = environment.runner
    options: Any = environment.parsed_options
    if ledger.problem:
        return  # one user's reason is as good as another's
    ledger.problem = why
    log.error("%s", why)
    environment.process_exit_code = 1
    if isinstance(runner, runners.WorkerRunner):
        runner.send_message(CANNOT_LOAD, {"why": why})
    else:
        # In a greenlet of its own: it ends the one that calls this.
        gevent.spawn(runner.quit if options.headless else runner.stop)


class Watch:
    """How late a greenlet goes on that wanted to wait for a certain time: what the generator adds to a latency."""

    def __init__(self) -> None:
        self._greenlet: gevent.Greenlet | None = None

    def start(self) -> None:
        """Watch from now on."""
        self.stop()
        self._greenlet = gevent.spawn(self._look)

    def stop(self) -> None:
        """Watch no longer."""
        if self._greenlet is not None:
            self._greenlet.kill(block=False)
        self._greenlet = None

    def _look(self) -> None:
        while True:
            wanted = time.perf_counter() + _EVERY_S
            gevent.sleep(_EVERY_S)
            ledger.lateness.add(time.time(), "", OK, 1000 * (time.perf_counter() - wanted))
