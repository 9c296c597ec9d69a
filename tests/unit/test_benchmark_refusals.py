"""How soon bad pictures are refused: what is measured, and what is said of it. No server."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from click.testing import CliRunner
from tritonclient.utils import InferenceServerException

from benchmarks import refusals
from benchmarks.refusals import main, measured
from tests.bad_inputs import REFUSED, Refused
from trident.errors import SetupError

TEXT, CUT = "not a picture: text", "JPEG cut at 50 %"
CORPUS = {name: REFUSED[name] for name in (TEXT, CUT)}


class FakeClient:
    """Answers every picture with the same exception, or not with one."""

    def __init__(self, status: str | None = "StatusCode.INVALID_ARGUMENT") -> None:
        self.status = status
        self.asked: Counter[bytes] = Counter()

    def infer(self, model: str, inputs: list[Any], client_timeout: float) -> None:
        self.asked[inputs[0]._get_content()] += 1
        if self.status is not None:
            raise InferenceServerException("because", status=self.status)


@pytest.fixture(autouse=True)
def small_corpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(refusals, "REFUSED", CORPUS)


def test_each_is_asked_for_each_round_and_once_before() -> None:
    client = FakeClient()

    taken = measured(client, rounds=3)

    assert {name: len(times) for name, times in taken.items()} == {TEXT: 3, CUT: 3}
    assert all(0 < milliseconds < 1000 for times in taken.values() for milliseconds in times)
    assert sorted(client.asked.values()) == [4, 4]


@pytest.mark.parametrize(
    ("status", "got"),
    [
        pytest.param(None, "got an answer", id="served"),
        pytest.param("StatusCode.INTERNAL", "got StatusCode.INTERNAL: because", id="refused as something else"),
    ],
)
def test_what_is_not_refused_as_a_bad_picture_is_named(status: str | None, got: str) -> None:
    with pytest.raises(SetupError, match=rf"^{TEXT}: expected a refusal .*{got}"):
        measured(FakeClient(status), rounds=1)


def test_those_that_a_header_tells_of_have_to_be_refused_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    @contextmanager
    def connected(url: str) -> Iterator[FakeClient]:
        assert url == "127.0.0.1:9"
        yield FakeClient()

    monkeypatch.setattr(refusals, "InferenceServerClient", connected)
    in_time = CliRunner().invoke(main, ["--url", "127.0.0.1:9", "--rounds", "2"])
    late = CliRunner().invoke(main, ["--url", "127.0.0.1:9", "--rounds", "2", "--limit", "0"])

    assert in_time.exit_code == 0, in_time.output
    assert "1 of 1 that a header tells of were refused within 100 ms." in in_time.output
    assert late.exit_code == 1
    assert "0 of 1 that a header tells of were refused within 0 ms." in late.output


@pytest.mark.parametrize(
    ("bad", "by_header"),
    [
        pytest.param(REFUSED["PNG bomb"], True, id="its size"),
        pytest.param(REFUSED[TEXT], True, id="its kind"),
        pytest.param(REFUSED[CUT], False, id="its end"),
        pytest.param(REFUSED["65 MiB of a JPEG"], False, id="its length"),
    ],
)
def test_what_a_header_tells(bad: Refused, by_header: bool) -> None:
    assert bad.by_header is by_header
