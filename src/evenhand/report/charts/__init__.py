"""Charts of an audit: from its results to Vega-Lite by Altair; no figure is computed here.

Every chart is as wide as what contains it, but the heat maps; give others a width to save them.
"""

from __future__ import annotations

from evenhand.report.charts.arrows import arrow_map
from evenhand.report.charts.bias import bias_chart, named_spreads
from evenhand.report.charts.changes import Change, change_chart
from evenhand.report.charts.forest import forest_chart
from evenhand.report.charts.heat import HeatCell, heat_map
from evenhand.report.charts.trade_off import trade_off_map
from evenhand.report.charts.training import curve_chart

__all__ = [
    "Change",
    "HeatCell",
    "arrow_map",
    "bias_chart",
    "change_chart",
    "curve_chart",
    "forest_chart",
    "heat_map",
    "named_spreads",
    "trade_off_map",
]
