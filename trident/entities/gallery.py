"""The gallery of people whose faces are known: its database, and what a server keeps of it in memory."""

from trident.entities.gallery_database import Gallery, Person, clean_name, ensure_outside, gallery_ready_for
from trident.entities.gallery_place import URL_VARIABLE, resolve_url
from trident.entities.gallery_watcher import GalleryWatcher
from trident.entities.known_faces import Embeddings, KnownFaces, Snapshot

__all__ = [
    "URL_VARIABLE",
    "Embeddings",
    "Gallery",
    "GalleryWatcher",
    "KnownFaces",
    "Person",
    "Snapshot",
    "clean_name",
    "ensure_outside",
    "gallery_ready_for",
    "resolve_url",
]
