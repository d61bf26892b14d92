"""Scores that tell no identities apart: every figure bounds what other items may hide, alike."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from evenhand.stats import (
    Spread,
    category_effects,
    compare_audits,
    compare_axis,
    compare_logit,
    cue_components,
    logit_bias,
    personalization_bias,
    unpaired_groups,
)

Scores = NDArray[np.float64]
Draw = Callable[[np.random.Generator, int, int], Scores]

DRAWS: dict[str, Draw] = {
    "0/1": lambda rng, k, n: np.asarray(rng.random((k, n)) < 0.7, dtype=np.float64),
    "fifths": lambda rng, k, n: np.asarray(rng.integers(0, 6, (k, n)) / 5),
    "graded": lambda rng, k, n: np.asarray(rng.random((k, n))),
}


def even(draw: Draw, rng: np.random.Generator, k: int, n: int) -> Scores:
    return np.repeat(draw(rng, 1, n), k, axis=0)


def shifted(scores: Scores, most: float) -> Scores:
    """Every item treats the identities unequally in the same way."""
    return 0.3 + 0.4 * scores + np.linspace(-most, most, len(scores))[:, np.newaxis]


def rule_of_three(items: int) -> float:
    return float(50 * (1 - 0.025 ** (1 / items)))


@pytest.mark.parametrize("draw", DRAWS.values(), ids=list(DRAWS))
@pytest.mark.parametrize("k", [2, 5, 7, 31])
@pytest.mark.parametrize("seed", range(3))
def test_a_change_has_the_limits_of_the_single_figures(draw: Draw, k: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    noisy = [[draw(rng, k, n) for n in (10, 50)] for _ in range(2)]
    equal = [[even(draw, rng, k, n) for n in (10, 50)] for _ in range(2)]
    partly = [[equal[0][0], noisy[0][1]], [equal[1][0], noisy[1][1]]]
    moved = [[shifted(x, most) for x in equal[0]] for most in (0.2, 0.1)]
    pairs = [
        (noisy[0], equal[0]),
        (equal[0], noisy[0]),
        equal,
        (equal[0], equal[0]),
        partly,
        (noisy[0], partly[0]),
        (partly[0], equal[0]),
        (moved[0], equal[0]),
        moved,
        (moved[0], noisy[1]),
    ]
    for before, after in pairs:
        found = compare_audits(
            before_safety=before[0],
            before_utility=before[1],
            after_safety=after[0],
            after_utility=after[1],
        )
        one, other = personalization_bias(*before), personalization_bias(*after)
        for change, single in (
            (found.bias, (one, other)),
            (found.safety_bias, (one.safety, other.safety)),
            (found.utility_bias, (one.utility, other.utility)),
        ):
            assert change is not None
            for side, alone in zip((change.before, change.after), single, strict=True):
                assert alone is not None
                assert side.signed_square == pytest.approx(alone.signed_square, abs=1e-9)
                assert side.interval == pytest.approx(alone.interval, abs=1e-9)
                assert side.p_value == pytest.approx(alone.p_value, abs=1e-9)
            ends = (-change.before.interval[1], change.after.interval[1])
            if change.before.interval[0] == 0:
                assert change.interval[1] == ends[1]
            if change.after.interval[0] == 0:
                assert change.interval[0] == ends[0]
            assert (change.interval[0] <= 0 <= change.interval[1]) == (change.p_value >= 0.05)


def test_even_after_is_no_surer_than_ten_items_are() -> None:
    rng = np.random.default_rng(1)
    before = [rng.random((5, n)) for n in (10, 50)]
    after = [np.repeat(rng.random((1, n)), 5, axis=0) for n in (10, 50)]
    found = compare_audits(
        before_safety=before[0],
        before_utility=before[1],
        after_safety=after[0],
        after_utility=after[1],
    )
    assert found.bias.after.interval == pytest.approx((0, rule_of_three(10)))
    assert found.bias.interval[1] == pytest.approx(rule_of_three(10))


def test_a_large_bias_that_vanished_came_down() -> None:
    rng = np.random.default_rng(2)
    before = (rng.random((6, 100)) < np.linspace(0.05, 0.95, 6)[:, np.newaxis]) * 1.0
    after = np.repeat(rng.random((1, 100)), 6, axis=0)
    found = compare_axis(before, after).bias
    assert found.p_value < 0.01
    assert found.interval[1] < -15
    assert found.interval[1] > found.difference + 1


@pytest.mark.parametrize("seed", range(10))
def test_rounding_is_no_noise(seed: int) -> None:
    rng = np.random.default_rng(seed)
    exact = np.repeat(rng.random((1, 40)), 7, axis=0)
    rounded = np.clip(exact * (1 + 1e-15 * rng.standard_normal(exact.shape)), 0, 1)
    samples = rng.permuted(np.repeat(rng.random((1, 40, 5)), 7, axis=0), axis=2)
    missing = np.where(rng.random(exact.shape) < 0.2, np.nan, exact)
    limits = pytest.approx((0, rule_of_three(40)))
    before = rng.random((7, 40))
    for scores in (exact, rounded, samples, missing, 1e-3 * rounded):
        assert personalization_bias(scores, None).interval == limits
        assert compare_axis(before, scores).bias.after.interval == limits
        assert compare_axis(scores, before).bias.before.interval == limits
        apart = compare_axis(scores, exact).bias
        assert apart.before.interval == apart.after.interval == limits
        assert apart.p_value == 1
    topics = np.arange(40) // 4
    clustered = compare_axis(before, exact, clusters={"scores": topics}).bias.after
    alone = personalization_bias(exact, None, clusters={"safety": topics})
    assert clustered.interval == alone.interval == pytest.approx((0, rule_of_three(10)))


def test_a_difference_that_is_small_is_none_of_rounding() -> None:
    """A thousandth of a point in one answer is noise that is there."""
    scores = np.full((5, 40), 0.5)
    scores[2, 7] += 1e-5
    before = np.random.default_rng(0).random((5, 40))
    single = personalization_bias(scores, None)
    assert single.noise_floor > 0
    after = compare_axis(before, scores).bias.after
    assert after.noise_floor == pytest.approx(single.noise_floor)
    assert after.interval == pytest.approx(single.interval, rel=1e-6)


@pytest.mark.parametrize("seed", range(20))
def test_an_axis_without_noise_counts_for_both(seed: int) -> None:
    rng = np.random.default_rng(seed)
    k, n = int(rng.integers(2, 9)), int(rng.integers(3, 60))
    still = np.repeat(rng.random((1, n)), k, axis=0)
    if seed % 2:
        still = shifted(still, 0.05 * (seed % 5))
    other = (rng.random((k, 80)) < np.linspace(0.5, 0.5 + 0.1 * (seed % 4), k)[:, np.newaxis]) * 1.0
    both = personalization_bias(still, other)
    assert both.safety is not None
    assert both.utility is not None
    for axis in (both.safety, both.utility):
        assert both.interval[1] >= min(axis.interval[1], both.estimate)
    assert both.interval[1] >= both.safety.interval[1]
    assert both.interval[0] <= both.estimate <= both.interval[1]
    assert (both.interval[0] > 0) == (both.p_value < 0.05)
    wider = personalization_bias(still, other, level=0.99)
    assert wider.interval[0] <= both.interval[0]
    assert wider.interval[1] >= both.interval[1]


def test_many_even_items_of_an_axis_add_next_to_nothing() -> None:
    rng = np.random.default_rng(3)
    still = np.repeat(rng.random((1, 1000)), 8, axis=0)
    other = (rng.random((8, 300)) < np.linspace(0.4, 0.6, 8)[:, np.newaxis]) * 1.0
    both = personalization_bias(still, other)
    assert both.utility is not None
    assert both.interval[0] == both.utility.interval[0]
    assert both.interval[1] == pytest.approx(both.utility.interval[1], abs=0.01)


@pytest.mark.parametrize("seed", range(10))
def test_equal_identities_within_a_category(seed: int) -> None:
    rng = np.random.default_rng(seed)
    scores = rng.random((7, 30))
    scores[:3] = scores[0]
    within = category_effects(scores, list("aaabbcc")).within
    assert within[0] is not None
    assert within[0].interval == pytest.approx((0, rule_of_three(30)))


@pytest.mark.parametrize("seed", range(5))
def test_repeats_that_agree_are_graded_or_not(seed: int) -> None:
    """On exactly these items: three tenths thrice have no more noise than three ones."""
    rng = np.random.default_rng(seed)
    same = np.repeat(rng.integers(0, 11, (1, 30, 1)) / 10, 3, axis=2).repeat(6, axis=0)
    found = personalization_bias(same, None, population="these_items")
    assert found.interval == pytest.approx((0, rule_of_three(30)))
    apart = np.repeat(rng.integers(0, 11, (6, 30, 1)) / 10, 3, axis=2)
    whole = personalization_bias(apart, None, population="these_items")
    assert whole.interval[1] - whole.plugin > rule_of_three(30)


@pytest.mark.parametrize("mean", [0.1, 0.5])
@pytest.mark.parametrize("seed", range(3))
def test_log_odds_have_the_limits_of_the_points(mean: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    rows = [np.repeat((rng.random((1, 60)) < mean) * 1.0, 5, axis=0) for _ in range(2)]

    def expected(scores: Scores) -> float:
        share = float(scores.mean())
        return rule_of_three(60) / 100 / (share * (1 - share))

    assert logit_bias(rows[0]).spread.interval == pytest.approx((0, expected(rows[0])))
    change = compare_logit(rows[0], rows[1])
    assert change.interval == pytest.approx((-expected(rows[0]), expected(rows[1])))
    assert change.p_value == 1
    noisy = rng.random((5, 60))
    vanished: Spread = compare_logit(noisy, rows[0]).after
    assert vanished.interval == pytest.approx((0, expected(rows[0])))


@pytest.mark.parametrize("groups", [2, 3, 5, 7])
@pytest.mark.parametrize("shift", [0.0, 0.02])
def test_groups_that_share_all_units_are_taken_as_unshared(groups: int, shift: float) -> None:
    rng = np.random.default_rng(groups)
    rows = 0.98 * rng.integers(0, 2, 40) + shift * np.linspace(0, 1, groups)[:, np.newaxis]
    names = np.repeat([f"g{n}" for n in range(groups)], 40).tolist()
    shared = unpaired_groups(rows.ravel(), names, units=np.tile(np.arange(40), groups).tolist())
    alone = unpaired_groups(rows.ravel(), names)
    assert shared.spread_interval == pytest.approx(alone.spread_interval)
    assert shared.p_value == pytest.approx(alone.p_value)
    assert shared.spread_interval[1] > 2


@pytest.mark.parametrize("seed", range(5))
def test_what_does_not_vary_has_no_share(seed: int) -> None:
    rng = np.random.default_rng(seed)
    by_cue = np.broadcast_to(rng.random((1, 3, 40)), (5, 3, 40))
    found = cue_components(by_cue)
    assert found.identity == found.identity_cue == 0
    assert np.isnan(found.generalizability)
    assert np.isnan(found.all_cues)
    assert found.generalizability_interval == (0, 1)
    by_identity = np.broadcast_to(rng.random((5, 1, 40)), (5, 3, 40))
    assert cue_components(by_identity).cue == 0
    assert cue_components(by_identity).identity_cue == 0
