"""A judge corrected by labels of a sample, by hand and by simulation."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from evenhand.stats import LabelCorrection, corrected_by_labels, labels_needed

Floats = NDArray[np.float64]


def test_by_hand() -> None:
    """Two identities, 10 answers each; of each verdict some are labeled."""
    verdicts = np.array([[1] * 4 + [0] * 6, [1] * 5 + [0] * 5], dtype=float)
    labels = np.full((2, 10), np.nan)
    labels[0, :2], labels[0, 4:7] = [1, 0], [0, 0, 1]
    labels[1, :2], labels[1, 5:8] = [1, 1], [0, 0, 0]
    found = corrected_by_labels(verdicts, labels)
    assert found.rates == pytest.approx([100 * (0.4 * 0.5 + 0.6 / 3), 50])
    assert found.errors == pytest.approx([0.4 * 0.5 + 0.6 / 3, 0])
    assert found.labels == 10
    assert found.mean == pytest.approx(45)
    assert np.all(found.intervals[:, 0] < found.rates)
    assert np.all(found.rates < found.intervals[:, 1])


def test_unscored_answers_are_a_stratum() -> None:
    verdicts = np.array([[1, 1, np.nan, np.nan], [0, 0, np.nan, np.nan]])
    labels = np.array([[1, np.nan, 0, np.nan], [0, np.nan, 1, np.nan]])
    assert corrected_by_labels(verdicts, labels).rates == pytest.approx([50, 50])


def test_labels_that_all_agree_leave_an_interval() -> None:
    verdicts = np.zeros((3, 50))
    labels = np.full((3, 50), np.nan)
    labels[:, :5] = 0
    found = corrected_by_labels(verdicts, labels)
    assert found.pb == 0
    assert np.all(found.intervals[:, 1] - found.intervals[:, 0] > 1)
    assert found.mean_interval[1] > found.mean_interval[0]


@pytest.mark.parametrize(
    "labels",
    [np.full((2, 5), np.nan), np.full((2, 5), 0.5), np.zeros((3, 5)), np.zeros(5)],
)
def test_bad_labels(labels: Floats) -> None:
    with pytest.raises(ValueError, match="labels"):
        corrected_by_labels(np.zeros((2, 5)), labels)


def simulated(
    rng: np.random.Generator, identities: int, effect: float
) -> tuple[Floats, LabelCorrection]:
    """One run: the judge errs far more for half of the identities; 300 answers are labeled."""
    worse = np.arange(identities)[:, None] >= identities // 2
    chance = rng.beta(0.9, 2.1, 200) + effect * worse
    truth = rng.random((identities, 200)) < chance
    right = np.where(truth, np.where(worse, 0.8, 0.97), np.where(worse, 0.85, 0.98))
    verdicts = np.where(rng.random(truth.shape) < right, truth, ~truth).astype(float)
    labels = np.full(truth.shape, np.nan)
    for n, row in enumerate(verdicts):
        places = [np.flatnonzero(row == verdict) for verdict in (0, 1)]
        roots = np.sqrt([len(p) for p in places])
        for place, root in zip(places, roots, strict=True):
            count = max(2, round(300 / identities * root / roots.sum()))
            chosen = rng.choice(place, min(count, len(place)), replace=False)
            labels[n, chosen] = truth[n, chosen]
    return 100 * truth.mean(axis=1), corrected_by_labels(verdicts, labels)


@pytest.mark.slow
@pytest.mark.parametrize("identities", [8, 32])
def test_false_alarms_and_width(identities: int) -> None:
    """The judge's errors depend on the identity, the truth does not."""
    rng = np.random.default_rng(1)
    runs = [simulated(rng, identities, 0.0) for _ in range(600)]
    alarms = np.mean([found.p_value < 0.05 for _, found in runs])
    assert alarms <= 0.065
    covered = np.mean([(f.intervals[:, 0] <= t) & (t <= f.intervals[:, 1]) for t, f in runs])
    assert covered >= 0.94
    width, alone = (
        np.mean([each[:, 1] - each[:, 0] for each in limits])
        for limits in ([f.intervals for _, f in runs], [f.alone for _, f in runs])
    )
    assert width < 0.75 * alone
    assert np.mean([f.pb_interval[0] == 0 for _, f in runs]) >= 0.93


def test_a_true_difference_is_found() -> None:
    rng = np.random.default_rng(2)
    found = [simulated(rng, 8, 0.3)[1] for _ in range(60)]
    assert np.mean([each.p_value < 0.05 for each in found]) >= 0.95


def test_labels_needed_grow_with_error_and_shrink_with_difference() -> None:
    base = labels_needed(32, 0.1, 10)
    assert labels_needed(32, 0.2, 10) > base > labels_needed(32, 0.1, 20)
    with pytest.raises(ValueError, match="error"):
        labels_needed(32, 0, 10)


def test_grades_are_corrected_and_hold_their_level() -> None:
    """A judge that grades half of the identities a quarter too low on every other answer."""
    rng = np.random.default_rng(1)
    grades, weights = np.array([0, 0.25, 0.5, 0.75, 1]), [0.05, 0.15, 0.3, 0.3, 0.2]
    found, covered, runs = 0, [], 120
    for _ in range(runs):
        truth = rng.choice(grades, p=weights, size=(8, 200))
        harsh = 0.25 * (np.arange(8)[:, None] < 4) * (rng.random(truth.shape) < 0.5)
        judged = np.clip(truth - harsh + rng.choice([-0.25, 0, 0.25], size=truth.shape), 0, 1)
        labels = np.full(truth.shape, np.nan)
        for row, said in enumerate(judged):
            for side in (said < 0.5, said >= 0.5):
                chosen = rng.permutation(np.flatnonzero(side))[:20]
                labels[row, chosen] = truth[row, chosen]
        result = corrected_by_labels(judged, labels, graded=True)
        found += result.p_value < 0.05
        rate = 100 * float(grades @ weights)
        covered.append(np.mean((result.intervals[:, 0] <= rate) & (rate <= result.intervals[:, 1])))
    assert found <= 13  # of 120 at 5%: 99.7% of binomial draws
    assert np.mean(covered) > 0.91
    with pytest.raises(ValueError, match=r"in \[0, 1\]"):
        corrected_by_labels(judged, 2 * np.ones_like(judged), graded=True)


@pytest.mark.parametrize("wrong", [-1.0, np.nan, np.inf, 0.0])
def test_weights_that_weigh_nothing_are_refused(wrong: float) -> None:
    verdicts = np.array([[0.0, 1.0], [1.0, 0.0]])
    weights = np.array([[1.0, 1.0], [wrong, 0.0 if wrong == 0 else 1.0]])
    with pytest.raises(ValueError, match="weights must be 0 or more"):
        corrected_by_labels(verdicts, verdicts, weights=weights)
