"""HAProxy with the project's own configuration, in front of servers of a test's."""

from __future__ import annotations

import csv
import http.client
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from benchmarks.peers.processes import stop
from tests.asking import eventually
from trident.launcher import ports

CONFIGURATION = Path(__file__).parent.parent / "deploy" / "proxy" / "haproxy.cfg"
NAMES = ("a", "b", "c")
_HOST = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class Backend:
    """Where one server is asked."""

    grpc_port: int
    health_port: int


@dataclass(frozen=True, slots=True)
class Proxy:
    """A running HAProxy."""

    url: str
    """Where callers ask."""
    _statistics: str
    _process: subprocess.Popen[str]

    def rows(self) -> dict[str, dict[str, str]]:
        """What it knows of each server, by name: the columns of its statistics."""
        lines = self.page("/;csv").removeprefix("# ").splitlines()
        return {row["svname"]: row for row in csv.DictReader(lines) if row["pxname"] == "trident"}

    def answered(self) -> dict[str, int]:
        """Responses of each server so far."""
        rows = self.rows()
        return {name: int(rows[name]["hrsp_2xx"] or 0) for name in NAMES}

    def states(self) -> dict[str, str]:
        """``UP`` or ``DOWN``, by server."""
        rows = self.rows()
        return {name: rows[name]["status"].split()[0] for name in NAMES}

    def in_hand(self, name: str) -> int:
        """Requests that a server has not answered yet."""
        return int(self.rows()[name]["scur"])

    def given(self, name: str) -> int:
        """Requests that a server has been given so far."""
        return int(self.rows()[name]["lbtot"])

    def broken(self, name: str) -> int:
        """Requests to a server, so far, that ended without a whole answer."""
        return int(self.rows()[name]["eresp"])

    def page(self, path: str) -> str:
        """A page of its statistics. Raises OSError while it does not listen."""
        connection = http.client.HTTPConnection(self._statistics, timeout=10)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            assert answer.status == 200, path
            return answer.read().decode()
        finally:
            connection.close()

    def listens(self) -> bool:
        """Whether it has begun."""
        assert self._process.poll() is None, "HAProxy has ended: see what it has printed"
        try:
            return bool(self.page("/;csv"))
        except OSError:
            return False


@contextmanager
def haproxy(servers: Mapping[str, Backend], log: Path, settings: Mapping[str, str] | None = None) -> Iterator[Proxy]:
    """Start one, and stop it; skips the test where there is none to start.

    Args:
        servers: By name, of ``NAMES``.
        log: What it prints is kept there.
        settings: Environment variables that the configuration knows, besides addresses.
    """
    program = _program()
    if program is None:
        pytest.skip("HAProxy is not installed")
    free = ports.resolve(_HOST, {"front": 0, "statistics": 0})
    places = {f"TRIDENT_{purpose.upper()}": f"{_HOST}:{port}" for purpose, port in free.items()}
    for name, server in servers.items():
        places[f"TRIDENT_{name.upper()}"] = f"{_HOST}:{server.grpc_port}"
        places[f"TRIDENT_{name.upper()}_HEALTH"] = str(server.health_port)
    environment = {"PATH": os.defpath, **places, **(settings or {})}
    with log.open("w") as printed:
        process = subprocess.Popen(
            [program, "-db", "-f", CONFIGURATION], stdout=printed, stderr=subprocess.STDOUT, text=True, env=environment
        )
        try:
            proxy = Proxy(places["TRIDENT_FRONT"], places["TRIDENT_STATISTICS"], process)
            assert eventually(proxy.listens), log.read_text()
            yield proxy
        finally:
            stop(process, 30)


def _program() -> str | None:
    """Debian keeps it off the PATH of ordinary users."""
    return shutil.which("haproxy") or shutil.which("haproxy", path="/usr/sbin:/usr/local/sbin")
