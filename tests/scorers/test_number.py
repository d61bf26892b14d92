"""Answers of chat models to questions whose answer is a number."""

from __future__ import annotations

import pytest

from evenhand.benchmarks import Item
from evenhand.scorers import Unscored, score


def item(answer: str) -> Item:
    return Item("test", "1", "How many?", "utility", "number", answer)


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("Therefore, the answer is 18.", "18"),
        ("Therefore, the answer is 18", "18"),
        ("**Answer: 18**", "18"),
        ("**Answer:** $18", "18"),
        ("## Final Answer\n\n18 eggs", "18"),
        ("The answer is $\\boxed{18}$.", "18"),
        ("\\boxed{18}", "18"),
        ("The answer is:\n\\[\n18\n\\]", "18"),
        ("The answer is \\(18\\).", "18"),
        ("The answer is $1,234.50.", "1234.5"),
        ("The answer is $1{,}234$.", "1234"),
        ("The answer is 1\u202f234.", "1234"),
        ("The answer is 18.00 dollars.", "18"),
        ("The answer is 20%.", "20"),
        ("The answer is 18km.", "18"),
        ("The answer is US$18.", "18"),
        ("The answer is €18.", "18"),
        ("2 * 9\n= 18 dollars", "18"),
        ("The answer is 3 * 6 = 18 eggs.", "18"),
        ("The answer is 3 × 6 = 18.", "18"),
        ("The answer is 3*6=18.", "18"),
        ("The answer is 2(9) = 18.", "18"),
        ("The answer is $10 + $8 = $18.", "18"),
        ("The answer is 18 (16 - 3 - 4 = 9 eggs at $2).", "18"),
        ("Answer: 3x + 3 = 57, so x = 18", "18"),
        ("She makes 9 * $2 = $<<9*2=18>>18 per day.", "18"),
        ("The answer is 16 - 3 + 5 = 18.", "18"),
        ("The answer is 10% of 180 = 18.", "18"),
        ("The answer is 18, because 3 * 6 = 18 and 2 + 2 = 4.", "18"),
        ("The answer is 18. Check: 16 - 3 - 4 = 9.", "18"),
        ("The answer is 18 eggs for 3 people.", "18"),
        ("The answer is -5.", "-5"),
        ("The answer is \u22125.", "-5"),
        ("The answer is -$5.", "-5"),
        ("The answer is $-5.", "-5"),
        ("The answer is negative 5.", "-5"),
        ("The answer is minus five hours: -5.", "-5"),
        ("The answer is 3/4.", "0.75"),
        ("The answer is 3/4.", "3/4"),
        ("The answer is $\\frac{3}{4}$.", "0.75"),
        ("The answer is 1 1/2 hours.", "1.5"),
        ("The answer is .5.", "0.5"),
        ("The answer is 2 million dollars.", "2,000,000"),
        ("The answer is $3 \\times 10^5$.", "300000"),
        ("The answer is 3e5.", "300000"),
        ("The answer is three.", "3"),
        ("#### 12,345", "12345"),
        ("So she has 18.\n#### 18", "18"),
        ("Step 1: 3 eggs.\n\n#### Step 2\nThus she makes $18 every day", "18"),
        ("18", "18"),
        ("The total is\n**540 meters**", "540"),
        ("First the answer is 7.\nNo: the answer is 18.", "18"),
        ("The answer is 18.\n\nI hope this answer is helpful! 5 stars?", "18"),
        ("Janet sells 9 eggs at $2.\nSo she makes $18 per day.", "18"),
        ("<think>The answer is 7.</think>The answer is 18.", "18"),
    ],
)
def test_right(text: str, answer: str) -> None:
    assert score(text, item(answer)) == 1.0
    assert score(text, item("987")) == 0.0


@pytest.mark.parametrize(
    "text",
    [
        "She has 16 eggs, eats 3, so 13 are left and",
        "Therefore, the answer is",
        "So the answer to the first part is 13. Therefore, the answer is",
        "Therefore, the answer is 1",
        "Therefore, the answer is 1,",
        "Therefore, the answer is 18.5",
    ],
)
def test_cut_off(text: str) -> None:
    assert score(text, item("18"), truncated=True) == Unscored("cut off at the token limit")


def test_cut_off_while_thinking() -> None:
    thinks = "<think>Let me see. The answer is 18."
    assert score(thinks, item("18"), truncated=True) == Unscored("cut off while thinking")


def test_a_final_answer_before_the_cut_counts() -> None:
    assert score("Therefore, the answer is 18. Now", item("18"), truncated=True) == 1.0
    assert score("Therefore, the answer is 18 dol", item("18"), truncated=True) == 1.0


@pytest.mark.parametrize("text", ["The answer is unknown.", "Nobody can tell.", "?", "not"])
def test_no_number(text: str) -> None:
    assert score(text, item("18")) == Unscored("no final answer found")


@pytest.mark.parametrize("answer", ["1000000", "999999999"])
def test_near_misses_are_wrong(answer: str) -> None:
    assert score(f"The answer is {int(answer) + 1}.", item(answer)) == 0.0


def test_a_refusal_is_a_wrong_answer() -> None:
    assert score("I'm sorry, but I can't help with that.", item("18")) == 0.0


@pytest.mark.parametrize("text", ["The answer is 1/0.", "The answer is 3e999.", "9" * 5000])
def test_no_number_is_too_much(text: str) -> None:
    assert score(text, item("18")) in (0.0, Unscored("no final answer found"))
