"""Groups of users who asked questions of their own, as in the log of a product.

In an audit every identity asks the same items, and differences are taken item by item. Nobody in a
log asked what another did: rates are compared between groups, each with its own noise, and what
the groups ask may differ as well as how they are treated. Strata, such as topics, hold the kind of
question fixed as far as they tell it.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import stdtr, stdtrit

from evenhand.stats.scores import Floats, TooFewScores, check_level
from evenhand.stats.spread import QuadraticForm, spread_interval, spread_p_value

_SHARED = 1e-9
"""Below this share of the variance of groups that share nothing, a variance is but rounding."""


@dataclass(frozen=True)
class UnpairedGroups:
    """Rates of groups that share no items, and how far they lie apart, in points.

    Attributes:
        groups: their names, sorted.
        counts, units: (groups,) scores, and independent units (conversations) behind them.
        rates: (groups,) mean score, within strata of the same weights for all.
        reference: the group that the others are compared with; None: their unweighted mean.
        differences: (groups,) rate less the reference; 0 for the reference itself.
        low, high: (groups,) simultaneous limits of the differences at `level` (Bonferroni).
        p_values: (groups,) of no difference, adjusted likewise: below 1 - level exactly where 0
            is outside the limits; NaN for the reference.
        spread: root mean square deviation of the rates from their mean, noise taken out.
        spread_interval: (low, high) at `level`.
        p_value: of no spread at all.
        strata, left_out: strata compared, and scores left out since their stratum lacks a group.
        level: confidence level.
        too_few: groups with so few units that the intervals of the others to the groups' mean, or
            that of the spread, are at least twice as wide as if they had as many as the others.
    """

    groups: list[str]
    counts: list[int]
    units: list[int]
    rates: Floats
    reference: str | None
    differences: Floats
    low: Floats
    high: Floats
    p_values: Floats
    spread: float
    spread_interval: tuple[float, float]
    p_value: float
    strata: int
    left_out: int
    level: float
    too_few: list[str]


def unpaired_groups(
    scores: ArrayLike,
    groups: Sequence[str],
    *,
    reference: str | None = None,
    units: Sequence[Hashable] | None = None,
    strata: Sequence[Hashable] | None = None,
    level: float = 0.95,
) -> UnpairedGroups:
    """Compare groups that answered no items in common.

    Rates are standardized directly: the mean within each stratum, weighed by the stratum's share
    of all scores. Variances are robust to scores of one unit being alike (CR1: Cameron & Miller
    2015, J. Human Resources 50, eq. 11), and never below those of Agresti & Caffo (2000, Am. Stat.
    54), so that a group without a single refusal still has an interval.

    Args:
        scores: (scores,) in [0, 1]; NaN are left out.
        groups: (scores,) who asked.
        reference: a group to compare the others with; None: with the groups' unweighted mean.
        units: (scores,) what the scores belong to, such as conversations or users; None: every
            score is its own.
        strata: (scores,) the kind of question; only strata that every group has are compared.
        level: confidence level.

    Raises:
        ValueError: shapes that differ, scores outside [0, 1], an unknown reference.
        TooFewScores: fewer than two groups, or no stratum in which every group has two units.

    Example:
        >>> scores = [0, 0, 1, 0] * 50 + [1, 0, 1, 0] * 50
        >>> found = unpaired_groups(scores, ["a"] * 200 + ["b"] * 200)
        >>> found.rates.round(1).tolist()
        [25.0, 50.0]
        >>> bool(found.p_value < 0.001)
        True
    """
    check_level(level)
    values, who, unit, stratum = _read(scores, groups, units, strata)
    names = sorted(set(who))
    if len(names) < 2:
        raise TooFewScores(f"two groups with scores are needed, not {len(names)}")
    if reference is not None and reference not in names:
        raise ValueError(f'no group "{reference}"; there are: {", ".join(names)}')
    kept = _common(who, unit, stratum, len(names))
    left_out = int(len(values) - kept.sum())
    if not kept.any():
        raise TooFewScores("no stratum has two units of every group")
    group = np.searchsorted(names, who[kept])
    rates, covariance, alike, freedom, clusters = _rates(
        values[kept], group, unit[kept], stratum[kept], len(names)
    )
    contrast = np.eye(len(names)) - (
        1 / len(names) if reference is None else np.eye(len(names))[names.index(reference)]
    )
    differences = contrast @ rates
    # A low rate has a low variance, also where it is low by chance: no less than if all were alike.
    own = np.maximum(np.diag(covariance), alike)
    widened = covariance + np.diag(own - np.diag(covariance))
    variances = np.einsum("ij,jk,ik->i", contrast, widened, contrast)
    apart = contrast**2 @ own
    # Units that all groups share and that fare alike in each leave no variance: taken as unshared.
    errors = np.sqrt(np.where(variances > _SHARED * apart, variances, apart))
    compared = apart > 0
    tests = int(compared.sum())
    # Welch & Satterthwaite, for the difference of each group.
    free = errors[compared] ** 4 / ((contrast[compared] ** 2 * own) ** 2 / freedom).sum(axis=1)
    reach = np.zeros(len(names))
    reach[compared] = -stdtrit(free, (1 - level) / 2 / tests) * errors[compared]
    p_values = np.full(len(names), np.nan)
    sizes = np.abs(differences[compared]) / errors[compared]
    p_values[compared] = np.minimum(2 * stdtr(free, -sizes) * tests, 1.0)
    form = _form(rates, covariance, freedom)
    low, high = spread_interval(form, level)
    return UnpairedGroups(
        groups=names,
        counts=np.bincount(group, minlength=len(names)).tolist(),
        units=clusters,
        rates=rates,
        reference=reference,
        differences=differences,
        low=np.maximum(differences - reach, -100.0),
        high=np.minimum(differences + reach, 100.0),
        p_values=p_values,
        spread=max(form.signed / form.count, 0.0) ** 0.5,
        spread_interval=((low / form.count) ** 0.5, min((high / form.count) ** 0.5, 50.0)),
        p_value=spread_p_value(form),
        strata=len(np.unique(stratum[kept])),
        left_out=left_out,
        level=level,
        too_few=[names[g] for g in _widening(rates, covariance, own, freedom, level)],
    )


def _widening(
    rates: Floats, covariance: Floats, own: Floats, freedom: Floats, level: float
) -> list[int]:
    """The groups with fewest units, if they at least double the widths of others.

    Widths are compared with those if these groups were like the median of the others: of the
    differences of all others to the groups' mean, or of the spread.
    """
    order = np.argsort(freedom, kind="stable")
    found: list[int] = []
    reach, width = np.zeros(len(own)), 0.0
    for count in range(len(own) - 1):
        few, others = order[:count], order[count:]
        alike, free, narrower = own.copy(), freedom.copy(), covariance.copy()
        alike[few], free[few] = np.median(own[others]), np.median(freedom[others])
        narrower[few, :] = narrower[:, few] = 0.0
        narrower[few, few] = alike[few]
        own_reach = _reach_to_mean(alike, free, level)
        low, high = spread_interval(_form(rates, narrower, free), level)
        is_halved = np.all(own_reach[others] <= reach[others] / 2) or high - low <= width / 2
        if is_halved or not count:
            found, reach, width = sorted(few.tolist()), own_reach, high - low
    return found


def _reach_to_mean(own: Floats, freedom: Floats, level: float) -> Floats:
    """Half the widths of the intervals to the groups' mean, at most 100, nothing being shared."""
    count = len(own)
    parts = (np.eye(count) - 1 / count) ** 2 * own
    variances = parts.sum(axis=1)
    free = variances**2 / (parts**2 / freedom).sum(axis=1)
    reach = -stdtrit(free, (1 - level) / 2 / count) * np.sqrt(variances)
    return np.asarray(np.minimum(reach, 100.0))


def _read(
    scores: ArrayLike,
    groups: Sequence[str],
    units: Sequence[Hashable] | None,
    strata: Sequence[Hashable] | None,
) -> tuple[Floats, np.ndarray, np.ndarray, np.ndarray]:
    values = np.asarray(scores, dtype=float)
    if values.ndim != 1:
        raise ValueError(f"scores must have one dimension, not {values.ndim}")
    for name, given in (("groups", groups), ("units", units), ("strata", strata)):
        if given is not None and len(given) != len(values):
            raise ValueError(f"{len(values)} scores, but {len(given)} {name}")
    known = ~np.isnan(values)
    if np.any((values[known] < 0) | (values[known] > 1)):
        raise ValueError("scores must lie in [0, 1]")
    who = np.array([str(group) for group in groups])
    unit = _numbered(units) if units is not None else np.arange(len(values))
    stratum = _numbered(strata) if strata is not None else np.zeros(len(values), dtype=int)
    return values[known], who[known], unit[known], stratum[known]


def _numbered(labels: Sequence[Hashable]) -> np.ndarray:
    numbers: dict[Hashable, int] = {}
    return np.array([numbers.setdefault(label, len(numbers)) for label in labels], dtype=int)


def _common(who: np.ndarray, unit: np.ndarray, stratum: np.ndarray, groups: int) -> np.ndarray:
    """Which scores are in a stratum where every group has at least two units."""
    kept = np.zeros(len(who), dtype=bool)
    for one in np.unique(stratum):
        inside = stratum == one
        seen = {(str(g), int(u)) for g, u in zip(who[inside], unit[inside], strict=True)}
        counts: dict[str, int] = {}
        for name, _ in seen:
            counts[name] = counts.get(name, 0) + 1
        kept[inside] = len(counts) == groups and min(counts.values()) >= 2
    return kept


def _rates(
    values: Floats, group: np.ndarray, unit: np.ndarray, stratum: np.ndarray, groups: int
) -> tuple[Floats, Floats, Floats, Floats, list[int]]:
    """Standardized rates, their covariance, variances if all had the same rate, freedom, units."""
    _, stratum = np.unique(stratum, return_inverse=True)
    kinds = int(stratum.max()) + 1
    cell = group * kinds + stratum
    sizes = np.bincount(cell, minlength=groups * kinds)
    means = np.bincount(cell, values, minlength=groups * kinds) / sizes
    weights = np.bincount(stratum, minlength=kinds) / len(values)
    rates = 100 * means.reshape(groups, kinds) @ weights
    influence = 100 * weights[stratum] * (values - means[cell]) / sizes[cell]
    # A unit may hold scores of several groups: one row for each unit, one column for each group.
    _, unit = np.unique(unit, return_inverse=True)
    sums = np.zeros((int(unit.max()) + 1, groups))
    np.add.at(sums, (unit, group), influence)
    of_group = [np.unique(unit[group == one]) for one in range(groups)]
    clusters = [len(found) for found in of_group]
    scale = np.sqrt([n / (n - kinds) if n > kinds else n / (n - 1) for n in clusters])
    sums *= scale
    covariance = sums.T @ sums
    squares: Floats = np.bincount(cell, values**2, minlength=groups * kinds).astype(float)
    counts: Floats = sizes.astype(float)
    alone = _least_variance(means * counts, squares, counts)
    least = alone.reshape(groups, kinds) @ weights**2
    covariance[np.diag_indices(groups)] = np.maximum(np.diag(covariance), least)
    residuals = values - means[cell]
    together = float(np.sum(np.bincount(unit, residuals) ** 2))  # of scores of one unit
    effect = max(together / float(np.sum(residuals**2) or 1.0), 1.0)
    spread = effect * _variance_of_one(values, stratum, kinds)
    alike = (spread / counts.reshape(groups, kinds)) @ weights**2
    return rates, covariance, alike, np.array([float(n - 1) for n in clusters]), clusters


def _variance_of_one(values: Floats, stratum: np.ndarray, kinds: int) -> Floats:
    """Variance of a score in each stratum, whoever asked."""
    size = np.bincount(stratum, minlength=kinds)
    mean = np.bincount(stratum, values, minlength=kinds) / size
    square = np.bincount(stratum, values**2, minlength=kinds) / size
    return np.asarray(1e4 * (square - mean**2))


def _least_variance(sums: Floats, squares: Floats, sizes: Floats) -> Floats:
    """Variance of means with a 0 and a 1 added to each (Agresti & Caffo 2000, for proportions)."""
    added = (squares + 1) / (sizes + 2) - ((sums + 1) / (sizes + 2)) ** 2
    return np.asarray(1e4 * added / (sizes + 2))


def _form(rates: Floats, covariance: Floats, freedom: Floats) -> QuadraticForm:
    """The spread of the rates around their mean, as `stats.spread` reads it."""
    count = len(rates)
    center = np.eye(count) - 1 / count
    deviations = center @ rates
    noise = center @ covariance @ center
    # As for the differences: what all groups share to the last unit leaves no noise but rounding.
    apart = center @ np.diag(np.diag(covariance)) @ center
    if np.trace(noise) <= _SHARED * np.trace(apart):
        noise = apart
    square, cube = noise @ noise, noise @ noise @ noise
    length = float(deviations @ deviations)
    along = deviations if length > 0 else np.ones(count) / count
    scale = length if length > 0 else 1.0
    variance, third = 2 * float(np.trace(square)), 8 * float(np.trace(cube))
    return QuadraticForm(
        plugin=length,
        noise=float(np.trace(noise)),
        variance=variance,
        third=third,
        null_variance=variance,
        null_third=third,
        slope_variance=4 * float(along @ noise @ along) / scale,
        slope_third=24 * float(along @ square @ along) / scale,
        skew=0.0,
        count=count,
        units=int(freedom.min()) + 1,
        freedom=float(freedom.min()),
    )
