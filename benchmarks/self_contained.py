"""Whether a page shows all that it has without asking the network for anything."""

from __future__ import annotations

import re
from html.parser import HTMLParser

from trident.errors import SetupError

_TAGS = frozenset({"script", "link", "base", "iframe", "frame", "object", "embed", "applet"})
"""Tags that fetch, or that may do anything: the reports are text, tables and pictures."""
_ATTRIBUTES = frozenset(
    {"src", "srcset", "href", "xlink:href", "data", "poster", "action", "formaction", "background", "ping", "manifest"}
)
_INSIDE = ("data:", "#")
_STYLE_FETCHES = re.compile(r"@import|url\(\s*['\"]?(?!data:|#)", re.IGNORECASE)


class _Finder(HTMLParser):
    """Collects what would ask the network."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.found: list[str] = []
        self._in_style = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: (value or "").strip() for name, value in attrs}
        self._in_style = tag == "style"
        if tag in _TAGS:
            self.found.append(f"<{tag}>")
        if tag == "meta" and values.get("http-equiv", "").lower() == "refresh":
            self.found.append("<meta http-equiv=refresh>")
        for name, value in values.items():
            if name in _ATTRIBUTES and value and not value.lower().startswith(_INSIDE):
                self.found.append(f'<{tag} {name}="{value:.60}">')
        self._look_at_style(values.get("style", ""))

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        self._in_style = False

    def handle_endtag(self, tag: str) -> None:
        self._in_style = False

    def handle_data(self, data: str) -> None:
        if self._in_style:
            self._look_at_style(data)

    def _look_at_style(self, text: str) -> None:
        for match in _STYLE_FETCHES.finditer(text):
            self.found.append(text[match.start() : match.start() + 60])


def asks_network(html: str) -> list[str]:
    """What in a page would ask the network, or run as a program; empty for a page that needs neither.

    >>> asks_network('<img src="data:image/png;base64,AA=="><a href="#end">to the end</a>')
    []
    >>> asks_network('<img src="https://pictures.example/1.png">')
    ['<img src="https://pictures.example/1.png">']
    """
    finder = _Finder()
    finder.feed(html)
    finder.close()
    return finder.found


def check_self_contained(html: str) -> None:
    """Raise SetupError if a page would ask the network for something."""
    if found := asks_network(html):
        raise SetupError(
            f"a report's page: expected everything inside of it, got {', '.join(found[:5])}: "
            "put pictures in with report.image, and name addresses as text"
        )
