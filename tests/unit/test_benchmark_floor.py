"""The floor: the pipeline without a server, its processes, and what is made of the blocks."""

from __future__ import annotations

import doctest
import io
import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import ClassVar

import numpy as np
import psutil
import pytest
from PIL import Image

from benchmarks import report
from benchmarks.floor import figures as floor_figures
from benchmarks.floor import run as floor_run
from benchmarks.floor import same as floor_same
from benchmarks.floor import trials as floor_trials
from benchmarks.floor.figures import CPU, LATENCY, QUANTITIES, RATE, geometric_mean, paired_ratio, work_out
from benchmarks.floor.page import to_html, to_json
from benchmarks.floor.run import Regime, Run, Settings, Side, Turn, cpu_seconds, schedule
from benchmarks.floor.same import check_same, difference
from benchmarks.floor.trials import Trial, latency_variants, throughput_variants, try_out
from benchmarks.floor.workers import Block, Done, Floor, Job, Variant, _Worker, joined
from benchmarks.load import Generator, Plan, drawn_pictures
from benchmarks.pipeline import Pipeline, RunError
from tests.tiny_trident import EMBEDDING_SIDE, PLATE, digests_of, write_repository
from trident.contract import COMPONENTS, NETWORKS
from trident.entities.gallery import Gallery
from trident.errors import InvalidInput, SetupError

NOBODY = "sqlite:////nowhere/gallery.db"


@pytest.fixture(scope="module")
def repository(tmp_path_factory) -> Path:
    return write_repository(tmp_path_factory.mktemp("floor") / "models")


@pytest.fixture(scope="module")
def pipeline(repository):
    with Pipeline(repository, gallery_url=NOBODY) as made:
        yield made


@pytest.fixture(scope="module")
def picture() -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.arange(400 * 640 * 3, dtype=np.uint32).astype(np.uint8).reshape(400, 640, 3)).save(
        buffer, "JPEG"
    )
    return buffer.getvalue()


# The pipeline -------------------------------------------------------------------------------------------------------


def test_every_component_takes_part_in_an_answer(pipeline, repository, picture):
    result = json.loads(pipeline.analyze(picture))
    assert result["image"] == {"width": 640, "height": 400}
    assert result["scene"][0]["label"] == "minivan"
    assert [thing["category"] for thing in result["objects"]] == ["car"]
    assert {entity["type"] for entity in result["entities"]} == {"face", "plate"}
    assert [entity["text"] for entity in result["entities"] if entity["type"] == "plate"] == [PLATE]
    assert set(result["models"]) == set(COMPONENTS)
    for network in NETWORKS:
        assert result["models"][network] == {"version": 1, "digest": digests_of(repository, network)[1]}


async def test_all_ways_give_the_same_answer(pipeline, picture):
    with ThreadPoolExecutor(4) as pool:
        expected = pool.submit(pipeline.analyze, picture).result()
        with ThreadPoolExecutor(1) as other:  # not on this thread, which runs an event loop
            assert other.submit(pipeline.analyze_parallel, picture, pool).result() == expected
        assert await pipeline.analyze_async(picture, pool) == expected


def test_threads_share_a_pipeline(pipeline, picture):
    with ThreadPoolExecutor(4) as callers:
        assert len(set(callers.map(pipeline.analyze, [picture] * 12))) == 1


def test_a_bad_picture_is_refused_as_the_server_refuses_it(pipeline, picture):
    with ThreadPoolExecutor(4) as pool:
        for refused in (
            lambda: pipeline.analyze(picture[:200]),
            lambda: pipeline.analyze_parallel(b"no picture", pool),
        ):
            with pytest.raises(InvalidInput, match="IMAGE: expected"):
                refused()
        json.loads(pipeline.analyze(picture))  # and goes on


def test_a_network_that_fails_says_so(pipeline):
    with pytest.raises(RunError, match="onnxruntime"):
        pipeline.run("classifier", {"PIXELS": np.zeros((1, 2, 2), np.uint8)})


def test_the_release_is_the_pinned_one(repository, picture, tmp_path):
    copy = Path(shutil.copytree(repository, tmp_path / "models"))
    config = copy / "trident" / "config.pbtxt"
    text = config.read_text()
    pin = 'model_name: "classifier"\n      model_version: 1'
    assert pin in text
    config.write_text(text.replace(pin, pin[:-1] + "2"))
    networks = copy / "entity_recognizer" / "1" / "networks.json"
    networks.write_text(
        networks.read_text().replace('"plate_reader": {"version": 1}', '"plate_reader": {"version": 2}')
    )
    with Pipeline(copy, gallery_url=NOBODY) as other:
        models = json.loads(other.analyze(picture))["models"]
    assert {name for name, model in models.items() if model["version"] == 2} == {"classifier", "plate_reader"}
    assert models["classifier"]["digest"] == digests_of(copy, "classifier")[2]


def test_a_network_that_was_not_exported_says_what_to_do(repository, tmp_path):
    copy = Path(shutil.copytree(repository, tmp_path / "models"))
    (copy / "detector" / "1" / "model.onnx").unlink()
    with pytest.raises(SetupError, match=r"detector version 1: .*make export"):
        Pipeline(copy, gallery_url=NOBODY)
    with pytest.raises(SetupError, match="intra_op_threads: expected 1 or more, got 0"):
        Pipeline(repository, intra_op_threads=0)


def test_faces_are_looked_up_in_the_gallery(repository, picture, tmp_path):
    url = f"sqlite:///{tmp_path}/gallery.db"
    with Gallery(url) as people:
        people.enroll("Ada", np.eye(1, EMBEDDING_SIDE, dtype=np.float32), digests_of(repository, "face_embedder")[1])
    with Pipeline(repository, gallery_url=url) as knowing:
        entities = json.loads(knowing.analyze(picture))["entities"]
    assert [entity["identity"]["name"] for entity in entities if entity["type"] == "face"] == ["Ada"]


# Its processes ------------------------------------------------------------------------------------------------------


def test_processes_answer_an_order_together(pipeline, repository, picture):
    pictures = {"one": picture, "two": picture}
    with Floor(Variant("two", processes=2), Job(repository, NOBODY, pictures)) as floor:
        pids = floor.pids
        assert len(pids) == 2
        for _ in range(2):
            block = floor.block(["one", "two", "one"] * 4)
            assert len(block.latencies_ms) == 12
            assert set(block.answers) == set(pictures)
            assert all(not difference(answer, pipeline.analyze(picture)) for answer in block.answers.values())
            assert 0 < max(block.latencies_ms) / 1000 <= block.elapsed_s
            assert block.rate == pytest.approx(12 / block.elapsed_s)
            assert block.cpu_s > 0
        with pytest.raises(SetupError, match="at least one picture"):
            floor.block([])
    assert not any(psutil.pid_exists(pid) for pid in pids)


def test_a_process_says_which_picture_cannot_be_served(repository, picture):
    job = Job(repository, NOBODY, {"good": picture, "bad": b"no picture"})
    with Floor(Variant("one"), job) as floor, pytest.raises(SetupError, match="bad cannot be served: IMAGE"):
        floor.block(["good", "bad"])


def test_a_process_that_was_killed_is_noticed(repository, picture):
    with Floor(Variant("one"), Job(repository, NOBODY, {"one": picture})) as floor:
        os.kill(floor.pids[0], signal.SIGKILL)
        with pytest.raises(SetupError, match="ended by itself"):
            floor.block(["one"])


def test_what_cannot_be_loaded_is_said_at_the_start(tmp_path):
    with pytest.raises(SetupError, match="floor: there is no model repository"):
        Floor(Variant("one"), Job(tmp_path / "nowhere", NOBODY, {})).__enter__()


class Counter:
    """As ``multiprocessing.Value``, within one process."""

    def __init__(self) -> None:
        self.value = 0

    def get_lock(self) -> threading.Lock:
        return threading.Lock()


class FakePipeline:
    """Notes how it was called."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    def analyze(self, picture: bytes) -> bytes:
        self.calls.append("in turn")
        return picture

    def analyze_parallel(self, picture: bytes, pool: object) -> bytes:
        self.calls.append("side by side")
        return picture


@pytest.mark.parametrize("side_by_side", [False, True], ids=["in turn", "side by side"])
def test_a_worker_does_as_its_variant_says(side_by_side):
    fake = FakePipeline()
    with ThreadPoolExecutor(1) as pool:
        variant = Variant("any", side_by_side=side_by_side)
        worker = _Worker(variant, fake, pool, pool, Counter(), {"a": b"A", "b": b"B"})
        done = worker.answer(("a", "b", "a"))
    assert fake.calls == ["side by side" if side_by_side else "in turn"] * 3
    assert [number for number, _, _ in done.spans] == [0, 1, 2]
    assert all(begun <= end for _, begun, end in done.spans)
    assert done.answers == {"a": b"A", "b": b"B"}


def test_parts_of_a_block_are_joined_in_the_order_of_the_pictures():
    block = joined(
        [Done(((1, 10.5, 11.0), (2, 11.0, 13.0)), 2.0, {"b": b"B"}), Done(((0, 10.0, 12.0),), 1.5, {"a": b"A"})]
    )
    assert block == Block((2000.0, 500.0, 2000.0), 3.0, 3.5, {"b": b"B", "a": b"A"})
    assert block.rate == 1.0
    assert joined([Done(((0, 0.0, 1.0),), 1.0, {}), Done((), 0.5, {})]).cpu_s == 1.5


# Which floor --------------------------------------------------------------------------------------------------------


class FakeFloor:
    """A floor with set rates and answers, by the name of the variant."""

    rates: dict[str, float]
    scores: dict[str, float]
    cpu_s: ClassVar[dict[str, float]] = {}
    """Processor seconds a picture; 1 where nothing is said."""

    def __init__(self, variant: Variant, job: Job) -> None:
        self.variant = variant

    def __enter__(self):
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def block(self, order):
        answer = json.dumps({"score": self.scores.get(self.variant.name, 0.5)}).encode()
        elapsed_s = len(order) / self.rates[self.variant.name]
        cpu_s = self.cpu_s.get(self.variant.name, 1.0) * len(order)
        return Block((1.0,) * len(order), elapsed_s, cpu_s, dict.fromkeys(order, answer))


def test_of_variants_that_are_as_fast_the_cheapest_is_chosen(monkeypatch):
    FakeFloor.rates, FakeFloor.scores = {"dear": 8.0, "cheap": 7.9, "slow": 7.0}, {}
    monkeypatch.setattr(FakeFloor, "cpu_s", {"dear": 2.0, "cheap": 1.0, "slow": 0.5})
    monkeypatch.setattr(floor_trials, "Floor", FakeFloor)
    _, best = try_out([Variant(name) for name in FakeFloor.rates], Job(Path(), "", {"a": b""}), 2.0, lambda _: None)
    assert best.variant.name == "cheap"


def test_the_fastest_variant_with_the_same_answers_is_chosen(monkeypatch):
    FakeFloor.rates, FakeFloor.scores = {"first": 5.0, "second": 8.0, "third": 9.0}, {"third": 0.6}
    monkeypatch.setattr(floor_trials, "Floor", FakeFloor)
    variants = [Variant(name) for name in FakeFloor.rates]
    told: list[str] = []
    tried, best = try_out(variants, Job(Path(), "", {"a": b"", "b": b""}), 2.0, told.append)
    assert best.variant.name == "second"
    assert [trial.different for trial in tried] == ["", "", "RESULT.score: expected 0.5, got 0.6"]
    # Whole rounds of both pictures, about two seconds of them.
    assert [len(trial.block.latencies_ms) for trial in tried] == [10, 16, 18]
    assert len(told) == 3
    assert "other answers" in told[2]


def test_variants_use_as_many_workers_as_wanted():
    assert {variant.processes * variant.threads for variant in throughput_variants(3)} == {3}
    assert [variant.network_threads for variant in latency_variants(2)] == [None, 2, 2]
    assert len(latency_variants(1)) == len(throughput_variants(1)) == 1


def test_answers_are_compared_to_the_last_digit():
    one = {"objects": [{"score": 0.5, "box": [1, 2]}], "models": {"fusion": {"version": 1}}}

    def against(other: object) -> str:
        return difference(json.dumps(one).encode(), json.dumps(other).encode())

    assert against(one) == ""
    assert against({**one, "models": {"fusion": {"version": 2}}}) == "RESULT.models.fusion.version: expected 1, got 2"
    assert against({**one, "objects": [{"score": 0.5001, "box": [1, 3]}]}) == (
        "RESULT.objects[0].box[1]: expected 2, got 3; RESULT.objects[0].score: expected 0.5, got 0.5001"
    )
    assert against({"objects": one["objects"]}).startswith("RESULT.models: ")
    assert against([]).startswith("RESULT: ")
    assert difference(b"[1, 2, 3, 4, 5]", b"[0, 0, 0, 0, 0]").endswith(" (and 2 more)")


def test_a_server_that_answers_otherwise_is_not_measured():
    def served(text: bytes):
        return SimpleNamespace(infer=lambda model, tensors: {"RESULT": np.array([[text]], dtype=np.object_)})

    check_same({"a": b'{"x": 1}'}, served(b'{ "x": 1 }'), {"a": b"picture"})
    with pytest.raises(SetupError, match=r"a: expected .* RESULT\.x: expected 1, got 2; nothing was measured"):
        check_same({"a": b'{"x": 1}'}, served(b'{"x": 2}'), {"a": b"picture"})


# The order of things ------------------------------------------------------------------------------------------------


def test_sides_take_turns_so_that_a_drift_hits_both_alike():
    rounds = 4
    blocks = list(schedule(rounds))
    assert len(blocks) == rounds * len(Regime) * 4
    for number, regime in itertools.product(range(rounds), Regime):
        places = [(side, order) for at, which, side, order in blocks if (at, which) == (number, regime)]
        where = {side: [place for place, (one, _) in enumerate(places) if one is side] for side in Side}
        assert sum(where[Side.FLOOR]) == sum(where[Side.SERVED]) == 3
        orders = {side: sorted(order for one, order in places if one is side) for side in Side}
        assert orders[Side.FLOOR] == orders[Side.SERVED] == [2 * number, 2 * number + 1]
    first = [side for at, regime, side, _ in blocks if regime is Regime.ONE][::4]
    assert first == [Side.FLOOR, Side.SERVED] * 2


async def test_the_floor_gets_the_pictures_that_the_load_sends():
    names = [f"{number}.jpg" for number in range(5)]
    generator = Generator("127.0.0.1:1", dict.fromkeys(names, b""), Plan(seconds=1, workers=1, seed=7), io.StringIO())
    sent = [generator._next()[:2] for _ in range(50)]
    await generator._transport.close()
    expected = list(itertools.islice(drawn_pictures(reversed(names), 7), 50))
    assert sent == list(enumerate(expected))
    assert set(expected) == set(names)
    assert expected != list(itertools.islice(drawn_pictures(names, 8), 50))


def test_the_processor_time_of_child_processes_counts():
    spin = "import time\nwhile time.process_time() < 0.3: pass\nprint(flush=True)\ninput()"
    before = cpu_seconds(psutil.Process())
    with subprocess.Popen([sys.executable, "-c", spin], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        child.stdout.readline()
        assert cpu_seconds(psutil.Process()) - before >= 0.25  # while it lives
        child.communicate(b"\n")
    assert cpu_seconds(psutil.Process()) - before >= 0.25  # and when it has ended


@pytest.mark.parametrize("wrong", [{"rounds": 1}, {"block_s": 0.0}, {"workers": 0}, {"callers": 1000}])
def test_settings_are_checked(wrong):
    with pytest.raises(SetupError, match="expected"):
        Settings(**wrong)


# Figures ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("module", [floor_run, floor_figures, floor_same], ids=lambda module: module.__name__)
def test_the_examples_in_the_documentation_are_right(module):
    ran = doctest.testmod(module)
    assert ran.attempted > 0
    assert ran.failed == 0


def test_a_ratio_is_that_of_the_rounds():
    twice = paired_ratio([2.0, 4.0, 8.0], [1.0, 2.0, 4.0])
    assert (twice.value, twice.low, twice.high) == pytest.approx((2.0, 2.0, 2.0))
    mixed = paired_ratio([1.0, 4.0], [1.0, 1.0])
    assert mixed.value == pytest.approx(2.0)
    # Student's t with one degree of freedom is 12.706 at 97.5 %; the standard error of log 1 and log 4 is log 2.
    assert (np.log(mixed.low / 2), np.log(mixed.high / 2)) == pytest.approx(
        (-12.706 * np.log(2), 12.706 * np.log(2)), 1e-4
    )
    back = paired_ratio([1.0, 1.0], [1.0, 4.0])
    assert back.value == pytest.approx(1 / mixed.value)


def test_rounds_that_differ_more_are_less_sure():
    calm = paired_ratio([1.9, 2.0, 2.1, 2.0], [1.0] * 4)
    wild = paired_ratio([1.0, 2.0, 4.0, 2.0], [1.0] * 4)
    assert wild.high - wild.low > 3 * (calm.high - calm.low) > 0
    assert calm.low < calm.value < calm.high


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [([1.0], [1.0]), ([1.0, 2.0], [1.0]), ([1.0, 0.0], [1.0, 1.0])],
    ids=["one round", "not as many", "nothing"],
)
def test_a_ratio_of_too_little_is_refused(ours, theirs):
    with pytest.raises(SetupError, match="paired ratio: expected"):
        paired_ratio(ours, theirs)


def made_up_run(others_cores: float = 0.05) -> Run:
    """Three rounds: served takes 1.25 times as long, and 1.5 times the processor time."""
    turns = []
    for number, regime, side, order in schedule(3):
        slower = 1.25 if side is Side.SERVED else 1.0
        dearer = 1.5 if side is Side.SERVED else 1.0
        latencies = tuple(slower * value * (number + 1) for value in (90.0, 100.0, 140.0, 100.0))
        client_s = 0.01 if side is Side.SERVED else 0.0
        turns.append(
            Turn(
                number,
                regime,
                side,
                order,
                latencies,
                slower * 0.5 * (number + 1),
                dearer * 0.8,
                client_s,
                others_cores,
            )
        )
    blocks = {name: Block((100.0,) * 4, seconds, 0.8, {}) for name, seconds in (("a", 0.5), ("b", 0.4), ("c", 0.3))}
    tried = tuple(Trial(Variant(name), block, "x: 1 and 2" if name == "c" else "") for name, block in blocks.items())
    return Run(
        settings=Settings(rounds=3),
        pictures={"one.jpg": 20_000, "<two>.jpg": 50_000},
        trials=dict.fromkeys(Regime, tried),
        chosen=dict.fromkeys(Regime, tried[1]),
        requests=dict.fromkeys(Regime, 4),
        server={"flags": ["--model-repository=models"], "triton": "triton 2.51.0"},
        turns=tuple(turns),
        seconds=90.0,
    )


def test_figures_are_worked_out_by_round():
    compared = work_out(made_up_run())
    assert list(compared) == list(QUANTITIES)
    latency, rate, cpu = compared[LATENCY], compared[RATE], compared[CPU]
    assert latency.floor == pytest.approx((100.0, 200.0, 300.0))
    assert latency.ratio.value == pytest.approx(1.25)
    assert rate.floor == pytest.approx((8.0, 4.0, 8 / 3))
    assert rate.ratio.value == pytest.approx(0.8)
    assert cpu.floor == pytest.approx((0.2, 0.2, 0.2))
    assert (cpu.ratio.value, cpu.ratio.low, cpu.ratio.high) == pytest.approx((1.5, 1.5, 1.5))
    for comparison in compared.values():
        each = np.divide(comparison.served, comparison.floor)
        assert comparison.ratio.value == pytest.approx(geometric_mean(each))
    assert latency.cells() == ("median latency, one at a time, ms", "181.7", "227.1", "1.250", "1.250 – 1.250")


FACTS = {
    "machine": {"processor": "one", "cores": 2},
    "date": "2026-01-02T03:04:05+00:00",
    "commit": "abc",
    "command": "python -m benchmarks.floor",
    "load_average": [0.1, 0.2, 0.3],
}


def test_the_report_is_one_file_without_network(tmp_path):
    run = made_up_run()
    compared = work_out(run)
    html, data = to_html(run, compared, FACTS), to_json(run, compared, FACTS)
    _, as_json = report.write("floor", html, data, tmp_path)
    assert html.count("data:image/png;base64,") == 1
    assert "http://" not in html
    assert "https://" not in html
    assert "<two>" not in html
    assert html.count("other answers") == html.count("the floor</td>") == len(Regime)
    read = json.loads(as_json.read_text())
    assert (read["what"], read["outcome"]) == ("floor", "finished")
    assert len(read["blocks"]) == 3 * 8
    assert [one["chosen"] for one in read["trials"]] == [False, True, False] * 2
    assert read["summary"]["tables"][0]["rows"][3] == [
        "pictures a second, saturated, 1/s",
        "4.40",
        "3.52",
        "0.800",
        "0.800 – 0.800",
    ]
    assert "1.25 times as long" in read["summary"]["sentences"][0]
    assert "2.5 ms of processor" in read["summary"]["sentences"][3]


def test_a_run_on_a_busy_machine_does_not_count():
    run = made_up_run(others_cores=0.9)
    compared = work_out(run)
    data = to_json(run, compared, FACTS)
    assert data["outcome"] == "failed"
    assert "✗ others kept 0.90 cores busy" in data["summary"]["sentences"][-1]
    assert "✗" in to_html(run, compared, FACTS)
