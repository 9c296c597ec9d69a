"""Growth with cores and servers: what is measured, on which cores, and in which variants."""

from __future__ import annotations

import doctest
import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from benchmarks.scaling import replicas, run, setups, sizing
from benchmarks.scaling.replicas import Replica
from benchmarks.scaling.run import Settings, callers_of
from benchmarks.scaling.setups import (
    AS_SERVED,
    Layout,
    Setup,
    cores_first,
    default_setups,
    order_of,
    parse_setup,
    siblings_of,
)
from benchmarks.scaling.variants import (
    CANVAS_NETWORKS,
    Places,
    from_folder,
    more_instances,
    more_threads,
    places_of,
    read_places,
    write_variant,
)
from tests.bare_repository import write_bare
from trident.contract import COMPONENTS, NETWORKS
from trident.errors import SetupError
from trident.model_config import parse_config


@pytest.mark.parametrize("module", [setups, run, sizing])
def test_the_examples_hold(module):
    ran = doctest.testmod(module)
    assert ran.attempted > 0
    assert ran.failed == 0


# Setups


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("2", Setup(2), id="one server"),
        pytest.param("4x2", Setup(4, 2, Layout.SPLIT), id="a part each"),
        pytest.param(" 4x2:shared ", Setup(4, 2, Layout.SHARED), id="they share"),
        pytest.param("4x2:split", Setup(4, 2), id="a part each, said"),
        pytest.param("2x4:shared", Setup(2, 4, Layout.SHARED), id="more servers than cores, which they share"),
    ],
)
def test_a_setup_is_read(text, expected):
    assert parse_setup(text) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param("two", "expected CORES", id="no number"),
        pytest.param("2x", "expected CORES", id="half of it"),
        pytest.param("2x2:both", "expected CORES", id="unknown layout"),
        pytest.param("0", "cores: expected 1", id="no core"),
        pytest.param("2x0", "servers: expected 1", id="no server"),
        pytest.param("2x3", "a core for each server", id="too many servers"),
        pytest.param("2x1:shared", "several servers", id="nobody to share with"),
    ],
)
def test_a_setup_that_cannot_be_is_refused(text, message):
    with pytest.raises(SetupError, match=message):
        parse_setup(text)


@pytest.mark.parametrize("cores", [1, 2, 3, 7, 8])
@pytest.mark.parametrize("servers", [1, 2, 3])
def test_parts_are_all_of_the_cores_and_share_none(cores, servers):
    if servers > cores:
        pytest.skip("no such setup")
    cpus = list(range(100, 120))
    parts = Setup(cores, servers).parts(cpus)
    assert len(parts) == servers
    assert sorted(cpu for part in parts for cpu in part) == cpus[:cores]
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_servers_that_share_have_all_of_the_cores():
    assert Setup(2, 3, Layout.SHARED).parts([5, 6, 7]) == [(5, 6)] * 3


def test_a_machine_with_too_few_cores_is_told():
    with pytest.raises(SetupError, match="expected 4 cores that this process may use, got 2"):
        Setup(4).parts([0, 1])


def test_all_names_differ():
    found = [*default_setups(64, 99), Setup(64, variant="2 threads in each network")]
    assert len({setup.name for setup in found}) == len(found)


@pytest.mark.parametrize("setup", default_setups(64, 99), ids=lambda setup: setup.name)
def test_a_setups_code_is_what_it_is_read_from(setup):
    assert parse_setup(setup.code) == setup


@pytest.mark.parametrize("cores", [1, 2, 3, 4, 6, 16, 64])
def test_what_is_measured_fits_the_machine_and_comes_once(cores):
    found = default_setups(cores, 99)
    assert len(found) == len(set(found))
    assert {setup.cores for setup in found} <= set(range(1, cores + 1))
    assert Setup(1) in found
    assert Setup(cores) in found
    assert all(setup.plain or setup.servers > 1 for setup in found)


def test_two_cores_are_measured_alone_together_and_both_ways():
    assert default_setups(2, 99) == [Setup(1), Setup(2), Setup(2, 2, Layout.SHARED), Setup(2, 2)]


def test_with_many_cores_there_is_a_server_for_every_two_of_them():
    found = default_setups(64, 99)
    several = [setup.servers for setup in found if setup.layout is Layout.SPLIT and setup.servers > 1]
    assert several == [2, 4, 8, 16, 32, 2]


def test_servers_that_there_is_no_memory_for_are_left_out():
    assert max(setup.servers for setup in default_setups(64, 5)) == 4


def test_every_second_round_goes_backwards():
    found = default_setups(4, 99)
    assert [order_of(found, number) for number in range(3)] == [found, found[::-1], found]


# Cores


def test_each_core_comes_once_before_any_second_thread_does():
    siblings = {0: "0,4", 4: "0,4", 1: "1,5", 5: "1,5", 2: "2"}
    assert cores_first([5, 4, 2, 1, 0], siblings.__getitem__) == ([0, 1, 2, 4, 5], 3)


def test_threads_whose_siblings_may_not_be_used_are_cores_of_their_own():
    assert cores_first([1, 3], {1: "0-1", 3: "2-3"}.__getitem__) == ([1, 3], 2)


def test_this_machines_cores_are_all_given_out():
    cpus = os.sched_getaffinity(0)
    ordered, own = cores_first(cpus)
    assert sorted(ordered) == sorted(cpus)
    assert 1 <= own <= len(cpus)


def test_a_processor_that_the_system_says_nothing_of_is_alone():
    assert siblings_of(10**6) == "1000000"


class Started:
    """Stands for a server: starts one process, which says what it may use."""

    said = ""

    def start(self) -> None:
        code = "import os; print(sorted(os.sched_getaffinity(0)))"
        self.said = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout


def test_what_a_server_starts_is_held_to_its_cores_and_nobody_else_is():
    before = os.sched_getaffinity(0)
    one = min(before)
    server = Started()
    with ThreadPoolExecutor(1) as pool:
        pool.submit(replicas._start, server, (one,)).result()
    assert server.said.strip() == f"[{one}]"
    assert os.sched_getaffinity(0) == before


class Process:
    """A process of a server, as psutil shows it."""

    def __init__(self, cpus: list[int], children: tuple[Process, ...] = ()) -> None:
        self._cpus, self._children = cpus, children

    def cpu_affinity(self) -> list[int]:
        return self._cpus

    def children(self, recursive: bool = False) -> list[Process]:
        return list(self._children)


@pytest.mark.parametrize(
    ("server", "stub", "held"),
    [
        pytest.param([1, 3], [3, 1], True, id="both where they belong"),
        pytest.param([1, 3], [1, 2, 3], False, id="a stub that may use more"),
        pytest.param([1], [1], False, id="all that use less"),
    ],
)
def test_a_process_that_left_its_cores_is_seen(server, stub, held):
    class Scale:
        pass

    scale = Scale()
    scale.server = Process(server, (Process(stub),))  # type: ignore[attr-defined]
    replica = Replica("127.0.0.1:1", (3, 1), scale, None, None)  # type: ignore[arg-type]
    assert replica.held() is held


# Settings


def test_variants_are_measured_on_the_most_cores():
    chosen = Settings(instances=(2, 3), threads=(2,)).chosen(4, 99)
    assert [setup for setup in chosen if setup.variant != AS_SERVED] == [
        Setup(4, variant="2 instances of each detector"),
        Setup(4, variant="3 instances of each detector"),
        Setup(4, variant="2 threads in each network"),
    ]


def test_on_one_core_there_are_no_variants():
    assert Settings().chosen(1, 99) == [Setup(1)]
    assert Settings(setups=(Setup(1),)).chosen(2, 99) == [Setup(1)]


def test_setups_of_ones_own_take_the_place_of_the_usual_ones():
    wanted = (Setup(2), Setup(2, 2), Setup(2))
    assert Settings(setups=wanted, instances=(), threads=()).chosen(2, 1) == [Setup(2), Setup(2, 2)]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        pytest.param({"rounds": 0}, "rounds: expected 1", id="no round"),
        pytest.param({"seconds": 0.1}, "seconds: expected 0.5", id="too short"),
        pytest.param({"one_s": 1e9}, "one_s: expected", id="too long"),
        pytest.param({"instances": (2, 0)}, "instances: expected 1", id="no instance"),
        pytest.param({"threads": (65,)}, "threads: expected 1", id="too many threads"),
        pytest.param({"setups": ()}, "at least one setup", id="nothing to measure"),
    ],
)
def test_settings_are_bounded(wrong, message):
    with pytest.raises(SetupError, match=message):
        Settings(**wrong)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        pytest.param(Settings(setups=(Setup(3),)), "at most the 2 cores", id="too many cores"),
        pytest.param(Settings(instances=(2, 2)), "every variant once", id="twice the same"),
    ],
)
def test_what_the_machine_cannot_do_is_refused(settings, message):
    with pytest.raises(SetupError, match=message):
        settings.chosen(2, 99)


@pytest.mark.parametrize("setup", [*default_setups(64, 99), *default_setups(2, 99), Setup(2, 9, Layout.SHARED)])
def test_there_are_callers_for_every_core_and_none_too_many(setup):
    each = callers_of(setup)
    assert 4 <= each <= 24
    assert each * setup.servers >= 8
    assert each == 24 or each * setup.servers >= 4 * setup.cores


# Variants


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    return write_bare(tmp_path / "repository")


def test_the_networks_that_see_the_canvas_are_the_detectors():
    assert set(CANVAS_NETWORKS) == {"detector", "face_detector", "plate_detector"}


def test_more_instances_are_those_of_the_detectors_alone(repository, tmp_path):
    before = read_places(repository)
    after = read_places(write_variant(more_instances(3), repository, tmp_path / "variant"))
    assert set(after) == set(COMPONENTS)
    for name, places in after.items():
        assert places.instances == (3 if name in CANVAS_NETWORKS else before[name].instances), name
        assert places.threads == before[name].threads == 1, name


def test_more_threads_are_those_of_every_network(repository, tmp_path):
    before = read_places(repository)
    after = read_places(write_variant(more_threads(2), repository, tmp_path / "variant"))
    for name, places in after.items():
        assert places.threads == (2 if name in NETWORKS else 1), name
        assert places.instances == before[name].instances, name


def test_an_overlay_of_ones_own_is_a_variant(repository, tmp_path):
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "fusion.pbtxt").write_text("instance_group [ { kind: KIND_CPU count: 4 } ]")
    variant = from_folder(folder)
    assert variant.name == "overlay mine"
    assert read_places(write_variant(variant, repository, tmp_path / "variant"))["fusion"].instances == 4
    assert read_places(repository)["fusion"].instances == 1, "the repository itself is left alone"


def test_a_folder_without_an_overlay_is_refused(tmp_path):
    with pytest.raises(SetupError, match="found none"):
        from_folder(tmp_path)


def test_a_repository_without_a_component_is_refused(repository):
    shutil.rmtree(repository / "fusion")
    with pytest.raises(SetupError, match="got none of fusion"):
        read_places(repository)


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        pytest.param('backend: "python"', Places(1, 1), id="python, nothing said"),
        pytest.param('backend: "python" instance_group [ { count: 2 }, { count: 3 } ]', Places(5, 1), id="two groups"),
        pytest.param('backend: "onnxruntime" instance_group [ { kind: KIND_CPU } ]', Places(1, None), id="all cores"),
        pytest.param(
            'backend: "onnxruntime" parameters { key: "intra_op_thread_count" value { string_value: "4" } }',
            Places(1, 4),
            id="threads",
        ),
    ],
)
def test_places_are_read_as_triton_and_onnxruntime_read_them(config, expected):
    assert places_of(parse_config(config)) == expected
