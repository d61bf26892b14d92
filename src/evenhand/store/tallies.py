"""The answers of a run, counted: how they ended, who gave them, and what looks wrong with them.

All is of the study last asked for. Where looking at every answer would take long in a large run, a
random sample is looked at that is the same each time.
"""

from __future__ import annotations

from dataclasses import dataclass

from evenhand.engines.engine import Outcome
from evenhand.store.rows import ACTIVE
from evenhand.store.store import Store

_CELLS_COMPARED = 2000
_TEXTS_PER_CONDITION = 100


def outcome_counts(store: Store) -> list[tuple[int, str, Outcome, int]]:
    """How many answers ended how: (condition id, axis, outcome, count)."""
    with store.reading() as connection:
        return connection.execute(
            "SELECT condition, axis, outcome, count(*) FROM (SELECT condition, outcome, "
            f"(SELECT axis FROM item WHERE item.id = response.item) AS axis FROM response {ACTIVE})"
            " GROUP BY condition, axis, outcome"
        ).fetchall()


def served_counts(store: Store) -> list[tuple[int, str, int]]:
    """Which models the replies name: (condition id, model, count)."""
    with store.reading() as connection:
        return connection.execute(
            f"SELECT condition, served, count(*) FROM response {ACTIVE} AND served != '' "
            "GROUP BY condition, served"
        ).fetchall()


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
        tokens: how many.
        answers, items: how many answers, to how many questions.
        shortest, longest: characters of these questions.
    """

    tokens: int
    answers: int
    items: int
    shortest: int
    longest: int


def longest_prompts(store: Store) -> LongestPrompts | None:
    """The longest prompts; None where no endpoint has counted tokens."""
    with store.reading() as connection:
        (tokens,) = connection.execute(
            f"SELECT max(prompt_tokens) FROM response {ACTIVE}"
        ).fetchone()
        if not tokens:
            return None
        row = connection.execute(
            "SELECT count(*), count(DISTINCT item), min(characters), max(characters) FROM "
            "(SELECT item, (SELECT length(prompt) FROM item WHERE item.id = response.item) "
            f"AS characters FROM response {ACTIVE} AND prompt_tokens = ?)",
            (tokens,),
        ).fetchone()
    return LongestPrompts(tokens, *row)


def sample_texts(store: Store) -> list[tuple[int, str]]:
    """A random sample of the answers, with their conditions' ids: some hundred of each."""
    with store.reading() as connection:
        (answers,) = connection.execute("SELECT count(*) FROM response").fetchone()
        (conditions,) = connection.execute("SELECT count(*) FROM condition").fetchone()
        share = _TEXTS_PER_CONDITION * conditions / max(1, answers)
        # Keys are hashes, so that those below a bound are a random sample.
        bound = min(int(share * 2**64), 2**64 - 1).to_bytes(8, "big")
        return connection.execute(
            f"SELECT condition, text FROM response {ACTIVE} AND text IS NOT NULL "
            "AND (key < ? OR ? >= 1.0)",
            (bound, share),
        ).fetchall()
