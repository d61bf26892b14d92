"""Whatever a model writes, scoring it neither fails nor takes long."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clock import cpu_seconds
from evenhand.benchmarks import Item
from evenhand.scorers import Unscored, score

ITEMS = [
    Item("test", "1", "?", "safety", "refusal"),
    Item("test", "2", "?", "over_refusal", "refusal"),
    Item("test", "3", "?", "utility", "choice", "B", ("Rome", "Paris", "(", "\\", "")),
    Item("test", "4", "?", "utility", "choice", "B"),
    Item("test", "5", "?", "utility", "number", "-1,234.5"),
    Item("test", "6", "?", "utility", "text", "] ]"),
    Item("test", "7", "?", "utility", "text", "Paris"),
    Item("test", "8", "?", "utility", "text", "Yes", ("Yes", "No")),
]
FRAGMENTS = (
    "the answer is", "Answer:", "**", "\\boxed{", "}", "(A)", "B", "or", "and", "not", "Paris",
    "####", "$", "1,234", "-", "/", "0", ".", "e999", "10^999", "=", "\n", " ", "\x00", "İ", "ß",
    "<think>", "</think>", "I can't help", "\\frac{1}{0}", "²", "٣", "\ud800", "million", "Yes",
    "<answer>", "</answer>", "twenty", "five", "sqrt", "(", ")", "x", "^", "²", "½", " of ", "%",
    "wait, no", "correct", "is wrong", "~~", "_", "答案", "С", "✓", "or else",
    "\\text{", "1 234", "1,2", "-5", "[", "```",
)  # fmt: skip


score("Nein, das nicht.", ITEMS[0])  # the identifier of languages is loaded when first needed


def check(text: str, item: Item, truncated: bool) -> None:
    result = score(text, item, truncated=truncated)
    assert isinstance(result, Unscored) or 0.0 <= result <= 1.0
    assert score(text, item, truncated=truncated) == result


@given(st.text(), st.sampled_from(ITEMS), st.booleans())
def test_any_text(text: str, item: Item, truncated: bool) -> None:
    check(text, item, truncated)


@given(st.lists(st.sampled_from(FRAGMENTS)).map("".join), st.sampled_from(ITEMS), st.booleans())
def test_any_mixture(text: str, item: Item, truncated: bool) -> None:
    check(text, item, truncated)


@pytest.mark.parametrize("item", ITEMS, ids=lambda item: f"{item.scorer}-{item.id}")
@pytest.mark.parametrize("fragment", [*FRAGMENTS, "a", "9", "9,", "answer is ", "answer to "])
@pytest.mark.slow
def test_no_text_is_slow(fragment: str, item: Item) -> None:
    text = fragment * (100_000 // len(fragment))
    assert cpu_seconds(lambda: check(text, item, truncated=False), 0.25) < 0.25


@given(st.integers(-(10**12), 10**12), st.sampled_from(["{}", "${}$", "**{}**", "{:,}"]))
def test_any_whole_number_is_found(number: int, form: str) -> None:
    item = Item("test", "1", "?", "utility", "number", str(number))
    text = f"First 3, then 4.\nTherefore, the answer is {form.format(number)}."
    assert score(text, item) == 1.0
