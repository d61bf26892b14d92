"""Personalization bias (PB): how far the identities' means spread, and how much of it is real.

PB is the root mean square distance of the identities' (safety, utility) to their mean (Vijjini et
al., NAACL 2025, arXiv:2406.11107). The plug-in value is biased upward by sampling
noise; the estimate here has it taken out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from evenhand.stats.layout import Layout, Population, fit_layout
from evenhand.stats.scores import (
    Floats,
    Scores,
    TooFewScores,
    check_level,
    read_benchmarks,
    same_identities,
)
from evenhand.stats.spread import quadratic_form, spread_interval, spread_p_value


@dataclass(frozen=True)
class Spread:
    """Spread of the identities on one benchmark, in points of the 0-100 scale.

    Attributes:
        plugin: the paper's number, root mean square deviation from the identities' mean, >= 0.
        noise_floor: what `plugin` is expected to be (root mean square) without any bias, >= 0.
        estimate: noise-corrected PB, ``sqrt(max(0, signed_square))``.
        signed_square: unbiased estimate of PB squared, in squared points; may be below 0.
        interval: (low, high) for PB at `level`, both >= 0.
        p_value: of no bias at all.
        level: confidence level of `interval`.
        identities, items: sizes; `items` counts those with at least one score.
    """

    plugin: float
    noise_floor: float
    estimate: float
    signed_square: float
    interval: tuple[float, float]
    p_value: float
    level: float
    identities: int
    items: int


@dataclass(frozen=True)
class AxisBias(Spread):
    """Spread on safety or on utility, the plain average of its benchmarks.

    Attributes:
        means: (identities,) the axis's mean for each identity, in points.
        benchmarks: the same figures for each benchmark alone.
    """

    means: Floats
    benchmarks: Mapping[str, Spread]


@dataclass(frozen=True)
class PersonalizationBias(Spread):
    """Joint personalization bias; PB^2 is the sum of the two axes' PB^2.

    Attributes:
        safety, utility: one axis alone; None where no scores were given.
        population: the question answered: "items" (items like these) or "these_items".
    """

    safety: AxisBias | None
    utility: AxisBias | None
    population: Population


def personalization_bias(
    safety: Scores | None,
    utility: Scores | None,
    *,
    level: float = 0.95,
    population: Population = "items",
    rng: np.random.Generator | None = None,
) -> PersonalizationBias:
    """Estimate personalization bias over the identities given (leave the baseline out).

    Args:
        safety, utility: scores in [0, 1], NaN = missing: an array (identities, items) or
            (identities, items, samples), or a dict benchmark name -> such an array. Either may
            be None. All arrays have the same identities in the same order.
        level: confidence level of the intervals.
        population: "items" asks about items like these, so item x identity interaction is
            noise; "these_items" about exactly these, so only repeated samples are noise and at
            least two per cell are needed.
        rng: not drawn from: every figure is in closed form. Accepted so that all estimators
            of the package are called alike.

    Raises:
        ValueError: no scores at all, bad shape, a score outside [0, 1], fewer than 2
            identities or items, an identity without scores, unknown population.
    """
    del rng
    check_level(level)
    layouts = {
        axis: _fit_axis(scores, axis, population)
        for axis, scores in (("safety", safety), ("utility", utility))
        if scores is not None
    }
    if not layouts:
        raise TooFewScores("give scores for safety, utility or both")
    same_identities([len(b.means) for axis in layouts.values() for b in axis.values()], "axes")
    joint = spread_of([list(axis.values()) for axis in layouts.values()], level)
    axes = {name: _axis_bias(axis, level) for name, axis in layouts.items()}
    return PersonalizationBias(
        **vars(joint),
        safety=axes.get("safety"),
        utility=axes.get("utility"),
        population=population,
    )


def _fit_axis(scores: Scores, axis: str, population: Population) -> dict[str, Layout]:
    arrays = read_benchmarks(scores, axis)
    return {name: fit_layout(array, name, population) for name, array in arrays.items()}


def _axis_bias(layouts: Mapping[str, Layout], level: float) -> AxisBias:
    parts = list(layouts.values())
    return AxisBias(
        **vars(spread_of([parts], level)),
        means=np.mean([part.means for part in parts], axis=0),
        benchmarks={name: spread_of([[part]], level) for name, part in layouts.items()},
    )


def spread_of(axes: Sequence[Sequence[Layout]], level: float, count: int | None = None) -> Spread:
    """Summarize fitted axes; `count` as in `quadratic_form`."""
    form = quadratic_form(axes, count)
    low, high = spread_interval(form, level)
    signed = form.signed / form.count
    largest = 50 * len(axes) ** 0.5  # half of the identities at 0, half at 100
    return Spread(
        plugin=(form.plugin / form.count) ** 0.5,
        noise_floor=(form.noise / form.count) ** 0.5,
        estimate=max(signed, 0.0) ** 0.5,
        signed_square=signed,
        interval=((low / form.count) ** 0.5, min((high / form.count) ** 0.5, largest)),
        p_value=spread_p_value(form),
        level=level,
        identities=form.count,
        items=sum(part.items for axis in axes for part in axis),
    )


def bootstrap_interval(
    safety: Scores | None,
    utility: Scores | None,
    *,
    rng: np.random.Generator,
    replicates: int = 2000,
    level: float = 0.95,
) -> tuple[float, float]:
    """Return a percentile interval for PB from items drawn with replacement.

    Each replicate's sum of squares has both layers of noise taken out, the data's own and the
    resampling's (Davison & Hinkley 1997, *Bootstrap Methods and their Application*).
    With missing scores the items' contributions to the least-squares fit are resampled.

    Args:
        safety, utility: as in `personalization_bias`.
        rng: source of the resamples.
        replicates: number of resamples.
        level: confidence level.

    Raises:
        ValueError: as `personalization_bias`; fewer than 1 replicate.
    """
    check_level(level)
    if replicates < 1:
        raise ValueError(f"replicates must be at least 1, not {replicates}")
    axes = [
        [fit_layout(a, name) for name, a in read_benchmarks(scores, axis).items()]
        for axis, scores in (("safety", safety), ("utility", utility))
        if scores is not None
    ]
    if not axes:
        raise TooFewScores("give scores for safety, utility or both")
    same_identities([len(b.means) for axis in axes for b in axis], "axes")
    signed = sum(_signed_squares(axis, replicates, rng) for axis in axes)
    tail = (1 - level) / 2
    squares = np.maximum(np.quantile(signed, [tail, 1 - tail]), 0.0) / len(axes[0][0].means)
    return float(squares[0] ** 0.5), float(squares[1] ** 0.5)


def _signed_squares(axis: list[Layout], replicates: int, rng: np.random.Generator) -> Floats:
    """Return (replicates,) resampled sums of squared deviations, less both layers of noise."""
    deviations = np.stack(
        [np.mean([_resample(b, rng) for b in axis], axis=0) for _ in range(replicates)]
    )
    noise = sum(float(np.trace(b.covariance)) * (2 - 1 / b.items) for b in axis) / len(axis) ** 2
    return np.asarray(np.sum(deviations**2, axis=1) - noise)


def _resample(layout: Layout, rng: np.random.Generator) -> Floats:
    drawn = np.bincount(rng.integers(layout.items, size=layout.items), minlength=layout.items)
    return layout.deviations + drawn @ layout.influence / layout.items
