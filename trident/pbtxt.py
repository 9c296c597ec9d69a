"""Changes in the text of a ``config.pbtxt`` that leave everything else as a person wrote it: comments, order, layout.

The protobuf library reads the text format but forgets how it was written. So the text is cut into tokens here, the
places to change are looked up among them, and only these are replaced. The result is parsed by the protobuf library and
has to be the old message with just the wanted fields changed.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from google.protobuf import text_encoding
from tritonclient.grpc.model_config_pb2 import ModelConfig

from trident.errors import SetupError
from trident.model_config import CONFIG_NAME, parse_config

_TOKEN = re.compile(
    r"""(?P<space>[\s]+)
      | (?P<comment>\#[^\n]*)
      | (?P<string>"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*')
      | (?P<word>[A-Za-z0-9_.+-]+)
      | (?P<mark>[{}\[\]<>:,;])""",
    re.VERBOSE | re.DOTALL,
)
_CLOSING = {"{": "}", "<": ">", "[": "]"}


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: str
    start: int

    @property
    def end(self) -> int:
        return self.start + len(self.text)


@dataclass(frozen=True, slots=True)
class _Value:
    """A scalar, a message or a list, and where it stands."""

    start: int
    end: int
    scalar: str | None = None
    """A scalar as it is written; of a string, what it means."""
    fields: tuple[_Field, ...] | None = None
    """The fields of a message."""
    items: tuple[_Value, ...] | None = None
    """The values of a list."""

    def single(self, name: str) -> _Value | None:
        """The value of a field that a message holds at most once."""
        for one in self.fields or ():
            if one.name == name:
                return one.value
        return None

    def repeated(self, name: str) -> Iterator[_Value]:
        """The values of a repeated field, whether written as a list or one by one."""
        for one in self.fields or ():
            if one.name == name:
                yield from one.value.items if one.value.items is not None else (one.value,)


@dataclass(frozen=True, slots=True)
class _Field:
    name: str
    start: int
    end: int
    """After the separator that follows it, if there is one."""
    value: _Value


@dataclass(frozen=True, slots=True)
class _Edit:
    start: int
    end: int
    text: str


@dataclass(slots=True)
class _Reader:
    """Reads tokens without space and comments."""

    tokens: Sequence[_Token]
    at: int = field(default=0)

    def peek(self) -> str:
        return self.tokens[self.at].text if self.at < len(self.tokens) else ""

    def take(self, expected: str = "") -> _Token:
        if self.at == len(self.tokens):
            raise SetupError("expected more, got the end of the text")
        token = self.tokens[self.at]
        if expected and token.text != expected:
            raise SetupError(f"expected {expected!r}, got {token.text!r}")
        self.at += 1
        return token

    def message(self, closing: str) -> tuple[_Field, ...]:
        fields = []
        while self.peek() != closing:
            name = self.take()
            if name.kind != "word":
                raise SetupError(f"expected the name of a field, got {name.text!r}")
            if self.peek() == ":":
                self.take()
            elif self.peek() not in _CLOSING:
                raise SetupError(f"expected ':' after {name.text!r}, got {self.peek()!r}")
            value = self.value()
            end = self.take().end if self.peek() in (",", ";") else value.end
            fields.append(_Field(name.text, name.start, end, value))
        return tuple(fields)

    def value(self) -> _Value:
        first = self.take()
        if first.text in ("{", "<"):
            fields = self.message(_CLOSING[first.text])
            return _Value(first.start, self.take(_CLOSING[first.text]).end, fields=fields)
        if first.text == "[":
            items = []
            while self.peek() != "]":
                items.append(self.value())
                if self.peek() != "]":
                    self.take(",")
            return _Value(first.start, self.take("]").end, items=tuple(items))
        if first.kind == "string":
            pieces, end = [first.text], first.end
            while self.at < len(self.tokens) and self.tokens[self.at].kind == "string":
                piece = self.take()
                pieces.append(piece.text)
                end = piece.end
            meaning = b"".join(text_encoding.CUnescape(piece[1:-1]) for piece in pieces)
            return _Value(first.start, end, scalar=meaning.decode("utf-8", "replace"))
        if first.kind != "word":
            raise SetupError(f"expected a value, got {first.text!r}")
        last = self.take() if first.text == "-" else first
        return _Value(first.start, last.end, scalar=first.text if last is first else first.text + last.text)


def with_served_versions(text: str, versions: Sequence[int], source: str = CONFIG_NAME) -> str:
    """Set ``version_policy { specific { versions: [ … ] } }``.

    Args:
        text: Of a ``config.pbtxt``.
        versions: Which are served; at least one, none twice. They are written sorted.
        source: Where the text came from, for messages.

    Returns:
        The changed text; the same text where nothing changes.

    Raises:
        SetupError: The versions are not such, the text is no model configuration, or it cannot be changed without
            losing something else in it.

    >>> with_served_versions("version_policy { specific { versions: [ 1 ] } }  # all that answer", (1, 2))
    'version_policy { specific { versions: [ 1, 2 ] } }  # all that answer'
    """
    wanted = sorted(versions)
    if not wanted or len(set(wanted)) != len(wanted) or any(version < 1 for version in wanted):
        raise SetupError(f"{source}: versions: expected different numbers of 1 or more, got {list(versions)}")
    message = parse_config(text, source)
    if sorted(message.version_policy.specific.versions) == wanted:
        return text
    message.version_policy.specific.versions[:] = wanted
    tokens, root = _read(text, source)
    policy = root.single("version_policy")
    specific = policy.single("specific") if policy is not None else None
    listed = f"[ {', '.join(map(str, wanted))} ]"
    if policy is None:
        text_after = f"{text.rstrip()}\n\nversion_policy {{ specific {{ versions: {listed} }} }}\n"
    elif specific is None:
        text_after = _edited(text, [_Edit(policy.start, policy.end, f"{{ specific {{ versions: {listed} }} }}")])
    else:
        text_after = _edited(text, _list_edits(tokens, specific, "versions", wanted))
    return _checked(text, text_after, message, source)


def with_pins(text: str, pins: Mapping[str, int], source: str = CONFIG_NAME) -> str:
    """Set the ``model_version`` of steps of an ensemble.

    Args:
        text: Of an ensemble's ``config.pbtxt``.
        pins: The version of each model whose steps are to change.
        source: Where the text came from, for messages.

    Returns:
        The changed text; the same text where nothing changes.

    Raises:
        SetupError: There is no step of that model, a version is below 1, the text is no model configuration, or it
            cannot be changed without losing something else in it.
    """
    message = parse_config(text, source)
    steps = {step.model_name for step in message.ensemble_scheduling.step}
    for model, version in pins.items():
        if model not in steps:
            raise SetupError(f"{source}: step: expected one of {', '.join(sorted(steps)) or 'none'}, got {model!r}")
        if version < 1:
            raise SetupError(f"{source}: model_version of {model}: expected 1 or more, got {version}")
    for step in message.ensemble_scheduling.step:
        step.model_version = pins.get(step.model_name, step.model_version)
    _, root = _read(text, source)
    scheduling = root.single("ensemble_scheduling")
    edits = []
    for written in scheduling.repeated("step") if scheduling is not None else ():
        name = written.single("model_name")
        if name is None or name.scalar is None or name.scalar not in pins:
            continue
        number = str(pins[name.scalar])
        version_value = written.single("model_version")
        if version_value is None:
            edits.append(_Edit(name.end, name.end, f" model_version: {number}"))
        elif version_value.scalar != number:
            edits.append(_Edit(version_value.start, version_value.end, number))
    return _checked(text, _edited(text, edits), message, source)


def _tokens(text: str, source: str) -> list[_Token]:
    tokens, at = [], 0
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None or match.lastgroup is None:
            line = text.count("\n", 0, at) + 1
            raise SetupError(f"{source}: line {line}: {text[at]!r} is not understood, so it cannot be changed by code")
        tokens.append(_Token(match.lastgroup, match.group(), at))
        at = match.end()
    return tokens


def _read(text: str, source: str) -> tuple[list[_Token], _Value]:
    tokens = _tokens(text, source)
    reader = _Reader([token for token in tokens if token.kind not in ("space", "comment")])
    try:
        fields = reader.message("")
    except (SetupError, ValueError, RecursionError) as exc:
        raise SetupError(f"{source}: cannot be changed by code: {exc}") from exc
    return tokens, _Value(0, len(text), fields=fields)


def _list_edits(tokens: Sequence[_Token], message: _Value, name: str, wanted: Sequence[int]) -> list[_Edit]:
    """How a repeated number becomes another: all in the first place where one stands."""
    written = [one for one in message.fields or () if one.name == name]
    numbers = ", ".join(map(str, wanted))
    if not written:
        return [_Edit(message.start + 1, message.start + 1, f" {name}: [ {numbers} ]")]
    first, *others = written
    edits = [edit for other in others for edit in _removals(tokens, other.start, other.end)]
    items = first.value.items
    if not items:
        edits.append(_Edit(first.value.start, first.value.end, f"[ {numbers} ]"))
    else:
        edits.append(_Edit(items[0].start, items[0].end, numbers))
        edits += _removals(tokens, items[0].end, items[-1].end)
    return edits


def _removals(tokens: Sequence[_Token], start: int, end: int) -> list[_Edit]:
    """Takes out what stands there, but for comments."""
    if not _comments(tokens, start, end):
        return [_Edit(start, end, "")]
    inside = (token for token in tokens if start <= token.start < end and token.kind not in ("space", "comment"))
    return [_Edit(token.start, token.end, "") for token in inside]


def _edited(text: str, edits: Iterable[_Edit]) -> str:
    for edit in sorted(edits, key=lambda edit: edit.start, reverse=True):
        text = text[: edit.start] + edit.text + text[edit.end :]
    return text


def _comments(tokens: Iterable[_Token], start: int = 0, end: float = math.inf) -> list[str]:
    return [token.text for token in tokens if token.kind == "comment" and start <= token.start < end]


def _checked(before: str, after: str, wanted: ModelConfig, source: str) -> str:
    """``after``, if it means what was wanted and keeps every comment."""
    if parse_config(after, source) != wanted or _comments(_tokens(after, source)) != _comments(_tokens(before, source)):
        raise SetupError(f"{source}: cannot be changed without losing something else in it; change it by hand")
    return after
