"""Shrunken identity effects and intervals for the identities' ranks.

The raw deviations exaggerate: the identity that looks worst is partly the unluckiest. Shrinking
each towards the mean by the share of its variance that is noise gives the better ranking and the
smaller error (Efron & Morris 1975, J. Am. Stat. Assoc. 70).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import stdtrit

from evenhand.stats._scores import Floats, Scores, check_level, read_benchmarks
from evenhand.stats.layout import fit_layout


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


def rank_identities(scores: Scores, *, level: float = 0.95) -> Ranking:
    """Shrink the identities' deviations and bound their ranks.

    The prior is normal with the noise-corrected variance, the likelihood normal with the full
    covariance of the deviations: ``shrunken = A (A + V)^-1 d`` with ``A = a (I - 11'/K)``
    (Efron & Morris 1975, here for correlated errors). Rank intervals count the other
    identities that a simultaneous comparison puts below and above (Mogstad, Romano, Shaikh &
    Wilhelm 2024, Rev. Econ. Stud. 91; Sidak's quantile for the comparisons).

    Args:
        scores: an axis's scores, as in `differences_to_mean`.
        level: confidence level of the rank intervals.

    Raises:
        ValueError: bad shape, a score outside [0, 1], fewer than 2 identities or items.
    """
    check_level(level)
    layouts = [fit_layout(a, name) for name, a in read_benchmarks(scores, "scores").items()]
    deviations: Floats = np.mean([layout.deviations for layout in layouts], axis=0)
    covariance = np.sum([layout.covariance for layout in layouts], axis=0) / len(layouts) ** 2
    freedom = min(layout.items for layout in layouts) - 1
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
    deviations: Floats, covariance: Floats, freedom: int, level: float
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
