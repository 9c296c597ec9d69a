"""Keeps a server's snapshot of a gallery up to date."""

from __future__ import annotations

import logging
import threading
import time

from trident.entities.gallery_database import Gallery
from trident.entities.gallery_place import CONNECT_SECONDS
from trident.entities.known_faces import Snapshot
from trident.errors import SetupError


class GalleryWatcher:
    """Keeps a snapshot of a gallery up to date from a thread of its own, so that no request waits for the database.

    A database that is down or damaged keeps the last snapshot, and is mentioned once in the log until it is back.
    """

    def __init__(self, gallery: Gallery, *, seconds: float = 1.0, logger: logging.Logger | None = None) -> None:
        """Read the gallery once, then look for a change every ``seconds``.

        A gallery that cannot be read at first is empty until it can.
        """
        self._gallery = gallery
        self._seconds = seconds
        self._logger = logger or logging.getLogger(__name__)
        self._snapshot = Snapshot()
        self._down = False
        self._looked = False
        self._changed = 0.0
        self._minded: list[str] = []
        self._ended = threading.Event()
        self._look()
        self._thread = threading.Thread(target=self._run, name="gallery-watcher", daemon=True)
        self._thread.start()

    @property
    def snapshot(self) -> Snapshot:
        """The newest one there is."""
        return self._snapshot

    @property
    def changed(self) -> float:
        """Unix time at which the gallery was last seen to change, at first that of its newest embedding; 0 if empty."""
        return self._changed

    @property
    def readable(self) -> bool:
        """Whether the gallery could be read when it was last looked at."""
        return not self._down

    def stop(self) -> None:
        """End the thread and close the gallery."""
        self._ended.set()
        self._thread.join(timeout=2 * CONNECT_SECONDS)
        self._gallery.close()

    def _run(self) -> None:
        while not self._ended.wait(self._seconds):
            self._look()

    def _look(self) -> None:
        try:
            if self._gallery.stamp() != self._snapshot.stamp:
                self._mind()
                self._snapshot = self._gallery.snapshot()
                self._changed = time.time() if self._looked else self._newest()
                self._logger.info("gallery %s: %d people", self._gallery, len(self._snapshot.names()))
                if complaint := self._snapshot.complaint(named=False):
                    self._logger.warning("gallery %s: %s", self._gallery, complaint)
        except SetupError as exc:
            if not self._down:
                self._logger.error("%s; going on with what is known", exc)
            self._down = True
        except Exception as exc:  # the thread has to outlive whatever a database and its driver come up with
            if not self._down:
                self._logger.error("gallery %s: %r; going on with what is known", self._gallery, exc, exc_info=exc)
            self._down = True
        else:
            if self._down:
                self._logger.info("gallery %s: can be read again", self._gallery)
            self._down = False
            self._looked = True

    def _mind(self) -> None:
        """Say once what is to be minded about the gallery. Raises SetupError if it cannot be opened."""
        sentences = self._gallery.check()
        for sentence in sentences:
            if sentence not in self._minded:
                self._logger.warning("%s", sentence)
        self._minded = sentences

    def _newest(self) -> float:
        try:
            return self._gallery.newest()
        except SetupError:  # a damaged date keeps nobody from being recognized
            return time.time()
