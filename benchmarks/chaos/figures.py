"""What a run comes to: requests by fault, faults by kind, and what had to be shown."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import median

from benchmarks.chaos.accounting import (
    Cost,
    End,
    Ended,
    Stream,
    Window,
    by_fault,
    cost_of,
    judged,
    totals,
    unaccounted,
    without_sentence,
)
from benchmarks.chaos.course import Fault
from benchmarks.chaos.faults import LEAVERS, LEFT
from benchmarks.chaos.kinds import ABOUT, DELAYED, Kind
from benchmarks.chaos.record import Run
from benchmarks.verdict import Verdict, left_alone

NOTICED_S, READY_S = 1.0, 5.0
"""What is aimed at: until it says that it is not ready, and until it is again."""
_MOST_NAMED, _LONGEST = 3, 200


@dataclass(frozen=True, slots=True)
class Row:
    """All faults of one kind that came about."""

    kind: Kind
    faults: int
    noticed: tuple[float, ...]
    """Seconds; of those that were."""
    ready: tuple[float, ...]
    """Seconds; of those after which it was."""
    in_flight: int
    lost: int
    lost_later: int
    """Of the lost ones, those sent after the harm was done."""
    refused: int
    client_failed: int

    @property
    def noticed_in_time(self) -> int:
        """How many were noticed as soon as is aimed at."""
        return sum(seconds <= NOTICED_S for seconds in self.noticed)

    @property
    def ready_in_time(self) -> int:
        """After how many it was ready again as soon as is aimed at."""
        return sum(seconds <= READY_S for seconds in self.ready)


@dataclass(frozen=True, slots=True)
class Figures:
    """All of it."""

    ended: tuple[Ended, ...]
    totals: Mapping[Stream, Mapping[End, int]]
    failed: Mapping[int | None, Sequence[Ended]]
    """By fault; None for those that failed during none."""
    costs: Mapping[int, Cost]
    """By fault."""
    rows: tuple[Row, ...]
    verdicts: tuple[Verdict, ...]

    @property
    def planned(self) -> int:
        """Requests of all streams."""
        return sum(sum(ends.values()) for ends in self.totals.values())


def work_out(run: Run) -> Figures:
    """Every figure of the report."""
    left = [answer for answer in run.left if answer.code == LEFT]
    ended = [
        *judged(Stream.LOAD, run.answers.records, run.expected),
        *judged(Stream.BAD, run.bad.records, run.expected),
        *judged(Stream.CLIENT, run.client, run.expected),
        *judged(Stream.VANISHED, (answer for answer in run.left if answer.code != LEFT), run.expected),
        *(Ended(Stream.VANISHED, answer, End.LEFT) for answer in left),
    ]
    failed = by_fault(ended, [Window(fault.number, fault.begin, fault.end) for fault in run.faults])
    costs = {fault.number: cost_of(fault.moments, ended, failed.get(fault.number, [])) for fault in run.faults}
    rows = tuple(
        row
        for kind in Kind
        if (row := row_of(kind, [fault for fault in run.faults if fault.kind is kind], costs)) is not None
    )
    figures = Figures(tuple(ended), totals(ended), failed, costs, rows, ())
    return replace(figures, verdicts=(*required(run, figures), *aims(run, figures)))


def row_of(kind: Kind, faults: Iterable[Fault], costs: Mapping[int, Cost]) -> Row | None:
    """What the faults of a kind come to together; None if none came about."""
    done = [fault for fault in faults if fault.come_about]
    if not done:
        return None
    spent = [costs[fault.number] for fault in done]
    return Row(
        kind=kind,
        faults=len(done),
        noticed=tuple(fault.noticed_s for fault in done if fault.noticed_s is not None),
        ready=tuple(fault.ready_s for fault in done if fault.ready_s is not None),
        in_flight=sum(cost.in_flight for cost in spent),
        lost=sum(cost.ends.get(End.LOST, 0) for cost in spent),
        lost_later=sum(cost.lost_later for cost in spent),
        refused=sum(cost.ends.get(End.REFUSED, 0) for cost in spent),
        client_failed=sum(cost.client_failed for cost in spent),
    )


def required(run: Run, figures: Figures) -> list[Verdict]:
    """What a run must show."""
    missing = [
        text
        for text in (unaccounted(run.answers, run.plan, run.stopped), unaccounted(run.bad, run.bad_plan, run.stopped))
        if text
    ]
    if len(run.client) != run.client_asked:
        missing.append(f"the client began {run.client_asked} requests, and told of {len(run.client)}")
    ends: Counter[End] = sum((Counter(one) for one in figures.totals.values()), Counter())
    account = " + ".join(f"{count} {end}" for end, count in sorted(ends.items()))
    lost = [one for one in figures.failed.get(None, ()) if one.end is End.LOST]
    everything = [one for some in figures.failed.values() for one in some]
    mute = without_sentence(everything)
    happened = [fault for fault in run.faults if fault.come_about]
    not_over = [fault for fault in run.faults if fault.recovered is None]
    over = [fault.recovered - fault.moments[0] for fault in happened if fault.recovered is not None]
    missed = [
        f"{fault.number} ({fault.kind}): {fault.note or fault.failed}" for fault in run.faults if not fault.come_about
    ]
    changed = [f"{fault.number}: {fault.wrong[0]}" for fault in run.faults if fault.wrong]
    badly = [f"{fault.number} ({fault.kind}): {fault.failed}" for fault in run.faults if fault.failed]
    left = [thing for fault in run.faults for thing in fault.left] + list(run.orphans)
    found = [
        Verdict(
            not missing,
            "; ".join(missing)
            or f"every request is accounted for: {figures.planned} = {account}"
            + (
                f"; those left are as many as the callers who were killed, {LEAVERS} each time"
                if ends[End.LEFT]
                else ""
            ),
        ),
        Verdict(
            not ends[End.WRONG] and not changed,
            f"{ends[End.WRONG]} answers were wrong (held against the versions that were to answer, and those to the "
            f"client with retries against what was answered before), and after {len(changed)} of {len(run.faults)} "
            f"faults the golden pictures' answers were not as before{_named(changed)}",
        ),
        Verdict(
            not run.broken_off and not not_over and len(over) == len(happened) > 0,
            f"the server got over {len(over)} of {len(happened)} faults that came about, each within "
            f"{run.settings.within_s:g} s once it was done"
            + (f", the slowest {max(over):.1f} s after its first harm" if over else "")
            + (f"; {len(missed)} did not come about{_named(missed)}" if missed else "")
            + (f"; the run was broken off: {run.broken_off}" if run.broken_off else ""),
        ),
        Verdict(not badly, f"{len(badly)} faults did not end as they must{_named(badly)}"),
        Verdict(
            not lost,
            f"{len(lost)} requests were lost while no fault was under way{_named([one.why for one in lost])}",
        ),
        Verdict(not mute, f"{mute} of {len(everything)} failed requests ended without a word of why"),
        Verdict(
            not left and run.exit_code == 0,
            f"{len(left)} processes and files were left behind{_named(left)}; stopped in {run.stop_s:.1f} s with exit "
            f"code {run.exit_code}",
        ),
    ]
    storms = [fault for fault in run.faults if fault.kind is Kind.STORM and fault.come_about]
    if storms:
        said = sum(any(event.kind in DELAYED for event in fault.events) for fault in storms)
        found.append(Verdict(said == len(storms), f"{said} of {len(storms)} storms were slowed down, and it was said"))
    return found


def aims(run: Run, figures: Figures) -> list[Verdict]:
    """What is aimed at, and whether it was reached."""
    measured = [row for row in figures.rows if ABOUT[row.kind].felt and ABOUT[row.kind].aims]
    faults = sum(row.faults for row in measured)
    noticed, ready = sum(row.noticed_in_time for row in measured), sum(row.ready_in_time for row in measured)
    later, lost = sum(row.lost_later for row in figures.rows), sum(row.lost for row in figures.rows)
    client = figures.totals.get(Stream.CLIENT, {})
    asked, got = sum(client.values()), client.get(End.RIGHT, 0)
    refused = [one for one in figures.failed.get(None, ()) if one.end in (End.REFUSED, End.NOT_SENT)]
    lingering = [thing for fault in run.faults for thing in fault.lingering]
    return [
        Verdict(
            noticed == faults,
            f"aim: not ready within {NOTICED_S:g} s of the harm, reached for {noticed} of {faults} faults",
            required=False,
        ),
        Verdict(
            ready == faults,
            f"aim: ready again within {READY_S:g} s, reached for {ready} of {faults} faults",
            required=False,
        ),
        Verdict(
            not later,
            f"aim: only requests in flight are lost; of {lost} lost ones {later} were sent after the harm was done",
            required=False,
        ),
        Verdict(got == asked, f"the client with retries got {got} of {asked} answers", required=False),
        Verdict(
            not refused,
            f"{len(refused)} requests were refused, or not sent, while no fault was under way",
            required=False,
        ),
        Verdict(
            not lingering,
            f"{len(lingering)} times a version that was let go kept a process{_named(lingering)}",
            required=False,
        ),
        left_alone(run.others_cores, "on average"),
    ]


def spread(values: Sequence[float], digits: int) -> str:
    """The median, and the most where there is more than one; a dash for nothing.

    >>> spread([1.0, 4.0, 1.5], 1)
    '1.5 (4.0)'
    """
    if not values:
        return "–"
    middle = f"{median(values):.{digits}f}"
    return middle if len(values) == 1 else f"{middle} ({max(values):.{digits}f})"


def _named(things: Sequence[str]) -> str:
    if not things:
        return ""
    more = f" and {len(things) - _MOST_NAMED} more" if len(things) > _MOST_NAMED else ""
    shown = "; ".join(" ".join(thing.split())[:_LONGEST] for thing in things[:_MOST_NAMED])
    return f" ({shown}{more})"
