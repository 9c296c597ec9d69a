"""Keeps a Triton server from leaving anything behind: light modules, for the guard process has to start quickly."""
