"""The plain words of a comparison follow from the numbers."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evenhand.analysis.compare import Arm, IdentityChange, compare_arms
from evenhand.analysis.relevance import RelevanceChange
from evenhand.report.wording import (
    arm_change_sentences,
    bias_change_sentence,
    direction,
    identity_change_sentences,
    mean_change_sentences,
    relevance_change_sentence,
)
from evenhand.stats import BiasChange, MeanChange
from fakes import biased, run, spread

POINTS = st.floats(-60, 60)
INCONCLUSIVE = "The data are inconclusive about a change of the bias: PB changed"
PERSONALIZATION = "Non-inferiority of appropriate personalization (margin 2 points)"


def bias(low: float, high: float, p_value: float) -> BiasChange:
    """A change of PB with those figures."""
    before = spread(5.0, 4.0, 6.0, 0.001)
    return BiasChange(before, before, (low + high) / 2, (low, high), p_value, 0.95)


def mean(low: float, high: float, non_inferiority_p: float, margin: float = 2.0) -> MeanChange:
    """A change of a mean with those figures."""
    p_value = 0.5 if low <= 0 <= high else 0.001
    return MeanChange((low + high) / 2, 1.0, (low, high), p_value, margin, non_inferiority_p, 0.95)


@pytest.mark.parametrize(
    ("change", "opening"),
    [
        (None, "Too few scored answers in common"),
        (bias(-8, -3, 0.001), "The bias came down: PB changed by -5.5 points"),
        (bias(3, 8, 0.001), "The bias went up: PB changed by +5.5 points"),
        (bias(-1.5, 0.5, 0.3), "The bias is the same within 1.5 points"),
        (
            bias(-9, 1, 0.2),
            "The bias did not change significantly, but a change of 9.0 points",
        ),
        (
            bias(-9, -1, 0.2),
            INCONCLUSIVE,
        ),
        (
            bias(1, 9, 0.2),
            INCONCLUSIVE,
        ),
        (bias(-9, 1, 0.01), INCONCLUSIVE),
        (bias(-0.04, 0.04, 1.0), "The bias is the same within 0.0 points: PB changed by +0.0"),
    ],
)
def test_change_of_the_bias(change: BiasChange | None, opening: str) -> None:
    assert bias_change_sentence(change, margin=2.0).startswith(opening)


@given(low=POINTS, width=st.floats(0, 60), p_value=st.floats(0, 1), margin=st.floats(0.1, 9))
def test_what_is_said_of_the_bias_is_what_the_interval_says(
    low: float, width: float, p_value: float, margin: float
) -> None:
    high = low + width
    sentence = bias_change_sentence(bias(low, high, p_value), margin)
    assert ("came down" in sentence) == (high < 0 and p_value < 0.05)
    assert ("went up" in sentence) == (low > 0 and p_value < 0.05)
    if "not change significantly" in sentence:
        assert low <= 0 <= high
        assert p_value >= 0.05
    if "disagree" in sentence:
        assert (p_value < 0.05) == (low <= 0 <= high)
    if "the same" in sentence:
        assert -margin <= low <= high <= margin
    if "not excluded" in sentence:
        assert max(abs(low), abs(high)) > margin


@pytest.mark.parametrize(
    ("axis", "change", "sentence"),
    [
        (
            "safety",
            mean(-1, 1, 0.01),
            "Non-inferiority of mean safety (margin 2 points) established.",
        ),
        ("utility", mean(-9, -5, 1.0), "Mean utility fell: -7.0 points (-9.0 to -5.0)."),
        ("over_refusal", mean(5, 9, 1.0), "Mean over-refusal rose: +7.0 points (+5.0 to +9.0)."),
        ("over_refusal", mean(-9, -5, 0.0), "Non-inferiority of mean over-refusal (margin 2"),
        (
            "safety",
            mean(-4, 1, 0.3),
            "Non-inferiority of mean safety (margin 2 points) not est",
        ),
        (
            "over_refusal",
            mean(-1, 4, 0.3),
            "Non-inferiority of mean over-refusal (margin 2 points) not established: +1.5",
        ),
    ],
)
def test_change_of_a_mean(axis: str, change: MeanChange, sentence: str) -> None:
    (found,) = mean_change_sentences({axis: change})
    assert found.startswith(sentence)


def test_several_means_are_told_together() -> None:
    held = mean(-1, 1, 0.01)
    found = mean_change_sentences(
        {"safety": held, "utility": mean(-9, -5, 1.0), "over_refusal": held}
    )
    assert found == [
        "Non-inferiority of mean safety and over-refusal (margin 2 points) established.",
        "Mean utility fell: -7.0 points (-9.0 to -5.0).",
    ]


@pytest.mark.parametrize(
    ("low", "high", "p_value", "opening"),
    [
        (
            -1,
            1,
            0.01,
            f"{PERSONALIZATION} established.",
        ),
        (
            -30,
            -20,
            1.0,
            "Questions whose right answer depends on the user are right less often:",
        ),
        (
            -9,
            3,
            0.5,
            f"{PERSONALIZATION} not established",
        ),
    ],
)
def test_change_of_wanted_personalization(
    low: float, high: float, p_value: float, opening: str
) -> None:
    change = RelevanceChange(80.0, 80.0, (low + high) / 2, (low, high), 2.0, p_value)
    assert relevance_change_sentence(change).startswith(opening)


def test_who_gained_and_who_lost() -> None:
    verdicts = ["gains both", "gains utility", "loses safety", "safety for utility", "untouched"]
    people = [IdentityChange(str(n), {}, v) for n, v in enumerate([*verdicts, "undecided", None])]
    assert identity_change_sentences(people, 2.0) == [
        "Of 6 identities, 2 gained, 1 lost (2), 1 gained on one axis and lost on the other (3), "
        "1 stayed the same within 2 points and the data are inconclusive for 1."
    ]
    many = [IdentityChange(str(n), {}, "loses both") for n in range(9)]
    (sentence,) = identity_change_sentences(many, 2.0)
    assert sentence == "Of 9 identities, 0 gained and 9 lost (0, 1, 2, 3, 5 more)."
    assert identity_change_sentences([IdentityChange("x", {}, None)], 2.0) == []
    assert direction("utility for safety") == "both ways"


@pytest.mark.slow
def test_the_words_of_real_changes(tmp_path: Path) -> None:
    """A bias taken away, one brought in, a loss for all, and one model asked twice."""

    def words(name: str, **options: float) -> str:
        after = run(tmp_path / name, biased(seed=2, **options), items=400)
        found = compare_arms([Arm(before), Arm(after)], margin=2.0)
        return " ".join(arm_change_sentences(found.changes[0], 2.0))

    before = run(tmp_path / "before", biased(safety=0.4, seed=1), items=400)
    assert "The bias came down" in words("mended")
    assert "went up" in words("worse", safety=0.7, utility=0.5)
    lost = words("lost", safety=0.4, base=0.5)
    assert "Mean safety fell" in lost
    assert "Mean over-refusal rose" in lost
    assert "5 lost" in lost
    assert "The bias did not change significantly" in words("again", safety=0.4)


def test_a_change_of_few_answers_is_not_told(tmp_path: Path) -> None:
    before = run(tmp_path / "before", biased(seed=1), items=1)
    after = run(tmp_path / "after", biased(seed=2), items=1)
    found = compare_arms([Arm(before), Arm(after)], margin=2.0)
    assert arm_change_sentences(found.changes[0], 2.0) == [
        "Too few scored answers in common to tell whether the bias changed."
    ]
