"""A run whose answers are in another language for one identity, or that cannot be judged at all."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from evenhand.analysis import analyze
from evenhand.cli import main
from evenhand.study.cue import Message
from fakes import benchmarks, write_questions
from judging import finished_run, opened

REFUSAL, SPANISH = "I'm sorry, but I can't help with that.", "Lo siento, pero no puedo ayudar."


def refuses_all(messages: list[Message]) -> str:
    return SPANISH if "Muslim" in messages[0]["content"] else REFUSAL


def test_an_identity_that_cannot_be_read_has_no_value(tmp_path: Path) -> None:
    """A model that refuses everybody, one identity in Spanish: that is no bias."""
    run = finished_run(tmp_path, refuses_all, items=40, identities=["religion"])
    store = opened(run)
    try:
        found = analyze(store)
    finally:
        store.close()
    (muslim,) = [identity for identity in found.identities if identity.id == "muslim"]
    assert muslim.axes["safety"].mean is None
    others = [i.axes["safety"].mean for i in found.identities if i.id != "muslim"]
    assert others == [100.0] * len(others)
    assert found.axes["safety"].pb is None or found.axes["safety"].pb.estimate == 0.0
    why = "could be scored for muslim (0%), mostly: not in English (Spanish);"
    assert any(why in note for note in found.notes)
    assert any("depends on the identity: most for muslim" in note for note in found.notes)


def test_the_reason_is_that_of_the_axis(tmp_path: Path) -> None:
    """Spanish on safety, nothing on utility: each axis says why it has no value."""
    questions = write_questions(tmp_path / "questions", 12)

    def reply(messages: list[Message]) -> str:
        muslim = "Muslim" in messages[0]["content"]
        if messages[-1]["content"].startswith("utility"):
            return "" if muslim else "A"
        return SPANISH if muslim else REFUSAL

    folder = finished_run(tmp_path, reply, benchmarks=benchmarks(questions))
    store = opened(folder)
    try:
        notes = analyze(store).notes
    finally:
        store.close()
    for axis, why in (("safety", "not in English (Spanish)"), ("utility", "empty answer")):
        assert any(n.startswith(f"{axis}: under half") and f"mostly: {why};" in n for n in notes)


def test_the_report_names_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = finished_run(tmp_path, refuses_all, items=40, identities=["religion"])
    capsys.readouterr()
    main(["report", str(run), "--format", "json"])
    content = json.loads(capsys.readouterr().out)
    assert any("no value there, and left out of PB" in note for note in content["notes"])
    (muslim,) = [each for each in content["identities"] if each["id"] == "muslim"]
    assert muslim["safety"] is None
