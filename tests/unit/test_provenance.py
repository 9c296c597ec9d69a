import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trident.provenance import Provenance, digest_of_files, pack, unpack


@given(version=st.integers(1, 2**31 - 1), digest=st.binary(min_size=32, max_size=32))
def test_what_is_packed_comes_back(version, digest):
    provenance = Provenance(version, f"sha256:{digest.hex()}")
    assert unpack(pack(provenance)) == provenance


def test_a_row_of_zeros_is_a_model_that_was_not_called():
    assert unpack(np.zeros(36, dtype=np.uint8)) is None


@pytest.mark.parametrize(
    ("provenance", "named"),
    [
        pytest.param(Provenance(0, "sha256:" + "0" * 64), "version", id="version 0 means not called"),
        pytest.param(Provenance(2**31, "sha256:" + "0" * 64), "version", id="version over 31 bits"),
        pytest.param(Provenance(1, "md5:" + "0" * 32), "digest", id="another hash"),
        pytest.param(Provenance(1, "sha256:" + "0" * 62), "digest", id="a digest too short"),
    ],
)
def test_what_cannot_be_packed_is_named(provenance, named):
    with pytest.raises(ValueError, match=named):
        pack(provenance)


def test_a_row_of_another_length_is_refused():
    with pytest.raises(ValueError, match=r"expected shape \(36,\), got \(35,\)"):
        unpack(np.zeros(35, dtype=np.uint8))


def test_the_digest_changes_with_content_and_name(tmp_path):
    (tmp_path / "a.py").write_text("x = 1\n")
    first = digest_of_files(tmp_path / "a.py")
    assert first == digest_of_files(tmp_path)  # a folder stands for its Python files
    (tmp_path / "a.py").write_text("x = 2\n")
    second = digest_of_files(tmp_path)
    (tmp_path / "a.py").rename(tmp_path / "b.py")
    assert len({first, second, digest_of_files(tmp_path)}) == 3
