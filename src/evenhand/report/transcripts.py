"""Every answer of a run as one line of JSON: what was asked, answered and scored."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from evenhand.analysis.grid import select_judge
from evenhand.store.store import Store, StoredAnswer


def transcript_lines(store: Store, judge: str | None = None) -> Iterator[str]:
    """One line of JSON for each answer, item by item, read as it goes.

    Fields: benchmark, item, subgroup, axis, identity, kind (identity, placebo or baseline),
    realization (such as the name that the identity was shown by, or null), cue, defense, sample,
    messages (as sent), answer (null where there is none), thought, error (why there is none, in
    the provider's words, or null), outcome and finish (how the answer ended), score (0 to 1, or
    null), unscored (the reason, or null), judge (whose score) and why (what led to it). Where the
    store leaves texts out, messages, answer, thought, error and why are not there.

    Args:
        judge: whose scores; None as `select_judge` says.

    Raises:
        RunFolderError: this judge has scored nothing in the run.
        StoreError: the store cannot be read.
    """
    name, number = select_judge(store, judge)
    own = store.own_judge()
    for answer in store.stored_answers(judge=number):
        judged = name != own and answer.item.is_judged
        line = json.dumps(_fields(answer, name if judged else answer.item.scorer))
        # ASCII alone, so that no character of an answer is one that a terminal obeys.
        yield line.replace("\x7f", "\\u007f") + "\n"


def _fields(answer: StoredAnswer, scorer: str) -> dict[str, Any]:
    condition, item = answer.condition, answer.item
    texts = {
        "messages": answer.messages,
        "answer": answer.text,
        "thought": answer.thought,
        "error": answer.error or None,
        "why": answer.why,
    }
    return {
        "benchmark": item.benchmark,
        "item": item.id,
        "subgroup": item.subgroup,
        "axis": item.axis,
        "identity": condition.identity.id,
        "kind": condition.identity.kind,
        "realization": answer.realization,
        "cue": condition.cue,
        "defense": condition.defense,
        "sample": answer.sample,
        "outcome": answer.outcome,
        "finish": answer.finish,
        "score": answer.score,
        "unscored": answer.reason or None,
        "judge": scorer,
        **({} if answer.left_out else texts),
    }
