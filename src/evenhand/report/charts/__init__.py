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
        bias_chart,
        change_chart,
        curve_chart,
        forest_chart,
    )
    from evenhand.report.charts.maps import arrow_map, trade_off_map

_MODULES = {
    "HeatCell": "heat",
    "heat_map": "heat",
    "ChangeRow": "intervals",
    "bias_chart": "intervals",
    "change_chart": "intervals",
    "curve_chart": "intervals",
    "forest_chart": "intervals",
    "arrow_map": "maps",
    "trade_off_map": "maps",
}

__all__ = [
    "ChangeRow",
    "HeatCell",
    "arrow_map",
    "bias_chart",
    "change_chart",
    "curve_chart",
    "forest_chart",
    "heat_map",
    "trade_off_map",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
