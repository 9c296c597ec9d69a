"""What the figures come to, in sentences and tables: the same for the terminal, the page and the summary."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.fit_fusion import CUTS, FOLDS
from benchmarks.fusion_gain.categories import DETECTOR_ALONE, FUSED, HELD_OUT, Part, Way, pictures_needed
from benchmarks.fusion_gain.fine import FineFigures, share
from benchmarks.fusion_gain.links import LinkFigures, RuleFigures
from benchmarks.fusion_gain.measure import Figures, FittedOn
from benchmarks.fusion_gain.resampling import Estimate
from benchmarks.report import Summary, SummaryTable

FEW = 3
"""A category on no more pictures than that has an average precision that one pair of pictures decides."""


def signed(points: float) -> str:
    """A difference in points, two digits.

    >>> signed(-0.734), signed(0.0)
    ('−0.73', '0.00')
    """
    rounded = round(points, 2)
    return f"{rounded:+.2f}".replace("-", "−") if rounded else "0.00"


def interval(found: Estimate) -> str:
    """Its interval, in points."""
    return f"{signed(100 * found.low)} to {signed(100 * found.high)}"


def gained(found: Estimate) -> str:
    """A difference and its interval, in points."""
    return f"{signed(100 * found.value)} ({interval(found)})"


def way_rows(ways: Sequence[Way]) -> list[tuple[str, ...]]:
    """One row for each way of scoring: name, mAP, its interval, what it gains over the detector alone, the interval."""
    return [
        (
            way.name,
            f"{way.map.value:.4f}",
            f"{way.map.low:.3f} to {way.map.high:.3f}",
            *(("", "") if way.name == DETECTOR_ALONE else (signed(100 * way.gain.value), interval(way.gain))),
        )
        for way in ways
    ]


WAY_HEADINGS = ("categories", "image-level mAP", "95 %", "over the detector, points", "95 %")
PART_HEADINGS = ("part", "measure", "without", "with", "gain, points", "95 %", "")


def part_rows(parts: Sequence[Part]) -> list[tuple[str, ...]]:
    """One row for each part of fusion."""
    return [
        (
            part.name,
            part.measure,
            f"{part.without:.4f}",
            f"{part.served:.4f}",
            signed(100 * part.gain.value),
            interval(part.gain),
            verdict(part.gain),
        )
        for part in parts
    ]


def verdict(found: Estimate) -> str:
    """What an interval allows one to say, of figures as they are shown: a gain of thousandths of a point is none."""
    shown = Estimate(*(round(100 * value, 2) for value in (found.value, found.low, found.high)))
    if shown.value == shown.low == shown.high == 0:
        return "changes nothing"
    return {1: "gains", 0: "cannot be told from nothing", -1: "costs"}[shown.sign]


def sentences(figures: Figures) -> list[str]:
    """What was compared, what came of it, and where it gains nothing."""
    return [
        compared(figures),
        *whole(figures),
        by_part(figures.parts),
        by_category(figures),
        *rescoring_held_out(figures),
        linked(figures.links),
        *labelled(figures.fine),
        *widths(figures),
    ]


def compared(figures: Figures) -> str:
    """What was compared."""
    count, largest = len(figures.categories.by_category), figures.largest_difference
    same = f"within {largest:.0e}" if largest else "to the last digit"
    return (
        f"{figures.pictures} labelled pictures that show {count} COCO categories, faces or plates in "
        f"{figures.pictures_with_entities} of them. The served branches were asked once; fusion itself ran in one "
        "process under different policies, and with the served one it gave the server's own scores "
        f"{same}. Gains are in points, with 95 % of the resamples of the pictures: weights that were fitted are not "
        "fitted again for each resample, so the interval leaves out the chance in them. Resamples hold pictures twice, "
        "which lifts average precision itself: an interval of one may lie mostly above its value."
    )


def whole(figures: Figures) -> list[str]:
    """What all of fusion gains over the detector alone, honest first."""
    by_name = {way.name: way.gain for way in figures.categories.ways}
    served = by_name[FUSED]
    pictures = {
        FittedOn.THESE: "was fitted on these very pictures, so its figures flatter it",
        FittedOn.OTHERS: "was fitted on another set of pictures, which may share some with these",
        FittedOn.UNKNOWN: "may have been fitted on these pictures: its file does not tell",
    }[figures.fitted_on]
    weight = f"The served weight of the classifier, {figures.policy.weights.classifier:g}, {pictures}."
    if figures.categories.weights_in_folds is None:
        return [
            f"Fused as served, the categories gain {gained(served)} over the detector alone: {verdict(served)}. "
            f"{weight} No weight was held out: {figures.not_held_out}."
        ]
    low, high = figures.categories.weights_in_folds
    held_out = by_name[HELD_OUT]
    return [
        f"On pictures that the weight was not fitted on ({FOLDS} folds, mean over {CUTS} ways of cutting them, weights "
        f"of {low:.2f} to {high:.2f}) fusion gains {gained(held_out)} over the detector alone: {verdict(held_out)}.",
        f"As served it gains {gained(served)}: {verdict(served)}. {weight}",
    ]


def by_part(parts: Sequence[Part]) -> str:
    """Which parts gain, which cost, and which do nothing that could be seen."""
    said = []
    for word in ("gains", "costs", "cannot be told from nothing", "changes nothing"):
        names = [part.name for part in parts if verdict(part.gain) == word]
        if names:
            said.append(f"{word}: {'; '.join(names)}")
    return "Part by part. " + ". ".join(sentence[0].upper() + sentence[1:] for sentence in said) + "."


def by_category(figures: Figures) -> str:
    """How many categories gain and lose, and how little most of them rest on."""
    found = figures.categories.by_category
    up, down = (sum(one.gain.sign == sign for one in found) for sign in (1, -1))
    few = sum(one.positives <= FEW for one in found)
    same = sum(one.gain.value == 0 for one in found)
    nothing = len(found) - up - down
    most = max(found, key=lambda one: abs(one.gain.value))
    all_points = 100 * sum(one.gain.value for one in found) / len(found)
    its_points = 100 * most.gain.value / len(found)
    return (
        f"Of the {signed(all_points)} points as served, {most.name} alone, on {most.positives} of the pictures, makes "
        f"{signed(its_points)}. By category, the interval of the gain over the detector includes 0 for {nothing} of "
        f"{len(found)}, lies above it for {up} and below for {down}; for {same} the average precision stays as it is. "
        f"{few} categories are on {FEW} pictures or fewer, so single categories say next to nothing."
    )


def rescoring_held_out(figures: Figures) -> list[str]:
    """What rescoring gains where its λ were fitted on other pictures."""
    report = figures.boxes.held_out
    if report is None:
        return ["For the rescoring of boxes nothing was held out: the pictures are too few."]
    low, high = report["coco_map_gain_held_out_halves_points"]
    gain = report["coco_map_gain_held_out_points"]
    nothing = " That is nothing." if low <= 0 <= high else ""
    return [
        f"Rescoring whose λ are fitted on one half of the pictures changes the box mAP of the other by {signed(gain)} "
        f"points (single halves: {signed(low)} to {signed(high)}).{nothing}"
    ]


def linked(found: LinkFigures) -> str:
    """Whether the optimal assignment differs from simpler ones, and which is right where labels tell."""
    if not found.pictures:
        return "Assignment: no picture has a face or a plate, so nothing can be said of it."
    served, *others = found.rules
    differing = ", ".join(f"{short(rule)} {rule.otherwise}" for rule in others)
    own = ", ".join(f"{short(rule)} {rule.own}" for rule in found.rules)
    truths = served.right + served.wrong + served.unlinked
    checked = (
        "for no face do the labels tell its person"
        if not truths
        else f"of {truths} faces whose person the labels tell, "
        + ", ".join(f"{short(rule)} has {rule.right} right and {rule.wrong} wrong" for rule in found.rules)
    )
    return (
        f"Assignment, of {found.faces} sure faces and {found.plates} sure plates in {found.pictures} pictures: links "
        f"other than the served ones: {differing}. {checked[0].upper()}{checked[1:]}; labelled persons who got a face "
        f"that they hold: {own}."
    )


def short(rule: RuleFigures) -> str:
    """The rule in a word."""
    return rule.name.split(",")[0]


def labelled(found: FineFigures) -> list[str]:
    """How often a fine label is right, beside what the scene's first label says without any."""
    if not found.with_object:
        return ["Fine labels: no labelled picture shows an object whose finer name is known, so nothing can be said."]
    served = found.rules[0]
    right = share(served.right, served.labelled)
    sure = "" if right is None else f" ({percent(right)} of those given)"
    first = share(found.scene_right, found.with_object)
    nothing = (
        " On such pictures of one thing they name nothing that the scene's first label does not; what they add is the "
        "box that it belongs to."
        if served.right <= found.scene_right
        else ""
    )
    return [
        f"Fine labels, on {found.with_object} pictures with an object of the labelled class's category: "
        f"{served.right} right, {served.wrong} wrong{sure}, none on {found.with_object - served.labelled}; without "
        f"them the first scene label is right on {found.scene_right} ({'' if first is None else percent(first)})."
        f"{nothing} The thresholds were set by hand on pictures like these."
    ]


def percent(found: Estimate) -> str:
    """A share with its interval, in per cent.

    >>> percent(Estimate(0.5, 0.25, 0.75))
    '50 %, 25 to 75'
    """
    return f"{100 * found.value:.0f} %, {100 * found.low:.0f} to {100 * found.high:.0f}"


def widths(figures: Figures) -> list[str]:
    """How wide the interval is with fewer pictures, and how many it would take."""
    found = figures.categories.widths
    if not found:
        return []
    counts = ", ".join(str(width.pictures) for width in found)
    halves = ", ".join(f"{100 * width.half_width:.1f}" for width in found)
    said = f"How sure that is: with {counts} of the pictures half of the interval is {halves} points."
    by_name = {way.name: way.gain for way in figures.categories.ways}
    needed = pictures_needed(by_name.get(HELD_OUT, by_name[FUSED]), figures.pictures)
    if needed is not None:
        said += (
            f" Were it to narrow as 1/√N, it would begin at 0 with {needed} pictures; while more pictures bring in "
            "more categories that few of them show, it narrows more slowly."
        )
    return [said]


def summary(figures: Figures) -> Summary:
    """What belongs into ``benchmarks/RESULTS.md``."""
    return Summary(
        "What fusion gains",
        sentences(figures),
        [
            SummaryTable(WAY_HEADINGS, way_rows(figures.categories.ways)),
            SummaryTable(PART_HEADINGS, part_rows(figures.parts)),
        ],
    )
