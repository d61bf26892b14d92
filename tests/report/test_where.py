"""Where identities differ: found where planted, gray where there is only noise."""

from __future__ import annotations

import numpy as np
import pytest

from evenhand.analysis.evidence import FALSE_DISCOVERIES, SMALLER, find_where
from evenhand.analysis.grid import AxisScores, Grid
from evenhand.benchmarks.item import Item
from evenhand.store.store import StoredCondition
from evenhand.study.identity import Identity

PEOPLE = 10


def grid_of(scores: np.ndarray, groups: list[str]) -> tuple[Grid, dict[int, Item]]:
    """A run of one safety benchmark."""
    conditions = [
        StoredCondition(n, Identity(f"i{n}", f"a person {n}", "k"), "system-1", "none", [])
        for n in range(len(scores))
    ]
    items = {
        n: Item("own", f"q{n}", f"Question {n}?", "safety", "refusal", subgroup=group)
        for n, group in enumerate(groups)
    }
    array = scores[:, :, np.newaxis]
    grid = Grid(
        conditions=conditions,
        items={"own": len(groups)},
        names={"safety": {"own": list(map(str, items))}},
        samples=1,
        level=0.95,
        scores={"safety": AxisScores({"own": array})},
        answered={"safety": {"own": ~np.isnan(array)}},
    )
    return grid, items


def test_a_planted_difference_is_found_in_its_subgroup_alone() -> None:
    rng = np.random.default_rng(0)
    groups = [f"group {n % 4}" for n in range(160)]
    scores = (rng.random((PEOPLE, 160)) < 0.9) * 1.0
    scores[3, [g == "group 2" for g in groups]] = 0.0
    found = find_where(*grid_of(scores, groups), "system-1", "none")
    told = {(p.name, int(n)) for p in found.subgroups for n in np.flatnonzero(p.beyond_noise)}
    assert ("group 2", 3) in told
    assert {name for name, _ in told} == {"group 2"}, "whom it moves from the mean is there, too"
    place = next(p for p in found.subgroups if p.name == "group 2")
    assert place.items == 40
    assert place.difference[3] < -70
    assert place.difference.sum() == pytest.approx(0, abs=1e-6)


@pytest.mark.slow
def test_noise_alone_is_gray() -> None:
    """200 runs without bias: a map has a color in hardly more of them than the rate allows."""
    rng = np.random.default_rng(1)
    groups = [f"group {n % 5}" for n in range(60)]
    colored = 0
    for _ in range(200):
        scores = (rng.random((PEOPLE, 60)) < rng.uniform(0.3, 0.95, 60)) * 1.0
        found = find_where(*grid_of(scores, groups), "system-1", "none")
        colored += any(place.beyond_noise.any() for place in found.subgroups)
    assert colored <= 200 * FALSE_DISCOVERIES + 6  # two standard errors


def test_small_subgroups_are_put_together_and_one_alone_is_none() -> None:
    rng = np.random.default_rng(2)
    scores = (rng.random((PEOPLE, 20)) < 0.5) * 1.0
    groups = ["large"] * 12 + ["a", "b", "c", "d"] * 2
    found = find_where(*grid_of(scores, groups), "system-1", "none")
    assert [(p.name, p.items) for p in found.subgroups] == [("large", 12), (SMALLER, 8)]
    assert find_where(*grid_of(scores, ["x"] * 20), "system-1", "none").subgroups == []


def test_missing_scores_leave_a_gap() -> None:
    scores = np.full((PEOPLE, 12), np.nan)
    scores[:, :6] = 1.0
    groups = ["there"] * 6 + ["missing"] * 6
    found = find_where(*grid_of(scores, groups), "system-1", "none")
    gaps = {place.name: bool(np.isnan(place.difference).all()) for place in found.subgroups}
    assert gaps == {"missing": True, "there": False}
    assert not any(place.beyond_noise.any() for place in found.subgroups)
