"""The swap benchmark's book-keeping, on runs that are made up: who may answer when, and what counts as disturbed."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime

import numpy as np
import pytest

from benchmarks import report
from benchmarks.answers import OK, Answer, Answers
from benchmarks.report import Outcome, Summary
from benchmarks.self_contained import asks_network
from benchmarks.swaps.figures import work_out
from benchmarks.swaps.page import to_html, to_json
from benchmarks.swaps.repository import ORDER
from benchmarks.swaps.resources import Sample, growth
from benchmarks.swaps.rollouts import Phase, Swap, flips_of, options_for, read_swap, targets_for
from benchmarks.swaps.run import Run, Settings, schedule
from benchmarks.swaps.timeline import Flip, Timeline, judge, judge_all
from benchmarks.swaps.windows import ALL, Requests, groups
from trident.contract import CALLED, COMPONENTS, RECOGNIZER, STEPS
from trident.errors import SetupError
from trident.provenance import Provenance
from trident.rollout import journal
from trident.rollout.all_limits import AllLimits
from trident.rollout.journal import Entry, Record
from trident.rollout.limits import Limits

ONES = dict.fromkeys(COMPONENTS, 1)
TWO = {**ONES, "classifier": 2}
THREE = {**TWO, "fusion": 3}
DIGESTS = {(name, version): f"sha256:{version:064x}" for name in COMPONENTS for version in (1, 2, 3)}
# The classifier moves between 10 and 11, fusion between 20 and 21.
TIMELINE = Timeline(ONES, [Flip(10.0, 11.0, ONES, TWO), Flip(20.0, 21.0, TWO, THREE)])


def answer(release: dict[str, int], sent: float, done: float, *, code: str = OK) -> Answer:
    models = {name: Provenance(version, DIGESTS[name, version]) for name, version in release.items()}
    return Answer(0, "one", sent, sent, done, code, models=models)


@pytest.mark.parametrize(
    ("release", "sent", "done"),
    [
        pytest.param(ONES, 1.0, 2.0, id="the first before the first flip"),
        pytest.param(ONES, 9.0, 30.0, id="the first, sent before the flip, answered long after"),
        pytest.param(ONES, 10.9, 12.0, id="the old one, sent during the flip"),
        pytest.param(TWO, 9.0, 10.1, id="the new one, answered during the flip"),
        pytest.param(TWO, 11.5, 12.0, id="the new one after the flip"),
        pytest.param(THREE, 10.5, 20.5, id="two releases later, in flight all the time"),
        pytest.param(TWO, 20.9, 25.0, id="the second, sent during the second flip"),
        pytest.param({name: ONES[name] for name in STEPS}, 1.0, 2.0, id="nothing found that needs a called network"),
    ],
)
def test_an_answer_of_one_release_that_was_there_is_right(release, sent, done):
    assert judge(answer(release, sent, done), TIMELINE, DIGESTS) is None


@pytest.mark.parametrize(
    ("release", "sent", "done", "mixed", "reason"),
    [
        pytest.param(TWO, 1.0, 2.0, False, "classifier 2 (allowed: 1)", id="the new one before its flip"),
        pytest.param(ONES, 11.5, 12.0, False, "classifier 1 (allowed: 2)", id="the old one after the flip"),
        pytest.param(ONES, 22.0, 23.0, False, "fusion 1 (allowed: 3)", id="the first after both flips"),
        pytest.param(
            {**ONES, "fusion": 3}, 10.5, 20.5, True, "different releases", id="old classifier with new fusion"
        ),
        pytest.param({**ONES, "detector": 3}, 1.0, 2.0, False, "detector 3", id="a version of no release"),
    ],
)
def test_every_other_answer_is_wrong(release, sent, done, mixed, reason):
    wrong = judge(answer(release, sent, done), TIMELINE, DIGESTS)
    assert wrong is not None
    assert wrong.mixed is mixed
    assert reason in wrong.reason


def test_a_missing_step_is_wrong():
    release = {name: version for name, version in ONES.items() if name != "fusion"}
    wrong = judge(answer(release, 1.0, 2.0), TIMELINE, DIGESTS)
    assert wrong is not None
    assert "does not name fusion" in wrong.reason


def test_a_digest_that_is_not_the_files_is_wrong():
    models = dict(answer(ONES, 1.0, 2.0).models) | {"plate_reader": Provenance(1, "sha256:" + "f" * 64)}
    wrong = judge(Answer(0, "one", 1.0, 1.0, 2.0, OK, models=models), TIMELINE, DIGESTS)
    assert wrong is not None
    assert "plate_reader 1: expected digest sha256:0" in wrong.reason


def test_only_what_was_answered_is_judged():
    answers = [answer(TWO, 1.0, 2.0), answer(TWO, 1.0, 2.0, code="INTERNAL"), answer(ONES, 1.0, 2.0)]
    assert len(judge_all(answers, TIMELINE, DIGESTS)) == 1


@pytest.mark.parametrize(
    "flips",
    [
        pytest.param([Flip(10, 11, TWO, ONES)], id="from a release that did not answer"),
        pytest.param([Flip(10, 12, ONES, TWO), Flip(11, 13, TWO, ONES)], id="overlapping"),
        pytest.param([Flip(10, 9, ONES, TWO)], id="backwards"),
    ],
)
def test_a_timeline_that_cannot_be_is_refused(flips):
    with pytest.raises(ValueError, match="flip"):
        Timeline(ONES, flips)


def entry(at: float, event: str, **facts: object) -> Entry:
    return Entry(datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds"), "id", event, facts)


def record(*, ending: str | None = journal.DONE) -> Record:
    """A rollout of classifier 2: preflight from 0 to 1, load to 3, shadow to 6, flip from 6 to 6.1, end at 6.2."""
    entries = [
        entry(0.0, journal.STARTED, kind="rollout", targets={"classifier": 2}, before=ONES, after=TWO),
        entry(0.0, journal.STEP, name="preflight", status="begin"),
        entry(1.0, journal.STEP, name="preflight", status="passed"),
        entry(1.0, journal.STEP, name="load", status="begin"),
        entry(3.0, journal.STEP, name="load", status="passed"),
        entry(3.0, journal.STEP, name="shadow", status="begin"),
        entry(6.0, journal.STEP, name="shadow", status="passed"),
        entry(6.0, journal.STEP, name="canary", status="begin"),
        entry(6.0, journal.STEP, name="canary", status="left out"),
        entry(6.0, journal.STEP, name="flip", status="begin"),
        entry(6.0, journal.FLIP),
        entry(6.05, journal.COMMITTED),
    ]
    if ending == journal.DONE:
        entries += [entry(6.1, journal.FLIPPED, flip_ms=17.5), entry(6.1, journal.STEP, name="flip", status="passed")]
    if ending is not None:
        entries.append(entry(6.2, journal.ENDED, outcome=ending))
    return Record("id", tuple(entries))


def test_a_swap_is_read_from_the_journal():
    swap = read_swap(record(), "classifier", Phase("retire", 6.3, 7.0))
    assert (swap.component, swap.before, swap.after, swap.flip_ms) == ("classifier", 1, 2, 17.5)
    assert [phase.name for phase in swap.phases] == ["preflight", "load", "shadow", "flip", "retire"]
    assert (swap.begin, swap.end, swap.whole) == (1.0, 7.0, (0.0, 7.0))


def test_flips_are_read_from_the_journal():
    assert flips_of([record()], until=99.0) == [Flip(6.0, 6.1, ONES, TWO)]


@pytest.mark.parametrize(("ending", "end"), [(journal.ROLLED_BACK, 6.2), (None, 99.0)], ids=["taken back", "not ended"])
def test_after_a_flip_that_did_not_last_the_old_release_answers(ending, end):
    timeline = Timeline(ONES, flips_of([record(ending=ending)], until=99.0))
    assert timeline.allowed(1.0, 2.0) == [ONES]
    assert TWO in timeline.allowed(6.05, 6.06)
    assert ONES in timeline.allowed(6.05, 6.06)
    assert timeline.allowed(end + 1, end + 2) == [ONES]


def test_a_rollout_that_never_flipped_changes_nothing():
    stopped = Record("id", (record().entries[0], entry(2.0, journal.ENDED, outcome=journal.STOPPED)))
    assert flips_of([stopped], until=99.0) == []


def test_every_limit_is_out_of_the_way():
    """Versions that are there to swap with must not be stopped for disagreeing."""
    whole = AllLimits.with_settings(options_for(None, "sqlite://").limits)
    assert whole.preflight.slower > 1000
    limits = whole.shadow
    for name in Limits.names():
        value = getattr(limits, name)
        assert value == 0.0 if "at least" in Limits.about(name) else value > 1000, name


def test_the_recognizer_moves_without_what_it_calls():
    assert targets_for("detector", 2, ONES) == {"detector": 2}
    release = {**ONES, "plate_reader": 2}
    assert targets_for(RECOGNIZER, 2, release) == {RECOGNIZER: 2, **{name: release[name] for name in CALLED}}


def test_rounds_go_there_and_back():
    pairs = {"classifier": (1, 2), "plate_reader": (1, 3), RECOGNIZER: (1, 2)}
    steps = schedule(tuple(pairs), pairs)
    there, back = [next(steps) for _ in range(3)], [next(steps) for _ in range(3)]
    # The recognizer comes before what it calls: its versions name theirs.
    assert there == [("classifier", 2), (RECOGNIZER, 2), ("plate_reader", 3)]
    assert back == [("plate_reader", 1), (RECOGNIZER, 1), ("classifier", 1)]
    assert next(steps) == ("classifier", 2)


def test_the_order_has_every_component_once():
    assert sorted(ORDER) == sorted(COMPONENTS)


@pytest.mark.parametrize("wrong", [{"requests": 0}, {"swaps": 0}, {"components": ()}, {"components": ("nose",)}])
def test_settings_are_checked(wrong):
    with pytest.raises(SetupError, match="expected"):
        Settings(**wrong)


def swap_between(component: str, begin: float, end: float) -> Swap:
    """Preflight for one second before, then load, flip and retire in equal parts."""
    third = (end - begin) / 3
    return Swap(
        component,
        1,
        2,
        10.0,
        (
            Phase("preflight", begin - 1, begin),
            Phase("load", begin, begin + third),
            Phase("flip", begin + third, begin + 2 * third),
            Phase("retire", begin + 2 * third, end),
        ),
    )


def made_up_answers() -> list[Answer]:
    """One a second for 300 s, 100 ms each; 300 ms while the classifier is swapped, from 100 to 130, 500 in fusion's."""
    answers = []
    for second in range(300):
        seconds = 0.3 if 100 <= second <= 130 else 0.5 if 200 <= second <= 230 else 0.1
        answers.append(answer(ONES, float(second), second + seconds))
    return answers


SWAPS = [swap_between("classifier", 100.0, 130.0), swap_between("fusion", 200.0, 230.0)]


def test_requests_are_sorted_by_what_was_going_on():
    steady, components, phases = groups(Requests(made_up_answers()), SWAPS, ["classifier", "fusion"])
    by_name = {group.name: group for group in components}
    # Each swap has 31 requests, its preflight one of its own, and three come while its queue may still be there.
    assert steady.latency is not None
    assert (steady.latency.count, steady.latency.worst) == (300 - 2 * 35, pytest.approx(100))
    assert [by_name[name].latency.count for name in (ALL, "classifier", "fusion")] == [70, 35, 35]
    assert by_name["classifier"].p99_ratio.value == pytest.approx(3.0)
    assert by_name["fusion"].p99_ratio.value == pytest.approx(5.0)
    assert by_name[ALL].swaps == 2
    assert by_name["fusion"].seconds == pytest.approx(34)
    assert [group.name for group in phases] == ["preflight", "load", "flip", "retire"]
    # 100 to 110 and 200 to 210, both ends included.
    assert phases[1].latency.count == 22


def test_a_request_that_was_planned_before_a_swap_and_answered_in_it_was_disturbed():
    requests = Requests([answer(ONES, 98.5, 100.5), answer(ONES, 98.5, 98.9), answer(ONES, 129.9, 140.0)])
    assert requests.under_way([(100.0, 130.0)]).tolist() == [True, False, True]
    assert requests.steady(SWAPS).tolist() == [False, True, False]


@pytest.mark.parametrize(
    ("begin", "end", "expected"),
    [(0.0, 0.9, False), (0.0, 1.0, True), (1.2, 1.3, True), (2.0, 3.0, True), (2.1, 3.0, False)],
)
def test_a_request_is_under_way_from_its_planned_moment_to_its_answer(begin, end, expected):
    assert Requests([answer(ONES, 1.0, 2.0)]).under_way([(begin, end)]).tolist() == [expected]


def test_failed_requests_have_no_latency():
    assert len(Requests([answer(ONES, 1.0, 2.0, code="INTERNAL")]).latency_N) == 0


def test_growth_is_found_under_the_sizes_of_the_versions():
    # Cycles of four points, whose sizes differ much; everything grows by 2 a swap.
    sizes = np.tile([100.0, 500.0, 300.0, 900.0], 5)
    found = growth("memory", "MB", list(sizes + 2.0 * np.arange(20)), 4)
    assert found is not None
    assert found.per_swap == pytest.approx(2.0)
    assert found.difference == pytest.approx(2.0 * 4 * 3)
    assert found.cycles == 4


def test_the_first_cycle_does_not_count_as_growth():
    found = growth("memory", "MB", [0.0, 0.0, *[50.0, 60.0] * 3], 2)
    assert found is not None
    assert (found.difference, found.per_swap) == pytest.approx((0.0, 0.0))


def test_too_few_cycles_say_nothing():
    assert growth("memory", "MB", [1.0] * 11, 4) is None


def test_the_memory_of_a_process_can_be_weighed():
    """A process that nobody has forked from: where one that shares pages ends, the others' shares of them grow."""
    code = (
        "import mmap, os\nfrom trident.rollout.memory import pss_mb\nbefore = pss_mb(os.getpid())\n"
        "with mmap.mmap(-1, 20_000_000) as held:\n    held.write(b'x' * len(held))\n"
        "    print(pss_mb(os.getpid()) - before)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert float(done.stdout) == pytest.approx(20, abs=5)


def made_up_run(answers: list[Answer], **changes: object) -> Run:
    sample = Sample(0.0, 1, 800.0, 100.0, 12, 400, 30, 60.0, 1.5, 0.1)
    values = {
        "settings": Settings(swaps=2, requests=300, components=("classifier", "fusion")),
        "server": "tritonserver --model-repository=models",
        "first": ONES,
        "pairs": {"classifier": (1, 2), "fusion": (1, 2)},
        "origins": {"classifier": "another network", "fusion": "the same code under another number"},
        "saturated": 8.0,
        "rate": 4.0,
        "answers": Answers({"arrivals": "poisson"}, tuple(answers)),
        "swaps": tuple(SWAPS),
        "samples": (sample, sample),
        "wrong": (),
        "failed_swap": "",
        "changed": (),
        "orphans": (),
        "begin": 0.0,
        "end": 300.0,
    }
    return Run(**{**values, **changes})


FACTS = {
    "command": "make bench-swap",
    "commit": "abc",
    "date": "2026-01-02T03:04:05+00:00",
    "machine": {"processor": "one", "cores": 2},
    "load_average": [0.0, 0.0, 0.0],
}


def test_a_good_run_passes_though_it_misses_the_aim():
    figures = work_out(made_up_run(made_up_answers()))
    assert figures.passed
    missed = [verdict.sentence for verdict in figures.verdicts if not verdict.good]
    assert len(missed) == 1
    assert "5.00 times steady p99" in missed[0]


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"failed_swap": "it was stopped"}, "it was stopped"),
        ({"swaps": tuple(SWAPS[:1])}, "1 of 2 swaps"),
        ({"orphans": ("process 7",)}, "1 processes or"),
        ({"changed": ("fusion 1",)}, "fusion 1"),
        ({"wrong": tuple(judge_all([answer(TWO, 1.0, 2.0)], TIMELINE, DIGESTS))}, "1 answers with wrong"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_a_bad_run_does_not_pass(changes, sentence):
    figures = work_out(made_up_run(made_up_answers(), **changes))
    assert not figures.passed
    assert any(sentence in verdict.sentence for verdict in figures.verdicts if not verdict.good)


def test_a_failed_request_fails_the_run_and_is_named_in_the_report():
    answers = [*made_up_answers(), Answer(300, "one", 5.0, 5.0, 6.0, "INTERNAL", "<it> broke")]
    run = made_up_run(answers)
    figures = work_out(run)
    assert not figures.passed
    assert "&lt;it&gt; broke" in to_html(run, figures, FACTS)
    assert to_json(run, figures, FACTS)["failed"][0]["message"] == "<it> broke"


def test_growth_of_memory_fails_a_run():
    def sample(number: int) -> Sample:
        return Sample(0.0, number, 800.0 + 10 * number, 100.0, 12, 400, 30, 60.0, 1.5, 0.1)

    run = made_up_run(made_up_answers(), samples=tuple(sample(number) for number in range(24)))
    assert any("memory changed by +160.0 MB" in one.sentence for one in work_out(run).verdicts if not one.good)


def test_the_report_is_one_file_without_network(tmp_path):
    run = made_up_run(made_up_answers())
    figures = work_out(run)
    html, data = to_html(run, figures, FACTS), to_json(run, figures, FACTS)
    as_html, as_json = report.write("swaps", html, data, tmp_path)
    assert as_html.read_text().count("data:image/png;base64,") == 4
    assert asks_network(html) == []
    assert '"rate_per_second": 4.0' in as_json.read_text()
    assert '"what": "swaps"' in as_json.read_text()


def test_the_summary_says_what_was_shown_and_what_was_missed():
    run = made_up_run(made_up_answers(), failed_swap="it was\nstopped")
    data = to_json(run, work_out(run), FACTS)
    assert data["outcome"] == Outcome.FAILED
    summary = Summary.from_json(data["summary"])
    assert "✓ 0 of " in " ".join(summary.sentences)
    assert any(sentence.startswith("✗ ") and "it was stopped" in sentence for sentence in summary.sentences)
    steady = summary.tables[0].rows[0]
    assert (steady[0], steady[3]) == ("steady", str(data["steady"]["latency"]["count"]))
    assert to_json(made_up_run(made_up_answers()), work_out(made_up_run(made_up_answers())), FACTS)["outcome"] == (
        Outcome.FINISHED
    )
