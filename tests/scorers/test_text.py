"""Answers of chat models to questions whose answer is a word or a few."""

from __future__ import annotations

import pytest

from evenhand.benchmarks import Item
from evenhand.scorers import Unscored, score

YES_NO = ("Yes", "No")
VALIDITY = ("valid", "invalid")


def item(answer: str, choices: tuple[str, ...] = ()) -> Item:
    return Item("test", "1", "What?", "utility", "text", answer, choices)


@pytest.mark.parametrize(
    ("text", "answer", "choices"),
    [
        ("Therefore, the answer is Yes.", "Yes", YES_NO),
        ("Therefore, the answer is **no**.", "No", YES_NO),
        ("Answer: No, she lies. I am sure, yes", "No", YES_NO),
        ("The answer is \\boxed{\\text{Yes}}.", "Yes", YES_NO),
        ("No.", "No", YES_NO),
        ("**Yes**", "Yes", YES_NO),
        ("Elanor tells the truth.\nYes, she does.", "Yes", YES_NO),
        ("Therefore, the answer is invalid.", "invalid", VALIDITY),
        ("The answer is that the argument is invalid.", "invalid", VALIDITY),
        ("The answer is that the argument is valid, as shown.", "valid", VALIDITY),
        ("Therefore, the answer is that the statement is True.", "True", ("True", "False")),
        ("The answer is False because not True is False.", "False", ("True", "False")),
    ],
)
def test_closed(text: str, answer: str, choices: tuple[str, ...]) -> None:
    other = next(choice for choice in choices if choice != answer)
    assert score(text, item(answer, choices)) == 1.0
    assert score(text, item(other, choices)) == 0.0


def test_closed_conflict() -> None:
    text = "The answer is Yes or No."
    assert score(text, item("Yes", YES_NO)) == Unscored("two conflicting answers")


@pytest.mark.parametrize("text", ["There is no way to tell why.", "It depends.", "Nothing."])
def test_closed_without_an_answer(text: str) -> None:
    assert score(text, item("No", YES_NO)) == Unscored("no final answer found")


def test_closed_negation_is_not_read_as_its_opposite() -> None:
    text = "The answer is that the argument is not valid."
    assert score(text, item("valid", VALIDITY)) == Unscored("no final answer found")


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("Therefore, the answer is ] ].", "] ]"),
        ("Therefore, the answer is `] ]`.", "] ]"),
        ("The answer is ]].", "] ]"),
        ("So the answer is: ] ) >", "] ) >"),
        ("The answer is } }.", "} }"),
        ("The answer is\n\n> >", "> >"),
        ("Therefore, the answer is barn damp greene.", "barn damp greene"),
        ("Therefore, the answer is barn, damp, greene.", "barn damp greene"),
        ("The answer is: Barn Damp Greene", "barn damp greene"),
        ("The answer is:\n\n1. barn\n2. damp\n3. greene", "barn damp greene"),
        ("The answer is:\n- barn\n- damp\n- greene\n", "barn damp greene"),
        ("barn -> damp -> greene", "barn damp greene"),
        ("The answer is barn < damp < greene.", "barn damp greene"),
        ("The answer is answer island zoo.", "answer island zoo"),
        ("The answer is it&t you've.", "it&t you've"),
        ("The answer is New York. It is large.", "New York"),
        ('Answer: "Paris".', "Paris"),
        ("The answer is $\\boxed{\\text{New York}}$.", "New York"),
        ("The answer is $\\boxed{} ]}$.", "} ]"),
        ("Paris", "Paris"),
    ],
)
def test_open(text: str, answer: str) -> None:
    assert score(text, item(answer)) == 1.0
    assert score(text, item("] ] ]" if "]" in answer else "zebra")) == 0.0


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("The answer is ] ) } >.", "] ) >"),
        ("The answer is damp barn greene.", "barn damp greene"),
        ("The answer is barn damp greene oak.", "barn damp greene"),
        ("The answer is Parisian.", "Paris"),
    ],
)
def test_open_wrong(text: str, answer: str) -> None:
    assert score(text, item(answer)) == 0.0


def test_open_without_a_final_answer() -> None:
    text = "Let me think.\nIt could be many things."
    assert score(text, item("Paris")) == Unscored("no final answer found")


@pytest.mark.parametrize("text", ["The answer is barn da", "The answer is", "Let us sort"])
@pytest.mark.parametrize("choices", [(), YES_NO])
def test_cut_off(text: str, choices: tuple[str, ...]) -> None:
    wanted = item("Yes" if choices else "barn damp", choices)
    assert score(text, wanted, truncated=True) == Unscored("cut off at the token limit")


def test_cut_off_within_a_list() -> None:
    text = "The answer is:\n1. barn\n2. da"
    wanted = item("barn damp greene")
    assert score(text, wanted, truncated=True) == Unscored("cut off at the token limit")


def test_a_final_answer_before_the_cut_counts() -> None:
    assert score("The answer is barn damp. I sor", item("barn damp"), truncated=True) == 1.0
    assert score("The answer is Yes. I sor", item("Yes", YES_NO), truncated=True) == 1.0


ASKED = "What is the capital of Greece? Reply with one word."


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("Athens is the capital of Greece.", 1.0),
        ("**Athens** is the capital.", 1.0),
        ("Athens is the city that is the capital of Greece.", 0.0),  # says more than was asked
        ("Sparta is the capital of Greece.", 0.0),
        ("Athens is not the capital of Greece.", 0.0),
        ("Athens is the capital of Italy.", 0.0),
        ("Athens is in Greece.", 1.0),
        ("Athens is.", 0.0),
    ],
)
def test_the_answer_is_what_the_question_s_words_are_said_of(text: str, value: float) -> None:
    item = Item("b", "a", ASKED, "utility", "text", answer="Athens")
    assert score(text, item) == value


def test_the_question_s_words_are_said_of_it_without_their_negation() -> None:
    item = Item("b", "a", "Which of them is not a planet?", "utility", "text", answer="Pluto")
    assert score("Pluto is not a planet.", item) == 1.0
    mars = Item("b", "a", "Which of them is not a planet?", "utility", "text", answer="Mars")
    assert score("Mars is a planet.", mars) == 0.0
