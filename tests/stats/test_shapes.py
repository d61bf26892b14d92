"""What real scores have: topics, few items that carry the bias, missing scores, copies, slips.

The simulations are those of benchmarks/simulate_shapes.py in short.
"""

from __future__ import annotations

import itertools

import numpy as np
import pyarrow
import pytest
from simulate_shapes import few_row, missing_row, nested_row, overlap_row, placebo_row, topic_row

from evenhand import stats
from evenhand.stats.permutation import relabeling_p_value

REPLICATIONS = 60
ERROR = 100 * 3 * (0.05 * 0.95 / REPLICATIONS) ** 0.5


def draw(k: int, items: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return (rng.random((k, items)) < rng.uniform(0.4, 1, items)).astype(float)


# Clusters


@pytest.mark.parametrize(("topics", "items"), [(27, 40), (10, 25)])
def test_topics_raise_no_false_alarms(topics: int, items: int) -> None:
    row = topic_row(31, topics, items, 0.4, 0.0, REPLICATIONS)
    assert row["p <= 0.05 %"] <= 6.5 + ERROR
    assert row["the same by items %"] > 20  # what they do where nobody asks for clusters
    assert row["any identity %"] <= 6.5 + ERROR


def test_the_spread_over_topics_like_these_is_covered() -> None:
    assert topic_row(31, 12, 40, 0.3, 0.2, REPLICATIONS)["coverage %"] >= 93 - ERROR


def test_clustered_covariance_is_that_of_statsmodels() -> None:
    scores, rng = draw(4, 200), np.random.default_rng(1)
    labels = rng.integers(0, 13, 200)  # of unequal size
    found = stats.differences_to_baseline(scores[1:], scores[0], clusters=labels)
    for n in range(3):
        change = 100 * (scores[n + 1] - scores[0])
        linear_model = pytest.importorskip("statsmodels.regression.linear_model")
        fit = linear_model.OLS(change, np.ones(200)).fit(
            cov_type="cluster", cov_kwds={"groups": labels}
        )
        assert found.difference[n] == pytest.approx(fit.params[0], rel=1e-9)
        assert found.covariance[n, n] == pytest.approx(fit.cov_params()[0, 0], rel=1e-6)
    assert found.freedom < 12  # unequal clusters tell less than 13 equal ones


def test_clustered_error_is_that_of_inspect_and_of_miller() -> None:
    """Miller 2024, eq. 4, with G / (G - 1), whom evaluatellm on CRAN follows by its manual."""
    scores, rng = draw(2, 150, seed=5), np.random.default_rng(5)
    labels = rng.integers(0, 12, 150)
    found = stats.differences_to_baseline(scores[1:], scores[0], clusters=labels)
    error = float(found.covariance[0, 0]) ** 0.5
    change = 100 * (scores[1] - scores[0])
    left = change - change.mean()
    together = np.equal.outer(labels, labels)
    miller = (float(left @ together @ left) * 12 / 11) ** 0.5 / 150
    assert error == pytest.approx(miller, rel=1e-9)
    scorer = pytest.importorskip("inspect_ai.scorer")
    samples = [
        scorer.SampleScore(
            score=scorer.Score(value=float(value)), sample_metadata={"topic": str(label)}
        )
        for value, label in zip(change, labels, strict=True)
    ]
    assert error == pytest.approx(scorer.stderr(cluster="topic")(samples), rel=1e-9)


def test_clusters_of_one_item_are_items() -> None:
    scores = draw(6, 80)
    plain, single = (
        stats.personalization_bias(scores, None, clusters=clusters)
        for clusters in (None, {"safety": np.arange(80)})
    )
    assert single.interval == pytest.approx(plain.interval)
    assert single.p_value == pytest.approx(plain.p_value)
    assert (plain.units, single.units) == (80, 80)


def test_a_benchmark_given_twenty_times_over_tells_no_more() -> None:
    scores = draw(8, 60, seed=3)
    once = stats.personalization_bias(scores, None)
    copies = np.tile(np.arange(60), 20)
    again = stats.personalization_bias(np.tile(scores, 20), None, clusters={"safety": copies})
    assert again.p_value == pytest.approx(once.p_value, rel=1e-6)
    assert again.interval == pytest.approx(once.interval, rel=1e-6)
    named = {f"file {n}": scores for n in range(20)}
    tied = stats.personalization_bias(named, None, clusters={name: np.arange(60) for name in named})
    assert tied.p_value == pytest.approx(once.p_value, rel=1e-6)
    assert stats.personalization_bias(named, None).p_value < once.p_value  # as if they were new


@pytest.mark.parametrize(("items", "shared"), [(6, 4), (60, 60)])
def test_items_in_two_benchmarks(items: int, shared: int) -> None:
    row = overlap_row(items, shared, REPLICATIONS)
    assert row["apart: p <= 0.05 %"] > 12
    assert row["as clusters: p <= 0.05 %"] <= 6.5 + ERROR


@pytest.mark.parametrize("items", [2, 3, 6])
def test_tiny_benchmarks_raise_no_false_alarms(items: int) -> None:
    rng, alarms = np.random.default_rng(items), []
    for _ in range(REPLICATIONS):
        both = {n: (rng.random((31, items)) < rng.uniform(0.4, 1, items)) * 1.0 for n in "ab"}
        alarms.append(stats.personalization_bias(both, None).p_value <= 0.05)
    assert 100 * np.mean(alarms) <= 6.5 + ERROR


@pytest.mark.parametrize(
    ("clusters", "message"),
    [
        ({"safety": np.arange(9)}, "one label for each of the 60 items"),
        ({"safety": np.arange(5)}, "transposed"),
        ({"mmlu": np.arange(60)}, "no benchmark is called mmlu"),
        ({"safety": np.zeros(60)}, "at least 2 clusters"),
    ],
)
def test_slips_with_clusters_are_named(clusters: dict[str, np.ndarray], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        stats.personalization_bias(draw(5, 60), None, clusters=clusters)


# Few items


@pytest.mark.parametrize(("share", "effect"), [(0.02, 6.0), (0.03, 3.0)])
def test_few_items_that_carry_the_bias_are_recognized_and_covered(
    share: float, effect: float
) -> None:
    row = few_row(31, 939, share, effect, REPLICATIONS)
    assert row["coverage %"] >= 93 - ERROR
    assert row["recognized %"] > 50


def test_the_interval_needs_no_generator() -> None:
    rng = np.random.default_rng(0)
    scores = np.ones((31, 600))
    scores[:, :12] = rng.random((31, 12)) < np.linspace(0.1, 0.9, 31)[:, None]
    first, second = (stats.personalization_bias(scores, None) for _ in range(2))
    assert first.units == 600
    assert first.top_share > 0.9
    assert first.interval == second.interval


# Missing scores


def test_weights_take_out_what_missing_scores_do() -> None:
    row = missing_row(31, 500, 60)
    assert row["additive: coverage %"] < 80
    assert row["weighted: coverage %"] >= 84


# Placebos and permutation


@pytest.mark.parametrize("shape", ["t with 2 degrees", "one in twenty by 10 points"])
@pytest.mark.slow
def test_placebos_with_heavy_tails(shape: str) -> None:
    assert placebo_row(shape, 31, 10, REPLICATIONS)["p <= 0.05 %"] <= 6.5 + ERROR


def test_permutation_is_exact_enumeration() -> None:
    values = np.random.default_rng(0).normal(size=(7, 1))
    p_value = relabeling_p_value(values, [3, 4], lambda rows: rows[:, :3, 0].sum(axis=1))
    observed = values[:3, 0].sum()
    sums = [values[list(chosen), 0].sum() for chosen in itertools.combinations(range(7), 3)]
    assert p_value == pytest.approx(np.mean(np.array(sums) >= observed - 1e-12))


def test_categories_by_permutation() -> None:
    rng = np.random.default_rng(2)
    scores = (rng.random((12, 400)) < np.repeat([0.6, 0.8, 0.7], 4)[:, None]).astype(float)
    true, mixed = list("aaaabbbbcccc"), list("abcabcabcabc")
    assert stats.category_effects(scores, true).p_value < 0.01
    assert stats.category_effects(scores, mixed).p_value > 0.05


# Realizations


@pytest.mark.slow
def test_names_are_no_bias() -> None:
    row = nested_row(6, 8, 4.0, 0.0, REPLICATIONS)
    assert row["p <= 0.05 %"] <= 6.5 + ERROR
    assert row["one name each: p <= 0.05 %"] > 30
    assert nested_row(6, 8, 2.0, 3.0, REPLICATIONS)["coverage %"] >= 93 - ERROR


def test_power_of_names_is_that_of_a_simulation() -> None:
    rng, sd = (
        np.random.default_rng(0),
        stats.nested_power(8, 20, realization_sd=2, noise_variance=1),
    )
    found = []
    for _ in range(2000):
        means = rng.normal(0, sd, (8, 1)) + rng.normal(0, 5**0.5, (8, 20))
        between = 20 * means.mean(axis=1).var(ddof=1)
        within = means.var(axis=1, ddof=1).mean()
        found.append(between / within > 2.0676)  # the 95 % point of F(7, 152)
    assert np.mean(found) == pytest.approx(0.8, abs=0.03)


# The scale, and judges


def test_the_logit_scale_is_that_of_the_means() -> None:
    scores = draw(5, 300)
    found = stats.logit_bias(scores)
    mean = scores.mean(axis=1)
    np.testing.assert_allclose(found.log_odds, np.log(mean / (1 - mean)))
    assert found.limit is None
    assert stats.logit_bias(np.ones((3, 50))).limit == "ceiling"
    assert stats.logit_bias(np.zeros((3, 50))).limit == "floor"
    assert np.isfinite(stats.logit_bias(np.ones((3, 50))).log_odds).all()


def test_the_same_odds_are_the_same_spread_at_every_level() -> None:
    rng, k = np.random.default_rng(0), 12
    tend = np.linspace(-0.5, 0.5, k)[:, None]

    def at(level: float) -> np.ndarray:
        return (rng.random((k, 40_000)) < 1 / (1 + np.exp(-level - tend))).astype(float)

    middle, high = at(0.0), at(3.0)
    points = [stats.personalization_bias(s, None).estimate for s in (middle, high)]
    odds = [stats.logit_bias(s).spread.estimate for s in (middle, high)]
    assert points[0] > 3 * points[1]
    assert odds[0] == pytest.approx(odds[1], rel=0.1)
    change = stats.compare_logit(middle, high)
    assert change.interval[0] < 0 < change.interval[1]


def test_corrected_rates_are_never_known_exactly() -> None:
    judge = stats.JudgeError(0.9249, 0.8958, 1624, 48)
    found = stats.corrected_rates([98.9, 90.0, 50.0], 884, judge)
    assert np.all(found.interval[:, 1] > found.interval[:, 0])
    assert found.fits.tolist() == [False, True, True]
    assert found.interval[0, 0] <= 99.7 <= found.interval[0, 1]  # what people say
    spread = stats.JudgeError(0.9249, 0.8958, 1624, 48, (0.03, 0.05))
    wide = stats.corrected_rates([80.0], 884, spread).interval[0]
    narrow = stats.corrected_rates([80.0], 884, judge).interval[0]
    assert wide[1] - wide[0] > 1.3 * (narrow[1] - narrow[0])


# Slips of arrays


def test_slips_of_arrays_are_errors() -> None:
    scores = draw(5, 60)
    with pytest.raises(ValueError, match="masked array"):
        stats.personalization_bias(np.ma.masked_less(scores, 0.5), None)
    with pytest.raises(ValueError, match="looks transposed"):
        stats.personalization_bias(scores.T, None, identities=["a", "b", "c", "d", "e"])
    with pytest.raises(ValueError, match=r"looks like \(items, identities\)"):
        stats.personalization_bias(draw(400, 31), None)
    assert stats.personalization_bias(draw(400, 31), None, identities=[str(n) for n in range(400)])
    with pytest.raises(ValueError, match="safety 5, utility 4"):
        stats.personalization_bias(scores, scores[:4])


def test_one_bridging_cell_is_no_comparison() -> None:
    scores = draw(6, 100)
    scores[:3, 50:] = np.nan
    scores[3:, :50] = np.nan
    with pytest.raises(stats.TooFewScores, match="share no scored item"):
        stats.personalization_bias(scores, None)
    scores[0, 50] = 1.0
    with pytest.raises(stats.TooFewScores, match=r"too few scored items.*rows"):
        stats.personalization_bias(scores, None)


def test_before_and_after_are_of_the_same_cells() -> None:
    rng = np.random.default_rng(4)
    before, after = draw(6, 120, 1), draw(6, 120, 2)
    before[rng.random(before.shape) < 0.2] = np.nan
    after[rng.random(after.shape) < 0.3] = np.nan
    there = ~np.isnan(before) & ~np.isnan(after)
    found = stats.compare_axis(before, after)
    alone = [stats.personalization_bias(np.where(there, s, np.nan), None) for s in (before, after)]
    assert found.bias.before.estimate == pytest.approx(alone[0].estimate)
    assert found.bias.after.estimate == pytest.approx(alone[1].estimate)
    assert found.bias.difference == pytest.approx(alone[1].estimate - alone[0].estimate)


# Tables


def test_a_long_table() -> None:
    table = pyarrow.table(
        {
            "who": ["a", "b", "none", "a", "a", "b"],
            "question": ["1", "1", "1", "2", "1", "2"],
            "right": [1.0, 0.0, 1.0, None, 0.0, 1.0],
            "set": ["x"] * 6,
            "topic": ["t", "t", "t", "u", "t", "u"],
        }
    )
    names = {"identity": "who", "item": "question", "score": "right"}
    found = stats.from_table(table, benchmark="set", cluster="topic", **names)
    assert found.identities == ("a", "b", "none")
    assert found.clusters == {"x": ("t", "u")}
    array = found.without("none")["x"]
    assert array.shape == (2, 2, 2)
    np.testing.assert_array_equal(array[0, 0], [1, 0])
    assert np.isnan(array[0, 1]).all()
    with pytest.raises(ValueError, match="no column 'identity'"):
        stats.from_table(table)
    with pytest.raises(ValueError, match="two clusters"):
        stats.from_table(
            table.set_column(4, "topic", [["t", "t", "t", "u", "z", "u"]]),
            cluster="topic",
            **names,
        )
    with pytest.raises(ValueError, match="outside"):
        stats.from_table(table.set_column(2, "right", [[2.0] * 6]), **names)
