"""Which requests a canary gets: as many as wanted, always the same ones, and never fewer when it grows."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trident.rollout.split import chosen, position, sticky_key

KEYS = [f"caller {index}".encode() for index in range(20_000)]
SHARES = st.floats(min_value=0.0, max_value=1.0)


@pytest.mark.parametrize("salt", ["", "one rollout", "another"])
def test_positions_are_uniform(salt: str) -> None:
    positions = np.array([position(key, salt) for key in KEYS])

    counts, _ = np.histogram(positions, bins=20, range=(0.0, 1.0))
    expected = len(KEYS) / 20
    # Chi-square with 19 degrees of freedom: beyond 43.8 once in a thousand, and the keys are fixed.
    assert ((counts - expected) ** 2 / expected).sum() < 43.8


@pytest.mark.parametrize("share", [0.0, 0.01, 0.1, 0.5, 1.0])
def test_the_share_is_kept(share: float) -> None:
    taken = np.mean([chosen(key, "salt", share) for key in KEYS])

    assert abs(taken - share) <= 4 * (share * (1 - share) / len(KEYS)) ** 0.5


@given(key=st.binary(max_size=40), salt=st.text(max_size=20), share=SHARES)
def test_a_key_stays_where_it_is(key: bytes, salt: str, share: float) -> None:
    assert 0.0 <= position(key, salt) < 1.0
    assert chosen(key, salt, share) == chosen(key, salt, share)


@given(key=st.binary(max_size=40), one=SHARES, other=SHARES)
def test_a_larger_share_only_adds(key: bytes, one: float, other: float) -> None:
    small, large = sorted((one, other))

    assert chosen(key, "salt", large) or not chosen(key, "salt", small)


def test_another_rollout_takes_others() -> None:
    first, second = ({key for key in KEYS if chosen(key, salt, 0.1)} for salt in ("first", "second"))

    # Independent: a tenth of a tenth is in both.
    assert abs(len(first & second) / len(KEYS) - 0.01) < 0.003


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        pytest.param(("user", 0, [b"a"]), ("user", 7, [b"b"]), True, id="a sticky name is all that counts"),
        pytest.param(("user", 0, [b"a"]), ("other", 0, [b"a"]), False, id="another name"),
        pytest.param((None, 7, [b"a"]), (None, 7, [b"b"]), True, id="one conversation"),
        pytest.param((None, 7, [b"a"]), (None, 8, [b"a"]), False, id="two conversations"),
        pytest.param((None, "7", [b"a"]), ("7", 0, [b"a"]), False, id="a conversation is no name"),
        pytest.param((None, 0, [b"a"]), (None, 0, [b"a"]), True, id="the same picture"),
        pytest.param((None, 0, [b"a"]), (None, 0, [b"b"]), False, id="another picture"),
        pytest.param((None, 0, [b"ab", b"c"]), (None, 0, [b"a", b"bc"]), False, id="the same bytes cut elsewhere"),
        pytest.param(("", "", [b"a"]), (None, 0, [b"a"]), True, id="empty texts are none"),
        pytest.param((0, 0, [b"a"]), (0, 0, [b"b"]), True, id="0 is a name"),
    ],
)
def test_what_keeps_two_requests_together(
    one: tuple[object, int | str, list[bytes]], other: tuple[object, int | str, list[bytes]], same: bool
) -> None:
    assert (sticky_key(*one) == sticky_key(*other)) is same
