"""What became of one picture among many."""

from __future__ import annotations

from dataclasses import dataclass, field

from trident_client.errors import ClientError
from trident_client.pictures import Picture
from trident_client.results import Analysis


@dataclass(frozen=True, slots=True, eq=False)
class Outcome:
    """Either an analysis or the error that took its place."""

    index: int
    """Place of the picture among those handed in, from 0."""
    picture: Picture = field(repr=False)
    """The picture as it was handed in."""
    analysis: Analysis | None
    """The answer, if there is one."""
    error: ClientError | None
    """What went wrong, if there is no answer."""

    def unwrap(self) -> Analysis:
        """The analysis. Raises the error if there is none."""
        if self.error is not None:
            raise self.error
        assert self.analysis is not None  # noqa: S101 - one of the two is always there
        return self.analysis
