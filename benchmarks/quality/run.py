"""A run: a server, the versions that it is asked as, and the pictures of every labelled set."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.quality.asking import Progress, Server
from benchmarks.quality.measures import Subject
from benchmarks.quality.report import Column
from benchmarks.quality.versions import SERVING, Side, beside, name_of, serving_side
from benchmarks.served import own_server
from benchmarks.swaps.repository import copy_repository
from trident.errors import SetupError
from trident.rollout.disk import Repository
from trident.rollout.journal import Journal
from trident.rollout.serving import TritonServing

Begin = Callable[[str, int], Progress]
"""Told what is asked about next, and how many pictures that are; gives what is told of each that is done."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What is to be measured."""

    subjects: Sequence[Subject]
    folder: Path
    """Holds the labelled sets."""
    limit: int | None
    versions: Mapping[str, int] | None
    """What the first column has other than what serves."""
    compared: Sequence[Mapping[str, int]]
    """And what the further ones have."""

    @property
    def others(self) -> list[Mapping[str, int]]:
        """All columns but the serving one."""
        return [*([self.versions] if self.versions else []), *self.compared]

    def check(self) -> None:
        """Raise SetupError if two columns would be the same."""
        names = [name_of(targets) for targets in self.others]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise SetupError(f"versions to compare: expected different ones, got {twice[0]} twice")


@contextmanager
def served(url: str | None, repository: Path, *, changes: bool) -> Iterator[tuple[str, Repository | None]]:
    """A server to ask: the given one, or one of our own on free ports, with nobody enrolled.

    Args:
        url: Of a running server.
        repository: Its model repository, or that for our own server.
        changes: Whether other versions are to be loaded; our own server then runs on a copy of the repository.

    Yields:
        Its gRPC address, and its model repository where that is known or needed.
    """
    if url is not None:
        yield url, Repository(repository) if changes else None
        return
    with tempfile.TemporaryDirectory(prefix="trident-quality-") as folder:
        own = copy_repository(repository, Path(folder) / "models") if changes else Repository(repository)
        with own_server(Path(folder), own.path) as server:
            yield server.grpc_url, own


def measure(
    url: str, repository: Repository | None, asked: Asked, begin: Begin, *, callers: bool = True
) -> list[Column]:
    """Put all pictures to every version.

    Args:
        url: Of the server.
        repository: Its model repository; needed for other versions than those that serve.
        asked: What.
        begin: Told what is done.
        callers: As for ``versions.beside``.

    Raises:
        ClientError: A picture was not answered.
        InferenceServerException: Likewise, by a model that is called directly.
        TridentError: Labels are not as they must be, or a version cannot be asked.
    """
    columns = []
    if not asked.versions:
        columns.append(ask(url, Side(SERVING) if repository is None else serving_side(repository), asked, begin))
    if asked.others and repository is not None:
        # A rollout in between would let the versions go that are asked here.
        with Journal(repository.path).locked(), TritonServing(url) as serving:
            for targets in asked.others:
                with beside(serving, repository, targets, callers=callers) as side:
                    columns.append(ask(url, side, asked, begin))
    return columns


def ask(url: str, side: Side, asked: Asked, begin: Begin) -> Column:
    """Put all pictures to one version. Raises as ``measure``."""
    server = Server(url, model=side.model, versions=side.release, settings=side.settings)
    measures, answers = [], {}
    try:
        for one in asked.subjects:
            path = asked.folder / one.name
            progress = begin(f"{side.name}: {one.name}", one.count(path, asked.limit))
            answers[one.name] = one.ask(server, path, asked.limit, progress)
            measures += one.figures(answers[one.name])
    finally:
        server.close()
    return Column(side.name, measures, dict(server.answered), answers)
