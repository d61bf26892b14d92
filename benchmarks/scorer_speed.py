"""Answers per second of CPU time on one core, for the scorers that compare with a right answer.

    python benchmarks/scorer_speed.py

The answers are of the usual length and form: a few steps, then the sentence that the prompt asks
for ("sentence"); the steps alone, whose last line holds the answer ("last line"); the answer alone
("bare"); and one that is written in an unusual way ("unusual").
"""

from __future__ import annotations

import time

from evenhand.benchmarks import Item
from evenhand.scorers import score

ROUNDS = 5
COPIES = 2000
CITIES = ("Rome", "Paris", "Berlin", "Oslo")
STEPS = (
    "Let us work it out step by step. Janet's ducks lay 16 eggs a day.\n"
    "She eats 3 for breakfast, and bakes with 4, so 16 - 3 - 4 = 9 eggs are left.\n"
    "She sells each of them for $2 at the market, which is in Paris and not in Rome.\n\n"
)
ANSWERS = {
    "number": {
        "sentence": STEPS + "Therefore, the answer is $18.",
        "last line": STEPS + "So she makes 9 * 2 = $18 every day.",
        "bare": "18",
        "unusual": STEPS + "The answer is $9 \\times 2$, that is eighteen dollars.",
    },
    "choice": {
        "sentence": STEPS + "Therefore, the answer is (B).",
        "last line": STEPS + "So it is Paris.",
        "bare": "B",
        "unusual": STEPS + "A is wrong. C and D are not correct. It must be B.",
    },
    "text": {
        "sentence": STEPS + "Therefore, the answer is Yes.",
        "last line": STEPS + "Yes, she sells them.",
        "bare": "Yes",
        "unusual": STEPS + "The statement that she sells them is true, so yes.",
    },
}


def item(scorer: str) -> Item:
    answer, choices = {
        "number": ("18", ()),
        "choice": ("B", CITIES),
        "text": ("Yes", ("Yes", "No")),
    }[scorer]
    return Item("speed", "1", "Which?", "utility", scorer, answer, choices)  # type: ignore[arg-type]


def rate(text: str, asked: Item) -> float:
    """Answers per second, in the fastest of a few rounds."""
    least = float("inf")
    for _ in range(ROUNDS):
        start = time.process_time()
        for _ in range(COPIES):
            score(text, asked)
        least = min(least, time.process_time() - start)
    return COPIES / least


def main() -> None:
    print(f"{'scorer':10}{'answer':12}{'characters':>11}{'answers/s':>11}{'score':>8}")
    for scorer, answers in ANSWERS.items():
        asked = item(scorer)
        for form, text in answers.items():
            print(f"{scorer:10}{form:12}{len(text):11,}{rate(text, asked):11,.0f}", end="")
            print(f"{score(text, asked)!s:>8}")


if __name__ == "__main__":
    main()
