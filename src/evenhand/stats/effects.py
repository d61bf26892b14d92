"""Effects of categories, of two identities at once, of a changed model; and on the logit scale.

On the logit scale an effect means the same near 0 and 100 as in the middle: a loss of two points is
nothing at 50 and halves the errors at 96. Where models of different level are compared, or a model
before and after a change, the spread of the identities' log-odds stands beside the spread in
points. The step from one to the other is the delta method on the identities' means, ``d logit(m) =
dm / (m (1 - m))``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.special import logit

from evenhand.stats.bias import Spread, spread_of
from evenhand.stats.comparison import BiasChange, change_of, fit_both
from evenhand.stats.layout import (
    Layout,
    combined,
    fit_axis,
    from_influence,
    largest_of,
    project,
    settle,
)
from evenhand.stats.paired import Differences, append_baseline, summarize
from evenhand.stats.permutation import relabeling_p_value, sign_flip_p_value
from evenhand.stats.scores import Clusters, Floats, Scores, check_level, read_benchmarks


@dataclass(frozen=True)
class CategoryEffects:
    """Where an axis's personalization bias sits: between categories or within them.

    Attributes:
        categories: the categories' names, in order of first appearance.
        sizes: number of identities in each.
        difference: each category's mean less the mean of all identities, in points; its p-values
            are of Student's t.
        p_value: of "categories make no difference", by permutation of the identities over the
            categories; valid for any shape of the identities' effects. 1 with one category.
        within: spread of the identities inside each category; None for a category of one.
        between: spread of the category means, each identity standing at its category's mean;
            None if there is only one category. ``between.signed_square`` plus the mean over
            identities of ``within.signed_square`` is the axis's signed square.
    """

    categories: tuple[str, ...]
    sizes: tuple[int, ...]
    difference: Differences
    p_value: float
    within: tuple[Spread | None, ...]
    between: Spread | None


def category_effects(
    scores: Scores,
    categories: Sequence[str],
    *,
    level: float = 0.95,
    clusters: Clusters | None = None,
) -> CategoryEffects:
    """Split an axis's spread into between and within categories.

    The deviations are split by orthogonal projection as in a nested analysis of variance
    (Searle, Casella & McCulloch 1992, *Variance Components*), and each part has its
    own noise taken out.

    Args:
        scores: an axis's scores, as in `differences_to_mean`.
        categories: (identities,) the category of each identity.
        level: confidence level.
        clusters: what the items belong to, as in `personalization_bias`.

    Raises:
        ValueError: bad scores, or another number of categories than of identities.
    """
    check_level(level)
    layouts = fit_axis(read_benchmarks(scores, "scores"), "scores", clusters=clusters)
    count = len(layouts[0].means)
    if len(categories) != count:
        raise ValueError(f"categories: needs {count}, one per identity, not {len(categories)}")
    names = tuple(dict.fromkeys(categories))
    member = np.array([[c == name for c in categories] for name in names], dtype=np.float64)
    average = member / member.sum(axis=1, keepdims=True)
    between = member.T @ average - 1 / count
    return CategoryEffects(
        categories=names,
        sizes=tuple(int(size) for size in member.sum(axis=1)),
        difference=summarize(layouts, average - 1 / count, None, level),
        p_value=_category_p_value(layouts, member),
        within=tuple(_within(layouts, row, level) for row in member),
        between=_projected(layouts, between, count, level) if len(names) > 1 else None,
    )


def _category_p_value(layouts: Sequence[Layout], member: Floats) -> float:
    """Permutation p-value of the sum of squares between categories, each weighted by its size."""
    deviations: Floats = np.mean([layout.deviations for layout in layouts], axis=0)
    order = np.argsort(np.argmax(member, axis=0), kind="stable")
    sizes = member.sum(axis=1).astype(int)
    starts = np.concatenate([[0], np.cumsum(sizes)[:-1]])

    def between(rows: Floats) -> Floats:
        sums = np.add.reduceat(rows[..., 0], starts, axis=1)
        return np.asarray(np.sum(sums**2 / sizes, axis=1))

    if len(sizes) < 2:
        return 1.0
    return relabeling_p_value(deviations[order, np.newaxis], sizes.tolist(), between)


def _within(layouts: Sequence[Layout], member: Floats, level: float) -> Spread | None:
    size = int(member.sum())
    if size < 2:
        return None
    contrast = np.diag(member) - np.outer(member, member) / size
    return _projected(layouts, contrast[member > 0], size, level)


def _projected(layouts: Sequence[Layout], contrast: Floats, count: int, level: float) -> Spread:
    return spread_of([[project(layout, contrast) for layout in layouts]], level, count)


def intersection_interactions(
    both: Scores,
    first: Scores,
    second: Scores,
    baseline: Scores,
    *,
    level: float = 0.95,
    clusters: Clusters | None = None,
) -> Differences:
    """Interaction of two identities: what both together do beyond the sum of each alone.

    The interaction of a pair is ``both - first - second + baseline`` (difference in differences),
    taken item by item; p-values are of the sign-flip test over items.

    Args:
        both: (pairs, items[, samples]) scores under both identities, or a dict by benchmark.
        first, second: the same shape, the scores of the pair's first and second identity alone.
        baseline: scores without identity, (items,) or (items, samples), or a dict.
        level: confidence level.
        clusters: what the items belong to, as in `personalization_bias`.

    Returns:
        One interaction per pair, in points; below 0 is worse than the sum of the two.

    Raises:
        ValueError: bad scores, or arrays that do not match.
    """
    check_level(level)
    given = (("both", both), ("first", first), ("second", second))
    parts = [read_benchmarks(scores, name, min_identities=1) for name, scores in given]
    names = [tuple(part) for part in parts]
    if isinstance(both, Mapping) and len(set(names)) > 1:
        raise ValueError("both, first and second need the same benchmarks in the same order")
    stacked = _stack([list(part.values()) for part in parts], names[0])
    layouts = fit_axis(append_baseline(stacked, baseline), "both", clusters=clusters)
    pairs = len(next(iter(parts[0].values())))
    one = np.eye(pairs)
    contrast = np.hstack([one, -one, -one, np.ones((pairs, 1))])
    items = [_item_contrasts(layout, contrast) for layout in layouts]
    p_value = np.array([sign_flip_p_value(column) for column in np.concatenate(items).T])
    return summarize(layouts, contrast, p_value, level)


def identity_changes(
    before: Scores,
    after: Scores,
    *,
    level: float = 0.95,
    clusters: Clusters | None = None,
) -> Differences:
    """Change of each identity from one audit to another, after less before, item by item.

    P-values are of the sign-flip test over items.

    Args:
        before, after: an axis's scores of the same identities on the same items, as in
            `differences_to_mean`; one identity is enough. Samples may differ in number.
        level: confidence level.
        clusters: what the items belong to, as in `personalization_bias`.

    Raises:
        ValueError: bad scores, or audits of different benchmarks, identities or items.
    """
    check_level(level)
    layouts = fit_both(before, after, "scores", min_identities=1, clusters=clusters)
    one = np.eye(len(layouts[0].means) // 2)
    contrast = np.hstack([-one, one])
    items = [_item_contrasts(layout, contrast) for layout in layouts]
    p_value = np.array([sign_flip_p_value(column) for column in np.concatenate(items).T])
    return summarize(layouts, contrast, p_value, level)


def _stack(parts: list[list[Floats]], names: tuple[str, ...]) -> dict[str, Floats]:
    """Put the three kinds of each benchmark under one another."""
    stacked = {}
    for name, arrays in zip(names, zip(*parts, strict=True), strict=True):
        if len({array.shape for array in arrays}) > 1:
            raise ValueError(f"{name}: both, first and second need one shape")
        stacked[name] = np.concatenate(arrays)
    return stacked


def _item_contrasts(layout: Layout, contrast: Floats) -> Floats:
    """Return (items, contrasts): what each item contributes to the benchmark's contrasts."""
    rows = settle((layout.influence + layout.deviations) @ contrast.T)
    return layout.by_unit(rows) / layout.units


Limit = Literal["floor", "ceiling"]

NEAR = 2.0
"""Points from 0 or 100 within which the means of all identities are at a limit."""


@dataclass(frozen=True)
class LogitBias:
    """Spread of the identities on the logit scale.

    Attributes:
        log_odds: (identities,) natural log-odds of each identity's mean on the axis.
        effect: (identities,) log-odds less the mean of all identities'; ``exp`` of it is an odds
            ratio.
        spread: as in `personalization_bias`, but in log-odds.
        limit: "floor" or "ceiling" where no identity's mean is farther than `NEAR` points from 0
            or 100, so that there is no room for a difference; None otherwise.
    """

    log_odds: Floats
    effect: Floats
    spread: Spread
    limit: Limit | None


def logit_bias(
    scores: Scores, *, level: float = 0.95, clusters: Clusters | None = None
) -> LogitBias:
    """Estimate the spread of the identities' log-odds on one axis.

    A mean of 0 or 100 is moved by half an answer (Haldane 1956, Ann. Hum. Genet. 20).

    Args:
        scores: an axis's scores, as in `differences_to_mean`.
        level: confidence level.
        clusters: what the items belong to, as in `personalization_bias`.

    Raises:
        ValueError: bad scores.

    >>> found = logit_bias([[1, 1, 0, 1, 1, 1, 0, 1], [1, 0, 0, 1, 0, 1, 0, 0]])
    >>> found.effect.round(2)
    array([ 0.8, -0.8])
    """
    check_level(level)
    layouts = fit_axis(read_benchmarks(scores, "scores"), "scores", clusters=clusters)
    turned = _on_logit_scale(layouts)
    return LogitBias(
        log_odds=turned.means,
        effect=turned.deviations,
        spread=spread_of([[turned]], level),
        limit=limit_of(np.mean([layout.means for layout in layouts], axis=0)),
    )


def compare_logit(
    before: Scores, after: Scores, *, level: float = 0.95, clusters: Clusters | None = None
) -> BiasChange:
    """Change of the spread of the identities' log-odds, after less before, item by item.

    Args:
        before, after: an axis's scores, as in `compare_axis`.
        level: confidence level.
        clusters: what the items belong to, as in `personalization_bias`.

    Raises:
        ValueError: as `compare_axis`.
    """
    check_level(level)
    return change_of(
        [[_on_logit_scale(fit_both(before, after, "scores", clusters=clusters))]], level
    )


def limit_of(means: Floats) -> Limit | None:
    """Where all means, in points, lie within `NEAR` of 0 or 100."""
    if np.all(means <= NEAR):
        return "floor"
    if np.all(means >= 100 - NEAR):
        return "ceiling"
    return None


def _on_logit_scale(layouts: Sequence[Layout]) -> Layout:
    """One layout of an axis, whose means are log-odds.

    The benchmarks are laid side by side, each with its weight in the axis's average. An item moves
    an identity's mean through its own residual and through how hard it is for everybody.
    """
    items = sum(layout.items for layout in layouts)
    means: Floats = np.mean([layout.means for layout in layouts], axis=0)
    half = 50 / items
    share = np.clip(means, half, 100 - half) / 100
    rows, codes, free = [], [], 0
    for layout in layouts:
        of_items = layout.levels - layout.levels.mean()
        rows.append(
            (layout.influence + of_items[:, np.newaxis]) * items / (len(layouts) * layout.items)
        )
        codes.append((np.arange(layout.items) if layout.codes is None else layout.codes) + free)
        free += layout.units
    per_point = 1 / (100 * share * (1 - share))
    moved = np.concatenate(rows) * per_point
    log_odds = logit(share)
    center = np.eye(len(means)) - 1 / len(means)
    scale = largest_of(log_odds, moved)
    clustered = any(layout.codes is not None for layout in layouts)
    return from_influence(
        means=log_odds,
        deviations=combined(log_odds, center, scale),
        levels=np.concatenate([layout.levels for layout in layouts]),
        influence=combined(moved, center, scale),
        codes=np.concatenate(codes) if clustered else None,
        largest=50 * per_point,
    )
