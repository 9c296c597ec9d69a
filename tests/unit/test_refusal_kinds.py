"""Every refusal of a picture is of one of a few kinds, which metrics and logs name."""

from __future__ import annotations

from collections import Counter

import pytest

from tests.bad_inputs import REFUSED, Refused
from trident.errors import DamagedPicture, InvalidInput, PictureTooLarge, UnknownFormat, UnsupportedPicture
from trident.preprocess import Limits, prepare

KINDS = (DamagedPicture, PictureTooLarge, UnknownFormat, UnsupportedPicture)


def kind(bad: Refused) -> type[InvalidInput]:
    with pytest.raises(InvalidInput) as caught:
        prepare(bad.make())
    return type(caught.value)


@pytest.mark.parametrize("bad", REFUSED.values(), ids=REFUSED.keys())
def test_a_refused_picture_has_a_kind(bad):
    assert kind(bad) in KINDS


def test_all_kinds_occur():
    assert Counter(map(kind, REFUSED.values())).keys() == set(KINDS)


@pytest.mark.parametrize(
    ("encoded", "limits", "expected"),
    [
        pytest.param(b"", Limits(), UnknownFormat, id="nothing"),
        pytest.param(b"GIF89a", Limits(), UnknownFormat, id="another format"),
        pytest.param(b"\xff\xd8\xff" + bytes(2000), Limits(max_bytes=1000), PictureTooLarge, id="many bytes"),
        pytest.param(b"\xff\xd8\xff" + bytes(20), Limits(), DamagedPicture, id="a beginning and no more"),
    ],
)
def test_kinds_by_example(encoded, limits, expected):
    with pytest.raises(expected):
        prepare(encoded, limits)
