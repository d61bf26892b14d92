"""Personalization bias (PB): how far the identities' means spread, and how much of it is real.

PB is the root mean square distance of the identities' (safety, utility) to their mean (Vijjini et
al., NAACL 2025, arXiv:2406.11107). The plug-in value is biased upward by sampling
noise; the estimate here has it taken out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields

import numpy as np

from evenhand.stats.layout import Layout, Population, fit_axis
from evenhand.stats.scores import (
    Clusters,
    Floats,
    Scores,
    TooFewScores,
    check_cluster_names,
    check_level,
    read_benchmarks,
    same_identities,
)
from evenhand.stats.spread import (
    QuadraticForm,
    least_significant,
    quadratic_form,
    spread_interval,
    spread_p_value,
)


@dataclass(frozen=True)
class Spread:
    """Spread of the identities on one benchmark, in points of the 0-100 scale.

    Attributes:
        plugin: the paper's number, root mean square deviation from the identities' mean, >= 0.
        noise_floor: what `plugin` is expected to be (root mean square) without any bias, >= 0.
        estimate: noise-corrected PB, ``sqrt(max(0, signed_square))``.
        signed_square: unbiased estimate of PB squared, in squared points; may be below 0.
        interval: (low, high) for PB at `level`, both >= 0; 0 is outside exactly where `p_value` is
            below ``1 - level``.
        p_value: of no bias at all.
        level: confidence level of `interval`.
        identities, items: sizes; `items` counts those with at least one score.
        units: independent units behind them: clusters where there are any, otherwise items.
        few_items: whether few items carry the bias, so that the lower limit is resampled.
        top_share: share (0 to 1) of the influence on the spread that lies in the 5 % of units with
            the most of it.
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
    units: int
    few_items: bool
    top_share: float


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
    clusters: Clusters | None = None,
    identities: Sequence[str] | None = None,
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
        clusters: what the items belong to, such as topics, or copies of one question: a mapping
            from a benchmark's name ("safety" or "utility" where an axis is a single array) to
            labels (items,). The question is then about topics like these, and the clusters are
            the independent sample. Labels in common between benchmarks tie these together. A
            benchmark that is not named has no clusters.
        identities: their names, to check that the rows are what they should be.
        rng: source of the resamples that the lower limit takes where few items carry the bias;
            None: a fixed seed, so that the same scores give the same interval.

    Raises:
        ValueError: no scores at all, bad shape, a score outside [0, 1], fewer than 2
            identities or items, an identity without scores, unknown population.
    """
    check_level(level)
    arrays = read_axes(safety, utility, clusters, identities)
    layouts = {axis: fit_axis(named, axis, population, clusters) for axis, named in arrays.items()}
    axes = {
        axis: _axis_bias(layouts[axis], named, population, clusters, level)
        for axis, named in arrays.items()
    }
    if rng is None and len(axes) == 1:  # the same figures, once
        joint = _plain(next(iter(axes.values())))
    else:
        joint = spread_of(list(layouts.values()), level, rng=rng)
    return PersonalizationBias(
        **vars(joint),
        safety=axes.get("safety"),
        utility=axes.get("utility"),
        population=population,
    )


def read_axes(
    safety: Scores | None,
    utility: Scores | None,
    clusters: Clusters | None,
    identities: Sequence[str] | None = None,
) -> dict[str, dict[str, Floats]]:
    """Return the axes that are given: axis -> benchmark -> (identities, items, samples).

    Raises:
        ValueError: no axis; bad scores; axes of different identities; clusters of no benchmark.
    """
    arrays = {
        axis: read_benchmarks(scores, axis, identities=identities)
        for axis, scores in (("safety", safety), ("utility", utility))
        if scores is not None
    }
    if not arrays:
        raise TooFewScores("give scores for safety, utility or both")
    same_identities(
        {axis: len(next(iter(named.values()))) for axis, named in arrays.items()}, "axes"
    )
    check_cluster_names(clusters, [name for named in arrays.values() for name in named])
    return arrays


def _axis_bias(
    layouts: Sequence[Layout],
    arrays: Mapping[str, Floats],
    population: Population,
    clusters: Clusters | None,
    level: float,
) -> AxisBias:
    whole = spread_of([layouts], level)
    alone = layouts
    if len(layouts) < len(arrays):  # they were fitted into one
        alone = [
            fit_axis({name: array}, name, population, clusters)[0] for name, array in arrays.items()
        ]
    return AxisBias(
        **vars(whole),
        means=np.mean([layout.means for layout in layouts], axis=0),
        benchmarks={
            name: whole if len(arrays) == 1 else spread_of([[layout]], level)
            for name, layout in zip(arrays, alone, strict=True)
        },
    )


def _plain(axis: AxisBias) -> Spread:
    """The figures that an axis has in common with every spread."""
    return Spread(**{field.name: getattr(axis, field.name) for field in fields(Spread)})


_ALIGNED = 1.15
"""Above this alignment of noise and spread (`QuadraticForm.alignment`) the items that carry the
spread are few; simulated in docs/statistics-reference.md."""
_TOP = 0.05
_REPLICATES = 800


def spread_of(
    axes: Sequence[Sequence[Layout]],
    level: float,
    count: int | None = None,
    rng: np.random.Generator | None = None,
) -> Spread:
    """Summarize fitted axes; `count` as in `quadratic_form`.

    Where few items carry the spread, its noise is lopsided in a way that the moments miss: the
    lower limit is then also that of a bootstrap over the units.
    """
    form = quadratic_form(axes, count)
    low, high = spread_interval(form, level)
    few = form.alignment > _ALIGNED
    if few and low > 0:
        resampled = _resampled_low(axes, form, level, rng or np.random.default_rng(0))
        low = min(low, max(resampled, least_significant(form, level)))
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
        units=sum(part.units for axis in axes for part in axis),
        few_items=few,
        top_share=_top_share(axes),
    )


def _resampled_low(
    axes: Sequence[Sequence[Layout]], form: QuadraticForm, level: float, rng: np.random.Generator
) -> float:
    """Lower limit of the sum of squares from units drawn with replacement.

    The resampled noise is laid around the observed deviations, shrunken to the length that is
    left of them without noise, so that the resampled sums vary as much as the observed one does.
    """
    most = max(b.units for axis in axes for b in axis)
    replicates = int(np.clip(_DRAWS // most, 200, _REPLICATES))
    shrunken = (max(form.signed, 0.0) / form.plugin) ** 0.5
    sums = np.zeros(replicates)
    for axis in axes:
        center: Floats = np.mean([b.deviations for b in axis], axis=0)
        drawn = np.mean([_resample(b, replicates, rng) for b in axis], axis=0)
        sums += np.sum((drawn - (1 - shrunken) * center) ** 2, axis=1)
        noise = sum(float(np.trace(b.covariance)) * (1 - 1 / b.units) for b in axis)
        sums -= noise / len(axis) ** 2
    return max(float(np.quantile(sums, (1 - level) / 2)), 0.0)


def _top_share(axes: Sequence[Sequence[Layout]]) -> float:
    """Share of the squared influence on the spread in the 5 % of units that have most of it."""
    parts = []
    for axis in axes:
        center: Floats = np.mean([b.deviations for b in axis], axis=0)
        for b in axis:
            parts.append((b.by_unit(b.influence @ center) / (b.units * len(axis))) ** 2)
    squares = np.sort(np.concatenate(parts))[::-1]
    total = float(squares.sum())
    return float(squares[: max(1, round(_TOP * len(squares)))].sum()) / total if total > 0 else 0.0


def bootstrap_interval(
    safety: Scores | None,
    utility: Scores | None,
    *,
    rng: np.random.Generator,
    replicates: int = 2000,
    level: float = 0.95,
    clusters: Clusters | None = None,
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
        fit_axis(named, axis, clusters=clusters)
        for axis, named in read_axes(safety, utility, clusters).items()
    ]
    signed = sum(_signed_squares(axis, replicates, rng) for axis in axes)
    tail = (1 - level) / 2
    squares = np.maximum(np.quantile(signed, [tail, 1 - tail]), 0.0) / len(axes[0][0].means)
    return float(squares[0] ** 0.5), float(squares[1] ** 0.5)


_AT_ONCE = 8_000_000
"""Numbers that a step of the bootstrap holds at a time."""
_DRAWS = 20_000_000
"""Draws of the bootstrap that a lower limit may take."""


def _signed_squares(axis: Sequence[Layout], replicates: int, rng: np.random.Generator) -> Floats:
    """Return (replicates,) resampled sums of squared deviations, less both layers of noise."""
    most = max(1, _AT_ONCE // max(b.units for b in axis))
    steps = [min(most, replicates - done) for done in range(0, replicates, most)]
    deviations = np.concatenate(
        [np.mean([_resample(b, step, rng) for b in axis], axis=0) for step in steps]
    )
    noise = sum(float(np.trace(b.covariance)) * (2 - 1 / b.units) for b in axis) / len(axis) ** 2
    return np.asarray(np.sum(deviations**2, axis=1) - noise)


def _resample(layout: Layout, replicates: int, rng: np.random.Generator) -> Floats:
    """(replicates, identities) deviations of units drawn with replacement."""
    units = layout.units
    drawn = rng.integers(units, size=(replicates, units), dtype=np.int32)
    drawn += (np.arange(replicates, dtype=np.int32) * units)[:, np.newaxis]
    counts = np.bincount(drawn.ravel(), minlength=replicates * units).reshape(replicates, units)
    return np.asarray(layout.deviations + counts @ layout.by_unit(layout.influence) / units)
