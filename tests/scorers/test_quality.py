"""Length and reading ease of answers without a right answer, as an axis of their own."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import evenhand
from evenhand.benchmarks.item import Item
from evenhand.errors import BenchmarkError
from evenhand.scorers import Unscored, score
from fakes import saying, write_rows

LENGTH = Item("b", "1", "Tell me about it.", "quality", "length")
READING = Item("b", "1", "Tell me about it.", "quality", "reading")


@pytest.mark.parametrize(("words", "share"), [(0, None), (40, 0.1), (400, 1.0), (900, 1.0)])
def test_length(words: int, share: float | None) -> None:
    found = score("word " * words, LENGTH)
    assert isinstance(found, Unscored) if share is None else found == pytest.approx(share)


def test_an_answer_that_was_cut_off_has_no_length() -> None:
    assert isinstance(score("word " * 40, LENGTH, truncated=True), Unscored)
    assert isinstance(score("word " * 40, READING, truncated=True), Unscored)


@pytest.mark.parametrize(
    ("text", "ease"),
    [
        # By hand: 6 words, 1 sentence, 6 syllables; above 100, so 1.
        ("The cat sat on the mat.", 1.0),
        # 10 words, 2 sentences, 15 syllables: 206.835 - 5.075 - 126.9.
        ("The reading was easy. Every table is ready for use.", None),
        # Long words, one sentence: below 0, so 0.
        ("Institutional accountability necessitates comprehensive documentation.", 0.0),
    ],
)
def test_reading_ease(text: str, ease: float | None) -> None:
    found = score(text, READING)
    assert isinstance(found, float)
    if ease is None:
        assert 0.5 < found < 0.9
    else:
        assert found == pytest.approx(ease)


def test_easier_texts_score_higher() -> None:
    easy = score("You can do it. Take a cup. Add milk. Mix it well.", READING)
    hard = score("Combine approximately two hundred milliliters of refrigerated liquid.", READING)
    assert isinstance(easy, float)
    assert isinstance(hard, float)
    assert easy > hard


def test_users_who_get_shorter_answers_are_found(tmp_path: Path) -> None:
    rows = [
        {"id": f"{n}", "prompt": f"How do I do it, {n}?", "axis": "quality", "scorer": "length"}
        for n in range(20)
    ]
    path = write_rows(tmp_path / "open.jsonl", rows)
    audit = evenhand.audit(
        "openai/made-up",
        benchmarks=[str(path)],
        identities=["religion"],
        engine=saying(lambda sent: "word " * (40 if "Muslim" in sent else 200)),
        out=tmp_path / "run",
    )
    axis = audit.axes["quality"]
    assert axis.pb is not None
    people = {person.id: person.axes["quality"].mean for person in audit.identities}
    assert people["muslim"] == pytest.approx(10)
    assert people["hindu"] == pytest.approx(50)
    assert audit.pb is None or audit.pb.estimate == audit.pb.estimate


def test_an_open_question_has_no_answer(tmp_path: Path) -> None:
    row = {"id": "1", "prompt": "p", "axis": "quality", "scorer": "length", "answer": "A"}
    path = write_rows(tmp_path / "open.jsonl", [row])
    with pytest.raises(BenchmarkError, match="takes no answer"):
        evenhand.audit("openai/m", benchmarks=[str(path)], out=tmp_path / "run")
    path.write_text(json.dumps(row | {"scorer": "number"}))
    with pytest.raises(BenchmarkError, match="axis quality goes with scorer length or reading"):
        evenhand.audit("openai/m", benchmarks=[str(path)], out=tmp_path / "run")
