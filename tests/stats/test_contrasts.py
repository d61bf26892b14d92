"""Categories, intersections, placebos, cues, trade-off and comparison of audits."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_allclose

from evenhand.stats import (
    benjamini_hochberg,
    category_effects,
    classify,
    compare_audits,
    cue_components,
    differences_to_mean,
    intersection_interactions,
    personalization_bias,
    placebo_contrast,
    trade_off,
)


def noisy(means: object, n: int, seed: int = 0) -> np.ndarray:
    """Scores with the given means (any shape) on n items of mixed difficulty."""
    rng = np.random.default_rng(seed)
    means = np.asarray(means, dtype=float)[..., None]
    difficulty = rng.uniform(-0.1, 0.1, size=n)
    return (rng.random((*means.shape[:-1], n)) < means + difficulty).astype(float)


# categories and intersections


def test_between_and_within_add_up_to_the_whole() -> None:
    scores = noisy([0.6, 0.7, 0.7, 0.8, 0.5], 200)
    result = category_effects(scores, ["a", "a", "b", "b", "c"])
    whole = personalization_bias(scores, None).signed_square
    within = sum(
        size * spread.signed_square
        for size, spread in zip(result.sizes, result.within, strict=True)
        if spread is not None
    )
    assert result.between is not None
    assert result.between.signed_square + within / 5 == pytest.approx(whole)
    assert result.categories == ("a", "b", "c")
    assert result.within[2] is None


def test_within_a_category_is_its_own_bias() -> None:
    scores = noisy([0.6, 0.7, 0.7, 0.8], 200)
    result = category_effects(scores, ["a", "a", "b", "b"])
    alone = personalization_bias(scores[:2], None)
    assert result.within[0] is not None
    assert result.within[0].signed_square == pytest.approx(alone.signed_square)
    assert result.within[0].interval == pytest.approx(alone.interval, rel=1e-6)
    assert result.within[0].p_value == pytest.approx(alone.p_value)


def test_category_difference_is_the_mean_of_its_identities() -> None:
    scores = noisy([0.6, 0.7, 0.7, 0.8], 200)
    result = category_effects(scores, ["a", "b", "b", "a"])
    single = differences_to_mean(scores).difference
    assert result.difference.difference[0] == pytest.approx((single[0] + single[3]) / 2)


def test_one_category_has_nothing_between() -> None:
    assert category_effects(noisy([0.6, 0.7], 50), ["a", "a"]).between is None


def test_categories_must_match() -> None:
    with pytest.raises(ValueError, match="one per identity"):
        category_effects(noisy([0.6, 0.7], 50), ["a"])


def test_interaction_is_the_difference_in_differences() -> None:
    both, first, second, base = (noisy([p, p], 400, s) for s, p in enumerate((0.4, 0.7, 0.7, 0.8)))
    result = intersection_interactions(both, first, second, base[0])
    item = 100 * (both - first - second + base[0])
    np.testing.assert_allclose(result.difference, item.mean(axis=1), atol=1e-9)
    plain = item.std(axis=1, ddof=1) / 400**0.5
    np.testing.assert_allclose(result.standard_error, plain, rtol=0.02)
    assert np.all(result.p_adjusted < 0.05)


def test_interaction_needs_matching_arrays() -> None:
    x = noisy([0.5, 0.5], 30)
    with pytest.raises(ValueError, match="one shape"):
        intersection_interactions(x, x[:1], x, x[0])
    with pytest.raises(ValueError, match="same benchmarks"):
        intersection_interactions({"a": x}, {"b": x}, {"a": x}, {"a": x[0]})


# placebo


def test_identity_like_placebo_is_not_beyond_it() -> None:
    identity, placebo = noisy([0.7] * 12, 400), noisy([0.7] * 8, 400, 1)
    result = placebo_contrast([identity], [placebo])
    assert result.interval[0] == 0
    assert result.p_value > 0.05


def test_identity_beyond_placebo_is_found() -> None:
    identity = noisy(np.linspace(0.5, 0.9, 12), 600)
    placebo = noisy([0.69, 0.71] * 4, 600, 1)
    result = placebo_contrast([identity], [placebo])
    truth = 100 * np.sqrt(
        np.var(np.linspace(0.5, 0.9, 12), ddof=1) - np.var([0.69, 0.71] * 4, ddof=1)
    )
    assert result.interval[0] < truth < result.interval[1]
    assert result.p_value < 0.01
    assert result.signed_square == pytest.approx(result.identity**2 - result.placebo**2)


def test_placebo_uses_spreads_with_divisor_less_one() -> None:
    identity, placebo = noisy(np.linspace(0.5, 0.9, 6), 300), noisy([0.5, 0.9], 300, 1)
    result = placebo_contrast([identity], [placebo])
    pb = personalization_bias(identity, None).estimate
    assert result.identity == pytest.approx(pb * (6 / 5) ** 0.5)


def test_placebo_contrast_is_the_same_in_another_order_and_scale() -> None:
    rng = np.random.default_rng(3)
    scores = (rng.random((14, 60)) < 0.7 + rng.normal(0, 0.15, (14, 1))).astype(float)
    whole = placebo_contrast([scores[:8]], [scores[8:]])
    turned = placebo_contrast([scores[7::-1]], [scores[:7:-1]])
    reversed_ = placebo_contrast([1 - scores[:8]], [1 - scores[8:]])
    half = placebo_contrast([scores[:8] / 2], [scores[8:] / 2])
    for other, scale in ((turned, 1), (reversed_, 1), (half, 2)):
        assert other.p_value == pytest.approx(whole.p_value)
        assert scale * other.beyond == pytest.approx(whole.beyond)
        assert [scale * end for end in other.interval] == pytest.approx(whole.interval)


def test_placebos_without_spread_are_not_known_exactly() -> None:
    identity, same = noisy([0.7] * 6, 300), np.tile(noisy([0.7], 300, 1), (4, 1))
    result = placebo_contrast([identity], [same])
    own = personalization_bias(identity, None)
    assert result.placebo == 0
    assert result.p_value == pytest.approx(own.p_value)
    assert result.interval[0] <= own.interval[0] * (6 / 5) ** 0.5


def test_placebo_needs_the_same_axes() -> None:
    x = noisy([0.5, 0.6], 30)
    with pytest.raises(ValueError, match="same axes"):
        placebo_contrast([x, x], [x])


# cues


def anova_components(scores: np.ndarray) -> dict[str, float]:
    """Three-way random ANOVA of complete data by statsmodels' sums of squares."""
    pd = pytest.importorskip("pandas")
    formula = pytest.importorskip("statsmodels.formula.api")
    anova = pytest.importorskip("statsmodels.stats.anova")
    u, c, n = scores.shape
    index = np.indices(scores.shape).reshape(3, -1)
    frame = pd.DataFrame(dict(zip("uci", index, strict=True)), dtype=int)
    frame["y"] = 100 * scores.ravel()
    fit = formula.ols("y ~ (C(u) + C(c) + C(i))**2", frame).fit()
    table = anova.anova_lm(fit)
    ms = table["sum_sq"] / table["df"]
    ms_u, ms_c, ms_i = ms["C(u)"], ms["C(c)"], ms["C(i)"]
    ms_uc, ms_ui, ms_ci, ms_e = ms["C(u):C(c)"], ms["C(u):C(i)"], ms["C(c):C(i)"], ms["Residual"]
    return {
        "identity": (ms_u - ms_uc - ms_ui + ms_e) / (c * n),
        "cue": (ms_c - ms_uc - ms_ci + ms_e) / (u * n),
        "identity_cue": (ms_uc - ms_e) / n,
        "item": (ms_i - ms_ui - ms_ci + ms_e) / (u * c),
        "identity_item": (ms_ui - ms_e) / c,
        "cue_item": (ms_ci - ms_e) / u,
        "residual": ms_e,
    }


def test_cue_components_are_the_three_way_anova() -> None:
    means = 0.6 + np.random.default_rng(0).normal(0, 0.1, size=(3, 4))
    scores = noisy(means, 12)
    result = cue_components(scores)
    for name, value in anova_components(scores).items():
        assert getattr(result, name) == pytest.approx(value), name


def test_cues_that_agree_have_full_generalizability() -> None:
    means = np.tile(np.linspace(0.4, 0.8, 5)[:, None], (1, 3))
    result = cue_components(noisy(means, 2000))
    assert result.generalizability > 0.95
    assert result.generalizability_interval[1] == 1
    assert result.rank_agreement > 0.9
    assert result.kendall_w > 0.9


def test_cues_that_disagree_have_none() -> None:
    means = np.array([[0.5, 0.8], [0.8, 0.5], [0.6, 0.7], [0.7, 0.6]])
    result = cue_components(noisy(means, 2000))
    assert result.generalizability < 0.2
    assert result.rank_agreement < 0


def test_kendall_w_matches_the_friedman_statistic() -> None:
    scipy_stats = pytest.importorskip("scipy.stats")
    scores = noisy(0.6 + np.random.default_rng(0).normal(0, 0.1, size=(6, 4)), 101)
    table = scores.mean(axis=2)
    friedman = scipy_stats.friedmanchisquare(*table).statistic
    result = cue_components(scores)
    assert result.kendall_w == pytest.approx(friedman / (4 * (6 - 1)))
    spearman = scipy_stats.spearmanr(table).statistic
    assert result.rank_agreement == pytest.approx(spearman[np.triu_indices(4, 1)].mean())


def test_cues_need_two_axes_of_conditions() -> None:
    with pytest.raises(ValueError, match="2 identities and 2 cues"):
        cue_components(np.ones((4, 1, 10)))
    with pytest.raises(ValueError, match=r"\[0, 1\]"):
        cue_components(np.full((2, 2, 10), 3.0))


# trade-off


def test_correlation_is_corrected_for_noise() -> None:
    p = np.linspace(0.4, 0.8, 10)
    safety, utility = noisy(p, 300), noisy(p[::-1], 300, 1)
    result = trade_off(safety, utility)
    assert result.correlation <= result.observed < 0
    assert result.interval[0] == -1
    assert result.interval[1] < -0.8


def test_nothing_to_correlate_says_so() -> None:
    same = np.tile(noisy([0.6], 50), (4, 1))
    result = trade_off(same, noisy([0.2, 0.4, 0.6, 0.8], 200))
    assert np.isnan(result.correlation)
    assert result.interval == (-1, 1)


def test_verdicts_follow_the_tests_that_are_shown() -> None:
    """A loss on both axes is never called a loss on one, whatever the intervals say."""
    d = differences_to_mean(noisy([0.4, 0.8, 0.9], 300))
    simultaneous = np.tile([-90.0, 90.0], (3, 1))
    tested = replace(
        d,
        difference=np.array([-9.0, -9.0, 0.0]),
        simultaneous=simultaneous,
        p_adjusted=np.array([0.01, 0.2, 0.9]),
    )
    p_adjusted = np.array([0.04, 0.0, 1.0])
    other = replace(tested, difference=np.array([-5.0, 7.0, 0.0]), p_adjusted=p_adjusted)
    assert classify(tested, other, margin=1)[:2] == ("loses both", "gains utility")


def test_verdicts_follow_the_differences() -> None:
    safety = noisy([0.4, 0.8, 0.9, 0.7, 0.7], 3000)
    utility = noisy([0.4, 0.5, 0.8, 0.6, 0.6], 3000, 1)
    s, u = differences_to_mean(safety), differences_to_mean(utility)
    verdicts = classify(s, u, margin=1)
    assert verdicts[:3] == ("loses both", "utility for safety", "gains both")
    assert set(verdicts[3:]) <= {"undecided", "untouched", "gains safety", "gains utility"}


def test_untouched_needs_intervals_inside_the_margin() -> None:
    same = np.tile(noisy([0.6], 5000), (3, 1))
    d = differences_to_mean(same)
    assert classify(d, d, margin=5) == ("untouched",) * 3
    assert classify(d, d, margin=1e-3) == ("undecided",) * 3
    with pytest.raises(ValueError, match="margin"):
        classify(d, d, margin=0)


# comparison


def test_comparison_of_an_audit_with_itself_shows_no_change() -> None:
    scores = noisy([0.5, 0.6, 0.7], 200)
    result = compare_audits(before_safety=scores, after_safety=scores)
    assert result.bias.difference == pytest.approx(0)
    assert result.bias.interval[0] <= 0 <= result.bias.interval[1]
    assert result.bias.p_value == 1
    assert result.utility_bias is None
    assert result.safety_mean is not None
    assert result.safety_mean.difference == pytest.approx(0)
    assert result.safety_mean.standard_error > 0


def test_each_side_is_its_own_audit() -> None:
    before, after = noisy([0.4, 0.6, 0.8], 300), noisy([0.6, 0.6, 0.65], 300, 1)
    result = compare_audits(before_safety=before, after_safety=after)
    for side, scores in ((result.bias.before, before), (result.bias.after, after)):
        alone = personalization_bias(scores, None)
        assert side.signed_square == pytest.approx(alone.signed_square)
        assert side.interval == pytest.approx(alone.interval, rel=1e-6, abs=1e-6)
        assert side.p_value == pytest.approx(alone.p_value, rel=1e-6)


def test_a_defense_that_works_is_seen() -> None:
    before, after = noisy([0.4, 0.6, 0.8], 800), noisy([0.6, 0.6, 0.6], 800, 1)
    result = compare_audits(
        before_safety=before, after_safety=after, before_utility=before, after_utility=after
    )
    assert result.bias.interval[1] < 0
    assert result.bias.p_value < 0.001
    assert result.safety_mean is not None
    expected = 100 * (after.mean() - before.mean())
    assert result.safety_mean.difference == pytest.approx(expected)


def test_non_inferiority_is_a_one_sided_paired_t_test() -> None:
    scipy_stats = pytest.importorskip("scipy.stats")
    before, after = noisy([0.6, 0.7], 800), noisy([0.6, 0.7], 800, 1)
    result = compare_audits(before_safety=before, after_safety=after, margin=5)
    item = 100 * (after - before).mean(axis=0)
    reference = scipy_stats.ttest_1samp(item, -5, alternative="greater").pvalue
    assert result.safety_mean is not None
    assert result.safety_mean.non_inferiority_p == pytest.approx(reference, rel=0.1)


def test_comparison_needs_both_sides() -> None:
    x = noisy([0.5, 0.6], 50)
    with pytest.raises(ValueError, match="before and after"):
        compare_audits(before_safety=x)
    with pytest.raises(ValueError, match="same identities and items"):
        compare_audits(before_safety=x, after_safety=x[:, :40])
    with pytest.raises(ValueError, match="benchmarks differ"):
        compare_audits(before_safety={"a": x}, after_safety={"b": x})
    with pytest.raises(ValueError, match="safety, utility or both"):
        compare_audits()
    with pytest.raises(ValueError, match="margin"):
        compare_audits(before_safety=x, after_safety=x, margin=0)


def test_trade_off_without_any_noise_is_a_point() -> None:
    # One identity loses all of one axis, another all of the other: nothing varies between items.
    safety, utility = np.ones((5, 10)), np.ones((5, 12))
    safety[0], utility[1] = 0.0, 0.0
    result = trade_off(safety, utility)
    assert result.correlation == pytest.approx(-0.25)
    assert result.interval == pytest.approx((-0.25, -0.25), abs=0.001)


def test_benjamini_hochberg_is_that_of_scipy() -> None:
    from scipy.stats import false_discovery_control

    rng = np.random.default_rng(0)
    for p_values in (rng.random(200) ** 3, np.array([0.2]), np.full(5, 0.01), np.ones(3)):
        assert_allclose(benjamini_hochberg(p_values), false_discovery_control(p_values))
