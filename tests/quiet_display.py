"""A display of rollouts, of one server and of a fleet, for tests."""

from __future__ import annotations

from trident.rollout.engine import Passed


class Quiet:
    """A display that keeps what it was told."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def head(self, sentence: str) -> None:
        self.said.append(sentence)

    def begin(self, step: str, about: str) -> None:
        pass

    def advance(self, done: int, total: int) -> None:
        pass

    def end(self, step: str, passed: Passed | None, seconds: float) -> None:
        self.said.append(f"{step}: {passed.sentence if passed else 'left out'}")

    def fail(self, step: str, sentence: str, seconds: float) -> None:
        self.said.append(f"{step} failed: {sentence}")

    def tell(self, sentence: str) -> None:
        self.said.append(sentence)
