"""Names beside the points of a map: all of them, none over another, at every width.

A chart is as wide as its page, so places are worked out for ranges of widths: within a range each
name keeps its distance to its point, and no two meet at either end, nor, as points move in
proportion to the width, in between.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

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
class _Box:
    """A rectangle whose middle moves with the width: `x` of the plot's width plus `dx` pixels."""

    x: float
    dx: float
    y: float
    half: float
    tall: float

    def meets(self, other: _Box, widths: tuple[int, int]) -> bool:
        """Whether the two touch anywhere in a range of widths."""
        if abs(self.y - other.y) >= self.tall + other.tall:
            return False
        apart = [(self.x - other.x) * width + self.dx - other.dx for width in widths]
        least = self.half + other.half
        return not (min(apart) >= least or max(apart) <= -least)

    def fits(self, widths: tuple[int, int], height: float) -> bool:
        """Whether it lies within the plot."""
        middles = [self.x * width + self.dx for width in widths]
        inside = all(self.half <= m <= w - self.half for m, w in zip(middles, widths, strict=True))
        return inside and self.tall <= self.y <= height - self.tall


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
    for widths in pairwise(EDGES):
        taken: list[_Box] = []
        marks = [_Box(x, 0.0, y * height, _POINT, _POINT) for x, y in points]
        for n in _crowded_first(names, widths[0], height):
            box, center = _best(names[n], taken, marks, widths, height)
            taken.append(box)
            placed[n].center.append((round(center[0]), round(center[1])))
            placed[n].line.append(_line_end(box, center))
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
    name: tuple[str, float, float],
    taken: Sequence[_Box],
    marks: Sequence[_Box],
    widths: tuple[int, int],
    height: float,
) -> tuple[_Box, tuple[float, float]]:
    """The nearest free place; where there is none, the one that meets fewest names."""
    text, x, y = name
    half = min(len(text) * _LETTER, 0.9 * widths[0]) / 2
    best: tuple[float, _Box, tuple[float, float]] | None = None
    for reach in _REACHES:
        if best and best[0] <= reach:
            break
        for turn in range(_DIRECTIONS):
            angle = 2 * np.pi * turn / _DIRECTIONS
            right, down = float(np.cos(angle)), float(np.sin(angle))
            center = (right * (reach + half), down * (reach + _LINE / 2))
            box = _Box(x, center[0], y * height + center[1], half, _LINE / 2)
            crossed = sum(box.meets(other, widths) for other in taken)
            covered = sum(box.meets(mark, widths) for mark in marks)
            outside = 0 if box.fits(widths, height) else 1
            cost = reach + 500 * crossed + 800 * outside + _COVERED * covered
            if best is None or cost < best[0]:
                best = cost, box, center
    assert best is not None
    return best[1], best[2]


def _line_end(box: _Box, center: tuple[float, float]) -> tuple[int, int]:
    """The point of the box that is nearest to its mark, where that is far."""
    right = float(np.clip(0.0, center[0] - box.half, center[0] + box.half))
    down = float(np.clip(0.0, center[1] - box.tall, center[1] + box.tall))
    return (round(right), round(down)) if np.hypot(right, down) > _LED else (0, 0)
