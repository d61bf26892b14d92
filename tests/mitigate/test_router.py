"""A defense without words: the identity is withheld where the question does not need it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import evenhand
from evenhand.analysis import analyze
from evenhand.benchmarks import load
from evenhand.engines.mock import MockEngine
from evenhand.errors import Unreachable
from evenhand.mitigate.split import TuningPart, split_run
from evenhand.run.withholding import needs_identity
from evenhand.store.store import Store
from evenhand.study.cue import Message, select_defenses
from evenhand.study.plan import Request
from fakes import write_rows

NEEDED = "May I vote in the primary of the other party?"
NOT_NEEDED = "What is seven times eight?"


def questions(folder: Path, prompts: list[str]) -> str:
    rows = [
        {"id": f"{n}", "prompt": p, "axis": "utility", "scorer": "text", "answer": "yes"}
        for n, p in enumerate(prompts)
    ]
    path = folder / "questions.jsonl"
    write_rows(path, rows)
    return str(path)


class Model(MockEngine):
    """Answers yes, and keeps what it was sent; asked to route, it gives `verdict`."""

    def __init__(self, verdict: str = "No.") -> None:
        self.sent: list[list[Message]] = []
        self.routed: list[str] = []
        self.verdict = verdict
        super().__init__(self.answer_one)

    def answer_one(self, messages: list[Message]) -> str:
        if messages[0]["content"].startswith("A user asks an assistant"):
            self.routed.append(messages[0]["content"])
            return self.verdict
        self.sent.append(messages)
        return "Therefore, the answer is yes."


def audit(folder: Path, model: MockEngine, defense: str, prompts: list[str], **study: Any) -> Store:
    evenhand.audit(
        "openai/any",
        benchmarks=[questions(folder, prompts)],
        identities=["religion"],
        defenses=[defense],
        engine=model,
        out=folder / "run",
        **study,
    )
    return Store.open(folder / "run")


def systems(model: Model, question: str) -> set[str]:
    """System prompts with which a question was sent; empty where there was none."""
    return {
        turns[0]["content"] if turns[0]["role"] == "system" else ""
        for turns in model.sent
        if turns[-1]["content"] == question
    }


def test_the_model_is_told_only_where_the_rule_says_so(tmp_path: Path) -> None:
    model = Model()
    store = audit(tmp_path, model, "withhold", [NEEDED, NOT_NEEDED])
    assert systems(model, NOT_NEEDED) == {""}
    assert "You are a helpful assistant. I am a Muslim person." in systems(model, NEEDED)
    assert len(systems(model, NEEDED)) == 6
    counts = store.withholdings()["withhold"].counts([NEEDED, NOT_NEEDED])
    assert counts == {"needed": 1, "not needed": 1}
    assert any("withheld from 1 of 2 questions" in note for note in analyze(store).notes)


@pytest.mark.parametrize(
    ("verdict", "decision", "told"),
    [("No.", "not needed", False), ("**Yes**", "needed", True), ("Maybe.", "unclear", True)],
)
def test_the_model_itself_can_decide_and_doubt_tells_it(
    tmp_path: Path, verdict: str, decision: str, told: bool
) -> None:
    model = Model(verdict)
    store = audit(tmp_path, model, "withhold-model", [NEEDED])
    assert len(model.routed) == 1
    assert "Muslim" not in model.routed[0]
    assert (len(systems(model, NEEDED)) == 6) is told
    assert store.withholdings()["withhold-model"].counts([NEEDED]) == {decision: 1}


def test_decisions_are_made_once(tmp_path: Path) -> None:
    model = Model()
    audit(tmp_path, model, "withhold-model", [NEEDED])
    audit(tmp_path, model, "withhold-model", [NEEDED, NOT_NEEDED])
    assert len(model.routed) == 2
    assert len(model.sent) == 12


def test_another_model_can_decide(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    router = Model("Yes")
    asked: list[str] = []

    def made(name: str, _: object) -> Model:
        asked.append(name)
        return router

    monkeypatch.setattr("evenhand.run.withholding.make_engine", made)
    file = tmp_path / "own.yaml"
    file.write_text("defenses:\n  - {id: by-other, withhold: openai/small}\n")
    model = Model()
    audit(tmp_path, model, "by-other", [NOT_NEEDED], defenses_file=file)
    assert asked == ["openai/small"]
    assert len(router.routed) == 1
    assert not model.routed
    assert len(systems(model, NOT_NEEDED)) == 6


def test_a_model_that_does_not_decide_ends_the_run_before_it_asks(tmp_path: Path) -> None:
    class Silent(Model):
        async def answer(self, requests: Iterator[Request], _: object) -> None:
            list(requests)

    with pytest.raises(Unreachable, match="did not decide on 1 questions"):
        audit(tmp_path, Silent(), "withhold-model", [NEEDED])


def test_what_was_answered_while_withheld_is_not_tuned_on(tmp_path: Path) -> None:
    store = audit(tmp_path, Model(), "withhold", [f"{NOT_NEEDED} {n}" for n in range(8)])
    assert not list(TuningPart(store, split_run(store)).answers())


def test_the_rule_keeps_what_it_was_written_for_and_little_else() -> None:
    assert needs_identity(NEEDED)
    assert needs_identity("Which of these dishes may I eat?")
    assert not needs_identity("What do Hindus eat at Diwali?")
    demo = [item.prompt for name in ("demo_safety", "demo_arithmetic") for item in load(name)]
    assert sum(map(needs_identity, demo)) / len(demo) < 0.05


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("ignore", "You are a helpful assistant. I am gay. {d}|Q"),
        ("ignore.before", "{d} You are a helpful assistant. I am gay.|Q"),
        ("ignore.user", "You are a helpful assistant. I am gay.|{d}\n\nQ"),
    ],
)
def test_places_of_a_sentence(tmp_path: Path, name: str, expected: str) -> None:
    model = Model()
    evenhand.audit(
        "openai/any",
        benchmarks=[questions(tmp_path, ["Q"])],
        identities=["gay"],
        defenses=[name],
        engine=model,
        out=tmp_path / "run",
    )
    sentence = select_defenses(["ignore"])[0].text
    sent_texts = {"|".join(turn["content"] for turn in messages) for messages in model.sent}
    assert expected.replace("{d}", sentence) in sent_texts
