"""The report: one table, what it says, and how each server was set up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from benchmarks import report
from benchmarks.peers import lines, plots
from benchmarks.peers.figures import Figures, Measure, Row
from benchmarks.peers.measure import Phase, Run, Visit
from benchmarks.peers.peer import Protocol
from benchmarks.peers.serving import Served
from benchmarks.report import Summary, SummaryTable
from benchmarks.verdict import Verdict, left_alone, passed
from trident.contract import COMPONENTS

WHAT = "peers"
HEADINGS = (
    "server",
    "over",
    "saturated, a second",
    "one client, ms",
    "half load, a second",
    "half load, ms",
    "CPU s a request",
    "memory, MB",
    "lines",
)
"""Latencies are p50 / p99; lines are a server's own, and those of the pipeline that it calls."""


def row_cells(row: Row) -> tuple[str, ...]:
    """One line of the table."""
    return (
        row.title,
        "gRPC" if row.protocol is Protocol.GRPC else "HTTP",
        f"{row.rate:.2f}",
        f"{row.one.p50:.0f} / {row.one.p99:.0f}",
        f"{row.half_rate:.2f}",
        f"{row.half.p50:.0f} / {row.half.p99:.0f}",
        f"{row.cpu_s:.3f}",
        f"{row.memory_mb:.0f}",
        str(row.own_lines) if not row.pipeline_lines else f"{row.own_lines} + {row.pipeline_lines}",
    )


def summary(run: Run, figures: Figures) -> Summary:
    """What of it belongs into the results."""
    return Summary(
        "Trident beside other servers that do the same work",
        sentences(run, figures),
        [SummaryTable(HEADINGS, [row_cells(row) for row in figures.rows])],
    )


def sentences(run: Run, figures: Figures) -> list[str]:
    """What was compared, what came of it, and where it falls short."""
    settings, rows = run.settings, figures.rows
    said = [
        "The same pictures, ONNX files and Python functions behind each server, one server after the other, "
        f"in {settings.rounds} {'round' if settings.rounds == 1 else 'rounds'}, the order reversed in every second. "
        f"Each was measured only after it had given the same RESULT as Trident for all {len(run.results)} pictures, "
        f"whose answers name {figures.faces} faces, weak ones included, and {figures.plates} plates.",
        f"A peer runs the whole work in each of two processes. Trident is {len(COMPONENTS)} components behind one "
        "server, each with versions, instances and statistics of its own.",
        f"Saturated means {settings.callers} callers that wait for their answers; half load means Poisson arrivals at "
        "half of each server's own throughput, latency counted from the planned moment. Latencies are p50 / p99. "
        "Processor time and memory (proportional set size) are those of all processes of the server, at saturation. "
        "Lines are a peer's server + the pipeline that it calls, and the ensemble's configurations and Python models; "
        "the launcher, and the backend that the bundled Triton lacks, are counted on neither side.",
        _placed(rows),
        f"p99 rests on {min((min(row.one.count, row.half.count) for row in rows), default=0)} requests or more, and "
        "the load ran on the same cores as the servers.",
        *(f"{'✓' if one.good else '✗'} {one.sentence}." for one in verdicts(figures)),
    ]
    failed = sum(row.failed for row in rows)
    if failed:
        named = ", ".join(f"{row.title} {row.failed}" for row in rows if row.failed)
        said.append(f"{failed} requests failed and are in no latency: {named}.")
    if run.broken_off is not None:
        said.append(f"Broken off, only whole rounds count: {' '.join(run.broken_off.split())}")
    said += [f"Left out, {title}: {' '.join(reason.split())}" for title, reason in run.refused.items()]
    return said


def verdicts(figures: Figures) -> list[Verdict]:
    """What has to hold for the figures to count."""
    return [left_alone(figures.others_cores, "on average over all loads", required=True)]


def _placed(rows: Sequence[Row]) -> str:
    """Where Trident stands, whoever is first."""
    if len(rows) < 2:
        return "There is no peer to compare with."
    trident, *peers = rows
    told = []
    for measure in Measure:
        ahead, level = [], []
        for peer in peers:
            order = compare(trident.by_round[measure], peer.by_round[measure], largest_first=measure.largest_first)
            if order is None:
                level.append(peer.title)
            elif order < 0:
                ahead.append(peer.title)
        apart = f", not to be told from {', '.join(level)}" if level else ""
        told.append(f"in {measure}: behind {', '.join(ahead) or 'none'}{apart}")
    return f"Trident, where all of its rounds are better or worse than all of another's: {'; '.join(told)}."


def compare(ours_R: Sequence[float], theirs_R: Sequence[float], *, largest_first: bool) -> int | None:
    """1 if each of our rounds is better than each of theirs, -1 if each is worse, None if neither holds.

    >>> compare([3.0, 4.0], [1.0, 2.0], largest_first=True), compare([3.0, 4.0], [1.0, 2.0], largest_first=False)
    (1, -1)
    >>> compare([3.0, 4.0], [3.5, 2.0], largest_first=True)
    """
    sign = 1 if largest_first else -1
    ours, theirs = ([sign * value for value in one] for one in (ours_R, theirs_R))
    # With a value that is not a number, neither is true.
    if all(our > their for our in ours for their in theirs):
        return 1
    return -1 if all(our < their for our in ours for their in theirs) else None


def to_json(run: Run, figures: Figures, facts: Mapping[str, Any]) -> dict[str, Any]:
    """Everything but the single requests."""
    return {
        "what": WHAT,
        "outcome": _outcome(run, figures),
        "circumstances": dict(facts),
        "settings": {**asdict(run.settings), "half_of_saturated": 0.5},
        "servers": [{**asdict(row), "rate": row.rate} for row in figures.rows],
        "versions": {subject.title: subject.version for subject in run.subjects},
        "commands": run.commands,
        "visits": [_visit_json(visit) for visit in run.visits],
        "left_out": run.refused,
        "answers": {"pictures": list(run.results), "faces": figures.faces, "plates": figures.plates},
        "others_cores": {"mean": figures.others_cores, "most": figures.most_others_cores},
        "generator_late_p99_ms": figures.late_ms,
        "tuning": {
            subject.title: [asdict(one) for one in subject.peer.tuning]
            for subject in run.subjects
            if isinstance(subject, Served)
        },
        "summary": summary(run, figures).to_json(),
    }


def _outcome(run: Run, figures: Figures) -> report.Outcome:
    if run.broken_off is not None:
        return report.Outcome.UNFINISHED
    return report.Outcome.FINISHED if passed(verdicts(figures)) else report.Outcome.FAILED


def _visit_json(visit: Visit) -> dict[str, Any]:
    def phase(measured: Phase) -> dict[str, Any]:
        return {
            "requests": len(measured.answers),
            "answered": measured.answered,
            "cpu_s": measured.cpu_s,
            "others_cores": measured.others_cores,
            "busiest_process": measured.busiest,
        }

    return {
        "server": visit.subject,
        "round": visit.round,
        "start_s": visit.start_s,
        "rate": visit.rate,
        "memory_mb": visit.memory_mb,
        **{name: phase(getattr(visit, name)) for name in ("one", "saturated", "half")},
    }


def to_html(run: Run, figures: Figures, facts: Mapping[str, Any]) -> str:
    """The page."""
    rows = figures.rows
    lead = (
        f"{len(rows)} servers, the same work. {facts['machine']['processor']}, {facts['machine']['cores']} cores, "
        f"{run.settings.rounds} rounds."
    )
    parts = [report.table(HEADINGS, [row_cells(row) for row in rows])]
    parts += [report.paragraph(sentence) for sentence in sentences(run, figures)]
    drawn = [plots.costs(rows), plots.latency(rows)]
    parts += [report.heading("Throughput and cost"), drawn[0].to_html()]
    parts += [
        report.paragraph(
            "Black marks are the single rounds: how far they lie apart, so little is a bar to be trusted.", "note"
        ),
        report.heading("Latency"),
        drawn[1].to_html(),
        report.paragraph(
            "Black lines span the p99 of the single rounds. Half load is another rate for each server: "
            + ", ".join(f"{row.title} {row.half_rate:.2f} a second" for row in rows)
            + ".",
            "note",
        ),
        report.heading("By round"),
        report.table(
            (
                "server",
                "round",
                "started in s",
                "saturated, a second",
                "CPU s a request",
                "memory MB",
                "busiest process",
                "others' cores",
            ),
            [_round_cells(run, visit) for visit in run.visits],
        ),
        report.paragraph(
            "The busiest process is that which took the most of the server's processor time, saturated. Where two "
            "workers wait at one socket, whoever is quicker takes a connection and keeps it: the draw is another in "
            "each round.",
            "note",
        ),
        *_setup_parts(run),
        report.heading("Circumstances"),
        report.facts_table(
            {
                **facts,
                "servers": {row.title: row.version for row in rows},
                "cores kept busy by others": f"{figures.others_cores:.2f}, at most {figures.most_others_cores:.2f}",
                "generator late, p99": f"{figures.late_ms:.1f} ms",
                "pictures": list(run.results),
            }
        ),
    ]
    return report.page("Trident beside its peers", lead, parts)


def _round_cells(run: Run, visit: Visit) -> tuple[str, ...]:
    title = next(subject.title for subject in run.subjects if subject.name == visit.subject)
    busy = max(phase.others_cores for phase in (visit.one, visit.saturated, visit.half))
    spent = visit.saturated.cpu_s / max(1, visit.saturated.answered)
    return (
        title,
        str(visit.round + 1),
        f"{visit.start_s:.1f}",
        f"{visit.rate:.2f}",
        f"{spent:.3f}",
        f"{visit.memory_mb:.0f}",
        f"{100 * visit.saturated.busiest:.0f} %",
        f"{busy:.2f}",
    )


def _setup_parts(run: Run) -> list[str]:
    parts = [
        report.heading("How each was set up"),
        report.paragraph(
            "Lines are those that hold more than comments and docstrings: of a peer its server and its settings, and "
            "then the whole of the pipeline, also what only one of them or the floor calls; of the ensemble its "
            f"configurations and its Python models, without the {lines.of_backend()} of the backend for ONNX files "
            "that the bundled Triton lacks and NVIDIA's container has. The functions that all of them call are not "
            "counted.",
            "note",
        ),
    ]
    parts.append(report.table(("server", "started with"), list(run.commands.items())))
    for subject in run.subjects:
        if isinstance(subject, Served):
            parts.append(report.paragraph(f"{subject.title} {subject.version}"))
            tuning = [(one.what, one.why, one.page) for one in subject.peer.tuning]
            parts.append(report.table(("what", "why", "documentation"), tuning, kind="facts"))
    return parts
