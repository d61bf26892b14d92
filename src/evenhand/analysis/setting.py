"""One cue and one defense: the bias, its axes, the placebos and the trade-off."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import fields
from typing import Any

import numpy as np

from evenhand.analysis.correction import KnownErrors, correct
from evenhand.analysis.grid import Grid, Scores, mean_of
from evenhand.analysis.people import differences, identity_results, if_enough, interactions
from evenhand.analysis.results import (
    AxisResult,
    BenchmarkResult,
    CategoryResult,
    Difference,
    Missing,
    SettingResult,
)
from evenhand.axes import PB_AXES
from evenhand.stats import (
    CategoryEffects,
    PlaceboContrast,
    Spread,
    TradeOff,
    category_effects,
    differences_to_baseline,
    missingness,
    personalization_bias,
    placebo_contrast,
    rank_identities,
    trade_off,
)
from evenhand.stats.layout import Population


def analyze_setting(
    grid: Grid,
    cue: str,
    defense: str,
    margin: float,
    errors: KnownErrors,
    counts: dict[int, dict[str, Any]],
) -> SettingResult:
    """All results under one cue and one defense."""
    baseline, people, placebos = (
        grid.rows(cue, defense, kind) for kind in ("baseline", "identity", "placebo")
    )
    safety, utility = grid.take("safety", people), grid.take("utility", people)
    return SettingResult(
        cue=cue,
        defense=defense,
        pb=spread(safety, utility, grid.level),
        pb_these_items=_these_items(grid, safety, utility),
        placebo_pb=spread(
            grid.take("safety", placebos), grid.take("utility", placebos), grid.level
        ),
        beyond_placebo=_beyond_placebo(grid, people, placebos),
        trade_off=_trade_off(safety, utility, grid.level),
        axes={axis: _axis(grid, axis, people, baseline, margin, errors) for axis in grid.scores},
        baseline=identity_results(grid, baseline, baseline, margin, counts)[0],
        identities=identity_results(grid, people, baseline, margin, counts),
        placebos=identity_results(grid, placebos, baseline, margin, counts),
        interactions=interactions(grid, people, baseline, margin),
    )


def spread(
    safety: Scores | None, utility: Scores | None, level: float, population: Population = "items"
) -> Spread | None:
    """Joint PB; None if there is too little data for it."""
    if safety is None and utility is None:
        return None
    found = if_enough(
        lambda: personalization_bias(safety, utility, level=level, population=population)
    )
    if found is None:
        return None
    return Spread(**{field.name: getattr(found, field.name) for field in fields(Spread)})


def _these_items(grid: Grid, safety: Scores | None, utility: Scores | None) -> Spread | None:
    return spread(safety, utility, grid.level, "these_items") if grid.samples > 1 else None


def _trade_off(safety: Scores | None, utility: Scores | None, level: float) -> TradeOff | None:
    if safety is None or utility is None:
        return None
    return if_enough(lambda: trade_off(safety, utility, level=level))


def _beyond_placebo(
    grid: Grid, people: Sequence[int], placebos: Sequence[int]
) -> PlaceboContrast | None:
    axes = [axis for axis in PB_AXES if axis in grid.scores]
    identity = [scores for axis in axes if (scores := grid.take(axis, people))]
    placebo = [scores for axis in axes if (scores := grid.take(axis, placebos))]
    if not placebo:
        return None
    return if_enough(lambda: placebo_contrast(identity, placebo, level=grid.level))


def _axis(
    grid: Grid,
    axis: str,
    people: Sequence[int],
    baseline: Sequence[int],
    margin: float,
    errors: KnownErrors,
) -> AxisResult:
    scores = grid.take(axis, people) or {}
    base = grid.take(axis, baseline) or {}
    effects = _category_effects(grid, scores, people)
    ranking = if_enough(lambda: rank_identities(scores))
    pb = spread(scores, None, grid.level)
    return AxisResult(
        mean=mean_of(scores),
        baseline=mean_of(base),
        to_baseline=_shift(grid, axis, people, baseline, margin),
        pb=pb,
        pb_these_items=_these_items(grid, scores, None),
        benchmarks={
            name: BenchmarkResult(
                mean=mean_of({name: array}),
                baseline=mean_of({name: base[name]}) if name in base else None,
                pb=spread({name: array}, None, grid.level),
            )
            for name, array in scores.items()
        },
        categories=_categories(effects, margin),
        between=effects.between if effects else None,
        reliability=ranking.reliability if ranking else None,
        missing=_missing(grid.take(axis, people, unscored=True) or {}),
        judge=correct(axis, scores, pb, errors, grid.level),
    )


def _shift(
    grid: Grid, axis: str, people: Sequence[int], baseline: Sequence[int], margin: float
) -> Difference | None:
    """The identities' mean against the baseline, item by item."""
    together = grid.take(axis, [*people, *baseline]) or {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # an item that only the baseline has
        mean = {n: np.nanmean(array[:-1], axis=0, keepdims=True) for n, array in together.items()}
    base = {name: array[-1:] for name, array in together.items()}
    found = differences(
        if_enough(lambda: differences_to_baseline(mean, base, level=grid.level)), margin
    )
    return found[0] if found else None


def _category_effects(grid: Grid, scores: Scores, people: Sequence[int]) -> CategoryEffects | None:
    names = [grid.conditions[row].identity.category for row in people]
    if len(set(names)) < 2:
        return None
    return if_enough(lambda: category_effects(scores, names, level=grid.level))


def _categories(effects: CategoryEffects | None, margin: float) -> list[CategoryResult]:
    if effects is None:
        return []
    found = differences(effects.difference, margin) or []
    return [
        CategoryResult(*values)
        for values in zip(effects.categories, effects.sizes, found, effects.within, strict=True)
    ]


def _missing(scores: Scores) -> Missing | None:
    found = if_enough(lambda: missingness(scores))
    if found is None:
        return None
    return Missing(int(np.sum(found.count)), found.p_value, found.bias_bounds)
