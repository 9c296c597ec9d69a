"""A server of a fleet at work: its repository, its journal, and the way to it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from trident.errors import SetupError, TridentError
from trident.fleet.file import Server
from trident.rollout.disk import Repository
from trident.rollout.journal import Journal
from trident.rollout.serving import Serving, TritonServing


@dataclass(frozen=True, slots=True)
class Member:
    """One server of a fleet."""

    name: str
    repository: Repository
    diary: Journal
    serving: Serving

    def serves(self, targets: Mapping[str, int]) -> bool:
        """Whether what it has on disk, and starts with, are these versions. Raises SetupError."""
        with named(self.name):
            release = self.repository.release()
        return all(release[component] == version for component, version in targets.items())


@contextmanager
def named(name: str) -> Iterator[None]:
    """Say which server it is that something is wrong with. Raises SetupError in the place of any other of ours."""
    try:
        yield
    except TridentError as exc:
        raise SetupError(f"{name}: {exc}") from exc


@contextmanager
def opened(servers: Iterable[Server], *, alone: bool) -> Iterator[tuple[Member, ...]]:
    """The servers, ready to be asked; no connection is made yet.

    Args:
        servers: Those of the fleet.
        alone: Keep all others from changing any of them, and clear away what a killed rollout has left.

    Raises:
        SetupError: A repository or a certificate cannot be used, or another rollout of one of them is under way.
    """
    with ExitStack() as stack:
        members = []
        for server in servers:
            with named(server.name):
                repository, diary = Repository(server.model_repository), Journal(server.model_repository)
                if alone:
                    stack.enter_context(diary.locked())
                    repository.tidy()
                serving = TritonServing(server.url, tls=server.tls, admin_key_file=server.admin_key_file)
            stack.callback(serving.close)
            members.append(Member(server.name, repository, diary, serving))
        yield tuple(members)


def listed(names: Iterable[str]) -> str:
    """Names as a sentence has them.

    >>> listed(["a", "b", "c"])
    'a, b and c'
    """
    *most, last = names
    return f"{', '.join(most)} and {last}" if most else last


def standings(members: Iterable[Member], components: Iterable[str]) -> str:
    """Who serves which versions of some components after a start, in one sentence."""
    components = list(components)
    groups: dict[str, list[str]] = {}
    for member in members:
        try:
            release = member.repository.release()
            serves = ", ".join(f"{name} {release[name]}" for name in components)
        except SetupError as exc:
            serves = f"what cannot be known ({exc})"
        groups.setdefault(serves, []).append(member.name)
    if len(groups) == 1:
        ((serves, names),) = groups.items()
        return f"{listed(names)} {'serves' if len(names) == 1 else 'all serve'} {serves}"
    return "; ".join(
        f"{listed(names)} {'serves' if len(names) == 1 else 'serve'} {serves}" for serves, names in groups.items()
    )
