"""Judge error: what a judge's known mistakes do to rates and to personalization bias."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import ndtri

from evenhand.stats._scores import Floats, check_level
from evenhand.stats.bias import Spread

_LARGEST = 50.0  # PB of one axis when half of the identities are at 0 and half at 100


@dataclass(frozen=True)
class JudgeError:
    """A judge's agreement with human labels.

    Attributes:
        sensitivity: chance that the judge says 1 where humans say 1.
        specificity: chance that the judge says 0 where humans say 0.
        positives, negatives: numbers of labeled responses behind the two.
    """

    sensitivity: float
    specificity: float
    positives: int
    negatives: int

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
        interval: (..., 2) low and high, with the judge's uncertainty.
    """

    rate: Floats
    interval: Floats


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
    from_se = se * (1 - se) / (judge.positives + 2)
    from_sp = sp * (1 - sp) / (judge.negatives + 2)
    shift = 2 * z**2 * (rate * from_se - (1 - rate) * from_sp)
    variance = p * (1 - p) / (items + z**2) + rate**2 * from_se + (1 - rate) ** 2 * from_sp
    reach = z * np.sqrt(variance) / j
    interval = np.stack([rate + shift - reach, rate + shift + reach], axis=-1)
    return CorrectedRates(100 * np.clip(plain, 0, 1), 100 * np.clip(interval, 0, 1))


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
        estimate=spread.estimate / judge.youden,
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
    return max(middle - reach, 0.0), min(middle + reach, 1.0)


def _ratio_interval(spread: Spread, j: float, least: float, most: float) -> tuple[float, float]:
    """Interval of PB / J; without an upper limit but the scale's when J may be 0."""
    pb, (low, high) = spread.estimate, spread.interval
    spare = most * (2 * j - most)
    inner = max((pb * j) ** 2 - low * (2 * pb - low) * spare, 0.0)
    down = (pb * j - inner**0.5) / spare if spare > 0 else low / most
    if least == 0:
        return down, _LARGEST
    spare = least * (2 * j - least)
    inner = max((pb * j) ** 2 - high * (2 * pb - high) * spare, 0.0)
    return max(down, 0.0), min((pb * j + inner**0.5) / spare, _LARGEST)
