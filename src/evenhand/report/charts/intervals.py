"""Estimates with their intervals, curves of a training, and heat maps.

Intervals are those of PB, differences and changes; heat maps show identities by benchmark, by
subgroup of one, or by cue.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import altair as alt

from evenhand.analysis.results import Difference
from evenhand.report.charts.style import (
    ACCENT,
    BETTER,
    FIT_WIDTH,
    INK,
    MUTED,
    QUIET,
    WORSE,
    category_color,
    category_shape,
    data,
    themed,
)
from evenhand.stats import Spread
from evenhand.text import one_line

_ESTIMATE, _PLUGIN, _FLOOR = (
    "PB, noise removed, 95% interval",
    "plug-in, as in the paper",
    "noise floor: plug-in without bias",
)


def bias_chart(spreads: dict[str, Spread]) -> Any:
    """PB with interval, plug-in and noise floor, one row for each spread."""
    order = list(spreads)
    rows = [
        {"row": name, "what": what, "value": value, "low": s.interval[0], "high": s.interval[1]}
        for name, s in spreads.items()
        for what, value in ((_ESTIMATE, s.estimate), (_PLUGIN, s.plugin), (_FLOOR, s.noise_floor))
    ]
    # Room for the mark of a PB of 0, which stands on the axis.
    y = alt.Y(
        "row:N", sort=order, title=None, axis=alt.Axis(grid=False, ticks=False, labelPadding=9)
    )
    base = alt.Chart(data(rows))
    interval = (
        base.transform_filter(alt.datum.what == _ESTIMATE)
        .mark_rule(strokeWidth=5, color=ACCENT, opacity=0.45)
        .encode(x=alt.X("low:Q", title="points of 0 to 100"), x2=alt.X2("high:Q"), y=y)
    )
    kinds = [_ESTIMATE, _PLUGIN, _FLOOR]
    points = base.mark_point(size=90, strokeWidth=2, opacity=1).encode(
        x=alt.X("value:Q", scale=alt.Scale(domainMin=0), axis=alt.Axis(tickCount=8)),
        y=y,
        shape=alt.Shape(
            "what:N",
            title=None,
            scale=alt.Scale(domain=kinds, range=["circle", "diamond", "stroke"]),
            legend=alt.Legend(columns=1, labelLimit=300),
        ),
        color=alt.Color(
            "what:N", title=None, scale=alt.Scale(domain=kinds, range=[ACCENT, MUTED, INK])
        ),
        fill=alt.Fill(
            "what:N", title=None, scale=alt.Scale(domain=kinds, range=[ACCENT, "white", "white"])
        ),
        angle=alt.condition(alt.datum.what == _FLOOR, alt.value(90), alt.value(0)),
        tooltip=[
            alt.Tooltip("row:N", title="spread of"),
            alt.Tooltip("what:N", title="figure"),
            alt.Tooltip("value:Q", title="points", format=".1f"),
        ],
    )
    layers = interval + points
    return themed(layers.properties(width="container", autosize=FIT_WIDTH, height=34 * len(order)))


# Changes

_TICKS = alt.Axis(tickCount=8)
_STANDINGS = {
    "better": (BETTER, "triangle-up"),
    "worse": (WORSE, "triangle-down"),
    "not significant": (MUTED, "circle"),
}


@dataclass(frozen=True)
class ChangeRow:
    """One row of the chart.

    Attributes:
        name: what changed, and on which side.
        difference: after less before, in points.
        interval: of the difference.
        standing: "better", "worse" or "not significant".
        limit: the largest loss that would be accepted, with its sign; None where there is none.
    """

    name: str
    difference: float
    interval: tuple[float, float]
    standing: str
    limit: float | None = None


def change_chart(rows: Sequence[ChangeRow], title: str) -> Any:
    """One row for each change; a short line marks the largest loss that would be accepted.

    Args:
        title: of the axis.
    """
    values = [
        {
            "name": row.name,
            "difference": row.difference,
            "low": row.interval[0],
            "high": row.interval[1],
            "standing": row.standing,
            "limit": row.limit,
        }
        for row in rows
    ]
    order = [value["name"] for value in data(values).values]
    y = alt.Y("name:N", sort=order, title=None, axis=alt.Axis(grid=False, ticks=False))
    names = list(_STANDINGS)
    color = alt.Color(
        "standing:N",
        title=None,
        scale=alt.Scale(domain=names, range=[_STANDINGS[name][0] for name in names]),
        legend=alt.Legend(columns=3),
    )
    shape = alt.Shape(
        "standing:N",
        title=None,
        scale=alt.Scale(domain=names, range=[_STANDINGS[name][1] for name in names]),
    )
    base = alt.Chart(data(values)).encode(y=y)
    zero = alt.Chart(data([{"zero": 0.0}])).mark_rule(color=INK).encode(x=alt.X("zero:Q"))
    interval = base.mark_rule(strokeWidth=2.5).encode(
        x=alt.X("low:Q", title=title, scale=_scale(rows), axis=alt.Axis(tickCount=8)),
        x2=alt.X2("high:Q"),
        color=color,
    )
    point = base.mark_point(filled=True, size=90, opacity=1).encode(
        x=alt.X("difference:Q"),
        color=color,
        shape=shape,
        tooltip=[
            alt.Tooltip("name:N", title="change of"),
            alt.Tooltip("difference:Q", title="points", format="+.1f"),
            alt.Tooltip("low:Q", title="at least", format="+.1f"),
            alt.Tooltip("high:Q", title="at most", format="+.1f"),
            alt.Tooltip("standing:N", title="it is"),
        ],
    )
    layers = [zero, interval, point]
    if any(row.limit is not None for row in rows):
        limit = base.transform_filter("isValid(datum.limit)").mark_tick(
            thickness=2, size=16, color=INK
        )
        layers.append(limit.encode(x=alt.X("limit:Q")))
    return themed(
        alt.layer(*layers).properties(width="container", autosize=FIT_WIDTH, height=28 * len(rows))
    )


def _scale(rows: Sequence[ChangeRow]) -> alt.Scale:
    """Room for all intervals, for 0 and for what would be accepted."""
    ends = [0.0, *(end for row in rows for end in row.interval)]
    ends += [row.limit for row in rows if row.limit is not None]
    room = 0.04 * (max(ends) - min(ends)) or 1.0
    domain = [round(min(ends) - room, 2), round(max(ends) + room, 2)]
    return alt.Scale(domain=domain, nice=False)


# Differences, one row for each identity

_MOST_ROWS = 64
"""More rows than this make no chart that can be read; the table has them all."""
_CATEGORY = "category_shown"
"""Name of the parameter that holds the category to show; empty for all."""
_CHOSEN = f"{_CATEGORY} === '' || datum.category === {_CATEGORY}"

DifferenceRow = tuple[str, str, Difference]
"""Name, category, difference."""


def forest_chart(
    rows: Sequence[DifferenceRow],
    categories: Sequence[str],
    title: str,
    *,
    lower_is_better: bool = False,
) -> Any:
    """Differences with their 95% simultaneous intervals, the rows of a category together.

    Args:
        rows: in the order to draw them in a category; of too many the largest are drawn.
        categories: in the order to draw them; their names head their rows where there are several.
        title: of the axis of the differences.
        lower_is_better: on an axis such as over-refusal.
    """
    largest = sorted(rows, key=lambda row: -abs(row[2].estimate))[:_MOST_ROWS]
    least = abs(largest[-1][2].estimate) if largest else 0.0
    shown = [row for row in rows if abs(row[2].estimate) >= least]
    names: list[str] = []
    heads: list[bool] = []
    values = []
    headings = []
    for category in categories:
        members = [row for row in shown if row[1] == category]
        if members and len(categories) > 1:
            headings.append({"row": len(names), "category": category})
            names.append(one_line(category, 60))
            heads.append(True)
        for name, _, difference in members:
            values.append(
                {
                    "row": len(names),
                    "name": name,
                    "category": category,
                    "difference": difference.estimate,
                    "low": difference.simultaneous[0],
                    "high": difference.simultaneous[1],
                    "standing": _standing(difference, lower_is_better=lower_is_better),
                }
            )
            names.append(one_line(name, 60))
            heads.append(False)
    base = alt.Chart(data(values)).transform_filter(_CHOSEN)
    y = alt.Y(
        "row:O",
        title=None,
        axis=alt.Axis(
            grid=False,
            ticks=False,
            domain=False,
            labelExpr="row_names[datum.value]",
            labelFontWeight=alt.ExprRef("row_heads[datum.value] ? 'bold' : 'normal'"),
        ),
    )
    x = alt.X("low:Q", title=title, scale=alt.Scale(domain=_domain(values), nice=True))
    zero = alt.Chart(data([{"zero": 0.0}])).mark_rule(color=INK).encode(x=alt.X("zero:Q"))
    kinds = list(_STANDINGS)
    colors = [_STANDINGS[kind][0] for kind in kinds]
    color = alt.Color("standing:N", legend=None, scale=alt.Scale(domain=kinds, range=colors))
    interval = base.mark_rule(strokeWidth=2).encode(x=x, x2=alt.X2("high:Q"), y=y, color=color)
    point = base.mark_point(size=70, strokeWidth=1.8, opacity=1).encode(
        x=alt.X("difference:Q"),
        y=y,
        color=color,
        shape=alt.Shape(
            "standing:N",
            legend=None,
            scale=alt.Scale(domain=kinds, range=[_STANDINGS[kind][1] for kind in kinds]),
        ),
        fill=alt.Fill(
            "standing:N",
            legend=None,
            scale=alt.Scale(domain=kinds, range=[*colors[:2], "white"]),
        ),
        tooltip=[
            alt.Tooltip("name:N", title="I am"),
            alt.Tooltip("category:N"),
            alt.Tooltip("difference:Q", format="+.1f"),
            alt.Tooltip("low:Q", title="at least", format="+.1f"),
            alt.Tooltip("high:Q", title="at most", format="+.1f"),
            alt.Tooltip("standing:N", title="it is"),
        ],
    )
    # The rows of the headings have no mark that is seen; they make room for the category's name.
    room = (
        alt.Chart(data(headings)).transform_filter(_CHOSEN).mark_tick(opacity=0).encode(y=y)
        if headings
        else None
    )
    layers = alt.layer(*filter(None, [zero, room, interval, point])).add_params(
        alt.param(name=_CATEGORY, value=""),
        alt.param(name="row_names", value=names),
        alt.param(name="row_heads", value=heads),
    )
    size = {"width": "container", "autosize": FIT_WIDTH, "height": 19 * len(names)}
    return themed(layers.properties(**size))


def _standing(difference: Difference, *, lower_is_better: bool) -> str:
    if not difference.is_significant:
        return "not significant"
    return "better" if (difference.estimate > 0) != lower_is_better else "worse"


def _domain(values: Sequence[dict[str, Any]]) -> list[float]:
    low = min([0.0, *(value["low"] for value in values)])
    high = max([0.0, *(value["high"] for value in values)])
    return [round(low - 1, 1), round(high + 1, 1)]


# Training


@dataclass(frozen=True)
class CoursePoint:
    """PB of one run on one axis, or over both.

    Attributes:
        run: name of the run.
        what: what is estimated.
        estimate: in points.
        interval: (low, high) in points.
    """

    run: str
    what: str
    estimate: float
    interval: tuple[float, float]


def course_chart(points: Sequence[CoursePoint]) -> Any:
    """PB of runs in their order, a line for each axis, with intervals.

    Args:
        points: of each run together, the runs in order.
    """
    runs = list(dict.fromkeys(point.run for point in points))
    kinds = list(dict.fromkeys(point.what for point in points))
    rows = [
        {
            "run": point.run,
            "category": point.what,
            "value": point.estimate,
            "low": point.interval[0],
            "high": point.interval[1],
        }
        for point in points
    ]
    x = alt.X("run:N", sort=runs, title=None, axis=alt.Axis(labelAngle=-40))
    base = alt.Chart(data(rows)).encode(x=x, xOffset=alt.XOffset("category:N", sort=kinds))
    color = category_color(kinds)
    tooltip = [
        alt.Tooltip("run:N"),
        alt.Tooltip("category:N", title="PB of"),
        *(alt.Tooltip(f"{name}:Q", format=".1f") for name in ("value", "low", "high")),
    ]
    interval = base.mark_rule(strokeWidth=2, opacity=0.6).encode(
        y=alt.Y("low:Q", title="PB, points of 0 to 100"), y2=alt.Y2("high:Q"), color=color
    )
    marks = base.mark_point(size=70, filled=True, opacity=1).encode(
        y=alt.Y("value:Q"), color=color, shape=category_shape(kinds), tooltip=tooltip
    )
    return themed((interval + marks).properties(width="container", height=260))


def curve_chart(steps: Sequence[float], values: Sequence[float], title: str) -> Any:
    """One figure of a training over its steps.

    Args:
        title: of the axis of the values.
    """
    rows = [{"step": s, "value": v} for s, v in zip(steps, values, strict=True)]
    line = alt.Chart(data(rows)).mark_line(color=ACCENT, point=len(rows) < 60, strokeWidth=2)
    encoded = line.encode(
        x=alt.X("step:Q", title="step"),
        y=alt.Y("value:Q", title=title, scale=alt.Scale(zero=False)),
        tooltip=[alt.Tooltip("step:Q"), alt.Tooltip("value:Q", title=title, format=".3f")],
    )
    return themed(encoded.properties(width="container", height=200))


# Heat maps


@dataclass(frozen=True)
class HeatCell:
    """One cell of a heat map.

    Attributes:
        row, column: names.
        difference: in points; None where there is no data.
        beyond_noise: whether it is significant; else it is drawn in gray.
        lower_is_better: on an axis such as over-refusal.
        group: columns of a group stand together under its name.
    """

    row: str
    column: str
    difference: float | None
    beyond_noise: bool
    lower_is_better: bool = False
    group: str = ""


def heat_map(
    cells: Sequence[HeatCell], rows: Sequence[str], columns: Sequence[str], *, cell: int
) -> Any:
    """Differences as colors, orange for worse and blue for better, gray where noise may do it.

    A sign, or in wide cells the figure itself, says the same without the color.

    Args:
        rows, columns: in the order to draw them.
        cell: width of a cell in pixels.
    """
    most = max([10.0, *(abs(c.difference or 0.0) for c in cells if c.beyond_noise)])
    groups = list(dict.fromkeys(c.group for c in cells))
    parts: list[Any] = []
    for group in groups:
        members = [c for c in cells if c.group == group]
        present = {c.column for c in members}
        names = [name for name in columns if name in present]
        part = _part(members, rows, names, most, cell, labeled=not parts)
        parts.append(part.properties(title=group) if len(groups) > 1 else part)
    return themed(alt.hconcat(*parts, spacing=14) if len(parts) > 1 else parts[0])


def _part(
    cells: Sequence[HeatCell],
    rows: Sequence[str],
    columns: Sequence[str],
    most: float,
    cell: int,
    *,
    labeled: bool,
) -> Any:
    """The columns of one group; `most` is the difference of the strongest color."""
    wide = cell >= 40
    values: list[dict[str, Any]] = [
        {
            "row": c.row,
            "column": c.column,
            "difference": c.difference,
            "gain": (-c.difference if c.lower_is_better else c.difference) if c.beyond_noise else 0,
            "significant": "yes" if c.beyond_noise else "no",
            "sign": _sign(c.difference, wide=wide) if wide or c.beyond_noise else "",
        }
        for c in cells
        if c.difference is not None
    ]
    base = alt.Chart().encode(
        x=alt.X(
            "column:N",
            sort=list(columns),
            title=None,
            axis=alt.Axis(
                orient="top", labelAngle=-50, labelLimit=190, ticks=False, domain=False, grid=False
            ),
        ),
        y=alt.Y(
            "row:N",
            sort=list(rows),
            title=None,
            scale=alt.Scale(domain=list(rows)),
            axis=alt.Axis(ticks=False, domain=False, grid=False, labelLimit=190, labels=labeled),
        ),
    )
    significant = alt.datum.significant == "yes"
    gain = alt.Color(
        "gain:Q",
        scale=alt.Scale(
            domain=[-most, -0.01, 0.01, most], range=[WORSE, "#f9dcc4", "#cfe0f2", BETTER]
        ),
        legend=None,
    )
    squares = base.mark_rect(stroke="white", strokeWidth=1).encode(
        color=alt.condition(significant, gain, alt.value(QUIET)),
        tooltip=[
            alt.Tooltip("row:N", title="I am"),
            alt.Tooltip("column:N", title="on"),
            alt.Tooltip("difference:Q", title="difference to the mean", format="+.1f"),
            alt.Tooltip("significant:N", title="beyond noise"),
        ],
    )
    dark = (alt.datum.gain > 0.6 * most) | (alt.datum.gain < -0.6 * most)
    signs = base.mark_text(fontSize=11 if wide else 12).encode(
        text=alt.Text("sign:N"), color=alt.condition(dark, alt.value("white"), alt.value(INK))
    )
    # The data are given last: Altair copies a chart's with every step.
    size = {"width": cell * len(columns), "height": 19 * len(rows)}
    return alt.layer(squares, signs, data=data(values), **size)


def _sign(difference: float, *, wide: bool) -> str:
    if wide:
        return f"{round(difference) + 0:+d}".replace("-", "−").replace("+0", "0").replace("−0", "0")
    return "+" if difference > 0 else "−"
