"""The versions that answered, asked again: over other pixels than the photo's own."""

from __future__ import annotations

from collections.abc import Sequence

from trident.contract import PROVENANCE
from trident.errors import SetupError
from trident.provenance import unpack
from trident.rollout.serving import ServerLost, Serving, ServingError, Tensors
from trident_client.errors import AnswerError
from trident_client.results import Analysis, ModelVersion


def version_of(analysis: Analysis, model: str) -> ModelVersion:
    """Which version of a component answered. Raises AnswerError if the answer does not say."""
    if model not in analysis.models:
        raise AnswerError(f"RESULT.models: expected {model} in it, got {', '.join(analysis.models) or 'nothing'}")
    return analysis.models[model]


def ask(serving: Serving, model: str, answered: ModelVersion, tensors: Tensors, outputs: Sequence[str]) -> Tensors:
    """Call exactly the version that answered.

    Args:
        serving: The server.
        model: A component of the contract.
        answered: Its version and digest.
        tensors: Its inputs, the batch being the first axis.
        outputs: Names of the outputs that are wanted.

    Raises:
        SetupError: The server has let the version go, or has another network under its number now.
        ServingError: The server failed, or is gone.
    """
    try:
        answer = serving.infer(model, tensors, version=answered.version, outputs=[*outputs, PROVENANCE.name])
    except ServerLost:
        raise
    except ServingError as exc:
        # Triton has several words for it, and some of them for other things too.
        if serving.ready(model, answered.version):
            raise
        raise SetupError(
            f"{model} {answered.version}, which answered the photo, is not loaded at {serving.url}: it may have been "
            "retired since; ask again, or load it"
        ) from exc
    now = unpack(answer[PROVENANCE.name][0])
    if now is None or (now.version, now.digest) != (answered.version, answered.digest):
        got = "none" if now is None else f"{now.version}, {now.digest[:19]}…"
        raise SetupError(
            f"{model}: expected version {answered.version}, {answered.digest[:19]}…, which answered the photo, got "
            f"{got}: it was changed meanwhile; ask again"
        )
    return answer
