"""Whom a server knows, in memory: embeddings by the network that made them, and matching against them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from trident.entities.types import Identity

Embeddings = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class KnownFaces:
    """The embeddings that one network made."""

    names: tuple[str, ...]
    """The person of each row, N of them."""
    embeddings: Embeddings
    """One embedding a row, of length 1, ``[N, D]``."""

    def match(self, queries_MD: Embeddings, threshold: float) -> list[Identity | None]:
        """The most similar person of each query, or None where nobody reaches the threshold.

        A person's similarity is the best of that person's embeddings, so the best row overall decides.

        Args:
            queries_MD: embeddings of length 1, one a row.
            threshold: smallest cosine similarity that counts as the same person.

        Raises:
            ValueError: the queries have another dimension than the gallery.
        """
        if queries_MD.ndim != 2 or queries_MD.shape[1] != self.embeddings.shape[1]:
            raise ValueError(f"queries_MD: expected shape (M, {self.embeddings.shape[1]}), got {queries_MD.shape}")
        similarities_MN = queries_MD @ self.embeddings.T
        best_M = similarities_MN.argmax(axis=1)
        best_similarities_M = similarities_MN[np.arange(len(best_M)), best_M]
        return [
            Identity(self.names[row], float(np.clip(similarity, 0.0, 1.0))) if similarity >= threshold else None
            for row, similarity in zip(best_M, best_similarities_M, strict=True)
        ]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A gallery at one moment. Immutable: whoever holds it sees no half of a change."""

    stamp: str = ""
    """Changes with every change of the gallery; empty for a gallery that does not exist yet."""
    by_network: Mapping[str, KnownFaces] = field(default_factory=dict)
    """What is known, by the digest of the network that made it."""
    damaged: tuple[str, ...] = ()
    """Who has embeddings that cannot be used and are left out."""

    def match(self, queries_MD: Embeddings, network: str, threshold: float) -> list[Identity | None]:
        """Like ``KnownFaces.match``, among the embeddings made by ``network`` only."""
        known = self.by_network.get(network)
        return [None] * len(queries_MD) if known is None else known.match(queries_MD, threshold)

    def names(self, network: str | None = None) -> set[str]:
        """Everybody who has embeddings that can be used; with ``network``, those who have some that it made."""
        known = self.by_network.values() if network is None else filter(None, [self.by_network.get(network)])
        return {name for faces in known for name in faces.names}

    def strangers(self, network: str) -> list[str]:
        """Who is enrolled with other networks only, and so is never recognized by this one; sorted by name."""
        return sorted(self.names() - self.names(network))

    def complaint(self, *, named: bool = True) -> str:
        """One sentence about the damaged embeddings; empty where there are none.

        Args:
            named: Whether it says whose. A log is no place for names.
        """
        if not self.damaged:
            return ""
        if not named:
            count = "1 person" if len(self.damaged) == 1 else f"{len(self.damaged)} people"
            return f"damaged embeddings of {count} are left out; `trident gallery list` says whose"
        names = ", ".join(map(repr, self.damaged))
        return f"damaged embeddings of {names} are left out; forget and enrol again whom they belong to"
