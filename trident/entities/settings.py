"""The entity recognizer's settings: the ``parameters`` of its ``config.pbtxt`` and the networks of its version."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from trident.contract import RECOGNIZER
from trident.entities.called_networks import Networks
from trident.errors import SetupError

_Value = TypeVar("_Value", int, float)


@dataclass(frozen=True, slots=True)
class Settings:
    """How entities are recognized."""

    versions: Mapping[str, int]
    """The version of each network that is called."""
    min_score: float
    """Entities below this score are left out."""
    min_face_score: float
    """Faces that the detector is less sure of are not identified."""
    min_plate_candidate: float
    """What may be a plate from this score of the first look on gets a second one."""
    identity_threshold: float
    """Smallest cosine similarity of two embeddings that count as the same person."""
    max_crops_per_call: int
    """Most crops in one call of the embedder or the reader; their ``max_batch_size``."""
    max_canvases_per_call: int
    """Most canvases in one call of the plate detector's second look; its ``max_batch_size``."""
    gallery_url: str
    """The gallery's database; empty for ``TRIDENT_GALLERY_URL`` or the default."""
    gallery_poll_seconds: float
    """How often a running server looks for a change of the gallery."""

    @classmethod
    def from_parameters(cls, parameters: Mapping[str, str], networks: Networks) -> Settings:
        """Parse the parameters of a model configuration.

        Args:
            parameters: By name, their ``string_value``.
            networks: What the version of the recognizer calls.

        Raises:
            SetupError: one is missing, unknown or out of its range.
        """
        rest = dict(parameters)

        def take(name: str, kind: Callable[[str], _Value], low: float, high: float) -> _Value:
            value = rest.pop(name, None)
            if value is None:
                raise SetupError(f"{RECOGNIZER}: its config.pbtxt has no parameter {name}")
            try:
                number = kind(value)
            except ValueError:
                number = None
            if number is None or not low <= number <= high:
                raise SetupError(f"{RECOGNIZER}: parameter {name}: expected {low:g} to {high:g}, got {value!r}")
            return number

        settings = cls(
            versions=dict(networks.versions),
            min_score=take("min_score", float, 0, 1),
            min_face_score=take("min_face_score", float, 0, 1),
            min_plate_candidate=take("min_plate_candidate", float, 0, 1),
            identity_threshold=networks.identity_threshold,
            max_crops_per_call=take("max_crops_per_call", int, 1, 4096),
            max_canvases_per_call=take("max_canvases_per_call", int, 1, 4096),
            gallery_url=rest.pop("gallery_url", ""),
            # A changed gallery has to be noticed within 5 seconds.
            gallery_poll_seconds=take("gallery_poll_seconds", float, 0.1, 4),
        )
        # Upper-case parameters belong to the backend, EXECUTION_ENV_PATH for one.
        unknown = sorted(name for name in rest if not name.isupper())
        if unknown:
            raise SetupError(f"{RECOGNIZER}: its config.pbtxt has unknown parameters: {', '.join(unknown)}")
        return settings
