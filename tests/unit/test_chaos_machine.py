"""What a chaos run does with the machine: it fills shared memory, starves a process, and says why it cannot."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from benchmarks.chaos import shared_memory
from benchmarks.chaos.faults import until
from benchmarks.chaos.serving import has_ended, name_of, triton_of
from benchmarks.chaos.shared_memory import Filling, SharedMemory, in_private
from benchmarks.chaos.starving import Starving, _places
from benchmarks.circumstances import ROOT
from trident.errors import SetupError

PAGE = os.sysconf("SC_PAGE_SIZE")


class SmallDisk:
    """A file system of some pages, others of which somebody else takes while it is being filled."""

    def __init__(self, pages: int, taken_late: int = 0) -> None:
        self.pages, self.taken_late, self.used = pages, taken_late, 0

    def fstatvfs(self, _: int) -> SimpleNamespace:
        free = self.pages - self.used
        return SimpleNamespace(f_bavail=free, f_bfree=free, f_blocks=self.pages, f_frsize=PAGE)

    def posix_fallocate(self, _: int, offset: int, length: int) -> None:
        assert offset == self.used * PAGE
        assert length % PAGE == 0 < length
        self.pages, self.taken_late = self.pages - self.taken_late, 0
        if length > (self.pages - self.used) * PAGE:
            raise OSError(errno.ENOSPC, "No space left on device")
        self.used += length // PAGE


@pytest.fixture
def folder() -> Iterator[int]:
    """The machine's shared memory: not every file system has files without names."""
    descriptor = os.open(shared_memory.SHARED_MEMORY, os.O_RDONLY | os.O_DIRECTORY)
    yield descriptor
    os.close(descriptor)


def on(disk: SmallDisk, monkeypatch: pytest.MonkeyPatch) -> SmallDisk:
    monkeypatch.setattr(shared_memory.os, "fstatvfs", disk.fstatvfs)
    monkeypatch.setattr(shared_memory.os, "posix_fallocate", disk.posix_fallocate)
    return disk


@pytest.mark.parametrize("taken_late", [0, 1, 300])
def test_all_that_is_free_is_taken_to_the_last_page(folder: int, monkeypatch: pytest.MonkeyPatch, taken_late: int):
    disk = on(SmallDisk(1000, taken_late), monkeypatch)
    with Filling(folder) as filling:
        assert filling.bytes == disk.used * PAGE == (1000 - taken_late) * PAGE
        disk.pages += 10
        filling.more()
        assert disk.used == 1010 - taken_late


def test_a_full_one_is_left_as_it_is(folder: int, monkeypatch: pytest.MonkeyPatch):
    disk = on(SmallDisk(0), monkeypatch)
    with Filling(folder) as filling:
        assert filling.bytes == disk.used == 0


def test_another_error_is_not_taken_for_a_full_one(folder: int, monkeypatch: pytest.MonkeyPatch):
    disk = on(SmallDisk(5), monkeypatch)

    def refuse(*_: int) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(shared_memory.os, "posix_fallocate", refuse)
    with pytest.raises(PermissionError), Filling(folder):
        pass
    assert disk.used == 0


def test_a_large_one_is_not_filled(monkeypatch: pytest.MonkeyPatch):
    with SharedMemory() as shared:
        monkeypatch.setattr(shared, "free_bytes", lambda: (shared_memory.MOST_MB + 1) * 2**20)
        assert "at most 1024 are filled" in shared.why_not_filled()
        with pytest.raises(SetupError, match="at most 1024 are filled"):
            shared.filled()


def test_one_that_would_take_the_machines_memory_is_not_filled(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(shared_memory, "_memory_available", lambda: 2**30)
    with SharedMemory() as shared:
        monkeypatch.setattr(shared, "free_bytes", lambda: 2**29)
        assert shared.why_not_filled() == "of the machine's memory 1024 MiB are free, 3 times 512 are wanted"
        monkeypatch.setattr(shared, "free_bytes", lambda: 2**28)
        assert shared.why_not_filled() == ""
    assert "3 times 1024 are wanted" in shared_memory.why_not_private()


def test_files_are_told_by_the_begin_of_their_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    for name in ("trident-aa_1", "trident-aa_2", "trident-bb_1", "else"):
        (tmp_path / name).touch()
    monkeypatch.setattr(shared_memory, "SHARED_MEMORY", tmp_path)
    with SharedMemory() as shared:
        assert shared.files(["trident-aa"]) == [f"{tmp_path}/trident-aa_1", f"{tmp_path}/trident-aa_2"]
        assert shared.files([]) == []
        assert shared.used_mb() > 0


def test_what_is_put_in_front_of_a_command_runs_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """With stand-ins for both programs, since not everybody may mount."""
    for name, code in (("unshare", 'shift && exec "$@"'), ("mount", f'echo "$@" > {tmp_path}/mounted')):
        (tmp_path / name).write_text(f"#!/bin/sh\n{code}\n")
        (tmp_path / name).chmod(0o755)
    path = {"PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run([*in_private(64), "echo", "a b", "c"], check=True, capture_output=True, text=True, env=path)
    assert done.stdout == "a b c\n"
    assert (tmp_path / "mounted").read_text() == "-t tmpfs -o mode=1777,size=64m tmpfs /dev/shm\n"


def test_where_nothing_may_be_mounted_that_is_the_reason(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    (tmp_path / "unshare").write_text("#!/bin/sh\necho unshare: Operation not permitted >&2\nexit 1\n")
    (tmp_path / "unshare").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr(shared_memory, "_memory_available", lambda: 2**40)
    assert shared_memory.why_not_private() == "unshare: Operation not permitted"


class TestControlGroups:
    def test_the_first_version_is_found_by_its_controller(self, tmp_path: Path) -> None:
        home = tmp_path / "memory" / "me"
        home.mkdir(parents=True)
        lines = ["5:cpu,cpuacct:/x", "4:memory:/me", "1:name=systemd:/y"]
        assert list(_places(tmp_path, lines)) == [(home, home)]

    def test_in_the_second_version_one_beside_it_is_tried_too(self, tmp_path: Path) -> None:
        home = tmp_path / "slice" / "session"
        home.mkdir(parents=True)
        assert list(_places(tmp_path, ["0::/slice/session"])) == [(home, home), (home.parent, home)]

    def test_a_container_sees_its_own_group_as_the_root(self, tmp_path: Path) -> None:
        assert list(_places(tmp_path, ["0::/../elsewhere"])) == [(tmp_path, tmp_path)]
        assert list(_places(tmp_path, ["4:memory:/elsewhere"])) == [(tmp_path / "memory", tmp_path / "memory")]

    def test_where_none_can_be_made_that_is_said_and_nothing_is_left(self, tmp_path: Path) -> None:
        membership = tmp_path / "cgroup"
        membership.write_text("0::/\n")
        with pytest.raises(SetupError, match=r"no control group for memory can be made: .*no limit of memory"):
            Starving(tmp_path, membership)
        assert list(tmp_path.iterdir()) == [membership]

    def test_where_there_are_none_that_is_said(self, tmp_path: Path) -> None:
        membership = tmp_path / "cgroup"
        membership.write_text("")
        with pytest.raises(SetupError, match="there are none"):
            Starving(tmp_path, membership)

    def test_those_of_runs_that_were_killed_are_removed(self, tmp_path: Path) -> None:
        membership = tmp_path / "cgroup"
        membership.write_text("0::/\n")
        with subprocess.Popen(["true"]) as gone:
            pass
        dead, living, full = (tmp_path / f"trident-chaos-{number}" for number in (gone.pid, os.getppid(), 2**31))
        for folder in (dead, living, full):
            folder.mkdir()
        (full / "cgroup.procs").touch()
        with pytest.raises(SetupError, match="no limit of memory"):
            Starving(tmp_path, membership)
        assert sorted(tmp_path.iterdir()) == sorted([membership, living, full])


def test_a_server_ends_with_a_run_that_is_killed(tmp_path: Path):
    """With something that sleeps in its place."""
    sleeps = ("sh", "-c", "exec sleep 600")
    code = f"""
import sys
from pathlib import Path
from benchmarks.chaos.serving import Served
Served(Path(sys.argv[1]), Path(sys.argv[1]), {sleeps!r}).__enter__()
"""
    sleeper: int | None = None
    run = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], cwd=ROOT)
    try:

        def asleep() -> bool:
            nonlocal sleeper
            sleeper = next((child.pid for child in psutil.Process(run.pid).children() if child.name() == "sleep"), None)
            return sleeper is not None

        assert until(asleep, 60)
        assert sleeper is not None
        assert not has_ended(sleeper)
        run.kill()
        run.wait()
        assert until(lambda: has_ended(sleeper), 20)
    finally:
        run.kill()
        run.wait()
        if sleeper is not None and not has_ended(sleeper):
            os.kill(sleeper, signal.SIGKILL)


def test_a_process_has_ended_also_where_nobody_has_taken_notice():
    process = subprocess.Popen(["sleep", "60"])
    try:
        assert not has_ended(process.pid)
        process.kill()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        assert has_ended(process.pid)
    finally:
        process.kill()
        process.wait()
    assert has_ended(process.pid)


def test_of_processes_without_a_triton_there_is_none():
    assert triton_of([]) is None
    assert name_of([]) is None
