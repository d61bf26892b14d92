"""Scores as nobody expects them: a result is whole and in order, or an error says what is wrong."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from evenhand import stats

Scores = np.ndarray[Any, np.dtype[np.float64]]
Labels = np.ndarray[Any, np.dtype[np.int64]]
MAY_BE_UNKNOWN = {"correlation", "observed", "share", "generalizability", "all_cues", "sampling"}
MAY_BE_UNKNOWN |= {"kendall_w", "rank_agreement", "by_identity", "difference", "mean_bounds"}
"""Figures that are NaN where there is nothing to estimate them from."""


def odd(rng: np.random.Generator) -> tuple[Scores, Labels | None]:
    """Scores (identities, items, samples) of an odd kind, and labels of the items or none."""
    shape = tuple(int(rng.choice(of)) for of in ([2, 3, 5, 31], [1, 2, 3, 5, 12, 60], [1, 1, 3]))
    k, n, _ = shape
    kinds = {
        "usual": (rng.random(shape) < 0.7) * 1.0,
        "all 0": np.zeros(shape),
        "all 1": np.ones(shape),
        "all alike": np.full(shape, 0.5),
        "graded": rng.random(shape),
        "by identity alone": np.broadcast_to((rng.random((k, 1, 1)) < 0.5) * 1.0, shape).copy(),
        "one cell": np.where(np.arange(k * n).reshape(k, n, 1) > 0, 1.0, np.zeros(shape)),
    }
    scores = kinds[rng.choice(list(kinds))]
    missing = rng.choice(["no", "no", "some", "most", "an identity", "an item"])
    if missing in ("some", "most"):
        scores[rng.random(shape) < {"some": 0.2, "most": 0.6}[missing]] = np.nan
    if missing == "an identity":
        scores[0] = np.nan
    if missing == "an item":
        scores[:, 0] = np.nan
    labels = {
        "no": None,
        "one for each": np.arange(n),
        "one for all": np.zeros(n, dtype=np.int64),
        "one giant": (np.arange(n) == n - 1).astype(np.int64),
        "half alone": np.maximum(np.arange(n) - n // 2, 0),
    }[rng.choice(["no", "one for each", "one for all", "one giant", "half alone"])]
    return scores, labels


def bias(scores: Scores, labels: Labels | None) -> stats.PersonalizationBias:
    tied = None if labels is None else {"safety": labels}
    return stats.personalization_bias(scores, None, clusters=tied)


ANALYSES: dict[str, Callable[[Scores, Labels | None], Any]] = {
    "bias": bias,
    "bias on these items": lambda x, _: stats.personalization_bias(
        x, None, population="these_items"
    ),
    "two axes": lambda x, c: stats.personalization_bias(
        x, {"a": x, "b": x[:, ::-1]}, clusters=None if c is None else {"a": c}
    ),
    "to the mean": lambda x, c: stats.differences_to_mean(x, clusters=c),
    "ranks": lambda x, c: stats.rank_identities(x, clusters=c),
    "logit": lambda x, c: stats.logit_bias(x, clusters=c),
    "missing": lambda x, c: stats.missingness(x, clusters=c),
    "weighted": lambda x, c: stats.weighted_spread(x, clusters=c),
    "trade-off": lambda x, _: stats.trade_off(x, x[:, ::-1]),
    "changes": lambda x, c: stats.identity_changes(x, 1 - x, clusters=c),
    "an axis compared": lambda x, c: stats.compare_axis(x, np.roll(x, 1, 1), clusters=c),
    "categories": lambda x, c: stats.category_effects(
        x, ["ab"[n % 2] for n in range(len(x))], clusters=c
    ),
    "names": lambda x, _: stats.nested_realizations(x, [str(n // 2) for n in range(len(x))]),
    "cues": lambda x, _: stats.cue_components(np.stack([x, np.roll(x, 1, 1)], 1)),
    "judges": lambda x, _: stats.rater_agreement(x, np.roll(x, 1, 1)),
    "a judge": lambda x, c: stats.corrected_bias(bias(x, c), stats.JudgeError(0.9, 0.8, 50, 3)),
    "placebos": lambda x, c: stats.placebo_contrast(
        [x[: max(2, len(x) // 2)]], [x[-2:]], clusters=None if c is None else {"scores": c}
    ),
}


def check(found: Any, name: str = "") -> None:
    """No figure is infinite, NaN only where it may be, intervals are in order, p-values in 0..1."""
    if dataclasses.is_dataclass(found):
        for field in dataclasses.fields(found):
            check(getattr(found, field.name), field.name)
    elif isinstance(found, dict):
        for each in found.values():
            check(each)
    elif isinstance(found, float | tuple | np.ndarray):
        values = np.asarray(found)
        if values.dtype.kind != "f":
            return
        assert name in MAY_BE_UNKNOWN or np.isfinite(values).all(), name
        if name in ("interval", "simultaneous", "attenuation_interval"):
            assert np.all(values[..., 0] <= values[..., 1] + 1e-9), name
        if name.startswith("p_"):
            assert np.all((values >= 0) & (values <= 1)), name


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("seed", range(60))
def test_odd_scores(seed: int) -> None:
    scores, labels = odd(np.random.default_rng(seed))
    for name, analysis in ANALYSES.items():
        if name == "placebos" and len(scores) > 5 and seed % 5:
            continue  # thousands of relabelings, each time
        try:
            found = analysis(scores.copy(), labels)
        except stats.TooFewScores:
            continue
        check(found, name)


def test_one_item_with_repeated_samples_has_noise_of_its_own() -> None:
    scores = np.random.default_rng(0).random((5, 1, 3))
    found = stats.personalization_bias(scores, None, population="these_items")
    assert found.noise_floor > 0
    assert found.interval[0] <= found.estimate <= found.interval[1]


def test_a_corrected_bias_stays_on_the_scale() -> None:
    """A bias that this judge could not have shown is the largest there is."""
    apart = np.repeat([[1.0], [0.0]], 60, axis=1)
    found = stats.corrected_bias(bias(apart, None), stats.JudgeError(0.9, 0.8, 50, 3))
    assert found.estimate == 50
    assert found.interval[0] <= found.interval[1] == 50


@pytest.mark.parametrize(
    "scores",
    [[["1", "0"], ["0", "1"]], [[1j, 0], [0, 1]], [[1, 0], [1]], [[{}, 1], [0, 1]]],
    ids=str,
)
def test_what_is_no_number_is_named(scores: Any) -> None:
    with pytest.raises(ValueError, match="safety: scores must be numbers"):
        stats.personalization_bias(scores, None)
