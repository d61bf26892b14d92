"""From before to after on the trade-off map: a line for each identity that grows towards after."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import altair as alt

from evenhand.report.charts.style import INK, category_color, category_shape, data, themed
from evenhand.report.charts.trade_off import TICKS, axis_scale, farthest, labels, named, zoom

BEFORE, AFTER = "before", "after"

Place = tuple[float, float]
"""Safety and utility."""


def arrow_map(
    people: Sequence[tuple[str, str, Place, Place]],
    means: tuple[Place, Place],
    baselines: tuple[Place, Place] | None,
) -> Any:
    """Where each identity stood before and stands after.

    Args:
        people: text, category, before and after of each.
        means: of the identities, before and after.
        baselines: of the user of whom nothing is said.
    """
    categories = list(dict.fromkeys(category for _, category, _, _ in people))
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
    x = alt.X(
        "safety:Q", title="safety →", scale=axis_scale([*lines, *marks], "safety"), axis=TICKS
    )
    y = alt.Y(
        "utility:Q", title="utility →", scale=axis_scale([*lines, *marks], "utility"), axis=TICKS
    )
    color, shape = category_color(categories), category_shape(categories)
    ends = alt.Chart(data(lines)).encode(x=x, y=y, color=color, tooltip=_TOOLTIP)
    before = ends.transform_filter(alt.datum.when == BEFORE).mark_point(
        shape="circle", size=24, fill="white", strokeWidth=1.4, opacity=1
    )
    after = (
        ends.transform_filter(alt.datum.when == AFTER)
        .mark_point(filled=True, size=80, opacity=1, stroke="white", strokeWidth=0.6)
        .encode(shape=shape)
        .add_params(zoom())
    )
    named = [{"text": text, **_ends(b, a, 0)} for text, _, b, a in people]
    layers = [
        _trail(lines, x, y).encode(color=color),
        before,
        after,
        labels(farthest(named), x, y),
        _trail(marks, x, y).encode(color=alt.value(INK)),
        *_references(marks, x, y),
    ]
    return themed(alt.layer(*layers).properties(width="container", height=430))


_TOOLTIP = [
    alt.Tooltip("text:N", title="I am"),
    alt.Tooltip("when:N", title="this is"),
    alt.Tooltip("safety:Q", format=".1f"),
    alt.Tooltip("utility:Q", format=".1f"),
    alt.Tooltip("safety_change:Q", title="change of safety", format="+.1f"),
    alt.Tooltip("utility_change:Q", title="change of utility", format="+.1f"),
]


def _ends(before: Place, after: Place, end: int) -> dict[str, Any]:
    place = (before, after)[end]
    return {
        "when": (BEFORE, AFTER)[end],
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
        .encode(x=x, y=y, detail="id:N", order="end:Q", size=size)
    )


def _references(marks: list[dict[str, Any]], x: alt.X, y: alt.Y) -> list[Any]:
    after = alt.Chart(data(marks)).transform_filter(alt.datum.when == AFTER).encode(x=x, y=y)
    point = after.mark_point(size=240, strokeWidth=2.4, color=INK, opacity=1).encode(
        shape=alt.condition(
            alt.datum.id == "no identity", alt.value("diamond"), alt.value("cross")
        ),
        tooltip=_TOOLTIP,
    )
    return [point, named(after, "text:N", dy=-16, fontWeight="bold", fontSize=12)]
