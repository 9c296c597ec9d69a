"""The soak's sense of growth: what is flat, what grows, and what is too short to tell."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.soak.trends import BLOCKS, ENOUGH_S, State, floor, trend

HOUR = np.arange(0.0, 3000.0, 5.0)
"""Looks of fifty minutes."""


def noise(scale: float = 2.0, at=HOUR, seed: int = 0):
    return np.random.default_rng(seed).normal(0.0, scale, len(at))


def test_noise_about_a_level_is_flat():
    found = trend("memory", "MB", HOUR, 1000 + noise(), limit=10.0)
    assert found is not None
    assert found.state is State.FLAT
    assert found.low < 0 < found.high <= 10
    assert (found.first, found.last) == pytest.approx((1000, 1000), abs=2)
    assert found.per_day == pytest.approx(24 * found.per_hour)


@pytest.mark.parametrize(
    ("per_hour", "limit", "state"),
    [
        pytest.param(30.0, 10.0, State.GROWS, id="a leak"),
        pytest.param(5.0, 10.0, State.FLAT, id="a small one within the limit"),
        pytest.param(10.0, 10.0, State.UNKNOWN, id="just at the limit"),
        pytest.param(-50.0, 10.0, State.FLAT, id="what shrinks"),
        pytest.param(30.0, None, None, id="nothing is asked of it"),
    ],
)
def test_growth_is_found_and_held_against_the_limit(per_hour, limit, state):
    found = trend("memory", "MB", HOUR, 1000 + per_hour * HOUR / 3600 + noise(), limit=limit)
    assert found is not None
    assert found.state is state
    assert found.per_hour == pytest.approx(per_hour, abs=2.5)
    assert found.low <= found.per_hour <= found.high
    assert found.later == pytest.approx(per_hour, abs=8)


def test_a_few_wild_looks_and_a_single_step_move_it_little():
    values = 1000 + noise(0.5)
    values[::60] += 400
    values[len(values) * 3 // 4 :] += 6
    found = trend("memory", "MB", HOUR, values, limit=20.0)
    assert found is not None
    assert abs(found.per_hour) < 5
    assert found.last - found.first == pytest.approx(6, abs=1)


@pytest.mark.parametrize(
    "late",
    [
        pytest.param(lambda share: 500.0 * (share > 20 / 24), id="a step before the last four stretches"),
        pytest.param(lambda share: 500.0 * (share > 22 / 24), id="one before the last two"),
        pytest.param(lambda share: 500.0 * (share > 23 / 24), id="one before the last"),
        pytest.param(lambda share: 5000.0 * np.maximum(0.0, share - 20 / 24), id="a leak that begins there"),
    ],
)
@pytest.mark.parametrize("at", [HOUR, 336 * HOUR], ids=["an hour", "a fortnight"])
def test_what_begins_at_the_end_and_moves_no_interval_is_not_flat(late, at):
    limit = 10.0 if at is HOUR else 0.1
    values = 1000 + noise(at=at) + late(at / at[-1])
    found = trend("memory", "MB", at, values, limit=limit)
    assert found is not None and found.rise is not None
    assert found.high < limit, "so the interval alone would call it flat"
    assert found.state is State.UNKNOWN
    assert found.rise > 200


def test_what_began_two_days_ago_is_not_lost_in_what_a_fortnight_may_grow_by():
    fortnight = np.arange(0.0, 14 * 86_400.0, 300.0)
    hours_left = np.maximum(0.0, (fortnight - 12 * 86_400.0) / 3600)
    values = 1000 + noise(5.0, at=fortnight) + 50 * hours_left
    found = trend("memory", "MB", fortnight, values, limit=10.0)
    assert found is not None and found.rise is not None and found.late_rise is not None
    assert found.high < 10 and found.rise < 10 * 250, "on average of all the time it grew by less"
    assert found.state is State.UNKNOWN
    assert found.late_rise == pytest.approx(found.rise, abs=5)


@pytest.mark.parametrize(
    ("step", "state"),
    [
        pytest.param(0.0, State.FLAT, id="as it always did"),
        pytest.param(4.0, State.UNKNOWN, id="and above where it began"),
    ],
)
def test_what_wanders_by_a_few_stretches_may_be_as_high_at_the_end_as_it_was_before(step, state):
    block = np.minimum((BLOCKS * HOUR / HOUR[-1]).astype(int), BLOCKS - 1)
    values = 1000 + 3.0 * (block % 4 >= 2) + step * (block >= BLOCKS - 4)
    found = trend("memory", "MB", HOUR, values, limit=8.0)
    assert found is not None and found.late_rise is not None
    assert found.high < 8.0
    assert 8.0 * 570 / 3600 < found.late_rise < 6.0, "more than such growth, and within chance"
    assert found.state is state


def test_growth_that_has_levelled_off_shows_in_the_second_half():
    found = trend("memory", "MB", HOUR, 1000 - 100 * np.exp(-HOUR / 500) + noise(0.2), limit=10.0)
    assert found is not None and found.later is not None
    assert found.per_hour > 10 > found.later


@pytest.mark.parametrize("per_hour", [0.0, 1000.0], ids=["flat", "steep"])
def test_a_short_run_is_no_pass_and_no_failure(per_hour):
    short = np.arange(0.0, ENOUGH_S - 10, 5.0)
    values = 1000 + per_hour * short / 3600
    found = trend("memory", "MB", short, values, limit=10.0)
    lowest = floor("handles", "", short, np.floor(values), limit=0.0)
    assert found is not None and lowest is not None
    assert (found.state, lowest.state) == (State.UNKNOWN, State.UNKNOWN)


def test_a_noisy_run_cannot_tell_either():
    found = trend("memory", "MB", HOUR, 1000 + noise(300.0), limit=10.0)
    assert found is not None
    assert found.state is State.UNKNOWN


def test_few_looks_in_a_long_time_cannot_tell():
    rarely = np.arange(0.0, 3000.0, 400.0)
    found = trend("memory", "MB", rarely, np.full(len(rarely), 7.0), limit=10.0)
    assert found is not None
    assert (found.state, found.per_hour, found.later) == (State.UNKNOWN, 0.0, None)


def test_what_never_changes_has_no_slope_and_an_interval_of_nothing():
    found = trend("disk", "MB", HOUR, np.full(len(HOUR), 7.0), limit=0.0)
    assert found is not None
    assert (found.per_hour, found.low, found.high, found.state) == (0.0, 0.0, 0.0, State.FLAT)


@pytest.mark.parametrize("count", [0, 1])
def test_of_next_to_nothing_there_is_no_trend(count):
    assert trend("memory", "MB", HOUR[:count], HOUR[:count], limit=1.0) is None


def test_what_comes_and_goes_does_not_lift_the_floor():
    values = 500 + np.random.default_rng(1).integers(0, 30, len(HOUR))
    values[::7] = 500
    found = floor("handles", "", HOUR, values, limit=0.0)
    assert found is not None
    assert (found.first, found.last, found.rise, found.rises, found.state) == (500, 500, 0, 0, State.FLAT)
    assert found.most == values.max()


def test_what_is_never_given_back_does():
    values = 500 + HOUR // 600 + np.random.default_rng(1).integers(0, 2, len(HOUR))
    found = floor("handles", "", HOUR, values, limit=0.0)
    assert found is not None
    assert found.state is State.GROWS
    assert found.rise >= 2
    assert found.rises >= 3


def test_a_floor_that_rose_once_may_have_found_its_place():
    values = np.where(HOUR < 1500, 500.0, 501.0)
    once, allowed = (floor("handles", "", HOUR, values, limit=limit) for limit in (0.0, 1.0))
    assert once is not None and allowed is not None
    assert (once.rise, once.rises, once.state) == (1, 1, State.UNKNOWN)
    assert allowed.state is State.FLAT


@pytest.mark.parametrize("since", [2 / 3 + 0.02, 0.9])
def test_a_floor_that_rose_within_the_last_third_is_not_flat(since):
    values = np.where(since * HOUR[-1] > HOUR, 500.0, 600.0)
    found = floor("handles", "", HOUR, values, limit=0.0)
    assert found is not None
    assert (found.first, found.last, found.ended, found.rise, found.state) == (500, 500, 600, 0, State.UNKNOWN)


def test_a_last_stretch_without_its_lowest_value_is_no_growth():
    values = np.full(len(HOUR), 500.0)
    block = len(HOUR) // BLOCKS
    for number, least in ((1, 501), (2, 502), (BLOCKS - 1, 503)):
        values[number * block : (number + 1) * block] = least
    found = floor("handles", "", HOUR, values, limit=0.0)
    assert found is not None
    assert found.rises > 1
    assert found.state is State.UNKNOWN


def test_a_floor_that_falls_is_flat():
    found = floor("handles", "", HOUR, 500 - HOUR // 600, limit=0.0)
    assert found is not None
    assert (found.state, found.rises) == (State.FLAT, 0)


def test_a_floor_of_which_nothing_is_asked_is_not_judged():
    found = floor("threads", "", HOUR, HOUR)
    assert found is not None
    assert found.state is None


def test_a_third_without_looks_has_no_floor():
    at = np.concatenate([HOUR[:100], HOUR[-100:]])
    assert floor("handles", "", at, at) is None
    assert floor("handles", "", HOUR[:2], HOUR[:2]) is None


def test_the_stretches_are_all_of_the_time():
    found = floor("handles", "", HOUR, np.arange(len(HOUR)), limit=0.0)
    assert found is not None
    assert found.rises == BLOCKS - 1
