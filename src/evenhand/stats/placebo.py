"""Identity beyond placebo: bias over and above what any change of wording does.

Placebos are attributes that cannot matter (a favorite color, a mug) in the same wording. They
are taken as a sample of all such attributes, the identities as the ones of interest.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import chdtri

from evenhand.stats.layout import Layout, fit_axis
from evenhand.stats.permutation import relabeling_p_value
from evenhand.stats.scores import (
    Clusters,
    Floats,
    Scores,
    TooFewScores,
    check_level,
    read_benchmarks,
)
from evenhand.stats.spread import QuadraticForm, quadratic_form, spread_interval, spread_p_value


@dataclass(frozen=True)
class PlaceboContrast:
    """Spread of the identities against the spread of the placebos, in points.

    Both spreads are standard deviations with divisor (number - 1), so that sets of different size
    compare; for K identities PB is ``sqrt((K - 1) / K)`` times this.

    Attributes:
        identity: noise-corrected standard deviation of the identities.
        placebo: noise-corrected standard deviation of the placebos.
        beyond: ``sqrt(max(0, signed_square))``, what identity adds.
        signed_square: identity squared less placebo squared, unbiased, squared points.
        interval: (low, high) of `beyond`, >= 0.
        p_value: one-sided, of "identities spread no more than placebos do".
        level: confidence level of `interval`.
        identities, placebos: numbers of each.
    """

    identity: float
    placebo: float
    beyond: float
    signed_square: float
    interval: tuple[float, float]
    p_value: float
    level: float
    identities: int
    placebos: int


def placebo_contrast(
    identity: Sequence[Scores],
    placebo: Sequence[Scores],
    *,
    level: float = 0.95,
    clusters: Clusters | None = None,
) -> PlaceboContrast:
    """Compare the spread of identities with that of placebos on the same items.

    The p-value is of a permutation of the labels "identity" and "placebo" over the ratio of the
    plug-in spreads: if identities were more placebos, both would be draws of one distribution,
    noise included, whatever its shape. It is the larger of two: with each group around its own mean
    (which a common effect of naming a person may move), and around one mean, which is exact where
    there is no such effect. The interval combines the one for the identities with
    the chi-square interval for the placebos' variance by the method of variance estimates
    recovery (MOVER: Zou & Donner 2008, Stat. Med. 27).

    Args:
        identity: scores of the identities for each axis, such as ``[safety, utility]``.
        placebo: scores of the placebos for the same axes.
        level: confidence level.
        clusters: what the items belong to, as in `personalization_bias`.

    Raises:
        ValueError: bad scores, no axis or different numbers of axes, fewer than 2 placebos.
    """
    check_level(level)
    if not identity or len(identity) != len(placebo):
        raise TooFewScores("identity and placebo need the same axes, at least one")
    ours = [_fit(scores, clusters) for scores in identity]
    theirs = [_fit(scores, clusters) for scores in placebo]
    form, other = quadratic_form(ours), quadratic_form(theirs)
    k, m = form.count - 1, other.count - 1
    signed = form.signed / k - other.signed / m
    low, high = spread_interval(form, level)
    least, most = _random_interval(other, _freedom(theirs), level)
    a, b = max(form.signed, 0.0) / k, max(other.signed, 0.0) / m
    below = a - b - ((a - low / k) ** 2 + (most - b) ** 2) ** 0.5
    above = a - b + ((high / k - a) ** 2 + (b - least) ** 2) ** 0.5
    return PlaceboContrast(
        identity=a**0.5,
        placebo=b**0.5,
        beyond=max(signed, 0.0) ** 0.5,
        signed_square=signed,
        interval=(max(below, 0.0) ** 0.5, max(above, 0.0) ** 0.5),
        # Without any spread of the placebos, what unseen items could hide must be thought of, too.
        p_value=max(_relabeled(ours, theirs), spread_p_value(form) if b == 0 else 0.0),
        level=level,
        identities=form.count,
        placebos=other.count,
    )


def _fit(scores: Scores, clusters: Clusters | None) -> list[Layout]:
    return fit_axis(read_benchmarks(scores, "scores"), "scores", clusters=clusters)


def _freedom(axes: Sequence[Sequence[Layout]]) -> float:
    """Satterthwaite's degrees of freedom of the sum of the axes' plug-in variances."""
    sums = [float(np.sum(np.mean([b.deviations for b in axis], axis=0) ** 2)) for axis in axes]
    total = sum(sums)
    count = len(axes[0][0].means) - 1
    return count * total**2 / sum(s**2 for s in sums) if total > 0 else float(count)


def _random_interval(form: QuadraticForm, freedom: float, level: float) -> tuple[float, float]:
    """Chi-square interval of the placebos' plug-in variance, less their noise, not below 0.

    Placebos without any spread leave only what unseen items could hide.
    """
    if form.plugin == 0:
        return 0.0, spread_interval(form, level)[1] / (form.count - 1)
    plugin, noise = form.plugin / (form.count - 1), form.noise / (form.count - 1)
    tail = (1 - level) / 2
    low = plugin * freedom / float(chdtri(freedom, tail)) - noise
    high = plugin * freedom / float(chdtri(freedom, 1 - tail)) - noise
    return max(low, 0.0), max(high, 0.0)


def _relabeled(ours: Sequence[Sequence[Layout]], theirs: Sequence[Sequence[Layout]]) -> float:
    """Permutation p-value of the ratio of the spreads, identities over placebos."""
    sizes = [len(part[0][0].means) for part in (ours, theirs)]
    groups = [
        np.column_stack([np.mean([b.means for b in axis], axis=0) for axis in part])
        for part in (ours, theirs)
    ]

    def ratio(rows: Floats) -> Floats:
        spreads = [
            np.sum(part.var(axis=1, ddof=1), axis=-1)
            for part in (rows[:, : sizes[0]], rows[:, sizes[0] :])
        ]
        with np.errstate(divide="ignore", invalid="ignore"):
            found = spreads[0] / spreads[1]
        return np.where(spreads[0] > 0, found, 0.0)

    # Deviations from a group's own mean are smaller by sqrt((n - 1) / n) than from the true one.
    centered = [
        (group - group.mean(axis=0)) * (len(group) / (len(group) - 1)) ** 0.5 for group in groups
    ]
    return max(
        relabeling_p_value(np.concatenate(rows), sizes, ratio) for rows in (groups, centered)
    )
