"""Whether a server that has just been started is as closed as it was told to be."""

from __future__ import annotations

from trident.errors import SetupError
from trident.rollout.serving import Serving, ServingError
from trident_client.errors import is_restricted


def prove_closed(holder: Serving, stranger: Serving, model: str) -> None:
    """Try it: the holder of the key is answered, one with another key is refused.

    A server of another release might take the options otherwise, and say nothing.

    Args:
        holder: A connection with the admin key.
        stranger: One with another.
        model: Any name; only whether there is an answer counts.

    Raises:
        SetupError: It is not so.
    """
    try:
        holder.states(model)
    except ServingError as exc:
        raise SetupError(f"access: Triton does not take the admin key that it was started with: {exc}") from exc
    try:
        stranger.states(model)
    except ServingError as exc:
        if is_restricted(str(exc)):
            return
        raise SetupError(f"access: expected Triton to refuse a wrong admin key, got {exc.code}: {exc}") from exc
    raise SetupError("access: expected Triton to refuse a wrong admin key, got an answer to what it should restrict")
