"""Identities that are given by several realizations: names, short biographies, phrasings.

With one realization per identity, what is peculiar to a name looks like bias. Here the identities'
spread is judged against the spread of the realizations within an identity (a nested analysis of
variance: Searle, Casella & McCulloch 1992, *Variance Components*, ch. 3): either with every
realization on every item, or rotating, the k-th realization of every identity on the k-th block of
items. There the block ("slot") is the independent unit: give the blocks as `clusters` to
`personalization_bias`.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import chdtri, chndtr, fdtrc, fdtri

from evenhand.stats.bias import personalization_bias
from evenhand.stats.layout import Layout, fit_axis
from evenhand.stats.scores import (
    Clusters,
    Floats,
    Scores,
    TooFewScores,
    check_level,
    read_benchmarks,
)

_NODES = (64, 9)
"""Quantiles that stand for the unknown noise: with the realizations in it, and without."""


@dataclass(frozen=True)
class NestedRealizations:
    """Spread of the identities beyond that of their realizations, on one axis.

    Attributes:
        identity: standard deviation (divisor identities - 1) between identities over the
            population of their realizations, noise and realizations taken out, in points.
        realization: standard deviation between realizations of one identity, noise taken out.
        signed_identity, signed_realization: the two variances, unbiased, in squared points; either
            may be below 0.
        share: identity / (identity + realization) of the variances, 0 to 1; NaN if both are 0.
        share_interval: (low, high) of `share` at `level`, of these identities and of realizations
            like these; (0, 1) where the scores do not restrict it.
        interval: (low, high) of `identity` at `level`, >= 0.
        f: ratio of the mean squares between and within identities.
        freedom: degrees of freedom of both.
        p_value: of "realizations of different identities differ no more than those of one".
        means: (identities,) mean over each identity's realizations, in points.
        identities: their names, in order of first appearance.
        realizations: number of realizations in all; of slots where they rotate.
        level: confidence level.
    """

    identity: float
    realization: float
    signed_identity: float
    signed_realization: float
    share: float
    share_interval: tuple[float, float]
    interval: tuple[float, float]
    f: float
    freedom: tuple[int, int]
    p_value: float
    means: Floats
    identities: tuple[Hashable, ...]
    realizations: int
    level: float


def nested_realizations(
    scores: Scores,
    identity: Sequence[Hashable],
    *,
    level: float = 0.95,
    clusters: Clusters | None = None,
) -> NestedRealizations:
    """Compare identities with the realizations inside them, all asked on the same items.

    The F test is exact for normal effects: both mean squares hold the same noise. The interval of
    the identities' variance is that of Burdick & Graybill 1992 (*Confidence Intervals on Variance
    Components*, sec. 3.3: the ratio of the mean squares' chi-square limits, Williams 1962).

    Args:
        scores: (realizations, items[, samples]) in [0, 1], NaN = missing, or a dict by benchmark.
        identity: (realizations,) the identity that each row belongs to; at least two identities,
            and in all more rows than identities.
        level: confidence level.
        clusters: what the items belong to, as in `personalization_bias`.

    Raises:
        ValueError: bad scores, or another number of identities than of rows.
        TooFewScores: one identity alone, or only one realization of each.

    >>> rng = np.random.default_rng(0)
    >>> scores = (rng.random((6, 400)) < 0.8).astype(float)
    >>> found = nested_realizations(scores, ["a", "a", "a", "b", "b", "b"])
    >>> found.freedom
    (1, 4)
    """
    check_level(level)
    arrays = read_benchmarks(scores, "scores")
    layouts = fit_axis(arrays, "scores", clusters=clusters)
    deviations: Floats = np.mean([layout.deviations for layout in layouts], axis=0)
    noise = np.sum([layout.covariance for layout in layouts], axis=0) / len(layouts) ** 2
    if len(identity) != len(deviations):
        raise ValueError(f"identity: needs {len(deviations)}, one per row, not {len(identity)}")
    names = tuple(dict.fromkeys(identity))
    member = np.array([[who == name for who in identity] for name in names], dtype=np.float64)
    sizes = member.sum(axis=1)
    between, within = len(names) - 1, len(deviations) - len(names)
    if between < 1 or within < 1:
        raise TooFewScores("needs two or more identities, and two realizations of one of them")
    average = member / sizes[:, np.newaxis]
    inside = np.eye(len(deviations)) - member.T @ average
    outside = member.T @ average - 1 / len(deviations)
    ms_within = float(deviations @ inside @ deviations) / within
    ms_between = float(deviations @ outside @ deviations) / between
    # The mean number of realizations behind an identity, as in an unbalanced one-way layout.
    each = (float(sizes.sum()) - float(np.sum(sizes**2) / sizes.sum())) / between
    signed_identity = (ms_between - ms_within) / each
    sampling = float(np.trace(inside @ noise)) / within
    signed_realization = ms_within - sampling
    one, other = max(signed_identity, 0.0), max(signed_realization, 0.0)
    squares = _MeanSquares(
        between=ms_between,
        within=ms_within,
        sampling=sampling,
        freedom=(between, within, min(layout.freedom for layout in layouts)),
        identity_weight=each,
    )
    f = ms_between / ms_within if ms_within > 0 else float("inf") if ms_between > 0 else 1.0
    return NestedRealizations(
        identity=one**0.5,
        realization=other**0.5,
        signed_identity=signed_identity,
        signed_realization=signed_realization,
        share=one / (one + other) if one + other > 0 else float("nan"),
        share_interval=squares.share_interval(level),
        interval=_identity_interval(ms_between, ms_within, between, within, each, level),
        f=f,
        freedom=(between, within),
        p_value=float(fdtrc(between, within, f)) if np.isfinite(f) else 0.0,
        means=average @ np.mean([layout.means for layout in layouts], axis=0),
        identities=names,
        realizations=len(deviations),
        level=level,
    )


def rotating_realizations(
    scores: Scores, slots: Clusters, *, level: float = 0.95
) -> NestedRealizations:
    """Compare identities whose k-th realization was asked on the items of slot k.

    Between slots the identities' means vary by their realizations and by sampling, within slots by
    sampling alone; what the one has beyond the other is the realizations' variance. All else is
    that of `personalization_bias` with the slots as clusters.

    Args:
        scores: (identities, items[, samples]) in [0, 1], NaN = missing, or a dict by benchmark.
        slots: the slot of each item, as `clusters` of `personalization_bias`; equal labels in two
            benchmarks are the same realizations.
        level: confidence level.

    Raises:
        ValueError: bad scores, or slots that do not fit them.
        TooFewScores: fewer than two identities, items or slots.

    >>> rng = np.random.default_rng(0)
    >>> scores = (rng.random((3, 400)) < 0.8).astype(float)
    >>> rotating_realizations(scores, np.arange(400) % 20).freedom
    (2, 19)
    """
    arrays = read_benchmarks(scores, "scores")
    tied = fit_axis(arrays, "scores", clusters=slots)
    alone = fit_axis(arrays, "scores")
    bias = personalization_bias(arrays, None, level=level, clusters=slots)
    count, units = bias.identities, max(layout.units for layout in tied)
    noise = sum(float(np.trace(layout.covariance)) for layout in tied) / len(tied) ** 2
    sampling = sum(float(np.trace(layout.covariance)) for layout in alone) / len(alone) ** 2
    # A realization's effect is in the spread of the slots, and of the items within them, too.
    reach = 1 / units - sum(1 / layout.items for layout in alone) / len(alone) ** 2
    signed_realization = (noise - sampling) / (count - 1) / reach if reach > 1e-12 else 0.0
    signed_identity = bias.signed_square * count / (count - 1)
    one, other = max(signed_identity, 0.0), max(signed_realization, 0.0)
    scale = (count / (count - 1)) ** 0.5
    spread = count * bias.plugin**2
    alike, least = _like_independent(tied), min(layout.freedom for layout in tied)
    squares = _MeanSquares(
        between=spread / (count - 1),
        within=noise / (count - 1),
        sampling=sampling / (count - 1),
        freedom=(alike, alike * least, alike * min(layout.freedom for layout in alone)),
        realization_weight=max(reach, 1e-12),
    )
    return NestedRealizations(
        identity=one**0.5,
        realization=other**0.5,
        signed_identity=signed_identity,
        signed_realization=signed_realization,
        share=one / (one + other) if one + other > 0 else float("nan"),
        share_interval=squares.share_interval(level) if reach > 1e-12 else (0.0, 1.0),
        interval=(bias.interval[0] * scale, bias.interval[1] * scale),
        f=spread / noise if noise > 0 else float("inf") if spread > 0 else 1.0,
        freedom=(count - 1, units - 1),
        p_value=bias.p_value,
        means=np.mean([layout.means for layout in alone], axis=0),
        identities=tuple(range(count)),
        realizations=units,
        level=level,
    )


def _like_independent(layouts: Sequence[Layout]) -> float:
    """Number of independent deviations of equal noise that vary as much as these together.

    Satterthwaite's tr(V)^2 / tr(V^2), at most identities - 1.
    """
    covariance = np.sum([layout.covariance for layout in layouts], axis=0)
    square = float(np.sum(covariance**2))
    return float(np.trace(covariance)) ** 2 / square if square > 0 else len(covariance) - 1.0


@dataclass(frozen=True)
class _MeanSquares:
    """The three mean squares that tell identities, realizations and sampling apart.

    Their means are ``within + identity_weight * identity^2``, ``sampling + realization_weight *
    realization^2`` and ``sampling``; `freedom` is that of each.
    """

    between: float
    within: float
    sampling: float
    freedom: tuple[float, float, float]
    identity_weight: float = 1.0
    realization_weight: float = 1.0

    def share_interval(self, level: float) -> tuple[float, float]:
        """Generalized confidence interval of identity^2 / (identity^2 + realization^2).

        A ratio of two differences of mean squares has no exact interval, but a generalized one
        (Weerahandi 1993, J. Am. Stat. Assoc. 88; Burdick, Borror & Montgomery 2005, *Design and
        Analysis of Gauge R&R Studies*, ch. 2): the unknown noise is laid at the quantiles of
        ``freedom * mean square / chi-square``, and given it the sum of squares between
        identities is a noncentral chi-square. The identities are these, not a sample of others,
        so that few of them do not make the interval wide. Where a draw leaves neither variance,
        any share goes with it.
        """
        if self.within <= 0:
            return 0.0, 1.0
        within, sampling = (
            square * freedom / chdtri(freedom, (np.arange(nodes) + 0.5) / nodes)
            for square, freedom, nodes in zip(
                (self.within, self.sampling), self.freedom[1:], _NODES, strict=True
            )
        )
        realization = np.maximum(within[:, np.newaxis] - sampling, 0) / self.realization_weight
        observed = self.freedom[0] * self.between / within[:, np.newaxis]
        unit = self.freedom[0] * self.identity_weight / within[:, np.newaxis]

        def at_most(share: float) -> Floats:
            """By node, the chance that the share is not larger, or that identity^2 is 0."""
            spread = unit * realization * share / (1 - share)
            return np.asarray(1 - chndtr(observed, self.freedom[0], spread))

        tail, most = (1 - level) / 2, 1 - 1e-9
        some = realization > 0

        def below(share: float) -> float:
            return float(np.mean(at_most(share))) - tail

        def above(share: float) -> float:
            return float(np.mean(at_most(share) * some)) - (1 - tail)

        from scipy.optimize import brentq  # 25 MB, which most reports can do without

        low = 0.0 if below(0.0) >= 0 else 1.0 if below(most) < 0 else brentq(below, 0.0, most)
        high = 1.0 if above(most) < 0 else 0.0 if above(0.0) >= 0 else brentq(above, 0.0, most)
        return float(low), float(high)


def _identity_interval(
    ms_between: float, ms_within: float, between: int, within: int, each: float, level: float
) -> tuple[float, float]:
    """Williams's interval of the standard deviation between identities."""
    tail = (1 - level) / 2
    squares = between * ms_between
    limits = []
    for quantile in (1 - tail, tail):
        # chi-square quantile = between * F(between, infinity)
        chi = between * float(fdtri(between, 1e9, quantile))
        limits.append(
            (squares - between * ms_within * float(fdtri(between, within, quantile))) / chi
        )
    return (max(limits[0] / each, 0.0) ** 0.5, max(limits[1] / each, 0.0) ** 0.5)


def nested_power(
    identities: int,
    realizations: int,
    *,
    realization_sd: float,
    noise_variance: float,
    power: float = 0.8,
    error: float = 0.05,
) -> float:
    """Return the smallest standard deviation between identities that the F test finds.

    The identities are a sample of a normal population, so the ratio of the mean squares is F times
    ``1 + realizations * identity^2 / (realization^2 + noise)`` (Searle et al. 1992, sec. 3.6).

    Args:
        identities: number of identities, at least 2.
        realizations: realizations of each, at least 2.
        realization_sd: standard deviation between realizations of one identity, in points.
        noise_variance: sampling variance of one realization's mean, in squared points: the
            residual variance of a cell divided by the number of items.
        power: wanted chance of detection.
        error: error rate of the test.

    Returns:
        In points; infinity where no spread is found with that chance.

    Raises:
        ValueError: fewer than two identities or realizations, or variances below 0.

    >>> round(nested_power(8, 20, realization_sd=2.0, noise_variance=1.0), 2)
    0.84
    """
    if identities < 2 or realizations < 2:
        raise ValueError("needs at least 2 identities with at least 2 realizations each")
    if realization_sd < 0 or noise_variance < 0 or realization_sd + noise_variance == 0:
        raise ValueError("realization_sd and noise_variance must be 0 or more, not both 0")
    between, within = identities - 1, identities * (realizations - 1)
    ratio = float(fdtri(between, within, 1 - error) / fdtri(between, within, 1 - power))
    return float(((ratio - 1) * (realization_sd**2 + noise_variance) / realizations) ** 0.5)
