"""The overload benchmark: what counts in a load, what it must show, and what the report says of it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from tritonclient.grpc import service_pb2

from benchmarks import report
from benchmarks.answers import NOT_SENT, OK, Answer, Answers
from benchmarks.overload.__main__ import main
from benchmarks.overload.page import WHAT, peak, row, summary, to_html, to_json, verdicts
from benchmarks.overload.phases import REFUSED, TOO_LATE, Disconnect, Phase, phase_of
from benchmarks.overload.run import SHARES, Run, Settings
from benchmarks.report import Summary
from benchmarks.transport import Grpc
from benchmarks.verdict import passed
from trident.errors import SetupError

FACTS = {
    "command": ".venv/bin/python -m benchmarks.overload",
    "commit": "c" * 40,
    "date": "2026-01-02T03:04:05+00:00",
    "machine": {"processor": "A CPU", "cores": 2},
    "load_average": [0.1, 0.2, 0.3],
}


def answer(planned: float, ms: float = 100.0, *, code: str = OK, late_ms: float = 0.0) -> Answer:
    return Answer(0, "one", planned, planned + late_ms / 1000, planned + ms / 1000, code)


def phase(answers: Sequence[Answer], **more: Any) -> Phase:
    settings = {"name": "3 ×", "share": 3.0, "rate": 24.0, "settle_s": 2.0, "seconds": 10.0, "deadline_s": 5.0, **more}
    return phase_of(Answers({"begin": 1000.0}, tuple(answers)), **settings)


def load(share: float, *, answered: int, refused: int = 0, ms: float = 100.0, name: str = "", **more: Any) -> Phase:
    codes = [OK] * answered + [REFUSED] * refused
    answers = [answer(1002.0 + number / 100, ms, code=code) for number, code in enumerate(codes)]
    return phase(answers, name=name or f"{share:g} ×", share=share, rate=8 * share, **more)


LOADS = (
    load(0.5, answered=40),
    load(1.0, answered=78),
    load(2.0, answered=80, refused=80),
    load(3.0, answered=75, refused=165),
)
RUN = Run(
    Settings(),
    {"flags": ["--one"], "triton": "triton 2"},
    ("one.jpg",),
    8.0,
    LOADS,
    Disconnect(open=30, free_after_s=1.5, answered=3),
    load(0.5, answered=40, ms=120.0, name="0.5 × again"),
)


def with_worst(worst: Phase) -> Run:
    return replace(RUN, phases=(*RUN.phases[:3], worst))


class TestPhase:
    def test_only_what_was_planned_in_the_window_counts(self) -> None:
        found = phase([answer(1001.9), answer(1002.0), answer(1011.9), answer(1012.0)])
        assert (found.requests, found.goodput) == (2, 0.2)

    def test_every_request_has_its_place(self) -> None:
        codes = [OK, OK, REFUSED, TOO_LATE, "INTERNAL", NOT_SENT]
        found = phase([answer(1003.0 + number, 10.0 * number, code=code) for number, code in enumerate(codes)])
        assert sum(found.codes.values()) == found.requests == 6
        assert found.failed == 4
        assert found.unexpected == {"INTERNAL": 1, NOT_SENT: 1}
        assert found.answered is not None
        assert found.answered.worst == pytest.approx(10.0, abs=1e-3)
        assert found.refused is not None
        assert found.refused.p50 == pytest.approx(20.0, abs=1e-3)

    def test_a_request_hung_if_it_ended_long_after_its_deadline_whenever_it_was_sent(self) -> None:
        ended = [answer(1001.0, 8000.0, code=TOO_LATE), answer(1003.0, 6900.0), answer(1004.0, 7100.0)]
        assert phase(ended).hung == 2

    def test_of_nothing(self) -> None:
        found = phase([])
        assert (found.requests, found.goodput, found.answered, found.refused, found.hung) == (0, 0.0, None, None, 0)


class Silent:
    """A server's method that keeps what it was sent."""

    def __init__(self) -> None:
        self.sent: list[bytes] = []

    async def __call__(self, request: bytes, *, timeout: float) -> bytes:
        self.sent.append(request)
        return b""


async def test_the_models_are_told_of_the_deadline() -> None:
    """Over gRPC alone they are not."""
    transport = Grpc("127.0.0.1:1", "trident")
    transport._infer = method = Silent()
    encoded = transport.encode(b"picture")
    await transport.ask(encoded, 2.5)
    await transport.close()
    sent = service_pb2.ModelInferRequest.FromString(method.sent[0])
    assert sent.parameters["timeout"].int64_param == 2_500_000
    del sent.parameters["timeout"]
    assert sent == service_pb2.ModelInferRequest.FromString(encoded)


class TestVerdicts:
    def test_a_server_that_sheds_well_passes(self) -> None:
        assert passed(verdicts(RUN))
        assert peak(RUN) == 8.0

    @pytest.mark.parametrize(
        ("run", "sentence"),
        [
            pytest.param(
                with_worst(load(3.0, answered=71, refused=169)), "7.10 requests a second were answered", id="goodput"
            ),
            pytest.param(with_worst(replace(LOADS[3], hung=2)), "2 of 558 requests hung", id="hung"),
            pytest.param(
                with_worst(replace(LOADS[3], codes={OK: 75, "INTERNAL": 1})), "ended in INTERNAL", id="another code"
            ),
            pytest.param(
                replace(RUN, phases=(load(0.5, answered=39, refused=1), *LOADS[1:])),
                "1 of 80 requests below",
                id="calm",
            ),
            pytest.param(
                replace(RUN, after=load(0.5, answered=40, ms=151.0)), "100 ms before and 151 ms after", id="afterwards"
            ),
            pytest.param(
                replace(RUN, disconnect=Disconnect(30, 9.0, 16)), "the server answered 16 all the same", id="clients"
            ),
        ],
    )
    def test_each_fault_fails_it(self, run: Run, sentence: str) -> None:
        failed = [verdict.sentence for verdict in verdicts(run) if verdict.required and not verdict.good]
        assert len(failed) == 1
        assert sentence in failed[0]


class TestReport:
    def test_a_row_has_a_cell_for_each_heading(self) -> None:
        cells = row(LOADS[3])
        assert cells[:8] == ("3 ×", "24.00", "240", "75", "165", "0", "0", "7.50")
        assert cells[-1] == "0"

    def test_is_whole_and_holds_every_load(self, tmp_path: Path) -> None:
        as_html, as_json = report.write("overload", to_html(RUN, FACTS), to_json(RUN, FACTS), tmp_path)
        figures = json.loads(as_json.read_text())
        assert (figures["what"], figures["outcome"]) == (WHAT, "finished")
        assert [one["share"] for one in figures["phases"]] == [*SHARES, 0.5]
        assert figures["disconnect"] == {"open": 30, "free_after_s": 1.5, "answered": 3}
        page = as_html.read_text()
        assert page.count("data:image/png") == 1
        assert "0.5 × again" in page
        assert Summary.from_json(figures["summary"]).title == summary(RUN).title

    def test_a_failed_run_says_so(self) -> None:
        assert to_json(replace(RUN, disconnect=Disconnect(30, 9.0, 30)), FACTS)["outcome"] == "failed"


class TestCommand:
    def test_a_setting_out_of_range_is_refused(self) -> None:
        with pytest.raises(SetupError, match=r"deadline_s: expected 0\.1 to 600, got 0"):
            Settings(deadline_s=0.0)
        done = CliRunner().invoke(main, ["--vanish", "600"])
        assert done.exit_code == 1

    def test_help_tells_what_fails_it(self) -> None:
        assert "Exit code 1" in CliRunner().invoke(main, ["--help"]).output
