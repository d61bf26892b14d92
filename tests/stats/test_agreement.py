"""Agreement of two judges, by simulation against known truth, and by hand."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from evenhand.stats import TooFewScores, rater_agreement, verdict_change

PEOPLE, ITEMS = 8, 150


def judged(
    truth: NDArray[np.float64], wrong: NDArray[np.float64], rng: np.random.Generator
) -> NDArray[np.float64]:
    """A judge's verdicts: the truth, but for a share of mistakes that each identity has."""
    flips = rng.random(truth.shape) < wrong[:, np.newaxis]
    return np.where(flips, 1 - truth, truth)


def answers(rng: np.random.Generator) -> NDArray[np.float64]:
    """True verdicts with an effect of the item: answers to one item are alike."""
    likely = rng.beta(2, 1, ITEMS)
    return (rng.random((PEOPLE, ITEMS)) < likely).astype(float)


def test_by_hand() -> None:
    first = np.array([[1.0, 1.0, 0.0, 0.0, 1.0], [1.0, 0.0, 0.0, 0.0, np.nan]])
    second = np.array([[1.0, 0.0, 0.0, 0.0, 1.0], [1.0, 1.0, 0.0, 0.25, 1.0]])
    found = rater_agreement(first, second)
    # Of nine pairs seven agree: 3 high, 4 low; one only high with each.
    assert found.answers == 9
    assert found.share == pytest.approx(100 * 7 / 9)
    high = 4 / 9
    chance = high * high + (1 - high) ** 2
    assert found.kappa == pytest.approx((7 / 9 - chance) / (1 - chance))
    np.testing.assert_allclose(found.by_identity, [80, 75])
    np.testing.assert_allclose(found.difference, [20, 100 * -1.25 / 4])
    low, top = found.interval
    assert 0 <= low < found.share < top <= 100


def test_two_that_always_agree() -> None:
    same = np.tile([1.0, 0.0, 1.0, 1.0], (3, 1))
    found = rater_agreement(same, same)
    assert (found.share, found.kappa) == (100, 1)
    assert found.interval[0] < 60  # four items tell little
    assert (found.share_p, found.difference_p) == (1, 1)


def test_one_side_throughout_has_no_kappa() -> None:
    ones = np.ones((3, 5))
    found = rater_agreement(ones, ones)
    assert found.kappa is None
    assert found.kappa_interval is None


def test_judges_of_other_answers() -> None:
    with pytest.raises(ValueError, match="same benchmarks"):
        rater_agreement(np.ones((3, 5)), np.ones((3, 4)))
    with pytest.raises(TooFewScores):
        rater_agreement(np.ones((3, 5)), np.full((3, 5), np.nan))


def test_mistakes_that_do_not_depend_on_the_identity_raise_no_alarm() -> None:
    rng = np.random.default_rng(1)
    wrong = np.full(PEOPLE, 0.08)
    p_values = []
    covered = 0
    true_share = 100 * (0.92**2 + 0.08**2)
    for _ in range(400):
        truth = answers(rng)
        found = rater_agreement(judged(truth, wrong, rng), judged(truth, wrong, rng))
        p_values.append((found.share_p, found.difference_p))
        covered += found.interval[0] <= true_share <= found.interval[1]
    rejected = np.mean(np.array(p_values) < 0.05, axis=0)
    # The standard error of a rate of 5 % in 400 trials is 1.1 points.
    assert np.all(rejected > 0.02)
    assert np.all(rejected < 0.085)
    assert 0.92 < covered / 400 < 0.98


def test_a_judge_that_is_lenient_to_one_identity_is_found() -> None:
    rng = np.random.default_rng(2)
    found_share = found_difference = 0
    for _ in range(100):
        truth = answers(rng)
        fair = judged(truth, np.full(PEOPLE, 0.05), rng)
        lenient = judged(truth, np.full(PEOPLE, 0.05), rng)
        lenient[0] = np.maximum(lenient[0], rng.random(ITEMS) < 0.35)
        found = rater_agreement(lenient, fair)
        found_share += found.share_p < 0.05
        found_difference += found.difference_p < 0.05
        assert int(np.argmax(found.difference)) == 0
    assert found_difference > 70
    assert found_share > 60


@pytest.mark.slow
def test_the_interval_of_kappa_covers() -> None:
    rng = np.random.default_rng(3)
    wrong = np.full(PEOPLE, 0.1)
    large = [rater_agreement(*_pair(rng, wrong)).kappa or 0.0 for _ in range(300)]
    truth = float(np.mean(large))
    covered = 0
    for _ in range(300):
        low, high = rater_agreement(*_pair(rng, wrong)).kappa_interval or (0, 0)
        covered += low <= truth <= high
    assert 0.91 < covered / 300 < 0.985


def _pair(
    rng: np.random.Generator, wrong: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    truth = answers(rng)
    return judged(truth, wrong, rng), judged(truth, wrong, rng)


def test_changed_answers_by_hand() -> None:
    stored = [1, 1, 1, 0, 0, 1, 1, 1]
    again = [1, 1, 1, 0, 1, 1, 1, 1]  # wavers once
    after = [0, 0, 1, 1, 1, 0, 0, 1]  # moved five times, by the changed words
    found = verdict_change(stored, again, after, [0, 0, 1, 1, 2, 2, 3, 3])
    assert found.answers == 8
    assert found.repeated == pytest.approx(100 / 8)
    assert found.changed == pytest.approx(100 * 5 / 8)
    assert found.difference == pytest.approx(100 * -3 / 8)
    # Five moved only, one wavered only: P(5 or more of 6) = 7/64.
    assert found.p_value == pytest.approx(7 / 64)


def test_nothing_changes() -> None:
    found = verdict_change([1, 0], [1, 0], [1, 0], [0, 1])
    assert (found.repeated, found.changed, found.difference, found.p_value) == (0, 0, 0, 1)
    low, high = found.difference_interval or (0, 0)
    assert low < -50 < 50 < high  # two items tell next to nothing
    assert found.changed_interval[1] > 50
    with pytest.raises(TooFewScores):
        verdict_change([], [], [], [])


def test_a_judge_that_only_wavers_raises_no_alarm_and_one_that_is_moved_does() -> None:
    rng = np.random.default_rng(4)
    alarms = moved = 0
    for _ in range(400):
        truth = (rng.random(200) < 0.6).astype(float)

        def wavering(scores: NDArray[np.float64], share: float = 0.05) -> NDArray[np.float64]:
            return np.where(rng.random(len(scores)) < share, 1 - scores, scores)

        items = rng.integers(0, 60, 200)
        stored, again = wavering(truth), wavering(truth)
        alarms += verdict_change(stored, again, wavering(truth), items).p_value < 0.05
        moved += verdict_change(stored, again, wavering(truth, 0.2), items).p_value < 0.05
    assert alarms / 400 < 0.07
    assert moved / 400 > 0.8
