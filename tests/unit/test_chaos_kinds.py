"""Which faults a chaos run draws."""

from __future__ import annotations

import itertools
from collections import Counter

import pytest

from benchmarks.chaos import faults
from benchmarks.chaos.kinds import ABOUT, ALL, HANGING, Kind, Planned, draw, parse_kinds
from benchmarks.chaos.record import Settings
from trident.contract import COMPONENTS
from trident.errors import SetupError

ROUND = sum(about.share for about in ABOUT.values())


def drawn(count: int, kinds: tuple[Kind, ...] = ALL, seed: int = 0) -> list[Planned]:
    return list(itertools.islice(draw(kinds, seed), count))


def test_every_kind_is_told_of_and_can_be_done():
    assert set(ABOUT) == set(Kind) == set(faults._HOW)


def test_a_seed_gives_the_same_faults_again_and_another_seed_others():
    assert drawn(50, seed=4) == drawn(50, seed=4) != drawn(50, seed=5)


@pytest.mark.parametrize("kinds", [ALL, (Kind.KILL, Kind.VANISH)], ids=["all", "two of them"])
def test_every_round_holds_every_kind_by_its_share(kinds: tuple[Kind, ...]):
    shares = {kind: ABOUT[kind].share for kind in kinds}
    length = sum(shares.values())
    found = drawn(3 * length, kinds)
    for begin in range(0, len(found), length):
        assert Counter(one.kind for one in found[begin : begin + length]) == shares
    assert [one.number for one in found] == list(range(1, 3 * length + 1))


def test_every_component_has_its_turn_before_one_comes_again():
    victims = [one.victim for one in drawn(10 * ROUND) if one.kind is Kind.KILL]
    assert len(victims) > 2 * len(COMPONENTS)
    for begin in (0, len(COMPONENTS)):
        assert sorted(victims[begin : begin + len(COMPONENTS)]) == sorted(COMPONENTS)


def test_victims_are_those_that_it_can_befall():
    for one in drawn(5 * ROUND):
        about = ABOUT[one.kind]
        assert one.victim in about.victims if about.victims else one.victim == ""
    assert set(HANGING) == {"preprocess", "entity_recognizer", "fusion"}


def test_kinds_are_read_in_their_order_and_once():
    assert parse_kinds(" storm,kill , storm,") == (Kind.STORM, Kind.KILL)


@pytest.mark.parametrize("text", ["", " , ", "kill,fire"])
def test_what_is_no_kind_is_refused_with_those_that_there_are(text: str):
    with pytest.raises(SetupError, match=r"expected some of kill, halt, hang, oom, .*, got (none|fire)"):
        parse_kinds(text)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"seconds": 0}, "seconds: expected 1 to 7200, got 0"),
        ({"rate": 0.0}, r"rate: expected 0\.1 to 1000, got 0"),
        ({"faults": 0}, "faults: expected 1 to 10000, got 0"),
        ({"kinds": ()}, "kinds: expected at least one"),
    ],
)
def test_a_setting_out_of_range_is_refused(settings: dict[str, object], message: str):
    with pytest.raises(SetupError, match=message):
        Settings(**settings)
