"""Two-way layout identities x items: least-squares means and the noise around them.

Complete data need no fitting: an identity's mean is the mean of its column. With missing
cells the additive model ``score = identity + item + residual`` is fitted by least squares, so
that an identity is not judged by which items it happens to miss (Searle, *Linear Models*, 1971,
ch. 7). Either way the identities' deviations are a mean over items of one vector per item, and
the spread of those vectors gives their covariance, whatever the variances of the identities and
the correlations between them (the cluster-robust estimator of Liang & Zeger 1986, Biometrika 73,
with the item as the cluster; or a topic of several items, where the items of a topic are alike).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from evenhand.stats.scores import (
    Cells,
    Clusters,
    Floats,
    TooFewScores,
    average_samples,
    read_clusters,
)

_FEWEST_TIES = 5.0
_FEWEST_SHARE = 0.05
"""Identities that fewer items than both of these tie to the rest are not compared with it."""
ROUNDING = 1e-12
"""Sums this small beside what they were computed from are rounding errors."""
Population = Literal["items", "these_items"]
Codes = NDArray[np.int64]


@dataclass(frozen=True)
class Layout:
    """Identities' means on one benchmark, in points 0-100, and their noise.

    A *unit* is what the noise is independent between: an item, or a cluster of items.

    Attributes:
        means: (identities,) least-squares means.
        deviations: (identities,) means less the mean of all identities; sums to 0.
        covariance: (identities, identities) covariance of `deviations`.
        trace2: unbiased estimate of the trace of the squared true covariance.
        trace3: the same for the cubed covariance.
        null_variance: of ``sum(deviations**2)`` less its noise, when all identities are alike.
        null_third: third central moment of the same.
        items: number of items with at least one score.
        units: number of clusters; of items where there are none.
        freedom: degrees of freedom of the errors; `units` less 1, or fewer for clusters of
            unequal size.
        levels: (items,) each item's fitted mean over the identities.
        influence: (items, identities) residual vectors; `deviations` moves by ``influence / items``
            per item. Empty for the question about exactly these items.
        codes: (items,) number of each item's cluster, 0 to `units` - 1; None without clusters.
        largest: (identities,) deviation of an item that tells them apart as far as can be, half of
            them 0 and half 100, on the scale of `means`; None: 50 points.
    """

    means: Floats
    deviations: Floats
    covariance: Floats
    trace2: float
    trace3: float
    null_variance: float
    null_third: float
    items: int
    units: int
    freedom: float
    levels: Floats
    influence: Floats
    codes: Codes | None = None
    largest: Floats | None = None

    def by_unit(self, rows: Floats) -> Floats:
        """Rows (items, ...) as (units, ...), so that the mean over units is that over items."""
        return _by_unit(rows, self.codes, self.units)


def fit_axis(
    arrays: Mapping[str, Floats],
    axis: str,
    population: Population = "items",
    clusters: Clusters | None = None,
    weights: Mapping[str, Floats] | None = None,
) -> list[Layout]:
    """Fit the benchmarks of an axis, which is their plain average.

    Benchmarks whose clusters have labels in common are not independent: then all of them are
    fitted into one layout, each with the weight that it has in the average.

    Args:
        arrays: benchmark name -> scores (identities, items, samples).
        axis: what to call the axis in an error.
        population: as in `fit_layout`.
        clusters: as in `read_clusters`.
        weights: benchmark name -> weights, as in `fit_layout`.

    Raises:
        ValueError: as `fit_layout`; labels of another number than the items.
    """
    codes = read_clusters(clusters, arrays, axis)
    weights = weights or {}
    layouts = [
        fit_layout(array, name, population, codes.get(name), weights.get(name))
        for name, array in arrays.items()
    ]
    used = [set(of.tolist()) for of in codes.values()]
    if population == "items" and sum(map(len, used)) > len(set().union(*used)):
        return [_merged(arrays, layouts, codes)]
    return layouts


def fit_layout(
    scores: Floats,
    name: str,
    population: Population = "items",
    codes: Codes | None = None,
    weights: Floats | None = None,
) -> Layout:
    """Fit one benchmark.

    Args:
        scores: (identities, items, samples) in [0, 1], NaN = missing.
        name: what to call the benchmark in an error.
        population: "items": the items are a sample and item x identity interaction is noise;
            "these_items": the items are fixed and only repeated sampling is noise.
        codes: (items,) the cluster of each item, any integers; the clusters are then the sample.
        weights: (identities, items) weights of the cells in the least-squares fit, > 0; None: all
            alike. Only for "items".

    Raises:
        ValueError: all scores missing, identities that share no or hardly any item, fewer than
            two items or clusters ("items"), or no cell with two samples ("these_items").
    """
    cells = average_samples(scores)
    kept = np.isfinite(scores).any(axis=(0, 2))
    if weights is not None:
        cells = Cells(cells.mean, cells.observed * weights.T[kept])
    to_deviations = _deviation_weights(cells, name)
    centered = _center_rows(cells.mean, cells.observed)
    deviations = settle(to_deviations @ centered.sum(axis=0))
    levels = _item_levels(cells, deviations)
    if population == "these_items":
        return _fixed_items(scores, cells, to_deviations, levels, deviations, name)
    if population != "items":
        raise ValueError(f'population must be "items" or "these_items", not "{population}"')
    numbers = None if codes is None else _renumber(codes[kept])
    return _random_items(cells, to_deviations, centered, levels, deviations, name, numbers)


def _renumber(codes: Codes) -> Codes:
    return np.unique(codes, return_inverse=True)[1].astype(np.int64)


def _merged(
    arrays: Mapping[str, Floats], layouts: Sequence[Layout], codes: Mapping[str, Codes]
) -> Layout:
    """One layout of several benchmarks whose items have clusters in common."""
    total = sum(layout.items for layout in layouts)
    rows, numbers, free = [], [], max(int(of.max()) for of in codes.values()) + 1
    for (name, array), layout in zip(arrays.items(), layouts, strict=True):
        rows.append(layout.influence * total / (len(layouts) * layout.items))
        own = codes.get(name, np.arange(free, free + array.shape[1]))
        free += array.shape[1]
        numbers.append(own[np.isfinite(array).any(axis=(0, 2))])
    return from_influence(
        np.mean([layout.means for layout in layouts], axis=0),
        np.mean([layout.deviations for layout in layouts], axis=0),
        np.concatenate([layout.levels for layout in layouts]),
        np.concatenate(rows),
        _renumber(np.concatenate(numbers)),
    )


def _deviation_weights(cells: Cells, name: str) -> Floats:
    """Return the (identities, identities) matrix from summed centered scores to deviations.

    It is the pseudo-inverse of the normal equations' matrix after the items are eliminated;
    complete data give ``(I - 11'/K) / items``.
    """
    observed = cells.observed
    if not observed.size:
        raise TooFewScores(f"{name}: every score is missing")
    per_item = observed.sum(axis=1)
    normal = np.diag(observed.sum(axis=0)) - observed.T @ (observed / per_item[:, np.newaxis])
    _check_connected(normal, name)
    # A constant vector is the null space; filling it makes the matrix invertible.
    constant = np.full_like(normal, 1 / len(normal))
    return np.asarray(np.linalg.inv(normal + constant) - constant)


def _check_connected(normal: Floats, name: str) -> None:
    """Raise TooFewScores where some identities share no or hardly any scored item with the rest.

    The second smallest eigenvalue of the normal matrix (a graph's Laplacian) counts the items that
    tie its loosest part to the rest (Fiedler 1973); it is the number of items in complete data.
    """
    if len(normal) < 2:
        return
    values, vectors = np.linalg.eigh(normal)
    most = float(values[-1])
    if values[1] >= min(_FEWEST_TIES, _FEWEST_SHARE * most) and values[1] > 1e-9:
        return
    apart = vectors[:, 1] > 0
    apart = apart if apart.sum() <= len(apart) / 2 else ~apart
    rows = ", ".join(str(row) for row in np.flatnonzero(apart)[:5])
    how = "no scored item" if values[1] < 1e-9 + 1e-9 * most else "too few scored items"
    raise TooFewScores(f"{name}: some identities share {how} with the others (rows {rows})")


def _center_rows(values: Floats, observed: Floats) -> Floats:
    """Subtract from each item its mean over the observed cells; unobserved cells stay 0."""
    mean = (values * observed).sum(axis=1) / observed.sum(axis=1)
    return settle((values - mean[:, np.newaxis]) * observed)


def settle(points: Floats) -> Floats:
    """Turn rounding errors into 0, so that equal scores show no difference at all."""
    return np.where(np.abs(points) < 1e-9, 0.0, points)


def _item_levels(cells: Cells, deviations: Floats) -> Floats:
    """Return the fitted mean of each item over all the identities."""
    left = (cells.mean - deviations) * cells.observed
    return np.asarray(left.sum(axis=1) / cells.observed.sum(axis=1))


def _random_items(
    cells: Cells,
    weights: Floats,
    centered: Floats,
    levels: Floats,
    deviations: Floats,
    name: str,
    codes: Codes | None,
) -> Layout:
    n = len(centered)
    if n < 2:
        raise TooFewScores(f"{name}: needs at least 2 items with scores, not {n}")
    if codes is not None and not codes.any():
        raise TooFewScores(f"{name}: needs items of at least 2 clusters")
    fitted = _center_rows(np.broadcast_to(deviations, centered.shape), cells.observed)
    influence = n * settle(centered - fitted) @ weights
    return from_influence(levels.mean() + deviations, deviations, levels, influence, codes)


def from_influence(
    means: Floats,
    deviations: Floats,
    levels: Floats,
    influence: Floats,
    codes: Codes | None,
    largest: Floats | None = None,
) -> Layout:
    """The layout of means whose deviations are a mean over items of one vector per item.

    Args:
        means, deviations: (identities,).
        levels: (items,) each item's mean over the identities.
        influence: (items, identities) residual vectors, whose columns sum to 0.
        codes: (items,) number of each item's cluster, from 0 without a gap; None without clusters.
        largest: as in `Layout`.
    """
    items = len(influence)
    n = items if codes is None else int(codes.max()) + 1
    sizes = np.ones(n) if codes is None else np.bincount(codes) * n / items
    rows = _by_unit(influence, codes, n)
    gram = rows.T @ rows
    # The units' vectors around 0 instead of around their mean; `rows` sums to 0.
    alike = rows + sizes[:, np.newaxis] * deviations
    alike_gram = alike.T @ alike
    return Layout(
        means=means,
        deviations=deviations,
        covariance=gram / (n * (n - 1)),
        trace2=_trace_squared(rows, gram),
        trace3=_pair_cycle(rows, gram) / n**3,
        null_variance=2 * _pair_square(alike, alike_gram) / n**2,
        null_third=8 * _pair_cycle(alike, alike_gram) / n**3,
        items=items,
        units=n,
        freedom=_freedom(sizes) if codes is not None else n - 1.0,
        levels=levels,
        influence=influence,
        codes=codes,
        largest=largest,
    )


def _by_unit(rows: Floats, codes: Codes | None, units: int) -> Floats:
    if codes is None:
        return rows
    order = np.argsort(codes, kind="stable")
    starts = np.searchsorted(codes[order], np.arange(units))
    return np.asarray(np.add.reduceat(rows[order], starts, axis=0)) * (units / len(rows))


def _freedom(sizes: Floats) -> float:
    """Degrees of freedom of a variance estimated from clusters of such sizes.

    Satterthwaite's, of the sum of squared cluster sums around their common mean, where the items
    of a cluster are all alike (Bell & McCaffrey 2002, Surv. Methodol. 28); units - 1 for equal
    sizes. With unequal sizes a few large clusters make most of the estimate.
    """
    share = sizes / sizes.sum()
    # Covariance of (cluster sum - its share of the total) when a cluster's sum has variance size^2.
    total = float(np.sum(share**2))
    covariance = (
        np.diag(share**2)
        - np.outer(share**2, share)
        - np.outer(share, share**2)
        + total * np.outer(share, share)
    )
    return max(float(np.trace(covariance) ** 2 / np.sum(covariance**2)), 1.0)


def project(layout: Layout, contrast: Floats) -> Layout:
    """Return the layout of the linear combinations ``contrast @ deviations``.

    Args:
        layout: fitted for the question about items like these.
        contrast: (combinations, identities); each row sums to 0.
    """
    scale = largest_of(layout.means, layout.influence)
    deviations = combined(layout.deviations, contrast, scale)
    means = layout.means.mean() + deviations
    influence = combined(layout.influence, contrast, scale)
    largest = layout.largest
    if largest is not None:
        share = contrast**2 / np.sum(contrast**2, axis=1, keepdims=True)
        largest = np.sqrt(share @ largest**2)
    return from_influence(means, deviations, layout.levels, influence, layout.codes, largest)


def combined(rows: Floats, contrast: Floats, scale: float) -> Floats:
    """Return ``rows @ contrast.T``, with 0 where equal terms cancel but for rounding.

    What rounding leaves is tiny beside `scale`, the largest number that the terms were computed
    from. It would be taken for the noise of scores that show none, and the interval would have no
    width where it should be that of no noise (`spread._without_noise`).
    """
    found = rows @ contrast.T
    most = ROUNDING * scale * np.sum(np.abs(contrast), axis=1)
    return np.where(np.abs(found) <= most, 0.0, found)


def largest_of(*arrays: Floats) -> float:
    """The largest absolute value."""
    return max(float(np.max(np.abs(array), initial=0.0)) for array in arrays)


def _trace_squared(influence: Floats, gram: Floats) -> float:
    """Return an unbiased estimate of tr(V^2), V the covariance of the mean of n centered rows.

    Himeno & Yamada 2014 (J. Multivariate Anal. 130), unbiased for any distribution; the plain
    tr(V^2) is too large by about ``1 + identities / items``. Where few items tell the identities
    apart it can come out near 0; it is kept at or above ``tr(V)^2 / (identities - 1)``, below
    which no covariance of deviations can fall.
    """
    n, count = len(influence), influence.shape[1]
    s = gram / (n - 1)
    plain, trace = float(np.sum(s * s)), float(np.trace(s))
    if n < 4:
        return plain / n**2
    fourth = float(np.sum(np.sum(influence**2, axis=1) ** 2)) / (n - 1)
    bracket = (n - 1) * (n - 2) * plain + trace**2 - n * fourth
    unbiased = (n - 1) / (n * (n - 2) * (n - 3)) * bracket
    return float(max(unbiased, trace**2 / max(count - 1, 1))) / n**2


def _pair_square(rows: Floats, gram: Floats) -> float:
    """Return the mean of (a.b)^2 over pairs of different rows: tr(S^2) for mean-zero rows.

    Kept at or above its mean over all exchanges of identities within each item.
    """
    n, count = len(rows), rows.shape[1]
    own = np.sum(rows**2, axis=1)
    exchanged = (np.sum(own) ** 2 - np.sum(own**2)) / max(count - 1, 1)
    observed = np.sum(gram * gram) - np.sum(own**2)
    return float(max(observed, exchanged)) / (n * (n - 1))


def _pair_cycle(rows: Floats, gram: Floats) -> float:
    """Return the mean of (a.b)(b.c)(c.a) over different rows: tr(S^3) for mean-zero rows."""
    n = len(rows)
    if n < 3:
        return 0.0
    own = np.sum(rows**2, axis=1)
    through = np.einsum("ik,ik->i", rows @ gram, rows)
    total = np.sum((gram @ gram) * gram) - 3 * np.sum(through * own) + 2 * np.sum(own**3)
    return float(total) / (n * (n - 1) * (n - 2))


def _fixed_items(
    scores: Floats,
    cells: Cells,
    weights: Floats,
    levels: Floats,
    deviations: Floats,
    name: str,
) -> Layout:
    variance, freedom = _cell_variance(scores, name)
    observed = cells.observed
    per_item = observed.sum(axis=1, keepdims=True)
    cross = (observed / per_item).T @ variance
    shared = observed * (variance.sum(axis=1, keepdims=True) / per_item**2)
    inner = np.diag(variance.sum(axis=0)) - cross - cross.T + observed.T @ shared
    covariance = weights @ inner @ weights
    square = covariance @ covariance
    trace2, trace3 = float(np.trace(square)), float(np.sum(square * covariance))
    return Layout(
        means=levels.mean() + deviations,
        deviations=deviations,
        covariance=covariance,
        trace2=trace2,
        trace3=trace3,
        null_variance=2 * trace2,
        null_third=8 * trace3,
        items=len(observed),
        units=len(observed),
        freedom=freedom,
        levels=levels,
        influence=np.empty((0, len(deviations))),
    )


def _cell_variance(scores: Floats, name: str) -> tuple[Floats, float]:
    """Return (items, identities) sampling variances of the cell means, in squared points.

    With it, the degrees of freedom of the identity of which the fewest cells have repeated samples.
    A cell with one sample takes the mean variance of its identity's other cells.
    """
    there = np.isfinite(scores)
    kept = there.any(axis=(0, 2))
    there, values = there[:, kept], scores[:, kept]
    count = there.sum(axis=2)
    if not np.all((count > 1).any(axis=1)):
        raise TooFewScores(
            f'{name}: the question about "these_items" needs at least 2 samples per cell'
        )
    mean = np.where(there, values, 0.0).sum(axis=2) / np.maximum(count, 1)
    apart = settle(100 * np.where(there, values - mean[:, :, np.newaxis], 0.0))
    squares = (apart**2).sum(axis=2)
    single = squares / np.maximum(count - 1, 1)
    repeated = count > 1
    typical = np.where(repeated, single, 0.0).sum(axis=1) / repeated.sum(axis=1)
    single = np.where(repeated, single, typical[:, np.newaxis])
    freedom = float(np.maximum(count - 1, 0).sum(axis=1).min())
    return np.asarray(np.where(count > 0, single / np.maximum(count, 1), 0.0).T), freedom
