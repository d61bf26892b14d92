"""Two-way layout identities x items: least-squares means and the noise around them.

Complete data need no fitting: an identity's mean is the mean of its column. With missing
cells the additive model ``score = identity + item + residual`` is fitted by least squares, so
that an identity is not judged by which items it happens to miss (Searle, *Linear Models*, 1971,
ch. 7). Either way the identities' deviations are a mean over items of one vector per item, and
the spread of those vectors gives their covariance, whatever the variances of the identities and
the correlations between them (the cluster-robust estimator of Liang & Zeger 1986, with the item
as the cluster).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from evenhand.stats.scores import Cells, Floats, TooFewScores, average_samples

Population = Literal["items", "these_items"]


@dataclass(frozen=True)
class Layout:
    """Identities' means on one benchmark, in points 0-100, and their noise.

    Attributes:
        means: (identities,) least-squares means.
        deviations: (identities,) means less the mean of all identities; sums to 0.
        covariance: (identities, identities) covariance of `deviations`.
        trace2: unbiased estimate of the trace of the squared true covariance.
        trace3: the same for the cubed covariance.
        null_variance: of ``sum(deviations**2)`` less its noise, when all identities are alike.
        null_third: third central moment of the same.
        items: number of items with at least one score.
        levels: (items,) each item's fitted mean over the identities.
        influence: (items, identities) residual vectors; `deviations` moves by ``influence / items``
            per item. Empty for the question about exactly these items.
    """

    means: Floats
    deviations: Floats
    covariance: Floats
    trace2: float
    trace3: float
    null_variance: float
    null_third: float
    items: int
    levels: Floats
    influence: Floats


def fit_layout(scores: Floats, name: str, population: Population = "items") -> Layout:
    """Fit one benchmark.

    Args:
        scores: (identities, items, samples) in [0, 1], NaN = missing.
        name: what to call the benchmark in an error.
        population: "items": the items are a sample and item x identity interaction is noise;
            "these_items": the items are fixed and only repeated sampling is noise.

    Raises:
        ValueError: all scores missing, identities that share no item, fewer than two items
            ("items"), or no cell with two samples ("these_items").
    """
    cells = average_samples(scores)
    weights = _deviation_weights(cells, name)
    centered = _center_rows(cells.mean, cells.observed)
    deviations = settle(weights @ centered.sum(axis=0))
    levels = _item_levels(cells, deviations)
    if population == "these_items":
        return _fixed_items(scores, cells, weights, levels, deviations, name)
    if population != "items":
        raise ValueError(f'population must be "items" or "these_items", not "{population}"')
    return _random_items(cells, weights, centered, levels, deviations, name)


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
    if np.linalg.matrix_rank(normal, hermitian=True, rtol=1e-10) < len(normal) - 1:
        raise TooFewScores(f"{name}: some identities share no scored item with the others")
    # A constant vector is the null space; filling it makes the matrix invertible.
    constant = np.full_like(normal, 1 / len(normal))
    return np.asarray(np.linalg.inv(normal + constant) - constant)


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
) -> Layout:
    n = len(centered)
    if n < 2:
        raise TooFewScores(f"{name}: needs at least 2 items with scores, not {n}")
    fitted = _center_rows(np.broadcast_to(deviations, centered.shape), cells.observed)
    influence = n * settle(centered - fitted) @ weights
    return _from_influence(levels, deviations, influence)


def _from_influence(levels: Floats, deviations: Floats, influence: Floats) -> Layout:
    n = len(influence)
    gram = influence.T @ influence
    # The items' vectors around 0 instead of around their mean; `influence` sums to 0.
    alike = influence + deviations
    alike_gram = gram + n * np.outer(deviations, deviations)
    return Layout(
        means=levels.mean() + deviations,
        deviations=deviations,
        covariance=gram / (n * (n - 1)),
        trace2=_trace_squared(influence, gram),
        trace3=_pair_cycle(influence, gram) / n**3,
        null_variance=2 * _pair_square(alike, alike_gram) / n**2,
        null_third=8 * _pair_cycle(alike, alike_gram) / n**3,
        items=n,
        levels=levels,
        influence=influence,
    )


def project(layout: Layout, contrast: Floats) -> Layout:
    """Return the layout of the linear combinations ``contrast @ deviations``.

    Args:
        layout: fitted for the question about items like these.
        contrast: (combinations, identities); each row sums to 0.
    """
    deviations = contrast @ layout.deviations
    return _from_influence(layout.levels, deviations, layout.influence @ contrast.T)


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
    return float(max(unbiased, trace**2 / (count - 1))) / n**2


def _pair_square(rows: Floats, gram: Floats) -> float:
    """Return the mean of (a.b)^2 over pairs of different rows: tr(S^2) for mean-zero rows.

    Kept at or above its mean over all exchanges of identities within each item.
    """
    n, count = len(rows), rows.shape[1]
    own = np.sum(rows**2, axis=1)
    exchanged = (np.sum(own) ** 2 - np.sum(own**2)) / (count - 1)
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
    variance = _cell_variance(scores, name)
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
        levels=levels,
        influence=np.empty((0, len(deviations))),
    )


def _cell_variance(scores: Floats, name: str) -> Floats:
    """Return (items, identities) sampling variances of the cell means, in squared points.

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
    squares = (np.where(there, values - mean[:, :, np.newaxis], 0.0) ** 2).sum(axis=2)
    single = 1e4 * squares / np.maximum(count - 1, 1)
    repeated = count > 1
    typical = np.where(repeated, single, 0.0).sum(axis=1) / repeated.sum(axis=1)
    single = np.where(repeated, single, typical[:, np.newaxis])
    return np.asarray(np.where(count > 0, single / np.maximum(count, 1), 0.0).T)
