"""The report: what was measured, in tables and pictures, as one HTML file and as JSON."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from benchmarks import report
from benchmarks.answers import failures
from benchmarks.swaps import plots
from benchmarks.swaps.figures import GROUP_HEADINGS, Figures, group_row, requests_of, summary
from benchmarks.swaps.resources import Growth
from benchmarks.swaps.run import Run
from benchmarks.swaps.timeline import Wrong
from benchmarks.swaps.windows import Group

WHAT = "swaps"
"""The kind of the report."""
_MOST_LISTED = 20


def to_json(run: Run, figures: Figures, facts: Mapping[str, Any]) -> dict[str, Any]:
    """Everything but the single requests."""
    delays = [answer.delay_ms for answer in run.answers.records]
    return {
        "what": WHAT,
        "outcome": report.Outcome.FINISHED if figures.passed else report.Outcome.FAILED,
        "circumstances": dict(facts),
        "verdicts": [verdict.to_json() for verdict in figures.verdicts],
        "server": run.server,
        "settings": {
            **asdict(run.settings),
            "golden": None if run.settings.golden is None else str(run.settings.golden),
            "repository": str(run.settings.repository),
        },
        "load": dict(run.answers.settings),
        "saturated_per_second": run.saturated,
        "rate_per_second": run.rate,
        "seconds": run.end - run.begin,
        "requests": len(run.answers.records),
        "failed": [asdict(answer) for answer in failures(run.answers.records)],
        "wrong": [_wrong_json(wrong) for wrong in run.wrong],
        "generator_delay_ms": dict(
            zip(("p50", "p99", "worst"), np.percentile(delays, [50, 99, 100]).tolist(), strict=True)
        ),
        "first_release": dict(run.first),
        "versions": {name: {"versions": list(pair), "second": run.origins[name]} for name, pair in run.pairs.items()},
        "steady": asdict(figures.steady),
        "components": [asdict(group) for group in figures.components],
        "phases": [asdict(group) for group in figures.phases],
        "growth": [{**asdict(one), "difference": one.difference} for one in figures.growths],
        "swaps": [asdict(swap) for swap in run.swaps],
        "samples": [asdict(sample) for sample in run.samples],
        "orphans": list(run.orphans),
        "summary": summary(run, figures).to_json(),
    }


def _wrong_json(wrong: Wrong) -> dict[str, Any]:
    return {
        "number": wrong.answer.number,
        "sent": wrong.answer.sent,
        "done": wrong.answer.done,
        "mixed": wrong.mixed,
        "reason": wrong.reason,
        "models": {name: made_by.to_json() for name, made_by in wrong.answer.models.items()},
    }


def to_html(run: Run, figures: Figures, facts: Mapping[str, Any]) -> str:
    """The page."""
    requests = requests_of(run)
    minutes = (run.end - run.begin) / 60
    lead = (
        f"{len(run.answers.records)} requests in {minutes:.1f} minutes, {run.rate:.2f} a second, planned beforehand "
        f"and sent from a process of their own; meanwhile {len(run.swaps)} swaps. {facts['machine']['processor']}, "
        f"{facts['machine']['cores']} cores."
    )
    drawn = [
        plots.latency_over_time(run.answers.records, run.swaps, run.begin),
        plots.distribution(requests, run.swaps),
        plots.by_component(figures.steady, figures.components),
    ]
    pictures = [report.image(report.png(one.figure), one.about) for one in drawn]
    parts = [
        *(verdict.to_html() for verdict in figures.verdicts),
        report.heading("Latency over time"),
        pictures[0],
        report.heading("During swaps against steady"),
        report.paragraph(
            "In milliseconds, from the moment at which a request was planned. Steady are requests that were in flight "
            "during no swap and no preflight. The others were in flight at some moment from the beginning of the load "
            "to the end of the old version; a request may count for two phases. The interval of the ratio holds 95 % "
            "of resamples.",
            "note",
        ),
        _groups_table("swaps of", [figures.steady, *figures.components]),
        pictures[2],
        report.heading("By the phase of a swap"),
        _groups_table("phase", [figures.steady, *figures.phases]),
        pictures[1],
        report.heading("The server after each swap"),
    ]
    if run.samples:
        shown = plots.memory(run.samples)
        parts.append(report.image(report.png(shown.figure), shown.about))
    parts += [_growth_part(figures.growths), *_wrong_part(run), *_swaps_part(run), *_circumstances_part(run, facts)]
    return report.page("Swapping versions under load", lead, parts)


def _groups_table(first: str, shown: Sequence[Group]) -> str:
    return report.table((first, *GROUP_HEADINGS), [group_row(group) for group in shown])


def _growth_part(growths: Sequence[Growth]) -> str:
    if not growths:
        return report.paragraph(
            "Too few swaps to say whether anything grows: it takes three rounds there and back, of which the first "
            "does not count.",
            "note",
        )
    rows = [
        (
            one.name,
            f"{one.first:.1f} {one.unit}".strip(),
            f"{one.last:.1f} {one.unit}".strip(),
            f"{one.difference:+.1f}",
            f"{one.per_swap:+.4f}",
            str(one.cycles),
        )
        for one in growths
    ]
    about = report.paragraph(
        "Means over the first and the last cycle, a round there and a round back; the very first cycle is left out. "
        "The slope compares only looks at the same point of a cycle, since versions differ in size.",
        "note",
    )
    return about + report.table(("", "first cycle", "last cycle", "difference", "a swap", "cycles"), rows)


def _wrong_part(run: Run) -> list[str]:
    parts = []
    failed = failures(run.answers.records)
    if failed:
        counted = Counter((answer.code, answer.message) for answer in failed)
        rows = [(code, str(number), message) for (code, message), number in counted.most_common(_MOST_LISTED)]
        parts += [report.heading("Failed requests"), report.table(("code", "requests", "message"), rows)]
    if run.wrong:
        wrongs = [
            (
                str(wrong.answer.number),
                f"{(wrong.answer.sent - run.begin) / 60:.2f}",
                "mixed" if wrong.mixed else "",
                wrong.reason,
            )
            for wrong in run.wrong[:_MOST_LISTED]
        ]
        parts += [report.heading("Wrong answers"), report.table(("request", "minute", "", "what"), wrongs)]
    return parts


def _swaps_part(run: Run) -> list[str]:
    names = list(dict.fromkeys(phase.name for swap in run.swaps for phase in swap.phases))
    rows = [
        (
            swap.component,
            f"{swap.before} → {swap.after}",
            f"{(swap.begin - run.begin) / 60:.2f}",
            *(f"{sum(phase.seconds for phase in swap.phases if phase.name == name):.2f}" for name in names),
            f"{swap.flip_ms:.0f}",
        )
        for swap in run.swaps
    ]
    return [
        report.heading("The swaps"),
        report.paragraph(
            "Seconds of each phase; how long the server took to follow the flip, in milliseconds.", "note"
        ),
        report.table(("component", "versions", "minute", *names, "flip ms"), rows),
    ]


def _circumstances_part(run: Run, facts: Mapping[str, Any]) -> list[str]:
    loads = [sample.load_average for sample in run.samples]
    others = [sample.others_cores for sample in run.samples]
    delays = [answer.delay_ms for answer in run.answers.records]
    busy = {}
    if run.samples:
        busy = {
            "load average meanwhile": f"{min(loads):.2f} to {max(loads):.2f}",
            "cores kept busy by others": f"{np.mean(others):.2f} on average, at most {max(others):.2f}",
        }
    seconds = {name: f"{pair[0]} and {pair[1]}, {run.origins[name]}" for name, pair in run.pairs.items()}
    return [
        report.heading("The versions"),
        report.facts_table(seconds),
        report.heading("Circumstances"),
        report.facts_table(
            {
                **facts,
                **busy,
                "saturated rate": "not measured" if run.saturated is None else f"{run.saturated:.2f} a second",
                "rate": f"{run.rate:.2f} a second, {run.answers.settings.get('arrivals')}, seed {run.settings.seed}",
                "delay of the generator": f"{np.median(delays):.1f} ms, p99 {np.percentile(delays, 99):.1f} ms",
                "server": run.server,
            }
        ),
    ]
