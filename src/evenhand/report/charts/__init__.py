"""Charts of reports: from typed results to Vega-Lite by Altair; no figure is computed here.

Every chart is as wide as what contains it, but the heat maps; give others a width to save them.
Altair is imported when the first chart is drawn, not before: a report in text needs none.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from evenhand.report.charts.heat import HeatCell, heat_map
    from evenhand.report.charts.intervals import (
        ChangeRow,
        CoursePoint,
        bias_chart,
        change_chart,
        course_chart,
        curve_chart,
        forest_chart,
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


_MODULES = {"heat": ("HeatCell", "heat_map"), "maps": ("arrow_map", "trade_off_map")}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = next((module for module, names in _MODULES.items() if name in names), "intervals")
    return getattr(import_module(f"{__name__}.{module}"), name)
