"""Charts of reports: from typed results to Vega-Lite by Altair; no figure is computed here.

Every chart is as wide as what contains it, but the heat maps; give others a width to save them.
Altair is imported when the first chart is drawn, not before: a report in text needs none.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from evenhand.report.charts.intervals import (
        ChangeRow,
        CoursePoint,
        HeatCell,
        bias_chart,
        change_chart,
        course_chart,
        curve_chart,
        forest_chart,
        heat_map,
    )
    from evenhand.report.charts.maps import arrow_map, trade_off_map

__all__ = [
    "ChangeRow",
    "CoursePoint",
    "HeatCell",
    "arrow_map",
    "bias_chart",
    "change_chart",
    "course_chart",
    "curve_chart",
    "forest_chart",
    "heat_map",
    "trade_off_map",
]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = "maps" if name in ("arrow_map", "trade_off_map") else "intervals"
    return getattr(import_module(f"{__name__}.{module}"), name)
