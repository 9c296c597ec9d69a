"""The report: what was measured, in tables and pictures, as one HTML file and as JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from benchmarks import report
from benchmarks.fusion_gain import plots, words
from benchmarks.fusion_gain.categories import CategoryGain
from benchmarks.fusion_gain.fine import share
from benchmarks.fusion_gain.measure import Figures, Settings
from benchmarks.fusion_gain.resampling import NO_DIFFERENCE

WHAT = "fusion-gain"


def to_json(
    figures: Figures, settings: Settings, facts: Mapping[str, Any], server: Mapping[str, Any]
) -> dict[str, Any]:
    """Everything but the single pictures."""
    found = figures.categories
    return {
        "what": WHAT,
        "circumstances": dict(facts),
        "settings": asdict(settings),
        "server": dict(server),
        "models": {name: dict(model) for name, model in sorted(figures.models.items())},
        "policy": asdict(figures.policy),
        "pictures": figures.pictures,
        "pictures_with_entities": figures.pictures_with_entities,
        "left_out": list(figures.left_out),
        "largest_difference_to_the_server": figures.largest_difference,
        "served_weights_fitted_on": figures.fitted_on,
        "not_held_out": figures.not_held_out,
        "weights_in_folds": found.weights_in_folds,
        "ways": [asdict(way) for way in found.ways],
        "groups": [asdict(group) for group in found.groups],
        "parts": [asdict(part) for part in figures.parts],
        "by_category": [asdict(one) for one in found.by_category],
        "classifier_weight": [asdict(point) for point in found.curve],
        "interval_by_pictures": [asdict(width) for width in found.widths],
        "boxes": {
            "ways": [asdict(way) for way in figures.boxes.ways],
            "held_out": figures.boxes.held_out,
        },
        "assignment": {
            "faces": figures.links.faces,
            "plates": figures.links.plates,
            "weaker": figures.links.weaker,
            "pictures": figures.links.pictures,
            "rules": [asdict(rule) for rule in figures.links.rules],
        },
        "fine_labels": {
            "pictures": figures.fine.pictures,
            "with_object": figures.fine.with_object,
            "scene_right": figures.fine.scene_right,
            "rules": [{**asdict(rule), "wrong": rule.wrong} for rule in figures.fine.rules],
            "coco_pictures": figures.fine.coco_pictures,
            "coco_labels": figures.fine.coco_labels,
        },
        "summary": words.summary(figures).to_json(),
    }


def to_html(figures: Figures, settings: Settings, facts: Mapping[str, Any], server: Mapping[str, Any]) -> str:
    """The page."""
    lead = (
        f"The detector alone, the classifier alone, and fused, on {figures.pictures} labelled pictures; and what each "
        "part of fusion adds."
    )
    parts = [
        *(report.paragraph(sentence) for sentence in words.sentences(figures)),
        report.heading("Part by part"),
        report.table(words.PART_HEADINGS, words.part_rows(figures.parts)),
        report.paragraph("Without the detector's voice, beside which nothing else could be seen.", "note"),
        plots.parts(figures.parts).to_html(),
        *_categories(figures),
        *_boxes(figures),
        *_links(figures),
        *_fine(figures),
        report.heading("Circumstances"),
        report.facts_table(
            {
                **facts,
                "server": server,
                "data": settings.data,
                "policy": figures.policy_file,
                "left out": figures.left_out,
                "resamples": f"{settings.resamples}, of the boxes {settings.box_resamples}, seed {settings.seed}",
                "models": {name: model["version"] for name, model in sorted(figures.models.items())},
            }
        ),
    ]
    return report.page("What fusion gains", lead, parts)


def _categories(figures: Figures) -> list[str]:
    found = figures.categories
    parts = [
        report.heading("Categories"),
        report.paragraph(
            "Average precision over pictures ranked by the score, the mean over the categories that are there. A "
            "branch that cannot speak of a category ranks every picture the same. A picture that a resample draws "
            "twice ranks beside itself, which lifts average precision: intervals of mAP lie high, of differences less.",
            "note",
        ),
        report.table(words.WAY_HEADINGS, words.way_rows(found.ways)),
    ]
    for group in found.groups:
        title = f"{group.categories} that {group.name}"
        parts.append(report.table((title, *words.WAY_HEADINGS[1:]), words.way_rows(group.ways)))
    parts += [
        report.heading("The classifier's weight"),
        plots.weight_curve(found, figures.policy.weights.classifier).to_html(),
        report.heading("By category"),
        report.paragraph(
            "In brackets how many pictures show it. The interval is that of the resamples that show it at all: with "
            "one such picture it only tells of the others, and is too narrow.",
            "note",
        ),
        *_changed(found.by_category),
        report.table(
            ("category", "pictures", "detector", "classifier", "fused", "gain, points", "95 %", "gain, held out"),
            [
                (
                    one.name,
                    str(one.positives),
                    f"{one.detector:.3f}",
                    "" if one.classifier is None else f"{one.classifier:.3f}",
                    f"{one.fused:.3f}",
                    words.signed(100 * one.gain.value),
                    words.interval(one.gain),
                    "" if one.held_out is None else words.signed(100 * one.held_out),
                )
                for one in sorted(found.by_category, key=lambda one: (-one.positives, one.name))
            ],
        ),
    ]
    if found.widths:
        parts += [
            report.heading("How wide the interval is"),
            report.paragraph(
                "Half of the 95 % interval of the gain as served, over the detector alone; for fewer pictures the mean "
                "over random choices of them.",
                "note",
            ),
            plots.widths(found).to_html(),
        ]
    return parts


def _changed(found: Sequence[CategoryGain]) -> list[str]:
    """A picture of the categories whose average precision fusion changes, on these pictures or on some resample."""
    changed = [one for one in found if one.gain != NO_DIFFERENCE]
    said = report.paragraph(
        f"{len(found) - len(changed)} of the {len(found)} categories change in no resample: they are left out of the "
        "picture.",
        "note",
    )
    return [said, plots.by_category(changed).to_html()] if changed else [said]


def _boxes(figures: Figures) -> list[str]:
    rows = [
        (
            way.name,
            f"{way.map.value:.4f}",
            f"{way.map.low:.3f} to {way.map.high:.3f}",
            f"{way.ap50:.4f}",
            words.signed(100 * way.gain.value),
            words.interval(way.gain),
        )
        for way in figures.boxes.ways
    ]
    headings = ("boxes", "mAP@[.5:.95]", "95 %", "AP50", "over the detector, points", "95 %")
    parts = [report.heading("Boxes"), report.table(headings, rows)]
    if figures.boxes.held_out is not None:
        parts.append(report.facts_table(figures.boxes.held_out))
    return parts


def _links(figures: Figures) -> list[str]:
    found = figures.links
    headings = ("assignment", "faces linked", "plates linked", "otherwise than served", "in pictures", "objects shared")
    rows = []
    for rule in found.rules:
        links = (rule.faces, rule.plates, rule.otherwise, rule.pictures, rule.shared)
        rows.append((rule.name, *map(str, (*links, rule.right, rule.wrong, rule.unlinked, rule.own))))
    return [
        report.heading("Assignment"),
        report.paragraph(
            f"Of {found.faces} faces and {found.plates} plates in {found.pictures} pictures, with a score of at least "
            f"{figures.policy.evidence.entity_floor:g}; {found.weaker} weaker ones take part, and are not counted. A "
            "face counts as right where the labels leave no doubt whose it is, as exactly one labelled person holds "
            "it, and its object is that person's box. Faces between people, where rules differ most, are those that "
            "labels do not tell; there the last column counts the labelled persons who got a face that they hold.",
            "note",
        ),
        report.table((*headings, "right", "wrong", "unlinked", "persons with a face"), rows),
    ]


def _fine(figures: Figures) -> list[str]:
    found = figures.fine
    rows = []
    for rule in found.rules:
        right = share(rule.right, rule.labelled)
        sure = "" if right is None else words.percent(right)
        numbers = (rule.labelled, rule.right, rule.wrong, found.with_object - rule.labelled)
        rows.append((rule.name, *map(str, numbers), sure))
    return [
        report.heading("Fine labels"),
        report.paragraph(
            f"On {found.pictures} ImageNet pictures whose class is a kind of a COCO category, {found.with_object} of "
            f"them with an object of that category. On the {found.coco_pictures} COCO pictures {found.coco_labels} "
            "objects get a fine label; nothing tells whether it is right. The share has Wilson's 95 % interval.",
            "note",
        ),
        report.table(("fine labels", "given", "right", "wrong", "none", "right among those given"), rows),
    ]
