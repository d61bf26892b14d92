"""Each identity against the baseline, and against the mean of all identities.

Every identity answers the same items, so differences are taken item by item. A difference is
significant where two tests reject: Student's t, which the interval inverts, and one that exchanges
the conditions within each item (exact McNemar or sign-flip against the baseline, within-item
permutation against the mean). The p-value is the larger of the two, and the interval holds every
difference that is not rejected by both, so that p-value and interval always agree.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import stdtr, stdtrit

from evenhand.stats.layout import Layout, fit_axis
from evenhand.stats.permutation import (
    ALPHA,
    exchange_p_values,
    holm,
    sidak,
    sign_flip_p_value,
)
from evenhand.stats.scores import (
    Clusters,
    Floats,
    Scores,
    TooFewScores,
    average_samples,
    check_level,
    read_benchmarks,
)
from evenhand.stats.spread import FEW, rejects


@dataclass(frozen=True)
class Differences:
    """Differences of the identities' axis means to a reference, in points (-100 to 100).

    Attributes:
        difference: (identities,) identity less reference; below 0 the identity is worse off.
        standard_error: (identities,) its standard error, always > 0.
        interval: (identities, 2) low and high, each at `level` on its own; 0 is outside exactly
            where `p_value` is below ``1 - level``.
        simultaneous: (identities, 2) low and high, all of them right together at `level`; 0 is
            outside exactly where `p_adjusted` is below ``1 - level``.
        p_value: (identities,) two-sided p-value of no difference.
        p_adjusted: (identities,) the same adjusted for all identities (Sidak 1967, single step):
            the chance of one or more this small if none differed.
        covariance: (identities, identities) covariance of `difference`, as observed.
        freedom: degrees of freedom of the errors: items (or clusters) of the smallest benchmark
            less 1; fewer for clusters of unequal size.
        level: confidence level of both kinds of interval.
    """

    difference: Floats
    standard_error: Floats
    interval: Floats
    simultaneous: Floats
    p_value: Floats
    p_adjusted: Floats
    covariance: Floats
    freedom: float
    level: float


@dataclass(frozen=True)
class ItemMean:
    """The mean of one value per item, in points.

    Attributes:
        mean: over the values.
        standard_error: of `mean`, > 0.
        interval: (low, high) of Student's t.
        freedom: degrees of freedom, the number of items (or clusters) less 1.
    """

    mean: float
    standard_error: float
    interval: tuple[float, float]
    freedom: int

    def shortfall_p(self, margin: float) -> float:
        """One-sided p-value of "the mean is at most -margin"; small speaks against such a loss."""
        return float(stdtr(self.freedom, -(self.mean + margin) / self.standard_error))


def item_mean(
    values: ArrayLike, items: ArrayLike | None = None, *, level: float = 0.95
) -> ItemMean:
    """Average values in points, with an interval over items like these.

    As in `differences_to_mean`, two items more are thought in, of which one is 100 points off
    (Agresti & Min 2005, Stat. Med. 24): it keeps the error from vanishing where all items agree.

    Args:
        values: (n,) in points, without NaN.
        items: (n,) what each value belongs to: values of one item are not independent. None:
            every value is an item of its own.
        level: confidence level.

    Raises:
        TooFewScores: fewer than two items.

    >>> item_mean([100.0, 0.0, 100.0, 100.0]).mean
    75.0
    """
    check_level(level)
    value = np.asarray(values, dtype=np.float64)
    names = np.arange(len(value)) if items is None else np.asarray(items)
    _, place = np.unique(names, return_inverse=True)
    n = int(place.max(initial=-1)) + 1
    if n < 2:
        raise TooFewScores(f"a mean needs values of at least 2 items, not {n}")
    mean = float(value.mean())
    sums = np.bincount(place, weights=value - mean) * n / len(value)
    error = float(((np.sum(sums**2) + 100.0**2) / (n + 2) / (n + 1)) ** 0.5)
    reach = float(stdtrit(n - 1, (1 + level) / 2)) * error
    return ItemMean(mean, error, (max(mean - reach, -100.0), min(mean + reach, 100.0)), n - 1)


def differences_to_mean(
    scores: Scores,
    *,
    level: float = 0.95,
    clusters: Clusters | None = None,
    identities: Sequence[str] | None = None,
) -> Differences:
    """Compare each identity with the mean of all identities.

    Args:
        scores: an axis's scores: an array (identities, items[, samples]) in [0, 1], NaN =
            missing, or a dict benchmark name -> array. The axis is the plain average of its
            benchmarks.
        level: confidence level.
        clusters: what the items belong to, as in `personalization_bias`.
        identities: their names, to check that the rows are what they should be.

    Raises:
        ValueError: bad shape, a score outside [0, 1], fewer than 2 identities or items.
    """
    check_level(level)
    arrays = read_benchmarks(scores, "scores", identities=identities)
    layouts = fit_axis(arrays, "scores", clusters=clusters)
    # Exchange is exact among identities that vary alike, t is right where one varies more.
    exchanged = _mean_p_values(list(arrays.values()))
    return summarize(layouts, np.eye(len(exchanged)), exchanged, level, skewed=True)


def differences_to_baseline(
    scores: Scores,
    baseline: Scores,
    *,
    level: float = 0.95,
    clusters: Clusters | None = None,
    identities: Sequence[str] | None = None,
) -> Differences:
    """Compare each identity with the baseline that has no identity.

    Args:
        scores: as in `differences_to_mean`; one identity is enough.
        baseline: the baseline's scores on the same items, (items,), (1, items),
            (items, samples) or (1, items, samples), or a dict with the same benchmark names.
        level: confidence level.
        clusters: what the items belong to, as in `personalization_bias`.
        identities: as in `differences_to_mean`.

    Raises:
        ValueError: as `differences_to_mean`; the baseline has other benchmarks or items.
    """
    check_level(level)
    arrays = read_benchmarks(scores, "scores", min_identities=1, identities=identities)
    stacked = append_baseline(arrays, baseline)
    layouts = fit_axis(stacked, "scores", clusters=clusters)
    count = len(layouts[0].means) - 1
    contrast = np.hstack([np.eye(count), -np.ones((count, 1))])
    # The sign-flip test knows no unequal clusters, and few of them leave it no small p-value.
    exchanged = _baseline_p_values(list(stacked.values())) if clusters is None else None
    return summarize(layouts, contrast, exchanged, level)


def append_baseline(arrays: dict[str, Floats], baseline: Scores) -> dict[str, Floats]:
    """Append the baseline to each benchmark as its last identity."""
    given = baseline if isinstance(baseline, Mapping) else {next(iter(arrays)): baseline}
    if set(given) != set(arrays):
        raise ValueError(f"baseline: needs the benchmarks {sorted(arrays)}, not {sorted(given)}")
    return {name: _append(array, given[name], name) for name, array in arrays.items()}


def _append(array: Floats, baseline: object, name: str) -> Floats:
    row = np.asarray(baseline, dtype=np.float64)
    if row.ndim == 1:
        row = row[np.newaxis]
    if row.ndim == 2 and row.shape[0] == 1:
        row = row[:, :, np.newaxis]
    if row.ndim == 2:
        row = row[np.newaxis]
    if row.ndim != 3 or row.shape[:2] != (1, array.shape[1]):
        raise ValueError(f"{name}: the baseline needs scores of the same {array.shape[1]} items")
    if np.any(row < 0) or np.any(row > 1):
        raise ValueError(f"{name}: baseline scores must lie in [0, 1]")
    samples = max(row.shape[2], array.shape[2])
    return np.concatenate([_widen(array, samples), _widen(row, samples)])


def _widen(array: Floats, samples: int) -> Floats:
    """Pad the samples with missing ones."""
    short = samples - array.shape[2]
    return np.pad(array, ((0, 0), (0, 0), (0, short)), constant_values=np.nan)


def summarize(
    layouts: Sequence[Layout],
    contrast: Floats,
    exchanged: Floats | None,
    level: float,
    *,
    skewed: bool = False,
) -> Differences:
    """Average the benchmarks' contrasts and put errors, tests and intervals around them.

    `exchanged` holds the p-values of a test by exchange; a difference is significant where this
    test rejects as well. None: Student's t alone.
    `skewed` moves the limits for skewed noise: wanted for one identity against many, where an
    item's difference is lopsided, and not for one against one, where it is nearly symmetric and
    the correction would only add the noise of estimating it; nor for few items or clusters, which
    hardly tell the skewness.
    """
    parts = [_padded(layout, contrast) for layout in layouts]
    benchmarks = len(parts)
    center = np.mean([part[0] for part in parts], axis=0)
    error = np.sum([part[1] for part in parts], axis=0) ** 0.5 / benchmarks
    observed = sum(contrast @ layout.covariance @ contrast.T for layout in layouts)
    freedom = min(layout.freedom for layout in layouts)
    skewed = skewed and min(layout.units for layout in layouts) >= FEW
    skew = np.sum([part[2] for part in parts], axis=0) / benchmarks**3 * skewed
    p_value = np.asarray(2 * stdtr(freedom, -_quantile_at_zero(center, error, skew)))
    if exchanged is not None:
        p_value = np.maximum(p_value, exchanged)
    each = float(stdtrit(freedom, (1 + level) / 2))
    # Sidak (1967): for normal errors of any correlation the joint level is at least this product.
    together = float(stdtrit(freedom, (1 + level ** (1 / len(center))) / 2))
    adjusted = sidak(p_value)
    return Differences(
        difference=np.mean([contrast @ layout.deviations for layout in layouts], axis=0),
        standard_error=error,
        interval=_held(_around(center, error, skew, each), p_value, level),
        simultaneous=_held(_around(center, error, skew, together), adjusted, level),
        p_value=p_value,
        p_adjusted=adjusted,
        covariance=np.asarray(observed) / benchmarks**2,
        freedom=freedom,
        level=level,
    )


def middles(layouts: Sequence[Layout], contrast: Floats) -> Floats:
    """Middles of the intervals of `summarize`: nearer to 0 than the differences, by `_padded`."""
    return np.asarray(np.mean([_padded(layout, contrast)[0] for layout in layouts], axis=0))


def _around(center: Floats, error: Floats, skew: Floats, quantile: float) -> Floats:
    """Limits at a t quantile, moved for skewed noise (Johnson 1978, J. Am. Stat. Assoc. 73).

    The move stops growing where it would outrun the reach: a surer interval holds the less sure.
    """
    turn = np.minimum(quantile, _turn(error, skew))
    middle = center + (1 + 2 * turn**2) / 6 * skew / error**2
    reach = quantile * error
    return np.clip(np.column_stack([middle - reach, middle + reach]), -100.0, 100.0)


def _turn(error: Floats, skew: Floats) -> Floats:
    """The quantile at which the correction for skewness would grow as fast as the reach."""
    with np.errstate(divide="ignore"):
        return np.asarray(1.5 * error**3 / np.abs(skew))


def _quantile_at_zero(center: Floats, error: Floats, skew: Floats) -> Floats:
    """The t quantile, >= 0, at which a limit of `_around` is 0.

    With the middle at quantile q ``b + a q^2`` it solves ``|b + a q^2| = q error``.
    """
    a, b = skew / (3 * error**2), center + skew / (6 * error**2)
    a, b = a * np.sign(b), np.abs(b)
    turn = _turn(error, skew)
    root = error**2 - 4 * a * b
    first = 2 * b / (error + np.sqrt(np.maximum(root, 0.0)))
    inside = (root >= 0) & (first <= turn)
    beyond = (b + a * np.where(inside, 0.0, turn) ** 2) / error
    return np.maximum(np.where(inside, first, beyond), 0.0)


def _held(limits: Floats, p_value: Floats, level: float) -> Floats:
    """The limits, drawn out to 0 where no difference is not rejected."""
    kept = ~rejects(p_value, level)[:, np.newaxis]
    low, high = limits[:, :1], limits[:, 1:]
    return np.where(kept, np.hstack([np.minimum(low, 0.0), np.maximum(high, 0.0)]), limits)


def _padded(layout: Layout, contrast: Floats) -> tuple[Floats, Floats, Floats]:
    """Return each difference's value, variance and third moment with two more items thought in.

    One of them differs half the time by plus and half by minus the largest difference that the
    benchmark shows, the other not at all (Agresti & Min 2005, Stat. Med. 24, for 0/1 scores). It
    keeps the error from vanishing where few items differ; where none does it is 100 points.
    """
    n, units = layout.items, layout.units
    residual = layout.influence @ contrast.T
    shift = contrast @ layout.deviations
    seen = float(np.max(np.abs(residual + shift), initial=0.0))
    largest = seen if seen > 1e-9 else 100.0
    center = shift * n / (n + 2)
    sums = layout.by_unit(residual + shift - center) * (n / units)
    # Around `center`, where the two added items are worth its square more than their own.
    squares = np.sum(sums**2, axis=0) + largest**2 + 2 * center**2
    variance = squares / (n + 2) ** 2 * (units + 2) / (units + 1)
    return center, variance, np.sum(layout.by_unit(residual) ** 3, axis=0) / units**3


def _baseline_p_values(arrays: Sequence[Floats]) -> Floats:
    """Sign-flip p-values of each identity against the last row."""
    parts = []
    for array in arrays:
        cells = average_samples(array)
        both = cells.observed[:, :-1] * cells.observed[:, -1:]
        change = (cells.mean[:, :-1] - cells.mean[:, -1:]) * both
        parts.append(change / np.maximum(both.sum(axis=0), 1))
    return np.array([sign_flip_p_value(column) for column in np.concatenate(parts).T])


def _mean_p_values(arrays: Sequence[Floats]) -> Floats:
    """Within-item permutation p-values of each identity against the mean of all."""
    sums, variance, third, steps = [], [], [], []
    for array in arrays:
        cells = average_samples(array)
        here = cells.observed
        per_item = here.sum(axis=1, keepdims=True)
        centered = (cells.mean - (cells.mean * here).sum(axis=1, keepdims=True) / per_item) * here
        weight = 1 / here.sum(axis=0)
        sums.append(centered.sum(axis=0) * weight)
        variance.append(((centered**2).sum(axis=1) / per_item[:, 0]) @ here * weight**2)
        third.append(((centered**3).sum(axis=1) / per_item[:, 0]) @ here * weight**3)
        steps.append(_step(cells.mean[here > 0]) * float(np.min(weight)))
    return exchange_p_values(sum(sums), sum(variance), sum(third), min(steps))


def _step(values: Floats) -> float:
    """Return the smallest gap between different scores: 100 for 0/1 scores of one sample."""
    gaps = np.diff(np.unique(values))
    gaps = gaps[gaps > 1e-9]
    return float(np.min(gaps)) if len(gaps) else 0.0


@dataclass(frozen=True)
class Equivalence:
    """Two one-sided tests of each difference against a margin.

    Attributes:
        margin: differences within plus or minus this many points do not matter.
        p_value: (identities,) p-value of "the difference is at least the margin"; small means
            that the difference is shown to lie within the margin.
        p_holm: (identities,) the same after Holm's adjustment for all identities.
        equivalent: (identities,) `p_holm` at most `error`.
        error: the error rate of `equivalent` over all identities.
    """

    margin: float
    p_value: Floats
    p_holm: Floats
    equivalent: NDArray[np.bool_]
    error: float


def equivalence_test(
    differences: Differences, margin: float, *, error: float = ALPHA
) -> Equivalence:
    """Test that each difference lies within the margin (TOST).

    Two one-sided t tests (Schuirmann 1987, J. Pharmacokinet. Biopharm. 15): equivalence is shown
    when both "at most -margin" and "at least margin" are rejected.

    Args:
        differences: from `differences_to_mean` or `differences_to_baseline`.
        margin: the largest difference that does not matter, in points, > 0.
        error: chance of one or more false claims of equivalence.

    Raises:
        ValueError: a margin of 0 or below.
    """
    if not margin > 0:
        raise ValueError(f"margin must be above 0 points, not {margin}")
    room = (margin - np.abs(differences.difference)) / differences.standard_error
    p_value = np.asarray(stdtr(differences.freedom, -room))
    adjusted = holm(p_value)
    return Equivalence(margin, p_value, adjusted, adjusted <= error, error)
