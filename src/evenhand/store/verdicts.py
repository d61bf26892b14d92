"""One judge's verdicts in a store: what is still to judge, and what was found."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from evenhand.benchmarks.item import Item
from evenhand.engines.engine import Failure
from evenhand.errors import RunFolderError
from evenhand.scorers import Answer, Score, Unscored, Verdict
from evenhand.scorers.run import answer_of
from evenhand.store.rows import ACTIVE, IS_JUDGED, score_row
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


@dataclass(frozen=True, slots=True)
class Judged:
    """What is to be written: one verdict and what it cost.

    Attributes:
        verdict: None where there is none yet; its failures are written all the same.
    """

    responses: tuple[int, ...]
    verdict: Verdict | None
    failures: Sequence[Failure] = ()
    prompt_tokens: int = 0
    completion_tokens: int = 0


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
        """All that has no verdict yet, read item by item."""
        items = self._store.items(inactive=True)
        for item, _ in self._to_do:
            yield from _alike(self._responses(item), items[item])

    def write(self, found: Sequence[Judged]) -> None:
        """Put verdicts, failed attempts and tokens on disk, all of them or none."""
        scores = [
            score_row(response, self.id, each.verdict)
            for each in found
            if each.verdict is not None
            for response in each.responses
        ]
        failures = [
            (each.responses[0], self.id, failure.status, failure.error)
            for each in found
            for failure in each.failures
        ]
        tokens = [sum(each.prompt_tokens for each in found)]
        tokens.append(sum(each.completion_tokens for each in found))
        with self._store.writing() as connection:
            connection.executemany("INSERT OR REPLACE INTO score VALUES (?, ?, ?, ?, ?)", scores)
            connection.executemany("INSERT INTO judge_failure VALUES (?, ?, ?, ?)", failures)
            connection.execute(
                "UPDATE judge SET prompt_tokens = prompt_tokens + ?, "
                "completion_tokens = completion_tokens + ? WHERE id = ?",
                (*tokens, self.id),
            )

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
                "SELECT id, text, error, finish, score.response, value, reason, why "
                "FROM response LEFT JOIN score ON score.response = response.id "
                f"AND score.judge = ? {ACTIVE} AND item = ? ORDER BY id",
                (self.id, item),
            ).fetchall()


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


def _alike(rows: Sequence[tuple[Any, ...]], item: Item) -> Iterator[ToJudge]:
    """Responses to one item, those that say the same together."""
    groups: dict[Answer | Unscored, list[int]] = {}
    known: dict[Answer | Unscored, Verdict] = {}
    for response, text, error, finish, judged, value, reason, why in rows:
        answer = answer_of(text, error, finish, item)
        if judged is None:
            groups.setdefault(answer, []).append(response)
        else:
            score: Score = Unscored(reason) if value is None else value
            known[answer] = Verdict(score, why)
    for answer, responses in groups.items():
        yield ToJudge(answer, tuple(responses), known.get(answer))
