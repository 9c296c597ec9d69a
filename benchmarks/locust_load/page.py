"""The report: one HTML page, the figures as JSON, and what of it belongs into ``RESULTS.md``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from benchmarks import report
from benchmarks.charts import AMBER, BLUE, GREY, RED, Drawn, style
from benchmarks.locust_load.figures import Figures, Group
from benchmarks.locust_load.payloads import COMPONENT_PICTURES, MOST_PICTURES
from benchmarks.locust_load.process import Settings
from benchmarks.locust_load.shapes import Kind
from benchmarks.report import Outcome, Summary, SummaryTable
from benchmarks.swaps.resources import Sample
from benchmarks.verdict import ALONE, Verdict, left_alone
from trident.contract import ENSEMBLE

CLOSED_LOOP = (
    "Users wait for their answers and ask again: a closed loop. A server that stalls is asked less meanwhile, so these "
    "latencies are not those of callers who come at their own pace; the latency curve shows them."
)
_HEADINGS = ("requests", "failed", "per second", "p50 ms", "p95 ms", "p99 ms", "worst ms")
_STAGE_HEADINGS = ("users", "from s", "to s", *_HEADINGS)


@dataclass(frozen=True, slots=True)
class Run:
    """A load that was made, and what it was made with."""

    figures: Figures
    settings: Settings
    facts: Mapping[str, Any]
    """What it was measured on."""
    counted: Mapping[str, Any]
    """What ``locustfile`` has written."""
    pictures: Sequence[Path]
    """What was sent."""
    samples: Sequence[Sample]
    """Of the server's processes, at several moments; none where the server is somebody else's."""
    files: Sequence[Path]
    """Locust's own."""

    @property
    def memory_mb(self) -> list[float]:
        """Of all the server's processes, at those moments."""
        return [sample.memory_mb for sample in self.samples]

    @property
    def verdicts(self) -> list[Verdict]:
        """What speaks against the figures."""
        if not self.samples:
            return []
        return [left_alone(float(np.mean([sample.others_cores for sample in self.samples])), "on average")]


def summary(run: Run) -> Summary:
    """What belongs into ``RESULTS.md``."""
    figures, settings = run.figures, run.settings
    batches = settings.batch.replace(",", " or ")
    sentences = [
        f"{_course(settings)}: {_outcome(figures)}.",
        f"They sent {sizes(run.pictures)}, {batches} in a request, each over a connection of its own. Every answer was "
        "read and checked.",
    ]
    if settings.models != (ENSEMBLE,):
        sentences.append(
            "Components were sent the tensors that they are given within the ensemble, of at most "
            f"{COMPONENT_PICTURES} pictures."
        )
    if figures.workers:
        sentences.append(f"{len(figures.workers)} processes of locust made the load.")
    if len(run.memory_mb) > 1:
        first, last = run.memory_mb[0], run.memory_mb[-1]
        sentences.append(
            f"Memory of the server's processes: {first:.0f} MB at first, {last:.0f} MB at the end, at most "
            f"{max(run.memory_mb):.0f} MB."
        )
    sentences += [f"{'✓' if one.good else '✗'} {one.sentence}." for one in run.verdicts]
    if figures.lateness is not None:
        late = figures.lateness
        sentences.append(
            f"The generator itself was late by {late.p50:.1f} ms in the median and by {late.p99:.1f} ms at p99, which "
            "is part of the latencies."
        )
    sentences.append("The rows of the stages leave out the first second of each.")
    tables = [SummaryTable(_STAGE_HEADINGS, _stage_rows(figures))]
    if len(figures.by_request) > 1:
        tables.append(SummaryTable(("model and batch", *_HEADINGS), _request_rows(figures)))
    return Summary("Load by locust", [*sentences, CLOSED_LOOP], tables)


def sizes(pictures: Sequence[Path]) -> str:
    """How many pictures there are, and of what sizes.

    Only their headers are read. What is no picture counts too, since it is sent.
    """
    megapixels = []
    for picture in pictures:
        try:
            with Image.open(picture) as opened:
                megapixels.append(opened.width * opened.height / 1e6)
        except (OSError, Image.DecompressionBombError):
            continue
    number = "1 picture" if len(pictures) == 1 else f"{len(pictures)} pictures"
    if len(pictures) > MOST_PICTURES:
        number = f"{MOST_PICTURES} of {number}"
    if not megapixels:
        return f"{number} of unknown size"
    return f"{number} of {min(megapixels):.2f} to {max(megapixels):.2f} megapixels"


def _course(settings: Settings) -> str:
    course = {
        Kind.CONSTANT: f"{settings.users} users",
        Kind.STEPS: f"Up to {settings.users} users, in steps,",
        Kind.SPIKE: f"{settings.users} users at once amid a fifth of them",
        Kind.SOAK: f"{settings.users} users, for long,",
    }[settings.shape]
    return f"{course} asked {', '.join(settings.models)} for {settings.seconds} seconds"


def _outcome(figures: Figures) -> str:
    requests = f"{figures.whole.requests} requests"
    if not figures.failed:
        return f"{requests}, none failed"
    codes = ", ".join(f"{number} {code}" for code, number in figures.whole.failed.items())
    return f"{requests}, {figures.failed} failed ({codes})"


def _cells(group: Group) -> tuple[str, ...]:
    latency = group.latency
    return (
        str(group.requests),
        str(sum(group.failed.values())),
        "" if group.per_second is None else f"{group.per_second:.2f}",
        *(
            ("", "", "", "")
            if latency is None
            else (f"{value:.0f}" for value in (latency.p50, latency.p95, latency.p99, latency.worst))
        ),
    )


def _stage_rows(figures: Figures) -> list[tuple[str, ...]]:
    return [
        (str(stage.users), f"{stage.begin_s:.0f}", f"{stage.end_s:.0f}", *_cells(stage.group))
        for stage in figures.stages
    ]


def _request_rows(figures: Figures) -> list[tuple[str, ...]]:
    return [(one.name, *_cells(one)) for one in (*figures.by_request, figures.whole)]


def _settings(settings: Settings) -> dict[str, Any]:
    pictures = "the project's sample pictures" if settings.pictures is None else str(settings.pictures)
    return {**asdict(settings), "shape": settings.shape.value, "pictures": pictures}


def to_json(run: Run) -> dict[str, Any]:
    """Everything."""
    figures = run.figures
    return {
        "what": "load",
        "outcome": (Outcome.FAILED if figures.failed else Outcome.FINISHED).value,
        "circumstances": dict(run.facts),
        "settings": _settings(run.settings),
        "pictures": [picture.name for picture in run.pictures],
        "seconds": figures.seconds,
        "requests": figures.whole.requests,
        "failed": dict(figures.whole.failed),
        "whole": asdict(figures.whole),
        "by_request": [asdict(one) for one in figures.by_request],
        "stages": [asdict(one) for one in figures.stages],
        "moments": [asdict(one) for one in figures.moments],
        "generator_lateness_ms": None if figures.lateness is None else asdict(figures.lateness),
        "workers": list(figures.workers.values()),
        "memory_mb": run.memory_mb,
        ALONE: all(one.good for one in run.verdicts),
        "others_cores": [sample.others_cores for sample in run.samples],
        "locust": dict(run.counted["locust"]),
        "files": [file.name for file in run.files],
        "summary": summary(run).to_json(),
    }


def to_html(run: Run) -> str:
    """The page."""
    figures, settings, told = run.figures, run.settings, summary(run)
    parts = [
        report.verdict(not figures.failed, _outcome(figures)),
        *(report.paragraph(sentence) for sentence in told.sentences[1:]),
        report.heading("By the number of users"),
        report.paragraph(
            "Requests that were answered in a stage, without its first second; failed ones have no part in the "
            "latencies and rates. A latency is that of the call, to three digits.",
            "note",
        ),
        report.table(_STAGE_HEADINGS, _stage_rows(figures)),
        over_time(figures).to_html(),
        report.heading("By model and batch"),
        report.table(("", *_HEADINGS), _request_rows(figures)),
        report.heading("Locust's own files"),
        report.paragraph(", ".join(file.name for file in run.files)),
        report.heading("Circumstances"),
        report.facts_table({**run.facts, "settings": _settings(settings)}),
    ]
    machine = run.facts["machine"]
    lead = f"{_course(settings)}. {machine['processor']}, {machine['cores']} cores."
    return report.page(told.title, lead, parts)


def over_time(figures: Figures) -> Drawn:
    """Users, answers a second and latencies over the course of the load."""
    at = [moment.at_s for moment in figures.moments]
    known = [(moment.at_s, moment.latency) for moment in figures.moments if moment.latency is not None]
    with style():
        figure = Figure(figsize=(9.5, 5.4))
        axes_rate, axes_latency = figure.subplots(2, 1, sharex=True)
        answered = [moment.per_second for moment in figures.moments]
        shown: list[Any] = [*axes_rate.plot(at, answered, ".-", color=BLUE, label="answers a second")]
        if figures.failed:
            failed = [moment.failed_per_second for moment in figures.moments]
            shown += axes_rate.plot(at, failed, "x-", color=RED, label="failures a second")
        axes_users = axes_rate.twinx()
        edges = [*(stage.begin_s for stage in figures.stages), figures.stages[-1].end_s]
        users = [stage.users for stage in figures.stages]
        shown.append(axes_users.stairs(users, edges, color=GREY, lw=1.5, ls="--", label="users (right)"))
        axes_rate.set(ylabel="a second", ylim=(0, None))
        axes_users.set(ylabel="users", ylim=(0, 1.05 * max(users)))
        axes_users.grid(visible=False)
        above = {"loc": "lower right", "bbox_to_anchor": (1.0, 1.0), "frameon": False}
        axes_rate.legend(handles=shown, ncols=len(shown), **above)
        for name, colour, mark in (("p50", BLUE, ".-"), ("p95", AMBER, "^-")):
            values = [getattr(latency, name) for _, latency in known]
            axes_latency.plot([at_s for at_s, _ in known], values, mark, color=colour, ms=4, label=name)
        for stage in figures.stages[1:]:
            axes_latency.axvline(stage.begin_s, color=GREY, lw=0.7, ls=":")
        axes_latency.set(xlabel="seconds", ylabel="latency of answers, ms", ylim=(0, None))
        axes_latency.legend(ncols=2, **above)
        figure.tight_layout()
    return Drawn(figure, "users, answers a second, and median and 95th percentile of the latency over time")
