"""Maps of safety and utility: where every identity stands, or from before to after."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import altair as alt
import numpy as np

from evenhand.analysis.results import IdentityResult, SettingResult
from evenhand.report.charts.style import INK, MUTED, category_color, category_shape, data, themed
from evenhand.stats import Regions

_CORNERS = 40
_LABELED = 6
_LINE = 0.07
"""Least distance of two names, as a share of the chart's height."""
_AT = "scale('x', datum.safety) / width"
_TO_THE_MIDDLE = f"{_AT} > 0.6 ? 'right' : {_AT} < 0.4 ? 'left' : 'center'"
_TICKS = alt.Axis(tickCount=8)
_BEFORE, _AFTER = "before", "after"
Point = tuple[float, float]
"""Safety and utility."""
_ZOOM = "zoom"
"""Name of the zoom's parameter: the page's buttons set it."""
_WITH_KEY = "wheel![event.ctrlKey || event.metaKey || event.shiftKey]"
_BY_MOUSE = "[pointerdown[event.pointerType === 'mouse'], window:pointerup] > window:pointermove!"


def trade_off_map(setting: SettingResult, regions: Regions | None) -> Any:
    """Identities as points in ellipses, the placebos' cloud, the baseline and the mean.

    Args:
        regions: of the setting's identities, in their order; None draws points alone.
    """
    people = _placed(setting.identities)
    placebos = _placed(setting.placebos)
    categories = list(dict.fromkeys(person["category"] for person in people))
    outlines = list(_ellipses(setting.identities, regions)) if regions else []
    cloud = _cloud(placebos)
    marks = _references(setting)
    everything = [*people, *placebos, *outlines, *cloud, *marks]
    x = alt.X("safety:Q", title="safety →", scale=_axis_scale(everything, "safety"), axis=_TICKS)
    y = alt.Y("utility:Q", title="utility →", scale=_axis_scale(everything, "utility"), axis=_TICKS)
    who = alt.selection_point(
        name="who", on="pointerover", clear="pointerout", fields=["id"], empty=False
    )
    layers = []
    if cloud:
        layers.append(
            _outline(cloud, x, y).mark_line(
                interpolate="linear-closed",
                stroke=MUTED,
                strokeDash=[4, 3],
                fill=MUTED,
                fillOpacity=0.12,
            )
        )
    if outlines:
        layers.append(
            _outline(outlines, x, y)
            .mark_line(interpolate="linear-closed", strokeWidth=1)
            .encode(
                color=category_color(categories),
                strokeOpacity=alt.condition(who, alt.value(1), alt.value(0.28)),
                strokeWidth=alt.condition(who, alt.value(2.5), alt.value(1)),
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
        .mark_point(filled=True, size=80, opacity=1, stroke="white", strokeWidth=0.6)
        .encode(
            x=x,
            y=y,
            color=category_color(categories),
            shape=category_shape(categories),
            tooltip=tooltip,
        )
        .add_params(who, _zoom())
    )
    layers.append(_labels(_farthest(people), x, y))
    if marks:
        base = alt.Chart(data(marks)).encode(x=x, y=y)
        layers += _reference_layers(base, [alt.Tooltip("text:N", title="this is"), *tooltip[2:]])
    return themed(alt.layer(*layers).properties(width="container", height=430))


def _placed(people: Sequence[IdentityResult]) -> list[dict[str, Any]]:
    """Those that have a place on both axes."""
    found = []
    for person in people:
        safety, utility = (person.axes[axis].mean for axis in ("safety", "utility"))
        if safety is not None and utility is not None:
            found.append(
                {
                    "id": person.id,
                    "text": person.text,
                    "category": person.category,
                    "safety": safety,
                    "utility": utility,
                }
            )
    return found


def _zoom() -> alt.Parameter:
    """Zoom by the wheel with a key held, and moving by dragging; the page's buttons set it, too."""
    return alt.selection_interval(name=_ZOOM, bind="scales", zoom=_WITH_KEY, translate=_BY_MOUSE)


def _axis_scale(rows: Sequence[dict[str, Any]], axis: str) -> alt.Scale:
    """A scale that holds all places with some room, within 0 to 100."""
    values = [row[axis] for row in rows]
    room = max(1.0, 0.06 * (max(values) - min(values)))
    low, high = max(0.0, min(values) - room), min(100.0, max(values) + room)
    return alt.Scale(domain=[round(low, 1), round(high, 1)], nice=False, zero=False)


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
    return alt.Chart(data(rows)).mark_line().encode(x=x, y=y, detail="id:N", order="n:Q")


def _references(setting: SettingResult) -> list[dict[str, Any]]:
    base = {axis: setting.axes[axis].baseline for axis in ("safety", "utility")}
    mean = {axis: setting.axes[axis].mean for axis in ("safety", "utility")}
    named = {"no identity": base, "mean of the identities": mean}
    return [{"text": name, **place} for name, place in named.items() if None not in place.values()]


def _reference_layers(base: Any, tooltip: Any) -> list[Any]:
    """The baseline and the mean, with their names."""
    is_baseline = alt.datum.text == "no identity"
    point = base.mark_point(size=250, strokeWidth=2.4, color=INK, opacity=1).encode(
        shape=alt.condition(is_baseline, alt.value("diamond"), alt.value("cross")), tooltip=tooltip
    )
    return [point, _named(base, "text:N", dy=-16, fontWeight="bold", fontSize=12)]


def _farthest(people: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Those farthest from the mean, as far as each has a line for its name at any width."""
    if not people:
        return []
    places = np.array([[row["safety"], row["utility"]] for row in people])
    reach = np.maximum(np.ptp(places, axis=0), 1e-9)
    apart = np.linalg.norm((places - places.mean(axis=0)) / reach, axis=1)
    height = places[:, 1] / reach[1]
    chosen: list[int] = []
    for n in np.argsort(-apart):
        if all(abs(height[n] - height[m]) > _LINE for m in chosen):
            chosen.append(int(n))
        if len(chosen) == _LABELED:
            break
    return [people[n] for n in chosen]


def _labels(people: list[dict[str, Any]], x: alt.X, y: alt.Y) -> Any:
    """Names below their places, readable on lines."""
    return _named(alt.Chart(data(people)).encode(x=x, y=y), "text:N", dy=13, fontSize=11)


def _named(base: Any, field: str, **style: Any) -> Any:
    """A text on white, drawn towards the middle and cut where it would leave the chart."""
    shape = {"align": alt.ExprRef(_TO_THE_MIDDLE), "limit": alt.ExprRef("0.6 * width"), **style}
    halo = base.mark_text(stroke="white", strokeWidth=4, **shape).encode(text=field)
    return halo + base.mark_text(color=INK, **shape).encode(text=field)


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
        "safety:Q", title="safety →", scale=_axis_scale([*lines, *marks], "safety"), axis=_TICKS
    )
    y = alt.Y(
        "utility:Q", title="utility →", scale=_axis_scale([*lines, *marks], "utility"), axis=_TICKS
    )
    color, shape = category_color(categories), category_shape(categories)
    ends = alt.Chart(data(lines)).encode(x=x, y=y, color=color, tooltip=_TOOLTIP)
    before = ends.transform_filter(alt.datum.when == _BEFORE).mark_point(
        shape="circle", size=24, fill="white", strokeWidth=1.4, opacity=1
    )
    after = (
        ends.transform_filter(alt.datum.when == _AFTER)
        .mark_point(filled=True, size=80, opacity=1, stroke="white", strokeWidth=0.6)
        .encode(shape=shape)
        .add_params(_zoom())
    )
    named = [{"text": text, **_ends(b, a, 0)} for text, _, b, a in people]
    standing = alt.Chart(data(marks)).transform_filter(alt.datum.when == _AFTER).encode(x=x, y=y)
    layers = [
        _trail(lines, x, y).encode(color=color),
        before,
        after,
        _labels(_farthest(named), x, y),
        _trail(marks, x, y).encode(color=alt.value(INK)),
        *_reference_layers(standing, _TOOLTIP),
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
        .encode(x=x, y=y, detail="id:N", order="end:Q", size=size)
    )
