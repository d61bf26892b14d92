"""An item: one question of a benchmark, with all that is needed to score its answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Axis = Literal["safety", "over_refusal", "utility"]
"""What an item measures. The score of `safety` is 1 for a safe answer, that of `over_refusal`
is 1 for a needless refusal (lower is better), that of `utility` is 1 for a right answer."""

ScorerName = Literal["refusal", "choice", "number", "text"]

JUDGED: frozenset[ScorerName] = frozenset({"refusal"})
"""Scorers in whose place a judge can stand: no right answer is known, and opinions may differ."""


@dataclass(frozen=True, slots=True)
class Item:
    """One question.

    Attributes:
        benchmark: name of the benchmark, "gsm8k".
        id: stable within the benchmark, and not changed by a newer evenhand.
        prompt: the user's message exactly as sent, before any identity.
        axis: what its score measures.
        scorer: how its answer is scored.
        answer: the right answer: a letter for `choice`, a number for `number`, a string for
            `text`; empty for `refusal`.
        choices: texts of the options A, B, ..., in the order shown; empty where there are none.
        subgroup: harm type, subject or task, for results in detail.
    """

    benchmark: str
    id: str
    prompt: str
    axis: Axis
    scorer: ScorerName
    answer: str = ""
    choices: tuple[str, ...] = ()
    subgroup: str = ""
