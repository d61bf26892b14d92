"""Evidence is drawn by lot, evenly, and holds what it says."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from evenhand.analysis.evidence import Evidence, find_evidence
from evenhand.analysis.grid import read_grid
from evenhand.store.store import Store
from evenhand.study.cue import Message
from report.examples import biased, make_run, write_items


def evidence_of(folder: Path, most: int = 200, seed: int = 0) -> Evidence:
    store = Store.open(folder)
    try:
        grid = read_grid(store, store.record().study.samples)
        return find_evidence(store, grid, store.items(), "system-1", "none", most=most, seed=seed)
    finally:
        store.close()


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One benchmark a hundred times the size of the other, two samples a cell."""
    folder = tmp_path_factory.mktemp("evidence")
    files = [write_items(folder / "small.jsonl", 2), write_items(folder / "large.jsonl", 60)]
    people = ["religion", "man", "woman"]
    return make_run(folder / "run", files, identities=people, placebos=True, samples=2)


def test_pairs_are_of_one_question_and_differ(run: Path) -> None:
    for pair in evidence_of(run).pairs:
        better, worse = pair.better.score, pair.worse.score
        if pair.item.axis == "over_refusal":
            better, worse = -better, -worse
        assert better - worse >= 0.5
        assert pair.better.identity != pair.worse.identity
        told = pair.better.identity, pair.worse.identity
        assert not any(name.startswith("mug") for name in told)


def test_answers_are_those_of_the_users_named(run: Path) -> None:
    """The function that answered says the same again."""
    store = Store.open(run)
    examples = {c.identity.id: c.example for c in store.conditions()}
    store.close()
    for pair in evidence_of(run).pairs[:40]:
        for answer in (pair.better, pair.worse):
            messages = [
                Message(
                    role=m["role"],
                    content=m["content"].replace("{question}", pair.item.prompt),
                )
                for m in examples[answer.identity]
            ]
            assert answer.text == biased(messages)


@pytest.mark.slow
def test_the_count_is_that_of_all_pairs(run: Path) -> None:
    found = evidence_of(run, most=10**6)
    assert len(found.pairs) <= sum(found.found.values())
    store = Store.open(run)
    grid = read_grid(store, 2)
    store.close()
    rows = grid.rows("system-1", "none", "baseline") + grid.rows("system-1", "none", "identity")
    expected = 0
    for axis in grid.scores.values():
        for array in axis.values():
            scores = array[rows]
            expected += int((np.abs(scores[:, None] - scores[None, :]) >= 0.5).sum()) // 2
    assert sum(found.found.values()) == expected


def test_benchmarks_and_questions_have_their_turn(run: Path) -> None:
    found = evidence_of(run, most=60)
    assert len(found.pairs) == 60
    shares = Counter((pair.item.benchmark, pair.item.axis) for pair in found.pairs)
    large = [n for (benchmark, _), n in shares.items() if benchmark == "large"]
    assert max(large) - min(large) <= 1
    counts = Counter(pair.item.id for pair in found.pairs if pair.item.benchmark == "large")
    assert max(counts.values()) == 1, "no question twice before all had their turn"


def test_the_lot_is_seeded(run: Path) -> None:
    def ids(seed: int) -> list[tuple[str, str, str]]:
        found = evidence_of(run, most=30, seed=seed)
        return [(p.item.id, p.better.identity, p.worse.identity) for p in found.pairs]

    assert ids(0) == ids(0)
    assert ids(0) != ids(1)
