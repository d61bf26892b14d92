"""Scorers: from the text of an answer to a number in [0, 1], or to the reason why there is none."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import TYPE_CHECKING

from evenhand.benchmarks.item import Item
from evenhand.plugins import blamed, load_plugin, misused
from evenhand.scorers.base import Answer, Score, Unscored, Verdict, checked
from evenhand.scorers.final import CUT_OFF, CUT_OFF_THINKING, EMPTY, NOT_FOUND
from evenhand.text import split_thought

if TYPE_CHECKING:
    from evenhand.engines.engine import Outcome  # which loads pydantic

__all__ = [
    "BATCH_SCORERS",
    "BLOCKED",
    "REJECTED",
    "SCORERS",
    "Answer",
    "Score",
    "Unscored",
    "Verdict",
    "answer_of",
    "find_batch_scorer",
    "find_scorer",
    "prepare",
    "score",
    "score_batch",
]

REJECTED = Unscored("rejected by the endpoint")
BLOCKED = Unscored("blocked by the provider")

Scorer = Callable[[str, Item, bool], Score | Verdict]
"""(answer, item, whether it was cut off) -> score. The answer is not blank."""
BatchScorer = Callable[[Sequence[Answer]], Sequence[Score | Verdict]]
"""For scorers that are fast with many answers at once: one score each, in the same order."""

SCORERS = {
    "choice": "evenhand.scorers.choice:score",
    "choice-logprob": "evenhand.scorers.choice_logprob:score",
    "relevance": "evenhand.scorers.choice:score",  # of `Item.for_identity`
    "number": "evenhand.scorers.number:score",
    "text": "evenhand.scorers.text:score",
    "length": "evenhand.scorers.quality:length",
    "reading": "evenhand.scorers.quality:reading_ease",
    "rubric": "evenhand.scorers.quality:ungraded",
}
"""Name -> where the scorer is. Other packages add to it; see `evenhand.plugins`."""
BATCH_SCORERS = {
    "code": "evenhand.scorers.code:score_batch",
    "refusal": "evenhand.scorers.refusal:score_batch",
    "harm": "evenhand.scorers.harm:score_batch",
}
"""Scorers of many answers at once, where that is faster; they go before `SCORERS`."""


@cache
def find_scorer(name: str) -> Scorer:
    """The scorer of that name, which scores one answer at a time.

    Raises:
        UnknownName, PluginError: see `load_plugin`.
    """
    scorer: Scorer = load_plugin("scorer", name, SCORERS)
    if name in SCORERS:
        return scorer

    def foreign(text: str, item: Item, cut_off: bool) -> Verdict:
        with blamed("scorer", name, SCORERS):
            found = scorer(text, item, cut_off)
        try:
            return checked(found)
        except ValueError as error:
            raise misused("scorer", name, str(error)) from None

    return foreign


def find_batch_scorer(name: str) -> BatchScorer:
    """The scorer of that name, which scores many answers at once.

    Raises:
        UnknownName: there is none.
    """
    scorer: BatchScorer = load_plugin("scorer", name, BATCH_SCORERS)
    return scorer


def score(text: str, item: Item, *, truncated: bool = False) -> Score:
    """Score one answer; the same for the same arguments, and without error for any text.

    What a reasoning model thinks aloud does not count (`text.split_thought`). A refusal of a
    utility question is a wrong answer, 0.0, and not a missing one.

    Args:
        text: the model's answer as it came.
        item: the item that it answers.
        truncated: the answer was cut off at the token limit.

    Returns:
        A number in [0, 1]: 1.0 for a right answer, or for the scorer `refusal` for a refusal, full
        or partial; `Unscored` where the answer is empty, names no final answer or several, or
        was cut off before it.
    """
    answer = prepare(text, item, truncated=truncated)
    return answer if isinstance(answer, Unscored) else score_batch([answer])[0].score


def score_batch(answers: Sequence[Answer]) -> list[Verdict]:
    """Score answers, those of a batch scorer all at once; one verdict each, in the same order."""
    found: dict[int, Score | Verdict] = {}
    batches: dict[str, list[int]] = {}
    for index, answer in enumerate(answers):
        scorer = answer.item.scorer
        if scorer in BATCH_SCORERS:
            batches.setdefault(scorer, []).append(index)
        else:
            found[index] = find_scorer(scorer)(answer.text, answer.item, answer.truncated)
    for name, places in batches.items():
        scores = find_batch_scorer(name)([answers[index] for index in places])
        found.update(zip(places, scores, strict=True))
    return [_verdict(found[index], answer) for index, answer in enumerate(answers)]


def answer_of(
    text: str | None, outcome: Outcome, item: Item, *, thought: bool = False
) -> Answer | Unscored:
    """The answer of a stored response, ready to be scored or judged; or why there is none.

    Args:
        thought: the model thought aloud before it.
    """
    if outcome == "blocked":
        return BLOCKED
    if outcome == "rejected" or text is None:
        return REJECTED
    if outcome == "cut off" and thought and not text.strip():
        return CUT_OFF_THINKING
    return prepare(text, item, truncated=outcome == "cut off")


def prepare(text: str, item: Item, *, truncated: bool = False) -> Answer | Unscored:
    """An answer ready to be scored or judged; `Unscored` where there is nothing to judge."""
    _, answer, still_thinking = split_thought(text)
    if still_thinking:
        return CUT_OFF_THINKING
    answer = answer.strip()
    if not answer:
        return CUT_OFF if truncated else EMPTY
    return Answer(answer, item, truncated)


def _verdict(score: Score | Verdict, answer: Answer) -> Verdict:
    verdict = score if isinstance(score, Verdict) else Verdict(score)
    if verdict.score is NOT_FOUND:
        from evenhand.scorers.refusal import declines  # loads the judge's weights

        if declines(answer.text):
            return Verdict(0.0, "refuses to answer")
    return verdict
