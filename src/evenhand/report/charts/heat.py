"""Heat maps: identities by benchmark, by subgroup of one, or by cue."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import altair as alt

from evenhand.report.charts.style import BETTER, INK, QUIET, WORSE, data, themed


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
