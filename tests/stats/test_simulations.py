"""Short simulations with fixed seeds; benchmarks/simulate_stats.py has the full ones.

The bounds are the wanted ones widened by three Monte Carlo errors of the replications here.
"""

from __future__ import annotations

import numpy as np
import pytest
from simulate_stats import (
    Setting,
    bias_row,
    comparison_row,
    cue_row,
    identity_row,
    placebo_row,
    sequential_row,
    trade_off_table,
    unequal_table,
)

from evenhand.stats import plan_looks

pytestmark = pytest.mark.slow

REPLICATIONS = 400
ERROR = 100 * 3 * (0.05 * 0.95 / REPLICATIONS) ** 0.5


@pytest.mark.parametrize("pb", [0.0, 2.0])
@pytest.mark.parametrize(
    "setting",
    [
        Setting(4, 300, 0.9),
        Setting(12, 100, 0.5),
        Setting(31, 300, 0.98),
        Setting(12, 100, 0.9, samples=3),
        Setting(12, 300, 0.9, graded=True),
        Setting(12, 300, 0.9, missing=0.03),
    ],
    ids=str,
)
def test_interval_covers_and_the_square_is_unbiased(setting: Setting, pb: float) -> None:
    row = bias_row(Setting(**{**vars(setting), "pb": pb}), REPLICATIONS)
    assert 93 - ERROR <= row["coverage %"] <= 97 + ERROR
    assert abs(row["bias PB^2 / MC error"]) < 3.5
    if pb == 0:
        assert 3.5 - ERROR <= row["p <= 0.05 %"] <= 6.5 + ERROR


def test_interval_covers_the_bias_on_exactly_these_items() -> None:
    row = bias_row(Setting(12, 200, 0.9, 2.0, samples=3), REPLICATIONS, "these_items")
    assert 93 - ERROR <= row["coverage %"] <= 97 + ERROR


@pytest.mark.parametrize("setting", [Setting(12, 100, 0.9), Setting(31, 100, 0.98)], ids=str)
def test_false_findings_about_identities_are_rare(setting: Setting) -> None:
    row = identity_row(setting, REPLICATIONS)
    for name, share in row.items():
        if name.endswith("%"):
            assert share <= 6 + ERROR, name


def test_unequal_variances_raise_no_false_alarms() -> None:
    for row in unequal_table(200):
        assert row["ours: p <= 0.05 %"] <= 10
        assert row["identities to the mean: any false finding %"] <= 10


def test_placebo_false_alarms() -> None:
    assert placebo_row(31, 10, 2.0, 2.0, REPLICATIONS)["p <= 0.05 %"] <= 6 + ERROR


@pytest.mark.parametrize(("before", "after"), [(0, 0), (2, 2), (5, 2)])
def test_change_of_bias_is_covered(before: float, after: float) -> None:
    row = comparison_row(12, before, after, REPLICATIONS)
    assert row["coverage of change %"] >= 93 - ERROR
    assert row["coverage of mean %"] >= 93 - ERROR
    assert row["false non-inferiority at the margin %"] <= 6 + ERROR
    if before == after:
        assert row["p <= 0.05 %"] <= 6 + ERROR


def test_trade_off_is_covered() -> None:
    rows = list(trade_off_table(60))
    assert np.mean([row["coverage %"] for row in rows]) >= 92


def test_generalizability_is_covered_and_its_parts_are_unbiased() -> None:
    row = cue_row(3.0, 2.0, 200)
    assert row["coverage %"] >= 89
    assert abs(row["bias identity / MC error"]) < 3.5
    assert abs(row["bias identity x cue / MC error"]) < 3.5


def test_interim_analyses_hold_together() -> None:
    row = sequential_row(Setting(12, 600, 0.8, 1.0), plan_looks(6), 200)
    assert row["all 6 analyses hold %"] >= 90
    assert row["all 6 hold without correction %"] < row["all 6 analyses hold %"]
