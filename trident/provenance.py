"""Which version of a model really answered: 36 bytes that every component gives with its answer."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from trident.contract import PROVENANCE_BYTES

_VERSION_BYTES = 4


@dataclass(frozen=True, slots=True)
class Provenance:
    """Version and digest of one component."""

    version: int
    """Triton's model version, 1 or more."""
    digest: str
    """``sha256:`` and 64 hexadecimal digits."""

    def to_json(self) -> dict[str, object]:
        """The form that ``RESULT["models"]`` holds."""
        return {"version": self.version, "digest": self.digest}


def pack(provenance: Provenance) -> npt.NDArray[np.uint8]:
    """Encode as UINT8 [36]: version as 4 bytes little endian, then the 32 bytes of the digest.

    Raises ValueError if the version does not fit in 32 bits or the digest is not a SHA-256.
    """
    algorithm, _, digits = provenance.digest.partition(":")
    raw = bytes.fromhex(digits)
    if algorithm != "sha256" or len(raw) != PROVENANCE_BYTES - _VERSION_BYTES:
        raise ValueError(f"digest: expected sha256:<64 hexadecimal digits>, got {provenance.digest!r}")
    if not 0 < provenance.version < 2**31:
        raise ValueError(f"version: expected 1 to 2147483647, got {provenance.version}")
    return np.frombuffer(provenance.version.to_bytes(_VERSION_BYTES, "little") + raw, dtype=np.uint8)


def unpack(row: npt.NDArray[np.uint8]) -> Provenance | None:
    """Decode UINT8 [36]. A row of zeros, a model that was not called, gives None."""
    if row.shape != (PROVENANCE_BYTES,):
        raise ValueError(f"provenance: expected shape ({PROVENANCE_BYTES},), got {row.shape}")
    raw = row.astype(np.uint8).tobytes()
    version = int.from_bytes(raw[:_VERSION_BYTES], "little")
    if version == 0:
        return None
    return Provenance(version, f"sha256:{raw[_VERSION_BYTES:].hex()}")


def digest_of_files(*paths: Path) -> str:
    """SHA-256 over the named files' names and contents, in the given order; folders stand for their ``*.py`` files."""
    digest = hashlib.sha256()
    for path in paths:
        for file in sorted(path.rglob("*.py")) if path.is_dir() else [path]:
            digest.update(file.name.encode())
            digest.update(file.read_bytes())
    return f"sha256:{digest.hexdigest()}"
