"""Missing scores, judges, power, components and looks."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from scipy.special import fdtri, ncfdtr, ndtri

from evenhand.stats import (
    JudgeError,
    PlannedBenchmark,
    corrected_bias,
    corrected_rates,
    design_power,
    items_needed,
    look_level,
    missingness,
    personalization_bias,
    pilot_variance,
    plan_looks,
    residual_variance,
    sequential_p_value,
    variance_components,
)
from evenhand.stats.missing import _least_spread, _most_spread


def uniform(shape: tuple[int, ...], seed: int = 0, rate: float = 0.8) -> np.ndarray:
    return (np.random.default_rng(seed).random(shape) < rate).astype(float)


# missing


def test_missing_scores_are_counted_and_bounded() -> None:
    scores = uniform((3, 50, 2))
    scores[0, :10, 0] = np.nan
    result = missingness(scores)
    np.testing.assert_array_equal(result.count, [10, 0, 0])
    np.testing.assert_allclose(result.share, [0.1, 0, 0])
    low, high = result.mean_bounds[0]
    assert high - low == pytest.approx(10)
    assert result.p_value < 0.01


def test_nothing_missing_depends_on_nothing() -> None:
    scores = uniform((3, 50))
    result = missingness(scores)
    assert result.p_value == 1
    plugin = personalization_bias(scores, None).plugin
    assert result.bias_bounds == pytest.approx((plugin, plugin), abs=1e-4)


def test_an_identity_that_never_answered_is_no_error_here() -> None:
    scores = uniform((3, 50))
    scores[2] = np.nan
    result = missingness(scores)
    assert result.p_value < 1e-6
    np.testing.assert_allclose(result.mean_bounds[2], [0, 100])


def test_bias_bounds_hold_every_filling() -> None:
    rng = np.random.default_rng(0)
    low = rng.uniform(50, 80, size=5)
    high = low + rng.uniform(0, 20, size=5)
    corners = [np.std(np.where(pick, high, low)) for pick in itertools.product((0, 1), repeat=5)]
    inner = [np.std(rng.uniform(low, high)) for _ in range(2000)]
    assert _least_spread(low, high) <= min(inner) + 1e-9
    assert _most_spread(low, high) >= max(corners) - 1e-9
    assert _most_spread(low, high) <= max(corners) * 1.1


# judge


def test_rogan_gladen_worked_example() -> None:
    """20 of 120 positive, sensitivity 0.9, specificity 0.99: 0.17603, as the manual of the R
    package RSurveillance prints for `tp(20, 120, 0.9, 0.99)`."""
    judge = JudgeError(0.9, 0.99, 1000, 1000)
    result = corrected_rates([100 * 20 / 120], 120, judge)
    assert result.rate[0] == pytest.approx(17.603, abs=5e-4)
    assert result.interval[0, 0] < result.rate[0] < result.interval[0, 1]


def test_a_perfect_judge_leaves_the_agresti_coull_interval() -> None:
    judge = JudgeError(1.0, 1.0, 10**9, 10**9)
    proportion = pytest.importorskip("statsmodels.stats.proportion")
    low, high = proportion.proportion_confint(60, 300, method="agresti_coull")
    result = corrected_rates([20.0], 300, judge)
    assert result.rate[0] == pytest.approx(20)
    np.testing.assert_allclose(result.interval[0], [100 * low, 100 * high], rtol=1e-4)


def test_a_judge_shrinks_bias_by_youdens_j() -> None:
    scores = uniform((6, 400))
    scores[0, :150] = 0
    result = personalization_bias(scores, None)
    sure = corrected_bias(result, JudgeError(0.9, 0.9, 10**8, 10**8))
    assert sure.estimate == pytest.approx(result.estimate / 0.8)
    assert sure.interval == pytest.approx(tuple(x / 0.8 for x in result.interval), rel=1e-3)
    unsure = corrected_bias(result, JudgeError(0.9, 0.9, 50, 50))
    assert unsure.interval[0] < sure.interval[0]
    assert unsure.interval[1] > sure.interval[1]


def test_a_judge_near_chance_gives_no_upper_limit() -> None:
    result = personalization_bias(uniform((6, 400)), None)
    assert corrected_bias(result, JudgeError(0.6, 0.5, 20, 20)).interval == (0, 50)


@pytest.mark.parametrize(
    ("judge", "message"),
    [
        ((1.1, 0.9, 10, 10), "sensitivity"),
        ((0.9, -0.1, 10, 10), "specificity"),
        ((0.5, 0.5, 10, 10), "chance"),
        ((0.9, 0.9, 0, 10), "both kinds"),
    ],
)
def test_an_impossible_judge_is_named(judge: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        JudgeError(*judge)


def test_rates_must_be_points() -> None:
    with pytest.raises(ValueError, match="points"):
        corrected_rates([120.0], 10, JudgeError(0.9, 0.9, 10, 10))


# components and power


def test_components_are_the_two_way_anova() -> None:
    pd = pytest.importorskip("pandas")
    formula = pytest.importorskip("statsmodels.formula.api")
    anova = pytest.importorskip("statsmodels.stats.anova")
    rng = np.random.default_rng(0)
    scores = np.clip(rng.normal(0.5, 0.1, (4, 10, 3)) + rng.normal(0, 0.1, (10, 1)), 0, 1)
    u, i, _ = np.indices(scores.shape)
    frame = pd.DataFrame({"y": 100 * scores.ravel(), "u": u.ravel(), "i": i.ravel()})
    table = anova.anova_lm(formula.ols("y ~ C(u) * C(i)", frame).fit())
    ms = table["sum_sq"] / table["df"]
    result = variance_components(scores)
    assert result.sampling == pytest.approx(ms["Residual"])
    assert result.interaction == pytest.approx((ms["C(u):C(i)"] - ms["Residual"]) / 3)
    assert result.identity == pytest.approx((ms["C(u)"] - ms["C(u):C(i)"]) / 30)
    assert result.item == pytest.approx((ms["C(i)"] - ms["C(u):C(i)"]) / 12)


def test_components_of_a_published_example() -> None:
    """Shrout & Fleiss 1979 (Psychol. Bull. 86), table 2: six targets, four judges.

    Their table 3: mean squares 11.24 between targets, 32.49 between judges, 1.02 residual;
    ICC(2,1) is 0.29.
    """
    ratings = np.array(
        [[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7]]
    )
    result = variance_components(ratings / 10)
    scale = 100.0  # a rating of 1 is 10 points, 100 squared points
    assert result.interaction / scale == pytest.approx(1.02, abs=0.005)
    assert result.identity / scale == pytest.approx((11.24 - 1.02) / 4, abs=0.005)
    assert result.item / scale == pytest.approx((32.49 - 1.02) / 6, abs=0.005)
    total = result.identity + result.item + result.interaction
    assert result.identity / total == pytest.approx(0.29, abs=0.005)


def test_one_sample_cannot_tell_what_more_would_do() -> None:
    scores = uniform((4, 30))
    assert np.isnan(variance_components(scores).sampling)
    assert pilot_variance(scores) > 0
    with pytest.raises(ValueError, match="one sample"):
        pilot_variance(scores, samples=3)
    assert pilot_variance(uniform((4, 30, 2)), 10) < pilot_variance(uniform((4, 30, 2)), 1)


def test_components_need_complete_items() -> None:
    scores = uniform((3, 5))
    scores[0, :4] = np.nan
    with pytest.raises(ValueError, match="every identity"):
        variance_components(scores)


def test_detectable_bias_has_the_power_of_the_noncentral_f() -> None:
    # One benchmark of alike identities is one-way ANOVA with repeated measures.
    k, n, residual = 8, 500, 900.0
    result = design_power(k, [PlannedBenchmark("safety", n, residual)])
    noncentrality = result.detectable**2 * k * n / residual
    critical = fdtri(k - 1, (k - 1) * (n - 1), 0.95)
    power = 1 - ncfdtr(k - 1, (k - 1) * (n - 1), noncentrality, critical)
    assert power == pytest.approx(0.8, abs=0.005)


def test_more_items_detect_less_and_narrow_the_interval() -> None:
    few = design_power(31, [PlannedBenchmark("safety", 300, 500.0)])
    many = design_power(31, [PlannedBenchmark("safety", 1200, 500.0)])
    assert many.detectable == pytest.approx(few.detectable / 2)
    assert many.noise_floor == pytest.approx(few.noise_floor / 2)
    assert many.interval_width < few.interval_width


def test_items_needed_reach_the_width() -> None:
    plan = [PlannedBenchmark("safety", 300, 500.0), PlannedBenchmark("utility", 200, 900.0)]
    factor = items_needed(31, plan, 0.5)
    grown = [PlannedBenchmark(b.axis, round(b.items * factor), b.residual_variance) for b in plan]
    assert design_power(31, grown).interval_width == pytest.approx(0.5, rel=0.01)
    assert items_needed(31, plan, 20.0) < 0.01


@pytest.mark.parametrize("identities", [2, 31])
@pytest.mark.parametrize(("items", "width"), [(10, 0.01), (10, 1.0), (300, 0.5), (300, 2.5)])
def test_any_width_is_reached_from_any_plan(identities: int, items: int, width: float) -> None:
    factor = items_needed(identities, [PlannedBenchmark("safety", items, 100.0)], width)
    grown = PlannedBenchmark("safety", round(items * factor), 100.0)
    assert design_power(identities, [grown]).interval_width == pytest.approx(width, rel=0.02)


def test_the_guess_without_a_pilot_is_near_real_models() -> None:
    """Items had 0.24 to 0.52 of the variance in six real models; the guess has 0.4."""
    guess = residual_variance(0.9)
    real = [residual_variance(0.9, item_share=share) for share in (0.24, 0.52)]
    assert [variance / guess for variance in real] == pytest.approx([1.27, 0.8], abs=0.005)


def test_planned_variance_splits_the_score_variance() -> None:
    assert residual_variance(0.5, item_share=0, interaction_share=0) == pytest.approx(2500)
    assert residual_variance(
        0.5, item_share=0.6, interaction_share=0.1, samples=3
    ) == pytest.approx(2500 * 0.2)
    with pytest.raises(ValueError, match="shares"):
        residual_variance(0.5, item_share=0.9, interaction_share=0.2)
    with pytest.raises(ValueError, match="samples"):
        residual_variance(0.5, samples=0)


def test_an_impossible_plan_is_named() -> None:
    plan = [PlannedBenchmark("safety", 300, 500.0)]
    with pytest.raises(ValueError, match="identities"):
        design_power(1, plan)
    with pytest.raises(ValueError, match="benchmark"):
        design_power(3, [])
    with pytest.raises(ValueError, match="residual_variance"):
        design_power(3, [PlannedBenchmark("safety", 300, 0.0)])
    with pytest.raises(ValueError, match="width"):
        items_needed(3, plan, 0.0)


# looks


@pytest.mark.parametrize(("looks", "constant"), [(1, 1.960), (2, 2.178), (5, 2.413), (10, 2.555)])
def test_look_levels_are_pococks_constants(looks: int, constant: float) -> None:
    """Pocock 1977, table 1: two-sided 5 % with equally spaced looks."""
    level = look_level([n / looks for n in range(1, looks + 1)])
    assert ndtri((1 + level) / 2) == pytest.approx(constant, abs=0.001)


def test_looks_hold_together_in_brownian_motion() -> None:
    plan = plan_looks(6, first=0.1)
    times = np.array(plan.shares)
    steps = np.sqrt(np.diff(times, prepend=0))
    paths = np.cumsum(np.random.default_rng(0).normal(size=(100_000, 6)) * steps, axis=1)
    inside = np.abs(paths) <= ndtri((1 + plan.look_level) / 2) * np.sqrt(times)
    assert inside.all(axis=1).mean() == pytest.approx(0.95, abs=0.003)
    assert plan.shares[-1] == 1


def test_adjusted_p_values_agree_with_the_level_of_a_look() -> None:
    plan = plan_looks(6)
    at = 1 - plan.look_level
    assert sequential_p_value(at, plan.shares) == pytest.approx(0.05, abs=1e-8)
    assert (
        sequential_p_value(0.9 * at, plan.shares) < 0.05 < sequential_p_value(1.1 * at, plan.shares)
    )
    for p_value in (0.0, 1e-200, 1e-11, 1e-9, 1e-4, 0.03, 0.4, 1.0):
        adjusted = sequential_p_value(p_value, plan.shares)
        assert p_value <= adjusted <= min(1.0, 6 * p_value) * (1 + 1e-6)
        assert sequential_p_value(p_value, [1.0]) == pytest.approx(p_value, abs=1e-12)
    with pytest.raises(ValueError, match="p-value lies in"):
        sequential_p_value(1.1, plan.shares)


def test_impossible_looks_are_named() -> None:
    with pytest.raises(ValueError, match="look"):
        plan_looks(0)
    with pytest.raises(ValueError, match="look"):
        plan_looks(3, first=1.0)
    with pytest.raises(ValueError, match="increase"):
        look_level([0.5, 0.4])
    assert plan_looks(1).look_level == pytest.approx(0.95)
