"""What the soak reads of processes and folders, on processes of the test's own."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from contextlib import contextmanager

import pytest

from benchmarks.soak.weights import LAUNCHER, OTHER, Weigher, Weight, held_mb, weigh
from tests.asking import eventually

HOLDING = """
import sys, threading
held = b"x" * 60_000_000
files = [open("/dev/null") for _ in range(25)]
threading.Thread(target=sys.stdin.read, daemon=True).start()
print("there", flush=True)
threading.Event().wait()
"""


@contextmanager
def running(program: str):
    process = subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert process.stdout
        assert process.stdout.readline()
        yield process.pid
    finally:
        process.kill()
        process.communicate()


def test_a_process_is_weighed_with_all_that_it_holds():
    with running("print('there', flush=True)\nimport time; time.sleep(60)") as light, running(HOLDING) as heavy:
        one, other = weigh(light), weigh(heavy)
    assert one and other
    assert other.memory_mb - one.memory_mb == pytest.approx(60, abs=15)
    assert other.anonymous_mb - one.anonymous_mb == pytest.approx(60, abs=15)
    assert other.handles - one.handles == 25
    assert (one.threads, other.threads, other.processes) == (1, 2, 1)


def test_one_that_has_ended_weighs_nothing():
    ended = subprocess.Popen([sys.executable, "-c", ""])
    assert eventually(lambda: weigh(ended.pid) is None)  # a zombie by now
    ended.wait()
    assert weigh(ended.pid) is None


def test_weights_add_up():
    assert Weight(1.0, 2.0, 3.0, 4, 5, 6) + Weight(1.0, 1.0, 1.0, 1, 1, 1) == Weight(2.0, 3.0, 4.0, 5, 6, 7)
    assert Weight(9.0, 2.0, 3.0).kept_mb == 5.0


def test_a_folder_holds_what_is_in_it(tmp_path):
    assert held_mb(tmp_path / "gone") == 0
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner" / "file").write_bytes(os.urandom(3_000_000))
    (tmp_path / "link").symlink_to(sys.executable)
    assert held_mb(tmp_path) == pytest.approx(3.0, abs=0.2)
    assert held_mb(tmp_path / "inner" / "file") == pytest.approx(3.0, abs=0.1)


def test_a_look_sees_children_and_what_others_do(tmp_path):
    program = "import subprocess, sys\nchild = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])"
    ended = "\nprint('there', flush=True)\ntry:\n    sys.stdin.read()\nfinally:\n    child.kill()"
    process = subprocess.Popen([sys.executable, "-c", program + ended], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert process.stdout
        assert process.stdout.readline()
        weigher = Weigher(process.pid, tmp_path, {"log": tmp_path})
        time.sleep(0.1)
        look = weigher.look()
        assert {name: weight.processes for name, weight in look.roles.items()} == {LAUNCHER: 1, OTHER: 1}
        assert look.all.processes == 2
        assert look.all.memory_mb == pytest.approx(sum(weight.memory_mb for weight in look.roles.values()))
        assert (look.shm_files, look.shm_mb, weigher.names) == (0, 0.0, set())
        assert look.free_mb > 0
        assert look.own_mb > 10
        assert 0 <= look.others_cores <= (os.cpu_count() or 1) * 1.5
        assert look.cost_s > 0
    finally:
        process.communicate()  # the end of its input
    assert weigher.look().all == Weight()
