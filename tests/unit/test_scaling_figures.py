"""Growth with cores and servers: what is made of the measurements, and the report."""

from __future__ import annotations

import doctest
import json
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner
from scaling_run import COMPONENT_S, FACTS, PLACES, RATE, a_run, a_window

from benchmarks import report
from benchmarks.answers import OK, Answer
from benchmarks.report import Summary
from benchmarks.scaling import figures
from benchmarks.scaling.__main__ import main
from benchmarks.scaling.figures import span, work_out
from benchmarks.scaling.law import LEAST_COUNTS, fit
from benchmarks.scaling.limits import COMPONENTS_IN_ORDER, limits_of, part_of
from benchmarks.scaling.page import WHAT, part_rows, row, summary, to_html, to_json
from benchmarks.scaling.setups import Layout, Setup
from benchmarks.scaling.variants import Places
from benchmarks.scaling.windows import Look, window_of
from benchmarks.time_spent.counters import Counters
from benchmarks.time_spent.processor import SERVER
from benchmarks.verdict import passed
from trident.contract import ENSEMBLE


def test_the_examples_hold():
    ran = doctest.testmod(figures)
    assert ran.attempted > 0
    assert ran.failed == 0


# A window


def answer(sent: float, done: float, code: str = OK) -> Answer:
    return Answer(0, "a.jpg", sent, sent, done, code)


def look(at: float, **changes) -> Look:
    return Look(at, changes.get("processor_s", {}), changes.get("counters", {}), changes.get("generator_s", 0.0))


def test_only_what_was_answered_in_the_window_counts():
    first = [answer(8.0, 9.0), answer(9.0, 10.5), answer(10.0, 12.0), answer(11.0, 14.0)]
    second = [answer(9.0, 13.9), answer(13.0, 15.0)]
    found = window_of([first, second], look(10.0), look(14.0), callers=3, others_cores=0.25)
    assert found.by_server == (2, 1)
    assert (found.answered, found.seconds, found.rate, found.callers) == (3, 4.0, 0.75, 3)
    assert found.latency is not None
    assert found.latency.count == 3
    assert found.latency.worst == pytest.approx(4900.0)
    assert found.others_cores == 0.25


def test_failures_before_and_after_the_window_are_told_too():
    records = [[answer(1, 2, "UNAVAILABLE"), answer(9, 11), answer(11, 12, "INTERNAL"), answer(19, 21, "UNAVAILABLE")]]
    found = window_of(records, look(10.0), look(20.0), callers=1, others_cores=0.0)
    assert found.failed == {"INTERNAL": 1, "UNAVAILABLE": 2}
    assert found.answered == 1


def test_what_the_window_took_is_the_difference_of_two_looks():
    before = look(0.0, processor_s={"fusion": 1.0}, counters={"fusion": Counters(requests=5)}, generator_s=2.0)
    after = look(
        10.0,
        processor_s={"fusion": 4.0, "detector": 6.0},  # its process came to life in between
        counters={"fusion": Counters(requests=9), "detector": Counters(requests=1)},
        generator_s=2.5,
    )
    found = window_of([[answer(0, 1), answer(1, 2)]], before, after, callers=1, others_cores=0.0)
    assert found.processor_s == {"fusion": 3.0, "detector": 6.0}
    assert {name: one.requests for name, one in found.counters.items()} == {"fusion": 4, "detector": 1}
    assert (found.generator_s, found.busy_cores, found.processor_ms) == (0.5, 0.9, 4500.0)


def test_a_window_without_an_answer_divides_by_nothing():
    found = window_of([[]], look(0.0), look(1.0), callers=1, others_cores=0.0)
    assert (found.rate, found.processor_ms, found.latency) == (0.0, 0.0, None)


# Rows


def test_a_span_holds_what_the_rounds_gave():
    assert (span([3.0, 1.0, 2.0]).mean, span([3.0, 1.0, 2.0]).low, span([3.0, 1.0, 2.0]).high) == (2.0, 1.0, 3.0)


def test_each_setup_has_a_row_with_the_means_of_its_rounds():
    run = a_run()
    found = work_out(run)
    assert [one.setup for one in found.rows] == list(run.setups)
    for one in found.rows:
        rates = [visit.saturated.rate for visit in run.visits_of(one.setup)]
        assert one.rate.mean == pytest.approx(sum(rates) / len(rates))
        assert (one.rate.low, one.rate.high) == (min(rates), max(rates))
        assert one.gain == pytest.approx(one.rate.mean / found.rows[0].rate.mean)
        assert one.memory_mb.mean == pytest.approx(1000.0 * one.setup.servers)
    assert found.rows[0].gain == 1.0


def test_a_server_that_got_less_is_seen():
    run = a_run()
    uneven = replace(run.visits[-1].saturated, by_server=(30, 90))
    run.visits[-1] = replace(run.visits[-1], saturated=uneven)
    found = {one.setup: one.least_share for one in work_out(run).rows}
    assert found[run.visits[-1].setup] == pytest.approx(0.5)
    assert found[Setup(1)] == 1.0


# Limits


def test_what_a_component_takes_adds_up_to_the_whole():
    limits = work_out(a_run()).limits
    assert limits is not None
    assert limits.setup == Setup(2)
    assert sum(part.processor_ms for part in limits.parts) + limits.server_ms == pytest.approx(limits.processor_ms)
    assert sum(part.share for part in limits.parts) + limits.server_ms / limits.processor_ms == pytest.approx(1.0)
    assert [part.name for part in limits.parts] == list(COMPONENTS_IN_ORDER)


def test_the_ceiling_is_that_of_the_component_whose_instances_run_out_of_time_first():
    limits = work_out(a_run()).limits
    assert limits is not None
    # face_detector: 80 ms of one process. preprocess takes 90, in two processes.
    assert limits.slowest.name == "face_detector"
    assert limits.ceiling == pytest.approx(1 / COMPONENT_S["face_detector"])
    assert limits.by_cores == pytest.approx(2 / sum(COMPONENT_S.values()))
    # At the ceiling the processor time of everything is the cores that are busy.
    assert limits.cores_for_ceiling == pytest.approx(limits.ceiling * sum(COMPONENT_S.values()))


def test_more_instances_and_threads_lift_the_ceiling():
    places = {**PLACES, "face_detector": Places(2, 1)}
    limits = limits_of(Setup(2), [a_window(2)], [a_window(1)], places)
    assert limits is not None
    assert limits.slowest.name != "face_detector"
    more = {"calls": 1.0, "cores": 8, "answered": 10, "seconds": 1.0}
    two = part_of("fusion", Places(1, 2), 3.0, 9.0, Counters(), **more)
    all_of_them = part_of("fusion", Places(1, None), 3.0, 9.0, Counters(), **more)
    assert two.ceiling == pytest.approx(2 * 10 / 3.0)
    assert all_of_them.ceiling == pytest.approx(8 * 10 / 3.0)


def test_requests_that_went_through_together_occupy_an_instance_once():
    counters = Counters(requests=8, executions=2, input_ns=0, infer_ns=8 * 10**9, output_ns=0)
    part = part_of("fusion", Places(2, 1), 1.0, 2.0, counters, calls=1.0, cores=2, answered=8, seconds=4.0)
    assert part.work_ms == pytest.approx(1000 * 2 / 8)  # two calls of a second each
    assert part.occupied == pytest.approx(2 / (4 * 2))
    assert part.share == 0.5


def test_calls_are_counted_where_hardly_anything_is_under_way():
    counters = {ENSEMBLE: Counters(requests=10), "plate_detector": Counters(requests=21)}
    alone = replace(a_window(1), counters=counters)
    limits = limits_of(Setup(2), [a_window(2)], [alone], PLACES)
    assert limits is not None
    calls = {part.name: part.calls for part in limits.parts}
    assert (calls["plate_detector"], calls["detector"]) == (2.1, 0.0)


def test_a_component_that_took_no_time_has_no_ceiling():
    part = part_of("fusion", Places(1, 1), 0.0, 2.0, Counters(), calls=1.0, cores=2, answered=8, seconds=4.0)
    assert part.ceiling is None


def test_a_window_without_an_answer_has_no_limits():
    nothing = replace(a_window(2), by_server=(0,))
    assert limits_of(Setup(2), [nothing], [nothing], PLACES) is None


def test_without_a_plain_server_there_are_no_limits():
    run = a_run(setups=[Setup(2, 2), Setup(2, 2, Layout.SHARED)])
    found = work_out(run)
    assert found.limits is None
    report_json = to_json(run, found, FACTS)
    assert report_json["limits"] is None
    to_html(run, found, FACTS)


# The law


def rates_of(one: float, contention: float, coherency: float, cores: list[int]) -> list[float]:
    return [one * n / (1 + contention * (n - 1) + coherency * n * (n - 1)) for n in cores]


CORES = [1, 2, 4, 8, 16, 32, 64]


def test_the_law_finds_the_coefficients_that_made_the_rates():
    law = fit(CORES, rates_of(4.0, 0.03, 0.0005, CORES))
    assert law is not None
    assert (law.one, law.contention, law.coherency) == pytest.approx((4.0, 0.03, 0.0005), rel=1e-3)
    assert law.best == pytest.approx((0.97 / 0.0005) ** 0.5, rel=1e-3)
    assert law.limit == pytest.approx(law.rate(law.best))
    assert law.worst < 1e-3
    assert law.counts == len(CORES)


def test_without_coherency_it_is_amdahls_law_with_a_limit():
    law = fit(CORES, rates_of(4.0, 0.1, 0.0, CORES))
    assert law is not None
    assert law.coherency == 0.0
    assert law.best is None
    assert law.limit == pytest.approx(40.0, rel=1e-2)


def test_what_grows_in_proportion_has_no_limit():
    law = fit(CORES, rates_of(4.0, 0.0, 0.0, CORES))
    assert law is not None
    assert (law.contention, law.coherency, law.limit) == (0.0, 0.0, None)


def test_noise_is_told_as_the_worst_distance():
    rates = rates_of(4.0, 0.03, 0.0, CORES)
    rates[3] *= 1.2
    law = fit(CORES, rates)
    assert law is not None
    assert 0.05 < law.worst < 0.2


@pytest.mark.parametrize("cores", [[1, 2], [1, 2, 4, 8], [1, 1, 2, 2, 4, 4, 8, 8]])
def test_too_few_core_counts_give_no_law(cores):
    assert len(set(cores)) < LEAST_COUNTS
    assert fit(cores, rates_of(4.0, 0.03, 0.0005, cores)) is None


def test_rates_of_nothing_give_no_law():
    assert fit(CORES, [0.0] * len(CORES)) is None


def test_two_cores_are_told_to_be_too_few():
    (line,) = work_out(a_run()).growths
    assert line.law is None
    assert "no law is fitted to 2 numbers of cores (1, 2)" in line.sentence()


def test_with_cores_enough_both_lines_get_their_law():
    plain = [Setup(cores) for cores in CORES]
    pairs = [Setup(cores, cores // 2) for cores in CORES if cores > 2]
    found = work_out(a_run(setups=[*plain, *pairs]))
    one, pair = found.growths
    assert one.setups == tuple(plain)
    assert pair.setups == (Setup(2), *pairs), "the server on two cores is the beginning of both"
    for line in found.growths:
        assert line.law is not None
        assert line.law.one == pytest.approx(RATE, rel=0.05)
        assert "Universal Scalability Law over" in line.sentence()


# Verdicts and the report


def test_a_good_run_passes():
    run = a_run()
    found = work_out(run)
    assert all(verdict.good for verdict in found.verdicts), found.verdicts
    assert to_json(run, found, FACTS)["outcome"] == report.Outcome.FINISHED


def broken(**changes):
    run = a_run()
    window = {name: value for name, value in changes.items() if name not in ("held",)}
    visit = replace(run.visits[0], saturated=replace(run.visits[0].saturated, **window))
    run.visits[0] = replace(visit, held=changes.get("held", True))
    return run


@pytest.mark.parametrize(
    ("run", "sentence", "required"),
    [
        pytest.param(broken(failed={"UNAVAILABLE": 2}), "failed: 2 UNAVAILABLE", True, id="failed requests"),
        pytest.param(broken(held=False), "but not with 1 core, 1 server", True, id="a process that left its cores"),
        pytest.param(broken(generator_s=60.0), "the generator took at most", False, id="a busy generator"),
        pytest.param(broken(by_server=(20,)), "between rounds a rate differed", False, id="rounds that differ"),
        pytest.param(broken(others_cores=9.0), "others kept", False, id="others on the machine"),
    ],
)
def test_what_speaks_against_a_run_is_told(run, sentence, required):
    found = work_out(run)
    (bad,) = [verdict for verdict in found.verdicts if not verdict.good]
    assert sentence in bad.sentence
    assert bad.required is required
    assert passed(found.verdicts) is not required


def test_a_setup_that_could_not_be_measured_fails_the_run_and_says_why():
    run = a_run()
    run.visits = [visit for visit in run.visits if visit.setup != Setup(2, 2)]
    run.refused[Setup(2, 2)] = "no memory"
    found = work_out(run)
    assert [one.setup for one in found.rows] == [setup for setup in run.setups if setup != Setup(2, 2)]
    assert not passed(found.verdicts)
    assert any("2 servers that have a part each: no memory" in verdict.sentence for verdict in found.verdicts)


def test_others_on_the_machine_keep_the_report_from_the_results():
    quiet, busy = a_run(), broken(others_cores=9.0)
    assert to_json(quiet, work_out(quiet), FACTS)["left_alone"] is True
    assert to_json(busy, work_out(busy), FACTS)["left_alone"] is False


def test_the_report_is_whole(tmp_path: Path):
    run = a_run()
    found = work_out(run)
    stem = report.report_stem(WHAT, FACTS)
    as_html, as_json = report.write(stem, to_html(run, found, FACTS), to_json(run, found, FACTS), tmp_path)
    page, written = as_html.read_text(), json.loads(as_json.read_text())
    assert page.count("data:image/png") == 2
    for one in found.rows:
        assert one.setup.name in page
    assert written["what"] == WHAT == "scaling"
    assert len(written["visits"]) == len(run.visits)
    assert [one["setup"]["name"] for one in written["setups"]] == [one.setup.name for one in found.rows]
    assert Summary.from_json(written["summary"]).tables[0].rows == [list(row(one)) for one in found.rows]
    parts = {part["name"]: part for part in written["limits"]["parts"]}
    assert parts["detector"]["memory_mb"] == pytest.approx(100.0)
    assert written["visits"][0]["saturated"]["counters"][ENSEMBLE]["requests"] > 0


def test_the_components_table_ends_with_triton_itself():
    limits = work_out(a_run()).limits
    assert limits is not None
    assert part_rows(limits)[-1][0] == "Triton itself"
    assert part_rows(limits)[-1][2] == f"{1000 * COMPONENT_S[SERVER]:.1f}"


def test_second_threads_of_a_core_are_told():
    run = a_run()
    assert "whole one" in summary(run, work_out(run)).sentences[1]
    run.cores_of_their_own = 1
    assert "Of the 2 cores that were used, 1 are different cores" in summary(run, work_out(run)).sentences[1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        pytest.param(("--setup", "2x"), "expected CORES", id="half a setup"),
        pytest.param(("--instances", "two"), "expected numbers", id="no number"),
        pytest.param(("--rounds", "0"), "rounds: expected 1 to 100", id="no round"),
        pytest.param(("--setup", "4096"), "at most the", id="more cores than there are"),
    ],
)
def test_the_command_refuses(arguments, message, tmp_path: Path):
    result = CliRunner().invoke(main, [*arguments, "--out", str(tmp_path)])
    assert result.exit_code != 0
    assert message in " ".join(result.output.split())
    assert not list(tmp_path.iterdir())
