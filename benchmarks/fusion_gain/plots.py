"""The pictures of the report."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.charts import AMBER, BLUE, GREY, Drawn, style
from benchmarks.fusion_gain.categories import DETECTOR_VOICE, MEASURE, CategoryFigures, CategoryGain, Part
from benchmarks.fusion_gain.resampling import Estimate

_WIDE = 9.5
_PART_INCHES, _CATEGORY_INCHES = 0.3, 0.22


def parts(every: Sequence[Part]) -> Drawn:
    """What each part gains, with its interval; without the detector's voice, beside which nothing could be seen."""
    found = [part for part in every if part.name != DETECTOR_VOICE]
    with style():
        figure = Figure(figsize=(_WIDE, _PART_INCHES * len(found) + 1.2))
        axes = figure.add_subplot()
        for image_level, colour, marker in ((True, BLUE, "o"), (False, AMBER, "s")):
            rows = [(row, part) for row, part in enumerate(found) if (part.measure == MEASURE) == image_level]
            if rows:
                _whiskers(axes, [(row, part.gain) for row, part in rows], colour, marker, rows[0][1].measure)
        _name_rows(axes, [part.name for part in found])
        axes.set_xlabel("gain with 95 % interval, points of mAP")
        axes.legend(loc="lower right", framealpha=0.9)
        figure.tight_layout()
    return Drawn(figure, "gain of each part of fusion in points of mAP, with its 95 % interval")


def weight_curve(found: CategoryFigures, served: float) -> Drawn:
    """The gain over the detector alone, for every weight of the classifier."""
    weights = [point.weight for point in found.curve]
    with style():
        figure = Figure(figsize=(_WIDE, 3.4))
        axes = figure.add_subplot()
        low, high = ([100 * getattr(point.gain, end) for point in found.curve] for end in ("low", "high"))
        axes.fill_between(weights, low, high, color=BLUE, alpha=0.15, lw=0, label="95 % of resamples")
        axes.plot(weights, [100 * point.gain.value for point in found.curve], "o-", ms=3, color=BLUE, label="gain")
        axes.axhline(0, color="black", lw=0.8)
        axes.axvline(served, color=AMBER, lw=1.4, ls="--", label=f"served weight, {served:g}")
        if found.weights_in_folds is not None:
            axes.axvspan(*found.weights_in_folds, color=AMBER, alpha=0.15, lw=0, label="weights fitted in the folds")
        axes.set(xlabel="weight of the classifier, the others being as served", xlim=(weights[0], weights[-1]))
        axes.set_ylabel("gain over the detector alone,\npoints of image-level mAP")
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=4, frameon=False)
        figure.tight_layout()
    return Drawn(figure, "gain of the fused categories over the detector alone against the classifier's weight")


def by_category(found: Sequence[CategoryGain]) -> Drawn:
    """The gain of the given categories, most gained first; grey where its interval includes 0."""
    rows = sorted(found, key=lambda one: (-one.gain.value, -one.positives, one.name))
    with style():
        figure = Figure(figsize=(_WIDE, _CATEGORY_INCHES * len(rows) + 1.2))
        axes = figure.add_subplot()
        signs = ((0, GREY, "o", "interval includes 0"), (1, BLUE, "^", "gains"), (-1, AMBER, "v", "loses"))
        for sign, colour, marker, label in signs:
            shown = [(row, one.gain) for row, one in enumerate(rows) if one.gain.sign == sign]
            if shown:
                _whiskers(axes, shown, colour, marker, label)
        _name_rows(axes, [f"{one.name} ({one.positives})" for one in rows])
        axes.set_xlabel("gain over the detector alone with 95 % interval, points of average precision")
        axes.legend(loc="lower right", framealpha=0.9)
        figure.tight_layout()
    return Drawn(figure, "gain of the fused score over the detector alone for each category, with its 95 % interval")


def widths(found: CategoryFigures) -> Drawn:
    """How wide the interval of the gain is with fewer pictures, and what 1/√N would make of the last."""
    counts = [width.pictures for width in found.widths]
    halves = [100 * width.half_width for width in found.widths]
    with style():
        figure = Figure(figsize=(_WIDE, 2.8))
        axes = figure.add_subplot()
        expected = [halves[-1] * (counts[-1] / count) ** 0.5 for count in counts]
        axes.plot(counts, expected, "--", color=GREY, label="the last one, were it to widen as 1/√N")
        axes.plot(counts, halves, "o-", color=BLUE, label="random choices of these pictures")
        axes.set(xlabel="pictures", ylabel="half of the interval, points", xlim=(0, None), ylim=(0, None))
        axes.legend(loc="best", framealpha=0.9)
        figure.tight_layout()
    return Drawn(figure, "half of the interval of the gain against the number of pictures")


def _whiskers(axes: Axes, found: Sequence[tuple[int, Estimate]], colour: str, marker: str, label: str) -> None:
    """Rows with a figure and its interval each."""
    rows, gains = [row for row, _ in found], [gain for _, gain in found]
    # Not errorbar, which refuses an interval that does not hold its value: a percentile interval need not.
    axes.hlines(rows, [100 * one.low for one in gains], [100 * one.high for one in gains], color=colour, lw=1.4)
    axes.plot([100 * one.value for one in gains], rows, marker, ms=4.5, color=colour, label=label)


def _name_rows(axes: Axes, names: Sequence[str]) -> None:
    axes.set_yticks(list(range(len(names))), list(names))
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.grid(axis="y", visible=False)
    axes.axvline(0, color="black", lw=0.8)
