"""The report: what a server holds over time, as one HTML file and as JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from html import escape
from typing import Any

import numpy as np

from benchmarks import report
from benchmarks.answers import summarise
from benchmarks.report import Outcome, Summary, SummaryTable
from benchmarks.soak import plots
from benchmarks.soak.account import to_numpy
from benchmarks.soak.figures import Figures, counted_s, number, what_flat_means
from benchmarks.soak.run import Run
from benchmarks.soak.settings import FLOOD, Settings
from benchmarks.soak.trends import Floor, Trend
from benchmarks.soak.weights import ROLES, Look, Weight
from benchmarks.verdict import ALONE, QUIET_CORES

WHAT = "soak"
TREND_HEADINGS = (
    *("MB of", "first", "last", "an hour", "95 %"),
    *("in the second half", "a day", "flat up to", "verdict"),
)
FLOOR_HEADINGS = ("never below", "first third", "last third", "most", "rises", "flat up to", "verdict")


def trend_row(one: Trend) -> tuple[str, ...]:
    """One line of a table of trends."""
    return (
        one.name,
        f"{one.first:.1f}",
        f"{one.last:.1f}",
        f"{one.per_hour:+.2f}",
        f"{one.low:+.2f} to {one.high:+.2f}",
        "" if one.later is None else f"{one.later:+.2f}",
        f"{one.per_day:+.0f}",
        "" if one.limit is None else f"{one.limit:g}",
        one.state or "",
    )


def floor_row(one: Floor) -> tuple[str, ...]:
    """One line of the table of floors."""
    return (
        f"{one.name}, {one.unit}" if one.unit else one.name,
        number(one.first),
        number(one.last),
        number(one.most),
        str(one.rises),
        "" if one.limit is None else f"{one.limit:g}",
        one.state or "",
    )


def outcome(run: Run, figures: Figures) -> Outcome:
    """What became of the run. One that is too short to tell does not count."""
    if run.stopped:
        return Outcome.UNFINISHED
    return Outcome.FINISHED if figures.passed and not figures.unknown else Outcome.FAILED


def summary(run: Run, figures: Figures) -> Summary:
    """What of the run belongs into the results."""
    settings, account = run.settings, run.account
    rate = f"{run.rate:.2f} a second"
    if run.saturated is not None:
        rate += f", {100 * run.rate / run.saturated:.0f} % of the saturated rate"
    if settings.flooded:
        rate += f", after {settings.flood_s:.0f} s of {FLOOD:g} times that"
    cut = ", cut short" if run.stopped else ""
    return Summary(
        "A soak",
        [
            f"`trident serve` under load for {run.seconds / 60:.0f} minutes{cut}: {account.told} requests at {rate}, "
            f"at planned moments; {len(run.pictures)} pictures in turn at random, {100 * settings.bad:g} % of "
            f"the requests with a bad one, {100 * settings.leaving:g} % of the callers gone before they were answered, "
            f"and a gallery that changed {run.changes.enrolled + run.changes.forgotten} times.",
            *(f"{'✓' if one.good else '✗'} {' '.join(one.sentence.split())}." for one in figures.verdicts),
            what_flat_means(run, figures),
            "Memory is what all processes, `trident serve` itself included, have allocated and shared, with what is "
            "swapped out; files that they have mapped are told beside it, since others who map the same change their "
            f"share. Growth is the slope of Theil and Sen through the medians of equal stretches of the "
            f"{counted_s(figures) / 60:.0f} minutes that count, the interval Sen's; it is too narrow where memory "
            "wanders for longer than a stretch.",
        ],
        [
            SummaryTable(TREND_HEADINGS, [trend_row(one) for one in (*figures.memory, *figures.disk)]),
            SummaryTable(FLOOR_HEADINGS, [floor_row(one) for one in figures.floors]),
        ],
    )


def to_json(run: Run, figures: Figures, facts: Mapping[str, Any]) -> dict[str, Any]:
    """All figures, and every look."""
    account = run.account
    return {
        "what": WHAT,
        "outcome": outcome(run, figures),
        "circumstances": dict(facts),
        "settings": _settings(run.settings),
        ALONE: _others(run.looks) <= QUIET_CORES,
        "verdicts": [verdict.to_json() for verdict in figures.verdicts],
        "too_short_to_tell": figures.unknown,
        "stopped": run.stopped,
        "server": dict(run.server),
        "status": dict(run.status),
        "exit_code": run.exit_code,
        "orphans": list(run.orphans),
        "pictures": list(run.pictures),
        "bad_pictures": list(run.bad_pictures),
        "saturated_per_second": run.saturated,
        "rate_per_second": run.rate,
        "begin": run.begin,
        "seconds": run.seconds,
        "counted_seconds": counted_s(figures),
        "planned": account.planned,
        "told": account.told,
        "failed": account.failed,
        "codes": [
            {"kind": kind, "code": code, "requests": count, "expected": expected}
            for kind, code, count, expected in account.rows()
        ],
        "failures": [asdict(one) for one in account.examples],
        "gallery": asdict(run.changes),
        "generator_delay_ms": _delays(run),
        "windows": [
            {
                "from_s": place * account.window_s,
                "requests": account.windows[place].requests,
                "failed": account.windows[place].failed,
                "latency": None if (found := account.windows[place].latency) is None else asdict(found),
            }
            for place in sorted(account.windows)
        ],
        "memory": [{**asdict(one), "per_day": one.per_day} for one in figures.memory],
        "disk": [{**asdict(one), "per_day": one.per_day} for one in figures.disk],
        "own": None if figures.own is None else asdict(figures.own),
        "floors": [{**asdict(one), "rise": one.rise} for one in figures.floors],
        "p50_ratio": None if figures.p50_ratio is None else asdict(figures.p50_ratio),
        "p99_ratio": None if figures.p99_ratio is None else asdict(figures.p99_ratio),
        "looks": _columns(run.looks),
        "looks_cost_cores": _cost(run),
        "summary": summary(run, figures).to_json(),
    }


def _settings(settings: Settings) -> dict[str, Any]:
    return {
        **asdict(settings),
        "repository": str(settings.repository),
        "pictures": None if settings.pictures is None else str(settings.pictures),
    }


def _columns(looks: Sequence[Look]) -> dict[str, Any]:
    """Every look, a list for each of its figures: names are not repeated thousands of times."""
    names = ("at", "shm_files", "shm_mb", "free_mb", "own_mb", "others_cores", "cost_s")
    return {
        **{name: [getattr(look, name) for look in looks] for name in names},
        "disk_mb": {name: [look.disk_mb[name] for look in looks] for name in (looks[0].disk_mb if looks else ())},
        "roles": {
            role: {name: [getattr(look.roles.get(role, Weight()), name) for look in looks] for name in asdict(Weight())}
            for role in ROLES
            if any(role in look.roles for look in looks)
        },
    }


def _others(looks: Sequence[Look]) -> float:
    return float(np.mean([look.others_cores for look in looks])) if looks else 0.0


def _cost(run: Run) -> float:
    """Cores that the looks kept busy, on average."""
    return sum(look.cost_s for look in run.looks) / max(run.seconds, 1e-3)


def _delays(run: Run) -> dict[str, float]:
    delays = to_numpy(run.account.delays_ms)
    if not len(delays):
        return {}
    return dict(zip(("p50", "p99", "worst"), np.percentile(delays, [50, 99, 100]).tolist(), strict=True))


def to_html(run: Run, figures: Figures, facts: Mapping[str, Any]) -> str:
    """The page."""
    account, left_out_s = run.account, run.settings.left_out_s
    lead = (
        f"{account.told} requests in {run.seconds / 60:.1f} minutes{', cut short' if run.stopped else ''}, sent from a "
        f"process of their own. {facts['machine']['processor']}, {facts['machine']['cores']} cores."
    )
    parts = [
        *(verdict.to_html() for verdict in figures.verdicts),
        report.heading("What flat means"),
        report.paragraph(what_flat_means(run, figures)),
        report.paragraph(summary(run, figures).sentences[-1], "note"),
        report.heading("Memory"),
        plots.memory(run.looks, run.begin, left_out_s).to_html(),
        report.table(TREND_HEADINGS, [trend_row(one) for one in figures.memory]),
        report.heading("File handles, processes, shared memory, disk"),
        plots.counts(run.looks, run.begin, left_out_s).to_html(),
        report.table(FLOOR_HEADINGS, [floor_row(one) for one in figures.floors]),
        plots.shared_and_disk(run.looks, run.begin, left_out_s).to_html(),
        report.table(TREND_HEADINGS, [trend_row(one) for one in figures.disk]),
        report.heading("Latency"),
        plots.latency(account, left_out_s).to_html(),
        *_requests_parts(run),
        *_circumstances_parts(run, figures, facts),
    ]
    return report.page("A soak", lead, parts)


def _requests_parts(run: Run) -> list[str]:
    account = run.account
    every = [window.latencies_ms for window in account.windows.values()]
    latency = summarise(np.concatenate([to_numpy(one) for one in every])) if every else None
    parts = [
        report.heading("What became of every request"),
        report.table(
            ("caller", "ended in", "requests", "as it should"),
            [(kind, code, str(count), "yes" if expected else "no") for kind, code, count, expected in account.rows()],
        ),
    ]
    if latency is not None:
        parts.append(
            report.paragraph(
                f"Of {latency.count} good pictures that were answered half took {latency.p50:.0f} ms, 99 % up to "
                f"{latency.p99:.0f} ms, the slowest {latency.worst:.0f} ms, counted from the planned moment.",
                "note",
            )
        )
    if account.examples:
        rows = [(f"{(one.at - run.begin) / 60:.1f}", one.picture, one.code, one.message) for one in account.examples]
        parts += [report.heading("The first that failed"), report.table(("minute", "sent", "code", "message"), rows)]
    return parts


def _circumstances_parts(run: Run, figures: Figures, facts: Mapping[str, Any]) -> list[str]:
    delays = _delays(run)
    own = figures.own
    shown = {
        **facts,
        "settings": _settings(run.settings),
        "good pictures": list(run.pictures),
        "bad ones": list(run.bad_pictures),
        "saturated rate": "not measured" if run.saturated is None else f"{run.saturated:.2f} a second",
        "rate": f"{run.rate:.2f} a second",
        "delay of the generator": "none" if not delays else f"{delays['p50']:.1f} ms, p99 {delays['p99']:.1f} ms",
        "looks at the server": f"{len(run.looks)}, which kept {_cost(run):.4f} cores busy",
        "memory of the measurement": "" if own is None else f"{own.last:.0f} MB, {own.per_hour:+.1f} MB an hour",
        "cores kept busy by others": f"{_others(run.looks):.2f} on average",
        "server": run.server,
    }
    return [
        report.heading("Circumstances"),
        report.facts_table(shown),
        report.heading("The end of the server's log"),
        f"<pre>{escape(run.said) or 'empty'}</pre>",
    ]
