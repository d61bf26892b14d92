"""Stopping early: an interval that stays valid although the data were looked at on the way.

Items are run in a random order and the interval of PB is computed at looks fixed beforehand. Each
look uses the same raised confidence level, chosen so that all the looks' intervals hold together
at the wanted level (Pocock 1977, Biometrika 64: a constant boundary). The constant is that of a
normal estimate with independent increments, from the recursion of Armitage, McPherson & Rowe
(1969, J. R. Stat. Soc. A 132). Whichever look one stops at, for whatever reason, its interval
holds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtr, ndtri

from evenhand.stats._scores import Floats, check_level


@dataclass(frozen=True)
class LookPlan:
    """When to look, and at which level.

    Attributes:
        shares: increasing shares of all items run at each look, the last one 1.
        look_level: confidence level to use at every look.
        level: level at which the intervals of all looks hold together.
    """

    shares: tuple[float, ...]
    look_level: float
    level: float


def plan_looks(looks: int = 6, *, first: float = 0.1, level: float = 0.95) -> LookPlan:
    """Plan looks whose numbers of items grow by a constant factor.

    Args:
        looks: number of looks, the last at all the items.
        first: share of the items at the first look, in (0, 1).
        level: confidence level of all looks together.

    Raises:
        ValueError: fewer than 1 look, or `first` outside (0, 1).
    """
    check_level(level)
    if looks < 1 or not 0 < first < 1:
        raise ValueError("needs at least 1 look and a first share between 0 and 1")
    shares = (1.0,) if looks == 1 else tuple(float(s) for s in np.geomspace(first, 1.0, looks))
    return LookPlan(shares, look_level(shares, level), level)


def look_level(shares: Sequence[float], level: float = 0.95) -> float:
    """Return the confidence level per look at which all looks hold together.

    Args:
        shares: increasing shares of the items at the looks.
        level: confidence level of all looks together.

    Raises:
        ValueError: shares that do not increase within (0, 1].
    """
    check_level(level)
    times = np.asarray(shares, dtype=np.float64)
    if not len(times) or times[0] <= 0 or times[-1] > 1 or np.any(np.diff(times) <= 0):
        raise ValueError("shares must increase within (0, 1]")
    low = float(ndtri((1 + level) / 2))
    high = float(ndtri(1 - (1 - level) / (2 * len(times))))  # Bonferroni is never too low
    rule = np.polynomial.legendre.leggauss(120)
    for _ in range(30):
        middle = (low + high) / 2
        low, high = (middle, high) if _stays_within(middle, times, rule) < level else (low, middle)
    return float(2 * ndtr((low + high) / 2) - 1)


def _stays_within(bound: float, times: Floats, rule: tuple[Floats, Floats]) -> float:
    """P(|B(t)| <= bound * sqrt(t) at all times) for Brownian motion, by Gaussian quadrature."""
    nodes, weights = rule
    reach = bound * np.sqrt(times)
    position = reach[0] * nodes
    density = np.exp(-(position**2) / (2 * times[0])) / np.sqrt(2 * np.pi * times[0])
    mass = density * weights * reach[0]
    for k in range(1, len(times)):
        step = times[k] - times[k - 1]
        position_next = reach[k] * nodes
        gap = position_next[:, np.newaxis] - position[np.newaxis, :]
        density = np.exp(-(gap**2) / (2 * step)) @ mass / np.sqrt(2 * np.pi * step)
        position, mass = position_next, density * weights * reach[k]
    return float(mass.sum())
