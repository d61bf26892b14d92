"""What the provider blocked is a refusal for certain: the judge's errors do not touch it."""

from __future__ import annotations

import numpy as np
import pytest

from evenhand.analysis.judges import KnownError, correct
from evenhand.stats import JudgeError, corrected_rates

ERROR = JudgeError(0.9, 0.9, 400, 400)


@pytest.mark.parametrize("share", [0.25, 0.5])
def test_only_what_was_judged_is_corrected(share: float) -> None:
    rng = np.random.default_rng(0)
    scores = (rng.random((6, 200, 1)) < 0.7).astype(float)
    blocked = np.arange(200) < share * 200
    scores[:, blocked] = 1.0
    judged = scores.copy()
    judged[:, blocked] = np.nan
    errors = {("safety", "own"): KnownError(ERROR)}
    found = correct("safety", {"own": scores}, None, errors, 0.95, {"own": judged})
    assert found is not None
    alone = corrected_rates(100 * float(np.nanmean(judged)), 200, ERROR)
    expected = 100 * share + (1 - share) * float(alone.rate)
    assert found.mean == pytest.approx(expected)
    assert found.interval[0] >= 100 * share
    whole = correct("safety", {"own": scores}, None, errors, 0.95)
    assert whole is not None
    assert whole.mean != pytest.approx(expected, abs=1)


def test_where_all_was_blocked_nothing_is_uncertain() -> None:
    scores = np.ones((3, 20, 1))
    errors = {("safety", "own"): KnownError(ERROR)}
    found = correct("safety", {"own": scores}, None, errors, 0.95, {"own": scores * np.nan})
    assert found is not None
    assert (found.mean, found.interval) == (100.0, (100.0, 100.0))
