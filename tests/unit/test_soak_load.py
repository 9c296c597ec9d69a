"""The soak's load: who sends what, what is told of it, and how it is counted."""

from __future__ import annotations

import asyncio
import io
import json
import random
import sys
from collections import Counter
from concurrent import futures
from contextlib import contextmanager
from pathlib import Path

import grpc
import pytest
from tritonclient.grpc import service_pb2, service_pb2_grpc

from benchmarks.answers import OK
from benchmarks.load import Arrivals, Plan
from benchmarks.soak.account import REFUSED, Account
from benchmarks.soak.callers import LEFT, Callers, Kind, Mix
from benchmarks.soak.feed import Feed
from benchmarks.soak.pictures import bad_pictures, good_pictures, write_samples
from trident.errors import InvalidInput, SetupError
from trident.preprocess import Limits, prepare

BAD = b"no picture"
RESULT = {"schema": 1, "models": {"classifier": {"version": 2, "digest": "sha256:" + "ab" * 32}}}


class Server(service_pb2_grpc.GRPCInferenceServiceServicer):
    """Refuses what is bad, answers the rest after some seconds, and counts who has gone meanwhile."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.peers: set[str] = set()
        self.gone = 0

    def ModelInfer(self, request, context):  # noqa: N802 - gRPC calls it so
        self.peers.add(context.peer())
        if request.raw_input_contents[0].endswith(BAD):
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "no picture")
        over = futures.Future()
        context.add_callback(lambda: over.set_result(None))
        if futures.wait([over], timeout=self.seconds).done:
            self.gone += 1
        text = json.dumps(RESULT).encode()
        response = service_pb2.ModelInferResponse(model_name=request.model_name)
        response.outputs.add(name="RESULT", datatype="BYTES", shape=[1, 1])
        response.raw_output_contents.append(len(text).to_bytes(4, "little") + text)
        return response


@contextmanager
def serving(seconds: float = 0.0):
    server, service = grpc.server(futures.ThreadPoolExecutor(32)), Server(seconds)
    service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(service, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield f"127.0.0.1:{port}", service
    finally:
        server.stop(None).wait()


def told(url: str, mix: Mix, requests: int, rate: float = 200.0) -> list[dict]:
    async def run(sink) -> None:
        plan = Plan(seconds=60, rate=rate, requests=requests, arrivals=Arrivals.FIXED)
        await Callers(url, {"one.jpg": b"picture", "two.jpg": b"another"}, {"noise": BAD}, plan, mix, sink=sink).run()

    sink = io.StringIO()
    asyncio.run(run(sink))
    return [json.loads(line) for line in sink.getvalue().splitlines()]


def counted(lines: list[dict], window_s: float = 60.0) -> Account:
    account = Account(window_s)
    for line in lines:
        account.add(line)
    return account


def test_the_mix_is_drawn_in_its_shares():
    chance = random.Random(1)
    mix = Mix(bad=0.1, leaving=0.05)
    drawn = Counter(mix.draw(chance) for _ in range(20_000))
    assert drawn[Kind.BAD] == pytest.approx(2000, rel=0.1)
    assert drawn[Kind.LEAVING] == pytest.approx(1000, rel=0.15)
    assert sum(drawn.values()) == 20_000


def test_every_caller_ends_as_its_kind_does():
    with serving(seconds=0.6) as (url, service):
        account = counted(told(url, Mix(bad=0.3, leaving=0.3), 60))
    assert account.balanced
    assert (account.planned, account.failed, account.examples) == (60, 0, [])
    codes = {(kind, code) for kind, code, _, _ in account.rows()}
    # Half a second is the longest that somebody stays, and shorter than the server takes.
    assert codes == {(Kind.GOOD, OK), (Kind.BAD, REFUSED), (Kind.LEAVING, LEFT)}
    # Most that leave do so before the server has begun, but each that it has heard of came over its own connection.
    assert len(service.peers) > 1


def test_those_who_stay_share_one_connection():
    with serving() as (url, service):
        told(url, Mix(bad=0.2, leaving=0.0), 20)
    assert len(service.peers) == 1


def test_who_is_answered_before_leaving_has_not_left():
    with serving() as (url, _):
        account = counted(told(url, Mix(bad=0.0, leaving=0.5), 60))
    assert account.failed == 0
    assert account.codes[Kind.LEAVING, OK] > 0


def test_the_same_seed_sends_the_same():
    with serving() as (url, _):
        first, again = ([line.get("picture") for line in told(url, Mix(0.2, 0.2), 30)] for _ in range(2))
    assert sorted(map(str, first)) == sorted(map(str, again))


def test_bad_ones_have_to_be_given():
    async def run() -> None:
        Callers("127.0.0.1:1", {"one": b""}, {}, Plan(seconds=1, rate=1), Mix(0.1, 0.0), sink=io.StringIO())

    with pytest.raises(SetupError, match="--bad 0"):
        asyncio.run(run())


HEAD = {"begin": 1000.0, "unix_minus_monotonic": 900.0}


def line(number: int, picture: str, planned: float, code: str, ms: float = 100.0) -> dict:
    return {"number": number, "picture": picture, "planned": planned, "sent": planned, "done": planned + ms / 1000} | {
        "code": code,
        **({} if code == OK else {"message": "as it was told"}),
    }


def test_requests_are_counted_by_kind_code_and_window():
    account = counted(
        [
            HEAD,
            line(0, "good/a", 101.0, OK, 50.0),
            line(1, "good/b", 109.0, OK, 150.0),
            line(2, "bad/c", 112.0, REFUSED),
            line(3, "leaving/a", 113.0, LEFT),
            line(4, "good/a", 114.0, "UNAVAILABLE"),
            line(5, "bad/c", 115.0, OK),
            {"planned": 6},
        ],
        window_s=10.0,
    )
    assert account.balanced
    assert (account.begin, account.answered, account.told, account.failed) == (1000.0, 2, 6, 2)
    assert {number: (one.requests, one.failed) for number, one in account.windows.items()} == {0: (2, 0), 1: (4, 2)}
    latency = account.windows[0].latency
    assert latency is not None
    assert (latency.count, latency.p50, latency.worst) == pytest.approx((2, 100.0, 150.0), abs=1e-3)
    assert account.windows[1].latency is None
    assert [(one.at, one.picture, one.code) for one in account.examples] == [
        (1014.0, "good/a", "UNAVAILABLE"),
        (1015.0, "bad/c", OK),
    ]


@pytest.mark.parametrize(
    "lines",
    [
        pytest.param([HEAD, line(0, "good/a", 101.0, OK)], id="the load never came to its end"),
        pytest.param([HEAD, line(0, "good/a", 101.0, OK), {"planned": 2}], id="one was never told of"),
    ],
)
def test_what_is_missing_is_noticed(lines):
    assert not counted(lines).balanced


def test_a_load_that_follows_another_has_a_clock_of_its_own():
    later = {"begin": 1030.0, "unix_minus_monotonic": 930.0}
    account = counted(
        [HEAD, line(0, "good/a", 101.0, OK), {"planned": 1}, later, line(0, "good/a", 105.0, OK), {"planned": 1}],
        window_s=10.0,
    )
    assert account.balanced
    assert account.begin == 1000.0
    assert sorted(account.windows) == [0, 3]


def test_only_so_many_failures_are_kept():
    account = counted([HEAD, *(line(number, "good/a", 101.0, "INTERNAL") for number in range(1000))])
    assert account.failed == 1000
    assert len(account.examples) < 100


def test_stretches_are_whole_windows():
    lines = [HEAD, *(line(number, "good/a", 100.0 + number, OK) for number in range(40))]
    account = counted(lines, window_s=10.0)
    assert [len(one) for one in account.stretches(5.0, 31.0)] == [10, 10]


class Scripted(Feed):
    """A feed of a program of ours."""

    def __init__(self, program: str, log: Path) -> None:
        super().__init__("127.0.0.1:1", [], [], Plan(seconds=1, rate=1), Mix(0.0, 0.0), log=log)
        self._command = [sys.executable, "-c", program]


THREE_THOUSAND = """
import sys
for number in range(3000):
    print('{"number": %d}' % number)
sys.stdout.flush()
sys.stdin.read()
print('{"planned": 3000}')
"""


def test_a_feed_gives_every_line_once_and_whole(tmp_path):
    with Scripted(THREE_THOUSAND, tmp_path / "log") as feed:
        lines: list[dict] = []
        while len(lines) < 3000:
            lines += feed.read(10.0)
        feed.stop()
        lines += feed.remaining(10.0)
        assert feed.ended
        feed.check()
    assert lines == [{"number": number} for number in range(3000)] + [{"planned": 3000}]


def test_a_feed_that_fails_says_why(tmp_path):
    with Scripted("raise SystemExit('the load broke')", tmp_path / "log") as feed:
        assert list(feed.remaining(10.0)) == []
        with pytest.raises(SetupError, match="exit code 1: the load broke"):
            feed.check()


def test_a_feed_that_hangs_is_ended(tmp_path):
    with Scripted("import time; time.sleep(60)", tmp_path / "log") as feed:
        assert feed.read(0.05) == []
        process = feed._running()
    assert process.returncode is not None


def test_the_good_pictures_are_good_and_the_bad_are_not(tmp_path):
    good = good_pictures(None, write_samples(tmp_path / "samples"), tmp_path / "formats")
    assert {path.suffix for path in good} == {".jpg", ".png", ".webp", ".tiff", ".bmp"}
    for path in good:
        prepare(path.read_bytes(), Limits())
    bad = bad_pictures(tmp_path / "bad")
    assert len({path.name for path in bad}) == len(bad) >= 5
    for path in bad:
        with pytest.raises(InvalidInput):
            prepare(path.read_bytes(), Limits())


def test_a_chosen_folder_is_taken_as_it_is(tmp_path):
    (tmp_path / "mine.jpg").write_bytes(b"x")
    assert good_pictures(tmp_path, [], tmp_path / "formats") == [tmp_path / "mine.jpg"]
