"""Where identities are treated unlike the others: by benchmark, and by subgroup of one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from evenhand.analysis.grid import Grid, if_enough
from evenhand.benchmarks.item import Item
from evenhand.stats import ALPHA, benjamini_hochberg, differences_to_mean
from evenhand.stats.scores import rows_are_identities

FALSE_DISCOVERIES = ALPHA
"""Expected share of differences by chance among those that are shown as beyond noise."""
FEWEST_ITEMS = 5
"""Subgroups with fewer items are put together."""
SMALLER = "smaller ones together"


@dataclass(frozen=True)
class GroupResult:
    """One benchmark, or one subgroup of it, and what every identity's difference is there.

    Attributes:
        axis, benchmark: what it belongs to.
        name: of the subgroup; empty for the whole benchmark.
        items: how many it has.
        mean: over the identities, in points.
        difference: (identities,) to the mean of the identities on the same items, in points; NaN
            where there is too little data.
        beyond_noise: (identities,) whether the difference is told from chance, see `Where`.
    """

    axis: str
    benchmark: str
    name: str
    items: int
    mean: float
    difference: NDArray[np.float64]
    beyond_noise: NDArray[np.bool_]


@dataclass(frozen=True)
class Where:
    """Identities by place.

    The differences told from chance are chosen for each axis, among benchmarks and among
    subgroups apart, so that at most `FALSE_DISCOVERIES` of them are expected to be none
    (Benjamini & Hochberg 1995, J. R. Stat. Soc. B 57).

    Attributes:
        identities: their ids, in the order of each place's differences.
        texts: what each says of itself, in the same order.
        benchmarks: whole benchmarks.
        subgroups: of those benchmarks that have two or more.
    """

    identities: list[str]
    texts: list[str]
    benchmarks: list[GroupResult]
    subgroups: list[GroupResult]


@rows_are_identities()
def find_where(grid: Grid, items: Mapping[int, Item], cue: str, defense: str) -> Where:
    """Compare each identity with the mean of all in every benchmark and subgroup.

    Args:
        items: of the store that the grid was read from, in the same order.
    """
    rows = grid.rows(cue, defense, "identity")
    groups = _groups(items)
    benchmarks: list[GroupResult] = []
    subgroups: list[GroupResult] = []
    with threadpool_limits(limits=1, user_api="blas"):
        for axis, arrays in grid.scores.items():
            whole, parts = [], []
            for benchmark, array in arrays.items():
                scores, names = array[rows], groups[axis, benchmark]
                whole.append(_place(axis, benchmark, "", scores))
                kinds = _large_enough(names)
                if len(set(kinds)) > 1:
                    parts += [
                        _place(axis, benchmark, str(kind), scores[:, kinds == kind])
                        for kind in sorted(set(kinds), key=lambda kind: (kind == SMALLER, kind))
                    ]
            benchmarks += _beyond_noise(whole)
            subgroups += _beyond_noise(parts)
    people = [grid.conditions[row].identity for row in rows]
    ids, texts = [who.id for who in people], [who.text for who in people]
    return Where(ids, texts, benchmarks, subgroups)


def _groups(items: Mapping[int, Item]) -> dict[tuple[str, str], list[str]]:
    found: dict[tuple[str, str], list[str]] = {}
    for item in items.values():
        found.setdefault((item.axis, item.benchmark), []).append(item.subgroup)
    return found


def _large_enough(names: Sequence[str]) -> NDArray[np.str_]:
    """Each item's subgroup; small ones under one name."""
    kinds, place, counts = np.unique(np.array(names), return_inverse=True, return_counts=True)
    kept = np.where(counts >= FEWEST_ITEMS, kinds, SMALLER)
    return np.asarray(kept[place])


def _place(
    axis: str, benchmark: str, name: str, scores: NDArray[np.float64]
) -> tuple[GroupResult, NDArray[np.float64]]:
    """A place with nothing told from chance yet, and its p-values."""
    scored = scores[:, (scores == scores).any(axis=(0, 2))]  # NaN is not equal to itself
    found = if_enough(lambda: differences_to_mean(scored)) if scored.size else None
    unknown = np.full(len(scores), np.nan)
    place = GroupResult(
        axis=axis,
        benchmark=benchmark,
        name=name,
        items=scored.shape[1],
        mean=100 * float(np.nanmean(scored)) if scored.size else float("nan"),
        difference=found.difference if found else unknown,
        beyond_noise=np.zeros(len(scores), dtype=bool),
    )
    return place, found.p_value if found else unknown


def _beyond_noise(places: Sequence[tuple[GroupResult, NDArray[np.float64]]]) -> list[GroupResult]:
    """The places with their differences told from chance, all of them judged together."""
    known = [~np.isnan(p_values) for _, p_values in places]
    told = iter(
        np.split(
            _discoveries(np.concatenate([p[k] for (_, p), k in zip(places, known, strict=True)]))
            if places
            else np.zeros(0, dtype=bool),
            np.cumsum([int(k.sum()) for k in known])[:-1],
        )
    )
    finished = []
    for (place, _), k in zip(places, known, strict=True):
        place.beyond_noise[k] = next(told)
        finished.append(place)
    return finished


def _discoveries(p_values: NDArray[np.float64]) -> NDArray[np.bool_]:
    if not p_values.size:
        return np.zeros(0, dtype=bool)
    return np.asarray(benjamini_hochberg(p_values) <= FALSE_DISCOVERIES)
