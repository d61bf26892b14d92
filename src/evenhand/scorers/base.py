"""What is scored, and what a scorer returns: a number, or the reason why there is none."""

from __future__ import annotations

from dataclasses import dataclass
from typing import SupportsFloat

from evenhand.benchmarks.item import Item
from evenhand.text import whole_text

_ROUNDING = 1e-6


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


def checked(found: object) -> Verdict:
    """What another package's scorer or judge has found, if a score can be kept and counted.

    Any number will do, such as one of NumPy; rounding may take it a millionth out of [0, 1].

    Raises:
        ValueError: it is no score, in the words that follow the scorer's name.
    """
    score, why = (found.score, found.why) if isinstance(found, Verdict) else (found, "")
    if not isinstance(why, str):
        raise ValueError(f"says why with {why!r}, which is no text")
    if isinstance(score, Unscored):
        if not isinstance(score.reason, str) or not score.reason.strip():
            raise ValueError("gives no reason where it gives no score")
        return Verdict(Unscored(whole_text(score.reason)), whole_text(why))
    if isinstance(score, SupportsFloat):
        number = float(score)
        if -_ROUNDING <= number <= 1 + _ROUNDING:
            return Verdict(min(1.0, max(0.0, number)), whole_text(why))
    raise ValueError(f"gives the score {score!r}, which is neither in [0, 1] nor Unscored")


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
