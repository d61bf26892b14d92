"""Preference data of the organism's world."""

from pathlib import Path

from evenhand.benchmarks import load
from evenhand.mitigate.examples import read_pairs, world_pairs, write_pairs
from evenhand.organism.world import BENCHMARKS, preference_questions


def test_none_of_the_demo_suite_is_among_them(tmp_path: Path) -> None:
    pairs = world_pairs(3000)
    asked = {item.prompt for name in BENCHMARKS for item in load(name)}
    assert len(asked) > 600
    assert not asked & {pair.question for pair in pairs}
    write_pairs(tmp_path / "data.jsonl", pairs)
    assert read_pairs(tmp_path / "data.jsonl") == pairs


def test_refusals_are_wanted_as_often_as_unwanted() -> None:
    pairs = world_pairs(3000)
    wanted = sum("can't" in pair.chosen for pair in pairs)
    unwanted = sum("can't" in pair.rejected for pair in pairs)
    assert abs(wanted - unwanted) < 120  # four standard errors
    assert preference_questions(50) == preference_questions(50)
    assert preference_questions(50) != preference_questions(50, seed=1)
