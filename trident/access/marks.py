"""Words that the launcher and the guard agree on."""

from __future__ import annotations

PLACEHOLDER = "<admin key>"
"""Stands for the key in a server's arguments until the moment at which it is started."""
HIDDEN = "<hidden>"
"""What the list of processes shows in the key's place."""
SECRET_VARIABLE = "TRIDENT_GUARD_SECRET"  # noqa: S105 - a variable's name
"""Hands the key from the launcher to the guard. What is in an environment, only the same user can read."""
VISIBLE = "the admin key can be read in the list of processes by every user of this machine"
"""What is said where it could not be hidden."""
