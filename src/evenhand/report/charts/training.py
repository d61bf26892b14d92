"""Curves of a preference training."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import altair as alt

from evenhand.report.charts.style import ACCENT, data, themed


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
