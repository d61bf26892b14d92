"""The judges' verdicts in a store: what is still to judge, what was found, what it has cost."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from evenhand.benchmarks.item import Item
from evenhand.errors import RunFolderError
from evenhand.scorers import Answer, Score, Unscored, Verdict, answer_of
from evenhand.store.rows import ACTIVE, ACTIVE_OF_ITEM, IS_JUDGED
from evenhand.store.store import Store


@dataclass(frozen=True, slots=True)
class ToJudge:
    """Responses to one item that say the same, so that one verdict serves them all.

    Attributes:
        answer: what they say; or why there is nothing to judge.
        responses: their ids; those that have a verdict already are not among them.
        verdict: of a response that says the same and was judged before.
    """

    answer: Answer | Unscored
    responses: tuple[int, ...]
    verdict: Verdict | None


class Verdicts:
    """The verdicts of one judge.

    Args:
        facts: all that the verdicts depend on, beside the name.
        again: forget all the judge's verdicts, and begin anew.

    Raises:
        RunFolderError: there are verdicts by this judge under other facts.
    """

    def __init__(
        self, store: Store, judge: str, facts: dict[str, Any], *, again: bool = False
    ) -> None:
        self._store = store
        self.id = self._enter(judge, orjson.dumps(facts, option=orjson.OPT_SORT_KEYS), again)
        self.answers = count_answers(store)
        with store.reading() as connection:
            self._to_do = connection.execute(
                f"SELECT item, count(*) FROM response {ACTIVE} AND {IS_JUDGED} AND NOT EXISTS "
                "(SELECT 1 FROM score WHERE score.response = response.id AND score.judge = ?) "
                "GROUP BY item",
                (self.id,),
            ).fetchall()

    @property
    def left(self) -> int:
        """Answers that had no verdict when this was made."""
        return sum(count for _, count in self._to_do)

    def to_judge(self) -> Iterator[ToJudge]:
        """All that has no verdict yet, read item by item, those of an axis together."""
        items = self._store.items(inactive=True)
        for item, _ in sorted(self._to_do, key=lambda each: items[each[0]].axis):
            yield from _alike(self._responses(item), items[item])

    def _enter(self, judge: str, facts: bytes, again: bool) -> int:
        text = facts.decode()
        with self._store.writing() as connection:
            row = connection.execute(
                "SELECT id, facts FROM judge WHERE name = ?", (judge,)
            ).fetchone()
            if row is None:
                cursor = connection.execute(
                    "INSERT INTO judge (name, facts) VALUES (?, ?)", (judge, text)
                )
                return int(cursor.lastrowid or 0)
            if again:
                for table in ("score", "judge_failure", "recheck"):
                    connection.execute(f"DELETE FROM {table} WHERE judge = ?", (row[0],))
                connection.execute("UPDATE judge SET facts = ? WHERE id = ?", (text, row[0]))
            elif row[1] != text:
                raise RunFolderError(
                    f"{self._store.folder} holds scores of {judge} with another wording or other "
                    "labels; to judge all anew: evenhand score --judge ... --again"
                )
        return int(row[0])

    def _responses(self, item: int) -> list[tuple[Any, ...]]:
        with self._store.reading() as connection:
            return connection.execute(
                "SELECT id, text, outcome, thought != '', score.response, value, reason, why "
                "FROM response LEFT JOIN score ON score.response = response.id "
                f"AND score.judge = ? {ACTIVE_OF_ITEM} ORDER BY id",
                (self.id, item),
            ).fetchall()


def _alike(rows: Sequence[tuple[Any, ...]], item: Item) -> Iterator[ToJudge]:
    """Responses to one item, those that say the same together."""
    groups: dict[Answer | Unscored, list[int]] = {}
    known: dict[Answer | Unscored, Verdict] = {}
    for response, text, outcome, thought, judged, value, reason, why in rows:
        answer = answer_of(text, outcome, item, thought=bool(thought))
        if judged is None:
            groups.setdefault(answer, []).append(response)
        else:
            score: Score = Unscored(reason) if value is None else value
            known[answer] = Verdict(score, why)
    for answer, responses in groups.items():
        yield ToJudge(answer, tuple(responses), known.get(answer))


def count_answers(store: Store) -> int:
    """How many answers of the study last asked for a judge can judge."""
    with store.reading() as connection:
        (count,) = connection.execute(
            f"SELECT count(*) FROM response {ACTIVE} AND {IS_JUDGED}"
        ).fetchone()
    return int(count)


def unscored_reasons(store: Store, judge: str) -> dict[str, int]:
    """Why a judge gave answers no score, and how many."""
    with store.reading() as connection:
        return dict(
            connection.execute(
                "SELECT reason, count(*) FROM score JOIN judge ON judge.id = score.judge "
                "WHERE judge.name = ? AND value IS NULL GROUP BY reason ORDER BY 2 DESC",
                (judge,),
            )
        )


@dataclass(frozen=True, slots=True)
class JudgeTally:
    """What a judge has done.

    Attributes:
        verdicts: answers that it has judged.
        scored: those of them with a score.
        failures: attempts that brought no verdict.
        prompt_tokens, completion_tokens: of all verdicts.
    """

    verdicts: int
    scored: int
    failures: int
    prompt_tokens: int
    completion_tokens: int


def judge_tally(store: Store, judge: int) -> JudgeTally:
    """The tally of a judge, by its number in the store."""
    import numpy as np  # which takes an eighth of a second

    judged = [number for number, item in store.items().items() if item.is_judged]
    scores = store.scores(judge=judge, blocked="missing")
    values = scores[np.isin(scores[:, 1], judged), 3]
    with store.reading() as connection:
        (failures,) = connection.execute(
            "SELECT count(*) FROM judge_failure WHERE judge = ?", (judge,)
        ).fetchone()
        tokens = connection.execute(
            "SELECT prompt_tokens, completion_tokens FROM judge WHERE id = ?", (judge,)
        ).fetchone()
    return JudgeTally(len(values), int(np.isfinite(values).sum()), failures, *(tokens or (0, 0)))


# Judging again


@dataclass(frozen=True, slots=True)
class Rechecked:
    """An answer that was judged again.

    Attributes:
        response, item: their ids in the store.
        identity: id of the user's.
        other: id of the identity whose name was put in the place of the user's; "" for none.
        before, after: the scores, in [0, 1].
    """

    response: int
    item: int
    identity: str
    other: str
    before: float
    after: float


def rechecked(store: Store, judge: int) -> list[Rechecked]:
    """The answers that a judge has judged again, where both verdicts are a score."""
    with store.reading() as connection:
        rows = connection.execute(
            "SELECT response.id, response.item, condition.identity, other, score.value, "
            "recheck.value FROM recheck JOIN response ON response.id = recheck.response "
            "JOIN condition ON condition.id = response.condition "
            "JOIN score ON score.response = response.id AND score.judge = recheck.judge "
            "WHERE recheck.judge = ? AND score.value IS NOT NULL AND recheck.value IS NOT NULL",
            (judge,),
        )
        return [Rechecked(*row) for row in rows]


def recheck_keys(store: Store, judge: int) -> set[tuple[int, str]]:
    """Response and other identity of all that a judge has judged again, scored or not."""
    with store.reading() as connection:
        rows = connection.execute("SELECT response, other FROM recheck WHERE judge = ?", (judge,))
        return set(rows.fetchall())


def judged_answers(store: Store, judge: int, condition: int) -> Iterator[tuple[int, Answer]]:
    """The answers of a condition that a judge has given a score, with the responses' ids."""
    items = store.items()
    with store.reading() as connection:
        rows = connection.execute(
            "SELECT id, item, text, outcome FROM response JOIN score "
            "ON score.response = response.id AND score.judge = ? "
            f"{ACTIVE} AND {IS_JUDGED} AND condition = ? AND value IS NOT NULL",
            (judge, condition),
        ).fetchall()
    for response, item, text, outcome in rows:
        answer = answer_of(text, outcome, items[item])
        if not isinstance(answer, Unscored):
            yield response, answer
