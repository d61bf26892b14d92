"""The table of methods: means over seeds, their intervals, the ranking."""

from __future__ import annotations

import numpy as np
import pytest

import evenhand
from evenhand.analysis.compare import Arm, compare_arms
from evenhand.engines.mock import MockEngine
from evenhand.mitigate.results import ConditionKey, is_control, method_table, over_seeds
from evenhand.store.store import Store
from fakes import STUDY
from mitigate.test_flow import persona


def test_one_seed_keeps_its_interval_and_several_add_their_spread() -> None:
    assert over_seeds([]) is None
    alone = over_seeds([(2.0, (1.0, 4.0))])
    assert alone is not None
    assert (alone.estimate, alone.interval) == (2.0, (1.0, 4.0))
    equal = over_seeds([(2.0, (1.0, 4.0))] * 3)
    assert equal is not None
    assert equal.interval == pytest.approx((1.0, 4.0))
    apart = over_seeds([(1.0, (0.0, 2.0)), (2.0, (1.0, 3.0)), (3.0, (2.0, 4.0))])
    assert apart is not None
    # t of 2 degrees of freedom, 4.303, times the standard error of the mean, 1 / sqrt(3).
    reach = np.hypot(1.0, 4.3027 / np.sqrt(3))
    assert apart.interval == pytest.approx((2.0 - reach, 2.0 + reach), abs=1e-3)


def test_over_seeds_covers_the_mean_of_all_seeds() -> None:
    rng = np.random.default_rng(0)
    hits = 0
    for _ in range(2000):
        shared = rng.normal(0, 1.0)  # of the items, which all seeds share
        seeds = shared + rng.normal(0, 1.5, size=3)
        found = over_seeds([(s, (s - 1.96, s + 1.96)) for s in seeds])
        assert found is not None
        hits += found.interval[0] <= 0 <= found.interval[1]
    assert 0.945 <= hits / 2000 <= 0.995


def test_no_pb_is_below_0() -> None:
    found = over_seeds([(0.5, (0.0, 1.0)), (3.0, (1.0, 5.0))], lowest=0.0)
    assert found is not None
    assert found.interval[0] == 0.0


def test_limits_beyond_what_is_possible_are_clipped() -> None:
    """Of two seeds that differ much; the figures are those of a small run."""
    changes = [(1.0, (-3.0, 5.0)), (16.0, (10.0, 22.0))]
    free, change = over_seeds(changes), over_seeds(changes, -7.3, 70.0)
    assert free is not None
    assert change is not None
    assert free.interval[0] < -50
    assert change.interval == (-7.3, 70.0)
    assert change.estimate == free.estimate


def test_clipping_makes_nothing_significant() -> None:
    rng = np.random.default_rng(0)
    for _ in range(2000):
        seeds = rng.normal(0, 10, size=rng.integers(1, 4))
        figures = [(s, (s - w, s + w)) for s, w in zip(seeds, rng.exponential(3, 3), strict=False)]
        before = float(rng.choice([0.0, rng.exponential(5)]))
        free, clipped = over_seeds(figures), over_seeds(figures, 0.0 - before, 100.0 - before)
        assert free is not None
        assert clipped is not None
        low, high = clipped.interval
        assert low <= clipped.estimate <= high
        if free.interval[0] <= 0 <= free.interval[1]:
            assert low <= 0 <= high


def test_controls_are_known_by_their_names() -> None:
    controls = ("control", "dpo invariance-shuffled", "steer, random subspace")
    assert all(map(is_control, controls))
    assert not any(map(is_control, ("none", "steer", "dpo invariance", "prompt ignore")))


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> list[Store]:
    """Biased, biased again, and a model that knows nobody, twice."""
    folder = tmp_path_factory.mktemp("methods")
    made = []
    for n, engine in enumerate([persona(), persona(), persona("assistant"), persona("assistant")]):
        out = folder / str(n)
        evenhand.audit(STUDY, engine=MockEngine(engine), out=out)
        made.append(Store.open(out))
    return made


@pytest.mark.slow
def test_seeds_are_put_together_and_what_changed_nothing_is_known(stores: list[Store]) -> None:
    keys = [
        ConditionKey("none", 0, "none"),
        ConditionKey("control", 0, "control", True),
        ConditionKey("tuned", 0, "tuned"),
        ConditionKey("tuned", 1, "tuned, seed 1"),
    ]
    arms = [Arm(s, "system-1", None, k.label) for s, k in zip(stores, keys, strict=True)]
    found = method_table(compare_arms(arms, margin=2.0), keys, {})
    assert [row.name for row in found.rows] == ["none", "tuned", "control"]
    assert 0 < found.cells <= found.all_cells
    none, tuned, control = found.rows
    assert none.change is None
    assert tuned.seeds == 2
    assert tuned.places is None  # there is no other method to rank it among
    assert control.places is None
    assert control.changed == 0
    assert control.unidentified == 0
    assert control.change is not None
    assert control.change.estimate == 0
