"""Variance components: identity, item, identity x item, sampling; and cues crossed with identities.

With cues, the table of means (identities x cues) is split into identity, cue and interaction as
in generalizability theory (Cronbach et al. 1972; Brennan 2001, *Generalizability Theory*, ch.
3-4), each with the noise of the items taken out. On complete data the components are the usual
ANOVA (expected mean square) estimates of the three-way random design identities x cues x items.

A multilevel logistic model of 0/1 scores is a cross-check of the closed forms:

``logit P(y = 1) = intercept + identity + item [+ topic + identity x topic] [+ cue + identity x
cue] [+ identity x item]``, every term but the intercept a sample of a normal population, so that
identities borrow from one another; the last is what the samples of one cell have in common.
Placebos are fitted by themselves in the same way: their `identity_sd` is that of the population of
placebos. Fitted by variational Bayes with statsmodels (extra `bayes`), which is light and
maintained; its posterior standard deviations are known to be somewhat too small (Blei, Kucukelbir &
McAuliffe 2017, J. Am. Stat. Assoc. 112), so that it checks an estimate and does not replace its
interval.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit, ndtri

from evenhand.stats.layout import ROUNDING, Layout, fit_axis, fit_layout
from evenhand.stats.scores import (
    Clusters,
    Floats,
    Scores,
    TooFewScores,
    check_level,
    read_clusters,
    read_scores,
)


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
    # What does not vary at all has no component: rounding would have a share of its own.
    parts = np.array([e @ e - np.trace(w) for e, w in zip(effects, within, strict=True)])
    whole = float(mean @ mean) + float(np.trace(noise))
    parts = np.where(np.abs(parts) <= ROUNDING * whole, 0.0, parts)
    identity, cue, both = (float(part) / f for part, f in zip(parts, freedom, strict=True))
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


PRIOR_SD = 3.0
"""Standard deviation of the intercept's normal prior, in log-odds."""
PRIOR_LOG_SD = 1.0
"""Standard deviation of the normal prior of each log standard deviation, around 0."""


@dataclass(frozen=True)
class MultilevelBias:
    """Posterior of the model on one benchmark.

    Attributes:
        identity_sd: standard deviation between identities, in log-odds (posterior median).
        interval: (low, high) credible interval of `identity_sd`.
        sds: the standard deviations of all terms by name, `identity_sd` among them.
        effects: (identities,) posterior mean of each identity, in log-odds.
        pb: spread in points (root mean square) that these effects make on these items; shrunken.
        level: of `interval`.
    """

    identity_sd: float
    interval: tuple[float, float]
    sds: dict[str, float]
    effects: Floats
    pb: float
    level: float


def multilevel_bias(
    scores: ArrayLike,
    *,
    clusters: ArrayLike | None = None,
    identities: Sequence[str] | None = None,
    cues: Sequence[str] | None = None,
    cells: bool = False,
    level: float = 0.95,
) -> MultilevelBias:
    """Fit the model to one benchmark.

    Takes some 10 s for 31 x 300 scores. Priors: normal (0, 3) for the intercept; normal (0, 1) for
    each log standard deviation. Missing scores are left out: it holds if, given identity and item,
    a score is as likely missing whatever its value.

    Args:
        scores: (rows, items) or (rows, items, samples), 0 or 1, NaN = missing.
        clusters: (items,) topics; adds the terms topic and identity x topic.
        identities: (rows,) the identity of each row; None: every row is one of its own.
        cues: (rows,) the cue of each row, where identities have several; adds the terms cue and
            identity x cue.
        cells: add the term identity x item, which repeated samples tell from sampling.
        level: of the credible interval.

    Raises:
        ValueError: bad scores, or graded ones; labels of another number than the rows; cells
            without repeated samples.
        ImportError: statsmodels is not installed.
    """
    check_level(level)
    array = read_scores(scores)
    if np.any((array > 0) & (array < 1)):
        raise ValueError("scores: the multilevel model is for scores of 0 and 1")
    if cells and array.shape[2] < 2:
        raise ValueError("scores: identity x item needs repeated samples")
    codes = read_clusters(clusters, {"scores": array}, "scores").get("scores")
    row, what, _ = np.nonzero(np.isfinite(array))
    people = _labels(identities, len(array), "identities")
    who = people[row]
    terms = {"identity": who, "item": what}
    if codes is not None:
        terms |= _with_identity("topic", np.unique(codes, return_inverse=True)[1][what], who)
    if cues is not None:
        terms |= _with_identity("cue", _labels(cues, len(array), "cues")[row], who)
    if cells:
        terms["identity x item"] = who * array.shape[1] + what
    found = _fit(array[np.isfinite(array)], terms)
    sizes = [len(np.unique(numbers)) for numbers in terms.values()]
    parts = np.split(np.asarray(found.vc_mean), np.cumsum(sizes)[:-1])
    center, spread = float(found.vcp_mean[0]), float(found.vcp_sd[0])
    reach = float(ndtri((1 + level) / 2)) * spread
    logits = float(found.fe_mean[0]) + parts[0][:, np.newaxis] + parts[1]
    return MultilevelBias(
        identity_sd=float(np.exp(center)),
        interval=(float(np.exp(center - reach)), float(np.exp(center + reach))),
        sds={name: float(np.exp(mean)) for name, mean in zip(terms, found.vcp_mean, strict=True)},
        effects=parts[0],
        pb=100 * float(np.std(expit(logits).mean(axis=1))),
        level=level,
    )


def _labels(names: Sequence[str] | None, rows: int, what: str) -> NDArray[np.int64]:
    """Numbers of the rows' labels, from 0 without a gap."""
    given = np.arange(rows) if names is None else np.asarray(names)
    if given.shape != (rows,):
        raise ValueError(f"{what}: needs one for each of the {rows} rows, not {given.shape}")
    return np.unique(given, return_inverse=True)[1].astype(np.int64)


def _with_identity(
    name: str, numbers: NDArray[np.int64], who: NDArray[np.int64]
) -> dict[str, NDArray[np.int64]]:
    """A term and its interaction with the identity."""
    return {name: numbers, f"identity x {name}": who * (int(numbers.max()) + 1) + numbers}


def _fit(values: Floats, terms: dict[str, Any]) -> Any:
    try:
        from statsmodels.genmod.bayes_mixed_glm import BinomialBayesMixedGLM
    except ImportError:
        raise ImportError(
            "the multilevel model needs statsmodels: pip install 'evenhand[bayes]'"
        ) from None
    from scipy.sparse import csr_matrix, hstack  # statsmodels has loaded it

    rows, columns, kinds = np.arange(len(values)), [], []
    for kind, numbers in enumerate(terms.values()):
        _, place = np.unique(numbers, return_inverse=True)
        count = int(place.max()) + 1
        columns.append(csr_matrix((np.ones(len(rows)), (rows, place)), (len(rows), count)))
        kinds += [kind] * count
    model = BinomialBayesMixedGLM(
        values,
        np.ones((len(rows), 1)),
        hstack(columns).tocsr(),
        np.array(kinds),
        vcp_p=PRIOR_LOG_SD,
        fe_p=PRIOR_SD,
    )
    # A start of its own: statsmodels' random one differs between calls, and can overflow.
    size = 1 + len(terms) + sum(block.shape[1] for block in columns)
    return model.fit_vb(mean=np.zeros(size), sd=np.full(size, np.exp(-0.5)), verbose=False)
