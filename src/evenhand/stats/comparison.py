"""Two audits on the same items: before and after a defense, base and tuned, model A and B."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtr, stdtr, stdtrit

from evenhand.stats.bias import Spread, spread_of
from evenhand.stats.layout import Layout, fit_axis, from_influence, project, settle
from evenhand.stats.paired import middles, summarize
from evenhand.stats.scores import (
    Clusters,
    Floats,
    Scores,
    TooFewScores,
    check_level,
    read_benchmarks,
    same_identities,
)
from evenhand.stats.spread import rejects


@dataclass(frozen=True)
class BiasChange:
    """Change of personalization bias, after less before, in points.

    Attributes:
        before, after: the two spreads, estimated on the same items.
        difference: ``after.estimate - before.estimate``; below 0 the bias came down.
        interval: (low, high) of the change of PB; 0 is outside exactly where `p_value` is below
            ``1 - level``.
        p_value: two-sided, of no change of PB.
        level: confidence level of `interval`.
    """

    before: Spread
    after: Spread
    difference: float
    interval: tuple[float, float]
    p_value: float
    level: float


@dataclass(frozen=True)
class MeanChange:
    """Change of an axis's mean over the identities, after less before, in points.

    Attributes:
        difference: below 0 the model became less safe, or less useful.
        standard_error: of `difference`, > 0.
        interval: (low, high) at `level`.
        p_value: two-sided, of no change.
        margin: the largest loss that would be accepted, in points.
        non_inferiority_p: one-sided p-value of "the loss is at least the margin"; small means
            that the mean is shown to have held up. Where lower is better a loss is a rise.
        level: confidence level of `interval`.
    """

    difference: float
    standard_error: float
    interval: tuple[float, float]
    p_value: float
    margin: float
    non_inferiority_p: float
    level: float


@dataclass(frozen=True)
class AxisChange:
    """Change of one axis: its spread over the identities, and its mean.

    Attributes:
        bias: change of the spread, in points.
        mean: change of the mean, in points.
    """

    bias: BiasChange
    mean: MeanChange


@dataclass(frozen=True)
class Comparison:
    """Two audits compared.

    Attributes:
        bias: change of the joint personalization bias.
        safety_bias, utility_bias: change on one axis; None where no scores were given.
        safety_mean, utility_mean: change of the mean; None likewise.
    """

    bias: BiasChange
    safety_bias: BiasChange | None
    utility_bias: BiasChange | None
    safety_mean: MeanChange | None
    utility_mean: MeanChange | None


def compare_audits(
    *,
    before_safety: Scores | None = None,
    before_utility: Scores | None = None,
    after_safety: Scores | None = None,
    after_utility: Scores | None = None,
    margin: float = 1.0,
    level: float = 0.95,
    clusters: Clusters | None = None,
) -> Comparison:
    """Compare two audits of the same identities on the same items, item by item.

    The change of PB^2 is a difference of two quadratic forms in correlated means; its p-value is
    of its normal approximation with the exact variance of such a form (Mathai & Provost 1992, ch.
    3). The interval of the change of PB combines the two audits' own intervals and their
    correlation (MOVER: Zou 2007, Psychol. Methods 12); it is never narrower than Student's t over
    the items, with at least one of them other. A change is significant where both reject:
    the p-value is the larger one, and the interval holds 0 unless both do. The mean has Student's
    t, and the non-inferiority test is the one-sided t test against the margin.

    Args:
        before_safety, before_utility, after_safety, after_utility: scores as in
            `personalization_bias`; an axis is given on both sides or on neither.
        margin: largest loss of the mean that would be accepted, in points, > 0.
        level: confidence level.
        clusters: what the items belong to, as in `personalization_bias`.

    Raises:
        ValueError: bad scores, an axis on one side only, different shapes, margin of 0 or less.
    """
    check_level(level)
    if not margin > 0:
        raise ValueError(f"margin must be above 0 points, not {margin}")
    given = (
        ("safety", before_safety, after_safety),
        ("utility", before_utility, after_utility),
    )
    axes = {
        axis: fit_both(before, after, axis, clusters=clusters)
        for axis, before, after in given
        if before is not None or after is not None
    }
    if not axes:
        raise TooFewScores("give scores for safety, utility or both")
    same_identities({name: len(axis[0].means) // 2 for name, axis in axes.items()}, "axes")
    biases = {name: change_of([axis], level) for name, axis in axes.items()}
    means = {name: _mean_change(axis, margin, level) for name, axis in axes.items()}
    return Comparison(
        bias=change_of(list(axes.values()), level),
        safety_bias=biases.get("safety"),
        utility_bias=biases.get("utility"),
        safety_mean=means.get("safety"),
        utility_mean=means.get("utility"),
    )


def compare_axis(
    before: Scores,
    after: Scores,
    *,
    margin: float = 1.0,
    level: float = 0.95,
    lower_is_better: bool = False,
    clusters: Clusters | None = None,
) -> AxisChange:
    """Compare one axis of two audits, as `compare_audits` does.

    Args:
        before, after: scores as in `differences_to_mean`, of the same identities and items.
        margin: largest change of the mean for the worse that would be accepted, in points, > 0.
        level: confidence level.
        lower_is_better: as for over-refusal: what must not happen is a rise of the mean.
        clusters: what the items belong to, as in `personalization_bias`.

    Raises:
        ValueError: as `compare_audits`.
    """
    check_level(level)
    if not margin > 0:
        raise ValueError(f"margin must be above 0 points, not {margin}")
    axis = fit_both(before, after, "scores", clusters=clusters)
    mean = _mean_change(axis, margin, level, -1 if lower_is_better else 1)
    return AxisChange(change_of([axis], level), mean)


def fit_both(
    before: Scores | None,
    after: Scores | None,
    axis: str,
    *,
    min_identities: int = 2,
    clusters: Clusters | None = None,
) -> list[Layout]:
    """Fit each benchmark with the identities before and then the identities after.

    Only cells (identity and item) with a score on both sides take part, so that the two sides'
    figures and those of the change are of one set of cases.
    """
    if before is None or after is None:
        raise ValueError(f"{axis}: needs scores before and after")
    first = read_benchmarks(before, axis, min_identities=min_identities)
    second = read_benchmarks(after, axis, min_identities=min_identities)
    if set(first) != set(second):
        raise ValueError(f"{axis}: benchmarks differ, {sorted(first)} and {sorted(second)}")
    pairs = {name: complete_cells([first[name], second[name]], name) for name in first}
    fits = [
        fit_axis({name: pair[side] for name, pair in pairs.items()}, axis, clusters=clusters)
        for side in range(2)
    ]
    return [_joined(one, other) for one, other in zip(*fits, strict=True)]


def complete_cells(arrays: Sequence[Floats], name: str) -> list[Floats]:
    """The same scores without the cells that have none in one of the arrays.

    Args:
        arrays: (identities, items, samples) each; samples may differ in number.
        name: what to call them in an error.

    Raises:
        ValueError: other identities or items.
    """
    shapes = [array.shape[:2] for array in arrays]
    if len(set(shapes)) > 1:
        raise ValueError(
            f"{name}: before and after need the same identities and items, "
            f"not {shapes[0]} and {next(s for s in shapes if s != shapes[0])}"
        )
    there = np.all([np.isfinite(array).any(axis=2) for array in arrays], axis=0)
    return [np.where(there[:, :, np.newaxis], array, np.nan) for array in arrays]


def _joined(before: Layout, after: Layout) -> Layout:
    """One layout of the identities of both; an item moves a mean by its level, too."""
    means = np.concatenate([before.means, after.means])
    moved = np.hstack(
        [
            side.influence + (side.levels - side.levels.mean())[:, np.newaxis]
            for side in (before, after)
        ]
    )
    return from_influence(
        means=means,
        deviations=settle(means - means.mean()),
        levels=(before.levels + after.levels) / 2,
        influence=settle(moved - moved.mean(axis=1, keepdims=True)),
        codes=before.codes,
    )


def change_of(axes: Sequence[Sequence[Layout]], level: float) -> BiasChange:
    """The change of PB between the first and the second half of the rows of fitted axes."""
    k = len(axes[0][0].means) // 2
    center = np.eye(k) - 1 / k
    none = np.zeros((k, k))
    halves = [
        [[project(b, half) for b in axis] for axis in axes]
        for half in (np.hstack([center, none]), np.hstack([none, center]))
    ]

    def spreads(at: float) -> tuple[Spread, Spread]:
        return spread_of(halves[0], at, k), spread_of(halves[1], at, k)

    moments, least = np.sum([_moments(*axis) for axis in zip(*halves, strict=True)], axis=0)
    before, after = spreads(level)
    contrast = np.array([-1.0, 1.0]) / k
    variance = max(float(contrast @ m @ contrast) for m in (moments, least))
    scale = float(np.sqrt(moments[0, 0] * moments[1, 1]))
    correlation = float(np.clip(moments[0, 1] / scale, -1, 1)) if scale > 0 else 0.0
    error, freedom = _paired_error(halves, before.plugin, after.plugin)

    def interval(at: float) -> tuple[float, float]:
        least_reach = float(stdtrit(freedom, (1 + at) / 2)) * error
        return _recovered(*spreads(at), correlation, least_reach)

    low, high = interval(level)
    p_value = _no_change(before, after, variance)
    if not rejects(p_value, level):
        low, high = min(low, 0.0), max(high, 0.0)
    elif low <= 0 <= high:
        p_value = 1 - _surest(interval, level)
    return BiasChange(
        before=before,
        after=after,
        difference=after.estimate - before.estimate,
        interval=(low, high),
        p_value=p_value,
        level=level,
    )


def _surest(interval_at: Callable[[float], tuple[float, float]], level: float) -> float:
    """The level, below `level`, up to which an interval leaves out 0."""
    low, high = 0.0, level
    for _ in range(12):
        middle = (low + high) / 2
        limits = interval_at(middle)
        low, high = (low, middle) if limits[0] <= 0 <= limits[1] else (middle, high)
    return low


def _no_change(before: Spread, after: Spread, variance: float) -> float:
    """Two-sided p-value of a change of PB^2; 1 if the audits are alike but for rounding."""
    change = abs(after.signed_square - before.signed_square)
    if change < 1e-9:
        return 1.0
    if variance <= 0:  # no item disagrees with another: as sure as that there is any bias
        return min(before.p_value, after.p_value)
    return float(2 * ndtr(-change / variance**0.5))


def _moments(before: Sequence[Layout], after: Sequence[Layout]) -> tuple[Floats, Floats]:
    """Return covariances (2, 2) of an axis's two signed sums of squares, before and after.

    The first is the unbiased estimate, the second what it would be without any bias, below
    which the variance of a difference cannot fall. Both are exactly 0 where a side has no noise.
    """
    sides = (before, after)
    d = [np.mean([b.deviations for b in side], axis=0) for side in sides]
    known, least = np.empty((2, 2)), np.empty((2, 2))
    for i in range(2):
        for j in range(2):
            pairs = zip(sides[i], sides[j], strict=True)
            v = np.sum([_covariance(*pair) for pair in pairs], axis=0) / len(before) ** 2
            square = float(np.sum(v * v))
            # 4 m'Vm + 2 tr(V^2) at the true means m; the observed ones add tr(V^2) to m'Vm.
            known[i, j] = 4 * float(d[i] @ v @ d[j]) - 2 * square
            least[i, j] = 2 * square
    np.fill_diagonal(known, np.maximum(np.diag(known), np.diag(least)))
    return known, least


def _covariance(one: Layout, other: Layout) -> Floats:
    """Covariance of the deviations of two layouts of the same items."""
    rows = one.by_unit(one.influence).T @ other.by_unit(other.influence)
    return np.asarray(rows / (one.units * (one.units - 1)))


def _paired_error(
    halves: Sequence[Sequence[Sequence[Layout]]], before: float, after: float
) -> tuple[float, float]:
    """Standard error of the change of PB from each unit's share in it, and degrees of freedom.

    PB moves by the noise along the observed deviations, over their length (delta method). One unit
    more is thought in, whose share changes by the largest that any unit has in either audit: it
    keeps the error from vanishing where few of the answers, or none, differ.

    Args:
        halves: before and after; for each the axes' layouts, benchmark by benchmark.
        before, after: `Spread.plugin` of each.
    """
    variance, freedom = 0.0, float("inf")
    for axis in zip(*halves, strict=True):
        weights = [
            sign * np.mean([b.deviations for b in side], axis=0) / (len(side[0].means) * length)
            if length > 0
            else np.zeros(len(side[0].means))
            for side, sign, length in zip(axis, (-1, 1), (before, after), strict=True)
        ]
        for pair in zip(*axis, strict=True):
            shares = [
                b.by_unit((b.influence + b.deviations) @ w)
                for b, w in zip(pair, weights, strict=True)
            ]
            moved = sum(b.by_unit(b.influence @ w) for b, w in zip(pair, weights, strict=True))
            squares = max(float(np.sum(np.square(moved))), float(np.max(np.square(shares))))
            n = pair[0].units
            variance += squares / (n * (n - 1)) / len(axis[0]) ** 2
            freedom = min(freedom, pair[0].freedom)
    return variance**0.5, freedom


def _recovered(
    before: Spread, after: Spread, correlation: float, least: float
) -> tuple[float, float]:
    """Interval of ``after - before`` from the intervals of each and their correlation.

    It reaches at least `least` from the difference: the two intervals cancel where their
    correlation is near 1, however few items tell so. A lower limit of 0 cannot be wrong, so there
    the other audit's limit alone is the end, and no end is beyond that.
    """
    difference = after.estimate - before.estimate

    def reach(own: float, other: float) -> float:
        return float(max(own**2 + other**2 - 2 * correlation * own * other, least**2) ** 0.5)

    down = reach(after.estimate - after.interval[0], before.interval[1] - before.estimate)
    up = reach(after.interval[1] - after.estimate, before.estimate - before.interval[0])
    low, high = -before.interval[1], after.interval[1]
    if after.interval[0] > 0:
        low = max(low, difference - down)
    if before.interval[0] > 0:
        high = min(high, difference + up)
    return low, high


def _mean_change(
    axis: Sequence[Layout], margin: float, level: float, better: int = 1
) -> MeanChange:
    k = len(axis[0].means) // 2
    contrast = np.concatenate([np.full(k, -1 / k), np.full(k, 1 / k)])[np.newaxis]
    change = summarize(axis, contrast, None, level)
    difference, error = float(change.difference[0]), float(change.standard_error[0])
    # A gain counts for no more than in the interval, which has its middle nearer to 0: what is
    # held to be no loss of the margin must not be within the interval.
    held_up = min(better * difference, better * float(middles(axis, contrast)[0]))
    return MeanChange(
        difference=difference,
        standard_error=error,
        interval=(float(change.interval[0, 0]), float(change.interval[0, 1])),
        p_value=float(change.p_value[0]),
        margin=margin,
        non_inferiority_p=float(stdtr(change.freedom, -(held_up + margin) / error)),
        level=level,
    )
