"""Exact and near-exact p-values under exchange of identities within an item, and adjustments."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from functools import lru_cache
from math import comb

import numpy as np
from numpy.typing import NDArray
from scipy.special import bdtr, ndtr

from evenhand.stats.scores import Floats
from evenhand.stats.spread import upper_tail

ALPHA = 0.05
"""The error rate at which a test is called significant, everywhere in this package."""
_ASSIGNMENTS, _DRAWN = 20_000, 9_999
_ENUMERATED = 12  # at most 2**12 sign patterns are written out


def is_significant(p_value: float) -> bool:
    """Whether a p-value is below `ALPHA`."""
    return p_value < ALPHA


def sign_flip_p_value(differences: Floats) -> float:
    """Two-sided p-value of the sum of the differences when each sign is as likely as the other.

    Exact when all nonzero differences have one size (McNemar's test, binomial) or are few (all
    sign patterns); otherwise the saddlepoint tail of Lugannani & Rice (1980) for the sign-flip
    distribution (Robinson 1982, J. R. Stat. Soc. B 44).

    Args:
        differences: (items,) differences that carry the weight of their item.
    """
    moved = differences[np.abs(differences) > 1e-9 * np.max(np.abs(differences), initial=0.0)]
    size, total = np.abs(moved), abs(float(np.sum(moved)))
    if not len(moved):
        return 1.0
    if np.allclose(size, size[0], rtol=1e-9):
        wins = np.count_nonzero(moved > 0)
        return min(1.0, 2 * float(bdtr(min(wins, len(moved) - wins), len(moved), 0.5)))
    if len(moved) <= _ENUMERATED:
        signs = np.array(list(itertools.product((-1.0, 1.0), repeat=len(moved))))
        return float(np.mean(np.abs(signs @ size) >= total * (1 - 1e-9)))
    return min(1.0, 2 * _saddlepoint_tail(size / np.max(size), total / float(np.max(size))))


def _saddlepoint_tail(size: Floats, total: float) -> float:
    """P(sum of randomly signed sizes >= total), total >= 0."""
    variance = float(size @ size)
    z = total / variance**0.5
    if z < 0.05:  # the formula is 0/0 at the center, where the normal tail is exact to 1e-5
        return float(ndtr(-z))
    largest = float(np.sum(size))
    if total >= largest * (1 - 1e-9):
        return float(2.0 ** -len(size))
    t = _tilt(size, total)
    generating = float(np.sum(np.logaddexp(t * size, -t * size) - np.log(2)))
    curvature = float(np.sum((size / np.cosh(np.minimum(t * size, 300))) ** 2))
    w = (2 * max(t * total - generating, 0.0)) ** 0.5
    u = t * curvature**0.5
    density = np.exp(-(w**2) / 2) / (2 * np.pi) ** 0.5
    return float(np.clip(ndtr(-w) + density * (1 / u - 1 / w), 0.0, 1.0))


def _tilt(size: Floats, total: float) -> float:
    """Return t > 0 with sum(size * tanh(t * size)) = total, by bisection."""
    low, high = 0.0, 1.0
    while float(np.sum(size * np.tanh(high * size))) < total and high < 1e6:
        low, high = high, 2 * high
    for _ in range(50):
        middle = (low + high) / 2
        short = float(np.sum(size * np.tanh(middle * size))) < total
        low, high = (middle, high) if short else (low, middle)
    return (low + high) / 2


def exchange_p_values(sums: Floats, variance: Floats, third: Floats, step: float) -> Floats:
    """Two-sided p-values of sums whose null moments are known, with continuity correction.

    Args:
        sums: (identities,) sums of the scores centered by item; 0 on average when all are alike.
        variance, third: (identities,) null central moments of `sums`.
        step: the smallest step by which a sum can change, 0 for continuous scores.
    """
    return np.array([_exchange(*row, step) for row in zip(sums, variance, third, strict=True)])


def _exchange(value: float, variance: float, third: float, step: float) -> float:
    if variance <= 0:
        return 1.0
    up = upper_tail(value - step / 2, 0.0, variance, third)
    down = upper_tail(-value - step / 2, 0.0, variance, -third)
    return min(1.0, 2 * min(up, down))


def relabeling_p_value(
    values: Floats, sizes: Sequence[int], statistic: Callable[[Floats], Floats]
) -> float:
    """One-sided p-value of a statistic when every assignment of the labels is as likely.

    All assignments are counted where there are at most 20,000, otherwise the observed one and
    9,999 drawn with a fixed seed (Phipson & Smyth 2010, Stat. Appl. Genet. Mol. Biol. 9).

    Args:
        values: (rows, columns) what is labeled, the groups one after the other.
        sizes: number of rows of each group.
        statistic: of (assignments, rows, columns), large values are evidence; one number each.
    """
    found = statistic(values[assignments(tuple(sizes))])
    observed = statistic(values[np.newaxis])[0]
    return float(np.mean(found >= observed * (1 - 1e-9) - 1e-12))


@lru_cache(maxsize=4)
def assignments(sizes: tuple[int, ...]) -> NDArray[np.int64]:
    """(assignments, rows): the rows in the order in which an assignment of labels puts them.

    The groups stand one after the other. The assignments are those of `relabeling_p_value`.
    """
    order = np.arange(sum(sizes))
    if len(sizes) == 2 and comb(len(order), sizes[0]) <= _ASSIGNMENTS:
        first = np.array(list(itertools.combinations(order.tolist(), sizes[0])))
        other = np.ones((len(first), len(order)), dtype=np.bool_)
        np.put_along_axis(other, first, False, axis=1)
        return np.hstack([first, np.nonzero(other)[1].reshape(len(first), sizes[1])])
    drawn = np.random.default_rng(0).permuted(np.tile(order, (_DRAWN, 1)), axis=1)
    return np.vstack([order, drawn])


def sidak(p_values: Floats) -> Floats:
    """Return p-values adjusted for all of them in a single step (Sidak 1967): 1 - (1 - p)^K.

    Each is below an error exactly where the interval at Sidak's level leaves out 0.
    """
    with np.errstate(divide="ignore"):
        return np.asarray(-np.expm1(len(p_values) * np.log1p(-np.minimum(p_values, 1.0))))


def holm(p_values: Floats) -> Floats:
    """Return p-values adjusted for all of them by Holm (1979), step-down Bonferroni."""
    order = np.argsort(p_values, kind="stable")
    left = len(p_values) - np.arange(len(p_values))
    adjusted = np.minimum(np.maximum.accumulate(p_values[order] * left), 1.0)
    result = np.empty_like(adjusted)
    result[order] = adjusted
    return result


def benjamini_hochberg(p_values: Floats) -> Floats:
    """Return p-values adjusted for the share of false discoveries (Benjamini & Hochberg 1995).

    Holds for independent and for positively dependent tests.
    """
    order = np.argsort(p_values, kind="stable")[::-1]
    rank = len(p_values) - np.arange(len(p_values))
    adjusted = np.minimum.accumulate(p_values[order] * len(p_values) / rank)
    result = np.empty_like(adjusted)
    result[order] = np.minimum(adjusted, 1.0)
    return result
