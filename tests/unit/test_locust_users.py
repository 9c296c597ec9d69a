"""Locust's users over gRPC under gevent: real locust in a process of its own, a server in this one."""

from __future__ import annotations

import csv
import itertools
import json
import threading
from pathlib import Path
from typing import Any

import grpc
import pytest
from fake_server import Answer, FakeServer, running

from benchmarks.locust_load import process
from benchmarks.locust_load.figures import work_out
from benchmarks.locust_load.process import Settings, headless
from benchmarks.locust_load.shapes import Kind

USERS = 14
"""More than the ten threads that gevent's pool has by itself: each call in flight takes one."""
FAILURES = {"UNAVAILABLE": 3, "INVALID_ARGUMENT": 2, "BAD_ANSWER": 2, "DEADLINE_EXCEEDED": 1}


def script() -> list[Answer]:
    return [
        *[Answer(code=grpc.StatusCode.UNAVAILABLE, details="busy")] * 3,
        *[Answer(code=grpc.StatusCode.INVALID_ARGUMENT, details=f"picture {number}") for number in range(2)],
        *[Answer(result=b"no json")] * 2,
        Answer(delay=2.5),
    ]


@pytest.fixture(scope="module")
def pictures(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("pictures")
    for name in ("one.jpg", "two.jpg"):
        (folder / name).write_bytes(name.encode())
    return folder


class Holding(FakeServer):
    """Keeps all users but the last one waiting until that one has been answered, and asks again."""

    def __init__(self) -> None:
        super().__init__()
        self.held_too_long = False
        self._arrived = itertools.count(1)
        self._asked_again = threading.Event()

    def ModelInfer(self, request, context):  # noqa: N802 - gRPC calls it so
        number = next(self._arrived)
        if number > USERS:
            self._asked_again.set()
        elif number < USERS and not self._asked_again.wait(5):
            self.held_too_long = True
        return super().ModelInfer(request, context)


def test_no_user_waits_for_another_s_answer(tmp_path, pictures):
    """Calls that wait hold threads of gevent's pool. Were there too few, the last user would never hear its answer."""
    settings = Settings(pictures=pictures, shape=Kind.CONSTANT, users=USERS, seconds=2)
    with running(Holding()) as fake:
        words = process.command(settings, fake.url, *headless(tmp_path / "load", tmp_path / "counts.json"))
        assert process.run(words, limit_s=60, log=tmp_path / "log") == 0
    assert not fake.held_too_long


@pytest.fixture(scope="module")
def done(tmp_path_factory, pictures) -> tuple[int, FakeServer, Path]:
    """Exit code, server and folder of one load."""
    folder = tmp_path_factory.mktemp("load")
    fake = FakeServer()
    fake.script = script()
    fake.otherwise = lambda picture: Answer(delay=0.3)
    settings = Settings(pictures=pictures, shape=Kind.CONSTANT, users=USERS, seconds=3, deadline_s=1.5)
    with running(fake):
        words = process.command(settings, fake.url, *headless(folder / "load", folder / "counts.json"))
        code = process.run(words, limit_s=60, log=folder / "log")
    return code, fake, folder


@pytest.fixture(scope="module")
def counted(done) -> dict[str, Any]:
    return dict(json.loads((done[2] / "counts.json").read_text()))


def test_all_users_are_answered_at_the_same_time(done):
    """One that the generator kept waiting would not be in flight."""
    assert done[1].most_running >= USERS


def test_failures_are_counted_by_code_and_end_with_code_1(done, counted):
    assert done[0] == 1
    assert work_out(counted).whole.failed == FAILURES


def test_every_request_is_counted_once(done, counted):
    _, fake, folder = done
    figures = work_out(counted)
    assert figures.whole.requests == len(fake.pictures) == counted["locust"]["requests"]
    assert figures.failed == counted["locust"]["failures"] == sum(FAILURES.values())
    with (folder / "load_stats.csv").open() as file:
        rows = {row["Name"]: row for row in csv.DictReader(file)}
    assert int(rows["trident x1"]["Request Count"]) == int(rows["Aggregated"]["Request Count"]) == len(fake.pictures)
    with (folder / "load_failures.csv").open() as file:
        assert {row["Error"]: int(row["Occurrences"]) for row in csv.DictReader(file)} == FAILURES


def test_latency_is_that_of_the_call(counted):
    figures = work_out(counted)
    assert figures.whole.latency is not None
    # The server rests for 0.3 s before each answer.
    assert figures.whole.latency.p50 >= 299
    assert figures.by_request[0].name == "trident x1"


def test_all_pictures_are_sent(done):
    assert set(done[1].pictures) == {b"one.jpg", b"two.jpg"}


def test_what_a_server_said_is_in_the_log_once_a_code(done):
    log = (done[2] / "log").read_text()
    assert log.count("trident x1: UNAVAILABLE: busy") == 1
    assert log.count("trident x1: INVALID_ARGUMENT: picture") == 1


def test_locust_s_own_report_is_there(done):
    assert "trident x1" in (done[2] / "load-locust.html").read_text()
