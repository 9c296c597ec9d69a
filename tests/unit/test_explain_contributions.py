"""The fused scores split into the branches' terms, and the weights that an answer was fused with."""

import shutil

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from trident.component_digest import digest_of_component
from trident.contract import BRANCHES
from trident.explain.contributions import split, split_of, splits_above
from trident.explain.weights import solve_weights, weights_that_answered
from trident.fusion.evidence import SILENT, fuse
from trident.fusion.policy import Weights, load_policy
from trident.fusion.taxonomy import load_taxonomy
from trident.layout import DEFAULT_REPOSITORY
from trident_client.errors import AnswerError
from trident_client.results import ModelVersion

NAMES = load_taxonomy().categories
SERVED = DEFAULT_REPOSITORY / "fusion" / "1"
OTHER_DIGEST = "sha256:" + "00" * 32

said = st.floats(0, 1, width=32)
evidences = arrays(np.float32, (80, 3), elements=st.one_of(st.just(SILENT), said), fill=st.just(SILENT))
# Not all that a policy may hold: the product of a weight of 1e-320 and a score has no digits left.
weight = st.one_of(st.just(0.0), st.floats(1e-3, 1))
weights = st.builds(Weights, weight, weight, weight)


def seen(seed=0, entities=((0, 0.9), (2, 0.7))):
    """Evidence as three branches give it: the classifier of 63 categories, the detector of all, entities of few."""
    chance = np.random.default_rng(seed)
    evidence = np.full((80, 3), SILENT)
    evidence[:63, 0] = chance.random(63) ** 6
    evidence[:, 1] = chance.random(80) ** 4
    for category, score in entities:
        evidence[category, 2] = score
    return evidence


def as_sent(evidence, policy):
    """Scores and evidence as they travel: FP32."""
    return fuse(evidence, policy).astype(np.float32), evidence.astype(np.float32)


@settings(max_examples=60, deadline=None)
@given(evidences, weights)
def test_the_terms_sum_to_the_fused_score(evidence, policy):
    found = split(evidence, policy)
    np.testing.assert_allclose(found.scores, fuse(evidence.astype(np.float64), policy), rtol=0, atol=1e-12)


@settings(max_examples=60, deadline=None)
@given(evidences, weights)
def test_the_shares_sum_to_one_and_the_silent_have_none(evidence, policy):
    found = split(evidence, policy)
    weighed = ((evidence != SILENT) * [policy.classifier, policy.detector, policy.entities]).sum(axis=1) > 0
    np.testing.assert_allclose(found.shares.sum(axis=1), weighed.astype(float), atol=1e-12)
    assert not found.shares[evidence == SILENT].any()
    assert not found.terms[evidence == SILENT].any()


@settings(max_examples=30, deadline=None)
@given(evidences, weights, st.floats(0.01, 1))
def test_only_the_ratios_of_the_weights_count(evidence, policy, factor):
    scaled = Weights(policy.classifier * factor, policy.detector * factor, policy.entities * factor)
    np.testing.assert_allclose(split(evidence, policy).terms, split(evidence, scaled).terms, atol=1e-9)


def test_without_a_branch_is_the_mean_of_the_others():
    evidence = np.full((80, 3), SILENT)
    evidence[0] = 0.2, 0.8, 0.5
    parts = split(evidence, Weights(classifier=0.5, detector=1.0, entities=0.5)).parts(0)
    assert [part.branch for part in parts] == list(BRANCHES)
    assert [part.adds for part in parts] == pytest.approx([0.05, 0.4, 0.125])
    assert [part.without for part in parts] == pytest.approx([(0.8 + 0.25) / 1.5, 0.35, (0.1 + 0.8) / 1.5])


def test_a_branch_that_stands_alone_leaves_nothing():
    evidence = np.full((80, 3), SILENT)
    evidence[7, 1] = 0.6
    (part,) = split(evidence, Weights(0.3, 1.0, 1.0)).parts(7)
    assert (part.branch, part.adds, part.share, part.without) == ("detector", 0.6, 1.0, 0.0)


def test_another_shape_is_refused():
    with pytest.raises(ValueError, match=r"expected shape \(80, 3\), got \(3, 80\)"):
        split(np.zeros((3, 80)), Weights(1, 1, 1))


def test_categories_are_shown_from_the_threshold_on_and_the_best_always():
    evidence = np.full((80, 3), SILENT)
    evidence[:, 1] = 0.0
    evidence[[5, 9], 1] = 0.4, 0.6
    found = split(evidence, Weights(0.3, 1.0, 1.0))
    assert [row.name for row in splits_above(found, NAMES, 0.4)] == [NAMES[9], NAMES[5]]
    assert [row.name for row in splits_above(found, NAMES, 0.9)] == [NAMES[9]]
    assert split_of(found, NAMES, 5).score == pytest.approx(0.4)


@pytest.mark.parametrize(
    "policy",
    [
        pytest.param(Weights(0.3, 1.0, 1.0), id="as served"),
        pytest.param(Weights(1.0, 0.05, 0.4), id="the classifier leads"),
        pytest.param(Weights(0.0, 1.0, 0.5), id="the classifier does not count"),
        pytest.param(Weights(0.5, 0.0, 0.5), id="the detector does not count"),
    ],
)
@pytest.mark.parametrize("seed", range(3))
def test_the_weights_can_be_worked_out_of_an_answer(policy, seed):
    found = solve_weights(*as_sent(seen(seed), policy))
    largest = max(policy.classifier, policy.detector, policy.entities)
    expected = [policy.classifier / largest, policy.detector / largest, policy.entities / largest]
    assert [found.classifier, found.detector, found.entities] == pytest.approx(expected, abs=1e-4)


def test_a_branch_that_never_speaks_needs_no_weight():
    found = solve_weights(*as_sent(seen(entities=()), Weights(0.3, 1.0, 1.0)))
    assert (found.classifier, found.detector, found.entities) == (pytest.approx(0.3, abs=1e-4), 1.0, 0.0)


def test_branches_that_always_agree_leave_the_weights_open():
    evidence = seen()
    evidence[:63, 0] = evidence[:63, 1]
    with pytest.raises(AnswerError, match=r"several weightings explain.*--model-repository"):
        solve_weights(*as_sent(evidence, Weights(0.3, 1.0, 1.0)))


def test_nobody_speaks():
    with pytest.raises(AnswerError, match="a branch that speaks"):
        solve_weights(np.zeros(80), np.full((80, 3), SILENT))


def test_the_policy_counts_where_its_digest_is_that_of_the_answer():
    policy = load_policy(SERVED / "policy.json").weights
    answered = ModelVersion(1, digest_of_component("fusion", SERVED))
    known = weights_that_answered(answered, *as_sent(seen(), policy), DEFAULT_REPOSITORY)
    assert known.weights == policy
    assert known.source.startswith("the policy of fusion 1")


@pytest.mark.parametrize("there", [pytest.param(True, id="other files"), pytest.param(False, id="no files")])
def test_without_the_files_that_answered_the_answer_tells(tmp_path, there):
    if there:
        # A policy with another weight: to believe it would give other terms.
        shutil.copytree(SERVED, tmp_path / "fusion" / "1", ignore=shutil.ignore_patterns("__pycache__"))
        file = tmp_path / "fusion" / "1" / "policy.json"
        file.write_text(file.read_text().replace('"classifier": 0.3,', '"classifier": 0.9,'))
        assert load_policy(file).weights.classifier == 0.9
    answered = ModelVersion(1, digest_of_component("fusion", SERVED))
    known = weights_that_answered(answered, *as_sent(seen(), Weights(0.3, 1.0, 1.0)), tmp_path)
    assert known.weights.classifier == pytest.approx(0.3, abs=1e-4)
    assert known.source.startswith("worked out of the answer")


@pytest.mark.parametrize("digest", [None, OTHER_DIGEST], ids=["by the policy", "worked out"])
def test_scores_that_are_no_weighted_mean_are_not_explained(digest):
    evidence = seen()
    scores, sent = as_sent(evidence, load_policy(SERVED / "policy.json").weights)
    scores[3] += 0.01
    answered = ModelVersion(1, digest or digest_of_component("fusion", SERVED))
    with pytest.raises(AnswerError, match="away from it"):
        weights_that_answered(answered, scores, sent, DEFAULT_REPOSITORY)
