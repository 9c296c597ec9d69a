"""The stream of a chaos run that goes through the project's client."""

from __future__ import annotations

import itertools
import time

import grpc
import pytest
from fake_server import Answer, FakeServer, result, running

from benchmarks.answers import BAD_ANSWER, OK
from benchmarks.chaos.callers import Callers, told
from trident.provenance import Provenance
from trident_client import ServerUnreachable, SettingsError

PATIENCE_S = 30.0
PICTURES = {"one": b"picture one", "two": b"picture two"}


@pytest.fixture
def fake():
    with running(FakeServer()) as server:
        yield server


def asked(fake: FakeServer, count: int, expected: object = None):
    """The records of at least so many requests."""
    answers = dict.fromkeys(PICTURES, result() if expected is None else expected)
    with Callers(fake.url, PICTURES, answers, rate=50.0, seed=1) as callers:
        deadline = time.monotonic() + PATIENCE_S
        while len(callers.records) < count and time.monotonic() < deadline:
            time.sleep(0.01)
        records = callers.stop()
        assert callers.asked == len(records) >= count
    assert [record.number for record in records] == list(range(len(records)))
    return records


def test_answers_as_expected_are_right_and_name_their_versions(fake: FakeServer):
    records = asked(fake, 20)
    assert {(record.code, record.message) for record in records} == {(OK, "")}
    made_by = result()["models"]["classifier"]
    assert dict(records[0].models) == {"classifier": Provenance(made_by["version"], made_by["digest"])}
    assert {record.picture for record in records} == set(PICTURES)
    assert set(fake.pictures) == set(PICTURES.values())


def test_it_asks_at_planned_moments_whatever_the_answers_take(fake: FakeServer):
    fake.otherwise = lambda picture: Answer(delay=0.05)
    records = asked(fake, 20)
    gaps = [later.planned - one.planned for one, later in itertools.pairwise(records)]
    assert gaps == pytest.approx([1 / 50.0] * len(gaps), abs=1e-6)
    assert all(record.sent >= record.planned - 0.005 for record in records)


def test_an_answer_that_says_something_else_is_noted_with_the_place(fake: FakeServer):
    other = result(image={"width": 641, "height": 480})
    records = asked(fake, 3, other)
    assert records[0].message == "RESULT.image.width: expected 641, got 640"


def test_other_versions_are_no_other_answer(fake: FakeServer):
    records = asked(fake, 3, result(models={"classifier": {"version": 9, "digest": "sha256:" + "99" * 32}}))
    assert {record.message for record in records} == {""}


def test_the_clients_retries_are_used_and_what_they_leave_is_told_in_the_servers_words(fake: FakeServer):
    fake.script = [Answer(grpc.StatusCode.UNAVAILABLE, "a model is being brought back: ask again later")]
    fake.script += [Answer(grpc.StatusCode.INTERNAL, "Stub process 'fusion_0_0' is not healthy.")]
    records = asked(fake, 5)
    assert [(one.code, one.message) for one in records if one.code != OK] == [
        ("INTERNAL", "Stub process 'fusion_0_0' is not healthy.")
    ]
    assert len(fake.requests) >= len(records) + 1, "the refused one was sent again"


def test_what_is_no_answer_is_bad(fake: FakeServer):
    fake.otherwise = lambda picture: Answer(result=b"nothing of the kind")
    assert {record.code for record in asked(fake, 2)} == {BAD_ANSWER}


def test_an_error_of_the_clients_own_is_told_by_its_name():
    assert told(SettingsError("no such address")) == ("SettingsError", "no such address")
    assert told(ServerUnreachable("nobody")) == ("ServerUnreachable", "nobody")
