"""The preflight of another face embedder: is everybody whom the gallery knows known to the new one too?"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from tritonclient.grpc.model_config_pb2 import ModelConfig

from trident.entities.gallery import Gallery, gallery_ready_for
from trident.errors import SetupError
from trident.model_config import string_parameters
from trident.rollout.findings import Finding, Verdict
from trident.rollout.record import read_record
from trident.rollout.release import Change


def examine_gallery(
    repository: Path,
    recognizer: ModelConfig | None,
    change: Change,
    gallery_url: str | None,
    gallery_keys: str | None = None,
) -> Iterator[Finding]:
    """Embeddings of two networks are never compared, so whoever is enrolled with the old alone would be a stranger.

    Args:
        repository: The model repository.
        recognizer: The entity recognizer's configuration, which may name the gallery; None if it cannot be read.
        change: The embedder's move.
        gallery_url: The gallery's database, as ``served_gallery.served_gallery_url`` finds it or the operator names it.
            None for the one that the configuration names, else what this process would look at, which need not be
            the server's.
        gallery_keys: The keys of an encrypted one; None for those of this process's environment.
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
    url = gallery_url or ("" if recognizer is None else string_parameters(recognizer).get("gallery_url", ""))
    try:
        with Gallery(url, keys=gallery_keys) as gallery:
            place = str(gallery)
            people = len(gallery.people())
            missing = gallery_ready_for(gallery, old, new)
    except SetupError as exc:
        yield Finding(component, "gallery", Verdict.REFUSED, f"{component} {version}: {exc}")
        return
    facts = {"gallery": place, "people": people, "not_enrolled": len(missing)}
    if missing:
        # How many, and not who: this goes into the journal.
        sentence = (
            f"gallery {place}: expected embeddings by {component} {version} of everybody who has some by version "
            f"{change.before}, got none of {len(missing)} of {people} people: they would not be recognized any more. "
            f"Enrol them for it first, while the old one serves: `trident gallery enroll NAME PHOTO --with "
            f"{component}={version}`; `trident gallery list` shows whom"
        )
        yield Finding(component, "gallery", Verdict.REFUSED, sentence, facts)
    elif people:
        sentence = f"gallery {place}: everybody in it is known to {component} {version}"
        yield Finding(component, "gallery", Verdict.OK, sentence, facts)
    elif url:
        yield Finding(component, "gallery", Verdict.OK, f"gallery {place}: nobody is enrolled in it", facts)
    else:
        sentence = (
            f"gallery {place}: expected the gallery that the server looks at, got one that is empty or does not exist, "
            "and which one is the server's could not be found out: if it has another, people in it may not be known to "
            f"{component} {version}; name it with --gallery-url"
        )
        yield Finding(component, "gallery", Verdict.WARNING, sentence, facts)
