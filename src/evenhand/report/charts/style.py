"""What all charts share: colors, sizes, and the theme. The page turns them for a dark screen."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import altair as alt
from altair.utils.schemapi import debug_mode

from evenhand.text import one_line

INK, MUTED, RULE = "#1c2430", "#5a6472", "#d5dae1"
ACCENT = "#1b5e9e"
WORSE, BETTER, QUIET = "#a63d00", "#1b5e9e", "#eceef1"
_COLORS = (ACCENT, WORSE, "#7b3fa0", MUTED)
"""Those that the page can turn for a dark screen."""
_SHAPES = ("circle", "square", "diamond", "triangle-up", "triangle-down", "cross")
FIT_WIDTH = alt.AutoSizeParams(type="fit-x", contains="padding")
"""For charts whose height follows from their rows."""
_FONT = 'system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif'


def themed(chart: Any) -> Any:
    """The chart with our theme; the last step for every chart."""
    return chart.configure(  # at once: each further call would copy the whole chart
        font=_FONT,
        background="white",
        aria=False,
        view=alt.ViewConfig(stroke=None),
        axis=alt.AxisConfig(
            labelColor=INK,
            titleColor=INK,
            titleFontWeight="normal",
            labelFontSize=12,
            titleFontSize=12,
            gridColor="#e6e9ee",
            domainColor="#98a2b3",
            tickColor="#98a2b3",
            labelLimit=230,
        ),
        title=alt.TitleConfig(fontSize=12, fontWeight="normal", orient="bottom", color=INK),
        legend=alt.LegendConfig(
            labelColor=INK,
            titleColor=INK,
            titleFontWeight="normal",
            labelFontSize=12,
            titleFontSize=12,
            orient="top",
            direction="horizontal",
            columns=alt.ExprRef("width < 300 ? 2 : width < 480 ? 3 : 8"),
            symbolStrokeWidth=1.5,
            labelLimit=230,
        ),
    )


def data(rows: Iterable[dict[str, Any]]) -> alt.InlineData:
    """Rows as a chart's data: figures to two digits, strings in printable characters alone."""
    values = [{name: _plain(value) for name, value in row.items()} for row in rows]
    with debug_mode(False):  # to hold every row against Vega-Lite's schema takes seconds
        return _Rows(values=values)


class _Rows(alt.InlineData):
    """Data that no chart changes, so that copies of a chart share them."""

    def __deepcopy__(self, _memo: object = None) -> _Rows:
        return self


def _plain(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, 2) if math.isfinite(value) else None
    return one_line(value, 120) if isinstance(value, str) else value


def category_color(categories: Sequence[str]) -> alt.Color:
    """A color for each category; the shape beside it tells the same."""
    colors = [_COLORS[n % len(_COLORS)] for n in range(len(categories))]
    scale = alt.Scale(domain=list(categories), range=colors)
    return alt.Color("category:N", title=None, scale=scale)


def category_shape(categories: Sequence[str]) -> alt.Shape:
    """A shape for each category."""
    shapes = [_SHAPES[n % len(_SHAPES)] for n in range(len(categories))]
    scale = alt.Scale(domain=list(categories), range=shapes)
    return alt.Shape("category:N", title=None, scale=scale)
