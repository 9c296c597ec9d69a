"""Ports: free ones, and whether a wanted one is taken."""

from __future__ import annotations

import contextlib
import errno
import itertools
import socket
from collections.abc import Iterator

from trident.errors import SetupError


def resolve(host: str, wanted: dict[str, int]) -> dict[str, int]:
    """Check that the wanted ports are free, and find free ones for those given as 0.

    Args:
        host: Address that the server will bind to.
        wanted: Port by what it is for, as in ``{"gRPC": 8001}``; 0 is any free one.

    Raises:
        SetupError: A port is given twice, is taken or may not be used, or the address is not this machine's.
    """
    for (one, port), (other, same) in itertools.combinations(wanted.items(), 2):
        if port == same != 0:
            raise SetupError(
                f"port {port} is given twice, for {one} and for {other}: choose another with {_option(one)} or "
                f"{_option(other)}"
            )
    with contextlib.ExitStack() as held:  # all at once, so that no two free ones are the same
        return {purpose: held.enter_context(_bound(host, port, purpose)) for purpose, port in wanted.items()}


@contextlib.contextmanager
def _bound(host: str, port: int, purpose: str) -> Iterator[int]:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # A port in TIME_WAIT is free to a server; one that is listened on is not, with this option too.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
            probe.listen(1)
        except OSError as exc:
            raise SetupError(_sentence(host, port, purpose, exc)) from exc
        except OverflowError as exc:
            raise SetupError(f"{purpose} port: expected 0 to 65535, got {port}") from exc
        yield probe.getsockname()[1]


def _option(purpose: str) -> str:
    return f"--{purpose.lower()}-port"


def _sentence(host: str, port: int, purpose: str, exc: OSError) -> str:
    option = _option(purpose)
    if exc.errno == errno.EADDRINUSE:
        return f"{purpose} port {port} of {host} is taken: stop what listens there, or choose another with {option}"
    if exc.errno == errno.EACCES:
        return f"{purpose} port {port} needs the rights of an administrator: choose one above 1023 with {option}"
    return f"cannot listen on {host}, port {port}: {exc.strerror or exc}"
