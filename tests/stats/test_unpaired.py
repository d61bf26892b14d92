"""Groups that share no items."""

from __future__ import annotations

import numpy as np
import pytest

from evenhand.stats import TooFewScores, UnpairedGroups, unpaired_groups


def log(rates: list[float], size: int, rng: np.random.Generator, alike: int = 1) -> UnpairedGroups:
    """Groups of the same size; `alike` scores of a unit are the same."""
    scores = np.concatenate([np.repeat(rng.random(size // alike) < p, alike) for p in rates])
    who = np.repeat([f"g{n}" for n in range(len(rates))], size // alike * alike)
    return unpaired_groups(scores, list(who), units=list(np.arange(len(scores)) // alike))


def test_rates_and_differences() -> None:
    scores = [1.0] * 30 + [0.0] * 70 + [1.0] * 10 + [0.0] * 90
    found = unpaired_groups(scores, ["a"] * 100 + ["b"] * 100, reference="b")
    assert found.groups == ["a", "b"]
    assert found.rates.tolist() == [pytest.approx(30), pytest.approx(10)]
    assert found.differences.tolist() == [pytest.approx(20), 0]
    assert found.low[0] < 20 < found.high[0]
    assert np.isnan(found.p_values[1])


def test_errors_are_those_of_statsmodels_by_cluster() -> None:
    rng = np.random.default_rng(0)
    # Both groups vary alike: then no variance is below that of groups that are all alike.
    own = rng.integers(60, size=300)
    who, unit = np.repeat([0, 1], 300), np.concatenate([own, own + 1000])
    scores = np.tile((rng.random(300) + rng.random(60)[own]) / 2, 2)
    found = unpaired_groups(scores, [str(g) for g in who], units=list(unit), reference="0")
    design = np.stack([np.ones(600), who == 1], axis=1).astype(float)
    linear_model = pytest.importorskip("statsmodels.regression.linear_model")
    fit = linear_model.OLS(100 * scores, design).fit(
        cov_type="cluster", cov_kwds={"groups": unit, "use_correction": False}
    )
    assert found.differences[1] == pytest.approx(fit.params[1], abs=1e-9)
    # CR1 by group: each group's own number of units corrects its own part.
    units = np.array(found.units)
    parts = fit.cov_params()[0, 0], fit.cov_params()[1, 1] - fit.cov_params()[0, 0]
    error = sum(part * n / (n - 1) for part, n in zip(parts, units, strict=True)) ** 0.5
    width = (found.high[1] - found.low[1]) / 2
    assert width / error == pytest.approx(1.98, abs=0.005)  # Student's t


@pytest.mark.parametrize(
    ("rates", "size", "alike"), [([0.1] * 4, 200, 1), ([0.5] * 3, 120, 4), ([0.02] * 6, 100, 1)]
)
def test_no_gap_raises_few_alarms(rates: list[float], size: int, alike: int) -> None:
    rng = np.random.default_rng(1)
    found = [log(rates, size, rng, alike) for _ in range(200)]
    for alarms in (
        sum(each.p_value < 0.05 for each in found),
        sum(np.nanmin(each.p_values) < 0.05 for each in found),
    ):
        assert alarms <= 0.09 * 200  # 5 % and 2.6 standard errors


def test_the_spread_is_covered() -> None:
    rng = np.random.default_rng(2)
    rates = [0.1, 0.15, 0.2, 0.25]
    true = 100 * float(np.std(rates))
    found = [log(rates, 300, rng) for _ in range(200)]
    inside = sum(low <= true <= high for low, high in (each.spread_interval for each in found))
    assert inside >= 0.91 * 200
    assert np.mean([each.spread for each in found]) == pytest.approx(true, abs=0.4)


def test_a_star_and_its_interval_agree() -> None:
    rng = np.random.default_rng(3)
    for _ in range(100):
        found = log(list(rng.uniform(0, 0.5, size=3)), int(rng.integers(4, 60)), rng)
        outside = (found.low > 0) | (found.high < 0)
        assert outside.tolist() == (found.p_values < 0.05).tolist()


def test_strata_hold_the_kind_of_question_fixed() -> None:
    """A asks the hard kind more often; within each kind both are refused alike."""
    rng = np.random.default_rng(4)
    kinds = np.concatenate([rng.random(2000) < 0.8, rng.random(2000) < 0.2])
    scores = rng.random(4000) < np.where(kinds, 0.6, 0.1)
    who = ["a"] * 2000 + ["b"] * 2000
    assert unpaired_groups(scores, who).p_value < 1e-6
    held = unpaired_groups(scores, who, strata=list(kinds))
    assert held.strata == 2
    assert held.p_value > 0.01


def test_a_stratum_that_lacks_a_group_is_left_out() -> None:
    found = unpaired_groups(
        [0, 1] * 20 + [1] * 10, ["a", "b"] * 20 + ["a"] * 10, strata=["x"] * 40 + ["y"] * 10
    )
    assert (found.strata, found.left_out) == (1, 10)


def test_nobody_refused_still_has_an_interval() -> None:
    found = unpaired_groups([0] * 100, ["a", "b"] * 50)
    assert found.spread == 0
    assert found.low[0] < 0 < found.high[0]
    assert found.p_value > 0.05


@pytest.mark.parametrize(
    ("scores", "groups", "more", "said"),
    [
        ([0, 1], ["a"], {}, "2 scores, but 1 groups"),
        ([0, 2], ["a", "b"], {}, r"lie in \[0, 1\]"),
        ([0, 1] * 5, ["a", "b"] * 5, {"reference": "c"}, 'no group "c"'),
        ([[0, 1]], ["a", "b"], {}, "one dimension"),
        ([0, 1], ["a", "b"], {"strata": ["x"]}, "1 strata"),
    ],
)
def test_slips_are_errors(
    scores: object, groups: list[str], more: dict[str, object], said: str
) -> None:
    with pytest.raises(ValueError, match=said):
        unpaired_groups(scores, groups, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize(("scores", "groups"), [([0, 1], ["a", "a"]), ([0, 1], ["a", "b"])])
def test_too_little(scores: list[int], groups: list[str]) -> None:
    with pytest.raises(TooFewScores):
        unpaired_groups(scores, groups)


@pytest.mark.parametrize("reference", [None, "a"])
def test_units_that_all_groups_share_leave_an_interval(reference: str | None) -> None:
    scores, units = [0.0, 1.0] * 15, list(range(2)) * 15
    found = unpaired_groups(
        scores * 2, ["a"] * 30 + ["b"] * 30, units=units * 2, reference=reference
    )
    assert found.differences.tolist() == [0, 0]
    assert found.p_values[1] == 1
    assert -100 <= found.low[1] < 0 < found.high[1] <= 100
