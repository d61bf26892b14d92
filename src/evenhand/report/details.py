"""All that an audit knows, on a terminal: benchmarks, every identity, missing scores, cues."""

from __future__ import annotations

from collections.abc import Mapping

from rich.console import Console
from rich.text import Text

from evenhand.analysis.results import Audit, AxisResult, IdentityAxis, SettingResult
from evenhand.axes import AXES
from evenhand.report.judges import print_judges
from evenhand.report.rows import Rows, axis_name, bias_cells, difference_cell, number
from evenhand.report.terminal import print_setting, print_table
from evenhand.stats import CueComponents

_COMPONENTS = (
    "identity",
    "cue",
    "identity_cue",
    "item",
    "identity_item",
    "cue_item",
    "residual",
)


def print_details(audit: Audit, console: Console) -> None:
    """Print the tables that the summary leaves out."""
    for setting in audit.settings:
        console.print()
        title = f"cue {setting.cue}, defense {setting.defense}"
        console.print(Text(title, style="bold underline"))
        if setting is not audit.head:
            print_setting(setting, audit.margin, console)
            console.print()
        _print_tables(setting, console)
    print_judges(audit, console)
    if audit.cues:
        console.print()
        title = "Variance components over the cues, squared points"
        print_table(console, title, _component_rows(audit.cues))


def _print_tables(setting: SettingResult, console: Console) -> None:
    title = "Benchmarks; these items: PB on exactly these, where there are samples"
    drop = ("noise floor", "plug-in", "no identity")
    print_table(console, title, _benchmark_rows(setting.axes), drop=drop)
    for axis in setting.axes:
        console.print()
        title = (
            f"{axis_name(axis).capitalize()} by identity: difference to the mean (* p < 0.05 after "
            "Holm), shrunken, rank (1: the worst off)"
        )
        print_table(
            console, title, _identity_rows(setting, axis), drop=("shrunken", "mean", "rank, 95 %")
        )
    console.print()
    title = "Missing scores; bounds of the plug-in PB, whatever they were"
    print_table(console, title, _missing_rows(setting), drop=("of",))


def _benchmark_rows(axes: Mapping[str, AxisResult]) -> Rows:
    rows = [["", "PB", "95 % interval", "plug-in", "noise floor", "mean", "no identity"]]
    for axis, result in axes.items():
        for name, benchmark in result.benchmarks.items():
            means = (number(benchmark.mean), number(benchmark.baseline))
            rows.append([name, *bias_cells(benchmark.pb), *means])
        if result.pb_these_items:
            cells = bias_cells(result.pb_these_items)
            rows.append([f"{axis_name(axis)}, these items", *cells, "", ""])
    return rows


def _identity_rows(setting: SettingResult, axis: str) -> Rows:
    """The worst off first, whichever way the axis points."""
    ranked = [person for person in setting.identities if person.axes[axis].rank is not None]
    turn = len(ranked) + 1 if AXES[axis].lower_is_better else 0
    rows = [["I am ...", "mean", "difference, 95 %", "shrunken", "rank, 95 %"]]
    for person in sorted(setting.identities, key=lambda p: abs(turn - (p.axes[axis].rank or 0.0))):
        result = person.axes[axis]
        rows.append(
            [
                person.text,
                number(result.mean),
                difference_cell(result.to_mean),
                number(result.shrunken),
                _rank(result, turn),
            ]
        )
    return rows


def _rank(result: IdentityAxis, turn: int) -> str:
    """Args: turn: what ranks are taken from, to begin at the other end; 0 to leave them."""
    if result.rank is None or result.rank_interval is None:
        return "-"
    rank, low, high = (abs(turn - value) for value in (result.rank, *sorted(result.rank_interval)))
    return f"{rank:.0f} [{min(low, high):.0f}, {max(low, high):.0f}]"


def _missing_rows(setting: SettingResult) -> Rows:
    """Of the identities by axis; of the placebos and the baseline in all."""
    rows = [["", "missing", "of", "p of independence", "bounds"]]
    for axis, result in setting.axes.items():
        if result.missing:
            low, high = result.missing.bias_bounds
            p_value, bounds = f"{result.missing.p_value:.3f}", f"{low:.1f} to {high:.1f}"
            rows.append([axis_name(axis), f"{result.missing.count:,}", "", p_value, bounds])
    for name, people in (
        ("identities", setting.identities),
        ("placebos", setting.placebos),
        ("no identity", [setting.baseline]),
    ):
        if people:
            missing = sum(person.unscored for person in people)
            answers = sum(person.done for person in people)
            rows.append([name, f"{missing:,}", f"{answers:,}", "", ""])
    return rows


def _component_rows(cues: Mapping[str, CueComponents]) -> Rows:
    rows = [["", *map(axis_name, cues)]]
    for name in _COMPONENTS:
        values = [f"{getattr(components, name):.2f}" for components in cues.values()]
        rows.append([name.replace("_", " x "), *values])
    return rows
