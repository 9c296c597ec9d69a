"""An explanation as one HTML file that needs nothing else."""

from __future__ import annotations

import base64
import io
from html import escape

from trident.explain.contributions import CategorySplit
from trident.explain.explanation import View
from trident.explain.picture import BRANCH_COLOURS, view_image
from trident.explain.saliency import Pixels
from trident.explain.sheet import Sheet

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #1c2128; background: #fff; max-width: 82rem; margin: 2rem auto;
       padding: 0 1rem; }
h1 { font-size: 1.5rem; margin-bottom: .2rem; } h2 { font-size: 1.15rem; margin: 2rem 0 .5rem; }
.soft { color: #5b6672; } .views { display: flex; flex-wrap: wrap; gap: 2rem; } figure { margin: 0; flex: 1 1 26rem;
       max-width: 620px; } figure img { max-width: 100%; height: auto; display: block; }
figcaption p { margin: .3rem 0; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; width: 100%; } th, td { text-align: right;
       padding: .25rem .8rem .25rem 0; border-bottom: 1px solid #d8dde3; vertical-align: top; }
th { color: #5b6672; font-weight: 600; } th.left, td.left { text-align: left; }
.bar { display: flex; height: 1.1rem; min-width: 12rem; background: #eef1f4; } .bar span { height: 100%; }
.key { display: inline-block; width: .8rem; height: .8rem; margin-right: .4rem; }
"""
_HEADINGS = ("category", "", "score", "branch", "says", "counts", "adds", "without it")
_LEFT = frozenset({"category", "", "branch"})


def render(sheet: Sheet, photo: Pixels) -> str:
    """The whole page; ``photo`` as of ``picture.view_image``."""
    notes = "".join(f"<p>{escape(note)}</p>" for note in sheet.notes)
    views = "".join(_figure(view, photo, sheet.size) for view in sheet.views)
    parts = (
        f"<h1>{escape(sheet.photo)}</h1><p class='soft'>{escape(sheet.lead)}</p>",
        f"<h2>What the networks went by</h2><div class='views'>{views}</div>" if views else "",
        f"<h2>What each branch added</h2><p class='soft'>{escape(sheet.weighed)}</p>",
        _table(sheet.splits),
        f"<div class='soft'>{notes}</div>" if notes else "",
    )
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(sheet.photo)}</title>'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><style>{_STYLE}</style></head>\n<body>\n'
        + "\n".join(part for part in parts if part)
        + "\n</body></html>\n"
    )


def _figure(view: View, photo: Pixels, size: tuple[int, int]) -> str:
    file = io.BytesIO()
    view_image(photo, view, size).save(file, "PNG")
    data = base64.b64encode(file.getvalue()).decode()
    said = "".join(f"<p>{escape(sentence)}</p>" for sentence in view.sentences)
    about = f"Heat map over the photo: {view.heading}"
    return (
        f'<figure><h3>{escape(view.heading)}</h3><img alt="{escape(about)}" src="data:image/png;base64,{data}">'
        f"<figcaption class='soft'>{said}</figcaption></figure>"
    )


def _table(splits: tuple[CategorySplit, ...]) -> str:
    head = "".join(f"<th{_kind(heading)}>{escape(heading)}</th>" for heading in _HEADINGS)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(map(_rows, splits))}</tbody></table>"


def _rows(split: CategorySplit) -> str:
    """A row for each branch that speaks; name, bar and score stand in the first."""
    rows = []
    for place, part in enumerate(split.parts):
        first = (escape(split.name), _bar(split), f"{split.score:.4f}") if place == 0 else ("", "", "")
        branch = f'<span class="key" style="background: {_colour(part.branch)}"></span>{escape(part.branch)}'
        figures = (f"{part.says:.4f}", f"{part.share:.1%}", f"{part.adds:.4f}", f"{part.without:.4f}")
        cells = zip(_HEADINGS, (*first, branch, *figures), strict=True)
        rows.append("<tr>" + "".join(f"<td{_kind(heading)}>{cell}</td>" for heading, cell in cells) + "</tr>")
    return "".join(rows)


def _bar(split: CategorySplit) -> str:
    segments = "".join(
        f'<span style="width: {part.adds:.4%}; background: {_colour(part.branch)}"></span>' for part in split.parts
    )
    return f'<div class="bar">{segments}</div>'


def _kind(heading: str) -> str:
    return ' class="left"' if heading in _LEFT else ""


def _colour(branch: str) -> str:
    red, green, blue = BRANCH_COLOURS[branch]
    return f"rgb({red}, {green}, {blue})"
