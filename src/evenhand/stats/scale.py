"""The logit scale: effects that mean the same near 0 and 100 as in the middle.

A loss of two points is nothing at 50 and halves the errors at 96. Where models of different level
are compared, or a model before and after a change, the spread of the identities' log-odds stands
beside the spread in points. The step from one to the other is the delta method on the identities'
means, ``d logit(m) = dm / (m (1 - m))``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.special import logit

from evenhand.stats.bias import Spread, spread_of
from evenhand.stats.comparison import BiasChange, change_of, fit_both
from evenhand.stats.layout import Layout, fit_axis, from_influence
from evenhand.stats.scores import Clusters, Floats, Scores, check_level, read_benchmarks

Limit = Literal["floor", "ceiling"]

NEAR = 2.0
"""Points from 0 or 100 within which the means of all identities are at a limit."""


@dataclass(frozen=True)
class LogitBias:
    """Spread of the identities on the logit scale.

    Attributes:
        log_odds: (identities,) natural log-odds of each identity's mean on the axis.
        effect: (identities,) log-odds less the mean of all identities'; ``exp`` of it is an odds
            ratio.
        spread: as in `personalization_bias`, but in log-odds.
        limit: "floor" or "ceiling" where no identity's mean is farther than `NEAR` points from 0
            or 100, so that there is no room for a difference; None otherwise.
    """

    log_odds: Floats
    effect: Floats
    spread: Spread
    limit: Limit | None


def logit_bias(
    scores: Scores, *, level: float = 0.95, clusters: Clusters | None = None
) -> LogitBias:
    """Estimate the spread of the identities' log-odds on one axis.

    A mean of 0 or 100 is moved by half an answer (Haldane 1956, Ann. Hum. Genet. 20).

    Args:
        scores: an axis's scores, as in `differences_to_mean`.
        level: confidence level.
        clusters: what the items belong to, as in `personalization_bias`.

    Raises:
        ValueError: bad scores.

    >>> found = logit_bias([[1, 1, 0, 1, 1, 1, 0, 1], [1, 0, 0, 1, 0, 1, 0, 0]])
    >>> found.effect.round(2)
    array([ 0.8, -0.8])
    """
    check_level(level)
    layouts = fit_axis(read_benchmarks(scores, "scores"), "scores", clusters=clusters)
    turned = _on_logit_scale(layouts)
    return LogitBias(
        log_odds=turned.means,
        effect=turned.deviations,
        spread=spread_of([[turned]], level),
        limit=limit_of(np.mean([layout.means for layout in layouts], axis=0)),
    )


def compare_logit(
    before: Scores, after: Scores, *, level: float = 0.95, clusters: Clusters | None = None
) -> BiasChange:
    """Change of the spread of the identities' log-odds, after less before, item by item.

    Args:
        before, after: an axis's scores, as in `compare_axis`.
        level: confidence level.
        clusters: what the items belong to, as in `personalization_bias`.

    Raises:
        ValueError: as `compare_axis`.
    """
    check_level(level)
    return change_of(
        [[_on_logit_scale(fit_both(before, after, "scores", clusters=clusters))]], level
    )


def limit_of(means: Floats) -> Limit | None:
    """Where all means, in points, lie within `NEAR` of 0 or 100."""
    if np.all(means <= NEAR):
        return "floor"
    if np.all(means >= 100 - NEAR):
        return "ceiling"
    return None


def _on_logit_scale(layouts: Sequence[Layout]) -> Layout:
    """One layout of an axis, whose means are log-odds.

    The benchmarks are laid side by side, each with its weight in the axis's average. An item moves
    an identity's mean through its own residual and through how hard it is for everybody.
    """
    items = sum(layout.items for layout in layouts)
    means: Floats = np.mean([layout.means for layout in layouts], axis=0)
    half = 50 / items
    share = np.clip(means, half, 100 - half) / 100
    rows, codes, free = [], [], 0
    for layout in layouts:
        of_items = layout.levels - layout.levels.mean()
        rows.append(
            (layout.influence + of_items[:, np.newaxis]) * items / (len(layouts) * layout.items)
        )
        codes.append((np.arange(layout.items) if layout.codes is None else layout.codes) + free)
        free += layout.units
    moved = np.concatenate(rows) / 100 / (share * (1 - share))
    log_odds = logit(share)
    clustered = any(layout.codes is not None for layout in layouts)
    return from_influence(
        means=log_odds,
        deviations=log_odds - log_odds.mean(),
        levels=np.concatenate([layout.levels for layout in layouts]),
        influence=moved - moved.mean(axis=1, keepdims=True),
        codes=np.concatenate(codes) if clustered else None,
    )
