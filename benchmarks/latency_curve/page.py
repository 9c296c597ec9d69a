"""The report: the curve, its table, and what speaks against it, as one HTML file and as JSON."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from benchmarks import report
from benchmarks.latency_curve import plots
from benchmarks.latency_curve.run import Run, Settings
from benchmarks.latency_curve.steps import Step
from benchmarks.report import Summary, SummaryTable
from benchmarks.verdict import ALONE, Verdict, left_alone, passed

WHAT = "latency-curve"
HEADINGS = (
    *("% of saturated", "offered /s", "answered /s", "requests", "p50 ms", "p90", "p95", "by pass", "p99", "failed"),
    *("generator p99 ms", ""),
)
_LATE_SHARE = 0.1
"""Of p50: what the generator may be late at its p99."""
_DRIFT = 0.1


def row(step: Step) -> tuple[str, ...]:
    """One line of the table."""
    latency, delay, span = step.latency, step.delay, step.range_of("p95")
    by_pass = "" if span is None else f"{span[0]:.0f}–{span[1]:.0f}"
    return (
        f"{100 * step.share:.0f}",
        f"{step.offered:.2f}",
        f"{step.achieved:.2f}",
        str(step.requests),
        *(
            ("", "", "", "", "")
            if latency is None
            else (f"{latency.p50:.0f}", f"{latency.p90:.0f}", f"{latency.p95:.0f}", by_pass, f"{latency.p99:.0f}")
        ),
        ", ".join(f"{number} {code}" for code, number in step.codes.items()) or "0",
        "" if delay is None else f"{delay.p99:.1f}",
        "" if step.settled else "not settled",
    )


def verdicts(run: Run) -> list[Verdict]:
    """What the run shows, and whether the generator or the machine got in the way."""
    below = [step for step in run.steps if step.share < 1]
    failed, sent = sum(step.failed for step in below), sum(step.requests for step in below)
    found = [Verdict(not failed, f"{failed} of {sent} requests below the saturated rate failed")]
    if over := [step for step in run.steps if step.share >= 1]:
        lost = sum(step.failed for step in over)
        found.append(
            Verdict(
                not lost,
                f"{lost} of {sum(step.requests for step in over)} requests at the saturated rate and over it failed",
                required=False,
            )
        )
    late = [step.delay.p99 / step.latency.p50 for step in run.steps if step.delay and step.latency]
    if late:
        found.append(
            Verdict(
                max(late) <= _LATE_SHARE,
                f"the generator was late by at most {100 * max(late):.1f} % of a step's p50, at its own p99 "
                f"(up to {100 * _LATE_SHARE:.0f} % it is not what was measured)",
                required=False,
            )
        )
    if run.saturated_after is not None:
        drift = run.saturated_after / run.saturated - 1
        found.append(
            Verdict(
                abs(drift) <= _DRIFT,
                f"the saturated rate was {run.saturated:.2f} a second before the steps and {run.saturated_after:.2f} "
                f"after them ({100 * drift:+.1f} %; within {100 * _DRIFT:.0f} % the shares mean what they say)",
                required=False,
            )
        )
    return [*found, *_alone(run)]


def _alone(run: Run) -> list[Verdict]:
    """Whether others left the machine alone; nothing where the server is somebody else's, and that was not measured."""
    busy = [step.others_cores for step in run.steps if step.others_cores is not None]
    return [left_alone(max(busy), "in the worst step")] if busy else []


def summary(run: Run) -> Summary:
    """What of the run belongs into the results."""
    settings = run.settings
    how = "given" if settings.saturated is not None else f"by {settings.callers} callers that wait"
    sentences = [
        f"Requests at planned moments (Poisson arrivals, seed {settings.seed}), whether earlier ones had been answered "
        f"or not; latency counts from the planned moment. {len(run.pictures)} pictures in turn at random, one a "
        f"request. Saturated at {run.saturated:.2f} requests a second ({how}).",
        f"All rates are offered {settings.passes} times, upwards and downwards in turn; percentiles are of all "
        "requests of a rate, and by pass stand the least and the greatest p95 of a pass. p99 of N requests rests on "
        "the slowest hundredth of them, and requests share a queue: take it for a figure of this run. What a queue "
        "needs to settle is left out at the beginning. Not settled: it would need longer than "
        f"{settings.longest_settle_s:.0f} seconds or than a pass, so the figures depend on how long that was.",
        *(f"{verdict.sentence[0].upper()}{verdict.sentence[1:]}." for verdict in verdicts(run)),
    ]
    return Summary("Latency against offered load", sentences, [SummaryTable(HEADINGS, [row(one) for one in run.steps])])


def to_json(run: Run, facts: Mapping[str, Any]) -> dict[str, Any]:
    """All figures."""
    return {
        "what": WHAT,
        "outcome": report.Outcome.FINISHED if passed(verdicts(run)) else report.Outcome.FAILED,
        "circumstances": dict(facts),
        "settings": _settings(run.settings),
        ALONE: all(one.good for one in _alone(run)),
        "verdicts": [verdict.to_json() for verdict in verdicts(run)],
        "server": dict(run.server),
        "pictures": list(run.pictures),
        "saturated_per_second": run.saturated,
        "saturated_per_second_after": run.saturated_after,
        "steps": [_step(step) for step in run.steps],
        "summary": summary(run).to_json(),
    }


def _settings(settings: Settings) -> dict[str, Any]:
    return {
        **asdict(settings),
        "repository": str(settings.repository),
        "pictures": None if settings.pictures is None else str(settings.pictures),
    }


def _step(step: Step) -> dict[str, Any]:
    return {**asdict(step), "failed": step.failed, "settled": step.settled}


def to_html(run: Run, facts: Mapping[str, Any]) -> str:
    """The page."""
    lead = (
        f"{sum(step.requests for step in run.steps)} requests at {len(run.steps)} rates, sent from a process of their "
        f"own. {facts['machine']['processor']}, {facts['machine']['cores']} cores."
    )
    first, second, *_ = summary(run).sentences
    parts = [
        *(verdict.to_html() for verdict in verdicts(run)),
        report.heading("Latency against offered load"),
        plots.curve(run.steps, run.saturated).to_html(),
        report.paragraph(first, "note"),
        report.table(HEADINGS, [row(step) for step in run.steps]),
        report.paragraph(second, "note"),
        report.heading("Did the server keep up, and did the generator?"),
        plots.checks(run.steps, run.saturated).to_html(),
        report.paragraph(
            "From the saturated rate on, the queue grows for as long as the step lasts: latency there says how long "
            "that was. The generator runs on the same cores as the server; how late it was is part of the latency.",
            "note",
        ),
        _steps_table(run.steps),
        report.heading("Circumstances"),
        report.facts_table(
            {**facts, "settings": _settings(run.settings), "pictures": list(run.pictures), "server": run.server}
        ),
    ]
    return report.page("Latency against offered load", lead, parts)


def _steps_table(steps: Sequence[Step]) -> str:
    rows = [
        (
            f"{100 * step.share:.0f}",
            f"{step.settle_s:.0f}",
            f"{step.seconds:.0f}",
            "" if step.settling_s is None else f"{step.settling_s:.1f}",
            str(step.unanswered),
            *(("", "") if step.delay is None else (f"{step.delay.p50:.1f}", f"{step.delay.worst:.1f}")),
            "" if step.others_cores is None else f"{step.others_cores:.2f}",
        )
        for step in steps
    ]
    headings = (
        *(
            "% of saturated",
            "seconds left out",
            "seconds",
            "relaxation time, s",
            "in the queue at the end",
            "generator p50 ms",
            "worst",
        ),
        "cores kept busy by others",
    )
    codes = sum((Counter(step.codes) for step in steps), Counter[str]())
    failed = ", ".join(f"{number} {code}" for code, number in sorted(codes.items())) or "none"
    return report.table(headings, rows) + report.paragraph(f"Failed requests by code: {failed}.", "note")
