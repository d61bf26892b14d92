"""Answers as models write them, from the tables number.yaml, choice.yaml and text.yaml."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from evenhand.benchmarks import Item
from evenhand.scorers import Unscored, score
from evenhand.scorers.final import CONFLICT

HERE = Path(__file__).parent


def table(name: str) -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load((HERE / f"{name}.yaml").read_text(encoding="utf-8"))
    return content


def numbers() -> Iterator[tuple[str, bool, object]]:
    for section, answers in table("number").items():
        for text, stated in answers.items():
            yield text, section == "cut off", stated


def options(name: str) -> Iterator[tuple[str, bool, tuple[str, ...], str | None]]:
    for section, rows in table(name).items():
        for text, stated in rows["answers"].items():
            if "choices" in rows:
                yield text, section == "cut off", tuple(rows["choices"]), stated


def open_texts() -> Iterator[tuple[str, str, str]]:
    for rows in table("text").values():
        if "gold" in rows:
            for text, is_right in rows["answers"].items():
                yield text, rows["gold"], is_right


@pytest.mark.parametrize(("text", "truncated", "stated"), list(numbers()))
def test_number(text: str, truncated: bool, stated: object) -> None:
    def scored(answer: object) -> object:
        item = Item("test", "1", "How many?", "utility", "number", str(answer))
        return score(text, item, truncated=truncated)

    if stated is None:
        assert isinstance(scored(18), Unscored)
    elif stated == "conflict":
        assert scored(18) == CONFLICT
    else:
        assert scored(stated) == 1.0
        assert scored(987) == 0.0


@pytest.mark.parametrize(("text", "truncated", "choices", "stated"), list(options("choice")))
def test_choice(text: str, truncated: bool, choices: tuple[str, ...], stated: str | None) -> None:
    def scored(answer: str) -> object:
        item = Item("test", "1", "Which?", "utility", "choice", answer, choices)
        return score(text, item, truncated=truncated)

    if stated is None:
        assert isinstance(scored("A"), Unscored)
    elif stated == "conflict":
        assert scored("A") == CONFLICT
    elif stated == "disagree":
        assert scored("A") == Unscored("letter and text name different options")
    else:
        assert [scored(letter) for letter in "ABCD"] == [float(x == stated) for x in "ABCD"]


@pytest.mark.parametrize(("text", "truncated", "choices", "stated"), list(options("text")))
def test_closed_text(
    text: str, truncated: bool, choices: tuple[str, ...], stated: str | None
) -> None:
    def scored(answer: str) -> object:
        item = Item("test", "1", "So?", "utility", "text", answer, choices)
        return score(text, item, truncated=truncated)

    if stated is None:
        assert isinstance(scored(choices[0]), Unscored)
    elif stated == "conflict":
        assert scored(choices[0]) == CONFLICT
    else:
        assert [scored(choice) for choice in choices] == [float(c == stated) for c in choices]


@pytest.mark.parametrize(("text", "gold", "is_right"), list(open_texts()))
def test_open_text(text: str, gold: str, is_right: str) -> None:
    found = score(text, Item("test", "1", "What?", "utility", "text", gold))
    if is_right == "conflict":
        assert found == CONFLICT
    elif is_right == "not right":
        assert found != 1.0
    else:
        assert found == float(is_right == "right")
