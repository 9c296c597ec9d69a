"""The floor: the same work in one process, without a server, and what serving costs on top of it."""
