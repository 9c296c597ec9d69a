"""Who answers a request while a canary runs: the candidate its share, and nobody a candidate's failure."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from trident.admission.gate import LATER
from trident.errors import InvalidInput, SetupError
from trident.preprocess import Limits, prepare
from trident.rollout import routing
from trident.rollout.error_codes import CANCELLED, INTERNAL, INVALID_ARG, OK, UNAVAILABLE, code_of
from trident.rollout.routing import CANDIDATE, LATE, STABLE, Answer, Routing, Settings

SETTINGS = Settings(
    stable="old",
    candidate="new",
    run="run",
    salt="salt",
    share=1.0,
    expires=1000.0,
    compare_share=0.0,
    watch_file=Path("watch.jsonl"),
    patience_s=5.0,
)
GOOD = Answer(OK, content="tensors")


class World:
    """Ensembles that answer as told, and what was noted."""

    def __init__(self, old: Answer = GOOD, new: Answer = GOOD, **changed: Any) -> None:
        self.answers = {"old": old, "new": new}
        self.asked: list[tuple[str, bool]] = []
        self.noted: list[Mapping[str, Any]] = []
        self.now = 0.0
        self.routing = Routing(replace(SETTINGS, **changed), self.noted.append, lambda: self.now)

    def ask(self, model: str, compare: bool) -> Answer:
        self.asked.append((model, compare))
        return self.answers[model]

    def serve(self, key: bytes = b"key", ask: Callable[[str, bool], Answer] | None = None) -> routing.Served:
        return self.routing.answer(key, ask or self.ask)


def test_the_candidate_answers_its_share() -> None:
    world = World(share=0.3)

    arms = [world.serve(str(key).encode()).arm for key in range(400)]

    assert 80 < arms.count(CANDIDATE) < 160
    assert [model for model, _ in world.asked] == ["new" if arm == CANDIDATE else "old" for arm in arms]


def test_after_its_time_everything_is_answered_by_the_stable_release() -> None:
    world = World()
    early = world.serve().arm
    world.now = 1000.0

    assert (early, world.serve().arm) == (CANDIDATE, STABLE)


@pytest.mark.parametrize(
    ("new", "old", "code", "failed", "asked"),
    [
        pytest.param(OK, OK, OK, False, ["new"], id="good"),
        pytest.param(INTERNAL, OK, OK, True, ["new", "old"], id="only the candidate fails"),
        pytest.param(INTERNAL, INTERNAL, INTERNAL, False, ["new", "old"], id="both fail"),
        pytest.param(INVALID_ARG, INVALID_ARG, INVALID_ARG, False, ["new", "old"], id="a bad picture"),
        pytest.param(INVALID_ARG, OK, OK, True, ["new", "old"], id="a good picture that the candidate refuses"),
        pytest.param(UNAVAILABLE, OK, OK, False, ["new", "old"], id="too busy"),
        pytest.param(CANCELLED, OK, CANCELLED, False, ["new"], id="the caller has gone"),
        pytest.param(INTERNAL, CANCELLED, CANCELLED, False, ["new", "old"], id="the caller has gone meanwhile"),
    ],
)
def test_what_a_caller_gets(new: str, old: str, code: str, failed: bool, asked: list[str]) -> None:
    world = World(Answer(old, "old says"), Answer(new, "new says"))

    served = world.serve()

    assert (served.answer.code, served.code, served.failed) == (code, new, failed)
    assert [model for model, _ in world.asked] == asked
    assert served.line()["request"] == CANDIDATE
    assert served.line().get("failed", False) is failed


def test_what_the_stable_release_fails_is_passed_on() -> None:
    world = World(Answer(INTERNAL, "broken"), share=0.0)

    served = world.serve()

    assert (served.answer.message, served.code, served.failed) == ("broken", INTERNAL, False)
    assert len(world.asked) == 1


def test_a_candidate_that_fails_in_a_row_gets_no_more() -> None:
    world = World(new=Answer(INTERNAL))

    served = [world.serve() for _ in range(9)]

    assert {one.answer.code for one in served} == {OK}
    assert [one.arm for one in served] == [CANDIDATE] * 5 + [STABLE] * 4
    assert world.routing.tripped
    assert world.noted == [{"tripped": "run", "reason": INTERNAL}]


def test_a_failure_now_and_then_does_not_end_it() -> None:
    world = World(new=Answer(INTERNAL))

    for _ in range(20):
        world.answers["new"] = Answer(INTERNAL)
        for _ in range(4):
            world.serve()
        world.answers["new"] = GOOD
        world.serve()

    assert not world.routing.tripped


def test_bad_pictures_do_not_end_it() -> None:
    world = World(Answer(INVALID_ARG), Answer(INVALID_ARG))

    for _ in range(50):
        world.serve()

    assert not world.routing.tripped


def test_a_candidate_that_does_not_answer_is_waited_for_only_so_long() -> None:
    world = World(patience_s=0.05)
    released = threading.Event()

    def ask(model: str, compare: bool) -> Answer:
        if model == "new":
            released.wait(30)
        return Answer(OK, content=model)

    began = time.monotonic()
    served = [world.serve(ask=ask) for _ in range(4)]
    seconds = time.monotonic() - began
    released.set()

    assert [one.answer.content for one in served] == ["old"] * 4
    assert [(one.code, one.failed) for one in served] == [(LATE, True)] * 3 + [(OK, False)]
    assert seconds < 5
    assert world.noted == [{"tripped": "run", "reason": LATE}]


@pytest.mark.parametrize(
    ("share", "expected"), [pytest.param(0.0, 0, id="none"), pytest.param(0.25, 10, id="a quarter"), (1.0, 40)]
)
def test_a_share_of_the_answers_is_compared(share: float, expected: int) -> None:
    world = World(compare_share=share)

    count = 0
    for _ in range(40):
        served = world.serve()
        if served.compare:
            count += 1
            world.routing.compared()

    assert count == expected
    assert sum(compare for _, compare in world.asked) == expected


def test_one_comparison_at_a_time() -> None:
    world = World(compare_share=1.0)

    first, second = world.serve(), world.serve()
    world.routing.compared()

    assert [first.compare, second.compare, world.serve().compare] == [True, False, True]


def test_a_failed_answer_does_not_hold_up_the_next_comparison() -> None:
    world = World(new=Answer(INTERNAL), compare_share=1.0)
    failed = world.serve()
    world.answers["new"] = GOOD

    assert not failed.compare
    assert world.serve().compare


def test_settings_survive_as_texts() -> None:
    assert Settings.from_parameters(SETTINGS.to_parameters()) == SETTINGS


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("share", "1.5"),
        ("share", "nan"),
        ("share", "much"),
        ("expires", "-1"),
        ("compare_share", "2"),
        ("patience_s", "0"),
        ("concurrency", "0"),
        ("run", ""),
    ],
)
def test_settings_out_of_their_range_are_refused(name: str, value: str) -> None:
    with pytest.raises(SetupError, match=f"parameter {name}: expected"):
        Settings.from_parameters(SETTINGS.to_parameters() | {name: value})


@pytest.mark.parametrize("name", ["stable", "share", "watch_file"])
def test_a_missing_setting_is_named(name: str) -> None:
    parameters = SETTINGS.to_parameters()
    del parameters[name]

    with pytest.raises(SetupError, match=f"parameter {name}: expected a value, got none"):
        Settings.from_parameters(parameters)


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ("in ensemble 'trident_stable', IMAGE: expected JPEG, PNG, WebP, BMP or TIFF, got text", INVALID_ARG),
        ("in ensemble 'trident', picture 1 of 2: IMAGE: expected at most 50 megapixels, got more", INVALID_ARG),
        ("in ensemble 'trident', Request timeout expired", UNAVAILABLE),
        ("in ensemble 'trident', [request id: 7] Exceeds maximum queue size", UNAVAILABLE),
        (f"in ensemble 'trident', too many requests: 12 wait; expected at most 2 s: {LATER}", UNAVAILABLE),
        ("face_detector version 1: Server not ready: it is stopping", UNAVAILABLE),
        ("in ensemble 'trident', the request was cancelled", CANCELLED),
        ("in ensemble 'trident', fusion: DETECTOR_SCORES: expected scores in [0, 1]", INTERNAL),
        ("Stub process 'detector_0_0' is not healthy.", INTERNAL),
        ("a sentence that ends with IMAGE: ", INTERNAL),
    ],
)
def test_the_code_is_read_from_the_sentence(message: str, code: str) -> None:
    assert code_of(message, INTERNAL) == code
    assert code_of(message, "NOT_FOUND") == "NOT_FOUND"


@pytest.mark.parametrize(
    "encoded", [b"", b"text", b"\xff\xd8\xff\xe0", b"GIF89a", b"\x89PNG\r\n\x1a\n", b"BM", b"II*\0"]
)
def test_every_refusal_of_preprocess_is_known_by_its_sentence(encoded: bytes) -> None:
    with pytest.raises(InvalidInput) as caught:
        prepare(encoded, Limits())

    assert code_of(f"in ensemble 'trident_stable', {caught.value}", INTERNAL) == INVALID_ARG
