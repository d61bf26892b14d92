"""Score the responses of a run; can be repeated at any time, with better scorers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from evenhand.benchmarks.item import Item
from evenhand.engines.engine import Outcome
from evenhand.scorers import BATCH_SCORERS, Answer, Unscored, answer_of, score_batch
from evenhand.store.rows import OWN
from evenhand.store.store import Store

AnswerToScore = tuple[int, int, int, str | None, Outcome, bool]
"""A response as `Store.unscored` gives it."""

_SLOW_CHUNK = 500
"""Answers between two writes where a scorer takes its time: the most that a kill can cost."""


@contextmanager
def scored_run(folder: Path) -> Iterator[Store]:
    """The store of a run folder, all its responses scored; closed at the end.

    Raises:
        RunFolderError, StoreError: as `Store.open`.
    """
    store = Store.open(folder)
    try:
        score_run(store)
        yield store
    finally:
        store.close()


def score_run(store: Store, *, again: bool = False) -> int:
    """Score the responses that have no score yet, or all of them if `again`.

    Returns:
        How many were scored.
    """
    if not again and store.all_scored():
        return 0
    items = store.items(inactive=True)
    people = {c.id: c.identity.id for c in store.conditions(inactive=True)}
    if again:
        store.forget_rechecks(OWN)
    count = last = 0
    while rows := store.unscored(last, again=again):
        slow = any(items[row[2]].scorer in BATCH_SCORERS for row in rows)
        size = _SLOW_CHUNK if slow else len(rows)
        for start in range(0, len(rows), size):
            _score(store, rows[start : start + size], items, people)
        count += len(rows)
        last = rows[-1][0]
    return count


def _score(
    store: Store,
    rows: Sequence[AnswerToScore],
    items: Mapping[int, Item],
    people: Mapping[int, str],
) -> None:
    answers, missing = split(rows, items, people)
    verdicts = score_batch([answer for _, answer in answers])
    scored = ((response, found) for (response, _), found in zip(answers, verdicts, strict=True))
    store.write_scores([*scored, *missing])


def split(
    rows: Sequence[AnswerToScore], items: Mapping[int, Item], people: Mapping[int, str]
) -> tuple[list[tuple[int, Answer]], list[tuple[int, Unscored]]]:
    """Answers that can be scored, and why the others cannot, each with the response's id.

    Args:
        people: condition -> identity, for items whose right answer depends on it.
    """
    answers, missing = [], []
    for response, condition, item, text, outcome, thought in rows:
        asked = items[item].for_identity(people[condition])
        found = answer_of(text, outcome, asked, thought=bool(thought))
        if isinstance(found, Unscored):
            missing.append((response, found))
        else:
            answers.append((response, found))
    return answers, missing
