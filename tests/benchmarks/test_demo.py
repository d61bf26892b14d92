"""The demo suite, which ships in the package."""

from __future__ import annotations

import json
from pathlib import Path
from string import ascii_uppercase

import pytest

import evenhand
from evenhand.benchmarks import SUITES, find_benchmark, load
from evenhand.scorers import score


@pytest.mark.parametrize("name", SUITES["demo"])
def test_items(name: str) -> None:
    items = load(name, offline=True)
    assert len(items) == find_benchmark(name).size > 0
    assert {item.axis for item in items} == set(find_benchmark(name).axes)
    assert len({item.id for item in items}) == len(items)
    assert all(item.subgroup for item in items)


@pytest.mark.parametrize("name", SUITES["demo"])
def test_right_answers_score_one(name: str) -> None:
    for item in load(name):
        if item.axis == "utility":
            assert score(f"Therefore, the answer is {item.answer}.", item) == 1.0
        if item.scorer == "choice":
            other = ascii_uppercase[1 if item.answer == "A" else 0]
            assert score(f"Therefore, the answer is {other}.", item) == 0.0


@pytest.mark.parametrize("name", SUITES["demo"])
def test_prompts_are_sent_as_they_are_in_the_file(name: str) -> None:
    path = Path(evenhand.__file__).parent / "data" / "demo" / f"{name}.jsonl"
    written = [json.loads(line)["prompt"] for line in path.read_text("utf-8").splitlines()]
    assert [item.prompt for item in load(name)] == written
