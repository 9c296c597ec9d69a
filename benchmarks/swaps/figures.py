"""A run of swaps, worked out: latencies by what was going on, what grew, and whether the run shows what it must."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.answers import failures
from benchmarks.report import Summary, SummaryTable
from benchmarks.swaps.repository import ORDER
from benchmarks.swaps.resources import FLAT_MB, Growth, growth
from benchmarks.swaps.run import Run
from benchmarks.swaps.windows import AFTER_S, ALL, Group, Requests, groups
from benchmarks.verdict import Verdict, passed

AIM = 1.5
"""Largest ratio of p99 during swaps to steady p99 that is aimed at."""


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
        return passed(self.verdicts)


def work_out(run: Run) -> Figures:
    """Everything that is counted out of the records of a run."""
    requests = requests_of(run)
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


def requests_of(run: Run) -> Requests:
    """Its requests. Where swaps follow each other quickly, half of the rest between them is steady."""
    return Requests(run.answers.records, min(AFTER_S, run.settings.rest_s / 2))


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
                f"p99 during swaps, preflight included, is {ratio.value:.2f} times steady p99 (95 %: {ratio.low:.2f} "
                f"to {ratio.high:.2f}; the aim is {AIM})",
                required=False,
            )
        )
    return found


GROUP_HEADINGS = ("swaps", "s each", "requests", "p50", "p95", "p99", "worst", "p50 ratio", "p99 ratio", "95 %")
"""Above the cells of ``group_row`` behind the first: milliseconds, and ratios to steady."""


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


def summary(run: Run, figures: Figures) -> Summary:
    """The run in short."""
    minutes = (run.end - run.begin) / 60
    rate = f"{run.rate:.2f} a second"
    if run.saturated is not None:
        rate += f", {100 * run.rate / run.saturated:.0f} % of the saturated rate"
    components = "every component" if len(run.pairs) == len(ORDER) else ", ".join(run.pairs)
    return Summary(
        "Swapping versions under load",
        [
            f"{len(run.answers.records)} requests at {rate}, at moments planned beforehand, in {minutes:.1f} minutes; "
            f"meanwhile `trident rollout` swapped {components} back and forth, {len(run.swaps)} times.",
            *(f"{'✓' if one.good else '✗'} {' '.join(one.sentence.split())}." for one in figures.verdicts),
            "Latency is in milliseconds from the planned moment. Steady are the requests that were in flight during no "
            "swap of the same run; one may count for two phases.",
            "The interval holds 95 % of resamples of the p99 ratio, whole swaps and whole pauses drawn again: the "
            "chance within this run alone, not that of another day or machine.",
        ],
        [
            SummaryTable(("in flight during swaps of", *GROUP_HEADINGS), _rows([figures.steady, *figures.components])),
            SummaryTable(("in flight during the phase", *GROUP_HEADINGS), _rows([figures.steady, *figures.phases])),
        ],
    )


def _rows(shown: Sequence[Group]) -> list[tuple[str, ...]]:
    return [group_row(group) for group in shown]
