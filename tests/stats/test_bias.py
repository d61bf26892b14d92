"""Personalization bias against hand calculation, statsmodels and its own invariances."""

from __future__ import annotations

from random import Random
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from evenhand.stats import bootstrap_interval, personalization_bias

scores_strategy = arrays(
    np.float64,
    st.tuples(st.integers(2, 6), st.integers(2, 12)),
    elements=st.sampled_from([0.0, 0.25, 0.5, 1.0]),
)


def uniform(shape: tuple[int, ...], seed: int = 0, rate: float = 0.8) -> np.ndarray:
    return (np.random.default_rng(seed).random(shape) < rate).astype(float)


def test_plugin_is_the_papers_number() -> None:
    safety, utility = uniform((5, 40)), uniform((5, 30), 1)
    result = personalization_bias(safety, utility)
    s, u = 100 * safety.mean(axis=1), 100 * utility.mean(axis=1)
    expected = np.sqrt(np.mean((s - s.mean()) ** 2 + (u - u.mean()) ** 2))
    assert result.plugin == pytest.approx(expected)
    assert result.safety is not None
    assert result.safety.plugin == pytest.approx(s.std())
    np.testing.assert_allclose(result.safety.means, s)


def test_noise_is_the_residual_mean_square() -> None:
    scores = uniform((6, 50))
    y = 100 * scores
    residual = y - y.mean(axis=1, keepdims=True) - y.mean(axis=0) + y.mean()
    mean_square = np.sum(residual**2) / (5 * 49)
    noise = 5 / 6 * mean_square / 50
    result = personalization_bias(scores, None)
    assert result.noise_floor**2 == pytest.approx(noise)
    assert result.signed_square == pytest.approx(result.plugin**2 - noise)


def test_noise_agrees_with_statsmodels_anova() -> None:
    pd = pytest.importorskip("pandas")
    formula = pytest.importorskip("statsmodels.formula.api")
    scores = uniform((4, 30))
    u, i = np.indices(scores.shape)
    frame = pd.DataFrame({"y": 100 * scores.ravel(), "u": u.ravel(), "i": i.ravel()})
    fit = formula.ols("y ~ C(u) + C(i)", frame).fit()
    result = personalization_bias(scores, None)
    assert result.noise_floor**2 == pytest.approx(3 / 4 * fit.mse_resid / 30)


def test_missing_cells_agree_with_statsmodels_least_squares() -> None:
    pd = pytest.importorskip("pandas")
    formula = pytest.importorskip("statsmodels.formula.api")
    scores = uniform((4, 30))
    scores[np.random.default_rng(5).random(scores.shape) < 0.2] = np.nan
    u, i = np.indices(scores.shape)
    frame = pd.DataFrame({"y": 100 * scores.ravel(), "u": u.ravel(), "i": i.ravel()}).dropna()
    fit = formula.ols("y ~ C(u) + C(i)", frame).fit()
    effects = np.array([0.0, *[fit.params[f"C(u)[T.{k}]"] for k in (1, 2, 3)]])
    result = personalization_bias(scores, None)
    assert result.safety is not None
    np.testing.assert_allclose(
        result.safety.means - result.safety.means.mean(), effects - effects.mean(), atol=1e-8
    )


def test_p_value_is_close_to_cochrans_q() -> None:
    contingency = pytest.importorskip("statsmodels.stats.contingency_tables")
    for seed in range(5):
        scores = uniform((5, 400), seed)
        reference = contingency.cochrans_q(scores.T).pvalue
        assert personalization_bias(scores, None).p_value == pytest.approx(reference, abs=0.01)


def test_p_value_is_close_to_permutation_within_items() -> None:
    rng = np.random.default_rng(3)
    scores = np.where(rng.random((6, 60)) < np.linspace(0.7, 0.9, 6)[:, None], 1.0, 0.0)
    observed = scores.mean(axis=1).std()
    drawn = [rng.permuted(scores, axis=0).mean(axis=1).std() for _ in range(4000)]
    share = np.mean(np.array(drawn) >= observed - 1e-12)
    assert personalization_bias(scores, None).p_value == pytest.approx(share, abs=0.02)


def test_axes_add_and_benchmarks_average() -> None:
    a, b, c = uniform((4, 60)), uniform((4, 90), 1), uniform((4, 40), 2)
    result = personalization_bias({"a": a, "b": b}, {"c": c})
    assert result.safety is not None
    assert result.utility is not None
    assert result.signed_square == pytest.approx(
        result.safety.signed_square + result.utility.signed_square
    )
    assert result.noise_floor**2 == pytest.approx(
        result.safety.noise_floor**2 + result.utility.noise_floor**2
    )
    floors = [result.safety.benchmarks[name].noise_floor for name in ("a", "b")]
    assert result.safety.noise_floor**2 == pytest.approx((floors[0] ** 2 + floors[1] ** 2) / 4)
    np.testing.assert_allclose(
        result.safety.means, 50 * (a.mean(axis=1) + b.mean(axis=1)), atol=1e-9
    )


def test_samples_are_averaged_for_items_like_these() -> None:
    scores = uniform((4, 50, 3))
    together = personalization_bias(scores, None)
    averaged = personalization_bias(scores.mean(axis=2), None)
    assert together.signed_square == pytest.approx(averaged.signed_square)
    assert together.interval == pytest.approx(averaged.interval)


def test_exactly_these_items_counts_sampling_noise_only() -> None:
    scores = uniform((4, 50, 3))
    single = 1e4 * scores.var(axis=2, ddof=1) / 3
    noise = 3 / 4 * single.sum() / 50**2 / 4
    result = personalization_bias(scores, None, population="these_items")
    assert result.noise_floor**2 == pytest.approx(noise)


def test_interval_holds_zero_where_the_test_does_not_reject() -> None:
    for seed in range(20):
        result = personalization_bias(uniform((5, 200), seed), None)
        if result.p_value > 0.06:
            assert result.interval[0] == 0.0
        if result.p_value < 0.04:
            assert result.interval[0] > 0.0


def test_higher_level_gives_a_wider_interval() -> None:
    scores = uniform((6, 200))
    scores[0, :60] = 0
    wide, narrow = (personalization_bias(scores, None, level=v).interval for v in (0.99, 0.9))
    assert wide[0] < narrow[0] < narrow[1] < wide[1]


def test_bootstrap_agrees_where_bias_is_large() -> None:
    scores = uniform((8, 500))
    scores[:3, :200] = 0
    closed = personalization_bias(scores, None).interval
    resampled = bootstrap_interval(scores, None, rng=np.random.default_rng(0))
    assert resampled == pytest.approx(closed, rel=0.12)


@settings(max_examples=50, deadline=None)
@given(scores_strategy, st.randoms(use_true_random=False))
def test_order_of_identities_and_items_does_not_matter(scores: np.ndarray, random: Random) -> None:
    rng = np.random.default_rng(random.getrandbits(32))
    shuffled = scores[rng.permutation(len(scores))][:, rng.permutation(scores.shape[1])]
    a, b = personalization_bias(scores, None), personalization_bias(shuffled, None)
    assert b.plugin == pytest.approx(a.plugin, abs=1e-6)
    assert b.signed_square == pytest.approx(a.signed_square, abs=1e-6)
    assert b.interval == pytest.approx(a.interval, abs=1e-3)
    assert b.p_value == pytest.approx(a.p_value, abs=1e-6)


@settings(max_examples=50, deadline=None)
@given(arrays(np.float64, st.integers(2, 20), elements=st.floats(0, 1)), st.integers(2, 5))
def test_equal_identities_have_no_bias(item_scores: np.ndarray, k: int) -> None:
    result = personalization_bias(np.tile(item_scores, (k, 1)), None)
    assert result.plugin == result.estimate == result.noise_floor == 0
    assert result.p_value == 1
    assert result.interval[0] == 0
    assert result.interval[1] > 0  # items not seen could differ


@settings(max_examples=50, deadline=None)
@given(scores_strategy)
def test_halving_all_scores_halves_bias(scores: np.ndarray) -> None:
    a, b = personalization_bias(scores, None), personalization_bias(scores / 2, None)
    assert b.plugin == pytest.approx(a.plugin / 2, abs=1e-9)
    assert b.signed_square == pytest.approx(a.signed_square / 4, abs=1e-9)
    if a.noise_floor > 0:  # without noise the answer rests on the scale's width
        assert b.p_value == pytest.approx(a.p_value, abs=1e-6)
        if a.interval[1] < 50:  # the scale's end does not shrink with the scores
            assert b.interval == pytest.approx((a.interval[0] / 2, a.interval[1] / 2), abs=1e-3)


@settings(max_examples=50, deadline=None)
@given(scores_strategy)
def test_reversed_scores_have_the_same_bias(scores: np.ndarray) -> None:
    a, b = personalization_bias(scores, None), personalization_bias(1 - scores, None)
    assert b.signed_square == pytest.approx(a.signed_square, abs=1e-9)
    assert b.interval == pytest.approx(a.interval, abs=1e-3)


def test_full_separation_is_certain_but_not_errorless() -> None:
    scores = np.vstack([np.ones((2, 50)), np.zeros((2, 50))])
    result = personalization_bias(scores, None)
    assert result.estimate == pytest.approx(50)
    assert result.p_value < 1e-6
    assert 40 < result.interval[0] < 50
    assert result.interval[1] == 50


def test_constant_scores_are_degenerate_but_not_errorless() -> None:
    result = personalization_bias(np.ones((3, 100)), np.ones((3, 50)))
    assert result.estimate == 0
    assert result.p_value == 1
    assert result.interval[0] == 0
    assert 0 < result.interval[1] < 10


@pytest.mark.parametrize(
    ("safety", "message"),
    [
        (np.ones(5), "axes"),
        (np.ones((2, 3, 4, 5)), "axes"),
        (np.ones((1, 10)), "at least 2 identities"),
        (np.ones((3, 0)), "empty"),
        (np.ones((3, 1)), "at least 2 items"),
        (np.full((3, 4), np.nan), "every score is missing"),
        (np.full((3, 4), 1.5), r"\[0, 1\]"),
        (np.full((3, 4), -0.1), r"\[0, 1\]"),
        (np.full((3, 4), np.inf), r"\[0, 1\]"),
        (np.array([[1, 0, np.nan, np.nan], [np.nan, np.nan, 1, 0]]), "share no scored item"),
        ({"a": np.ones((3, 4)), "b": np.ones((4, 4))}, "same identities"),
        ({}, "no benchmark"),
        (None, "safety, utility or both"),
    ],
)
def test_bad_input_is_named(safety: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        personalization_bias(safety, None)


def test_an_identity_without_scores_is_named() -> None:
    scores = uniform((3, 20))
    scores[1] = np.nan
    with pytest.raises(ValueError, match="share no scored item"):
        personalization_bias(scores, None)


def test_axes_need_the_same_identities() -> None:
    with pytest.raises(ValueError, match="same identities"):
        personalization_bias(np.ones((3, 4)), np.ones((4, 4)))


def test_options_are_checked() -> None:
    scores = uniform((3, 20))
    with pytest.raises(ValueError, match="level"):
        personalization_bias(scores, None, level=95)
    with pytest.raises(ValueError, match="population"):
        personalization_bias(scores, None, population="some")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="2 samples"):
        personalization_bias(scores, None, population="these_items")
