"""The report: components, the account of the time, and the twins, as one HTML file and as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from benchmarks import report
from benchmarks.report import Summary, SummaryTable
from benchmarks.time_spent import plots, twin
from benchmarks.time_spent.account import BRANCHES, Account
from benchmarks.time_spent.figures import Component, Figures, LoadFigures, ServerFigures
from benchmarks.time_spent.processor import SERVER
from benchmarks.time_spent.run import ONE_CLIENT, TRIDENT, Run, Settings
from benchmarks.verdict import passed

WHAT = "time-spent"
SUM = "= latency that callers measure"
COMPONENT_HEADINGS = (
    *("component", "calls a request", "pictures a call", "queue ms", "inputs", "work", "outputs", "rest", "a call"),
    *("a request", "processor ms a request"),
)
TWIN_HEADINGS = (
    *("server", "one client, p50 ms", "of it in the ensemble, mean", "processor ms a request", "of it Triton's own"),
    *("saturated, requests a second", "processor ms a request then"),
)


def account_headings(loads: tuple[LoadFigures, ...]) -> tuple[str, ...]:
    """Of the table of parts."""
    return ("part", *(heading for load in loads for heading in (f"{load.name}, ms", "of it queue", "share")))


def account_rows(loads: tuple[LoadFigures, ...]) -> list[tuple[str, ...]]:
    """One line for each part, at all loads, and their sum."""
    rows = []
    for number, row in enumerate(loads[0].account.rows):
        cells = [row.name]
        for load in loads:
            one = load.account.rows[number]
            share = f"{100 * one.ms / load.account.latency_ms:.1f} %"
            cells += [f"{one.ms:.2f}", f"{one.queue_ms:.2f}" if one.queue_ms else "", share]
        rows.append(tuple(cells))
    sums = (cell for load in loads for cell in (f"{load.account.latency_ms:.2f}", "", "100.0 %"))
    return [*rows, (SUM, *sums)]


def component_row(one: Component) -> tuple[str, ...]:
    """One line of the table of components."""
    return (
        f"↳ {one.name}" if one.inner else one.name,
        f"{one.calls:.2f}",
        f"{one.pictures:.2f}",
        *(f"{value:.2f}" for value in (one.queue, one.input, one.infer, one.output, one.rest, one.whole)),
        f"{one.whole * one.calls:.2f}",
        f"{one.processor:.1f}",
    )


def twin_row(server: ServerFigures) -> tuple[str, ...]:
    """One line of the table of servers."""
    one = next(load for load in server.loads if load.name == ONE_CLIENT)
    return (
        server.served.name,
        f"{one.latency.p50:.2f}",
        f"{one.account.ensemble_ms:.2f}",
        f"{one.processor:.1f}",
        f"{one.server_processor:.1f}",
        f"{server.served.saturated:.1f}",
        f"{server.served.saturated_processor_ms:.1f}",
    )


def sentences(run: Run, figures: Figures) -> list[str]:
    """What was compared, and what came of it."""
    real, whole_twin, bare_twin = figures.servers
    one, twin_one, bare_one = (server.loads[0] for server in (real, whole_twin, bare_twin))
    inner = sum(component.calls for component in one.components if component.inner)
    found = [
        f"Means over {one.account.requests} requests with one client and {real.loads[1].account.requests} at half of "
        f"the saturated rate ({real.served.saturated:.2f} requests a second), {len(run.pictures)} pictures. Of each "
        "request the path counts: preprocess, the branch that fusion had to wait for, fusion; what none of them waited "
        "for or worked on is a row of its own. Triton's traces give the moments, its statistics the same means.",
        f"Fusion had to wait for {_waited_for(one)} with one client; at half load for {_waited_for(real.loads[1])}.",
        f"The twin has the same tensors and computes nothing; its recognizer calls {twin.CALLS} times, Trident's "
        f"{inner:.1f} times a request on these pictures. With one client the twin's ensemble takes "
        f"{twin_one.account.ensemble_ms:.1f} ms, {_percent(twin_one, one)} of Trident's {one.account.ensemble_ms:.1f} "
        f"ms ({bare_one.account.ensemble_ms:.1f} ms if its recognizer calls nothing), and a request "
        f"{twin_one.processor:.1f} ms of processor time where Trident's takes {one.processor:.1f} ms.",
    ]
    if (cost := whole_twin.served.tracing) is not None:
        found.append(
            f"All requests were traced: that changed the twin's median with one client from {cost.untraced_ms:.2f} to "
            f"{cost.traced_ms:.2f} ms (95 % of resamples of the difference: {cost.interval.low:+.2f} to "
            f"{cost.interval.high:+.2f} ms)."
        )
    return found


def _waited_for(load: LoadFigures) -> str:
    """Which branches were the last, the most frequent first."""
    branches = sorted(
        (row for row in load.account.rows if row.name in BRANCHES), key=lambda row: -row.share_of_requests
    )
    return " and ".join(
        f"{row.name} in {100 * row.share_of_requests:.0f} % of the requests"
        for row in branches
        if row.share_of_requests
    )


def _percent(part: LoadFigures, whole: LoadFigures) -> str:
    return f"{100 * part.account.ensemble_ms / whole.account.ensemble_ms:.0f} %"


def summary(run: Run, figures: Figures) -> Summary:
    """What of the run belongs into the results."""
    loads = figures.servers[0].loads
    tables = [
        SummaryTable(account_headings(loads), account_rows(loads)),
        SummaryTable(TWIN_HEADINGS, [twin_row(server) for server in figures.servers]),
    ]
    return Summary("Where the time goes", sentences(run, figures), tables)


def to_json(run: Run, figures: Figures, facts: Mapping[str, Any]) -> dict[str, Any]:
    """All figures; durations in milliseconds where the name does not say otherwise."""
    return {
        "what": WHAT,
        "outcome": report.Outcome.FINISHED if passed(figures.verdicts) else report.Outcome.FAILED,
        "circumstances": dict(facts),
        "settings": _settings(run.settings),
        "verdicts": [verdict.to_json() for verdict in figures.verdicts],
        "pictures": list(run.pictures),
        "twin_detail_height_width": list(run.detail),
        "servers": [_server(server) for server in figures.servers],
        "summary": summary(run, figures).to_json(),
    }


def _settings(settings: Settings) -> dict[str, Any]:
    return {
        **asdict(settings),
        "repository": str(settings.repository),
        "pictures": None if settings.pictures is None else str(settings.pictures),
    }


def _server(server: ServerFigures) -> dict[str, Any]:
    served = server.served
    return {
        "name": served.name,
        "command": served.command,
        "server": None if served.about is None else dict(served.about),
        "saturated_per_second": served.saturated,
        "saturated_processor_ms": served.saturated_processor_ms,
        "tracing": None if served.tracing is None else asdict(served.tracing),
        "loads": [
            {
                **asdict(load),
                "load": dict(measured.answers.settings),
                "account": _account(load.account),
                "counters": {name: asdict(counters) for name, counters in measured.counters.items()},
                "processor_seconds": dict(measured.processor_s),
            }
            for load, measured in zip(server.loads, served.loads, strict=True)
        ],
    }


def _account(account: Account) -> dict[str, Any]:
    return {**asdict(account), "sum_ms": account.sum_ms}


def to_html(run: Run, figures: Figures, facts: Mapping[str, Any]) -> str:
    """The page."""
    real = figures.servers[0]
    first, *others = sentences(run, figures)
    lead = (
        f"{sum(load.account.requests for load in real.loads)} requests to Trident, and "
        f"{sum(load.account.requests for server in figures.servers[1:] for load in server.loads)} to twins of it that "
        f"compute nothing. {facts['machine']['processor']}, {facts['machine']['cores']} cores."
    )
    parts = [
        *(verdict.to_html() for verdict in figures.verdicts),
        report.heading("How it adds up"),
        plots.accounts(real.loads).to_html(),
        report.paragraph(first, "note"),
        report.table(account_headings(real.loads), account_rows(real.loads)),
        report.heading("The course of a request"),
        *(plots.course(load).to_html() for load in real.loads),
        report.paragraph(
            "Mean begin and end of each part of each step; the dashed line is the mean end of the request. The three "
            "branches share the cores, so each is slower than it would be alone.",
            "note",
        ),
        report.heading("The components"),
        plots.components(real.loads).to_html(),
        *(part for load in real.loads for part in _components_part(load)),
        report.paragraph(
            "Queue is waiting for an instance of the model; inputs and outputs are what handing them over takes. "
            "Rest is what Triton needs before the queue and after the last response. An arrow marks what the "
            "recognizer calls, two ways side by side: its time is within the recognizer's work. A component's time on "
            "the clock grows when others take the cores from it; its processor time does not.",
            "note",
        ),
        report.heading("Serving alone: a twin that computes nothing"),
        report.table(TWIN_HEADINGS, [twin_row(server) for server in figures.servers]),
        *(report.paragraph(sentence, "note") for sentence in others),
        *(part for server in figures.servers[1:] for part in _twin_part(server)),
        report.heading("Circumstances"),
        report.facts_table(
            {
                **facts,
                "settings": _settings(run.settings),
                "pictures": list(run.pictures),
                "detail that the twins hand around": f"{run.detail[1]} × {run.detail[0]} pixels",
                "server": real.served.about,
            }
        ),
    ]
    return report.page("Where the time goes", lead, parts)


def _components_part(load: LoadFigures) -> list[str]:
    own = f"{load.server_processor:.1f}"
    rows = [*map(component_row, load.components), (SERVER, *[""] * (len(COMPONENT_HEADINGS) - 2), own)]
    return [
        report.paragraph(f"{load.name[0].upper()}{load.name[1:]}, {load.account.requests} requests:"),
        report.table(COMPONENT_HEADINGS, rows),
    ]


def _twin_part(server: ServerFigures) -> list[str]:
    name = server.served.name
    return [
        report.paragraph(f"The {name}, {TRIDENT} without its work:"),
        report.table(account_headings(server.loads), account_rows(server.loads)),
    ]
