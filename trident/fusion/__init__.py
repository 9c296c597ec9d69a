"""Fusion: the branches' answers to one fused answer."""
