"""Whether two servers say the same of the same pictures."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from benchmarks.load import Plan, transport_to
from benchmarks.transport import Failed
from trident.errors import SetupError

_TIMEOUT_S = 60.0
_MOST_SHOWN = 3


def ask(url: str, form: str | None, pictures: Sequence[bytes]) -> list[dict[str, Any]]:
    """``RESULT`` of each picture, asked one after the other.

    Args:
        url: As ``benchmarks.load`` takes it.
        form: As ``benchmarks.load`` takes it.
        pictures: Encoded pictures.

    Raises:
        SetupError: Nobody answers there, or not well; the message says what came.
    """

    async def asked() -> list[bytes]:
        transport = transport_to(url, Plan(seconds=1, workers=1, form=form))
        try:
            await transport.connect()
            return [
                transport.result(await transport.ask(transport.encode(picture), _TIMEOUT_S)) for picture in pictures
            ]
        finally:
            await transport.close()

    try:
        return [_parsed(text) for text in _runner().run(asked())]
    except Failed as failed:
        raise SetupError(f"expected an answer, got {failed}") from failed


def ask_all(url: str, form: str | None, pictures: Sequence[Path]) -> dict[str, dict[str, Any]]:
    """``RESULT`` of each file, by the file's name. Raises SetupError as ``ask``."""
    answers = ask(url, form, [picture.read_bytes() for picture in pictures])
    return {picture.name: answer for picture, answer in zip(pictures, answers, strict=True)}


def check_same(expected: Mapping[str, Mapping[str, Any]], got: Mapping[str, Mapping[str, Any]]) -> None:
    """Hold the answers of one server against those of another: every value, to the last digit that RESULT shows.

    ``models`` is held against the other's where there is one: a server need not say what it ran.

    Args:
        expected: ``RESULT`` by picture.
        got: The same pictures'.

    Raises:
        SetupError: Something differs; the message names picture, place, expected and got.
    """
    found = []
    for picture, answer in expected.items():
        other = dict(got.get(picture, {}))
        other.setdefault("models", answer.get("models"))
        found += [f"{picture}: {difference}" for difference in differences(answer, other)]
    if found:
        more = f" (and {len(found) - _MOST_SHOWN} more)" if len(found) > _MOST_SHOWN else ""
        raise SetupError(f"its answers are not the same: {'; '.join(found[:_MOST_SHOWN])}{more}")


def differences(expected: Any, got: Any, where: str = "RESULT") -> Iterator[str]:
    """Every place at which two JSON values differ.

    >>> list(differences({"a": [1, 2]}, {"a": [1, 3], "b": 0}))
    ['RESULT.a[1]: expected 2, got 3', 'RESULT.b: expected nothing, got 0']
    """
    if isinstance(expected, Mapping) and isinstance(got, Mapping):
        for name in sorted({*expected, *got}):
            place = f"{where}.{name}"
            if name not in got:
                yield f"{place}: expected {expected[name]!r}, got nothing"
            elif name not in expected:
                yield f"{place}: expected nothing, got {got[name]!r}"
            else:
                yield from differences(expected[name], got[name], place)
    elif isinstance(expected, list) and isinstance(got, list) and len(expected) == len(got):
        for index, (one, other) in enumerate(zip(expected, got, strict=True)):
            yield from differences(one, other, f"{where}[{index}]")
    elif expected != got:
        yield f"{where}: expected {expected!r}, got {got!r}"


@cache
def _runner() -> asyncio.Runner:
    """One event loop for all questions of this process: gRPC's threads stay with the first one that they meet."""
    return asyncio.Runner()


def _parsed(text: bytes) -> dict[str, Any]:
    try:
        result = json.loads(text)
        if result["schema"] != 1:
            raise ValueError(f"schema {result['schema']!r}")
    except (ValueError, LookupError, TypeError) as error:
        raise SetupError(f"expected RESULT, schema 1, got {text[:80]!r} ({error!r})") from error
    return dict(result)
