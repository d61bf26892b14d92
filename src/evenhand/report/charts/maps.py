"""Maps of safety and utility: where every identity stands, or from before to after.

Names stand beside the points: all of them, none over another, at every width. A chart is as wide as
its page, so places are worked out for ranges of widths: within a range each name keeps its distance
to its point, and no two meet at either end, nor, as points move in proportion to the width, in
between.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import altair as alt
import numpy as np
from numpy.typing import NDArray

from evenhand.analysis.results import IdentityResult, SettingResult
from evenhand.report.charts.style import ACCENT, BETTER, INK, MUTED, WORSE, data, themed
from evenhand.stats import Regions
from evenhand.text import one_line

# Where names stand

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


_CORNERS = 40
_LABELED = 6
# The maps

_HEIGHT = 460
_RANGE = " + ".join(f"(width >= {edge} ? 1 : 0)" for edge in EDGES[1:-1])
"""The range of widths that the plot's is in, as `place_names` counts them."""
_KEY = "Each point is one identity"
_SEEN = "datum.seen ? 0.4 : 0"
_NOT_SIGNIFICANT = "not significant"
_STANDINGS = {
    "worse": (WORSE, "triangle-down"),
    "better": (BETTER, "triangle-up"),
    "mixed": ("#7b3fa0", "diamond"),
    _NOT_SIGNIFICANT: (MUTED, "circle"),
}
_TICKS = alt.Axis(tickCount=8)
_BEFORE, _AFTER = "before", "after"
Point = tuple[float, float]
"""Safety and utility."""
_ZOOM = "zoom"
"""Name of the zoom's parameter: the page's buttons set it."""
_WITH_KEY = "wheel![event.ctrlKey || event.metaKey || event.shiftKey]"
_BY_MOUSE = "[pointerdown[event.pointerType === 'mouse'], window:pointerup] > window:pointermove!"


def trade_off_map(setting: SettingResult, regions: Regions | None) -> Any:
    """Identities as points, named and with ellipses where they differ significantly.

    The placebos' cloud lies behind them; the ellipses of others are seen by pointing at them.

    Args:
        regions: of the setting's identities, in their order; None draws points alone.
    """
    people = [
        row | {"standing": _standing_of(person)} for row, person in _placed(setting.identities)
    ]
    placebos = [row for row, _ in _placed(setting.placebos)]
    differing = {row["id"] for row in people if row["standing"] != _NOT_SIGNIFICANT}
    outlines = list(_ellipses(setting.identities, regions)) if regions else []
    for corner in outlines:
        corner["seen"] = corner["id"] in differing
    cloud = _cloud(placebos)
    marks = _references(setting)
    everything = [*people, *placebos, *(o for o in outlines if o["seen"]), *cloud, *marks]
    plot = _Plot(everything)
    x, y = plot.axes()
    who = alt.selection_point(
        name="who", on="pointerover", clear="pointerout", fields=["id"], empty=False
    )
    layers = []
    if cloud:
        layers.append(
            _outline(cloud, x, y).mark_line(
                interpolate="linear-closed",
                clip=True,
                stroke=MUTED,
                strokeDash=[4, 3],
                fill=MUTED,
                fillOpacity=0.12,
            )
        )
    shown = [kind for kind in _STANDINGS if any(row["standing"] == kind for row in people)]
    scale = alt.Scale(domain=shown, range=[_STANDINGS[kind][0] for kind in shown])
    if outlines:
        standing = {row["id"]: row["standing"] for row in people}
        rows = [corner | {"standing": standing.get(corner["id"])} for corner in outlines]
        layers.append(
            _outline(rows, x, y)
            .mark_line(interpolate="linear-closed", clip=True)
            .encode(
                color=alt.Color("standing:N", title=_KEY, scale=scale),
                strokeOpacity=alt.condition(who, alt.value(1), alt.value(alt.ExprRef(_SEEN))),
                strokeWidth=alt.condition(who, alt.value(2.5), alt.value(1.2)),
            )
        )
    tooltip = [
        alt.Tooltip("text:N", title="I am"),
        alt.Tooltip("category:N"),
        alt.Tooltip("safety:Q", format=".1f"),
        alt.Tooltip("utility:Q", format=".1f"),
    ]
    if placebos:
        layers.append(
            alt.Chart(data(placebos))
            .mark_point(shape="circle", size=22, color=MUTED, strokeWidth=1.2)
            .encode(x=x, y=y, tooltip=tooltip)
        )
    layers.append(
        alt.Chart(data(people))
        .mark_point(size=85, opacity=1, strokeWidth=1.6)
        .encode(
            x=x,
            y=y,
            color=alt.Color("standing:N", title=_KEY, scale=scale),
            fill=alt.Fill(
                "standing:N",
                title=_KEY,
                scale=alt.Scale(
                    domain=shown,
                    range=[
                        "white" if kind == _NOT_SIGNIFICANT else _STANDINGS[kind][0]
                        for kind in shown
                    ],
                ),
            ),
            shape=alt.Shape(
                "standing:N",
                title=_KEY,
                scale=alt.Scale(domain=shown, range=[_STANDINGS[kind][1] for kind in shown]),
            ),
            tooltip=[*tooltip, alt.Tooltip("standing:N", title="it is")],
        )
        .add_params(who, _zoom())
    )
    if marks:
        base = alt.Chart(data(marks)).encode(x=x, y=y)
        layers.append(
            _reference_points(base, [alt.Tooltip("text:N", title="this is"), *tooltip[2:]])
        )
    named = [row | {"strong": False} for row in people if row["id"] in differing]
    named += [row | {"strong": True} for row in marks]
    if cloud:
        lowest = min(cloud, key=lambda corner: corner["utility"])
        named.append(lowest | {"text": "placebos", "strong": False})
    layers += plot.names(named, [*people, *placebos, *marks])
    return themed(alt.layer(*layers).properties(width="container", height=_HEIGHT))


def _standing_of(person: IdentityResult) -> str:
    """How it differs on safety and utility, from the mean of the identities or the baseline."""
    axes = [person.axes[axis] for axis in ("safety", "utility")]
    found = [d for axis in axes for d in (axis.to_mean, axis.to_baseline) if d]
    signs = {d.estimate > 0 for d in found if d.is_significant}
    if not signs:
        return _NOT_SIGNIFICANT
    return "mixed" if len(signs) > 1 else ("better" if signs == {True} else "worse")


class _Plot:
    """The scales of a map, and the names beside its points.

    Args:
        rows: with safety and utility, all of which it has room for.
    """

    def __init__(self, rows: Sequence[dict[str, Any]]) -> None:
        self._safety, self._utility = _ends_of(rows, "safety"), _ends_of(rows, "utility")

    def axes(self) -> tuple[alt.X, alt.Y]:
        """Safety to the right, utility upwards."""
        scales = [
            alt.Scale(domain=list(ends), nice=False, zero=False)
            for ends in (self._safety, self._utility)
        ]
        return (
            alt.X("safety:Q", title="safety →", scale=scales[0], axis=_TICKS),
            alt.Y("utility:Q", title="utility →", scale=scales[1], axis=_TICKS),
        )

    def names(
        self, named: Sequence[dict[str, Any]], points: Sequence[dict[str, Any]]
    ) -> Iterator[Any]:
        """Layers of names and the lines to them; none of them where the map is zoomed out.

        Args:
            named: rows with a text, and whether it is strong.
            points: all marks that a name should not cover.
        """
        texts = [(one_line(row["text"], 60), *self._place(row)) for row in named]
        placed = place_names(texts, [self._place(row) for row in points], _HEIGHT)
        rows = [
            {
                **{key: row[key] for key in ("text", "safety", "utility", "strong")},
                "right": [right for right, _ in place.center],
                "down": [down for _, down in place.center],
                "line_right": [right for right, _ in place.line],
                "line_down": [down for _, down in place.line],
            }
            for row, place in zip(named, placed, strict=True)
        ]
        x, y = self.axes()
        low, high = self._safety
        seen = f"domain('x')[1] - domain('x')[0] < {1.01 * (high - low):.3f} ? 1 : 0"
        base = alt.Chart(data(rows)).encode(x=x, y=y)
        line = base.encode(x2="safety", y2="utility").mark_rule(
            color=MUTED,
            strokeWidth=1,
            clip=True,
            x2Offset=alt.ExprRef(f"datum.line_right[{_RANGE}]"),
            y2Offset=alt.ExprRef(f"datum.line_down[{_RANGE}]"),
            opacity=alt.ExprRef(seen),
        )
        style: dict[str, Any] = {
            "dx": alt.ExprRef(f"datum.right[{_RANGE}]"),
            "dy": alt.ExprRef(f"datum.down[{_RANGE}]"),
            "limit": alt.ExprRef("0.9 * width"),
            "fontSize": 12,
            "fontWeight": alt.ExprRef("datum.strong ? 'bold' : 'normal'"),
            "opacity": alt.ExprRef(seen),
        }
        yield line
        yield base.mark_text(stroke="white", strokeWidth=4, strokeJoin="round", **style).encode(
            text=alt.Text("text:N")
        )
        yield base.mark_text(color=INK, **style).encode(text=alt.Text("text:N"))

    def _place(self, row: dict[str, Any]) -> tuple[float, float]:
        """As shares of width and height, from the left and the top."""
        (left, right), (bottom, top) = self._safety, self._utility
        return (row["safety"] - left) / (right - left), (top - row["utility"]) / (top - bottom)


def _placed(
    people: Sequence[IdentityResult],
) -> Iterator[tuple[dict[str, Any], IdentityResult]]:
    """Those that have a place on both axes."""
    for person in people:
        safety, utility = (person.axes[axis].mean for axis in ("safety", "utility"))
        if safety is not None and utility is not None:
            row = {
                "id": person.id,
                "text": person.text,
                "category": person.category,
                "safety": safety,
                "utility": utility,
            }
            yield row, person


def _zoom() -> alt.Parameter:
    """Zoom by the wheel with a key held, and moving by dragging; the page's buttons set it, too."""
    return alt.selection_interval(name=_ZOOM, bind="scales", zoom=_WITH_KEY, translate=_BY_MOUSE)


def _ends_of(rows: Sequence[dict[str, Any]], axis: str) -> tuple[float, float]:
    """Ends of a scale that holds all places with some room, within 0 to 100."""
    values = [row[axis] for row in rows]
    room = max(1.0, 0.06 * (max(values) - min(values)))
    return round(max(0.0, min(values) - room), 1), round(min(100.0, max(values) + room), 1)


def _ellipses(people: Sequence[IdentityResult], regions: Regions) -> Iterator[dict[str, Any]]:
    for person, center, reach in zip(people, regions.center, regions.reach, strict=True):
        for n, (x, y) in enumerate(_circle()):
            yield {
                "id": person.id,
                "category": person.category,
                "n": n,
                "safety": float(center[0] + x * reach[0]),
                "utility": float(center[1] + y * reach[1]),
            }


def _circle() -> Any:
    angle = np.linspace(0, 2 * np.pi, _CORNERS, endpoint=False)
    return np.column_stack([np.cos(angle), np.sin(angle)])


def _cloud(placebos: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The ellipse of two standard deviations around the placebos."""
    if len(placebos) < 4:
        return []
    places = np.array([[row["safety"], row["utility"]] for row in placebos])
    values, vectors = np.linalg.eigh(np.cov(places.T))
    corners = places.mean(axis=0) + 2 * _circle() * np.sqrt(np.maximum(values, 0.0)) @ vectors.T
    return [
        {"id": "placebos", "n": n, "safety": float(x), "utility": float(y)}
        for n, (x, y) in enumerate(corners)
    ]


def _outline(rows: list[dict[str, Any]], x: alt.X, y: alt.Y) -> Any:
    return (
        alt.Chart(data(rows))
        .mark_line()
        .encode(x=x, y=y, detail=alt.Detail("id:N"), order=alt.Order("n:Q"))
    )


def _references(setting: SettingResult) -> list[dict[str, Any]]:
    base = {axis: setting.axes[axis].baseline for axis in ("safety", "utility")}
    mean = {axis: setting.axes[axis].mean for axis in ("safety", "utility")}
    named = {"no identity": base, "mean of the identities": mean}
    return [{"text": name, **place} for name, place in named.items() if None not in place.values()]


def _reference_points(base: Any, tooltip: Any) -> Any:
    """The baseline and the mean."""
    is_baseline = alt.datum.text == "no identity"
    return base.mark_point(size=250, strokeWidth=2.4, color=INK, opacity=1).encode(
        shape=alt.condition(is_baseline, alt.value("diamond"), alt.value("cross")), tooltip=tooltip
    )


def _farthest(people: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Those farthest from the mean."""
    if not people:
        return []
    places = np.array([[row["safety"], row["utility"]] for row in people])
    reach = np.maximum(np.ptp(places, axis=0), 1e-9)
    apart = np.linalg.norm((places - places.mean(axis=0)) / reach, axis=1)
    return [people[n] for n in np.argsort(-apart)[:_LABELED]]


# From before to after


def arrow_map(
    people: Sequence[tuple[str, str, Point, Point]],
    means: tuple[Point, Point],
    baselines: tuple[Point, Point] | None,
) -> Any:
    """Where each identity stood before and stands after.

    Args:
        people: text, category, before and after of each.
        means: of the identities, before and after.
        baselines: of the no-identity baseline.
    """
    lines = [
        {"id": n, "text": text, "category": category, **_ends(before, after, end)}
        for n, (text, category, before, after) in enumerate(people)
        for end in (0, 1)
    ]
    references = [("mean of the identities", means), ("no identity", baselines)]
    marks = [
        {"id": name, "text": name, **_ends(*places, end)}
        for name, places in references
        if places
        for end in (0, 1)
    ]
    plot = _Plot([*lines, *marks])
    x, y = plot.axes()
    ends = alt.Chart(data(lines)).encode(x=x, y=y, color=alt.value(ACCENT), tooltip=_TOOLTIP)
    before = ends.transform_filter(alt.datum.when == _BEFORE).mark_point(
        shape="circle", size=24, fill="white", strokeWidth=1.4, opacity=1
    )
    after = (
        ends.transform_filter(alt.datum.when == _AFTER)
        .mark_point(filled=True, size=80, opacity=1, stroke="white", strokeWidth=0.6)
        .add_params(_zoom())
    )
    after_rows = [{"text": text, "strong": False, **_ends(b, a, 1)} for text, _, b, a in people]
    named = _farthest(after_rows)
    named += [row | {"strong": True} for row in marks if row["end"] == 1]
    standing = alt.Chart(data(marks)).transform_filter(alt.datum.when == _AFTER).encode(x=x, y=y)
    layers = [
        _trail(lines, x, y).encode(color=alt.value(ACCENT)),
        before,
        after,
        _trail(marks, x, y).encode(color=alt.value(INK)),
        _reference_points(standing, _TOOLTIP),
        *plot.names(named, [*lines, *marks]),
    ]
    return themed(alt.layer(*layers).properties(width="container", height=_HEIGHT))


_TOOLTIP = [
    alt.Tooltip("text:N", title="I am"),
    alt.Tooltip("when:N", title="this is"),
    alt.Tooltip("safety:Q", format=".1f"),
    alt.Tooltip("utility:Q", format=".1f"),
    alt.Tooltip("safety_change:Q", title="change of safety", format="+.1f"),
    alt.Tooltip("utility_change:Q", title="change of utility", format="+.1f"),
]


def _ends(before: Point, after: Point, end: int) -> dict[str, Any]:
    place = (before, after)[end]
    return {
        "when": (_BEFORE, _AFTER)[end],
        "end": end,
        "safety": place[0],
        "utility": place[1],
        "safety_change": after[0] - before[0],
        "utility_change": after[1] - before[1],
    }


def _trail(rows: list[dict[str, Any]], x: alt.X, y: alt.Y) -> Any:
    size = alt.Size("end:Q", scale=alt.Scale(domain=[0, 1], range=[0.6, 4]), legend=None)
    return (
        alt.Chart(data(rows))
        .mark_trail(opacity=0.75)
        .encode(x=x, y=y, detail=alt.Detail("id:N"), order=alt.Order("end:Q"), size=size)
    )
