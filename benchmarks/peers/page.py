"""The report: one table, what it says, and how each server was set up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from benchmarks import report
from benchmarks.peers import plots
from benchmarks.peers.figures import Figures, Row
from benchmarks.peers.measure import Phase, Run, Visit
from benchmarks.peers.peer import Protocol
from benchmarks.peers.serving import Served
from benchmarks.report import Summary, SummaryTable
from trident.contract import COMPONENTS

WHAT = "peers"
HEADINGS = (
    "server",
    "over",
    "saturated, a second",
    "one client, ms",
    "half load, ms",
    "CPU s a request",
    "memory, MB",
    "lines",
)
"""Latencies are p50 / p99; lines are a server's own, and those of the pipeline that it calls."""
_QUIET_CORES = 0.1
"""What a machine keeps busy by itself, at most."""


def row_cells(row: Row) -> tuple[str, ...]:
    """One line of the table."""
    return (
        row.title,
        "gRPC" if row.protocol is Protocol.GRPC else "HTTP",
        f"{row.rate:.2f}",
        f"{row.one.p50:.0f} / {row.one.p99:.0f}",
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
        "Lines are a peer's server + the pipeline that it calls, and the ensemble's configurations and Python models.",
        _placed(rows),
        f"p99 rests on {min((row.half.count for row in rows), default=0)} requests or more, and the load ran on the "
        "same cores as the servers.",
    ]
    if figures.others_cores >= _QUIET_CORES:
        said.append(
            f"Other work kept {figures.others_cores:.2f} cores busy on average, and up to "
            f"{figures.most_others_cores:.2f} during one load: measure again on a quiet machine before you go by "
            "these figures."
        )
    failed = sum(row.failed for row in rows)
    if failed:
        named = ", ".join(f"{row.title} {row.failed}" for row in rows if row.failed)
        said.append(f"{failed} requests failed and are in no latency: {named}.")
    said += [f"Left out, {title}: {' '.join(reason.split())}" for title, reason in run.refused.items()]
    return said


def _placed(rows: Sequence[Row]) -> str:
    """Where Trident stands, whoever is first."""
    if len(rows) < 2:
        return "There is no peer to compare with."
    trident = rows[0]
    told = []
    for what, unit, value, largest in (
        ("throughput", "answers a second", "rate", True),
        ("the median at one client", "ms", "one_p50", False),
        ("p99 at half load", "ms", "half_p99_value", False),
        ("processor time an answer", "s", "cpu_s", False),
        ("memory", "MB", "memory_mb", False),
    ):
        ranked = sorted(rows, key=lambda row: _value(row, value), reverse=largest)
        place, best = ranked.index(trident) + 1, ranked[0] if ranked[0] is not trident else ranked[1]
        told.append(
            f"in {what} {place} of {len(rows)} ({_value(trident, value):.4g} {unit}; "
            f"{'next' if place == 1 else 'best'} {best.title}, {_value(best, value):.4g})"
        )
    return f"Trident's place, 1 being the best: {'; '.join(told)}."


def _value(row: Row, name: str) -> float:
    latencies = {"one_p50": row.one.p50, "half_p99_value": row.half.p99}
    return latencies[name] if name in latencies else float(getattr(row, name))


def to_json(run: Run, figures: Figures, facts: Mapping[str, Any]) -> dict[str, Any]:
    """Everything but the single requests."""
    return {
        "what": WHAT,
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


def _visit_json(visit: Visit) -> dict[str, Any]:
    def phase(measured: Phase) -> dict[str, Any]:
        return {
            "requests": len(measured.answers),
            "answered": measured.answered,
            "cpu_s": measured.cpu_s,
            "others_cores": measured.others_cores,
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
            "Black lines hold 95 % of resamples of p99. Half load is another rate for each server: "
            + ", ".join(f"{row.title} {row.half_rate:.2f} a second" for row in rows)
            + ".",
            "note",
        ),
        report.heading("By round"),
        report.table(
            ("server", "round", "started in s", "saturated, a second", "CPU s a request", "memory MB", "others' cores"),
            [_round_cells(run, visit) for visit in run.visits],
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
        f"{busy:.2f}",
    )


def _setup_parts(run: Run) -> list[str]:
    parts = [
        report.heading("How each was set up"),
        report.paragraph(
            "Lines are those that hold more than comments and docstrings: of a peer its server and its settings, and "
            "then the pipeline that it calls; of the ensemble its configurations and its Python models. The functions "
            "that all of them call are not counted.",
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
