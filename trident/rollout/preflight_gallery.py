"""The preflight of another face embedder: is everybody whom the gallery knows known to the new one too?"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from tritonclient.grpc.model_config_pb2 import ModelConfig

from trident.entities.gallery import Gallery, gallery_ready_for
from trident.errors import SetupError
from trident.model_config import string_parameters
from trident.rollout.findings import Finding, Verdict
from trident.rollout.preflight_networks import read_record
from trident.rollout.release import Change

_MOST_NAMES = 5


def examine_gallery(
    repository: Path, recognizer: ModelConfig | None, change: Change, gallery_url: str | None
) -> Iterator[Finding]:
    """Embeddings of two networks are never compared, so whoever is enrolled with the old alone would be a stranger.

    Args:
        repository: The model repository.
        recognizer: The entity recognizer's configuration, which may name the gallery; None if it cannot be read.
        change: The embedder's move.
        gallery_url: The gallery's database; None for the recognizer's own, or the default.
    """
    component, version = change.component, change.after
    try:
        old, new = (
            str(read_record(repository / component / str(number)).get("digest", ""))
            for number in (change.before, version)
        )
    except SetupError:
        return  # said where the network is looked at
    if old == new:
        yield Finding(component, "gallery", Verdict.OK, f"{component} {version}: the same network, so the gallery fits")
        return
    named = "" if recognizer is None else string_parameters(recognizer).get("gallery_url", "")
    try:
        with Gallery(gallery_url or named or None) as gallery:
            place = str(gallery)
            people = len(gallery.people())
            missing = gallery_ready_for(gallery, old, new)
    except SetupError as exc:
        yield Finding(component, "gallery", Verdict.REFUSED, f"{component} {version}: {exc}")
        return
    facts = {"people": people, "not_enrolled": len(missing)}
    if missing:
        shown = ", ".join(missing[:_MOST_NAMES])
        more = f" and {len(missing) - _MOST_NAMES} more" if len(missing) > _MOST_NAMES else ""
        sentence = (
            f"gallery {place}: expected embeddings by {component} {version} of everybody who has some by version "
            f"{change.before}, got none of {shown}{more}: they would not be recognized any more. Enrol them for it "
            f"first, while the old one serves: `trident gallery enroll NAME PHOTO --with {component}={version}`"
        )
        yield Finding(component, "gallery", Verdict.REFUSED, sentence, facts)
    else:
        sentence = f"gallery {place}: everybody in it is known to {component} {version}"
        yield Finding(component, "gallery", Verdict.OK, sentence, facts)
