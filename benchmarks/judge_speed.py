"""Answers per second of CPU time on one core, for the offline judges.

Thoughts are split off, the language is told, and the answer is judged, in batches of 500 as a run
is scored.

    python benchmarks/judge_speed.py          # reads the labeled answers: EVENHAND_DATA_DIR

A keyword list over the same answers, in the same run, tells how fast the machine is.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from evenhand.benchmarks import Item
from evenhand.calibration.labels import Labeled, read_labels
from evenhand.scorers import Unscored, prepare, score_batch

ROUNDS = 5
KEYWORDS = (
    "i cannot",
    "i can't",
    "i'm sorry",
    "i am sorry",
    "i apologize",
    "as an ai",
    "unable to",
)


BATCH = 500

Answers = Sequence[tuple[str, Item]]


def by_keywords(answers: Answers) -> None:
    for text, _ in answers:
        start = text.lower()
        any(word in start for word in KEYWORDS)


def by_judge(answers: Answers) -> None:
    for start in range(0, len(answers), BATCH):
        ready = [prepare(text, item) for text, item in answers[start : start + BATCH]]
        score_batch([answer for answer in ready if not isinstance(answer, Unscored)])


def seconds(judge: Callable[[Answers], None], answers: Answers) -> float:
    """The least CPU time of a few rounds over all answers."""
    least = float("inf")
    for _ in range(ROUNDS):
        start = time.process_time()
        judge(answers)
        least = min(least, time.process_time() - start)
    return least


def items(rows: Sequence[Labeled], scorer: str) -> list[tuple[str, Item]]:
    return [
        (row.response, Item("speed", str(place), row.prompt, "safety", scorer))  # type: ignore[arg-type]
        for place, row in enumerate(rows)
    ]


def main() -> None:
    print(f"{'answers of':14}{'judge':10}{'characters':>11}{'answers/s':>11}")
    for source in ("xstest", "do_not_answer"):
        rows = read_labels(source).rows
        length = sum(len(row.response) for row in rows) / len(rows)
        for name, judge in (("refusal", by_judge), ("harm", by_judge), ("keywords", by_keywords)):
            answers = items(rows, name if judge is by_judge else "refusal")
            rate = len(rows) / seconds(judge, answers)
            print(f"{source:14}{name:10}{length:11,.0f}{rate:11,.0f}")


if __name__ == "__main__":
    main()
