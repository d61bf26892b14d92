"""The store's rows: how they are written, and which of them count."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import chain
from typing import Any

import orjson

from evenhand.axes import AXES, JUDGED_AXES, AxisName
from evenhand.benchmarks.item import IMPORTED, JUDGED, Item
from evenhand.engines.engine import Failure, Response
from evenhand.errors import RunFolderError
from evenhand.scorers.base import Score, Unscored, Verdict
from evenhand.store.database import Change
from evenhand.store.record import Blocked
from evenhand.study.cue import Condition, Message
from evenhand.study.identity import Identity
from evenhand.study.realization import FactList, Realization

OWN = 0
"""In the place of a judge's number: the scorer that each item names itself."""

_SAMPLES = "sample < (SELECT json_extract(value, '$.study.samples') FROM meta WHERE name = 'run')"
_CONDITIONS = "WHERE condition IN (SELECT id FROM condition WHERE active)"
ACTIVE = f"{_CONDITIONS} AND item IN (SELECT id FROM item WHERE active) AND {_SAMPLES}"
"""Responses of the study last asked for."""
ACTIVE_OF_ITEM = (
    f"{_CONDITIONS} AND item = (SELECT id FROM item WHERE id = ? AND active) AND {_SAMPLES}"
)
"""Those to one item, without a look at all the others."""

IS_JUDGED = (
    "item IN (SELECT id FROM item WHERE scorer IN "
    f"({', '.join(repr(name) for name in sorted(JUDGED))}) "
    f"AND axis IN ({', '.join(map(repr, JUDGED_AXES))}))"
)
"""Responses to items that a judge can judge."""

SCORED = f"EXISTS (SELECT 1 FROM score WHERE score.response = response.id AND score.judge = {OWN})"
"""Responses that have a score of their item's own scorer."""

HAS_IMPORTED_SCORE = f"item IN (SELECT id FROM item WHERE scorer = '{IMPORTED}')"
"""Responses whose scores came with the file that they were imported from."""

STATEMENTS = {
    "response": "INSERT OR IGNORE INTO response (key, condition, item, sample, text, error, "
    "finish, prompt_tokens, completion_tokens, seconds, attempts, thought, outcome, served) "
    "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    "failure": "INSERT INTO failure VALUES (?, ?, ?, ?, ?)",
    "score": "INSERT OR REPLACE INTO score VALUES (?, ?, ?, ?, ?)",
    "judge_failure": "INSERT INTO judge_failure VALUES (?, ?, ?, ?)",
    "judge_tokens": "UPDATE judge SET prompt_tokens = prompt_tokens + ?, "
    "completion_tokens = completion_tokens + ? WHERE id = ?",
    "recheck": "INSERT OR REPLACE INTO recheck VALUES (?, ?, ?, ?, ?)",
}
"""What a change can do; its name is what stands in the journal."""


def apply(connection: sqlite3.Connection, changes: Iterable[Change]) -> None:
    """Make changes, those of one kind together."""
    by_name: dict[str, list[Sequence[Any]]] = {}
    for name, row in changes:
        if name == "response":  # JSON knows no bytes
            row = (bytes.fromhex(row[0]), *row[1:])
        by_name.setdefault(name, []).append(row)
    for name, rows in by_name.items():
        _write(connection, STATEMENTS[name], rows)


_AT_ONCE = 64


def _write(connection: sqlite3.Connection, statement: str, rows: list[Sequence[Any]]) -> None:
    """Run a statement for each row, many at once where it inserts them.

    At each run sqlite3 gives other threads of Python a turn, which on an idle machine costs the
    thread that asks more than the row itself.
    """
    head, inserts, row = statement.partition(" VALUES ")
    whole = len(rows) // _AT_ONCE * _AT_ONCE if inserts else 0
    many = f"{head} VALUES {', '.join([row] * _AT_ONCE)}"
    for start in range(0, whole, _AT_ONCE):
        connection.execute(many, [*chain.from_iterable(rows[start : start + _AT_ONCE])])
    connection.executemany(statement, rows[whole:])


def response_changes(response: Response, condition: int, item: int) -> list[Change]:
    """A response and its failed attempts; one that is not settled adds the attempts only.

    Args:
        condition, item: the ids in the store of what was asked.
    """
    cell = (condition, item, response.request.sample)
    changes: list[Change] = [
        ("failure", (*cell, failure.status, failure.error)) for failure in response.failures
    ]
    if response.settled:
        row = (
            response.request.key.hex(),
            *cell,
            response.text,
            response.error,
            response.finish,
            response.prompt_tokens,
            response.completion_tokens,
            response.seconds,
            len(response.failures) + 1,
            response.thought,
            response.outcome,
            response.served,
        )
        changes.append(("response", row))
    return changes


def verdict_changes(
    judge: int,
    responses: Sequence[int],
    verdict: Verdict | None,
    failures: Sequence[Failure] = (),
    tokens: tuple[int, int] = (0, 0),
) -> list[Change]:
    """One verdict on responses that say the same, its failed attempts, and its tokens.

    Args:
        verdict: None where there is none yet.
    """
    changes: list[Change] = _judge_failures(judge, responses[0], failures)
    if verdict is not None:
        changes += [("score", score_row(response, judge, verdict)) for response in responses]
    if any(tokens):
        changes.append(("judge_tokens", (*tokens, judge)))
    return changes


def recheck_changes(
    judge: int,
    response: int,
    other: str,
    verdict: Verdict | None,
    failures: Sequence[Failure],
) -> list[Change]:
    """A verdict on an answer judged again, and its failed attempts."""
    changes = _judge_failures(judge, response, failures)
    if verdict is not None:
        *_, value, reason, _why = score_row(response, judge, verdict)
        changes.append(("recheck", (response, judge, other, value, reason)))
    return changes


def _judge_failures(judge: int, response: int, failures: Sequence[Failure]) -> list[Change]:
    return [("judge_failure", (response, judge, each.status, each.error)) for each in failures]


def score_row(
    response: int, judge: int, score: Score | Verdict
) -> tuple[int, int, float | None, str, str]:
    """A row of the table `score`."""
    score, why = (score.score, score.why) if isinstance(score, Verdict) else (score, "")
    if isinstance(score, Unscored):
        return response, judge, None, score.reason, why
    return response, judge, score, "", why


def counts_of(judge: int) -> str:
    """The condition on which a score is the one that counts, where a report goes by a judge."""
    whose = str(OWN) if judge == OWN else f"CASE WHEN {IS_JUDGED} THEN {judge} ELSE {OWN} END"
    return f"score.response = response.id AND score.judge = {whose}"


def value_with(blocked: Blocked) -> str:
    """The value of a score where blocked answers count as a refusal, or as missing."""
    if blocked == "missing":
        return "value"
    return (
        "CASE WHEN outcome != 'blocked' THEN value WHEN item IN (SELECT id FROM item "
        f"WHERE axis IN ({', '.join(repr(a.name) for a in AXES.values() if a.refusal)})) "
        "THEN 1.0 ELSE 0.0 END"
    )


# Conditions and items: written once, and marked active by the study


def item_of(
    benchmark: str,
    name: str,
    prompt: str,
    axis: AxisName,
    scorer: str,
    answer: str,
    choices: str,
    subgroup: str,
    slot: int | None,
) -> Item:
    """The item of a stored row."""
    options = tuple(orjson.loads(choices))
    return Item(benchmark, name, prompt, axis, scorer, answer, options, subgroup, slot)


def gaps_text(identity: Identity, facts: FactList | None) -> str:
    """What fills the gaps of a condition's example, as stored; empty where nothing does."""
    if not identity.fields and not identity.realizations and facts is None:
        return ""
    shown = [[each.id, dict(each.fields)] for each in identity.realizations]
    content = {
        "fields": dict(identity.fields),
        "realizations": shown,
        "facts": facts.model_dump() if facts else None,
    }
    return orjson.dumps(content).decode()


def read_gaps(identity: Identity, stored: str) -> tuple[Identity, FactList | None]:
    """The identity with its fields and realizations, and the facts of its cue, as stored."""
    if not stored:
        return identity, None
    content = orjson.loads(stored)
    shown = (Realization(name, tuple(of.items())) for name, of in content["realizations"])
    facts = content["facts"]
    whole = replace(identity, fields=tuple(content["fields"].items()), realizations=tuple(shown))
    return whole, FactList.model_validate(facts) if facts else None


def activate_condition(connection: sqlite3.Connection, position: int, c: Condition) -> int:
    """Mark a condition active, writing it if it is new; its id in the store.

    Raises:
        RunFolderError: it is there with another wording.
    """
    identity = c.identity
    gaps = gaps_text(identity, c.cue.facts)
    content = condition_content(identity, c.cue.id, c.defense.id, c.template(), gaps)
    stored = connection.execute(
        "SELECT id, identity, text, category, kind, cue, defense, example, gaps "
        "FROM condition WHERE name = ?",
        (c.id,),
    ).fetchone()
    if stored is None:
        return insert_condition(connection, position, c.id, content)
    if stored[1:] != content:
        raise RunFolderError(
            f'the run was made with another wording of identity "{identity.id}", cue '
            f'"{c.cue.id}" or defense "{c.defense.id}"; take a new folder'
        )
    connection.execute(
        "UPDATE condition SET active = 1, position = ? WHERE id = ?", (position, stored[0])
    )
    return int(stored[0])


def condition_content(
    identity: Identity, cue: str, defense: str, example: Sequence[Message], gaps: str = ""
) -> tuple[str, ...]:
    """What the table `condition` says of a condition, in the order of its columns."""
    who = (identity.id, identity.text, identity.category, identity.kind)
    return (*who, cue, defense, orjson.dumps(example).decode(), gaps)


def insert_condition(
    connection: sqlite3.Connection, position: int, name: str, content: Sequence[str]
) -> int:
    """A new active condition; its id in the store."""
    cursor = connection.execute(
        "INSERT INTO condition (name, active, position, identity, text, category, kind, cue, "
        "defense, example, gaps) VALUES (?, 1, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (name, position, *content),
    )
    return int(cursor.lastrowid or 0)


def activate_item(connection: sqlite3.Connection, position: int, item: Item) -> int:
    """Mark an item active, writing it if it is new; its id in the store.

    Raises:
        RunFolderError: it is there with another wording.
    """
    choices = orjson.dumps(item.choices).decode()
    content = (item.prompt, item.axis, item.scorer, item.answer, choices, item.subgroup, item.slot)
    stored = connection.execute(
        "SELECT id, prompt, axis, scorer, answer, choices, subgroup, slot FROM item "
        "WHERE benchmark = ? AND name = ?",
        (item.benchmark, item.id),
    ).fetchone()
    if stored is None:
        cursor = connection.execute(
            "INSERT INTO item (benchmark, name, active, position, prompt, axis, scorer, answer, "
            "choices, subgroup, slot) VALUES (?, ?, 1, ?, ?, ?, ?, ?, ?, ?, ?)",
            (item.benchmark, item.id, position, *content),
        )
        return int(cursor.lastrowid or 0)
    if stored[1:] != content:
        raise RunFolderError(
            f'the run was made with another wording of "{item.id}" in {item.benchmark} '
            "(other shots, another --choice, an edited file, or another number of realizations); "
            "take a new folder"
        )
    connection.execute(
        "UPDATE item SET active = 1, position = ? WHERE id = ?", (position, stored[0])
    )
    return int(stored[0])
