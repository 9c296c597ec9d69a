"""The picture that `trident status` asks with. That every component answers it is seen in the live tests."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from trident import probe_picture
from trident_client import probe


def test_it_is_small_and_the_one_that_code_makes() -> None:
    shipped = probe.picture()
    assert len(shipped) <= probe_picture.MOST_BYTES
    with Image.open(io.BytesIO(shipped)) as one, Image.open(io.BytesIO(probe_picture.make())) as other:
        assert one.format == "JPEG"
        assert one.size == (probe_picture.SIDE, probe_picture.SIDE)
        # JPEG encoders differ by a little from release to release.
        assert np.abs(np.asarray(one, dtype=int) - np.asarray(other, dtype=int)).mean() < 2


def test_it_is_written_where_it_is_wanted(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["probe_picture", str(tmp_path / "p.jpg")])
    probe_picture.main()
    assert (tmp_path / "p.jpg").read_bytes() == probe_picture.make()
    monkeypatch.setattr("sys.argv", ["probe_picture", str(tmp_path / "no" / "p.jpg")])
    with pytest.raises(SystemExit, match=r"probe picture: .*No such file"):
        probe_picture.main()
