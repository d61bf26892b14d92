"""The design of a study before it is run: power, interval width, items needed, interim analyses.

Power: the planned study is described by the noise variance of one cell of each benchmark. The
noise is taken to be alike for all identities, the spread to be even; the distribution is the one
the estimate itself uses (`evenhand.stats.spread`).

Interim analyses: items are run in a random order and the interval of PB is computed at looks fixed
beforehand. Each look uses the same raised confidence level, chosen so that all the looks'
intervals hold together at the wanted level (Pocock 1977, Biometrika 64: a constant boundary). The
constant is that of a normal estimate with independent increments, from the recursion of Armitage,
McPherson & Rowe (1969, J. R. Stat. Soc. A 132). Whichever look one stops at, for whatever reason,
its interval holds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import ndtr, ndtri

from evenhand.stats.components import variance_components
from evenhand.stats.scores import Floats, check_level
from evenhand.stats.spread import QuadraticForm, increasing_root, spread_interval, upper_tail


@dataclass(frozen=True)
class PlannedBenchmark:
    """One benchmark of a planned study.

    Attributes:
        axis: "safety" or "utility"; an axis is the plain average of its benchmarks.
        items: number of items.
        residual_variance: variance of a cell mean within its item, in squared points:
            identity x item interaction plus sampling variance / samples.
    """

    axis: str
    items: int
    residual_variance: float


@dataclass(frozen=True)
class DesignPower:
    """What a design can be expected to show, in points.

    Attributes:
        detectable: the smallest PB that the test of no bias finds with the wanted power.
        noise_floor: plug-in PB to expect without any bias.
        interval_width: mean width of the interval to expect at the assumed PB.
        assumed: that PB.
        level: confidence level; the test's error is 1 - level.
        power: the wanted power.
    """

    detectable: float
    noise_floor: float
    interval_width: float
    assumed: float
    level: float
    power: float


def residual_variance(
    base_rate: float, *, item_share: float = 0.4, interaction_share: float = 0.15, samples: int = 1
) -> float:
    """Guess a cell's noise variance for 0/1 scores when there is no pilot run.

    The variance p (1 - p) of a score is split into the item's difficulty (which pairing takes
    out), identity x item interaction, and sampling, which repeated samples average.

    Args:
        base_rate: expected mean score, 0 to 1.
        item_share: share of the variance that is the item's difficulty. Six real models had 0.24
            to 0.52, which is 0.8 to 1.27 times the residual variance of the default.
        interaction_share: share that is identity x item interaction.
        samples: samples per cell.

    Returns:
        Squared points, to be given as `PlannedBenchmark.residual_variance`.

    Raises:
        ValueError: a share or rate outside [0, 1], shares above 1 together, no sample.
    """
    shares = (base_rate, item_share, interaction_share, item_share + interaction_share)
    if min(shares) < 0 or max(shares) > 1:
        raise ValueError("base_rate, the shares and the sum of the shares must lie in [0, 1]")
    if samples < 1:
        raise ValueError(f"samples must be at least 1, not {samples}")
    sampling = 1 - item_share - interaction_share
    return 1e4 * base_rate * (1 - base_rate) * (interaction_share + sampling / samples)


def pilot_variance(pilot: ArrayLike, samples: int = 1) -> float:
    """Estimate a cell's noise variance from a pilot run, for that many samples per cell.

    Args:
        pilot: (identities, items[, samples]) scores in [0, 1], NaN = missing.
        samples: samples per cell in the planned study; other than the pilot's one sample needs a
            pilot with at least two.

    Raises:
        ValueError: bad scores, or samples that the pilot cannot speak for.
    """
    return variance_components(pilot).residual(samples)


def design_power(
    identities: int,
    benchmarks: Sequence[PlannedBenchmark],
    *,
    assumed: float = 2.0,
    level: float = 0.95,
    power: float = 0.8,
) -> DesignPower:
    """Work out what a design would show.

    Args:
        identities: number of identities, without the baseline.
        benchmarks: the planned benchmarks of one axis or of both.
        assumed: PB in points at which `interval_width` is worked out.
        level: confidence level.
        power: wanted chance of detection.

    Raises:
        ValueError: no benchmark, fewer than 2 identities or items, no noise at all.
    """
    check_level(level)
    form = _planned_form(identities, benchmarks)
    critical = increasing_root(lambda t: 1 - upper_tail(t, 0.0, form.variance, form.third), level)
    theta = increasing_root(lambda theta: form.at_least(critical, theta), power)
    return DesignPower(
        detectable=(theta / identities) ** 0.5,
        noise_floor=(form.noise / identities) ** 0.5,
        interval_width=_width(form, assumed, level),
        assumed=assumed,
        level=level,
        power=power,
    )


def items_needed(
    identities: int,
    benchmarks: Sequence[PlannedBenchmark],
    width: float,
    *,
    assumed: float = 2.0,
    level: float = 0.95,
) -> float:
    """Return the factor by which all items must be multiplied for a wanted interval width.

    Args:
        identities, benchmarks, assumed, level: as in `design_power`.
        width: wanted width of the interval for PB, in points, > 0.

    Returns:
        A factor; below 1 the design is larger than it needs to be.

    Raises:
        ValueError: as `design_power`; a width of 0 or below.
    """
    check_level(level)
    if not width > 0:
        raise ValueError(f"width must be above 0 points, not {width}")
    form = _planned_form(identities, benchmarks)
    low, high = 1e-4, 1.0
    while _width(_scaled(form, high), assumed, level) > width:
        low, high = high, 2 * high
    while high - low > 1e-3 * high:
        middle = (low + high) / 2
        wide = _width(_scaled(form, middle), assumed, level) > width
        low, high = (middle, high) if wide else (low, middle)
    return high


def _planned_form(identities: int, benchmarks: Sequence[PlannedBenchmark]) -> QuadraticForm:
    """Return the quadratic form of a design whose noise is alike for all identities."""
    if identities < 2:
        raise ValueError(f"needs at least 2 identities, not {identities}")
    if not benchmarks or min(b.items for b in benchmarks) < 2:
        raise ValueError("needs at least one benchmark, each with at least 2 items")
    noise = [_axis_noise([b for b in benchmarks if b.axis == axis]) for axis in _axes(benchmarks)]
    if sum(noise) <= 0:
        raise ValueError("residual_variance must be above 0 in at least one benchmark")
    k = identities - 1
    squares = sum(v**2 for v in noise)
    cubes = sum(v**3 for v in noise)
    return QuadraticForm(
        plugin=k * sum(noise),
        noise=k * sum(noise),
        variance=2 * k * squares,
        third=8 * k * cubes,
        null_variance=2 * k * squares,
        null_third=8 * k * cubes,
        slope_variance=4 * squares / sum(noise),
        slope_third=24 * cubes / sum(noise),
        skew=0.0,
        count=identities,
        units=min(b.items for b in benchmarks),
    )


def _axes(benchmarks: Sequence[PlannedBenchmark]) -> list[str]:
    return list(dict.fromkeys(b.axis for b in benchmarks))


def _axis_noise(benchmarks: Sequence[PlannedBenchmark]) -> float:
    """Noise variance of an identity's mean on an axis."""
    return sum(b.residual_variance / b.items for b in benchmarks) / len(benchmarks) ** 2


def _scaled(form: QuadraticForm, factor: float) -> QuadraticForm:
    """Return the form of the same design with that many times its items."""
    return replace(
        form,
        plugin=form.plugin / factor,
        noise=form.noise / factor,
        variance=form.variance / factor**2,
        third=form.third / factor**3,
        null_variance=form.null_variance / factor**2,
        null_third=form.null_third / factor**3,
        units=max(round(form.units * factor), 2),
        slope_variance=form.slope_variance / factor,
        slope_third=form.slope_third / factor**2,
    )


def _width(form: QuadraticForm, assumed: float, level: float) -> float:
    """Width of the interval when the signed sum of squares falls on its expectation."""
    signed = form.count * assumed**2
    low, high = spread_interval(replace(form, plugin=signed + form.noise), level)
    return float((high / form.count) ** 0.5 - (low / form.count) ** 0.5)


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
    times = _checked(shares)
    low = float(ndtri((1 + level) / 2))
    high = float(ndtri(1 - (1 - level) / (2 * len(times))))  # Bonferroni is never too low
    for _ in range(30):
        middle = (low + high) / 2
        low, high = (middle, high) if _stays_within(middle, times) < level else (low, middle)
    return float(2 * ndtr((low + high) / 2) - 1)


def sequential_p_value(p_value: float, shares: Sequence[float]) -> float:
    """Return a p-value adjusted for looks: the chance that any look shows one as small.

    Below ``1 - level`` exactly where the p-value of the look is below ``1 - look_level(shares,
    level)``, so that test and interval of a look agree.

    Args:
        p_value: of one look, as if there were no other.
        shares: as in `look_level`.

    Raises:
        ValueError: as `look_level`; a p-value outside [0, 1].
    """
    times = _checked(shares)
    if not 0 <= p_value <= 1:
        raise ValueError(f"a p-value lies in [0, 1], not {p_value}")
    if p_value < _LEAST or p_value == 1:
        return min(len(times) * p_value, 1.0)
    outside = 1 - _stays_within(float(-ndtri(p_value / 2)), times)
    return float(np.clip(outside, p_value, 1.0))


_LEAST = 1e-10
"""Below this the quadrature's own error shows, and Bonferroni's bound is close."""
_RULE = np.polynomial.legendre.leggauss(64)


def _checked(shares: Sequence[float]) -> Floats:
    times = np.asarray(shares, dtype=np.float64)
    if not len(times) or times[0] <= 0 or times[-1] > 1 or np.any(np.diff(times) <= 0):
        raise ValueError("shares must increase within (0, 1]")
    return times


def _stays_within(bound: float, times: Floats) -> float:
    """P(|B(t)| <= bound * sqrt(t) at all times) for Brownian motion, by Gaussian quadrature."""
    nodes, weights = _RULE
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
