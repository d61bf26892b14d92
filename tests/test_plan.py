"""The grid of cells, their keys and their order."""

from __future__ import annotations

import subprocess
import sys
import tracemalloc
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from evenhand.benchmarks.item import Item
from evenhand.study.plan import Plan
from runs import plan_of, write_benchmark


@pytest.fixture(scope="module")
def benchmark(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_benchmark(tmp_path_factory.mktemp("plan") / "own.jsonl", 30)


def plan(benchmark: Path, **fields: Any) -> Plan:
    return plan_of(fields.pop("model", "openai/m"), benchmark, **fields)


def keys(made: Plan) -> list[bytes]:
    return [request.key for request in made.requests()]


def test_every_cell_has_a_key_of_its_own(benchmark: Path) -> None:
    made = plan(
        benchmark, samples=2, placebos=True, cues=["system", "user"], defenses=["none", "ignore"]
    )
    found = keys(made)
    assert len(found) == len(set(found)) == made.cells
    assert made.cells == (1 + 31 + 14) * 2 * 2 * 30 * 2


def test_each_cue_and_defense_has_its_own_baseline(benchmark: Path) -> None:
    made = plan(benchmark, cues=["system", "user"], defenses=["none", "ignore"])
    bases = [c for c in made.conditions if c.identity.kind == "baseline"]
    assert {(c.cue.id, c.defense.id) for c in bases} == {
        (cue, defense) for cue in ("system-1", "user-1") for defense in ("none", "ignore")
    }


@pytest.mark.parametrize(
    "change",
    [
        {"model": "openai/n"},
        {"decoding": {"temperature": 0.5}},
        {"decoding": {"max_tokens": 5}},
        {"decoding": {"top_k": 5}},
        {"decoding": {"seed": 1}},
        {"decoding": {"stop": ["x"]}},
        {"decoding": {"extra": {"min_p": 0.1}}},
        {"cues": ["system-2"]},
        {"defenses": ["ignore"]},
    ],
    ids=str,
)
def test_whatever_changes_the_answer_changes_every_key(
    benchmark: Path, change: dict[str, Any]
) -> None:
    assert not set(keys(plan(benchmark))) & set(keys(plan(benchmark, **change)))


def test_keys_change_with_the_sample_the_question_and_the_placement(benchmark: Path) -> None:
    made = plan(benchmark)
    assert made.request(0, 0, 0).key != made.request(0, 0, 1).key
    edited = replace(made.items[0], prompt=made.items[0].prompt + " ")
    other = replace(made, items=(edited, *made.items[1:]))
    assert other.request(0, 0).key != made.request(0, 0).key
    assert other.request(0, 1).key == made.request(0, 1).key
    merged = made.with_system_role(False)
    assert merged.request(1, 0).key != made.request(1, 0).key
    assert merged.request(0, 0).key == made.request(0, 0).key  # the baseline has no system message


def test_keys_do_not_depend_on_what_else_is_asked(benchmark: Path) -> None:
    small = plan(benchmark, identities=["jewish", "muslim"], limit=3)
    large = plan(benchmark, samples=3, placebos=True, cues=["all"], defenses=["none", "ignore"])
    assert set(keys(small)) < set(keys(large))


PINNED = "c81e667e7d957a0f13e11ab43dd1ac49"
PRINT_KEY = """
import sys
from runs import plan_of
from pathlib import Path
print(plan_of("openai/m", Path(sys.argv[1]), identities=["muslim"]).request(1, 0).key.hex())
"""


@pytest.mark.slow
def test_a_key_is_the_same_in_every_process_and_release(tmp_path: Path) -> None:
    """A change of this value makes every stored run ask everything again."""
    path = write_benchmark(tmp_path / "own.jsonl", 1)
    assert plan(path, identities=["muslim"]).request(1, 0).key.hex() == PINNED
    for seed in ("0", "1"):
        printed = subprocess.run(
            [sys.executable, "-c", PRINT_KEY, str(path)],
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": str(Path(__file__).parent)},
            capture_output=True,
            text=True,
            check=True,
        )
        assert printed.stdout.strip() == PINNED


def test_a_higher_limit_keeps_the_items_and_their_order(benchmark: Path) -> None:
    for low, high in ((1, 5), (5, 12), (12, None)):
        few = [item.id for item in plan(benchmark, limit=low).items]
        more = [item.id for item in plan(benchmark, limit=high).items]
        assert len(few) == low
        assert [item for item in more if item in few] == few


def test_the_limit_is_for_each_benchmark(benchmark: Path, tmp_path: Path) -> None:
    other = write_benchmark(tmp_path / "other.jsonl", 30)
    made = plan(benchmark, limit=4, benchmarks=[str(benchmark), str(other)])
    assert sorted(item.benchmark for item in made.items) == ["other"] * 4 + ["own"] * 4


def test_items_come_in_an_order_of_the_seed(benchmark: Path) -> None:
    orders = [tuple(i.id for i in plan(benchmark, seed=s).items) for s in (0, 0, 1)]
    assert orders[0] == orders[1] != orders[2]
    assert sorted(orders[0]) == sorted(orders[2])
    assert orders[0] != tuple(f"q{n}" for n in range(30))


def test_benchmarks_are_mixed_so_that_a_run_cut_short_has_some_of_each(
    benchmark: Path, tmp_path: Path
) -> None:
    other = write_benchmark(tmp_path / "other.jsonl", 30)
    made = plan(benchmark, benchmarks=[str(benchmark), str(other)])
    assert len({item.benchmark for item in made.items[:10]}) == 2


def test_whole_items_first(benchmark: Path) -> None:
    made = plan(benchmark, samples=2)
    first = list(islice(made.requests(), 2 * len(made.conditions)))
    assert {request.item for request in first} == {0}
    assert {request.condition for request in first} == set(range(len(made.conditions)))


def test_a_long_plan_takes_no_more_memory_than_its_items(benchmark: Path) -> None:
    one = plan(benchmark)
    items = tuple(Item("own", f"n{n}", "Question?", "safety", "refusal") for n in range(1000))
    long = replace(one, items=items)
    tracemalloc.start()
    try:
        count = sum(1 for _ in islice(long.requests(), 20_000))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert count == 20_000
    assert long.cells == 32_000
    assert peak < 100_000  # bytes, for 20,000 requests of some 500 each
