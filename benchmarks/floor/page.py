"""The report of the floor: one HTML file, and the same as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from benchmarks import report
from benchmarks.charts import BLUE, GREY, Drawn, style
from benchmarks.floor.figures import HEADINGS, Comparison, Quantity, others_cores, summary, verdicts
from benchmarks.floor.run import Regime, Run
from benchmarks.floor.trials import Trial
from benchmarks.verdict import passed


def by_round(compared: Mapping[Quantity, Comparison]) -> Drawn:
    """Both sides in each round, and beside it the ratio with its interval; one row a quantity."""
    with style():
        figure = Figure(figsize=(9.5, 2.5 * len(compared)))
        grid = figure.subplots(len(compared), 2, width_ratios=(3, 2), squeeze=False)
        for (values, ratios), comparison in zip(grid, compared.values(), strict=True):
            what, ratio = comparison.quantity, comparison.ratio
            rounds = np.arange(1, len(comparison.floor) + 1)
            values.plot(rounds, comparison.floor, marker="s", ms=4, color=GREY, label="in one process")
            values.plot(rounds, comparison.served, marker="o", ms=4, color=BLUE, label="served")
            values.set(ylabel=f"{what.name}, {what.unit}", ylim=(0, 1.15 * max(*comparison.floor, *comparison.served)))
            values.set_title(str(what.regime), loc="left", fontsize=9)
            ratios.axhspan(ratio.low, ratio.high, color=BLUE, alpha=0.15, lw=0, label="95 %")
            ratios.axhline(ratio.value, color=BLUE, lw=1, label=f"mean {ratio.value:.3f}")
            ratios.axhline(1, color=GREY, lw=1, ls=":")
            ratios.plot(rounds, np.divide(comparison.served, comparison.floor), "o", ms=4, color=BLUE)
            ratios.set(ylabel="served / floor")
            ratios.legend(loc="best", fontsize=7, framealpha=0.9)
            for axes in (values, ratios):
                axes.set_xticks(rounds)
        grid[0][0].legend(loc="lower right", framealpha=0.9)
        for axes in grid[-1]:
            axes.set_xlabel("round")
        figure.tight_layout()
    return Drawn(figure, "each quantity of both sides by round, and the ratio of served to floor with its interval")


def to_html(run: Run, compared: dict[Quantity, Comparison], facts: Mapping[str, Any]) -> str:
    """The page."""
    said = summary(run, compared)
    settings = {
        **asdict(run.settings),
        "pictures": {name: f"{size / 1000:.0f} kB" for name, size in run.pictures.items()},
        "pictures in a block": {str(regime): count for regime, count in run.requests.items()},
        "all of it took": f"{run.seconds / 60:.1f} minutes",
        "cores that others kept busy": f"{others_cores(run):.2f} on average, "
        f"{max(turn.others_cores for turn in run.turns):.2f} in the worst block",
    }
    return report.page(
        said.title,
        said.sentences[0],
        (
            *(one.to_html() for one in verdicts(run)),
            report.table(HEADINGS, [comparison.cells() for comparison in compared.values()]),
            *(report.paragraph(sentence) for sentence in said.sentences[1:]),
            report.heading("Round by round"),
            by_round(compared).to_html(),
            report.paragraph(
                "Latency is the time around the call in the process, and from sending to the answer at the client of "
                "the server. A block ends with its last picture, so at its very end not all cores are busy: with the "
                "floor, whose processes take a picture each, for longer than with the server, whose branches share "
                "one. Processor time is that of the process or processes, and of the server with its stubs.",
                "note",
            ),
            report.heading("Which floor"),
            report.paragraph(
                "What was tried, each for a few seconds, before the server was started. The floor is the fastest whose "
                "answers are those of networks with one thread, which the served ones have."
            ),
            report.table(
                ("", "pictures a second", "median latency, ms", "processor time a picture, s", "verdict"),
                [_trial_row(run, regime, trial) for regime in Regime for trial in run.trials[regime]],
            ),
            report.heading("Settings"),
            report.facts_table(settings),
            report.heading("Circumstances"),
            report.facts_table({**facts, "server": run.server}),
        ),
    )


def _trial_row(run: Run, regime: Regime, trial: Trial) -> tuple[str, ...]:
    block = trial.block
    verdict = "the floor" if trial is run.chosen[regime] else "other answers" if trial.different else "slower"
    return (
        f"{regime}: {trial.variant.name}",
        f"{block.rate:.2f}",
        f"{np.median(block.latencies_ms):.1f}",
        f"{block.cpu_s / len(block.latencies_ms):.3f}",
        verdict,
    )


def to_json(run: Run, compared: dict[Quantity, Comparison], facts: Mapping[str, Any]) -> dict[str, Any]:
    """All of it, down to the single latencies."""
    return {
        "what": "floor",
        "outcome": report.Outcome.FINISHED if passed(verdicts(run)) else report.Outcome.FAILED,
        "circumstances": {**facts, "server": run.server},
        "settings": asdict(run.settings),
        "seconds": run.seconds,
        "pictures": dict(run.pictures),
        "pictures_in_a_block": dict(run.requests),
        "compared": [comparison.to_json() for comparison in compared.values()],
        "floor": {regime: run.chosen[regime].variant.name for regime in Regime},
        "trials": [
            {
                "regime": regime,
                **asdict(trial.variant),
                "pictures_per_second": trial.block.rate,
                "cpu_s": trial.block.cpu_s,
                "latencies_ms": trial.block.latencies_ms,
                "different": trial.different,
                "chosen": trial is run.chosen[regime],
            }
            for regime in Regime
            for trial in run.trials[regime]
        ],
        "blocks": [asdict(turn) for turn in run.turns],
        "summary": summary(run, compared).to_json(),
    }
