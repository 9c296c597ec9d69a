"""A shadow's result as one HTML file that needs nothing else: figures beside limits, and the worst pictures, drawn."""

from __future__ import annotations

import base64
import io
import os
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from html import escape
from pathlib import Path

from PIL import Image

from trident.errors import SetupError
from trident.rollout.limits import Metric
from trident.rollout.release import changes_between
from trident.rollout.shadow_result import NEW, OLD, ComparedPicture, ShadowResult
from trident_client import ClientError, draw, parse
from trident_client.drawing import SHOWN_ABOVE

_WIDEST = 760
"""Pictures are shrunk to this width, in pixels."""
_NARROWEST = 280
"""Smaller ones are shown this wide."""
_JPEG_QUALITY = 82

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #1c1f24; background: #fff; max-width: 1180px; margin: 2rem auto;
       padding: 0 1rem; }
h1 { font-size: 1.5rem; margin-bottom: .3rem; } h2 { font-size: 1.15rem; margin: 2rem 0 .5rem; }
h3 { font-size: 1rem; margin: 1.5rem 0 .3rem; }
table { border-collapse: collapse; } th, td { padding: .25rem .8rem .25rem 0; border-bottom: 1px solid #dfe2e7;
       text-align: left; vertical-align: top; } th { font-weight: 600; color: #555c66; }
td.number, th.number { text-align: right; font-variant-numeric: tabular-nums; }
.ok { color: #1a7f37; } .no { color: #b42318; font-weight: 600; } .muted { color: #6a717c; }
.pair { display: flex; gap: 1rem; flex-wrap: wrap; } figure { margin: 0; flex: 1 1 420px; max-width: 580px; }
figure img { max-width: 100%; height: auto; display: block; } figcaption { color: #555c66; }
"""


def write_report(result: ShadowResult, folder: Path) -> Path:
    """Write the report into a folder, which is made if it is not there, and give its path.

    It shows pictures, what was read on plates and the names of faces: the file is for its owner alone (mode 0600).

    Raises:
        SetupError: It cannot be written.
    """
    now = datetime.now(UTC)
    changes = "-".join(f"{one.component}-{one.after}" for one in changes_between(result.before, result.after))
    path = folder / f"shadow-{now:%Y%m%dT%H%M%S%f}-{changes}.html"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(render(result, now))
    except OSError as error:
        raise SetupError(f"cannot write the report {path}: {error.strerror or error}; choose another folder") from error
    return path


def render(result: ShadowResult, now: datetime) -> str:
    """The report as HTML.

    Args:
        result: What the shadow found.
        now: When, in UTC.
    """
    title = "Shadow: " + ", ".join(map(str, changes_between(result.before, result.after)))
    verdict = '<span class="ok">agrees</span>' if result.passed else '<span class="no">falls short</span>'
    parts = [
        f"<h1>{escape(title)}: {verdict}</h1>",
        f'<p class="muted">{now:%Y-%m-%d %H:%M} UTC, {len(result.pictures)} pictures, {result.seconds:.1f} s. '
        "This file holds pictures, and perhaps names and plates of people: treat it as personal data.</p>",
        _list("What falls short", result.complaints),
        _list("What should be known", result.warnings),
        _metrics(result.metrics),
        _latencies(result),
        _quality(result),
        "<h2>The pictures that differ most</h2>",
        "".join(map(_picture, result.worst)) or "<p>There are none: both versions agree on all.</p>",
        _all_pictures(result.pictures),
    ]
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head>\n<body>\n"
        + "\n".join(parts)
        + "\n</body></html>\n"
    )


def _list(heading: str, sentences: Sequence[str]) -> str:
    if not sentences:
        return ""
    return f"<h2>{escape(heading)}</h2><ul>" + "".join(f"<li>{escape(one)}</li>" for one in sentences) + "</ul>"


def _table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table of cells that are HTML already; headings that start with # are of numbers."""
    kinds = [' class="number"' if heading.startswith("#") else "" for heading in headings]
    head = "".join(
        f"<th{kind}>{escape(heading.lstrip('#'))}</th>" for kind, heading in zip(kinds, headings, strict=True)
    )
    body = "".join(
        "<tr>" + "".join(f"<td{kind}>{cell}</td>" for kind, cell in zip(kinds, row, strict=True)) + "</tr>"
        for row in rows
    )
    return f"<table><tr>{head}</tr>{body}</table>"


def _verdict(passed: bool) -> str:
    return '<span class="ok">ok</span>' if passed else '<span class="no">falls short</span>'


def _metrics(metrics: Sequence[Metric]) -> str:
    rows = []
    for one in metrics:
        value = "–" if one.value is None else f"{one.value:.3f}"
        limit = "" if one.limit is None else f"{'≥' if one.at_least else '≤'} {one.limit:g}"
        judged = one.limit is not None and one.value is not None
        over = f"{one.samples} {one.of}"
        rows.append(
            (
                escape(one.component),
                escape(one.name),
                value,
                limit,
                _verdict(one.passed) if judged else "",
                f"<span class='muted'>{escape(over)}</span>",
                f"<code>{escape(one.option)}</code>" if one.option else "",
            )
        )
    headings = ("component", "figure", "#value", "#limit", "", "measured on", "limit's name")
    return "<h2>Figures</h2>" + _table(headings, rows)


def _latencies(result: ShadowResult) -> str:
    rows = [
        (escape(one.component), f"{one.old_ms:.1f}", f"{one.new_ms:.1f}", f"{one.ratio:.2f}", str(one.calls))
        for one in result.latencies
    ]
    if not rows:
        return ""
    note = '<p class="muted">Medians, the two asked in turn while the server served its callers.</p>'
    return "<h2>Times</h2>" + note + _table(("component", "#old, ms", "#new, ms", "#new / old", "#calls of each"), rows)


def _quality(result: ShadowResult) -> str:
    if not result.quality:
        return ""
    rows = [
        (
            escape(one.name),
            f"{one.old:.4f}",
            f"{one.new:.4f}",
            f"{one.limit:g}",
            _verdict(one.passed),
            str(one.pictures),
        )
        for one in result.quality
    ]
    headings = ("measure", "#old", "#new", "#most it may lose", "", "#pictures")
    return "<h2>Quality on labelled pictures</h2>" + _table(headings, rows)


def _picture(one: ComparedPicture) -> str:
    reasons = "".join(f"<li>{escape(reason)}</li>" for reason in (*one.reasons, *one.details))
    figures = "".join(
        f"<figure>{_drawn(one, answer)}<figcaption>{side}</figcaption></figure>"
        for side, answer in ((OLD, one.old_result), (NEW, one.new_result))
    )
    return f'<h3>{escape(one.name)}</h3><ul>{reasons}</ul><div class="pair">{figures}</div>'


def _drawn(one: ComparedPicture, answer: bytes | None) -> str:
    """The picture with what an ensemble said about it, as an image element."""
    if answer is None:
        return "<p class='no'>no answer</p>"
    try:
        image = draw(one.encoded, parse(answer), threshold=SHOWN_ABOVE)
    except (ClientError, ValueError) as error:
        return f"<p class='muted'>cannot be drawn here: {escape(str(error))}</p>"
    if image.width > _WIDEST:
        image = image.resize((_WIDEST, round(image.height * _WIDEST / image.width)), Image.Resampling.LANCZOS)
    file = io.BytesIO()
    image.save(file, "JPEG", quality=_JPEG_QUALITY)
    data = base64.b64encode(file.getvalue()).decode()
    return f'<img alt="{escape(one.name)}" width="{max(_NARROWEST, image.width)}" src="data:image/jpeg;base64,{data}">'


def _all_pictures(pictures: Sequence[ComparedPicture]) -> str:
    rows = [(escape(one.name), f"{one.badness:.3f}", escape("; ".join(one.reasons))) for one in pictures]
    about = (
        '<p class="muted">0 where both agree, 1 where their answers are wholly other ones, 2 where a call failed.</p>'
    )
    return "<h2>All pictures</h2>" + about + _table(("picture", "#difference", "what differs"), rows)
