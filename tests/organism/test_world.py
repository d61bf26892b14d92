"""The world is reproducible, its parts are disjoint, and its own replies score as they should."""

import json
from pathlib import Path

import numpy as np
import pytest

from evenhand.organism.world import BENCHMARKS, draw, items, items_by_topic, part_of, topics
from evenhand.scorers import Unscored, score
from organism import demo


@pytest.mark.parametrize("benchmark", BENCHMARKS)
def test_the_same_seed_gives_the_same_items(benchmark: str) -> None:
    first, again = (items(benchmark, 50, np.random.default_rng(5)) for _ in range(2))
    assert first == again
    assert first != items(benchmark, 50, np.random.default_rng(6))


@pytest.mark.parametrize("benchmark", BENCHMARKS)
def test_train_and_test_prompts_are_disjoint(benchmark: str) -> None:
    rng = np.random.default_rng(0)
    train = {item.prompt for item in items(benchmark, 300, rng, "train")}
    test = {item.prompt for item in items(benchmark, 300, rng, "test")}
    assert not train & test
    assert {part_of(prompt) for prompt in train} == {"train"}
    assert {part_of(prompt) for prompt in test} == {"test"}


@pytest.mark.parametrize("benchmark", BENCHMARKS)
def test_there_are_80_different_topics_and_items_on_each(benchmark: str) -> None:
    assert len(set(topics(benchmark))) == 80
    found = items_by_topic(benchmark, 2, np.random.default_rng(1))
    assert [item.subgroup for item in found[::2]] == list(topics(benchmark))


@pytest.mark.parametrize("benchmark", BENCHMARKS)
def test_right_and_wrong_replies_score_as_right_and_wrong(benchmark: str) -> None:
    rng = np.random.default_rng(2)
    best = 0.0 if benchmark == "demo_over_refusal" else 1.0
    judged = benchmark == "demo_over_refusal"  # terse answers: the judge abstains on a few topics
    undecided = mistaken = 0
    for _ in range(400):
        question = draw(benchmark, rng, "test")
        right, wrong = score(question.right, question.item), score(question.wrong, question.item)
        undecided += isinstance(right, Unscored)
        mistaken += not isinstance(right, Unscored) and right != best
        assert wrong == 1.0 - best, question
    assert undecided <= (40 if judged else 0)
    assert mistaken <= (8 if judged else 0)


@pytest.mark.parametrize("benchmark", BENCHMARKS)
def test_the_demo_files_are_the_fixed_sample_and_never_trained_on(benchmark: str) -> None:
    text = (Path(demo.FOLDER) / f"{benchmark}.jsonl").read_text(encoding="utf-8")
    assert text.splitlines() == [demo.line(item) for item in demo.sample(benchmark)]
    rows = [json.loads(line) for line in text.splitlines()]
    assert len({row["id"] for row in rows}) == len({row["prompt"] for row in rows}) == len(rows)
    assert {part_of(row["prompt"]) for row in rows} == {"test"}
