"""A Python model that stands in for one that takes no more requests, while the server is being stopped.

Not imported: ``trident.launcher.draining`` hands this file's text to the server.
"""

from __future__ import annotations

from typing import Any

import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    """Refuses every request, so that a client, or what balances the load, turns to another server."""

    def execute(self, requests: list[Any]) -> list[Any]:
        """One refusal for each request."""
        refusal = pb_utils.TritonError(
            "the server is being stopped and takes no more requests: ask another one, or ask again later",
            pb_utils.TritonError.UNAVAILABLE,
        )
        return [pb_utils.InferenceResponse(error=refusal) for _ in requests]
