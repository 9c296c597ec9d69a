"""Which way of doing the work without a server is the best here: tried, not assumed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from benchmarks.floor.same import difference
from benchmarks.floor.workers import Block, Floor, Job, Variant


@dataclass(frozen=True, slots=True)
class Trial:
    """A variant, and what it did in a short block."""

    variant: Variant
    block: Block
    different: str
    """In what its answers differ from those of the first variant, whose networks compute in one thread each, as the
    served ones do; empty if in nothing. One that differs is not chosen."""


def latency_variants(cores: int) -> tuple[Variant, ...]:
    """Ways to answer one picture as soon as possible."""
    plain = Variant("branches side by side", side_by_side=True)
    if cores == 1:
        return (plain,)
    return (
        plain,
        Variant(f"branches side by side, {cores} threads in each network", side_by_side=True, network_threads=cores),
        Variant(f"branches one after the other, {cores} threads in each network", network_threads=cores),
    )


_ALIKE = 0.03
"""Trials of a few seconds tell rates apart that differ by more than that."""


def throughput_variants(workers: int) -> tuple[Variant, ...]:
    """Ways to answer as many pictures as possible: each worker has a picture, and answers it in one thread."""
    if workers == 1:
        return (Variant("one thread"),)
    return (Variant(f"{workers} processes", processes=workers), Variant(f"{workers} threads", threads=workers))


def try_out(
    variants: Sequence[Variant], job: Job, seconds: float, tell: Callable[[str], None]
) -> tuple[tuple[Trial, ...], Trial]:
    """Run each variant for a moment, one after the other.

    Args:
        variants: At least one.
        job: What they work on.
        seconds: About how long each runs, beside what it takes to load and to warm up.
        tell: Is told what came of each.

    Returns:
        All trials, and one whose answers are those of the first: the fastest, or of those that cannot be told from it
        within 3 % the one that takes the least processor time.

    Raises:
        SetupError: A picture cannot be served, or a network cannot be loaded.
    """
    trials: list[Trial] = []
    names = sorted(job.pictures)
    for variant in variants:
        with Floor(variant, job) as floor:
            floor.block(names)
            # Whole rounds of all pictures, so that each variant does the same work.
            times = max(1, round(seconds * floor.block(names).rate / len(names)))
            block = floor.block(names * times)
        reference = trials[0].block.answers if trials else block.answers
        different = next(filter(None, (difference(reference[name], block.answers[name]) for name in names)), "")
        trials.append(Trial(variant, block, different))
        tell(f"  {variant.name}: {block.rate:.2f} pictures a second{', but other answers' if different else ''}")
    same = [trial for trial in trials if not trial.different]
    enough = (1 - _ALIKE) * max(trial.block.rate for trial in same)
    fast = (trial for trial in same if trial.block.rate >= enough)
    return tuple(trials), min(fast, key=lambda trial: trial.block.cpu_s / len(trial.block.latencies_ms))
