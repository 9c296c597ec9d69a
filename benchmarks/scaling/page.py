"""The report: setups, limits and growth, as one HTML file and as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from benchmarks import report
from benchmarks.report import Summary, SummaryTable
from benchmarks.scaling import plots
from benchmarks.scaling.figures import Figures, Row
from benchmarks.scaling.limits import Limits, Part
from benchmarks.scaling.run import Run, Settings, Visit, callers_of
from benchmarks.scaling.setups import AS_SERVED, Setup
from benchmarks.verdict import ALONE, passed

WHAT = "scaling"
HEADINGS = (
    *("setup", "answers /s", "gain", "one caller, p50 ms", "processor ms an answer", "cores busy", "generator's cores"),
    *("memory, MB", "started in s"),
)
PART_HEADINGS = (
    *("component", "instances", "processor ms an answer", "share", "calls", "occupied ms", "of the time"),
    "answers /s at most",
)


def row(one: Row) -> tuple[str, ...]:
    """One line of the table of setups."""
    return (
        one.setup.name,
        one.rate.text(2),
        f"{one.gain:.2f}",
        "–" if one.p50_ms is None else one.p50_ms.text(),
        one.processor_ms.text(),
        one.busy_cores.text(2),
        one.generator_cores.text(2),
        one.memory_mb.text(),
        one.start_s.text(1),
    )


def part_row(part: Part) -> tuple[str, ...]:
    """One line of the table of components."""
    name = f"↳ {part.name}" if part.inner else part.name
    return (
        f"{name} (waits)" if part.waits else name,
        str(part.places.instances),
        f"{part.processor_ms:.1f}",
        f"{100 * part.share:.1f} %",
        f"{part.calls:.2f}",
        # What waits for others, several requests at a time, is not occupied by it.
        *(("", "") if part.waits else (f"{part.work_ms:.1f}", f"{100 * part.occupied:.0f} %")),
        "–" if part.ceiling is None else f"{part.ceiling:.1f}",
    )


def part_rows(limits: Limits) -> list[tuple[str, ...]]:
    """The components, and Triton's own process."""
    rows = list(map(part_row, limits.parts))
    share = f"{100 * limits.server_ms / limits.processor_ms:.1f} %"
    return [*rows, ("Triton itself", "", f"{limits.server_ms:.1f}", share, "", "", "", "")]


def limit_sentences(limits: Limits) -> list[str]:
    """What limits one server."""
    name, cores = limits.slowest.name, limits.setup.cores
    found = [
        f"An answer takes {limits.processor_ms:.0f} ms of processor time, so {cores} cores have time for "
        f"{limits.by_cores:.2f} a second.",
        f"However many cores there are, one server answers at most {limits.ceiling:.1f} a second: the "
        f"{_instances(limits)} of {name} takes {limits.slowest.processor_ms:.0f} ms for each, and everything together "
        f"then keeps {limits.cores_for_ceiling:.1f} cores busy. With more cores than that, more servers or more "
        f"instances are needed.",
    ]
    if limits.by_cores < limits.ceiling:
        found.append(f"With the {cores} cores of this setup it is the cores that limit it.")
    else:
        found.append(f"With the {cores} cores of this setup it is {name} that limits it.")
    return found


def _instances(limits: Limits) -> str:
    count = limits.slowest.places.instances
    return "one instance" if count == 1 else f"work of the {count} instances"


def summary(run: Run, figures: Figures) -> Summary:
    """What of the run belongs into the results."""
    settings = run.settings
    sentences = [
        f"Servers held to so many cores (CPU affinity of all their processes), {settings.rounds} rounds, each "
        "second one backwards; means, and from where to where the rounds lie. Saturated by callers that wait, of each "
        f"server as many, {settings.seconds:g} s; the generator may use all cores. {len(run.pictures)} pictures, one a "
        "request. The one caller asks one server.",
        _threads(run),
        *([] if figures.limits is None else limit_sentences(figures.limits)),
        *(line.sentence() for line in figures.growths),
        *(f"{verdict.sentence[0].upper()}{verdict.sentence[1:]}." for verdict in figures.verdicts),
    ]
    tables = [SummaryTable(HEADINGS, [row(one) for one in figures.rows])]
    if figures.limits is not None:
        tables.append(SummaryTable(PART_HEADINGS, part_rows(figures.limits)))
    return Summary("Growth with cores and servers", sentences, tables)


def _threads(run: Run) -> str:
    most = max(setup.cores for setup in run.setups)
    if most <= run.cores_of_their_own:
        return "As far as the system tells, each of the cores is a whole one, not a second thread of another."
    return (
        f"Of the {most} cores that were used, {run.cores_of_their_own} are different cores of the processor, as far as "
        "the system tells; what comes after them are second threads of the same cores, which add less."
    )


def to_json(run: Run, figures: Figures, facts: Mapping[str, Any]) -> dict[str, Any]:
    """All figures."""
    return {
        "what": WHAT,
        "outcome": report.Outcome.FINISHED if passed(figures.verdicts) else report.Outcome.FAILED,
        "circumstances": dict(facts),
        "settings": _settings(run.settings),
        "seconds": run.seconds,
        ALONE: figures.verdicts[-1].good,
        "verdicts": [verdict.to_json() for verdict in figures.verdicts],
        "server": dict(run.server),
        "processors": list(run.cpus),
        "cores_of_their_own": run.cores_of_their_own,
        "pictures": dict(run.pictures),
        "bytes_on_the_network": None if run.sizes is None else asdict(run.sizes),
        "setups": [_row(one) for one in figures.rows],
        "limits": None if figures.limits is None else _limits(run, figures.limits),
        "growth": [
            {
                "name": line.name,
                "cores": [setup.cores for setup in line.setups],
                "law": None
                if line.law is None
                else {**asdict(line.law), "best_cores": line.law.best, "limit": line.law.limit},
            }
            for line in figures.growths
        ],
        "visits": [_visit(visit) for visit in run.visits],
        "refused": {setup.name: why for setup, why in run.refused.items()},
        "summary": summary(run, figures).to_json(),
    }


def _settings(settings: Settings) -> dict[str, Any]:
    return {
        **asdict(settings),
        "setups": None if settings.setups is None else [setup.name for setup in settings.setups],
        "overlays": [folder.name for folder in settings.overlays],
        "repository": str(settings.repository),
        "pictures": None if settings.pictures is None else str(settings.pictures),
    }


def _setup(setup: Setup) -> dict[str, Any]:
    return {**asdict(setup), "layout": str(setup.layout), "name": setup.name, "callers_of_a_server": callers_of(setup)}


def _row(one: Row) -> dict[str, Any]:
    figures = {name: value for name, value in asdict(one).items() if name != "setup"}
    return {"setup": _setup(one.setup), **figures}


def _limits(run: Run, limits: Limits) -> dict[str, Any]:
    memory = _memory_by_model(run, limits.setup)
    return {
        "setup": _setup(limits.setup),
        "processor_ms": limits.processor_ms,
        "server_ms": limits.server_ms,
        "by_cores": limits.by_cores,
        "slowest": limits.slowest.name,
        "ceiling": limits.ceiling,
        "cores_for_ceiling": limits.cores_for_ceiling,
        "parts": [{**asdict(part), "memory_mb": memory.get(part.name, 0.0)} for part in limits.parts],
    }


def _memory_by_model(run: Run, setup: Setup) -> dict[str, float]:
    """Of one server, on average over the rounds."""
    visits = run.visits_of(setup)
    names = {name for visit in visits for name in visit.memory_mb}
    return {name: sum(visit.memory_mb.get(name, 0.0) for visit in visits) / len(visits) for name in sorted(names)}


def _visit(visit: Visit) -> dict[str, Any]:
    return {**asdict(visit), "setup": visit.setup.name, "rate": visit.saturated.rate}


def to_html(run: Run, figures: Figures, facts: Mapping[str, Any]) -> str:
    """The page."""
    lead = (
        f"{len(figures.rows)} setups, {run.settings.rounds} rounds, {run.seconds / 60:.0f} minutes. "
        f"{facts['machine']['processor']}, {facts['machine']['cores']} cores."
    )
    first, threads, *_ = summary(run, figures).sentences
    parts = [
        *(verdict.to_html() for verdict in figures.verdicts),
        report.heading("Growth"),
        plots.growth(figures.rows, figures.growths, figures.limits).to_html(),
        report.paragraph(first, "note"),
        report.paragraph(threads, "note"),
        report.table(HEADINGS, [row(one) for one in figures.rows]),
        *(report.paragraph(line.sentence()) for line in figures.growths),
        *(report.paragraph(_uneven(one), "note") for one in figures.rows if one.setup.servers > 1),
    ]
    if run.left_out:
        parts.append(report.paragraph(f"{run.left_out} setups were left out: there is no memory for so many servers."))
    if figures.limits is not None:
        parts += [
            report.heading("What limits one server"),
            *map(report.paragraph, limit_sentences(figures.limits)),
            plots.parts(figures.limits).to_html(),
            report.table(PART_HEADINGS, part_rows(figures.limits)),
            report.paragraph(
                "Processor time is that of the component's processes. An instance is one process, which works on one "
                "call at a time: how many answers a second its instances allow is their number (times their threads) "
                "by that time, and supposes a core for each. Occupied is what Triton's statistics say of the time "
                "between a call's begin and end, in which a process also waits for a core where there are too few. The "
                "recognizer is occupied while it waits for the networks that it calls, with up to eight requests at a "
                "time.",
                "note",
            ),
            report.table(
                ("process", "memory, MB"),
                [(name, f"{size:.0f}") for name, size in _memory_by_model(run, figures.limits.setup).items()],
            ),
        ]
    settings = _settings(run.settings)
    more: dict[str, Any] = {"settings": settings, "processors": list(run.cpus), "server": run.server}
    if run.sizes is not None:
        more["bytes of a request, on average"] = f"{run.sizes.request:.0f}"
        more["bytes of an answer, on average"] = f"{run.sizes.answer:.0f}"
    pictures = {name: f"{size / 1000:.0f} kB" for name, size in run.pictures.items()}
    parts += [
        report.heading("Circumstances"),
        report.facts_table({**facts, **more, "pictures": pictures, "variants": _variants(run)}),
    ]
    return report.page("Growth with cores and servers", lead, parts)


def _uneven(one: Row) -> str:
    return f"{one.setup.name}: the server that answered least answered {100 * one.least_share:.0f} % of an even share."


def _variants(run: Run) -> str:
    return ", ".join(name for name in run.places if name != AS_SERVED) or "none"
