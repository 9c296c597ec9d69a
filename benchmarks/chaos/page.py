"""The report: what was done, what it cost and whom, as one HTML file and as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks import report
from benchmarks.answers import Answer
from benchmarks.chaos import plots
from benchmarks.chaos.accounting import End, Ended, Stream, sentences
from benchmarks.chaos.course import Fault
from benchmarks.chaos.figures import NOTICED_S, READY_S, Figures, Row, spread
from benchmarks.chaos.kinds import ABOUT
from benchmarks.chaos.record import BY_HAND, Run
from benchmarks.report import Summary, SummaryTable
from benchmarks.verdict import passed

WHAT = "chaos"
KIND_HEADINGS = (
    *("fault", "times", "not ready after, s", f"within {NOTICED_S:g} s"),
    *("ready again after, s", f"within {READY_S:g} s"),
    *("in flight", "lost", "sent after it", "refused", "failed for retrying client"),
)
FAULT_HEADINGS = (
    *("no.", "fault", "victim", "at, s", "not ready after, s", "ready again after, s", "in flight", "lost"),
    *("sent after it", "refused", "last failure after, s", "failed for retrying client", "what was seen"),
)
ACCOUNT_HEADINGS = ("requests", "planned", *End)
SENTENCE_HEADINGS = ("end", "code", "sentence", "requests")
_MOST_SENTENCES = 40
_NONE = "–"


def kind_row(row: Row) -> tuple[str, ...]:
    """One line of the table by kinds."""
    about = ABOUT[row.kind]
    measured = about.felt and about.aims
    return (
        str(row.kind),
        str(row.faults),
        spread(row.noticed, 2) if about.felt else _NONE,
        f"{row.noticed_in_time} of {row.faults}" if measured else _NONE,
        spread(row.ready, 1) if about.felt else _NONE,
        f"{row.ready_in_time} of {row.faults}" if measured else _NONE,
        *map(str, (row.in_flight, row.lost, row.lost_later, row.refused, row.client_failed)),
    )


def fault_row(fault: Fault, run: Run, figures: Figures) -> tuple[str, ...]:
    """One line of the table of all faults."""
    cost = figures.costs[fault.number]
    first = fault.moments[0] if fault.moments else fault.begin
    seen = [fault.note, fault.failed, *fault.wrong[:1], *fault.left, *fault.lingering]
    return (
        str(fault.number),
        str(fault.kind),
        fault.victim,
        f"{first - run.begin:.0f}",
        _NONE if fault.noticed_s is None else f"{fault.noticed_s:.2f}",
        _NONE if fault.ready_s is None else f"{fault.ready_s:.1f}",
        str(cost.in_flight),
        str(cost.ends.get(End.LOST, 0)),
        str(cost.lost_later),
        str(cost.ends.get(End.REFUSED, 0)),
        _NONE if cost.last_failure is None else f"{cost.last_failure - first:.1f}",
        str(cost.client_failed),
        "; ".join(filter(None, seen)),
    )


def account_rows(figures: Figures) -> list[tuple[str, ...]]:
    """What became of the requests, a line for each stream."""
    rows: list[tuple[str, ...]] = []
    for stream in Stream:
        ends = figures.totals.get(stream)
        if ends is not None:
            rows.append((str(stream), str(sum(ends.values())), *(str(ends.get(end, 0)) for end in End)))
    return rows


def summary(run: Run, figures: Figures) -> Summary:
    """What of the run belongs into the results."""
    settings = run.settings
    shared = "in a `/dev/shm` of its own" if run.private else "in the machine's `/dev/shm`"
    sentences_ = [
        f"{_came_about(run)} faults at random, one at a time, in {(run.end - run.begin) / 60:.1f} minutes, on a server "
        f"as `trident serve` runs it, {shared}. Meanwhile {run.rate:.2f} requests a second at planned moments (Poisson "
        f"arrivals, a deadline of {settings.deadline_s:g} s, nothing is asked again)"
        + (f", {100 * run.rate / run.saturated:.0f} % of the saturated rate" if run.saturated else "")
        + f", {settings.bad_rate:g} bad pictures a second, and {run.client_rate:.2f} by the project's client "
        "with its retries.",
        "Times are the median, and the longest in parentheses, read off the health endpoint, from the harm on; for "
        "`shm` it is ready again after the memory was given back.",
        *(f"{verdict.sentence[0].upper()}{verdict.sentence[1:]}." for verdict in figures.verdicts),
        *(f"Left out: {kind}: {reason}." for kind, reason in run.left_out.items()),
    ]
    return Summary("Faults under load", sentences_, [SummaryTable(KIND_HEADINGS, [*map(kind_row, figures.rows)])])


def to_json(run: Run, figures: Figures, facts: Mapping[str, Any]) -> dict[str, Any]:
    """All figures, and each request that failed."""
    return {
        "what": WHAT,
        "outcome": _outcome(run, figures),
        "circumstances": dict(facts),
        "settings": _settings(run),
        "verdicts": [verdict.to_json() for verdict in figures.verdicts],
        "server": _server(run),
        "pictures": list(run.pictures),
        "bad_pictures": list(run.bad_pictures),
        "left_out": {str(kind): reason for kind, reason in run.left_out.items()},
        "saturated_per_second": run.saturated,
        "rate_per_second": run.rate,
        "client_rate_per_second": run.client_rate,
        "begin": run.begin,
        "end": run.end,
        "requests": {
            str(stream): {"planned": sum(ends.values()), **{str(end): count for end, count in ends.items()}}
            for stream, ends in figures.totals.items()
        },
        "kinds": [asdict(row) for row in figures.rows],
        "faults": [
            {
                **asdict(fault),
                "cost": asdict(figures.costs[fault.number]),
                "sentences": _sentences(figures, fault.number),
            }
            for fault in run.faults
        ],
        "during_no_fault": _sentences(figures, None),
        "failed": [{"fault": number, **_request(one)} for number, some in figures.failed.items() for one in some],
        "readiness": {
            "changes": [asdict(change) for change in run.changes],
            "longest_gap_s": run.longest_gap_s,
        },
        "samples": [asdict(sample) for sample in run.samples],
        "others_cores": run.others_cores,
        "broken_off": run.broken_off,
        "exit_code": run.exit_code,
        "stop_s": run.stop_s,
        "orphans": list(run.orphans),
        "summary": summary(run, figures).to_json(),
    }


def _came_about(run: Run) -> int:
    return sum(fault.come_about for fault in run.faults)


def _outcome(run: Run, figures: Figures) -> report.Outcome:
    if run.broken_off == BY_HAND:
        return report.Outcome.UNFINISHED
    return report.Outcome.FINISHED if passed(figures.verdicts) else report.Outcome.FAILED


def _sentences(figures: Figures, number: int | None) -> list[dict[str, Any]]:
    found = sentences(figures.failed.get(number, ()))
    return [{"end": end, "code": code, "sentence": text, "requests": count} for end, code, text, count in found]


def _request(one: Ended) -> dict[str, Any]:
    answer: Answer = one.answer
    return {
        "stream": one.stream,
        "end": one.end,
        "picture": Path(answer.picture).name,
        "planned": answer.planned,
        "sent": answer.sent,
        "done": answer.done,
        "code": answer.code,
        "why": one.why or answer.message,
    }


def _server(run: Run) -> dict[str, Any]:
    release = {name: f"{made_by.version} {made_by.digest}" for name, made_by in sorted(run.expected.first.items())}
    return {"command": run.command, "own /dev/shm": run.private, "release": release}


def _settings(run: Run) -> dict[str, Any]:
    settings = run.settings
    return {
        **asdict(settings),
        "kinds": [str(kind) for kind in settings.kinds],
        "repository": str(settings.repository),
        "pictures": None if settings.pictures is None else str(settings.pictures),
    }


def to_html(run: Run, figures: Figures, facts: Mapping[str, Any]) -> str:
    """The page."""
    lead = (
        f"{_came_about(run)} faults and {figures.planned} requests in {(run.end - run.begin) / 60:.1f} minutes. "
        f"{facts['machine']['processor']}, {facts['machine']['cores']} cores."
    )
    everything = [one for some in figures.failed.values() for one in some]
    kinds = [f"{row.kind}: {ABOUT[row.kind].sentence}." for row in figures.rows]
    felt = [row for row in figures.rows if ABOUT[row.kind].felt]
    parts = [
        *(verdict.to_html() for verdict in figures.verdicts),
        *(report.paragraph(f"Left out: {kind}: {reason}.") for kind, reason in run.left_out.items()),
        report.heading("What became of every request"),
        report.table(ACCOUNT_HEADINGS, account_rows(figures)),
        report.paragraph(
            "Refused: UNAVAILABLE, nothing was done for it, and it may be sent again. Lost: any other end. Whether an "
            "answer is right is told by the versions that it names: the records of the load hold no more of it. Those "
            "to the client with retries are also compared with what was answered before any fault, to the last digit. "
            "A bad picture is answered right by a refusal that says what is wrong with it. Requests that were left are "
            "as many as the callers who were killed, each with one under way: nobody has a record of them.",
            "note",
        ),
        plots.timeline(run, figures.ended).to_html(),
        report.heading("By kind of fault"),
        report.table(KIND_HEADINGS, map(kind_row, figures.rows)),
        *([plots.by_kind(felt).to_html()] if felt else []),
        report.paragraph(" ".join((*kinds, summary(run, figures).sentences[1])), "note"),
        report.heading("Each fault"),
        report.table(FAULT_HEADINGS, [fault_row(fault, run, figures) for fault in run.faults]),
        report.paragraph(
            "In flight are requests without retries at the moment of the harm. Readiness was looked at every 50 ms, "
            f"and at the worst after {run.longest_gap_s:.2f} s.",
            "note",
        ),
        report.heading("What those that failed were told"),
        report.table(
            SENTENCE_HEADINGS,
            [(end, code, text, str(count)) for end, code, text, count in sentences(everything)[:_MOST_SENTENCES]],
        ),
        report.heading("Circumstances"),
        report.facts_table(
            {**facts, "settings": _settings(run), "pictures": list(run.pictures), "server": _server(run)}
        ),
    ]
    return report.page("Faults under load", lead, parts)
