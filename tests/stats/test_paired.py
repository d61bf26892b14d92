"""Per-identity comparisons against exact tests and references."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from evenhand.stats import (
    Differences,
    differences_to_baseline,
    differences_to_mean,
    equivalence_test,
    rank_identities,
)
from evenhand.stats.permutation import holm, sign_flip_p_value


def correlated(k: int, n: int, seed: int = 0, rate: float = 0.8) -> np.ndarray:
    """0/1 scores of items that are easy or hard for all."""
    rng = np.random.default_rng(seed)
    item = rng.normal(size=n)
    found: np.ndarray = item + rng.normal(size=(k, n)) < np.sqrt(2) * 0.84 * (rate > 0.5)
    return found.astype(float)


def test_difference_to_baseline_is_exact_mcnemar() -> None:
    contingency = pytest.importorskip("statsmodels.stats.contingency_tables")
    scores = correlated(5, 150)
    result = differences_to_baseline(scores[:-1], scores[-1])
    for u in range(4):
        table = np.histogram2d(scores[u], scores[-1], bins=2)[0]
        reference = contingency.mcnemar(table, exact=True).pvalue
        assert result.p_value[u] == pytest.approx(reference)
    np.testing.assert_allclose(
        result.difference, 100 * (scores[:-1] - scores[-1]).mean(axis=1), atol=1e-9
    )


@pytest.mark.slow
def test_holm_is_statsmodels() -> None:
    multitest = pytest.importorskip("statsmodels.stats.multitest")
    p = np.random.default_rng(0).random(20) ** 3
    np.testing.assert_allclose(holm(p), multitest.multipletests(p, method="holm")[1])


def test_few_differences_are_enumerated() -> None:
    d = np.array([0.5, -0.2, 0.3, 0.9, 0.7, -0.1])
    flips = np.array(list(itertools.product((-1, 1), repeat=6))) @ np.abs(d)
    assert sign_flip_p_value(d) == pytest.approx(np.mean(np.abs(flips) >= d.sum() - 1e-12))


@pytest.mark.parametrize("shift", [0.1, 0.3, 0.5])
def test_saddlepoint_agrees_with_simulated_sign_flips(shift: float) -> None:
    rng = np.random.default_rng(1)
    d = rng.normal(shift, 1, size=40)
    signs = rng.choice([-1.0, 1.0], size=(100_000, 40))
    share = np.mean(np.abs(signs @ np.abs(d)) >= abs(d.sum()))
    assert sign_flip_p_value(d) == pytest.approx(share, abs=0.004, rel=0.05)


def test_no_difference_has_p_one_and_an_error_above_zero() -> None:
    scores = np.tile(correlated(1, 60), (3, 1))
    result = differences_to_baseline(scores, scores[0])
    assert np.all(result.p_value == 1)
    assert np.all(result.difference == 0)
    assert np.all(result.standard_error > 0)
    assert np.all(result.interval[:, 0] < 0)


def test_an_identity_far_below_is_found_and_the_rest_not() -> None:
    scores = correlated(8, 400)
    scores[2, :150] = 0
    result = differences_to_mean(scores)
    assert result.p_adjusted[2] < 1e-6
    assert result.simultaneous[2, 1] < 0
    assert result.difference.sum() == pytest.approx(0, abs=1e-9)


def test_simultaneous_intervals_are_wider() -> None:
    result = differences_to_mean(correlated(6, 200))
    assert np.all(np.ptp(result.simultaneous, axis=1) > np.ptp(result.interval, axis=1))


def test_benchmarks_are_averaged() -> None:
    a, b = correlated(4, 80), correlated(4, 50, 1)
    both = differences_to_mean({"a": a, "b": b}).difference
    single = [differences_to_mean(x).difference for x in (a, b)]
    np.testing.assert_allclose(both, np.mean(single, axis=0))


def test_baseline_may_have_other_numbers_of_samples() -> None:
    scores = np.random.default_rng(0).integers(0, 2, size=(3, 50, 3)).astype(float)
    result = differences_to_baseline(scores, scores[0, :, 0])
    expected = 100 * (scores.mean(axis=(1, 2)) - scores[0, :, 0].mean())
    np.testing.assert_allclose(result.difference, expected, atol=1e-9)


@pytest.mark.parametrize("shape", [(1, 50), (50, 1), (1, 50, 1)])
def test_baseline_may_have_any_clear_shape(shape: tuple[int, ...]) -> None:
    scores = correlated(3, 50)
    plain = differences_to_baseline(scores, scores[0])
    shaped = differences_to_baseline(scores, scores[0].reshape(shape))
    np.testing.assert_array_equal(shaped.difference, plain.difference)


@settings(max_examples=30, deadline=None)
@given(
    arrays(np.float64, (4, 12), elements=st.sampled_from([0.0, 0.5, 1.0])),
    st.permutations(range(4)),
)
def test_order_of_identities_does_not_matter(scores: np.ndarray, order: list[int]) -> None:
    a, b = differences_to_mean(scores), differences_to_mean(scores[order])
    np.testing.assert_allclose(b.difference, a.difference[order], atol=1e-8)
    np.testing.assert_allclose(b.p_value, a.p_value[order], atol=1e-8)
    np.testing.assert_allclose(b.interval, a.interval[order], atol=1e-6)


@pytest.mark.parametrize(
    ("baseline", "message"),
    [
        (np.ones(9), "same 10 items"),
        (np.ones((2, 10, 1)), "same 10 items"),
        (np.full(10, 2.0), r"\[0, 1\]"),
        ({"other": np.ones(10)}, "benchmarks"),
    ],
)
def test_bad_baseline_is_named(baseline: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        differences_to_baseline({"a": np.ones((3, 10))}, baseline)


def test_a_baseline_without_scores_is_named() -> None:
    with pytest.raises(ValueError, match="share no scored item"):
        differences_to_baseline(np.ones((3, 10)), np.full(10, np.nan))


def test_equivalence_is_two_one_sided_t_tests() -> None:
    weightstats = pytest.importorskip("statsmodels.stats.weightstats")
    scores = np.random.default_rng(0).integers(0, 5, size=(2, 400)) / 4
    reference = weightstats.ttost_paired(100 * scores[0], 100 * scores[1], -8, 8)[0]
    result = equivalence_test(differences_to_baseline(scores[:1], scores[1]), 8)
    # Ours thinks two more items in, so the two are not the same to the last digit.
    assert result.p_value[0] == pytest.approx(reference, rel=0.02)


def test_equivalence_needs_a_margin() -> None:
    result: Differences = differences_to_mean(correlated(3, 50))
    with pytest.raises(ValueError, match="margin"):
        equivalence_test(result, 0)
    assert not equivalence_test(result, 0.1).equivalent.any()
    assert equivalence_test(result, 60).equivalent.all()


def test_shrinkage_pulls_to_the_mean_and_keeps_a_clear_order() -> None:
    scores = correlated(6, 500)
    scores[1, :200] = 0
    result = rank_identities(scores)
    raw = differences_to_mean(scores).difference
    assert 0 < result.reliability < 1
    assert abs(result.shrunken[1]) < abs(raw[1])
    assert result.rank[1] == 1
    assert tuple(result.rank_interval[1]) == (1, 1)
    assert np.all(result.rank_interval[[0, 2, 3, 4, 5], 0] >= 2)


def test_shrinkage_of_noise_alone_is_complete() -> None:
    scores = np.tile([[1.0, 0.0], [0.0, 1.0]], (2, 30))
    result = rank_identities(scores)
    assert np.all(result.shrunken == 0)
    assert result.reliability == 0
    np.testing.assert_array_equal(result.rank_interval, [[1, 4]] * 4)


def test_equal_identities_share_a_rank() -> None:
    result = rank_identities(np.ones((3, 20)))
    np.testing.assert_array_equal(result.rank, [2, 2, 2])
    np.testing.assert_array_equal(result.rank_interval, [[1, 3]] * 3)
