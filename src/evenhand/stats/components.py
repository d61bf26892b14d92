"""Variance components of one benchmark: identity, item, identity x item and sampling."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from evenhand.stats._scores import Floats, TooFewScores, read_scores


@dataclass(frozen=True)
class Components:
    """Variance components in squared points, by analysis of variance; they may fall below 0.

    Attributes:
        identity: between identities' means.
        item: between items' means.
        interaction: identity x item; with one sample per cell it holds `sampling` too.
        sampling: repeated samples of one cell; NaN with one sample per cell.
        samples: mean number of samples per cell.
    """

    identity: float
    item: float
    interaction: float
    sampling: float
    samples: float

    def residual(self, samples: int) -> float:
        """Noise variance of a cell mean over that many samples, in squared points.

        Raises:
            ValueError: one sample was observed, so other numbers cannot be told from it.
        """
        if np.isnan(self.sampling):
            if samples != 1:
                raise ValueError("a pilot with one sample per cell cannot tell what more would do")
            return max(self.interaction, 0.0)
        return max(self.interaction, 0.0) + self.sampling / samples


def variance_components(scores: ArrayLike) -> Components:
    """Estimate variance components by expected mean squares.

    Two-way crossed random layout with replication (Searle, Casella & McCulloch 1992, *Variance
    Components*). Items with a missing cell are left out; cells of unequal numbers of
    samples enter with their mean and the harmonic mean of the numbers (unweighted means).

    Args:
        scores: (identities, items) or (identities, items, samples) in [0, 1], NaN = missing.

    Raises:
        ValueError: bad scores, or fewer than 2 items on which every identity has a score.
    """
    array = read_scores(scores)
    count = np.isfinite(array).sum(axis=2)
    complete = count.min(axis=0) > 0
    if complete.sum() < 2:
        raise TooFewScores("scores: needs at least 2 items on which every identity has a score")
    array, count = 100 * array[:, complete], count[:, complete]
    mean = np.nansum(array, axis=2) / count
    harmonic = 1 / float(np.mean(1 / count))
    sampling = _sampling_variance(array, mean, count)
    k, n = mean.shape
    rows, columns = mean.mean(axis=1), mean.mean(axis=0)
    residual = mean - rows[:, np.newaxis] - columns + mean.mean()
    cell = float(np.sum(residual**2)) / ((k - 1) * (n - 1))
    shared = 0.0 if np.isnan(sampling) else sampling / harmonic
    return Components(
        identity=float(np.var(rows, ddof=1)) - cell / n,
        item=float(np.var(columns, ddof=1)) - cell / k,
        interaction=cell - shared,
        sampling=sampling,
        samples=float(count.mean()),
    )


def _sampling_variance(array: Floats, mean: Floats, count: Floats) -> float:
    freedom = float(np.sum(count - 1))
    if freedom == 0:
        return float("nan")
    return float(np.nansum((array - mean[:, :, np.newaxis]) ** 2)) / freedom
