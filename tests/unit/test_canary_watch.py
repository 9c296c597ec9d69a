"""What a canary notes, and what is made of it."""

from __future__ import annotations

import json
import math
import os
import threading
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from trident.contract import CANDIDATE
from trident.rollout import canary_watch
from trident.rollout.agreement import COMPARED_OUTPUTS, disagreement
from trident.rollout.canary_record import SILENT_S, Line, WatchReader, WatchWriter, older
from trident.rollout.canary_watch import Arm, CanaryLimits, Observation, Tally, Verdict, judge, router_failure
from trident.rollout.serving import ServerLost, ServingError, Statistics


def wait_for(condition: Any) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


class TestWatchFile:
    def test_what_is_written_is_read_in_order(self, tmp_path: Path) -> None:
        file = tmp_path / "canary.jsonl"
        writer = WatchWriter(file, "run")
        for number in range(500):
            writer.note({"request": "stable", "ms": number})
        writer.close()

        lines = WatchReader(file).read()
        assert lines[0]["begin"] == lines[-1]["end"] == "run"
        assert [line["ms"] for line in lines if "request" in line] == list(range(500))
        assert all(abs(line["t"] - time.time()) < 60 for line in lines)

    def test_only_what_is_new_and_whole_is_read(self, tmp_path: Path) -> None:
        file = tmp_path / "canary.jsonl"
        reader = WatchReader(file)
        seen = [reader.read()]
        for text in ('{"a":1}\n{"b"', ":2}\n", "no line\n[1]\n", '{"c":3}\n'):
            with file.open("a") as out:
                out.write(text)
            seen.append(reader.read())

        assert seen == [[], [{"a": 1}], [{"b": 2}], [], [{"c": 3}]]

    def test_a_file_that_grows_is_renamed_and_nothing_is_lost(self, tmp_path: Path) -> None:
        file = tmp_path / "canary.jsonl"
        reader, read = WatchReader(file), list[Line]()
        writer = WatchWriter(file, "run", most_bytes=2000)
        for number in range(400):
            writer.note({"request": "stable", "ms": number})
            if number % 20 == 19:
                wait_for(writer._waiting.empty)
                time.sleep(0.02)
                read += reader.read()
        writer.close()
        read += reader.read()

        assert [line["ms"] for line in read if "request" in line] == list(range(400))
        assert older(file).exists()
        assert sum(one.stat().st_size for one in tmp_path.iterdir()) < 10_000
        assert len(list(tmp_path.iterdir())) <= 2

    def test_a_router_gives_signs_of_life(self, tmp_path: Path) -> None:
        file = tmp_path / "canary.jsonl"
        writer = WatchWriter(file, "run", in_flight=lambda: 3)
        reader, lines = WatchReader(file), list[Line]()
        wait_for(lambda: lines.extend(reader.read()) or any("beat" in line for line in lines))
        writer.close()

        beat = next(line for line in lines if "beat" in line)
        assert (beat["beat"], beat["in_flight"], beat["dropped"]) == ("run", 3, 0)

    def test_two_writers_share_a_file(self, tmp_path: Path) -> None:
        file = tmp_path / "canary.jsonl"
        writers = [WatchWriter(file, run) for run in ("first", "second")]
        for writer in writers:
            writer.note({"request": "stable"})
            writer.close()

        lines = WatchReader(file).read()
        assert sum("request" in line for line in lines) == 2
        assert {line["end"] for line in lines if "end" in line} == {"first", "second"}

    def test_a_disk_that_cannot_be_written_fails_nobody_and_is_said_once(self, tmp_path: Path) -> None:
        complaints: list[str] = []
        writer = WatchWriter(tmp_path / "none" / "canary.jsonl", "run", complain=complaints.append)
        began = time.monotonic()
        for _ in range(5000):
            writer.note({"request": "stable"})
        seconds = time.monotonic() - began
        wait_for(lambda: writer.dropped >= 5000)
        writer.note({"request": "stable"})
        writer.close()

        assert seconds < 2
        assert len(complaints) == 1
        assert "cannot write" in complaints[0]

    def test_a_full_disk_leaves_no_half_line(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        file = tmp_path / "canary.jsonl"
        real = os.write
        monkeypatch.setattr(os, "write", lambda out, text: real(out, text[:7]))
        writer = WatchWriter(file, "run")
        wait_for(lambda: writer.dropped)
        monkeypatch.undo()
        writer.close()

        assert [next(iter(json.loads(line))) for line in file.read_text().splitlines()] == ["end"]

    def test_no_link_is_followed(self, tmp_path: Path) -> None:
        (tmp_path / "canary.jsonl").symlink_to(tmp_path / "elsewhere")
        WatchWriter(tmp_path / "canary.jsonl", "run").close()

        assert not (tmp_path / "elsewhere").exists()


def request(arm: str, ms: float = 100.0, code: str = "OK", **more: Any) -> Line:
    return {"request": arm, "code": code, "ms": ms, "t": 0.0, **more}


def tally(*lines: Line) -> Tally:
    made = Tally()
    made.add(lines)
    return made


class TestTally:
    def test_each_arm_has_its_own_latencies(self) -> None:
        seen = tally(
            *(request("stable", ms) for ms in range(1, 102)), *(request("candidate", 2.0 * ms) for ms in range(1, 102))
        ).observation(1.0)

        assert (seen.stable.requests, seen.stable.p50_ms, seen.stable.p95_ms, seen.stable.p99_ms) == (101, 51, 96, 100)
        assert (seen.candidate.p50_ms, seen.candidate.p95_ms) == (102, 192)

    def test_nothing_is_nothing(self) -> None:
        assert tally().observation(3.0) == Observation(3.0, Arm(), Arm())

    @pytest.mark.parametrize(
        ("line", "requests", "errors", "refused"),
        [
            pytest.param(request("candidate"), 1, 0, 0, id="good"),
            pytest.param(request("candidate", code="INTERNAL", failed=True), 1, 1, 0, id="failed"),
            pytest.param(request("candidate", code="INTERNAL"), 1, 0, 0, id="both failed"),
            pytest.param(request("candidate", code="INVALID_ARG"), 0, 0, 1, id="bad picture"),
            pytest.param(request("candidate", code="INVALID_ARG", failed=True), 1, 1, 0, id="wrongly refused"),
            pytest.param(request("candidate", code="UNAVAILABLE"), 1, 1, 0, id="too busy"),
            pytest.param(request("candidate", code="CANCELLED"), 0, 0, 1, id="given up"),
            pytest.param(request("stable", code="INTERNAL"), 1, 1, 0, id="stable failed"),
            pytest.param(request("stable", code="INVALID_ARG"), 0, 0, 1, id="bad picture for stable"),
        ],
    )
    def test_what_counts_as_an_error(self, line: Line, requests: int, errors: int, refused: int) -> None:
        arm = getattr(tally(line).observation(1.0), line["request"])

        assert (arm.requests, arm.errors, arm.refused) == (requests, errors, refused)

    def test_comparisons_are_averaged(self) -> None:
        numbers = {"category_distance": 0.1, "same_top": 1.0, "objects_f1": 0.5}
        seen = tally(
            request("candidate", **numbers), request("candidate", **dict.fromkeys(numbers, 0.0)), request("candidate")
        ).observation(1.0)

        assert (seen.compared, seen.category_distance, seen.same_top, seen.objects_f1) == (2, 0.05, 0.5, 0.25)

    def test_router_s_own_lines(self) -> None:
        made = tally(
            {"begin": "a"},
            {"beat": "a", "dropped": 2, "in_flight": 0},
            {"beat": "a", "dropped": 3, "in_flight": 0},
            {"beat": "b", "dropped": 1, "in_flight": 0},
            {"tripped": "b", "reason": "INTERNAL"},
            {"request": "nobody"},
            {"something": "new"},
        )

        assert made.alive == 3
        assert (made.observation(1.0).dropped, made.observation(1.0).tripped) == (4, "INTERNAL")


ENOUGH = Arm(100, 0, 0, 100.0, 200.0, 300.0)
FINE = Observation(60.0, ENOUGH, ENOUGH, 50, 0.02, 0.98, 0.9)


class TestJudge:
    def test_a_good_candidate_passes_without_a_word(self) -> None:
        assert judge(FINE, CanaryLimits()) == canary_watch.Judgement(Verdict.PASSED)

    @pytest.mark.parametrize(
        ("change", "reason"),
        [
            pytest.param({"broken": "not healthy"}, "the canary itself cannot answer: not healthy", id="router"),
            pytest.param({"tripped": "LATE"}, "given up.*with LATE", id="tripped"),
            pytest.param({"candidate": replace(ENOUGH, errors=3)}, "failed 3 of 100 requests, 3.0%", id="errors"),
            pytest.param({"candidate": replace(ENOUGH, p50_ms=250.0)}, "median is 250 ms, 2.5 times", id="slow"),
            pytest.param(
                {"candidate": replace(ENOUGH, p95_ms=700.0)}, "95th percentile is 700 ms, 3.5 times", id="tail"
            ),
            pytest.param({"category_distance": 0.3}, "fused scores 0.300, expected at most 0.15", id="distance"),
            pytest.param({"same_top": 0.5}, "best category 0.500, expected at least 0.7", id="top"),
            pytest.param({"objects_f1": 0.1}, "F1 of the fused boxes 0.100, expected at least 0.6", id="boxes"),
            pytest.param({"category_distance": math.nan}, "fused scores nan", id="not a number"),
        ],
    )
    def test_what_stops_it(self, change: Mapping[str, Any], reason: str) -> None:
        judgement = judge(replace(FINE, **change), CanaryLimits())

        assert judgement.verdict is Verdict.STOP
        assert len(judgement.reasons) == 1
        with pytest.raises(AssertionError, match=reason):
            raise AssertionError(judgement.reasons[0])

    def test_what_the_stable_release_fails_too_is_allowed(self) -> None:
        bad = replace(ENOUGH, errors=5)

        assert judge(replace(FINE, stable=bad, candidate=bad), CanaryLimits()).verdict is Verdict.PASSED

    def test_too_little_traffic_is_said_and_stops_nothing(self) -> None:
        few = Arm(3, 1, 0, 1000.0, 1000.0, 1000.0)
        judgement = judge(Observation(60.0, ENOUGH, few), CanaryLimits())

        assert judgement.verdict is Verdict.NOT_JUDGED
        assert judgement.reasons == (
            "only 3 requests for the candidate in 60 s: errors and latency not judged (from 20 on)",
            "only 0 answers compared: not judged (from 10 on)",
        )

    def test_little_traffic_does_not_hide_a_candidate_that_was_given_up(self) -> None:
        assert judge(Observation(2.0, Arm(), Arm(5, 5), tripped="INTERNAL"), CanaryLimits()).verdict is Verdict.STOP

    def test_errors_are_judged_where_everybody_gets_the_candidate(self) -> None:
        seen = Observation(60.0, Arm(), replace(ENOUGH, errors=50))

        assert judge(seen, CanaryLimits()).verdict is Verdict.STOP

    def test_a_record_that_is_not_written_stops_it(self) -> None:
        judgement = judge(replace(FINE, silent_s=8.0, unrecorded=40), CanaryLimits())

        assert judgement.verdict is Verdict.STOP
        assert judgement.reasons[0].startswith("the canary has kept no record for 8 s, and 40 requests came")

    @pytest.mark.parametrize(
        "change",
        [
            pytest.param({"unrecorded": 2}, id="lines that are to come"),
            pytest.param({"silent_s": 8.0}, id="silent, and nothing came"),
        ],
    )
    def test_a_record_that_is_behind_is_none_that_is_missing(self, change: Mapping[str, Any]) -> None:
        assert judge(replace(FINE, **change), CanaryLimits()) == canary_watch.Judgement(Verdict.PASSED)

    def test_lines_that_were_lost_are_said(self) -> None:
        judgement = judge(replace(FINE, unrecorded=1, dropped=3), CanaryLimits())

        assert judgement.verdict is Verdict.PASSED
        assert "1 request not in the canary's record" in judgement.reasons[0]

    def test_facts_are_what_json_takes(self) -> None:
        facts = replace(FINE, category_distance=math.nan).facts()

        assert json.loads(json.dumps(facts, allow_nan=False))["candidate"]["p95_ms"] == 200.0


class FakeServing:
    """A server whose ensemble answers as told."""

    def __init__(self, *outcomes: BaseException | None) -> None:
        self._outcomes = list(outcomes)

    def infer(self, *_: Any, **__: Any) -> dict[str, Any]:
        outcome = self._outcomes.pop(0) if len(self._outcomes) > 1 else self._outcomes[0]
        if outcome is not None:
            raise outcome
        return {}

    def statistics(self, model: str, version: int | None = None) -> Statistics:
        return Statistics()


REFUSED = ServingError("IMAGE: expected an encoded picture", "INVALID_ARGUMENT")
HICCUP = ServingError("something", "INTERNAL")
DEAD = ServingError("Stub process 'trident_0_0' is not healthy.", "INTERNAL")


class TestWatch:
    @pytest.mark.parametrize(
        ("outcome", "failure"),
        [
            pytest.param(REFUSED, None, id="refused, as it must be"),
            pytest.param(ServingError("full", "UNAVAILABLE"), None, id="busy"),
            pytest.param(DEAD, "Stub process 'trident_0_0' is not healthy. (INTERNAL)", id="dead"),
            pytest.param(None, "it took no bytes for a picture", id="answered"),
        ],
    )
    def test_a_probe(self, outcome: BaseException | None, failure: str | None) -> None:
        assert router_failure(FakeServing(outcome)) == failure  # type: ignore[arg-type]

    def test_a_lost_server_is_not_a_broken_router(self) -> None:
        with pytest.raises(ServerLost):
            router_failure(FakeServing(ServerLost("gone", "UNAVAILABLE")))  # type: ignore[arg-type]

    @pytest.mark.parametrize(
        ("outcomes", "looks", "verdict"),
        [
            pytest.param([DEAD], 1, Verdict.STOP, id="dead is dead"),
            pytest.param([HICCUP, REFUSED], 3, Verdict.NOT_JUDGED, id="one hiccup"),
            pytest.param([HICCUP], 2, Verdict.STOP, id="twice"),
        ],
    )
    def test_a_broken_router_stops_it(
        self, tmp_path: Path, outcomes: list[BaseException], looks: int, verdict: Verdict
    ) -> None:
        looking = self.watch(tmp_path, FakeServing(*outcomes))
        verdicts = [looking.look()[1].verdict for _ in range(looks)]

        assert verdicts == [Verdict.NOT_JUDGED] * (looks - 1) + [verdict]

    def test_a_router_that_hangs_does_not_hang_the_watch(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        class Hanging(FakeServing):
            def infer(self, *_: Any, **__: Any) -> dict[str, Any]:
                asking.append(threading.current_thread())
                released.wait(10)
                raise REFUSED

        released, asking = threading.Event(), list[threading.Thread]()
        monkeypatch.setattr(canary_watch, "_PROBE_S", 0.02)
        looking = self.watch(tmp_path, Hanging(REFUSED))
        seen, judgement = looking.look()

        assert judgement.verdict is Verdict.STOP
        assert seen.broken == "no answer within 0.02 s"
        assert asking[0].daemon  # or it would keep the process from ending
        released.set()
        asking[0].join()

    def test_a_server_that_is_lost_is_no_verdict(self, tmp_path: Path) -> None:
        looking = self.watch(tmp_path, FakeServing(ServerLost("gone", "UNAVAILABLE")))
        with pytest.raises(ServerLost):
            looking.look()

    def test_what_comes_while_it_waits_for_the_probe_is_not_taken_for_missing(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A probe of a busy server takes longer than a router may be silent, which goes on writing meanwhile."""
        clock = [100.0]

        class Busy(FakeServing):
            def infer(self, *_: Any, **__: Any) -> dict[str, Any]:
                clock[0] += SILENT_S + 1
                with (tmp_path / "canary.jsonl").open("a") as file:
                    for line in ({"beat": "run", "in_flight": 1, "dropped": 0}, *[request("candidate")] * 3):
                        file.write(json.dumps(line) + "\n")
                raise REFUSED

            def statistics(self, model: str, version: int | None = None) -> Statistics:
                return Statistics(succeeded=3 if clock[0] > 100 and model == CANDIDATE else 0)

        looking = self.watch(tmp_path, Busy(REFUSED), clock=lambda: clock[0])
        seen, judgement = looking.look()

        assert (seen.silent_s, seen.unrecorded, seen.candidate.requests) == (0, 0, 3)
        assert judgement.verdict is not Verdict.STOP

    def test_it_reads_what_the_router_writes(self, tmp_path: Path) -> None:
        looking = self.watch(tmp_path, FakeServing(REFUSED))
        before = looking.look()[0]
        with (tmp_path / "canary.jsonl").open("w") as file:
            file.writelines(json.dumps(request("candidate")) + "\n" for _ in range(4))
        after = looking.look()[0]

        assert (before.candidate.requests, after.candidate.requests) == (0, 4)

    @staticmethod
    def watch(folder: Path, serving: FakeServing, **more: Any) -> canary_watch.Watch:
        from tests.unit.test_canary_routing import SETTINGS

        settings = replace(SETTINGS, watch_file=folder / "canary.jsonl")
        return canary_watch.Watch(serving, settings, CanaryLimits(), **more)  # type: ignore[arg-type]


def fused(score: float, box: float, count: int = 2) -> dict[str, Any]:
    categories = np.zeros((count, 80), np.float32)
    categories[:, 3] = score
    boxes = np.zeros((count, 100, 4), np.float32)
    boxes[:, 0] = (box, 0, box + 10, 10)
    scores = np.zeros((count, 100), np.float32)
    scores[:, 0] = score
    used = np.ones((count, 1), np.int32)
    classes = np.zeros((count, 100), np.int32)
    return dict(zip(COMPARED_OUTPUTS, (categories, boxes, scores, classes, used), strict=True))


def test_disagreement_of_equal_answers_is_none() -> None:
    assert disagreement(fused(0.9, 0), fused(0.9, 0)) == {"category_distance": 0, "same_top": 1, "objects_f1": 1}


def test_disagreement_is_the_mean_over_the_pictures() -> None:
    one, other = fused(0.9, 0), fused(0.9, 0)
    other["CATEGORY_SCORES"][1] = np.roll(other["CATEGORY_SCORES"][1], 1)
    other["BOXES"][1, 0] += 50

    numbers = disagreement(one, other)

    assert numbers["same_top"] == numbers["objects_f1"] == 0.5
    assert numbers["category_distance"] == pytest.approx(0.45)
