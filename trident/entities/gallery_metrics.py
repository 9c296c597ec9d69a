"""What the metrics say of a gallery: how much is in it, when it changed, and whether it can be read."""

from __future__ import annotations

from trident.entities.gallery import GalleryWatcher, Snapshot
from trident.metrics import Tally, set_gallery


class GalleryLook:
    """Sets the gallery's gauges; each snapshot is counted once."""

    def __init__(self, watcher: GalleryWatcher) -> None:
        self._watcher = watcher
        self._counted: Snapshot | None = None
        self._people = self._embeddings = 0

    def __call__(self, tally: Tally) -> None:
        """Look at what the watcher has now."""
        snapshot = self._watcher.snapshot
        if snapshot is not self._counted:
            self._counted = snapshot
            self._people = len(snapshot.names())
            self._embeddings = sum(len(known.names) for known in snapshot.by_network.values())
        set_gallery(
            tally,
            people=self._people,
            embeddings=self._embeddings,
            changed=self._watcher.changed,
            readable=self._watcher.readable,
        )
