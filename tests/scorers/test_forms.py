"""Every form of a number or of an option, in every sentence around it."""

from __future__ import annotations

import pytest

from evenhand.benchmarks import Item
from evenhand.scorers import score

NUMBERS = {
    "18": 18,
    "$18": 18,
    "18 dollars": 18,
    "1,234": 1234,
    "$1,234.50": 1234.5,
    "-5": -5,
    "3/4": 0.75,
    "1 1/2": 1.5,
    "2.5": 2.5,
    "20%": 20,
    "$\\frac{3}{4}$": 0.75,
    "twenty-five": 25,
    "one hundred and twenty-five": 125,
    "two and a half": 2.5,
    "$12M": 12000000.0,
    "5k": 5000,
    "10^5": 100000.0,
    "2e5": 200000.0,
    "3 x 10^4": 30000.0,
    "1½": 1.5,
    "9 * 2 = 18": 18,
    "1 234": 1234,
    "1.234.567": 1234567,
    "−5": -5,
    "a dozen": 12,
    "3 million": 3000000.0,
    "$9 \\times 2 = 18$": 18,
}
AROUND_NUMBERS = [
    "The answer is {}.",
    "Therefore, the answer is {}.",
    "Answer: {}",
    "**Answer: {}**",
    "**Answer:** {}",
    "Final answer: {}",
    "The final answer is **{}**.",
    "<answer>{}</answer>",
    "\\boxed{{{}}}",
    "The answer is \\boxed{{{}}}.",
    "So the answer is {}, because 3 + 4 = 7.",
    "The answer is {} (see step 2).",
    "Step 1: 3 + 4 = 7.\nStep 2: done.\n\nThe answer is {}.",
    "The answer is {}.\n\nExplanation: first 3, then 4 of the 7.",
    "The answer is {}!",
    "The answer is: {}",
    "The answer is therefore {}.",
    "The correct answer is {}.",
    "I get {}.",
    "So it is {}.",
    "So the total is {}.",
    "The answer is 99. Wait, no, the answer is {}.",
    "The answer is 99. Wait, no: {}.",
    "The answer is 99... sorry, {}.",
    "The answer is not 99 but {}.",
    "The answer is {}, not 99.",
    "The answer is {} rather than 99.",
    "{}",
    "**{}**",
    "= {}",
    "x = {}",
    "#### {}",
    "<think>99 or 98?</think>{}",
    "<think>99</think>\n\nThe answer is {}.",
    "The answer is equal to {}.",
    "My answer: {}",
    "Ans: {}",
    "The answer is\n\n{}",
    "The answer is:\n\n**{}**",
    '{{"answer": "{}"}}',
    "The answer would be {}.",
    "Hence, the answer comes to {}.",
    "Thus we need {} in all.",
    "La respuesta es {}.",
    "Die Antwort ist {}.",
    "答案是{}。",
    "The answer is {} per day.",
    "The answer is {}\n",
    "The answer is {}.\nLet me know if you have 2 more questions!",
    "The answer is approximately {}.",
]
CAPITALS = ("Paris", "London", "Rome", "Berlin")
THIRD = [
    "C",
    "(C)",
    "C.",
    "**C**",
    "C) Rome",
    "(C) Rome",
    "Rome",
    "**(C) Rome**",
    "option C",
    "Option (C)",
    "c",
    "\\text{C}",
    "C: Rome",
    "`C`",
    "__C__",
    "Ｃ",
    "[C]",
    "the third option",
    "C, i.e. Rome",
]
AROUND_OPTIONS = [
    "The answer is {}.",
    "Answer: {}",
    "**Answer: {}**",
    "Final answer: {}",
    "<answer>{}</answer>",
    "\\boxed{{{}}}",
    "The correct option is {}.",
    "It's {}.",
    "I choose {}.",
    "So it must be {}.",
    "{}",
    "{}\n\nA is the capital of France, B is London.",
    "{} because A is in France.",
    "The answer is {}, not A.",
    "A is wrong. B is wrong. D is wrong. The answer is {}.",
    "Not A, not B. {}",
    "The answer is A. Wait, no, {}.",
    "The answer is {}.\n\nWhy not A? Paris is in France.\nWhy not (B)? London is in the UK.",
    "Let me think. A) is Paris. B) is London.\n\nThe answer is {}.",
    "The answer is {}.\nA is wrong.",
    "<think>A?</think>{}",
    "The answer is clearly {}.",
    "The best choice is {}.",
    "I would go with {}.",
    "{} is correct.",
    "{} is the right answer.",
    "The answer would be {} since A is in France.",
    "My final answer is {}.",
    "Therefore, {}.",
    "Correct answer: {}",
    "La respuesta correcta es {}.",
    "答案是{}。",
    "The answer is:\n\n{}",
    '{{"answer": "{}"}}',
    "(A) and (B) are wrong, so {}.",
    "I first thought A, but it is {}.",
    "The answer is {}. Answer A is wrong.",
    "Answer: {}\n\nExplanation: A) Paris is in France. B) London is in the UK. D) is Berlin.",
    "{}. B would be London.",
]


@pytest.mark.parametrize("around", AROUND_NUMBERS)
def test_numbers(around: str) -> None:
    for form, value in NUMBERS.items():
        text = around.format(form)
        item = Item("test", "1", "How many?", "utility", "number", str(value))
        assert score(text, item) == 1.0, text


@pytest.mark.parametrize("around", AROUND_OPTIONS)
def test_options(around: str) -> None:
    for form in THIRD:
        text = around.format(form)
        item = Item("test", "1", "Which?", "utility", "choice", "C", CAPITALS)
        assert score(text, item) == 1.0, text
