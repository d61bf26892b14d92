"""Names beside the points of a map: all of them, none over another, at every width.

A chart is as wide as its page, so places are worked out for ranges of widths: within a range each
name keeps its distance to its point, and no two meet at either end, nor, as points move in
proportion to the width, in between.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

EDGES = (180, 250, 320, 400, 500, 620, 760, 900, 1050, 1250)
"""Widths of the plot in pixels at which one range ends and the next begins."""
_LETTER, _LINE = 6.8, 15.0
"""Pixels of a letter, about, and of a line."""
_REACHES = (9.0, 15.0, 24.0, 36.0, 52.0, 72.0, 96.0, 124.0, 156.0, 192.0)
_DIRECTIONS = 16
_POINT = 5.0
_COVERED = 14.0
"""What it costs to cover a point, in pixels of distance."""
_LED = 20.0
"""A name farther from its point than this gets a line to it."""


@dataclass(frozen=True)
class PlacedName:
    """Where a name stands, for each range of widths, in pixels from its point (right and down).

    Attributes:
        center: of the text.
        line: where the line from the point ends; the point itself where it needs none.
    """

    center: list[tuple[int, int]]
    line: list[tuple[int, int]]


@dataclass(frozen=True)
class _Boxes:
    """Rectangles whose middles move with the width: `x` of the plot's width plus `dx` pixels."""

    x: NDArray[np.float64]
    dx: NDArray[np.float64]
    y: NDArray[np.float64]
    half: NDArray[np.float64]
    tall: float

    def meet(self, others: _Boxes, widths: tuple[int, int]) -> NDArray[np.intp]:
        """How many of the others each touches anywhere in a range of widths."""
        level = np.abs(self.y[:, None] - others.y) < self.tall + others.tall
        least = self.half[:, None] + others.half
        drift = self.x[:, None] - others.x
        first, last = (drift * width + self.dx[:, None] - others.dx for width in widths)
        beside = (np.minimum(first, last) >= least) | (np.maximum(first, last) <= -least)
        touching: NDArray[np.intp] = np.count_nonzero(level & ~beside, axis=1)
        return touching

    def fit(self, widths: tuple[int, int], height: float) -> NDArray[np.bool_]:
        """Whether each lies within the plot."""
        inside = (self.tall <= self.y) & (self.y <= height - self.tall)
        for width in widths:
            middle = self.x * width + self.dx
            inside &= (self.half <= middle) & (middle <= width - self.half)
        return inside


_TURNS = 2 * np.pi * np.arange(_DIRECTIONS) / _DIRECTIONS
_REACH = np.repeat(_REACHES, _DIRECTIONS)
_RIGHT, _DOWN = (np.tile(share(_TURNS), len(_REACHES)) for share in (np.cos, np.sin))
"""Places that are tried: how far from the point, and in which direction."""


def place_names(
    names: Sequence[tuple[str, float, float]],
    points: Sequence[tuple[float, float]],
    height: float,
) -> list[PlacedName]:
    """Places of names, the most crowded chosen first.

    Args:
        names: text, and its point as shares of width and height, from the left and the top.
        points: likewise, of all marks that a name should not cover.
        height: of the plot in pixels.
    """
    placed = [PlacedName([], []) for _ in names]
    at = np.array(points, np.float64).reshape(-1, 2)
    still, small = np.zeros(len(at)), np.full(len(at), _POINT)
    marks = _Boxes(at[:, 0], still, at[:, 1] * height, small, _POINT)
    for widths in pairwise(EDGES):
        taken: list[tuple[float, float, float, float]] = []
        for n in _crowded_first(names, widths[0], height):
            text, x, y = names[n]
            half = min(len(text) * _LETTER, 0.9 * widths[0]) / 2
            dx, dy = _best(x, y * height, half, taken, marks, widths, height)
            taken.append((x, dx, y * height + dy, half))
            placed[n].center.append((round(dx), round(dy)))
            placed[n].line.append(_line_end(dx, dy, half))
    return placed


def _crowded_first(
    names: Sequence[tuple[str, float, float]], width: float, height: float
) -> list[int]:
    if len(names) < 2:
        return list(range(len(names)))
    places = np.array([[x * width, y * height] for _, x, y in names])
    apart = np.linalg.norm(places[:, None] - places[None], axis=2)
    np.fill_diagonal(apart, np.inf)
    return [int(n) for n in np.argsort(np.sort(apart, axis=1)[:, :3].sum(axis=1), kind="stable")]


def _best(
    x: float,
    y: float,
    half: float,
    taken: Sequence[tuple[float, float, float, float]],
    marks: _Boxes,
    widths: tuple[int, int],
    height: float,
) -> tuple[float, float]:
    """From the point to the nearest free place, or else to that which meets fewest names."""
    dx, dy = _RIGHT * (_REACH + half), _DOWN * (_REACH + _LINE / 2)
    every = np.ones(len(_REACH))
    boxes = _Boxes(x * every, dx, y + dy, half * every, _LINE / 2)
    there = np.array(taken).reshape(-1, 4).T
    names = _Boxes(there[0], there[1], there[2], there[3], _LINE / 2)
    cost = _REACH + 500 * boxes.meet(names, widths) + 800 * ~boxes.fit(widths, height)
    cost += _COVERED * boxes.meet(marks, widths)
    best = int(np.argmin(cost))
    return float(dx[best]), float(dy[best])


def _line_end(dx: float, dy: float, half: float) -> tuple[int, int]:
    """The point of the name's box that is nearest to its mark, where that is far."""
    right = min(max(0.0, dx - half), dx + half)
    down = min(max(0.0, dy - _LINE / 2), dy + _LINE / 2)
    return (round(right), round(down)) if math.hypot(right, down) > _LED else (0, 0)
