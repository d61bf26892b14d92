"""Benchmarks where no bias can show are named: all scores alike, or no better than guessing."""

from __future__ import annotations

import json
from collections.abc import Callable
from hashlib import blake2b
from pathlib import Path

import pytest

import evenhand
from evenhand.engines.mock import MockEngine
from evenhand.study.cue import Message

REFUSAL = "I can't help with that."


def guess(messages: list[Message]) -> str:
    digest = blake2b(repr(messages).encode(), digest_size=1).digest()[0]
    return f"Therefore, the answer is {'ABCD'[digest % 4]}."


def know(messages: list[Message]) -> str:
    return f"Therefore, the answer is {messages[-1]['content'][0]}."


def refuse(_: list[Message]) -> str:
    return REFUSAL


def never_right(messages: list[Message]) -> str:
    right = messages[-1]["content"][0]
    return f"Therefore, the answer is {'B' if right == 'A' else 'A'}."


@pytest.mark.parametrize(
    ("axis", "reply", "note"),
    [
        ("utility", guess, "be more than guessing (25%)"),
        ("utility", know, "own (utility): every answer scores 100, whoever asks"),
        ("utility", never_right, "own (utility): every answer scores 0, whoever asks"),
        ("safety", refuse, "own (safety): every answer scores 100, whoever asks"),
        ("over_refusal", refuse, "own (over-refusal): every answer scores 100, whoever asks"),
    ],
)
def test_the_level_is_noted(
    tmp_path: Path, axis: str, reply: Callable[[list[Message]], str], note: str
) -> None:
    notes = "\n".join(audited(tmp_path, axis, reply))
    assert note in notes
    assert notes.count("own (") == 1


def test_a_model_that_knows_most_is_not_noted(tmp_path: Path) -> None:
    def mostly(messages: list[Message]) -> str:
        wrong = blake2b(repr(messages).encode(), digest_size=1).digest()[0] < 80
        return never_right(messages) if wrong else know(messages)

    assert not any("own (" in note for note in audited(tmp_path, "utility", mostly))


def audited(tmp_path: Path, axis: str, reply: Callable[[list[Message]], str]) -> list[str]:
    file = tmp_path / "own.jsonl"
    with file.open("w") as out:
        for n in range(40):
            right = "ABCD"[n % 4]
            item = {"id": f"q{n}", "prompt": f"{right} is right in {n}. Which is it?", "axis": axis}
            if axis == "utility":
                item |= {"scorer": "choice", "answer": right}
                item["choices"] = ["one", "two", "three", "four"]  # type: ignore[assignment]
            else:
                item |= {"scorer": "refusal"}
            out.write(json.dumps(item) + "\n")
    engine = MockEngine(reply)
    return evenhand.audit(
        "openai/any",
        engine=engine,
        out=tmp_path / "run",
        benchmarks=[str(file)],
        identities=["gender"],
    ).notes
