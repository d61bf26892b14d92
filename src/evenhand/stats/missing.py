"""Missing scores: how many, whether they depend on the identity, and what they could hide."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import chdtrc, expit, logit

from evenhand.stats.bias import Spread, spread_of
from evenhand.stats.layout import fit_axis, fit_layout
from evenhand.stats.scores import Clusters, Floats, Scores, check_level, read_benchmarks
from evenhand.stats.spread import quadratic_form, spread_p_value


@dataclass(frozen=True)
class Missingness:
    """Missing scores on one axis.

    Attributes:
        count: (identities,) number of missing scores over all benchmarks and samples.
        share: (identities,) mean over the benchmarks of the missing share, 0 to 1.
        p_value: of "a score is missing as often for every identity"; 1 if none is missing.
        mean_bounds: (identities, 2) the axis's mean in points if every missing score were 0, and
            if every one were 1.
        bias_bounds: (low, high) bounds of the plug-in PB on this axis over everything that the
            missing scores could have been; `high` may be slightly above what can be reached.
    """

    count: NDArray[np.int_]
    share: Floats
    p_value: float
    mean_bounds: Floats
    bias_bounds: tuple[float, float]


def missingness(scores: Scores, *, clusters: Clusters | None = None) -> Missingness:
    """Count the missing scores of an axis, test their dependence on the identity, bound results.

    The test is Cochran's Q on the indicator of a missing score, in the form used for PB (the
    spread of the identities' missing shares). The bounds are worst cases without any assumption
    (Manski 1989, J. Hum. Resour. 24).

    Args:
        scores: an axis's scores, as in `differences_to_mean`.
        clusters: what the items belong to, as in `personalization_bias`.

    Raises:
        ValueError: bad shape, a score outside [0, 1], fewer than 2 identities or items.
    """
    arrays = read_benchmarks(scores, "scores")
    gone = {name: np.isnan(array) for name, array in arrays.items()}
    masks = {name: mask.astype(np.float64) for name, mask in gone.items()}
    layouts = fit_axis(masks, "scores", clusters=clusters)
    share: Floats = np.mean([mask.mean(axis=(1, 2)) for mask in gone.values()], axis=0)
    low = np.mean([_mean_if(array, 0.0) for array in arrays.values()], axis=0)
    high = np.mean([_mean_if(array, 1.0) for array in arrays.values()], axis=0)
    return Missingness(
        count=np.sum([mask.sum(axis=(1, 2)) for mask in gone.values()], axis=0),
        share=share,
        p_value=spread_p_value(quadratic_form([layouts])),
        mean_bounds=np.column_stack([low, high]),
        bias_bounds=(_least_spread(low, high), _most_spread(low, high)),
    )


_LEAST = 0.05
"""A cell is never thought to have had a smaller chance of a score than this."""


def weighted_spread(
    scores: Scores, *, level: float = 0.95, clusters: Clusters | None = None
) -> Spread:
    """Spread of an axis where a missing score depends on the item and on the identity.

    The usual fit takes an identity's effect to be the same on every item, so that it does not
    matter which of them are missing. Where it is larger on hard items, and these are missing more
    often for some identities, the fit is wrong. Here every observed cell stands for the missing
    ones like it: it has the inverse of its estimated chance of a score as its weight (Horvitz &
    Thompson 1952, J. Am. Stat. Assoc. 47; Seaman & White 2013, Stat. Methods Med. Res. 22). That
    chance is a logistic regression for each identity, on how hard the item is and on how often
    it is missing for all. It holds if a score's being missing depends on the identity, on these two
    and on nothing else, such as the score itself.

    Args:
        scores: an axis's scores, as in `differences_to_mean`.
        level: confidence level.
        clusters: what the items belong to, as in `personalization_bias`.

    Raises:
        ValueError: bad scores.
    """
    check_level(level)
    arrays = read_benchmarks(scores, "scores")
    weights = {name: _inverse_chances(array, name) for name, array in arrays.items()}
    layouts = fit_axis(arrays, "scores", clusters=clusters, weights=weights)
    return spread_of([layouts], level)


def _inverse_chances(array: Floats, name: str) -> Floats:
    """(identities, items) inverse of each cell's estimated chance of a score."""
    there: Floats = np.asarray(np.isfinite(array).any(axis=2), dtype=np.float64)
    asked = np.asarray(there.any(axis=0))
    result = np.ones_like(there)
    if there[:, asked].all():
        return result
    observed = there[:, asked]
    level = fit_layout(array, name).levels
    often = logit((observed.sum(axis=0) + 0.5) / (len(observed) + 1))
    design = np.column_stack([np.ones_like(level), _standard(level), _standard(often)])
    result[:, asked] = 1 / np.maximum(_chances(design, observed), _LEAST)
    return result


def _standard(values: Floats) -> Floats:
    spread = float(values.std())
    return (values - values.mean()) / spread if spread > 1e-9 else np.zeros_like(values)


def _chances(design: Floats, observed: Floats) -> Floats:
    """Fitted chances of one logistic regression for each row, with a weak normal prior."""
    coefficients: Floats = np.zeros((len(observed), design.shape[1]))
    prior = np.eye(design.shape[1])  # a standard deviation of 1 in log-odds, of the slopes alone
    prior[0, 0] = 1e-4
    for _ in range(25):
        chance = expit(coefficients @ design.T)
        slope = (observed - chance) @ design - coefficients @ prior
        weight = chance * (1 - chance)
        curvature = np.einsum("ri,ij,ik->rjk", weight, design, design) + prior
        step = np.linalg.solve(curvature, slope[..., np.newaxis])[..., 0]
        coefficients = coefficients + np.clip(step, -2, 2)
        if np.max(np.abs(step)) < 1e-8:
            break
    return np.asarray(expit(coefficients @ design.T))


def _mean_if(array: Floats, missing: float) -> Floats:
    """Return the identities' means in points with every missing score replaced."""
    return 100 * np.asarray(np.where(np.isnan(array), missing, array).mean(axis=(1, 2)))


def _least_spread(low: Floats, high: Floats) -> float:
    """Smallest root mean square deviation with each value between its low and high.

    All values move to one common point as far as they can; the best point is the fixed point of
    "mean of the values moved to it", found by bisection on a decreasing function.
    """
    left, right = float(low.min()), float(high.max())
    for _ in range(60):
        middle = (left + right) / 2
        moved = np.clip(middle, low, high)
        left, right = (middle, right) if moved.mean() > middle else (left, middle)
    return float(np.std(np.clip((left + right) / 2, low, high)))


def _most_spread(low: Floats, high: Floats) -> float:
    """Upper bound of the root mean square deviation: least over c of the farthest ends from c.

    The farthest end from c is the low one where the middle of the two lies below c, so that the
    mean square is one parabola between two neighboring middles. Each is least at the mean of its
    ends, or at the nearer border of its part.
    """
    order = np.argsort(low + high)
    low, high = low[order], high[order]
    middles = (low + high) / 2
    below = np.concatenate([[0.0], np.cumsum(low)])  # of the ends that are low ones
    above = np.concatenate([np.cumsum(high[::-1])[::-1], [0.0]])
    borders = np.concatenate([[low.min()], middles, [high.max()]])
    centers = np.clip((below + above) / len(low), borders[:-1], borders[1:])[:, np.newaxis]
    squares = np.maximum((high - centers) ** 2, (centers - low) ** 2).mean(axis=1)
    return float(squares.min() ** 0.5)


def shares_p_value(counts: ArrayLike, sizes: ArrayLike) -> float:
    """p-value of "all groups have the same share", by Pearson's (1900) chi-square.

    Args:
        counts: (groups,) how many of each group have the property.
        sizes: (groups,) sizes of the groups, > 0.

    Example:
        >>> round(shares_p_value([10, 30], [100, 100]), 5)
        0.00041
    """
    number, size = np.asarray(counts, dtype=np.float64), np.asarray(sizes, dtype=np.float64)
    share = number.sum() / size.sum()
    if not 0 < share < 1 or len(size) < 2:
        return 1.0
    square = np.sum((number - size * share) ** 2 / (size * share * (1 - share)))
    return float(chdtrc(len(size) - 1, square))
