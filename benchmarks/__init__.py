"""Measurements of a running Trident: what it answers, and how fast."""
