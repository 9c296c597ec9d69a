"""Watches a new release after the flip: errors and latency, of the callers' requests and of probes of its own."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from trident.contract import ENSEMBLE
from trident.rollout.engine import Passed, Stopped
from trident.rollout.serving import ServerLost, Serving, ServingError, Statistics

_PROBES_BEFORE = 5


@dataclass(frozen=True, slots=True)
class WatchLimits:
    """What a new release may cost."""

    error_share: float = field(
        default=0.02, metadata={"help": "Requests that may fail beyond the share that did before."}
    )
    latency_ratio: float = field(default=2.0, metadata={"help": "Mean latency, as a multiple of that before."})
    min_requests: int = field(default=20, metadata={"help": "Requests without which their latency is not judged."})


class Watcher:
    """Knows how the old release did, and holds the new one against it.

    Args:
        serving: The server.
        probe: Has one picture analysed; raises ``ServingError``.
        limits: What is too much.
        every_s: Seconds from one look to the next.
    """

    def __init__(
        self, serving: Serving, probe: Callable[[], object], limits: WatchLimits, *, every_s: float = 0.5
    ) -> None:
        self._serving = serving
        self._probe = probe
        self._limits = limits
        self._every_s = every_s
        self._first = self._statistics()
        self._before: Statistics | None = None
        self._before_probe_ms: float | None = None

    def measure_before(self) -> None:
        """Take the old release's figures, while it still answers."""
        self._before_probe_ms = statistics.median(self._timed_probe() for _ in range(_PROBES_BEFORE))
        now = self._statistics()
        # A load of the ensemble begins its statistics anew.
        self._before = now.since(self._first) if now.succeeded >= self._first.succeeded else now

    def watch(self, seconds: float, advance: Callable[[int, int], None]) -> Passed:
        """Watch for some seconds.

        Raises:
            Stopped: A limit was passed; at once when it is.
            ServerLost: The server is gone.
        """
        base, began = self._statistics(), time.monotonic()
        probes: list[float] = []
        failures = 0
        while (passed := time.monotonic() - began) < seconds:
            advance(int(1000 * passed), int(1000 * seconds))
            try:
                probes.append(self._timed_probe())
                failures = 0
            except ServerLost:
                raise
            except ServingError as exc:
                failures += 1
                if failures > 1:
                    raise Stopped(f"the new release fails: {exc}") from exc
            self._judge(self._statistics().since(base))
            time.sleep(max(0.0, min(self._every_s, seconds - (time.monotonic() - began))))
        return self._finding(self._statistics().since(base), probes, seconds)

    def _judge(self, after: Statistics) -> None:
        if self._before is None:  # what was usual is unknown: the probes are all there is to go by
            return
        share, before_share = _share(after), _share(self._before)
        # Callers' own mistakes count as failures in Triton too: what failed before may fail again.
        if after.failed > 2 and share > before_share + self._limits.error_share:
            raise Stopped(
                f"errors: {after.failed} of {after.succeeded + after.failed} requests failed, {share:.1%}; expected at "
                f"most {before_share:.1%}, as before, and {self._limits.error_share:.1%} more"
            )
        ratio = _ratio(after.mean_ms, self._before.mean_ms)
        if (
            ratio is not None
            and min(after.succeeded, self._before.succeeded) >= self._limits.min_requests
            and ratio > self._limits.latency_ratio
        ):
            raise Stopped(
                f"latency: {after.mean_ms:.0f} ms in the mean of {after.succeeded} requests, expected at most "
                f"{self._limits.latency_ratio:g} times the {self._before.mean_ms:.0f} ms before"
            )

    def _finding(self, after: Statistics, probes_ms: list[float], seconds: float) -> Passed:
        probe_ms = statistics.median(probes_ms) if probes_ms else None
        ratio = _ratio(probe_ms, self._before_probe_ms)
        if ratio is not None and ratio > self._limits.latency_ratio:
            raise Stopped(
                f"latency: the probes took {probe_ms:.0f} ms in the median, expected at most "
                f"{self._limits.latency_ratio:g} times the {self._before_probe_ms:.0f} ms before"
            )
        facts = {
            "requests": after.succeeded + after.failed,
            "failed": after.failed,
            "mean_ms": after.mean_ms,
            "mean_ms_before": None if self._before is None else self._before.mean_ms,
            "probe_ms": probe_ms,
            "probe_ms_before": self._before_probe_ms,
        }
        compared = "" if ratio is None else f", {ratio:.2f} times as long as before"
        took = "" if probe_ms is None else f"; probes took {probe_ms:.0f} ms{compared}"
        count = after.succeeded + after.failed
        return Passed(f"{count} requests in {seconds:g} s, {after.failed} failed{took}", facts)

    def _timed_probe(self) -> float:
        """Milliseconds that one probe takes."""
        began = time.perf_counter()
        self._probe()
        return 1000 * (time.perf_counter() - began)

    def _statistics(self) -> Statistics:
        return self._serving.statistics(ENSEMBLE)


def _share(done: Statistics) -> float:
    count = done.succeeded + done.failed
    return done.failed / count if count else 0.0


def _ratio(after: float | None, before: float | None) -> float | None:
    return after / before if after is not None and before else None
