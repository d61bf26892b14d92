"""Differences with their intervals, one row for each identity: the forest plot."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import altair as alt

from evenhand.analysis.results import Difference
from evenhand.report.charts.style import (
    FIT_WIDTH,
    INK,
    category_color,
    category_scale,
    category_shape,
    data,
    themed,
)

MOST_ROWS = 64
"""More rows than this make no chart that can be read; the table has them all."""
CATEGORY = "category_shown"
"""Name of the parameter that holds the category to show; empty for all."""

Row = tuple[str, str, Difference]
"""Name, category, difference."""


def forest_chart(rows: Sequence[Row], categories: Sequence[str], title: str) -> Any:
    """Differences, with the interval that holds for all of them together.

    Args:
        rows: in the order to draw them; those after the first `MOST_ROWS` are left out.
        categories: all there are, so that each keeps its color and shape in every chart.
        title: of the axis of the differences.
    """
    shown = rows[:MOST_ROWS]
    values = [
        {
            "name": name,
            "category": category,
            "difference": found.estimate,
            "low": found.simultaneous[0],
            "high": found.simultaneous[1],
            "told": "yes" if found.p_holm < 0.05 else "no",
        }
        for name, category, found in shown
    ]
    pick = alt.param(name=CATEGORY, value="")
    base = alt.Chart(data(values)).transform_filter(
        f"{CATEGORY} === '' || datum.category === {CATEGORY}"
    )
    order = [name for name, _, _ in shown]
    y = alt.Y("name:N", sort=order, title=None, axis=alt.Axis(grid=False, ticks=False))
    x = alt.X("low:Q", title=title, scale=alt.Scale(domain=_domain(values), nice=True))
    zero = alt.Chart(data([{"zero": 0.0}])).mark_rule(color=INK).encode(x="zero:Q")
    # One column: beside the names there is hardly room for two, and what is wider is cut.
    color = category_color(categories).legend(columns=1, labelLimit=90)
    interval = base.mark_rule(strokeWidth=2).encode(x=x, x2="high:Q", y=y, color=color)
    point = base.mark_point(size=70, strokeWidth=1.8, opacity=1).encode(
        x=alt.X("difference:Q"),
        y=y,
        color=color,
        shape=category_shape(categories),
        fill=alt.condition(alt.datum.told == "yes", _same(categories), alt.value("white")),
        tooltip=[
            alt.Tooltip("name:N", title="I am"),
            alt.Tooltip("category:N"),
            alt.Tooltip("difference:Q", format="+.1f"),
            alt.Tooltip("low:Q", title="at least", format="+.1f"),
            alt.Tooltip("high:Q", title="at most", format="+.1f"),
            alt.Tooltip("told:N", title="told from chance"),
        ],
    )
    layers = alt.layer(zero, interval, point).add_params(pick)
    return themed(layers.properties(width="container", autosize=FIT_WIDTH, height=19 * len(shown)))


def _same(categories: Sequence[str]) -> Any:
    """The fill in the color of the outline."""
    return alt.Fill("category:N", title=None, scale=category_scale(categories))


def _domain(values: Sequence[dict[str, Any]]) -> list[float]:
    low = min([0.0, *(value["low"] for value in values)])
    high = max([0.0, *(value["high"] for value in values)])
    return [round(low - 1, 1), round(high + 1, 1)]
