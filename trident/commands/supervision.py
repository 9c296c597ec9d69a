"""What ``trident serve`` does besides serving: it looks after its server, and tells how that is."""

from __future__ import annotations

from typing import Any

import click

from trident.launcher import TritonServer
from trident.supervisor.endpoint import HealthEndpoint
from trident.supervisor.health import Health
from trident.supervisor.settings import Settings
from trident.supervisor.supervise import Supervisor

HEALTH_PORT = 8080
"""Where Kubernetes and load balancers ask by default."""


def supervision_options(command: Any) -> Any:
    """Give a command the options of ``supervision_of``."""
    for option in reversed(
        (
            click.option(
                "--supervise/--no-supervise",
                default=True,
                show_default=True,
                help="Bring back what dies or hangs. Without it there is no health endpoint, and the command ends when "
                "Triton does.",
            ),
            click.option(
                "--health/--no-health",
                default=True,
                show_default=True,
                help="Tell on an HTTP port of its own whether requests are answered: /v2/health/live, "
                "/v2/health/ready, /status, /metrics.",
            ),
            click.option(
                "--health-port", type=int, default=HEALTH_PORT, show_default=True, help="0 takes any free one."
            ),
            click.option(
                "--probe-seconds",
                type=click.FloatRange(min=0.0),
                default=Settings().probe_s,
                show_default=True,
                help="Without an answer to anybody for so long, ask for one, and find out who hangs if none comes; 0 "
                "never asks.",
            ),
        )
    ):
        command = option(command)
    return command


class Supervision:
    """Looks after a server, and tells how it is over HTTP from before it starts until it has ended.

    Args:
        server: Not started yet.
        health_port: None to tell nobody.
        settings: How patient to be.
    """

    def __init__(self, server: TritonServer, health_port: int | None, settings: Settings) -> None:
        self._server = server
        self._health = Health()
        # The loading of the models is not silence.
        self._health.beat(allowance_s=server.start_timeout_s)
        self._supervisor = Supervisor(server, settings, health=self._health)
        self._endpoint: HealthEndpoint | None = None
        if health_port is not None:
            self._endpoint = HealthEndpoint(
                server.host,
                health_port,
                model=server.model or "server",
                live=lambda: self._health.live,
                ready=lambda: self._health.ready,
                status=self._supervisor.status,
            )

    @property
    def url(self) -> str | None:
        """Where it is told how the server is; None where it is not."""
        return None if self._endpoint is None else self._endpoint.url

    def listen(self) -> None:
        """Begin to tell. Raises SetupError if the port is taken."""
        if self._endpoint is not None:
            self._endpoint.start()

    def start(self) -> None:
        """Begin to look after the server, which has been started."""
        self._supervisor.start()

    def wait(self) -> None:
        """Wait until somebody else ends it."""
        self._supervisor.wait()

    def drain(self) -> None:
        """The server is about to be stopped: from now on it is not ready."""
        self._supervisor.drain()

    def close(self) -> None:
        """Tell nobody any more. To be called once the server has ended."""
        self._supervisor.stop()
        if self._endpoint is not None:
            self._endpoint.stop()


def supervision_of(
    server: TritonServer, *, supervise: bool, health: bool, health_port: int, probe_seconds: float
) -> Supervision | None:
    """What the options ask for; None for no supervision."""
    if not supervise:
        return None
    return Supervision(server, health_port if health else None, Settings(probe_s=probe_seconds))
