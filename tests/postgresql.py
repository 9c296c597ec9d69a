"""A PostgreSQL of a test's own, over a Unix socket, in a folder that is gone afterwards."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

_START_S = 60.0


@dataclass(frozen=True, slots=True)
class PostgreSQL:
    """A running server."""

    url: str
    """As ``TRIDENT_GALLERY_URL`` takes it."""
    data: Path
    """Its data folder."""


@contextmanager
def postgresql() -> Iterator[PostgreSQL]:
    """Start one, which listens on no port, and stop it; skips the test where there is none to start."""
    programs = _programs()
    if programs is None:
        pytest.skip("PostgreSQL is not installed")
    user = _unprivileged()
    # Not pytest's own folder: another user has to get into it.
    folder = Path(tempfile.mkdtemp(prefix="trident-postgresql-"))
    try:
        if "user" in user:
            shutil.chown(folder, user["user"])
        data = folder / "data"
        options = ["--auth=trust", "--username=trident", "--no-sync", "--encoding=UTF8", "--locale=C"]
        made = [programs / "initdb", f"--pgdata={data}", *options]
        subprocess.run(made, check=True, capture_output=True, cwd=folder, env={"PATH": os.defpath}, **user)
        command = [programs / "postgres", "-D", data, "-k", folder, "-c", "listen_addresses=", "-c", "fsync=off"]
        with (folder / "log").open("wb") as log:
            server = subprocess.Popen(command, stdout=log, stderr=log, cwd=folder, env={"PATH": os.defpath}, **user)
        try:
            _await(server, folder)
            yield PostgreSQL(f"postgresql://trident@/postgres?host={folder}", data)
        finally:
            server.send_signal(signal.SIGINT)  # a fast shutdown
            try:
                server.wait(30)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _await(server: subprocess.Popen[bytes], folder: Path) -> None:
    deadline = time.monotonic() + _START_S
    while b"ready to accept connections" not in (folder / "log").read_bytes():
        if server.poll() is not None or time.monotonic() > deadline:
            pytest.fail(f"PostgreSQL did not start: {(folder / 'log').read_text(errors='replace')}")
        time.sleep(0.05)


def _programs() -> Path | None:
    """The folder with initdb and postgres; Debian keeps them off PATH."""
    on_path = shutil.which("initdb")
    if on_path is not None:
        return Path(on_path).resolve().parent
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    return found[-1].parent if found else None


def _unprivileged() -> dict[str, Any]:
    """Who it runs as: PostgreSQL refuses to run as root."""
    if os.geteuid() != 0:
        return {}
    for name in ("postgres", "nobody"):
        try:
            account = pwd.getpwnam(name)
        except KeyError:
            continue
        return {"user": name, "group": account.pw_gid, "extra_groups": []}
    pytest.skip("PostgreSQL does not run as root, and there is no user postgres or nobody")
