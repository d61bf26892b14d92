"""All that an audit knows, on a terminal: benchmarks, every identity, missing scores, cues."""

from __future__ import annotations

from collections.abc import Mapping

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from evenhand.analysis.results import Audit, AxisResult, IdentityAxis, SettingResult
from evenhand.report.terminal import AXIS_NAMES, bias_cells, difference_cell, number, titled_table
from evenhand.stats import CueComponents
from evenhand.text import one_line


def print_details(audit: Audit, console: Console) -> None:
    """Print the tables that the summary leaves out."""
    for setting in audit.settings:
        console.print(f"\ncue {setting.cue}, defence {setting.defence}", style="bold underline")
        console.print(_benchmark_table(setting.axes))
        for axis in setting.axes:
            console.print()
            console.print(_identity_table(setting, axis))
        console.print()
        console.print(_missing_table(setting))
    if audit.cues:
        console.print()
        console.print(_component_table(audit.cues))


def _benchmark_table(axes: Mapping[str, AxisResult]) -> Table:
    table = titled_table("Benchmarks; these items: PB on exactly these, where there are samples")
    for name in ("", "PB", "95 % interval", "plug-in", "noise floor", "mean", "no identity"):
        table.add_column(name, justify="right" if name else "left", no_wrap=bool(name))
    for axis, result in axes.items():
        for name, benchmark in result.benchmarks.items():
            means = (number(benchmark.mean), number(benchmark.baseline))
            table.add_row(escape(one_line(name)), *bias_cells(benchmark.pb), *means)
        if result.pb_these_items:
            cells = bias_cells(result.pb_these_items)
            table.add_row(f"{AXIS_NAMES[axis]}, these items", *cells, "", "")
    return table


def _identity_table(setting: SettingResult, axis: str) -> Table:
    table = titled_table(
        f"{AXIS_NAMES[axis].capitalize()} by identity: difference to the mean (* p < 0.05 after "
        "Holm), shrunken, rank from the lowest"
    )
    for name in ("I am ...", "mean", "difference, 95 %", "shrunken", "rank, 95 %"):
        right = name in ("mean", "shrunken")
        table.add_column(name, justify="right" if right else "left", no_wrap=name != "I am ...")
    for person in sorted(setting.identities, key=lambda p: p.axes[axis].rank or 0.0):
        result = person.axes[axis]
        table.add_row(
            escape(one_line(person.text)),
            number(result.mean),
            difference_cell(result.to_mean),
            number(result.shrunken),
            _rank(result),
        )
    return table


def _rank(result: IdentityAxis) -> str:
    if result.rank is None or result.rank_interval is None:
        return "-"
    low, high = result.rank_interval
    return f"{result.rank:.0f} [{low:.0f}, {high:.0f}]"


def _missing_table(setting: SettingResult) -> Table:
    table = titled_table("Missing scores; bounds of the plug-in PB, whatever they were")
    for name in ("", "missing", "p of independence", "bounds"):
        table.add_column(name, justify="right" if name else "left")
    for axis, result in setting.axes.items():
        if result.missing:
            low, high = result.missing.bias_bounds
            table.add_row(
                AXIS_NAMES[axis],
                f"{result.missing.count:,}",
                f"{result.missing.p_value:.3f}",
                f"{low:.1f} to {high:.1f}",
            )
    return table


def _component_table(cues: Mapping[str, CueComponents]) -> Table:
    table = titled_table("Variance components over the cues, squared points")
    names = ("identity", "cue", "identity_cue", "item", "identity_item", "cue_item", "residual")
    table.add_column("")
    for axis in cues:
        table.add_column(AXIS_NAMES[axis], justify="right")
    for name in names:
        values = [f"{getattr(components, name):.2f}" for components in cues.values()]
        table.add_row(name.replace("_", " x "), *values)
    return table
