"""Whether one process and the server give the same answers: all of ``RESULT``, and which versions gave it."""

from __future__ import annotations

import json
from collections.abc import Mapping

import numpy as np
from tritonclient.utils import InferenceServerException

from benchmarks.peers.same import differences
from benchmarks.served import ServedModels
from trident.contract import ENSEMBLE
from trident.errors import SetupError

_MOST_NAMED = 3


def difference(one: bytes, other: bytes) -> str:
    """The first places at which two ``RESULT`` documents differ, and in what; empty if they say the same.

    >>> difference(b'{"objects": [{"score": 0.5}]}', b'{"objects": [{"score": 0.6}]}')
    'RESULT.objects[0].score: expected 0.5, got 0.6'
    """
    found = list(differences(json.loads(one), json.loads(other)))
    more = f" (and {len(found) - _MOST_NAMED} more)" if len(found) > _MOST_NAMED else ""
    return "; ".join(found[:_MOST_NAMED]) + more


def check_same(answers: Mapping[str, bytes], models: ServedModels, pictures: Mapping[str, bytes]) -> None:
    """Ask a server about every picture, and hold its answers against those of one process, to the last digit.

    Args:
        answers: ``RESULT`` of each picture, by name.
        models: The server.
        pictures: Encoded pictures by name.

    Raises:
        SetupError: An answer differs, or a request failed; the message says which, and in what.
    """
    for name, picture in pictures.items():
        batch = np.array([[picture]], dtype=np.object_)
        try:
            served = models.infer(ENSEMBLE, {"IMAGE": batch})["RESULT"][0, 0]
        except InferenceServerException as error:
            raise SetupError(f"floor: {name}: answered in one process, but not by the server: {error}") from error
        if found := difference(answers[name], served):
            raise SetupError(
                f"floor: {name}: expected of the server what one process answers, but {found}; nothing was measured, "
                "since the two do not do the same work"
            )
