"""The headline as a chart: PB on each axis beside the noise floor and the placebos."""

from __future__ import annotations

from typing import Any

import altair as alt

from evenhand.analysis.results import SettingResult
from evenhand.axes import AXES
from evenhand.report.charts.style import ACCENT, FIT_WIDTH, INK, MUTED, data, themed
from evenhand.stats import Spread

_ESTIMATE, _PLUGIN, _FLOOR = (
    "PB without noise, 95 % interval",
    "as in the paper, with noise",
    "noise floor: that without any bias",
)


def named_spreads(setting: SettingResult) -> dict[str, Spread]:
    """What the headline shows, from top to bottom."""
    found = {
        "both axes": setting.pb,
        **{AXES[name].label: axis.pb for name, axis in setting.axes.items()},
        "placebos": setting.placebo_pb,
    }
    return {name: spread for name, spread in found.items() if spread}


def bias_chart(spreads: dict[str, Spread]) -> Any:
    """PB with interval, plug-in and noise floor, one row for each spread."""
    order = list(spreads)
    rows = [
        {"row": name, "what": what, "value": value, "low": s.interval[0], "high": s.interval[1]}
        for name, s in spreads.items()
        for what, value in (
            (_ESTIMATE, s.estimate),
            (_PLUGIN, s.plugin),
            (_FLOOR, s.noise_floor),
        )
    ]
    y = alt.Y("row:N", sort=order, title=None, axis=alt.Axis(grid=False, ticks=False))
    base = alt.Chart(data(rows))
    interval = (
        base.transform_filter(alt.datum.what == _ESTIMATE)
        .mark_rule(strokeWidth=5, color=ACCENT, opacity=0.45)
        .encode(x=alt.X("low:Q", title="points of 0 to 100"), x2="high:Q", y=y)
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
