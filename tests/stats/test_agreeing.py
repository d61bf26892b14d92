"""A p-value and the interval beside it never disagree, however little data there is."""

from __future__ import annotations

import numpy as np
import pytest

from evenhand import stats

LEVEL = 0.95


def tiny(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray | None]:
    """Scores of a tiny run, some of them missing, and now and then clusters."""
    k, items = int(rng.integers(2, 9)), int(rng.integers(2, 25))
    rate = np.clip(rng.normal(0.8, 0.2, (k, 1)) + rng.normal(0, 0.3, items), 0, 1)
    scores = (rng.random((k, items)) < rate).astype(float)
    if rng.random() < 0.3:
        scores = np.round((scores + rng.random(scores.shape)) / 2, 1)
    if rng.random() < 0.3 and items > 8:
        scores[rng.random(scores.shape) < 0.1] = np.nan
    clusters = rng.integers(0, 4, items) if rng.random() < 0.3 else None
    return scores, clusters


def agree(p_value: float, interval: object) -> bool:
    low, high = np.asarray(interval)
    outside = low > 0 or high < 0
    return bool(outside == (p_value < 1 - LEVEL)) or abs(p_value - 0.05) < 1e-9


def check_differences(found: stats.Differences) -> None:
    for n in range(len(found.difference)):
        assert agree(found.p_value[n], found.interval[n])
        assert agree(found.p_adjusted[n], found.simultaneous[n])
        assert found.simultaneous[n, 0] <= found.interval[n, 0]
        assert found.simultaneous[n, 1] >= found.interval[n, 1]


@pytest.mark.parametrize("seed", range(150))
def test_tiny_runs(seed: int) -> None:
    rng = np.random.default_rng(seed)
    scores, clusters = tiny(rng)
    other = np.where(rng.random(scores.shape) < 0.3, rng.random(scores.shape) < 0.3, scores) * 1.0
    try:
        check_differences(stats.differences_to_mean(scores, clusters=clusters))
        check_differences(stats.differences_to_baseline(scores[1:], scores[0], clusters=clusters))
        check_differences(stats.identity_changes(scores, other, clusters=clusters))
        tied = None if clusters is None else {"safety": clusters}
        bias = stats.personalization_bias(scores, None, clusters=tied)
        change = stats.compare_axis(scores, other, clusters=clusters)
    except stats.TooFewScores:
        return
    assert agree(bias.p_value, bias.interval)
    assert bias.interval[0] <= max(bias.estimate, 1e-3) <= bias.interval[1] + 1e-3
    for spread in (change.bias.before, change.bias.after):
        assert agree(spread.p_value, spread.interval)
    assert agree(change.bias.p_value, change.bias.interval)
    assert agree(change.mean.p_value, change.mean.interval)


@pytest.mark.parametrize("seed", range(25))
def test_placebos(seed: int) -> None:
    rng = np.random.default_rng(seed)
    k, m, items = int(rng.integers(2, 9)), int(rng.integers(2, 7)), int(rng.integers(8, 80))
    moved = np.concatenate([rng.normal(0, 0.25, k), rng.normal(0, 0.04, m)])
    chance = np.clip(0.6 + moved[:, None] + rng.normal(0, 0.2, items), 0, 1)
    scores = (rng.random(chance.shape) < chance).astype(float)
    found = stats.placebo_contrast([scores[:k]], [scores[k:]])
    assert agree(found.p_value, found.interval)
    assert found.interval[0] <= found.interval[1]
    # Identities without any established spread have none beyond placebos.
    assert found.p_value >= stats.personalization_bias(scores[:k], None).p_value - 1e-12


def test_the_least_spread_that_is_significant_is_above_zero() -> None:
    """Rows that never vary within an item tell the noise to be 0."""
    scores = np.zeros((4, 40))
    scores[0] = 1.0
    found = stats.personalization_bias(scores, None)
    assert found.p_value < 0.05
    assert found.interval[0] > 0
