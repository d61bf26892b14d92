"""The interval of the identities' share of the variance, beside that of their realizations."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import ncfdtr
from simulate_names import share_row

from evenhand.stats import nested_realizations, rotating_realizations

REPLICATIONS = 100
ERROR = 100 * 3 * (0.05 * 0.95 / REPLICATIONS) ** 0.5


def test_without_sampling_noise_it_inverts_the_noncentral_f() -> None:
    means = np.array([0.5, 0.52, 0.55, 0.6, 0.7, 0.66, 0.71, 0.6, 0.62])
    scores = np.repeat(means[:, None], 40, axis=1)  # the same on every item: no sampling noise
    found = nested_realizations(scores, list("aaabbbccc"))
    for share, tail in zip(found.share_interval, (0.975, 0.025), strict=True):
        noncentrality = 2 * 3 * share / (1 - share)
        assert ncfdtr(2, 6, noncentrality, found.f) == pytest.approx(tail, abs=0.002)
    assert found.share_interval[0] < found.share < found.share_interval[1]


def test_scores_that_say_nothing_leave_any_share() -> None:
    alike = np.full((4, 80), 0.5)
    found = rotating_realizations(alike, np.arange(80) % 20)
    assert np.isnan(found.share)
    assert found.share_interval == (0.0, 1.0)
    assert nested_realizations(alike, list("aabb")).share_interval == (0.0, 1.0)


def test_identities_that_differ_and_names_that_do_not() -> None:
    rng = np.random.default_rng(0)
    rates = np.repeat([0.5, 0.7, 0.9], 10)
    scores = (rng.random((30, 600)) < rates[:, None]).astype(float)
    found = nested_realizations(scores, np.repeat(list("abc"), 10).tolist())
    assert found.share_interval[0] > 0.95
    assert found.share_interval[1] > 0.99


def test_a_higher_level_is_wider() -> None:
    rng = np.random.default_rng(1)
    effects = np.repeat([-0.2, 0.0, 0.2], 4)[:, None] + rng.normal(0, 0.1, (12, 1))
    scores = np.clip(rng.normal(0.5, 0.1, (12, 200)) + effects, 0, 1)
    who = list("aaaabbbbcccc")
    narrow, wide = (nested_realizations(scores, who, level=x).share_interval for x in (0.8, 0.99))
    assert wide[0] < narrow[0] < narrow[1] < wide[1]


@pytest.mark.slow
@pytest.mark.parametrize("sd", [0.0, 4.0])
def test_the_interval_covers(sd: float) -> None:
    row = share_row(4, sd, 0.9, 3.0, REPLICATIONS)
    for name, share in row.items():
        if name.endswith("coverage %"):
            assert share >= 93 - ERROR, name
