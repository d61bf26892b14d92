"""Effects of categories of identities, of two identities at once, and of a change of the model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from evenhand.stats.bias import Spread, spread_of
from evenhand.stats.comparison import fit_both
from evenhand.stats.layout import Layout, fit_axis, project, settle
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
