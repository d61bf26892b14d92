"""Rows of the store's scores: how they are written, and which of them count."""

from __future__ import annotations

from evenhand.benchmarks.item import JUDGED
from evenhand.scorers.base import Score, Unscored, Verdict

OWN = 0
"""In the place of a judge's number: the scorer that each item names itself."""

ACTIVE = (
    "WHERE condition IN (SELECT id FROM condition WHERE active) "
    "AND item IN (SELECT id FROM item WHERE active) "
    "AND sample < (SELECT json_extract(value, '$.samples') FROM meta WHERE name = 'study')"
)
"""Responses of the study last asked for."""

IS_JUDGED = (
    "item IN (SELECT id FROM item WHERE scorer IN "
    f"({', '.join(repr(name) for name in sorted(JUDGED))}))"
)
"""Responses to items that a judge can judge."""

SCORED = f"EXISTS (SELECT 1 FROM score WHERE score.response = response.id AND score.judge = {OWN})"
"""Responses that have a score of their item's own scorer."""


def counts_of(judge: int) -> str:
    """The condition on which a score is the one that counts, where a report goes by a judge."""
    whose = str(OWN) if judge == OWN else f"CASE WHEN {IS_JUDGED} THEN {judge} ELSE {OWN} END"
    return f"score.response = response.id AND score.judge = {whose}"


def score_row(
    response: int, judge: int, score: Score | Verdict
) -> tuple[int, int, float | None, str, str]:
    """A row of the table `score`."""
    score, why = (score.score, score.why) if isinstance(score, Verdict) else (score, "")
    if isinstance(score, Unscored):
        return response, judge, None, score.reason, why
    return response, judge, score, "", why
