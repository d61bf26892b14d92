"""Changes with their intervals, beside 0 and the margin: of PB, and of the means."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import altair as alt

from evenhand.report.charts.style import BETTER, FIT_WIDTH, INK, MUTED, WORSE, data, themed
from evenhand.report.charts.trade_off import TICKS

_STANDINGS = {
    "better": (BETTER, "triangle-up"),
    "worse": (WORSE, "triangle-down"),
    "not told from none": (MUTED, "circle"),
}


@dataclass(frozen=True)
class Change:
    """One row of the chart.

    Attributes:
        name: what changed, and on which side.
        difference: after less before, in points.
        interval: of the difference.
        standing: "better", "worse" or "not told from none".
        limit: the largest loss that would be accepted, with its sign; None where there is none.
    """

    name: str
    difference: float
    interval: tuple[float, float]
    standing: str
    limit: float | None = None


def change_chart(rows: Sequence[Change], title: str) -> Any:
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
    zero = alt.Chart(data([{"zero": 0.0}])).mark_rule(color=INK).encode(x="zero:Q")
    interval = base.mark_rule(strokeWidth=2.5).encode(
        x=alt.X("low:Q", title=title, scale=_scale(rows), axis=TICKS), x2="high:Q", color=color
    )
    point = base.mark_point(filled=True, size=90, opacity=1).encode(
        x="difference:Q",
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
        layers.append(limit.encode(x="limit:Q"))
    return themed(
        alt.layer(*layers).properties(width="container", autosize=FIT_WIDTH, height=28 * len(rows))
    )


def _scale(rows: Sequence[Change]) -> alt.Scale:
    """Room for all intervals, for 0 and for what would be accepted."""
    ends = [0.0, *(end for row in rows for end in row.interval)]
    ends += [row.limit for row in rows if row.limit is not None]
    room = 0.04 * (max(ends) - min(ends)) or 1.0
    domain = [round(min(ends) - room, 2), round(max(ends) + room, 2)]
    return alt.Scale(domain=domain, nice=False)
