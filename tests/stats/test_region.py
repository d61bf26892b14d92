"""Confidence regions on the map of safety and utility hold the truth as often as they say."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose

from evenhand.stats import TooFewScores, differences_to_mean, joint_regions

IDENTITIES = 8


def draw(rng: np.random.Generator, items: int, rates: np.ndarray) -> np.ndarray:
    """0/1 scores of items that differ much in difficulty: (identities, items)."""
    hardness = rng.normal(0, 0.15, items)
    return (rng.random((len(rates), items)) < np.clip(rates[:, None] + hardness, 0, 1)) * 1.0


def test_the_regions_hold_the_true_place_among_the_others() -> None:
    """300 studies of 8 identities; difficulty is left out, so the truth is on the same items."""
    rng = np.random.default_rng(7)
    safety, utility = np.linspace(0.6, 0.8, IDENTITIES), np.linspace(0.75, 0.5, IDENTITIES)
    truth = 100 * np.column_stack([safety - safety.mean(), utility - utility.mean()])
    held = []
    for _ in range(300):
        found = joint_regions(draw(rng, 60, safety), draw(rng, 40, utility))
        place = found.center - found.center.mean(axis=0)
        held.append((((place - truth) / found.reach) ** 2).sum(axis=1) <= 1)
    assert 0.935 <= np.mean(held) <= 0.975


def test_the_covariance_is_that_of_the_paired_differences() -> None:
    rng = np.random.default_rng(1)
    safety = {"a": draw(rng, 50, np.full(4, 0.7)), "b": draw(rng, 30, np.full(4, 0.4))}
    utility = draw(rng, 40, np.full(4, 0.6))
    found = joint_regions(safety, utility)
    alone = differences_to_mean(safety), differences_to_mean(utility)
    for axis, expected in enumerate(alone):
        assert_allclose(np.sqrt(found.covariance[:, axis, axis]), expected.standard_error)
    assert_allclose(found.covariance[:, 0, 1], 0.0)
    assert_allclose(found.center[:, 1], 100 * utility.mean(axis=1))
    assert_allclose(found.center[:, 0], 50 * (safety["a"].mean(axis=1) + safety["b"].mean(axis=1)))


def test_hard_items_do_not_widen_the_regions() -> None:
    """What moves all identities alike is no uncertainty of one among the others."""
    rng = np.random.default_rng(3)
    same = np.repeat(rng.integers(0, 2, (1, 200)) * 1.0, 4, axis=0)
    apart = draw(rng, 200, np.full(4, 0.5))
    narrow, wide = joint_regions(same, same), joint_regions(apart, apart)
    assert np.all(narrow.reach < wide.reach / 2)


def test_a_higher_level_reaches_farther() -> None:
    rng = np.random.default_rng(4)
    scores = draw(rng, 30, np.full(4, 0.5))
    assert np.all(
        joint_regions(scores, scores, level=0.99).reach > joint_regions(scores, scores).reach
    )


def test_bad_scores_are_refused() -> None:
    good = np.ones((3, 5))
    with pytest.raises(TooFewScores):
        joint_regions(good[:1], good)
    with pytest.raises(ValueError, match="identities"):
        joint_regions(good, np.ones((4, 5)))
