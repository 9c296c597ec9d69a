"""Trident: a Triton ensemble of a classifier, a detector and an entity recognizer, fused into one answer."""

__version__ = "0.1.0"
