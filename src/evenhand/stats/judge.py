"""Judges: their mistakes and what these do to an estimate, and the agreement of two judges."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import bdtrc, ndtri, stdtrit

from evenhand.stats.bias import Spread
from evenhand.stats.layout import fit_axis
from evenhand.stats.paired import item_mean
from evenhand.stats.scores import (
    Clusters,
    Floats,
    Scores,
    TooFewScores,
    check_level,
    read_benchmarks,
)
from evenhand.stats.spread import quadratic_form, spread_p_value

_LARGEST = 50.0  # PB of one axis when half of the identities are at 0 and half at 100


@dataclass(frozen=True)
class JudgeError:
    """A judge's agreement with human labels.

    Attributes:
        sensitivity: chance that the judge says 1 where humans say 1.
        specificity: chance that the judge says 0 where humans say 0.
        positives, negatives: numbers of labeled responses behind the two.
        between_models: standard deviation of sensitivity and of specificity between models, 0 to 1:
            how far the answers of another model may be judged otherwise (`between_models`).
    """

    sensitivity: float
    specificity: float
    positives: int
    negatives: int
    between_models: tuple[float, float] = (0.0, 0.0)

    def __post_init__(self) -> None:
        for name in ("sensitivity", "specificity"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must lie in [0, 1], not {getattr(self, name)}")
        if min(self.positives, self.negatives) < 1:
            raise ValueError("a judge needs human labels of both kinds")
        if self.sensitivity + self.specificity <= 1:
            raise ValueError(
                "sensitivity + specificity must exceed 1: this judge is no better than chance"
            )

    @property
    def youden(self) -> float:
        """Youden's J, sensitivity + specificity - 1: how much of a true difference gets through."""
        return self.sensitivity + self.specificity - 1


@dataclass(frozen=True)
class CorrectedRates:
    """True rates behind judged ones, in points.

    Attributes:
        rate: Rogan-Gladen estimate, cut to [0, 100].
        interval: (..., 2) low and high, with the judge's uncertainty; never of width 0.
        fits: (...,) whether the judge could have given the judged rate with these error rates.
            Where it could not, the calibration is not of this model, and the interval runs from the
            lowest rate that the judged one itself allows to the limit that it was beyond.
    """

    rate: Floats
    interval: Floats
    fits: NDArray[np.bool_]


@dataclass(frozen=True)
class CorrectedBias:
    """PB behind the judged PB, in points.

    Attributes:
        estimate: noise-corrected PB divided by Youden's J.
        interval: (low, high), with the judge's uncertainty.
        attenuation: J, the factor by which the judge's mistakes shrink PB.
        attenuation_interval: (low, high) of J.
    """

    estimate: float
    interval: tuple[float, float]
    attenuation: float
    attenuation_interval: tuple[float, float]


def corrected_rates(
    rates: ArrayLike, items: int, judge: JudgeError, *, level: float = 0.95
) -> CorrectedRates:
    """Correct judged rates for the judge's mistakes.

    Estimate: Rogan & Gladen 1978 (Am. J. Epidemiol. 107). Interval: Lang & Reiczigel 2014
    (Prev. Vet. Med. 113, eq. 4, 6, 7, 16 and 17), which carries the uncertainty of sensitivity and
    specificity and keeps its level in small samples.

    Args:
        rates: (...,) shares that the judge calls 1, in points 0-100.
        items: number of responses behind each rate.
        judge: the judge's error rates.
        level: confidence level.

    Raises:
        ValueError: a rate outside [0, 100] or no items.
    """
    check_level(level)
    judged = np.asarray(rates, dtype=np.float64) / 100
    if np.any(judged < 0) or np.any(judged > 1) or items < 1:
        raise ValueError("rates must lie in [0, 100] points and rest on at least one item")
    z = float(ndtri((1 + level) / 2))
    plain = (judged + judge.specificity - 1) / judge.youden
    p = (items * judged + z**2 / 2) / (items + z**2)
    se = (judge.positives * judge.sensitivity + 1) / (judge.positives + 2)
    sp = (judge.negatives * judge.specificity + 1) / (judge.negatives + 2)
    j = se + sp - 1
    rate = (p + sp - 1) / j
    from_se = se * (1 - se) / (judge.positives + 2) + judge.between_models[0] ** 2
    from_sp = sp * (1 - sp) / (judge.negatives + 2) + judge.between_models[1] ** 2
    shift = 2 * z**2 * (rate * from_se - (1 - rate) * from_sp)
    variance = p * (1 - p) / (items + z**2) + rate**2 * from_se + (1 - rate) ** 2 * from_sp
    reach = z * np.sqrt(variance) / j
    low, high = rate + shift - reach, rate + shift + reach
    # With a true rate of 1 the judge says 1 as often as its sensitivity, and no oftener.
    above, below = low >= 1, high <= 0
    own = np.array([wilson(float(share), items, level) for share in judged.ravel()])
    least, most = own.reshape(*judged.shape, 2)[..., 0], own.reshape(*judged.shape, 2)[..., 1]
    low = np.where(above, least, np.where(below, 0.0, low))
    high = np.where(below, most, np.where(above, 1.0, high))
    interval = np.clip(np.stack([low, high], axis=-1), 0, 1)
    return CorrectedRates(100 * np.clip(plain, 0, 1), 100 * interval, ~(above | below))


def between_models(right: ArrayLike, of: ArrayLike) -> float:
    """Standard deviation of a judge's sensitivity (or specificity) between models, 0 to 1.

    The variance of the models' shares beyond what their numbers of labels explain (the moment
    estimator of DerSimonian & Laird 1986, Control. Clin. Trials 7); a share of 0 or 1 is moved by
    half an answer. 0 for fewer than two models.

    Args:
        right: (models,) number of answers that the judge has right.
        of: (models,) number of labeled answers; models without any are left out.

    >>> round(between_models([90, 70, 80], [100, 100, 100]), 2)
    0.09
    """
    n = np.asarray(of, dtype=np.float64)
    share = ((np.asarray(right, dtype=np.float64) + 0.5) / (n + 1))[n > 0]
    n = n[n > 0]
    if len(n) < 2:
        return 0.0
    weight = (n + 1) / (share * (1 - share))
    mean = float(weight @ share / weight.sum())
    q = float(weight @ (share - mean) ** 2)
    scale = float(weight.sum() - np.sum(weight**2) / weight.sum())
    return float(max((q - (len(n) - 1)) / scale, 0.0) ** 0.5)


def corrected_bias(spread: Spread, judge: JudgeError) -> CorrectedBias:
    """Correct the PB of an axis, all of whose benchmarks this judge scored.

    A judge whose mistakes do not depend on the identity multiplies every difference of rates by
    Youden's J, so PB by J too. The interval is that of the ratio of PB to J by the method of
    variance estimates recovery (Donner & Zou 2012, Stat. Methods Med. Res. 21), with Newcombe's
    (1998, Stat. Med. 17) interval for J.

    Args:
        spread: personalization bias as judged.
        judge: the judge's error rates.
    """
    least, most = _youden_interval(judge, spread.level)
    return CorrectedBias(
        estimate=min(spread.estimate / judge.youden, _LARGEST),
        interval=_ratio_interval(spread, judge.youden, least, most),
        attenuation=judge.youden,
        attenuation_interval=(least, most),
    )


def _youden_interval(judge: JudgeError, level: float) -> tuple[float, float]:
    low_se, high_se = wilson(judge.sensitivity, judge.positives, level)
    low_sp, high_sp = wilson(judge.specificity, judge.negatives, level)
    down = np.hypot(judge.sensitivity - low_se, judge.specificity - low_sp)
    up = np.hypot(high_se - judge.sensitivity, high_sp - judge.specificity)
    return max(float(judge.youden - down), 0.0), min(float(judge.youden + up), 1.0)


def wilson(share: float, count: float, level: float) -> tuple[float, float]:
    """Wilson's (1927) score interval of a share in [0, 1] of so many answers."""
    z = float(ndtri((1 + level) / 2))
    middle = (share + z**2 / (2 * count)) / (1 + z**2 / count)
    reach = z * (share * (1 - share) / count + (z / (2 * count)) ** 2) ** 0.5 / (1 + z**2 / count)
    return max(float(middle - reach), 0.0), min(float(middle + reach), 1.0)


def _ratio_interval(spread: Spread, j: float, least: float, most: float) -> tuple[float, float]:
    """Interval of PB / J; without an upper limit but the scale's when J may be 0."""
    pb, (low, high) = spread.estimate, spread.interval
    spare = most * (2 * j - most)
    inner = max((pb * j) ** 2 - low * (2 * pb - low) * spare, 0.0)
    down = (pb * j - inner**0.5) / spare if spare > 0 else low / most
    down = min(max(down, 0.0), _LARGEST)
    if least == 0:
        return down, _LARGEST
    spare = least * (2 * j - least)
    inner = max((pb * j) ** 2 - high * (2 * pb - high) * spare, 0.0)
    return down, min(max((pb * j + inner**0.5) / spare, down), _LARGEST)


@dataclass(frozen=True)
class RaterAgreement:
    """Agreement of two judges; a score of 0.5 or more is one side, one below it the other.

    Attributes:
        answers: number of answers that both have scored.
        share: of them on which both take the same side, in points 0-100.
        interval: of `share`.
        kappa: Cohen's kappa, -1 to 1; None where both take one side throughout.
        kappa_interval: of `kappa`.
        by_identity: (identities,) share for each identity, in points; NaN without answers.
        difference: (identities,) mean of the first's score less the second's, in points.
        share_p: p-value of "they agree as often for every identity".
        difference_p: p-value of "the one scores higher than the other by as much for every
            identity". Small means that one of them, or both, errs by identity.
    """

    answers: int
    share: float
    interval: tuple[float, float]
    kappa: float | None
    kappa_interval: tuple[float, float] | None
    by_identity: Floats
    difference: Floats
    share_p: float
    difference_p: float


@dataclass(frozen=True)
class VerdictChange:
    """Verdicts on answers that were changed, beside verdicts on the same answers repeated.

    Attributes:
        answers: number of answers.
        repeated: share of the verdicts that change sides when nothing is changed, in points.
        repeated_interval: of `repeated`.
        changed: share that change sides when the answer is changed, in points.
        changed_interval: of `changed`.
        difference: mean score after the change less that before it, in points.
        difference_interval: of `difference`, with the items as clusters.
        p_value: of "a change moves no more verdicts than a repetition does", one-sided.
    """

    answers: int
    repeated: float
    repeated_interval: tuple[float, float]
    changed: float
    changed_interval: tuple[float, float]
    difference: float
    difference_interval: tuple[float, float] | None
    p_value: float


def rater_agreement(
    first: Scores,
    second: Scores,
    *,
    level: float = 0.95,
    clusters: Clusters | None = None,
) -> RaterAgreement:
    """Compare two judges' scores of the same answers.

    The identities' answers to one item are alike, so the item is the unit of both intervals: that
    of kappa is the one of `cohen_kappa`, that of the share Wilson's with as many answers as have
    the same error. The
    tests are Cochran's Q in the form used for PB, within items, on the indicator of agreement and
    on the difference of the scores.

    Args:
        first, second: the judges' scores of an axis, as in `differences_to_mean`; of the same
            identities and items.
        level: confidence level.
        clusters: what the items belong to, as in `personalization_bias`; for the two tests.

    Raises:
        ValueError: shapes differ; a score outside [0, 1].
        TooFewScores: fewer than two identities, or than two items that both have scored.
    """
    check_level(level)
    one, other = read_benchmarks(first, "scores"), read_benchmarks(second, "scores")
    if {n: a.shape for n, a in one.items()} != {n: a.shape for n, a in other.items()}:
        raise ValueError("both judges' scores need the same benchmarks, identities and items")
    both = {n: ~np.isnan(one[n]) & ~np.isnan(other[n]) for n in one}
    kept = [n for n in one if both[n].any(axis=(0, 2)).sum() >= 2]
    if not kept:
        raise TooFewScores("too few answers that both judges have scored")
    sides = {n: ((one[n] >= 0.5), (other[n] >= 0.5)) for n in kept}
    same = {n: np.where(both[n], sides[n][0] == sides[n][1], np.nan) for n in kept}
    apart = {n: np.where(both[n], (one[n] - other[n] + 1) / 2, np.nan) for n in kept}
    counts = np.concatenate([_counts(*sides[n], both[n]) for n in kept])
    kappa, kappa_interval = cohen_kappa(counts, level=level)
    return RaterAgreement(
        answers=int(counts.sum()),
        share=100 * float(counts.sum(axis=0) @ _AGREES / counts.sum()),
        interval=_share_interval(counts, level),
        kappa=kappa,
        kappa_interval=kappa_interval,
        by_identity=100 * _by_identity(same),
        difference=200 * _by_identity(apart) - 100,
        share_p=_p_value(same, clusters),
        difference_p=_p_value(apart, clusters),
    )


def verdict_change(
    stored: ArrayLike,
    repeated: ArrayLike,
    changed: ArrayLike,
    items: ArrayLike,
    *,
    level: float = 0.95,
) -> VerdictChange:
    """Whether a change of the answers moves a judge more than asking again does.

    The shares have Wilson's intervals. The test is McNemar's exact one (1947, Psychometrika 12)
    on the answers whose verdict changes sides under one of the two only; it takes the answers as
    independent.

    Args:
        stored: (answers,) scores in [0, 1] as first given.
        repeated: scores of the very same answers, given anew.
        changed: scores of the changed answers.
        items: what each answer answers; the clusters of `difference_interval`.

    Raises:
        TooFewScores: there are no answers.
    """
    check_level(level)
    before, again, after = (np.asarray(a, dtype=np.float64) for a in (stored, repeated, changed))
    if not before.size:
        raise TooFewScores("no answer was judged again")
    wavered = (before >= 0.5) != (again >= 0.5)
    moved = (again >= 0.5) != (after >= 0.5)
    only_moved, only_wavered = int(np.sum(moved & ~wavered)), int(np.sum(wavered & ~moved))
    discordant = only_moved + only_wavered
    p_value = float(bdtrc(only_moved - 1, discordant, 0.5)) if discordant else 1.0
    points = 100 * (after - again)
    return VerdictChange(
        answers=int(before.size),
        repeated=100 * float(wavered.mean()),
        repeated_interval=_in_points(wilson(float(wavered.mean()), before.size, level)),
        changed=100 * float(moved.mean()),
        changed_interval=_in_points(wilson(float(moved.mean()), before.size, level)),
        difference=float(points.mean()),
        difference_interval=_item_interval(points, np.asarray(items), level),
        p_value=p_value,
    )


def _counts(first: NDArray[np.bool_], second: NDArray[np.bool_], both: NDArray[np.bool_]) -> Floats:
    """(items, 4) numbers of answers: both on the high side, first only, second only, neither."""
    cells = (first & second, first & ~second, ~first & second, ~first & ~second)
    table = np.stack([(cell & both).sum(axis=(0, 2)) for cell in cells], axis=1).astype(np.float64)
    return np.asarray(table[table.sum(axis=1) > 0])


_AGREES = np.array([1.0, 0.0, 0.0, 1.0])
"""Of the four kinds of answers that `_counts` tells apart, those on which both judges agree."""


def cohen_kappa(
    counts: Floats, *, level: float = 0.95
) -> tuple[float | None, tuple[float, float] | None]:
    """Cohen's (1960, Educ. Psychol. Meas. 20) kappa of two raters, -1 to 1, and its interval.

    The interval is of the delta method (Fleiss, Cohen & Everitt 1969, Psychol. Bull. 72). With one
    row for each item, the answers to an item are taken together (Liang & Zeger 1986); where all
    answers agree, it is as wide as Wilson's interval of the agreement makes it.

    Args:
        counts: (items, 4) or (4,) numbers of answers: both say yes, only the first, only the
            second, neither. One row of four: every answer is independent of every other.
        level: confidence level.

    Returns:
        None, None where both give one verdict throughout, so that there is nothing to agree on.
    """
    table = np.atleast_2d(np.asarray(counts, dtype=np.float64))
    shares = table.sum(axis=0) / table.sum()
    one, other = float(shares[0] + shares[1]), float(shares[0] + shares[2])
    chance = one * other + (1 - one) * (1 - other)
    agree = float(shares @ _AGREES)
    if not chance < 1:
        return None, None
    kappa = (agree - chance) / (1 - chance)
    # What one answer of each kind adds to kappa: through the agreement and through both margins.
    first, second = np.array([1, 1, 0, 0]), np.array([1, 0, 1, 0])
    margins = np.where(first, other, 1 - other) + np.where(second, one, 1 - one) - 2 * chance
    influence = ((_AGREES - agree) * (1 - chance) - margins * (1 - agree)) / (1 - chance) ** 2
    clustered = len(table) > 1
    sums = table @ influence if clustered else influence * table[0] ** 0.5
    error = float(np.sqrt(np.sum(sums**2)) / table.sum())
    if error < 1e-12:
        low, high = wilson(agree, len(table) if clustered else table.sum(), level)
        return kappa, (max((low - chance) / (1 - chance), -1.0), (high - chance) / (1 - chance))
    tail = (1 + level) / 2
    reach = float(stdtrit(len(table) - 1, tail) if clustered else ndtri(tail)) * error
    return kappa, (max(kappa - reach, -1.0), min(kappa + reach, 1.0))


def weighted_kappa(first: ArrayLike, second: ArrayLike) -> float | None:
    """Cohen's (1968, Psychol. Bull. 70) kappa with quadratic weights, -1 to 1.

    1 less the mean squared difference over that of independent raters with the same margins; for
    scores of 0 and 1 it is Cohen's kappa.

    Args:
        first, second: (answers,) scores of the two raters.

    Returns:
        None where both give one score throughout.

    >>> weighted_kappa([0, 0.25, 0.5, 1], [0, 0.5, 0.5, 1])
    0.9411764705882353
    """
    one, other = (np.asarray(a, dtype=np.float64) for a in (first, second))
    chance = float(one.var() + other.var() + (one.mean() - other.mean()) ** 2)
    return 1 - float(np.mean((one - other) ** 2)) / chance if chance > 0 else None


def _share_interval(counts: Floats, level: float) -> tuple[float, float]:
    """Wilson's interval of the share that agrees, with as many answers as have its error."""
    n, items = counts.sum(), len(counts)
    share = float(counts.sum(axis=0) @ _AGREES / n)
    sums = counts @ (_AGREES - share)
    error = float(np.sqrt(items / (items - 1) * np.sum(sums**2)) / n)
    return _in_points(wilson(share, share * (1 - share) / error**2 if error > 0 else items, level))


def _in_points(interval: tuple[float, float]) -> tuple[float, float]:
    return 100 * interval[0], 100 * interval[1]


def _by_identity(scores: dict[str, Floats]) -> Floats:
    """(identities,) mean over all benchmarks' answers; NaN where there are none."""
    flat = np.concatenate([a.reshape(len(a), -1) for a in scores.values()], axis=1)
    count = (~np.isnan(flat)).sum(axis=1)
    return np.asarray(np.where(count > 0, np.nansum(flat, axis=1) / np.maximum(count, 1), np.nan))


def _p_value(scores: dict[str, Floats], clusters: Clusters | None) -> float:
    return spread_p_value(quadratic_form([fit_axis(scores, "scores", clusters=clusters)]))


def _item_interval(
    points: Floats, items: NDArray[np.generic], level: float
) -> tuple[float, float] | None:
    """Interval of the mean with the items as clusters; None with fewer than two of them."""
    if len(np.unique(items)) < 2:
        return None
    return item_mean(points, items, level=level).interval
