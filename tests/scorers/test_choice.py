"""Answers of chat models to questions with lettered options."""

from __future__ import annotations

import pytest

from evenhand.benchmarks import Item
from evenhand.scorers import Unscored, score

CAPITALS = ("Rome", "Paris", "Berlin", "Oslo")


def item(answer: str, choices: tuple[str, ...] = CAPITALS) -> Item:
    return Item("test", "1", "Which?", "utility", "choice", answer, choices)


@pytest.mark.parametrize(
    "text",
    [
        "Therefore, the answer is (B).",
        "Therefore, the answer is B.",
        "Therefore, the answer is b.",
        "therefore, the answer is (b)",
        "THE ANSWER IS B",
        "**Answer: B**",
        "**Answer:** B",
        "Answer: (B) Paris",
        "**Final Answer**\n\nB",
        "### Answer:\n**(B) Paris**",
        "\\boxed{B}",
        "\\boxed{\\text{B. Paris}} since it lies in France",
        "Therefore, the answer is ... (B).",
        "Therefore, the answer is $\\boxed{\\text{B}}$.",
        "The answer is:\n\\[\n\\boxed{(B)}\n\\]",
        "B",
        "b",
        "B.",
        "(B)",
        "B) Paris",
        "B. Paris",
        "**B**",
        "Paris",
        "Paris.",
        "B) Paris is the capital of France.\nThe others are capitals of other countries.",
        "So the answer is Paris.",
        'The answer is "Paris".',
        "The answer is the city of Paris, of course.",
        "The correct answer is **B. Paris**",
        "The answer would be B: Paris, which lies in France.",
        "The answer is option B because it is in France.",
        "The answer is B - Paris",
        "The answer to this question is clearly (B).",
        "The correct option is (B).",
        "Option B is correct.",
        "It is clear that (B) is the right answer.",
        "(A) is wrong, (C) is wrong.\nTherefore, the answer is (B).",
        "At first: the answer is (A).\nBut no: the answer is (B).",
        "Therefore, the answer is (B).\n\nI hope that this answer is helpful!",
        "Therefore, the answer is (B).\n\nLet me know if you want to hear more about (A) or (C).",
        "<think>The answer is (A).</think>\n\nTherefore, the answer is (B).",
        "The answer is (A)... wait.</think>Therefore, the answer is (B).",
        "The answer is (B) and not (A).",
        "The answer is B, A good choice.",
        "The answer is (B) and the others are wrong.",
        "Therefore, the answer is D) none... no, the answer is B) Paris.",
        "Therefore, the answer is ( B ).",
    ],
)
def test_right(text: str) -> None:
    assert score(text, item("B")) == 1.0
    assert score(text, item("C")) == 0.0


@pytest.mark.parametrize(
    ("text", "choices", "answer"),
    [
        ("The answer is True, False.", ("True", "True, True", "False", "True, False"), "D"),
        ("The answer is -4.", ("4", "14", "-4", "1/4"), "C"),
        ("The answer is $-4$.", ("4", "14", "-4", "1/4"), "C"),
        ("The answer is ~A.", ("A", "~A", "B", "~B"), "B"),
        ("The answer is (B).", ("A", "~A", "B", "~B"), "B"),
        ("The answer is E. coli.", ("a virus", "yeast", "E. coli", "mould", "moss"), "C"),
        ("The answer is vitamin C.", ("vitamin D", "vitamin C", "vitamin B", "iron"), "B"),
        ("The answer is the Kuiper belt.", ("The Oort cloud", "The Kuiper belt"), "B"),
        ("The answer is Kuiper belt.", ("The Oort cloud", "The Kuiper belt"), "B"),
        ("The answer is both A and B.", ("one", "two", "Both A and B", "none"), "C"),
        ("The answer is not all of them.", ("all of them", "not all of them"), "B"),
        ("The answer is (R).", tuple(f"number {n}" for n in range(18)), "R"),
    ],
)
def test_by_text(text: str, choices: tuple[str, ...], answer: str) -> None:
    assert score(text, item(answer, choices)) == 1.0


@pytest.mark.parametrize(
    "text",
    [
        "The answer is (A) or (B).",
        "The answer is A or B.",
        "The answer is A and B.",
        "The answer is A/B.",
        "The answer is Rome or Paris.",
        "The answer is (A) Rome or (B) Paris.",
        "The answer is either (A) or (C).",
        "The answer is (A), (B).",
        "The answer is A, B, and C.",
    ],
)
def test_two_options_are_a_conflict(text: str) -> None:
    assert score(text, item("B")) == Unscored("two conflicting answers")


@pytest.mark.parametrize(
    "text",
    [
        "The answer is a city.",
        "The answer is A city in Europe.",
        "The answer is (Z).",
        "The answer is not (A).",
        "The answer is not Rome.",
        "(A) is wrong.",
        "I think it is one of these.",
        "I had a C-section.",
        "All four are cities.",
        "...",
    ],
)
def test_no_option(text: str) -> None:
    assert score(text, item("B")) == Unscored("no final answer found")


@pytest.mark.parametrize(
    "text",
    [
        "(A) is Rome. (B) is Paris, which",
        "Let us look at B) first",
        "Therefore, the answer is",
        "First, the answer is (A) for Italy. Now, the final answer is",
    ],
)
def test_cut_off(text: str) -> None:
    assert score(text, item("B"), truncated=True) == Unscored("cut off at the token limit")


def test_a_final_answer_before_the_cut_counts() -> None:
    assert score("The answer is (B). Let me add that", item("B"), truncated=True) == 1.0


def test_duplicate_options_are_told_apart_by_letter_only() -> None:
    twins = item("B", ("four", "five", "five", "six"))
    assert score("The answer is (B).", twins) == 1.0
    assert score("The answer is five.", twins) == Unscored("no final answer found")


def test_a_number_is_not_taken_for_its_beginning() -> None:
    numbers = item("A", ("4", "5", "6"))
    assert score("The answer is 4.", numbers) == 1.0
    assert score("The answer is 4.5.", numbers) == Unscored("no final answer found")


def test_without_choices_any_letter_is_an_option() -> None:
    assert score("The answer is (H).", item("H", ())) == 1.0


def test_a_refusal_is_a_wrong_answer() -> None:
    assert score("I'm sorry, but I can't help with that.", item("B")) == 0.0
