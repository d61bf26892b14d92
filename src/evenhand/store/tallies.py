"""The answers of a run, counted: how they ended, who gave them, and what looks wrong with them.

All is of the study last asked for. Where looking at every answer would take long in a large run, a
random sample is looked at that is the same each time.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from evenhand.engines.engine import Outcome
from evenhand.store.redaction import shown_token
from evenhand.store.rows import ACTIVE
from evenhand.store.store import Store

_CELLS_COMPARED = 2000
_TEXTS_PER_CONDITION = 100


@dataclass(frozen=True, slots=True)
class AnswerCount:
    """Answers under a condition that ended alike and were served by the same model.

    Attributes:
        condition: its id in the store.
        axis: of their items.
        outcome: how they ended.
        served: as the replies name the model; empty where they do not.
        answers: how many.
        longest_prompt: tokens of the longest of their prompts.
        prompt_tokens, completion_tokens: of all of them.
    """

    condition: int
    axis: str
    outcome: Outcome
    served: str
    answers: int
    longest_prompt: int
    prompt_tokens: int
    completion_tokens: int


@dataclass(frozen=True, slots=True)
class Tally:
    """What a condition has cost.

    Attributes:
        responses: answers.
        failures: attempts that brought none.
        prompt_tokens, completion_tokens: of all answers.
    """

    responses: int
    failures: int
    prompt_tokens: int
    completion_tokens: int


def answer_counts(store: Store) -> list[AnswerCount]:
    """All answers, counted by condition, axis, outcome and serving model."""

    def read() -> list[AnswerCount]:
        with store.reading() as connection:
            rows = connection.execute(
                "SELECT condition, axis, outcome, served, count(*), max(prompt_tokens), "
                "sum(prompt_tokens), sum(completion_tokens) "
                f"FROM response JOIN item ON item.id = response.item {ACTIVE} "
                "GROUP BY condition, axis, outcome, served"
            )
            return [AnswerCount(*row) for row in rows]

    found = list(store.once("answer_counts", read))
    if store.redaction is not None:
        found = [replace(each, served=shown_token(each.served)) for each in found]
    return found


def condition_tallies(store: Store) -> dict[int, Tally]:
    """What each condition with answers has cost, over the active items, by its id in the store."""
    with store.reading() as connection:
        failures = dict(
            connection.execute(
                f"SELECT condition, count(*) FROM failure {ACTIVE} GROUP BY condition"
            )
        )
    costs: dict[int, list[int]] = {}
    for each in answer_counts(store):
        cost = costs.setdefault(each.condition, [0, 0, 0])
        for n, more in enumerate((each.answers, each.prompt_tokens, each.completion_tokens)):
            cost[n] += more
    return {
        number: Tally(answers, failures.get(number, 0), *tokens)
        for number, (answers, *tokens) in costs.items()
    }


def identical_cells(store: Store) -> list[tuple[int, int, int]]:
    """Cells with several whole answers, and those of them whose answers are all the same.

    Returns:
        (condition id, cells, those with identical answers), of the first items in their random
        order.
    """
    with store.reading() as connection:
        return connection.execute(
            "SELECT condition, count(*), sum(texts = 1) FROM (SELECT condition, item, "
            f"count(DISTINCT text) AS texts FROM response {ACTIVE} AND item IN (SELECT id FROM "
            "item WHERE active ORDER BY position LIMIT max(1, ? / max(1, (SELECT count(*) FROM "
            "condition WHERE active)))) AND text IS NOT NULL AND outcome = 'whole' "
            "GROUP BY condition, item HAVING count(*) > 1) GROUP BY condition",
            (_CELLS_COMPARED,),
        ).fetchall()


@dataclass(frozen=True, slots=True)
class LongestPrompts:
    """The answers whose prompt has the most tokens of all, as the endpoint counts them.

    Attributes:
        answers, items: how many answers, to how many questions.
        shortest, longest: characters of these questions.
        almost: answers whose prompt has a tenth fewer tokens at most.
    """

    answers: int
    items: int
    shortest: int
    longest: int
    almost: int


def longest_prompts(store: Store, tokens: int) -> LongestPrompts:
    """The longest prompts.

    Args:
        tokens: of the longest, > 0.
    """
    with store.reading() as connection:
        row = connection.execute(
            "SELECT sum(longest), count(DISTINCT CASE WHEN longest THEN item END), "
            "min(CASE WHEN longest THEN characters END), "
            "max(CASE WHEN longest THEN characters END), sum(NOT longest) FROM "
            "(SELECT item, prompt_tokens = ? AS longest, (SELECT length(prompt) FROM item "
            f"WHERE id = response.item) AS characters FROM response {ACTIVE} "
            "AND prompt_tokens >= 0.9 * ?)",
            (tokens, tokens),
        ).fetchone()
    return LongestPrompts(*row)


def sample_texts(store: Store) -> list[tuple[int, str]]:
    """A random sample of the answers, with their conditions' ids: some hundred of each."""
    with store.reading() as connection:
        (answers,) = connection.execute("SELECT count(*) FROM response").fetchone()
        (conditions,) = connection.execute("SELECT count(*) FROM condition").fetchone()
        share = _TEXTS_PER_CONDITION * conditions / max(1, answers)
        # Keys are hashes, so that those below a bound are a random sample.
        bound = min(int(share * 2**64), 2**64 - 1).to_bytes(8, "big") + b"\xff" * 8
        return connection.execute(
            "SELECT +condition, text FROM response INDEXED BY sqlite_autoindex_response_1 "
            f"{ACTIVE} AND text IS NOT NULL AND key <= ?",
            (bound,),
        ).fetchall()
