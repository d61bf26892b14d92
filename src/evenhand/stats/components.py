"""Variance components: identity, item, identity x item, sampling; and cues crossed with identities.

With cues, the table of means (identities x cues) is split into identity, cue and interaction as
in generalizability theory (Cronbach et al. 1972; Brennan 2001, *Generalizability Theory*, ch.
3-4), each with the noise of the items taken out. On complete data the components are the usual
ANOVA (expected mean square) estimates of the three-way random design identities x cues x items.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import ndtri

from evenhand.stats.layout import Layout, fit_axis, fit_layout
from evenhand.stats.scores import Clusters, Floats, Scores, TooFewScores, check_level, read_scores


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


@dataclass(frozen=True)
class CueComponents:
    """Variance components in squared points, unbiased, so they may fall below 0.

    Attributes:
        identity: identities' means over all cues.
        cue: cues' means over all identities.
        identity_cue: what one cue does to one identity beyond both.
        item: items' difficulty.
        identity_item, cue_item: what an item does to an identity, or to a cue.
        residual: all the rest, the threefold interaction and repeated sampling.
        generalizability: identity / (identity + identity_cue), 0 to 1: the share of one cue's
            noise-free PB^2 that is the identity and not the wording, and the expected
            correlation of the identities between two cues. NaN if neither varies.
        generalizability_interval: (low, high) at `level`, for other items with these cues.
        all_cues: the same share for the mean over all the cues at hand; NaN likewise.
        rank_agreement: mean Spearman correlation of the identities between two cues, as
            observed, noise included; NaN where a cue has all identities equal.
        kendall_w: Kendall's concordance of the cues' rankings, 0 to 1, as observed; NaN likewise.
        level: confidence level.
    """

    identity: float
    cue: float
    identity_cue: float
    item: float
    identity_item: float
    cue_item: float
    residual: float
    generalizability: float
    generalizability_interval: tuple[float, float]
    all_cues: float
    rank_agreement: float
    kendall_w: float
    level: float


def cue_components(
    scores: Scores, *, level: float = 0.95, clusters: Clusters | None = None
) -> CueComponents:
    """Estimate the variance components of one axis.

    Args:
        scores: (identities, cues, items) or (identities, cues, items, samples) in [0, 1], NaN =
            missing, or a dict benchmark name -> such an array; components of the items are the
            mean over the benchmarks.
        level: confidence level.
        clusters: what the items belong to, as in `personalization_bias`.

    Raises:
        ValueError: bad shape, a score outside [0, 1], fewer than 2 identities, cues or items.
    """
    check_level(level)
    arrays = scores if isinstance(scores, Mapping) else {"scores": scores}
    tables = [_read(array, name) for name, array in arrays.items()]
    shapes = {table.shape[:2] for table in tables}
    if len(shapes) != 1:
        raise ValueError(f"scores: all benchmarks need the same identities and cues, not {shapes}")
    u, c = shapes.pop()
    flat = {
        name: table.reshape(u * c, *table.shape[2:])
        for table, name in zip(tables, arrays, strict=True)
    }
    layouts = fit_axis(flat, "scores", clusters=clusters)
    means = np.mean([layout.deviations for layout in layouts], axis=0).reshape(u, c)
    parts = _table_components(layouts, u, c, level)
    each = [fit_layout(array, name) for name, array in flat.items()]
    items = np.mean([_item_components(layout, u, c) for layout in each], axis=0)
    agreement, concordance = _rank_agreement(means)
    return CueComponents(
        **parts,
        item=float(items[0]),
        identity_item=float(items[1]),
        cue_item=float(items[2]),
        residual=float(items[3]),
        rank_agreement=agreement,
        kendall_w=concordance,
        level=level,
    )


def _read(scores: ArrayLike, name: str) -> Floats:
    array = np.asarray(scores, dtype=np.float64)
    if array.ndim == 3:
        array = array[..., np.newaxis]
    if array.ndim != 4 or min(array.shape[:2]) < 2:
        raise TooFewScores(
            f"{name}: needs axes (identities, cues, items[, samples]) with at least "
            f"2 identities and 2 cues, not the shape {array.shape}"
        )
    read_scores(array.reshape(-1, *array.shape[2:]), name)
    return array


def _split(table: Floats) -> tuple[Floats, Floats, Floats]:
    """Split (..., identities, cues) into main effects and interaction, each of full shape."""
    table = table - table.mean(axis=(-2, -1), keepdims=True)
    identity = np.broadcast_to(table.mean(axis=-1, keepdims=True), table.shape)
    cue = np.broadcast_to(table.mean(axis=-2, keepdims=True), table.shape)
    return identity, cue, table - identity - cue


def _table_components(layouts: Sequence[Layout], u: int, c: int, level: float) -> dict[str, Any]:
    """Components of the table of means, and the generalizability that follows from them."""
    mean: Floats = np.mean([layout.deviations for layout in layouts], axis=0)
    noise = np.sum([layout.covariance for layout in layouts], axis=0) / len(layouts) ** 2
    effects = [effect.ravel() for effect in _split(mean.reshape(u, c))]
    projections = [_projection(part, u, c) for part in range(3)]
    freedom = (c * (u - 1), u * (c - 1), (u - 1) * (c - 1))
    within = [p @ noise for p in projections]
    identity, cue, both = (
        (float(e @ e) - float(np.trace(w))) / f
        for e, w, f in zip(effects, within, freedom, strict=True)
    )
    main = identity - both / c
    # Covariance of the two quadratic forms x'Mx, x'Nx: 4 m'MVNm + 2 tr(MVNV), less the noise in m.
    moments = np.empty((2, 2))
    for row, a in enumerate((0, 2)):
        for column, b in enumerate((0, 2)):
            linear = 4 * float(effects[a] @ noise @ effects[b])
            square = 2 * float(np.sum(within[a] * within[b].T))
            known = linear - square
            moments[row, column] = (max(known, square) if a == b else known) / freedom[a]
            moments[row, column] /= freedom[b]
    share, interval = _share(main, both, moments, 1 / c, level)
    total = max(main, 0.0) + max(both, 0.0) / c
    return {
        "identity": main,
        "cue": cue - both / u,
        "identity_cue": both,
        "generalizability": share,
        "generalizability_interval": interval,
        "all_cues": max(main, 0.0) / total if total > 0 else float("nan"),
    }


def _projection(part: int, u: int, c: int) -> Floats:
    """Return the (u*c, u*c) projection on identity (0), cue (1) or interaction (2) effects."""
    whole_u, whole_c = np.full((u, u), 1 / u), np.full((c, c), 1 / c)
    center_u, center_c = np.eye(u) - whole_u, np.eye(c) - whole_c
    left = whole_u if part == 1 else center_u
    right = whole_c if part == 0 else center_c
    return np.kron(left, right)


def _share(
    main: float, both: float, moments: Floats, one_cue: float, level: float
) -> tuple[float, tuple[float, float]]:
    """Return main / (main + both) within [0, 1] and its interval by Fieller's method (1954).

    A share s is in the interval when ``(1 - s) main - s both`` is within its error of 0.
    """
    positive, other = max(main, 0.0), max(both, 0.0)
    if positive + other == 0:
        return float("nan"), (0.0, 1.0)
    shares = np.linspace(0, 1, 1001)
    # In terms of the estimated (main + both / c, both), whose moments are given.
    weights = np.column_stack([1 - shares, -(1 - shares) * one_cue - shares])
    error = np.sqrt(np.maximum(np.einsum("ij,jk,ik->i", weights, moments, weights), 0.0))
    value = (1 - shares) * main - shares * both
    inside = shares[np.abs(value) <= float(ndtri((1 + level) / 2)) * error]
    share = positive / (positive + other)
    low, high = (inside[0], inside[-1]) if len(inside) else (share, share)
    return share, (float(min(low, share)), float(max(high, share)))


def _item_components(layout: Layout, u: int, c: int) -> tuple[float, float, float, float]:
    """Return the components item, identity x item, cue x item and residual of one benchmark."""
    n = layout.items
    identity, cue, both = _split(layout.influence.reshape(n, u, c))
    residual = float(np.sum(both**2)) / ((n - 1) * (u - 1) * (c - 1))
    by_identity = float(np.sum(identity**2)) / ((n - 1) * (u - 1))
    by_cue = float(np.sum(cue**2)) / ((n - 1) * (c - 1))
    identity_item, cue_item = (by_identity - residual) / c, (by_cue - residual) / u
    level = float(np.var(layout.levels, ddof=1))
    item = level - identity_item / u - cue_item / c - residual / (u * c)
    return item, identity_item, cue_item, residual


def _rank_agreement(means: Floats) -> tuple[float, float]:
    """Return the mean Spearman correlation between cues and Kendall's W, corrected for ties."""
    c = means.shape[1]
    means = np.round(means, 9)  # equal scores are ties whatever their rounding errors
    below = np.sum(means[:, np.newaxis] > means[np.newaxis], axis=1)
    same = np.sum(means[:, np.newaxis] == means[np.newaxis], axis=1)
    ranks = below + (same + 1) / 2
    spread = ranks - ranks.mean(axis=0)
    norm = np.sqrt((spread**2).sum(axis=0))
    if np.any(norm == 0):
        return float("nan"), float("nan")
    correlation = (spread / norm).T @ (spread / norm)
    mean_correlation = (float(correlation.sum()) - c) / (c * (c - 1))
    total = float(np.sum(spread.sum(axis=1) ** 2))
    ties = float(np.sum(norm**2))  # without ties identities * (identities**2 - 1) / 12 per cue
    return mean_correlation, total / (c * ties)
