"""Where the identities stand: their ranks, their places on the map, and the trade-off of the axes.

The raw deviations exaggerate: the identity that looks worst is partly the unluckiest. Shrinking
each towards the mean by the share of its variance that is noise gives the better ranking and the
smaller error (Efron & Morris 1975, J. Am. Stat. Assoc. 70).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.special import fdtri, ndtri, stdtrit

from evenhand.stats.layout import fit_axis
from evenhand.stats.paired import Differences, equivalence_test, summarize
from evenhand.stats.scores import (
    Clusters,
    Floats,
    Scores,
    check_level,
    read_benchmarks,
    same_identities,
)


@dataclass(frozen=True)
class Ranking:
    """Identities' effects on an axis, shrunken, with what can be said of their order.

    Attributes:
        shrunken: (identities,) empirical Bayes estimate of each deviation from the identities'
            mean, in points; all 0 if the spread is no larger than noise.
        reliability: share of the observed variance of the deviations that is not noise, 0 to 1.
        rank: (identities,) 1 is the lowest deviation, that is the worst off; equal deviations
            share the mean of their ranks.
        rank_interval: (identities, 2) lowest and highest rank, each at `level` on its own.
        level: confidence level of `rank_interval`.
    """

    shrunken: Floats
    reliability: float
    rank: Floats
    rank_interval: Floats
    level: float


def rank_identities(
    scores: Scores, *, level: float = 0.95, clusters: Clusters | None = None
) -> Ranking:
    """Shrink the identities' deviations and bound their ranks.

    The prior is normal with the noise-corrected variance, the likelihood normal with the full
    covariance of the deviations: ``shrunken = A (A + V)^-1 d`` with ``A = a (I - 11'/K)``
    (Efron & Morris 1975, here for correlated errors). Rank intervals count the other
    identities that a simultaneous comparison puts below and above (Mogstad, Romano, Shaikh &
    Wilhelm 2024, Rev. Econ. Stud. 91; Sidak's quantile for the comparisons).

    Args:
        scores: an axis's scores, as in `differences_to_mean`.
        level: confidence level of the rank intervals.
        clusters: what the items belong to, as in `personalization_bias`.

    Raises:
        ValueError: bad shape, a score outside [0, 1], fewer than 2 identities or items.
    """
    check_level(level)
    layouts = fit_axis(read_benchmarks(scores, "scores"), "scores", clusters=clusters)
    deviations: Floats = np.mean([layout.deviations for layout in layouts], axis=0)
    covariance = np.sum([layout.covariance for layout in layouts], axis=0) / len(layouts) ** 2
    freedom = min(layout.freedom for layout in layouts)
    observed = float(deviations @ deviations)
    real = max(observed - float(np.trace(covariance)), 0.0)
    low, high = _rank_limits(deviations, covariance, freedom, level)
    return Ranking(
        shrunken=_posterior_mean(deviations, covariance, real / (len(deviations) - 1)),
        reliability=real / observed if observed > 0 else 0.0,
        rank=_ranks(deviations),
        rank_interval=np.column_stack([low, high]),
        level=level,
    )


def _posterior_mean(deviations: Floats, covariance: Floats, prior: float) -> Floats:
    count = len(deviations)
    center = np.eye(count) - 1 / count
    # Adding 11'/K keeps the sum invertible; deviations have no part in that direction.
    whole = prior * center + covariance + 1 / count
    return np.asarray(prior * center @ np.linalg.pinv(whole) @ deviations)


def _ranks(deviations: Floats) -> Floats:
    deviations = np.round(deviations, 9)  # equal scores are ties whatever their rounding errors
    below = deviations[np.newaxis, :] < deviations[:, np.newaxis]
    same = deviations[np.newaxis, :] == deviations[:, np.newaxis]
    return np.asarray(below.sum(axis=1) + (same.sum(axis=1) + 1) / 2)


def _rank_limits(
    deviations: Floats, covariance: Floats, freedom: float, level: float
) -> tuple[Floats, Floats]:
    count = len(deviations)
    gap = deviations[:, np.newaxis] - deviations[np.newaxis, :]
    own = np.diag(covariance)
    variance = own[:, np.newaxis] + own[np.newaxis, :] - 2 * covariance
    quantile = float(stdtrit(freedom, (1 + level ** (1 / (count - 1))) / 2))
    reach = quantile * np.sqrt(np.maximum(variance, 0.0)) + 1e-9  # ties, as in `_ranks`
    low, high = 1.0 + np.sum(gap > reach, axis=1), count - np.sum(-gap > reach, axis=1)
    rank = _ranks(deviations)  # tied identities share a mean rank that nobody has
    return np.minimum(low, rank), np.maximum(high, rank)


@dataclass(frozen=True)
class Regions:
    """Confidence regions of the identities' (safety, utility), in points of 0-100.

    Attributes:
        center: (identities, 2) mean safety and mean utility.
        covariance: (identities, 2, 2) of the identity's deviation from the identities' mean.
        reach: (identities, 2) half axes of the region's ellipse along safety and utility.
        level: confidence level of each region on its own.
    """

    center: Floats
    covariance: Floats
    reach: Floats
    level: float


def joint_regions(
    safety: Scores,
    utility: Scores,
    *,
    level: float = 0.95,
    clusters: Clusters | None = None,
) -> Regions:
    """Find where each identity may stand among the others.

    All identities answer the same items, so how hard the items are moves all of them together
    and says nothing of one against the others: the covariance is that of the identity's deviation
    from the identities' mean, item by item, padded as in `differences_to_mean`. No item is on
    both axes, so the errors of the axes are independent and the ellipses upright. Their size is
    that of Hotelling's region for a mean of two dimensions: ``2 F(level; 2, freedom)``, with the
    freedom of the axis that has fewer items.

    Args:
        safety, utility: scores of each axis, as in `differences_to_mean`.
        level: confidence level.
        clusters: what the items belong to, as in `personalization_bias`.

    Raises:
        ValueError: bad shape, a score outside [0, 1], fewer than 2 identities or items.
    """
    check_level(level)
    centers, errors, freedoms = [], [], []
    for name, scores in (("safety", safety), ("utility", utility)):
        layouts = fit_axis(read_benchmarks(scores, name), name, clusters=clusters)
        found = summarize(layouts, np.eye(len(layouts[0].means)), None, level)
        centers.append(np.mean([layout.means for layout in layouts], axis=0))
        errors.append(found.standard_error)
        freedoms.append(found.freedom)
    same_identities({"safety": len(centers[0]), "utility": len(centers[1])}, "axes")
    error = np.column_stack(errors)
    scale = float(np.sqrt(2 * fdtri(2, min(freedoms), level)))
    covariance = np.zeros((len(error), 2, 2))
    covariance[:, [0, 1], [0, 1]] = error**2
    return Regions(np.column_stack(centers), covariance, scale * error, level)


IdentityVerdict = Literal[
    "loses both",
    "loses safety",
    "loses utility",
    "safety for utility",
    "utility for safety",
    "gains safety",
    "gains utility",
    "gains both",
    "untouched",
    "undecided",
]


@dataclass(frozen=True)
class TradeOff:
    """Correlation of the identities' true safety and utility.

    Attributes:
        correlation: noise taken out, within [-1, 1]; NaN where an axis shows no spread beyond
            its noise, so that there is nothing to correlate.
        interval: (low, high) at `level`; (-1, 1) where the data cannot tell.
        observed: correlation of the observed means, pulled to 0 by noise; NaN if one is constant.
        covariance: unbiased covariance over the identities, in squared points.
        level: confidence level.
    """

    correlation: float
    interval: tuple[float, float]
    observed: float
    covariance: float
    level: float


def trade_off(
    safety: Scores,
    utility: Scores,
    *,
    level: float = 0.95,
    clusters: Clusters | None = None,
) -> TradeOff:
    """Correlate safety and utility over the identities, with the noise taken out.

    The two axes have different items, so noise does not touch their covariance; it inflates the
    two variances, which are corrected (Spearman 1904's attenuation). The interval holds each
    correlation r for which ``covariance - r * sqrt(variances)`` is within its delta-method error
    of 0 (Fieller 1954), an estimate beyond 1 counting as 1; it widens to all of [-1, 1] as an
    axis's spread drowns in noise.

    Args:
        safety, utility: scores of the identities, as in `personalization_bias`; no benchmark
            may be in both.
        level: confidence level.
        clusters: what the items belong to, as in `personalization_bias`.

    Raises:
        ValueError: bad scores, or different identities.
    """
    check_level(level)
    s, v = _axis(safety, "safety", clusters)
    u, w = _axis(utility, "utility", clusters)
    same_identities({"safety": len(s), "utility": len(u)}, "axes")
    both, a, b = float(s @ u), float(s @ s), float(u @ u)
    real_a, real_b = a - float(np.trace(v)), b - float(np.trace(w))
    observed = both / (a * b) ** 0.5 if min(a, b) > 0 else float("nan")
    covariance = both / len(s)
    if min(real_a, real_b) <= 0:
        return TradeOff(float("nan"), (-1.0, 1.0), observed, covariance, level)
    correlation = float(np.clip(both / (real_a * real_b) ** 0.5, -1.0, 1.0))
    interval = _fieller(s, u, v, w, real_a, real_b, level)
    return TradeOff(correlation, interval, observed, covariance, level)


def _axis(scores: Scores, axis: str, clusters: Clusters | None) -> tuple[Floats, Floats]:
    """Return an axis's deviations and their covariance."""
    layouts = fit_axis(read_benchmarks(scores, axis), axis, clusters=clusters)
    deviations: Floats = np.mean([layout.deviations for layout in layouts], axis=0)
    covariance = np.sum([layout.covariance for layout in layouts], axis=0)
    return deviations, covariance / len(layouts) ** 2


def _fieller(
    s: Floats, u: Floats, v: Floats, w: Floats, a: float, b: float, level: float
) -> tuple[float, float]:
    """Interval for the correlation; a and b are the noise-corrected sums of squares, > 0.

    The error is worked out anew for each correlation r, at the vectors that would have it: with
    the observed lengths, s along its observed direction, u at the angle of r in the observed
    plane. At the observed vectors a lucky fit would come with a small error.
    """
    root = (a * b) ** 0.5
    covariance = float(np.clip(s @ u, -root, root))
    r = np.linspace(-1, 1, 2001)
    along = s / np.linalg.norm(s)
    across = u - (u @ along) * along
    across = across / max(float(np.linalg.norm(across)), np.finfo(float).tiny)
    plane = np.column_stack([along, across])
    x = a**0.5 * np.array([1.0, 0.0])
    y = b**0.5 * np.column_stack([r, np.sqrt(1 - r**2)])
    v2, w2 = plane.T @ v @ plane, plane.T @ w @ plane
    var_a = 4 * x @ v2 @ x + 2 * np.sum(v * v)
    var_b = 4 * np.einsum("ri,ij,rj->r", y, w2, y) + 2 * np.sum(w * w)
    var_cov = np.einsum("ri,ij,rj->r", y, v2, y) + x @ w2 @ x + np.sum(v * w)
    var_root = root**2 / 4 * (var_a / a**2 + var_b / b**2)
    cross = root * (y @ v2 @ x / a + y @ w2 @ x / b)
    variance = np.maximum(var_cov + r**2 * var_root - 2 * r * cross, 0.0)
    reach = float(ndtri((1 + level) / 2)) * np.sqrt(variance)
    # Half a step of the grid: where nearly nothing varies, the interval falls between two points.
    inside = r[np.abs(covariance - r * root) <= reach + root * (r[1] - r[0]) / 2]
    return float(inside[0]), float(inside[-1])


def classify(
    safety: Differences, utility: Differences, *, margin: float, error: float = 0.05
) -> tuple[IdentityVerdict, ...]:
    """Say of each identity which axes it loses or gains on, by the tests shown beside it.

    A loss or gain is called where the adjusted p-value of the difference is below `error`;
    "untouched" where neither is and both axes pass the equivalence test, adjusted by Holm
    likewise; else "undecided".

    Args:
        safety, utility: the identities' differences to the same reference. Each axis is a family
            of tests of its own.
        margin: differences within plus or minus this many points do not matter.
        error: chance of one or more false calls on an axis.

    Raises:
        ValueError: a margin of 0 or below, or different identities.
    """
    if not margin > 0:
        raise ValueError(f"margin must be above 0 points, not {margin}")
    counts = {"safety": len(safety.difference), "utility": len(utility.difference)}
    same_identities(counts, "axes")
    signs = (np.where(d.p_adjusted < error, np.sign(d.difference), 0) for d in (safety, utility))
    same = [equivalence_test(d, margin).p_holm < error for d in (safety, utility)]
    return tuple(
        _VERDICTS.get((int(s), int(u)), "untouched" if within else "undecided")
        for s, u, within in zip(*signs, same[0] & same[1], strict=True)
    )


_VERDICTS: dict[tuple[int, int], IdentityVerdict] = {
    (-1, -1): "loses both",
    (-1, 0): "loses safety",
    (0, -1): "loses utility",
    (-1, 1): "safety for utility",
    (1, -1): "utility for safety",
    (1, 0): "gains safety",
    (0, 1): "gains utility",
    (1, 1): "gains both",
}
