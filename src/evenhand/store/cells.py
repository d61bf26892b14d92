"""Rows of the store's conditions and items: written once, and marked active by the study."""

from __future__ import annotations

import sqlite3
from dataclasses import replace

import orjson

from evenhand.axes import AxisName
from evenhand.benchmarks.item import Item
from evenhand.errors import RunFolderError
from evenhand.study.cue import Condition


def item_of(
    benchmark: str,
    name: str,
    prompt: str,
    axis: AxisName,
    scorer: str,
    answer: str,
    choices: str,
    subgroup: str,
) -> Item:
    """The item of a stored row."""
    options = tuple(orjson.loads(choices))
    return Item(benchmark, name, prompt, axis, scorer, answer, options, subgroup)


def activate_condition(connection: sqlite3.Connection, position: int, c: Condition) -> int:
    """Mark a condition active, writing it if it is new; its id in the store.

    Raises:
        RunFolderError: it is there with another wording.
    """
    example = orjson.dumps(replace(c, told=None).messages("{question}")).decode()
    who = c.identity
    content = (who.id, who.text, who.category, who.kind, c.cue.id, c.defense.id, example)
    stored = connection.execute(
        "SELECT id, identity, text, category, kind, cue, defense, example "
        "FROM condition WHERE name = ?",
        (c.id,),
    ).fetchone()
    if stored is None:
        cursor = connection.execute(
            "INSERT INTO condition (name, active, position, identity, text, category, kind, cue, "
            "defense, example) VALUES (?, 1, ?, ?, ?, ?, ?, ?, ?, ?)",
            (c.id, position, *content),
        )
        return int(cursor.lastrowid or 0)
    if stored[1:] != content:
        raise RunFolderError(
            f'the run was made with another wording of identity "{who.id}", cue "{c.cue.id}" or '
            f'defense "{c.defense.id}"; take a new folder with --out'
        )
    connection.execute(
        "UPDATE condition SET active = 1, position = ? WHERE id = ?", (position, stored[0])
    )
    return int(stored[0])


def activate_item(connection: sqlite3.Connection, position: int, item: Item) -> int:
    """Mark an item active, writing it if it is new; its id in the store.

    Raises:
        RunFolderError: it is there with another wording.
    """
    choices = orjson.dumps(item.choices).decode()
    content = (item.prompt, item.axis, item.scorer, item.answer, choices, item.subgroup)
    stored = connection.execute(
        "SELECT id, prompt, axis, scorer, answer, choices, subgroup FROM item "
        "WHERE benchmark = ? AND name = ?",
        (item.benchmark, item.id),
    ).fetchone()
    if stored is None:
        cursor = connection.execute(
            "INSERT INTO item (benchmark, name, active, position, prompt, axis, scorer, answer, "
            "choices, subgroup) VALUES (?, ?, 1, ?, ?, ?, ?, ?, ?, ?)",
            (item.benchmark, item.id, position, *content),
        )
        return int(cursor.lastrowid or 0)
    if stored[1:] != content:
        raise RunFolderError(
            f'the run was made with another wording of "{item.id}" in {item.benchmark} '
            "(other shots, or an edited file); take a new folder with --out"
        )
    connection.execute(
        "UPDATE item SET active = 1, position = ? WHERE id = ?", (position, stored[0])
    )
    return int(stored[0])
