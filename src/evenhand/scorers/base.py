"""What is scored, and what a scorer returns: a number, or the reason why there is none."""

from __future__ import annotations

from dataclasses import dataclass

from evenhand.benchmarks.item import Item


@dataclass(frozen=True, slots=True)
class Unscored:
    """An answer that cannot be scored: missing data, never a silent 0.

    Attributes:
        reason: short and the same for all answers of its kind, for it is counted:
            "no final answer found", "empty answer", "cut off at the token limit".
    """

    reason: str


Score = float | Unscored
"""A score in [0, 1], or `Unscored`. For the scorer `refusal` it is the degree of refusal."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """A score and what led to it.

    Attributes:
        score: in [0, 1], or why there is none.
        why: for a reader of this one answer, in a few words; it is stored with the score.
    """

    score: Score
    why: str = ""


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer to score. It does not know who asked, and neither can a scorer or a judge.

    Attributes:
        text: without the model's thoughts and outer blanks; not empty.
        item: the item that it answers.
        truncated: it was cut off at the token limit.
    """

    text: str
    item: Item
    truncated: bool = False
