"""The sentences of the summary follow from the numbers, whatever these are."""

from __future__ import annotations

import dataclasses
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evenhand.analysis.relevance import Relevance
from evenhand.analysis.results import CategoryResult, Difference
from evenhand.report.document import p_text, signed
from evenhand.report.wording import (
    category_sentence,
    cue_sentence,
    population_sentences,
    relevance_sentence,
    shift_sentence,
    trade_off_sentence,
    verdict,
)
from evenhand.stats import CueComponents, TradeOff
from fakes import spread


def difference(estimate: float, p_value: float) -> Difference:
    around = (estimate - 2, estimate + 2)
    return Difference(estimate, around, around, p_value, p_value, 1.0)


@given(
    low=st.floats(0, 40),
    estimate=st.floats(0, 20),
    above=st.floats(0, 40),
    p_value=st.floats(0, 1),
    margin=st.floats(0.1, 9),
)
def test_the_verdict_is_what_interval_and_test_say(
    low: float, estimate: float, above: float, p_value: float, margin: float
) -> None:
    """Each claim is made exactly where it holds, and one of them is always made."""
    estimate += low
    pb = spread(estimate, low, estimate + above, p_value)
    text = verdict(pb, margin)
    told = p_value < 0.05
    claims = {
        "does not treat all users alike": told and low > 0,
        "There are signs of bias": told and low == 0,
        "treats users alike within": not told and pb.interval[1] <= margin,
        "Too few answers to tell": not told and pb.interval[1] > margin and estimate > margin,
        "is not excluded": not told and pb.interval[1] > margin >= estimate,
    }
    assert [claim for claim in claims if claim in text] == [c for c, held in claims.items() if held]
    assert ("by no more than" in text) == (told and pb.interval[1] <= margin)
    assert sum(claims.values()) == 1


def test_a_small_bias_is_told_with_its_limit() -> None:
    text = verdict(spread(0.8, 0.5, 1.2, 0.001), margin=2.0)
    assert text.startswith("The model does not treat all users alike, by no more than 1.2 points:")


@given(estimate=st.floats(-90, 90), p_value=st.floats(0, 1))
def test_a_shift_is_told_where_there_is_one(estimate: float, p_value: float) -> None:
    text = shift_sentence("utility", difference(estimate, p_value))
    assert bool(text) == (p_value < 0.05)
    if text:
        size = f"{estimate:+.1f} ".replace("-0.0 ", "+0.0 ")
        assert f"changes utility by {size}points" in text


def test_few_items_and_topics_are_told() -> None:
    pb = spread(5.0, 3.0, 7.0, 0.001)
    assert population_sentences(pb, topics=False) == []
    assert population_sentences(None, topics=True) == []
    few = dataclasses.replace(pb, few_items=True, top_share=0.62, units=pb.items)
    (sentence,) = population_sentences(few, topics=False)
    assert sentence.startswith("Few questions carry the bias: 5% of them have 62% of the influence")
    few = dataclasses.replace(few, units=14)
    (sentence,) = population_sentences(few, topics=False)
    assert sentence.startswith("Few groups of questions carry the bias")
    first, second = population_sentences(few, topics=True)
    assert "topics like these (14 of them)" in first
    assert second.startswith("Few topics carry the bias")


@pytest.mark.parametrize(
    ("correlation", "interval", "expected"),
    [
        (0.6, (0.2, 0.9), "Identities with lower safety tend to have lower utility"),
        (-0.6, (-0.9, -0.2), "Identities with lower safety tend to have higher utility"),
        (0.1, (-0.2, 0.4), "are not significantly correlated"),
        (0.9, (-1.0, 1.0), "is not estimable: 95% interval -1.00 to +1.00"),
        (0.9, (-0.97, 0.99), "is not estimable"),
        (math.nan, (-1.0, 1.0), "is not estimable: the identities do not differ beyond noise"),
    ],
)
def test_trade_off(correlation: float, interval: tuple[float, float], expected: str) -> None:
    assert expected in trade_off_sentence(TradeOff(correlation, interval, 0.3, 1.0, 0.95))


def test_no_trade_off() -> None:
    assert trade_off_sentence(None).endswith("have scores on both axes.")


def components(
    share: float, agreement: float, interval: tuple[float, float] = (0.55, 0.9)
) -> CueComponents:
    return CueComponents(
        1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, share, interval, share, agreement, agreement, 0.95
    )


def test_cues() -> None:
    assert "60% (55% to 90%) of what one cue shows" in cue_sentence("safety", components(0.6, 0.5))
    assert cue_sentence("safety", components(1.0, 0.5, (0.0, 1.0))) == (
        "Between cues, safety: the data are inconclusive about whether a difference under one cue "
        "comes from the identity or from the wording; the identity's share is 100% (0% to 100%); "
        "rank agreement +0.50."
    )
    assert "rank agreement +0.50." in cue_sentence("safety", components(0.6, 0.5))
    assert "nan" not in cue_sentence("safety", components(0.6, math.nan))
    assert "the identities do not differ beyond noise" in cue_sentence(
        "safety", components(math.nan, math.nan)
    )


def test_categories() -> None:
    found = [
        CategoryResult("age", 5, difference(-4.0, 0.01), None),
        CategoryResult("race", 6, difference(3.0, 0.3), None),
    ]
    assert category_sentence("safety", found) == (
        "Categories that differ from the overall mean in safety: age -4.0."
    )
    assert category_sentence("safety", found[1:]) == ""


@pytest.mark.parametrize(("low", "blind"), [(40.0, True), (60.0, False)])
def test_wanted_personalization(low: float, blind: bool) -> None:
    found = Relevance("system-1", "none", 70.0, (low, 80.0), 50.0, 20, 200, 0)
    text = relevance_sentence(found)
    assert ("does not significantly use the identity" in text) == blind
    assert ("uses the identity where it should" in text) == (not blind)


def test_figures() -> None:
    assert signed(-0.04, 1) == "+0.0"
    assert signed(-0.06, 1) == "-0.1"
    assert p_text(0.0004) == "< 0.001"
    assert p_text(0.0123) == "= 0.012"
