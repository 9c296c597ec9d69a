"""The report: what became of every request, as one HTML file and as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from benchmarks import report
from benchmarks.answers import OK
from benchmarks.overload import plots
from benchmarks.overload.phases import REFUSED, TOO_LATE, Phase
from benchmarks.overload.run import Run, Settings
from benchmarks.report import Summary, SummaryTable
from benchmarks.verdict import Verdict, passed

WHAT = "overload"
HEADINGS = (
    *("load", "offered /s", "requests", "answered", "refused", "too late", "other", "answers /s"),
    *("p50 ms", "p99", "refused p50 ms", "p99", "hung"),
)
_GOODPUT = 0.9
"""Of the peak: what a load above saturation still has to get."""
_AS_BEFORE = 1.5
"""Times p50: what the first load may take again."""


def row(phase: Phase) -> tuple[str, ...]:
    """One line of the table."""
    ended, known = phase.codes, (OK, REFUSED, TOO_LATE)
    answered, refused = phase.answered, phase.refused
    return (
        phase.name,
        f"{phase.requests / phase.seconds:.2f}",
        str(phase.requests),
        *(str(ended.get(code, 0)) for code in known),
        ", ".join(f"{count} {code}" for code, count in phase.unexpected.items()) or "0",
        f"{phase.goodput:.2f}",
        *(("", "") if answered is None else (f"{answered.p50:.0f}", f"{answered.p99:.0f}")),
        *(("", "") if refused is None else (f"{refused.p50:.0f}", f"{refused.p99:.0f}")),
        str(phase.hung),
    )


def peak(run: Run) -> float:
    """The most answers a second of any load, the callers that wait among them."""
    return max(run.saturated, *(phase.goodput for phase in run.phases))


def verdicts(run: Run) -> list[Verdict]:
    """What the run shows."""
    everything = (*run.phases, run.after)
    requests, hung = sum(phase.requests for phase in everything), sum(phase.hung for phase in everything)
    unexpected = {code: count for phase in everything for code, count in phase.unexpected.items()}
    calm = [phase for phase in everything if phase.share < 1]
    worst, best = run.phases[-1], peak(run)
    found = [
        Verdict(not hung, f"{hung} of {requests} requests hung past their deadline of {run.settings.deadline_s:g} s"),
        Verdict(
            not unexpected,
            f"every request ended in an answer, {REFUSED} or {TOO_LATE}"
            if not unexpected
            else f"requests ended in {', '.join(sorted(unexpected))}",
        ),
        Verdict(
            worst.goodput >= _GOODPUT * best,
            f"at {worst.name} the saturated rate {worst.goodput:.2f} requests a second were answered in time, "
            f"{100 * worst.goodput / best:.0f} % of the peak of {best:.2f} (at least {100 * _GOODPUT:.0f} %)",
        ),
        Verdict(
            not sum(phase.failed for phase in calm),
            f"{sum(phase.failed for phase in calm)} of {sum(phase.requests for phase in calm)} requests below the "
            "saturated rate failed",
        ),
    ]
    if worst.refused is not None:
        found.append(
            Verdict(
                worst.refused.p99 < 1000 * run.settings.deadline_s,
                f"at {worst.name}, half of the refusals came within {worst.refused.p50:.0f} ms, 99 % within "
                f"{worst.refused.p99:.0f} ms",
                required=False,
            )
        )
    before, after = run.phases[0].answered, run.after.answered
    if before is not None and after is not None:
        found.append(
            Verdict(
                after.p50 <= _AS_BEFORE * before.p50,
                f"at {run.phases[0].name} p50 was {before.p50:.0f} ms before and {after.p50:.0f} ms after all of it",
            )
        )
    gone = run.disconnect
    found.append(
        Verdict(
            gone.answered <= gone.open / 2,
            f"of {gone.open} requests whose clients vanished the server answered {gone.answered} all the same, and was "
            f"free after {gone.free_after_s:.1f} s",
        )
    )
    return found


def summary(run: Run) -> Summary:
    """What of the run belongs into the results."""
    settings = run.settings
    sentences = [
        f"Requests at planned moments (Poisson arrivals), each with a deadline of {settings.deadline_s:g} s, for "
        f"{settings.seconds:g} s after {settings.settle_s:g} s of the same load; latency counts from the planned "
        f"moment. {len(run.pictures)} pictures in turn at random. Saturated at {run.saturated:.2f} requests a second, "
        f"by {settings.callers} callers that wait.",
        *(f"{verdict.sentence[0].upper()}{verdict.sentence[1:]}." for verdict in verdicts(run)),
    ]
    return Summary("Overload", sentences, [SummaryTable(HEADINGS, [row(one) for one in (*run.phases, run.after)])])


def to_json(run: Run, facts: Mapping[str, Any]) -> dict[str, Any]:
    """All figures."""
    found = verdicts(run)
    return {
        "what": WHAT,
        "outcome": report.Outcome.FINISHED if passed(found) else report.Outcome.FAILED,
        "circumstances": dict(facts),
        "settings": _settings(run.settings),
        "verdicts": [verdict.to_json() for verdict in found],
        "server": dict(run.server),
        "pictures": list(run.pictures),
        "saturated_per_second": run.saturated,
        "peak_per_second": peak(run),
        "phases": [asdict(phase) for phase in (*run.phases, run.after)],
        "disconnect": asdict(run.disconnect),
        "summary": summary(run).to_json(),
    }


def _settings(settings: Settings) -> dict[str, Any]:
    return {
        **asdict(settings),
        "repository": str(settings.repository),
        "pictures": None if settings.pictures is None else str(settings.pictures),
    }


def to_html(run: Run, facts: Mapping[str, Any]) -> str:
    """The page."""
    everything = (*run.phases, run.after)
    lead = (
        f"{sum(phase.requests for phase in everything)} requests in {len(everything)} loads, sent from a process of "
        f"their own. {facts['machine']['processor']}, {facts['machine']['cores']} cores."
    )
    late = max(phase.late_ms for phase in everything)
    parts = [
        *(verdict.to_html() for verdict in verdicts(run)),
        report.heading("More than the server can carry"),
        plots.overload(everything, run.saturated).to_html(),
        report.paragraph(summary(run).sentences[0], "note"),
        report.table(HEADINGS, [row(phase) for phase in everything]),
        report.paragraph(
            f"The generator runs on the same cores as the server; at its p99 it was late by at most {late:.0f} ms, "
            "which is part of the latencies. Nothing is asked again.",
            "note",
        ),
        report.heading("Circumstances"),
        report.facts_table(
            {**facts, "settings": _settings(run.settings), "pictures": list(run.pictures), "server": run.server}
        ),
    ]
    return report.page("Overload", lead, parts)
