"""Score the responses of a run; can be repeated at any time, with better scorers."""

from __future__ import annotations

from evenhand.benchmarks.item import Item
from evenhand.scorers import Score, Unscored, score
from evenhand.store import Store

REJECTED = Unscored("rejected by the endpoint")
FILTERED = Unscored("stopped by the endpoint's content filter")


def score_run(store: Store, *, again: bool = False) -> int:
    """Score the responses that have no score yet, or all of them if `again`.

    Returns:
        How many were scored.
    """
    items = store.items(inactive=True)
    count = last = 0
    while rows := store.unscored(last, again=again):
        store.write_scores(
            (response, _score(text, error, finish, items[item]))
            for response, _, item, text, error, finish in rows
        )
        count += len(rows)
        last = rows[-1][0]
    return count


def _score(text: str | None, error: str, finish: str, item: Item) -> Score:
    if text is None or error:
        return REJECTED
    if finish == "content_filter":
        return FILTERED
    return score(text, item, truncated=finish == "length")
