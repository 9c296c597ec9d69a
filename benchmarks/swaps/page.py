"""The report: what was measured, in tables and pictures, as one HTML file and as JSON."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from benchmarks import report
from benchmarks.answers import failures
from benchmarks.swaps import plots
from benchmarks.swaps.resources import FLAT_MB, Growth, growth
from benchmarks.swaps.run import Run
from benchmarks.swaps.timeline import Wrong
from benchmarks.swaps.windows import ALL, Group, Requests, groups

AIM = 1.5
"""Largest ratio of p99 during swaps to steady p99 that is aimed at."""
_MOST_LISTED = 20


@dataclass(frozen=True, slots=True)
class Verdict:
    """One thing that a run must show, or aims at."""

    good: bool
    sentence: str
    required: bool = True
    """Whether the benchmark has failed without it."""


@dataclass(frozen=True, slots=True)
class Figures:
    """A run, worked out."""

    steady: Group
    components: list[Group]
    phases: list[Group]
    growths: list[Growth]
    verdicts: list[Verdict]

    @property
    def passed(self) -> bool:
        """Whether all that is required was shown."""
        return all(verdict.good for verdict in self.verdicts if verdict.required)


def work_out(run: Run) -> Figures:
    """Everything that is counted out of the records of a run."""
    requests = Requests(run.answers.records)
    steady, components, phases = groups(requests, run.swaps, list(run.pairs))
    cycle = 2 * len(run.pairs)
    quantities = (
        ("memory of all processes", "MB", [sample.memory_mb for sample in run.samples]),
        ("memory of tritonserver", "MB", [sample.server_mb for sample in run.samples]),
        ("file handles", "", [float(sample.handles) for sample in run.samples]),
        ("shared-memory files", "", [float(sample.shm_files) for sample in run.samples]),
        ("stub processes", "", [float(sample.stubs) for sample in run.samples]),
    )
    growths = [found for name, unit, values in quantities if (found := growth(name, unit, values, cycle)) is not None]
    return Figures(steady, components, phases, growths, _verdicts(run, components, growths))


def _verdicts(run: Run, components: Sequence[Group], growths: Sequence[Growth]) -> list[Verdict]:
    count, failed = len(run.answers.records), failures(run.answers.records)
    mixed = sum(wrong.mixed for wrong in run.wrong)
    found = [
        Verdict(not failed, f"{len(failed)} of {count} requests failed"),
        Verdict(
            not run.wrong,
            f"{len(run.wrong)} answers with wrong versions or digests, {mixed} of them mixed from two releases",
        ),
        Verdict(
            not run.failed_swap and len(run.swaps) == run.settings.swaps,
            f"{len(run.swaps)} of {run.settings.swaps} swaps done"
            + (f": {run.failed_swap}" if run.failed_swap else ""),
        ),
        Verdict(not run.orphans, f"{len(run.orphans)} processes or shared-memory files left after the server's end"),
    ]
    if run.changed:
        found.append(
            Verdict(False, f"files changed while it was measured, so digests prove nothing: {', '.join(run.changed)}")
        )
    if growths:
        memory = growths[0]
        found.append(
            Verdict(
                memory.difference <= FLAT_MB,
                f"memory changed by {memory.difference:+.1f} MB from the first counted cycle to the last "
                f"(at most {FLAT_MB:.0f}), {memory.per_swap:+.3f} MB a swap",
            )
        )
    whole = next((group for group in components if group.name == ALL), None)
    if whole is not None and whole.p99_ratio is not None:
        ratio = whole.p99_ratio
        found.append(
            Verdict(
                ratio.value <= AIM,
                f"p99 during swaps is {ratio.value:.2f} times steady p99 (95 % of resamples: {ratio.low:.2f} to "
                f"{ratio.high:.2f}; the aim is {AIM})",
                required=False,
            )
        )
    return found


def to_json(run: Run, figures: Figures, facts: Mapping[str, Any]) -> dict[str, Any]:
    """Everything but the single requests."""
    delays = [answer.delay_ms for answer in run.answers.records]
    return {
        "verdicts": [asdict(verdict) for verdict in figures.verdicts],
        **facts,
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
    requests = Requests(run.answers.records)
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
        *(report.verdict(verdict.good, verdict.sentence) for verdict in figures.verdicts),
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
    headings = (first, "swaps", "s each", "requests", "p50", "p95", "p99", "worst", "p50 ratio", "p99 ratio", "95 %")
    return report.table(headings, [group_row(group) for group in shown])


def group_row(group: Group) -> tuple[str, ...]:
    """One line of the table of latencies."""
    latency, ratio = group.latency, group.p99_ratio
    return (
        group.name,
        str(group.swaps) if group.swaps else "",
        f"{group.seconds:.2f}" if group.swaps else "",
        *(
            ("0", "", "", "", "")
            if latency is None
            else (
                str(latency.count),
                *(f"{value:.0f}" for value in (latency.p50, latency.p95, latency.p99, latency.worst)),
            )
        ),
        "" if group.p50_ratio is None else f"{group.p50_ratio:.2f}",
        "" if ratio is None else f"{ratio.value:.2f}",
        "" if ratio is None else f"{ratio.low:.2f}–{ratio.high:.2f}",
    )


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
