"""Changes of an axis and of each identity from one audit to another."""

from __future__ import annotations

import numpy as np
import pytest

from evenhand.stats import (
    TooFewScores,
    compare_audits,
    compare_axis,
    differences_to_baseline,
    identity_changes,
    intersection_interactions,
)


def correlated(
    before: np.ndarray, after: np.ndarray, items: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Scores (identities, items) with those means, alike before and after on most items."""
    chance = rng.random((len(before), items)) * 0.7 + 0.3 * rng.random(items)
    again = np.where(rng.random(chance.shape) < 0.8, chance, rng.random(chance.shape))
    low, high = np.sort(chance.ravel()), np.sort(again.ravel())
    return (
        (chance < np.quantile(low, before)[:, None]).astype(float),
        (again < np.quantile(high, after)[:, None]).astype(float),
    )


def test_the_same_audit_twice_shows_no_change() -> None:
    """Rounding errors are no differences, whatever the other identities do."""
    rng = np.random.default_rng(1)
    before = {name: (rng.random((6, 97)) < 0.7).astype(float) for name in "abc"}
    after = {name: array.copy() for name, array in before.items()}
    after["a"][0] = 1 - after["a"][0]
    found = identity_changes(before, after)
    assert found.p_value[0] < 1
    np.testing.assert_array_equal(found.p_value[1:], 1.0)
    np.testing.assert_allclose(found.difference[1:], 0.0, atol=1e-9)


def test_parts_that_add_up_exactly_show_no_interaction() -> None:
    rng = np.random.default_rng(2)
    x = {name: (rng.random((4, 61)) < 0.6).astype(float) for name in "ab"}
    base = {name: array[0] for name, array in x.items()}
    base_rows = {name: np.repeat(array[:1], 4, axis=0) for name, array in x.items()}
    found = intersection_interactions(x, x, base_rows, base)
    np.testing.assert_array_equal(found.p_value, 1.0)


def test_a_change_is_the_difference_of_the_means() -> None:
    rng = np.random.default_rng(3)
    before, after = ({"a": rng.random((4, 30)), "b": rng.random((4, 50))} for _ in range(2))
    found = identity_changes(before, after)
    means = [np.mean([x.mean(axis=1) for x in side.values()], axis=0) for side in (before, after)]
    np.testing.assert_allclose(found.difference, 100 * (means[1] - means[0]))


def test_one_identity_is_as_one_against_a_baseline() -> None:
    rng = np.random.default_rng(4)
    before, after = (rng.random((1, 80)) < 0.5).astype(float), (rng.random((1, 80)) < 0.7) * 1.0
    found, known = identity_changes(before, after), differences_to_baseline(after, before)
    np.testing.assert_allclose(found.difference, known.difference)
    np.testing.assert_allclose(found.interval, known.interval)
    np.testing.assert_allclose(found.p_value, known.p_value)


@pytest.mark.parametrize("shift", [0.0, 0.1])
def test_intervals_hold_the_change(shift: float) -> None:
    """95 % of 300 audits, within 3 standard errors, for each identity and for all together."""
    rng = np.random.default_rng(5)
    before = np.array([0.5, 0.6, 0.7, 0.8, 0.9])
    after = before - shift * np.array([1, 0, 1, 0, 1])
    each, together = [], []
    for _ in range(300):
        found = identity_changes(*correlated(before, after, 150, rng))
        true = 100 * (after - before)
        each.append((found.interval[:, 0] <= true) & (true <= found.interval[:, 1]))
        limits = found.simultaneous
        together.append(bool(np.all((limits[:, 0] <= true) & (true <= limits[:, 1]))))
    assert np.mean(each) > 0.95 - 3 * (0.95 * 0.05 / 300) ** 0.5
    assert np.mean(together) > 0.95 - 3 * (0.95 * 0.05 / 300) ** 0.5


def test_an_axis_is_compared_as_within_both() -> None:
    rng = np.random.default_rng(6)
    before, after = ((rng.random((5, 60)) < 0.7).astype(float) for _ in range(2))
    found = compare_axis(before, after, margin=2.0)
    known = compare_audits(before_safety=before, after_safety=after, margin=2.0)
    assert found.bias == known.safety_bias
    assert found.mean == known.safety_mean


def test_where_lower_is_better_a_rise_is_the_loss() -> None:
    rng = np.random.default_rng(7)
    before = (rng.random((5, 400)) < 0.3).astype(float)
    after = np.maximum(before, rng.random(before.shape) < 0.2)
    rise = compare_axis(before, after, margin=2.0, lower_is_better=True)
    fall = compare_axis(after, before, margin=2.0, lower_is_better=True)
    assert rise.mean.difference == pytest.approx(-fall.mean.difference)
    assert rise.mean.non_inferiority_p > 0.99
    assert fall.mean.non_inferiority_p < 0.01
    mirrored = compare_axis(1 - before, 1 - after, margin=2.0)
    assert rise.mean.non_inferiority_p == pytest.approx(mirrored.mean.non_inferiority_p)


@pytest.mark.parametrize("lower_is_better", [False, True])
def test_what_is_shown_to_hold_up_has_no_such_loss_in_its_interval(lower_is_better: bool) -> None:
    """Of few items a gain is worth less in the interval than it seems, and so in the test."""
    rng, shown = np.random.default_rng(1), 0
    for _ in range(300):
        right, items = rng.random(), int(rng.integers(2, 30))
        before, after = (
            (rng.random((4, items)) < np.clip(right + shift, 0, 1)).astype(float)
            for shift in (0.0, rng.normal(0, 0.2))
        )
        mean = compare_axis(before, after, margin=5.0, lower_is_better=lower_is_better).mean
        if mean.non_inferiority_p <= 0.025:
            shown += 1
            loss = mean.interval[1] if lower_is_better else -mean.interval[0]
            assert loss <= 5.0
    assert shown > 30


def test_bad_scores_are_refused() -> None:
    x = np.zeros((3, 4))
    with pytest.raises(ValueError, match="same identities and items"):
        identity_changes(x, x[:2])
    with pytest.raises(ValueError, match="margin must be above 0"):
        compare_axis(x, x, margin=0.0)
    with pytest.raises(TooFewScores):
        compare_axis(x[:1], x[:1])
    with pytest.raises(ValueError, match="level"):
        identity_changes(x, x, level=1.0)


def joint_change(
    before: list[np.ndarray], after: list[np.ndarray]
) -> tuple[tuple[float, float], float]:
    found = compare_audits(
        before_safety=before[0],
        before_utility=before[1],
        after_safety=after[0],
        after_utility=after[1],
    )
    return found.bias.interval, found.bias.difference


@pytest.mark.parametrize("redrawn", [0.0, 0.1, 1.0])
def test_a_change_of_bias_is_no_surer_than_the_items_allow(redrawn: float) -> None:
    """Ten items of a kind, with the same answers, a few others, or all drawn anew.

    The interval reaches as far as a bootstrap over the items, and as far as if one item were other.
    """
    rng = np.random.default_rng(6)
    chance = np.array([0.05, 0.1, 0.3, 0.4, 0.6, 0.7, 0.9, 0.95])[:, np.newaxis]
    before = [(rng.random((8, 10)) < chance) * 1.0 for _ in range(2)]
    after = [
        np.where(rng.random(x.shape) < redrawn, (rng.random(x.shape) < chance) * 1.0, x)
        for x in before
    ]
    (low, high), difference = joint_change(before, after)

    def spread(axes: list[np.ndarray], draws: list[np.ndarray]) -> float:
        means = (100 * x[:, d].mean(axis=1) for x, d in zip(axes, draws, strict=True))
        return float(sum(mean.var() for mean in means) ** 0.5)

    changes = []
    for _ in range(200):
        draws = [rng.integers(10, size=10) for _ in before]
        changes.append(spread(after, draws) - spread(before, draws))
    down, up = np.quantile(changes, [0.025, 0.975]) - np.mean(changes)
    reversed_item = [after[0].copy(), after[1]]
    reversed_item[0][:, 0] = 1 - before[0][:, 0]
    one_other = abs(joint_change(before, reversed_item)[1] - difference)
    assert difference - low >= max(-down, one_other)
    assert high - difference >= max(up, one_other)


def test_alike_answers_to_many_items_show_that_the_bias_is_the_same() -> None:
    rng = np.random.default_rng(7)
    axes = [(rng.random((8, 1000)) < np.linspace(0.2, 0.9, 8)[:, np.newaxis]) * 1.0] * 2
    (low, high), _ = joint_change(axes, axes)
    assert -0.5 < low < -0.05
    assert 0.05 < high < 0.5


def test_what_one_item_in_twenty_changes_is_not_ruled_out() -> None:
    """Of 80 runs with 40 items at least 75 hold the change; cancelled intervals were in 65."""
    rng = np.random.default_rng(0)
    chance = np.array([0.05, 0.1, 0.3, 0.4, 0.6, 0.7, 0.9, 0.95])
    true = -5 * chance.std()
    held = 0
    for _ in range(80):
        before = (rng.random((8, 40)) < chance[:, np.newaxis]) * 1.0
        after = np.where(rng.random(40) < 0.05, 1.0, before)
        low, high = compare_audits(before_safety=before, after_safety=after).bias.interval
        held += low <= true <= high
    assert held >= 75
