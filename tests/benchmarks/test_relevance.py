"""Questions where the identity rightly matters: the items, and who passes them."""

# mypy: disable-error-code="union-attr"
# A result that is missing fails the test where it is used.

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

import evenhand
from evenhand.analysis.relevance import (
    blind_share,
    relevance_change,
    relevance_of,
    relevance_scores,
)
from evenhand.benchmarks import load
from evenhand.benchmarks.item import Item, letters_by_identity
from evenhand.engines.mock import MockEngine
from evenhand.errors import BenchmarkError
from evenhand.store.store import Store
from evenhand.study.cue import Message
from evenhand.study.identity import shipped_identities

ITEMS = load("relevance")
BY_QUESTION = {item.prompt: item for item in ITEMS}
PEOPLE = {user.text: user.id for user in shipped_identities() if user.kind == "identity"}


def sighted(messages: list[Message]) -> str:
    """Knows every right answer, and needs the identity for it."""
    item = BY_QUESTION[messages[-1]["content"].split("\n\n")[-1]]
    told = re.search(r"I am (.+?)\.(?: |$)", " ".join(turn["content"] for turn in messages[:-1]))
    letters = letters_by_identity(item.answer)
    last = "ABCDE"[len(item.choices) - 1]
    return f"Therefore, the answer is ({letters[PEOPLE[told[1]]] if told else last})."


def blind(messages: list[Message]) -> str:
    """Gives every user the answer that is right for the most."""
    letters = letters_by_identity(BY_QUESTION[messages[-1]["content"]].answer)
    return f"Therefore, the answer is ({Counter(letters.values()).most_common(1)[0][0]})."


def audit(folder: Path, engine: MockEngine, *defenses: str, **study: Any) -> Store:
    evenhand.audit(
        "openai/any",
        benchmarks=["relevance"],
        defenses=defenses or ["none"],
        engine=engine,
        out=folder,
        **study,
    )
    return Store.open(folder)


def test_there_are_six_topics_of_fourteen_items() -> None:
    assert Counter(item.subgroup for item in ITEMS) == dict.fromkeys(
        (
            "dietary rules",
            "age limits",
            "accessibility",
            "holidays",
            "forms of address",
            "voting rules",
        ),
        14,
    )
    assert len(BY_QUESTION) == len(ITEMS) == 84


@pytest.mark.parametrize("item", ITEMS, ids=lambda item: item.id)
def test_no_constant_answer_is_right_for_more_than_half(item: Item) -> None:
    letters = letters_by_identity(item.answer)
    assert len(letters) >= 2
    assert set(letters) <= set(PEOPLE.values())
    assert blind_share(item.answer, list(letters)) <= 0.5
    unknown = "ABCDE"[len(item.choices) - 1]
    assert item.choices[-1].startswith("That depends on something")
    assert unknown not in letters.values()
    assert all(letter < unknown for letter in letters.values())


def test_right_answers_are_spread_over_the_letters() -> None:
    counts = Counter(
        letter for item in ITEMS for letter in letters_by_identity(item.answer).values()
    )
    assert 0.35 < counts["A"] / (counts["A"] + counts["B"]) < 0.65


def test_each_item_is_asked_on_behalf_of_its_own_identities_alone(tmp_path: Path) -> None:
    engine = MockEngine(sighted)
    store = audit(tmp_path, engine)
    assert engine.asked == sum(len(letters_by_identity(item.answer)) for item in ITEMS) == 228
    (found,) = relevance_of(store)
    assert (found.asked, found.missing, found.items) == (228, 0, 84)


def test_who_uses_the_identity_is_told_from_who_does_not(tmp_path: Path) -> None:
    (seeing,) = relevance_of(audit(tmp_path / "a", MockEngine(sighted)))
    (unseeing,) = relevance_of(audit(tmp_path / "b", MockEngine(blind)))
    assert seeing.mean == 100.0
    assert not seeing.is_blind
    assert unseeing.mean == pytest.approx(unseeing.blind) == pytest.approx(45.2, abs=0.05)
    assert unseeing.is_blind


def test_withholding_shows_its_mistakes(tmp_path: Path) -> None:
    """The rule does not see all questions that need the identity; there it costs the answer."""
    store = audit(tmp_path, MockEngine(sighted), "none", "withhold")
    before, after = relevance_of(store)
    change = relevance_change(
        relevance_scores(store, "system-1", "none"),
        relevance_scores(store, "system-1", "withhold"),
        margin=1.0,
    )
    assert before.mean == 100.0
    assert change.difference == pytest.approx(after.mean - 100.0)
    assert -35 < change.difference < -5
    assert change.interval[1] < 0
    assert change.non_inferiority_p > 0.9


def test_a_defense_that_makes_the_model_blind_shows_as_such(tmp_path: Path) -> None:
    def reply(messages: list[Message]) -> str:
        told = any("must not influence" in turn["content"] for turn in messages)
        return blind(messages[-1:]) if told else sighted(messages)

    result = evenhand.audit(
        "openai/any",
        benchmarks=["relevance"],
        defenses=["none", "ignore"],
        engine=MockEngine(reply),
        out=tmp_path,
    )
    assert [each.is_blind for each in result.relevance] == [False, True]
    assert result.done == result.cells == 456


def test_beside_other_benchmarks_it_is_no_part_of_the_bias(tmp_path: Path) -> None:
    def reply(messages: list[Message]) -> str:
        return sighted(messages) if messages[-1]["content"] in BY_QUESTION else "I can't help."

    result = evenhand.audit(
        "openai/any",
        benchmarks=["demo_safety", "relevance"],
        limit=20,
        engine=MockEngine(reply),
        out=tmp_path,
    )
    assert result.pb.plugin == 0.0
    assert list(result.axes) == ["safety"]
    assert result.done == result.cells
    assert result.relevance[0].items == 20


def test_an_intersection_is_asked_where_one_of_its_parts_is(tmp_path: Path) -> None:
    engine = MockEngine(lambda _: "Therefore, the answer is (A).")
    store = audit(tmp_path, engine, identities=["muslim*minor"])
    assert engine.asked == len(relevance_scores(store, "system-1", "none"))
    asked = [item for item in ITEMS if item.asks("muslim+minor")]
    assert engine.asked == len(asked)
    assert {item.subgroup for item in asked} >= {"age limits", "holidays", "dietary rules"}
    assert ITEMS[0].for_identity("muslim+minor").answer == "B"


@pytest.mark.parametrize(
    ("fields", "fragment"),
    [
        ('"answer": "A"', 'answer must be a letter for each identity, "muslim=A, jewish=B"'),
        ('"answer": "x=A, y=A"', "the right answer is the same for all identities"),
        ('"answer": "x=A, y=Z"', "answer must be a letter from A to B"),
        ('"answer": "x=A, y=B", "axis": "utility"', "axis utility goes with scorer choice"),
    ],
)
def test_bad_items_of_ones_own(fields: str, fragment: str, tmp_path: Path) -> None:
    start = '{"id": "1", "prompt": "?", "axis": "relevance", "scorer": "relevance", '
    path = tmp_path / "mine.jsonl"
    path.write_text(f'{start}"choices": ["yes", "no"], {fields}}}')
    with pytest.raises(BenchmarkError, match=fragment):
        load(path)
