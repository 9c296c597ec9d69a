"""Which weights fused an answer: those of the policy that the answer names, or those that the answer itself betrays."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from trident.component_digest import digest_of_component
from trident.contract import BRANCHES
from trident.errors import SetupError
from trident.fusion.evidence import SILENT, fuse
from trident.fusion.policy import Weights, load_policy
from trident.fusion.types import Floats
from trident_client.errors import AnswerError
from trident_client.results import ModelVersion

FUSION = "fusion"
POLICY_FILE = "policy.json"

TOLERANCE = 1e-5
"""Most by which a score may differ from the weighted mean: scores and evidence travel as FP32."""
_LEAST_SINGULAR = 1e-4
"""Equations that determine the weights less than this are rounding. FP32 leaves about 1e-6."""


@dataclass(frozen=True, slots=True)
class KnownWeights:
    """The weights that fused an answer, and how that is known."""

    weights: Weights
    source: str
    """Where they are from, in a few words."""


def weights_that_answered(
    answered: ModelVersion, scores_C: Floats, evidence_C3: Floats, repository: Path
) -> KnownWeights:
    """The weights that fused an answer.

    They stand in the policy of the fusion version that answered, if that is at hand: its digest has to be the one that
    the answer names. Elsewhere, or where the files have changed since the server loaded them, they are worked out of
    the answer, see ``solve_weights``.

    Args:
        answered: Version and digest of fusion, as ``RESULT["models"]`` has them.
        scores_C: ``CATEGORY_SCORES``, [80].
        evidence_C3: ``CATEGORY_EVIDENCE``, [80, 3].
        repository: The model repository to look into; need not exist.

    Raises:
        AnswerError: The scores are not the weighted means of the evidence, or tell too little.
    """
    folder = repository / FUSION / str(answered.version)
    name = f"{FUSION} {answered.version}"
    try:
        weights = load_policy(folder / POLICY_FILE).weights
        is_it = digest_of_component(FUSION, folder) == answered.digest
    except SetupError:
        is_it = False
    if not is_it:
        weights = solve_weights(scores_C, evidence_C3)
        source = f"worked out of the answer, for the {name} that answered is not among the files here"
    else:
        source = f"the policy of {name}, with the digest that the answer names"
    if (misfit := float(np.abs(fuse(np.asarray(evidence_C3, np.float64), weights) - scores_C).max())) > TOLERANCE:
        raise AnswerError(
            f"CATEGORY_SCORES: expected the mean of CATEGORY_EVIDENCE, weighted as {source}, got scores that are up to "
            f"{misfit:.2g} away from it"
        )
    return KnownWeights(weights, source)


def solve_weights(scores_C: Floats, evidence_C3: Floats) -> Weights:
    """The weights that make the evidence's means the scores, up to a common factor; the largest is 1.

    Each category gives one equation, ``Σ wᵢ (fᵢ − z) = 0`` over the branches that speak of it. The weights are the
    direction that fulfils all of them best (total least squares: the right singular vector of the smallest singular
    value; Golub and Van Loan, Matrix Computations, section 6.3). A branch that speaks of no category of this picture
    has no part in the answer and gets 0.

    Args:
        scores_C: z, [80].
        evidence_C3: f, [80, 3]; −1 where a branch is silent.

    Raises:
        AnswerError: No branch speaks, several weightings explain the scores equally well, or only a negative weight
            would.
    """
    evidence = np.asarray(evidence_C3, dtype=np.float64)
    speaks = evidence != SILENT
    equations = np.where(speaks, evidence - np.asarray(scores_C, dtype=np.float64)[:, None], 0.0)
    heard = np.flatnonzero(speaks.any(axis=0))
    if not len(heard):
        raise AnswerError("CATEGORY_EVIDENCE: expected a branch that speaks of a category, got none")
    _, sizes, directions = np.linalg.svd(equations[:, heard], full_matrices=False)
    if len(heard) > 1 and sizes[-2] < _LEAST_SINGULAR:
        raise AnswerError(
            "CATEGORY_SCORES: expected scores that tell the weights of "
            f"{', '.join(BRANCHES[column] for column in heard)}, got such that several weightings explain; "
            "say with --model-repository where the policy is that the server loaded"
        )
    found = directions[-1] / directions[-1][np.abs(directions[-1]).argmax()]
    if found.min() < -TOLERANCE:
        raise AnswerError("CATEGORY_SCORES: expected means with weights of 0 or more, got scores that need a negative")
    weights = np.zeros(len(BRANCHES))
    weights[heard] = np.clip(found, 0.0, 1.0)
    return Weights(**dict(zip(BRANCHES, weights.tolist(), strict=True)))
