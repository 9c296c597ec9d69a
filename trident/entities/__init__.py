"""Whose face, which licence plate? Pure logic: no Triton in here, networks are called through a function handed in."""
