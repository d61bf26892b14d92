"""One cue and one defense: the bias, its axes, each identity, the placebos and the trade-off."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evenhand.analysis.conclusion import (
    UNDECIDED,
    Affected,
    Bound,
    BoundBenchmark,
    Yardstick,
    conclude,
)
from evenhand.analysis.grid import AxisScores, Grid, clusters_of, if_enough, mean_of
from evenhand.analysis.judges import KnownErrors, correct
from evenhand.analysis.results import (
    AxisResult,
    BenchmarkResult,
    CategoryResult,
    Difference,
    IdentityAxis,
    IdentityResult,
    Interaction,
    LogitResult,
    Missing,
    SettingResult,
)
from evenhand.axes import PB_AXES
from evenhand.stats import (
    CategoryEffects,
    Differences,
    PlaceboContrast,
    Spread,
    TradeOff,
    category_effects,
    classify,
    differences_to_baseline,
    differences_to_mean,
    equivalence_test,
    intersection_interactions,
    is_significant,
    item_mean,
    limit_of,
    logit_bias,
    missingness,
    personalization_bias,
    placebo_contrast,
    rank_identities,
    trade_off,
    weighted_spread,
)
from evenhand.stats.layout import Population
from evenhand.stats.scores import rows_are_identities
from evenhand.study.identity import BASELINE


def analyze_setting(
    grid: Grid,
    cue: str,
    defense: str,
    margin: float,
    errors: KnownErrors,
    counts: dict[int, dict[str, Any]],
    judged: Grid | None = None,
) -> SettingResult:
    """All results under one cue and one defense.

    Args:
        judged: the grid without the scores of blocked answers; None where none was blocked.
    """
    baseline, people, placebos = (
        grid.rows(cue, defense, kind) for kind in ("baseline", "identity", "placebo")
    )
    whole = people  # those with a value on every axis of PB
    for axis in PB_AXES:
        whole = grid.enough(axis, whole) if axis in grid.scores else whole
    safety, utility = grid.take("safety", whole), grid.take("utility", whole)
    return SettingResult(
        cue=cue,
        defense=defense,
        pb=spread(safety, utility, grid.level),
        pb_these_items=_these_items(grid, safety, utility),
        pb_these_topics=_these_topics(grid, safety, utility),
        placebo_pb=spread(
            grid.take("safety", placebos), grid.take("utility", placebos), grid.level
        ),
        beyond_placebo=_beyond_placebo(grid, whole, placebos),
        trade_off=_trade_off(safety, utility, grid.level),
        axes={
            axis: _axis(grid, axis, grid.enough(axis, people), baseline, margin, errors, judged)
            for axis in grid.scores
        },
        baseline=next(
            iter(identity_results(grid, baseline, baseline, margin, counts)), _nobody(grid)
        ),
        identities=identity_results(grid, people, baseline, margin, counts),
        placebos=identity_results(grid, placebos, baseline, margin, counts),
        interactions=interactions(grid, whole, baseline, margin),
        conclusion=UNDECIDED,
    )


def _nobody(grid: Grid) -> IdentityResult:
    """In the place of a baseline that imported results do not have."""
    return IdentityResult(
        id=BASELINE.id,
        text=BASELINE.text,
        category=BASELINE.category,
        axes={axis: IdentityAxis(None) for axis in grid.scores},
        verdict=None,
        done=0,
        unscored=0,
        unscored_reasons={},
        failed_attempts=0,
    )


def spread(
    safety: AxisScores | None,
    utility: AxisScores | None,
    level: float,
    population: Population = "items",
    *,
    clustered: bool = True,
) -> Spread | None:
    """Joint PB; None if there is too little data for it.

    Args:
        clustered: infer to topics like these, where the scores have topics; otherwise to items
            like these of the same topics.
    """
    if safety is None and utility is None:
        return None
    one, other = (
        scores and scores.of_axis(axis)
        for axis, scores in (("safety", safety), ("utility", utility))
    )
    tied = clusters_of(one, other) if clustered and population == "items" else None
    found = if_enough(
        lambda: personalization_bias(one, other, level=level, population=population, clusters=tied)
    )
    if found is None:
        return None
    return Spread(**{field.name: getattr(found, field.name) for field in fields(Spread)})


def _these_items(
    grid: Grid, safety: AxisScores | None, utility: AxisScores | None
) -> Spread | None:
    return spread(safety, utility, grid.level, "these_items") if grid.samples > 1 else None


def _bound(array: NDArray[np.float64], chance: float | None) -> Bound | None:
    """Where all identities are, if that leaves no room for a difference."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # an item, or identity, without any score
        people = 100 * np.nanmean(array, axis=(1, 2))
        items = 100 * np.nanmean(array, axis=(0, 2))
    limit = limit_of(people[~np.isnan(people)])
    items = items[~np.isnan(items)]
    if limit is not None or chance is None or len(items) < 2:
        return limit
    return "chance" if item_mean(items).interval[0] <= chance else None


def with_conclusion(
    setting: SettingResult,
    *,
    margin: float,
    doubts: Mapping[str, Sequence[str]],
    yardstick: Yardstick | None,
    cautions: Sequence[str] = (),
) -> SettingResult:
    """The setting with what follows from its figures.

    Args:
        doubts: by axis, why its judge cannot be trusted.
        cautions: what depends on the identity beside the scores.
    """
    in_pb: dict[str, AxisResult] = {a: r for a, r in setting.axes.items() if a in PB_AXES}
    pb, other = setting.pb, None
    if not in_pb and (furthest := _furthest_apart(setting)) is not None:
        other, pb = furthest
        in_pb = {other: setting.axes[other]}
    reasons: dict[str, list[str]] = {axis: list(doubts.get(axis, ())) for axis in in_pb}
    for axis, result in in_pb.items():
        if result.judge is not None and not result.judge.fits:
            reasons[axis].append("the calibration of the judge does not fit this model")
    affected = [
        Affected(who.id, who.text, axis, found.estimate, found.interval)
        for who in setting.identities
        for axis in in_pb
        if (found := who.axes[axis].to_mean) is not None and found.is_significant
    ]
    conclusion = conclude(
        pb,
        setting.beyond_placebo,
        {axis: result.pb for axis, result in in_pb.items()},
        margin=margin,
        benchmarks=sum(len(result.benchmarks) for result in in_pb.values()),
        bounds=[
            BoundBenchmark(axis, name, one.bound)
            for axis, result in in_pb.items()
            for name, one in result.benchmarks.items()
            if one.bound is not None
        ],
        doubts=reasons,
        affected=affected,
        yardstick=yardstick,
    )
    conclusion = replace(
        conclusion,
        cautions=list(cautions),
        axis=other,
        doubted=[axis for axis in setting.axes if doubts.get(axis) or reasons.get(axis)],
    )
    return replace(setting, conclusion=conclusion)


def _furthest_apart(setting: SettingResult) -> tuple[str, Spread] | None:
    """The axis that speaks most against evenness, where PB has none; p-values by Bonferroni."""
    found = {axis: result.pb for axis, result in setting.axes.items() if result.pb is not None}
    if not found:
        return None
    first = min(found, key=lambda axis: (found[axis].p_value, -found[axis].interval[1]))
    p_value = min(1.0, len(found) * found[first].p_value)
    if not is_significant(p_value):
        first = max(found, key=lambda axis: found[axis].interval[1])
        p_value = min(1.0, len(found) * found[first].p_value)
    return first, replace(found[first], p_value=p_value)


def _these_topics(
    grid: Grid, safety: AxisScores | None, utility: AxisScores | None
) -> Spread | None:
    """PB over items like these of the same topics; None where topics are not what is sampled."""
    given = [set(scores) for scores in (safety, utility) if scores]
    named = set().union(*given)
    if not any(each.topics is not None and each.benchmark in named for each in grid.units):
        return None
    return spread(safety, utility, grid.level, clustered=False)


def _trade_off(
    safety: AxisScores | None, utility: AxisScores | None, level: float
) -> TradeOff | None:
    if safety is None or utility is None:
        return None
    one, other = safety.of_axis("safety"), utility.of_axis("utility")
    return if_enough(lambda: trade_off(one, other, level=level, clusters=clusters_of(one, other)))


def _beyond_placebo(
    grid: Grid, people: Sequence[int], placebos: Sequence[int]
) -> PlaceboContrast | None:
    # Where names are shown, the intervals are over names already; two halves are a bare check.
    if any(grid.conditions[row].shows_realizations for row in people):
        return None
    axes = [axis for axis in PB_AXES if axis in grid.scores]
    together = [
        scores.of_axis(axis) for axis in axes if (scores := grid.take(axis, [*people, *placebos]))
    ]
    if not placebos or not together:
        return None
    identity = [scores.rows(None, len(people)) for scores in together]
    placebo = [scores.rows(len(people), None) for scores in together]
    tied = clusters_of(*together)
    return if_enough(lambda: placebo_contrast(identity, placebo, level=grid.level, clusters=tied))


def _axis(
    grid: Grid,
    axis: str,
    people: Sequence[int],
    baseline: Sequence[int],
    margin: float,
    errors: KnownErrors,
    judged: Grid | None,
) -> AxisResult:
    scores = grid.take(axis, people) or AxisScores()
    base = grid.take(axis, baseline) or AxisScores()
    effects = _category_effects(grid, scores, people)
    ranking = if_enough(lambda: rank_identities(scores, clusters=clusters_of(scores)))
    pb = spread(scores, None, grid.level)
    return AxisResult(
        mean=mean_of(scores),
        baseline=mean_of(base),
        to_baseline=mean_shift(grid, axis, people, baseline, margin),
        pb=pb,
        pb_these_items=_these_items(grid, scores, None),
        pb_these_topics=_these_topics(grid, scores, None),
        benchmarks={
            name: BenchmarkResult(
                mean=mean_of({name: array}),
                baseline=mean_of({name: base[name]}) if name in base else None,
                pb=spread(scores.only(name), None, grid.level),
                bound=_bound(array, grid.chance.get((axis, name))),
            )
            for name, array in scores.items()
        },
        categories=_categories(effects, margin),
        between=effects.between if effects else None,
        reliability=ranking.reliability if ranking else None,
        missing=_missing(grid.take(axis, people, unscored=True) or AxisScores(), grid.level),
        judge=correct(axis, scores, pb, errors, grid.level, _not_blocked(judged, axis, people)),
        logit=_logit(scores, [grid.conditions[row].identity.id for row in people], grid.level),
    )


def _not_blocked(
    judged: Grid | None, axis: str, people: Sequence[int]
) -> Mapping[str, NDArray[np.float64]] | None:
    if judged is None or axis not in judged.scores:
        return None
    alone = judged.alone(axis)
    whole = judged.scores[axis].items()
    return {name: array[list(people)] for name, array in whole if name not in alone}


def _logit(scores: AxisScores, people: Sequence[str], level: float) -> LogitResult | None:
    found = if_enough(lambda: logit_bias(scores, level=level, clusters=clusters_of(scores)))
    if found is None:
        return None
    return LogitResult(
        pb=found.spread.estimate,
        interval=found.spread.interval,
        p_value=found.spread.p_value,
        effects=dict(zip(people, map(float, found.effect), strict=True)),
        limit=found.limit,
    )


@rows_are_identities()
def mean_shift(
    grid: Grid, axis: str, people: Sequence[int], baseline: Sequence[int], margin: float
) -> Difference | None:
    """The identities' mean against the baseline, item by item; None where there is no baseline."""
    if not baseline:
        return None
    together = grid.take(axis, [*people, *baseline]) or AxisScores()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # an item that only the baseline has
        mean = {n: np.nanmean(array[:-1], axis=0, keepdims=True) for n, array in together.items()}
    base = {name: array[-1:] for name, array in together.items()}
    found = differences(
        if_enough(
            lambda: differences_to_baseline(
                mean, base, level=grid.level, clusters=clusters_of(together)
            )
        ),
        margin,
    )
    return found[0] if found else None


def _category_effects(
    grid: Grid, scores: AxisScores, people: Sequence[int]
) -> CategoryEffects | None:
    names = [grid.conditions[row].identity.category for row in people]
    if len(set(names)) < 2:
        return None
    return if_enough(
        lambda: category_effects(scores, names, level=grid.level, clusters=clusters_of(scores))
    )


def _categories(effects: CategoryEffects | None, margin: float) -> list[CategoryResult]:
    if effects is None:
        return []
    found = differences(effects.difference, margin) or []
    return [
        CategoryResult(*values)
        for values in zip(effects.categories, effects.sizes, found, effects.within, strict=True)
    ]


def _missing(scores: AxisScores, level: float) -> Missing | None:
    found = if_enough(lambda: missingness(scores, clusters=clusters_of(scores)))
    if found is None:
        return None
    weighted = None
    if is_significant(found.p_value):
        tied = clusters_of(scores)
        weighted = if_enough(lambda: weighted_spread(scores, level=level, clusters=tied))
    return Missing(int(np.sum(found.count)), found.p_value, found.bias_bounds, weighted)


@rows_are_identities()
def differences(found: Differences | None, margin: float) -> list[Difference] | None:
    """One `Difference` for each row of the array result."""
    if found is None:
        return None
    equivalence = equivalence_test(found, margin).p_holm
    return [
        Difference(
            estimate=float(found.difference[n]),
            interval=_pair(found.interval[n]),
            simultaneous=_pair(found.simultaneous[n]),
            p_value=float(found.p_value[n]),
            p_adjusted=float(found.p_adjusted[n]),
            equivalence_p=float(equivalence[n]),
        )
        for n in range(len(found.difference))
    ]


def _pair(values: Sequence[float]) -> tuple[float, float]:
    return (float(values[0]), float(values[1]))


def identity_axes(
    grid: Grid, axis: str, rows: Sequence[int], baseline: Sequence[int], margin: float
) -> list[IdentityAxis]:
    """One axis for each of some conditions that belong together."""
    kept = grid.enough(axis, rows)
    found = [IdentityAxis(mean_of(grid.take(axis, [row])) if row in kept else None) for row in rows]
    people = grid.take(axis, kept)
    if people is None:
        return found
    level = grid.level
    to_baseline = None
    if list(rows) != list(baseline):
        to_baseline = differences(baseline_differences(grid, axis, kept, baseline, level), margin)
    tied = clusters_of(people)
    to_mean = differences(
        if_enough(lambda: differences_to_mean(people, level=level, clusters=tied)), margin
    )
    ranking = if_enough(lambda: rank_identities(people, level=level, clusters=tied))
    asked = grid.take(axis, kept, unscored=True) or AxisScores()
    missing = if_enough(lambda: missingness(asked, clusters=clusters_of(asked)))
    for n, row in enumerate(kept):
        place = rows.index(row)
        found[place] = replace(
            found[place],
            bounds=_pair(missing.mean_bounds[n]) if missing else None,
            to_baseline=to_baseline[n] if to_baseline else None,
            to_mean=to_mean[n] if to_mean else None,
            shrunken=float(ranking.shrunken[n]) if ranking else None,
            rank=float(ranking.rank[n]) if ranking else None,
            rank_interval=_pair(ranking.rank_interval[n]) if ranking else None,
        )
    return found


def baseline_differences(
    grid: Grid, axis: str, rows: Sequence[int], baseline: Sequence[int], level: float
) -> Differences | None:
    """Differences of some conditions to the baseline, on the items that any of them has."""
    together = grid.take(axis, [*rows, *baseline])
    if together is None or not rows or not baseline:
        return None
    people, base = together.rows(None, -1), together.rows(-1, None)
    tied = clusters_of(together)
    return if_enough(lambda: differences_to_baseline(people, base, level=level, clusters=tied))


def verdicts(
    grid: Grid, rows: Sequence[int], baseline: Sequence[int], margin: float
) -> tuple[str, ...] | None:
    """What becomes of each identity, by the tests of the differences that are shown."""
    safety, utility = (
        baseline_differences(grid, axis, rows, baseline, grid.level) for axis in PB_AXES
    )
    if safety is None or utility is None:
        return None
    return classify(safety, utility, margin=margin)


def identity_results(
    grid: Grid,
    rows: Sequence[int],
    baseline: Sequence[int],
    margin: float,
    counts: dict[int, dict[str, Any]],
) -> list[IdentityResult]:
    """Everything about each of some conditions that belong together."""
    axes = {axis: identity_axes(grid, axis, rows, baseline, margin) for axis in grid.scores}
    whole = list(rows)
    for axis in PB_AXES:
        whole = grid.enough(axis, whole) if axis in grid.scores else whole
    told = verdicts(grid, whole, baseline, margin) if whole and rows != baseline else None
    found = dict(zip(whole, told, strict=True)) if told else {}
    results = []
    for n, row in enumerate(rows):
        condition = grid.conditions[row]
        results.append(
            IdentityResult(
                id=condition.identity.id,
                text=condition.identity.text,
                category=condition.identity.category,
                axes={axis: values[n] for axis, values in axes.items()},
                verdict=found.get(row),
                **counts[condition.id],
            )
        )
    return results


def interactions(
    grid: Grid, rows: Sequence[int], baseline: Sequence[int], margin: float
) -> list[Interaction]:
    """Intersections of two identities of which each was asked alone, too."""
    place = {grid.conditions[row].identity.id: row for row in rows}
    pairs = [(name, *name.split("+")) for name in place if name.count("+") == 1]
    asked = [(place[n], place[a], place[b]) for n, a, b in pairs if a in place and b in place]
    if not asked:
        return []
    by_axis = {
        axis: differences(_interaction(grid, axis, asked, baseline), margin) for axis in grid.scores
    }
    return [
        Interaction(
            id=grid.conditions[both].identity.id,
            text=grid.conditions[both].identity.text,
            axes={axis: values[n] for axis, values in by_axis.items() if values},
        )
        for n, (both, _, _) in enumerate(asked)
    ]


def _interaction(
    grid: Grid, axis: str, asked: Sequence[tuple[int, int, int]], baseline: Sequence[int]
) -> Differences | None:
    parts = [list(column) for column in zip(*asked, strict=True)]
    together = grid.take(axis, [*parts[0], *parts[1], *parts[2], *baseline])
    if together is None or not baseline:
        return None
    size = len(asked)

    both, first, second = (together.rows(k * size, (k + 1) * size) for k in range(3))
    base, tied = together.rows(3 * size, 3 * size + 1), clusters_of(together)
    return if_enough(
        lambda: intersection_interactions(
            both, first, second, base, level=grid.level, clusters=tied
        )
    )
