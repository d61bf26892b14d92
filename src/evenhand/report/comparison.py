"""Runs compared, on a terminal: who the sides are, what changed, and for whom."""

from __future__ import annotations

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from evenhand.analysis.compare import SideChange, SideComparison
from evenhand.report.changes import side_change_sentences
from evenhand.report.sentences import p_text, signed
from evenhand.report.terminal import (
    AXIS_NAMES,
    bias_cells,
    difference_cell,
    number,
    titled_table,
)
from evenhand.stats import BiasChange, MeanChange
from evenhand.text import one_line

_MOST_SHOWN = 8


def print_comparison(found: SideComparison, console: Console) -> None:
    """Print what changed from the first side to each of the others; 80 columns suffice."""
    names = [one_line(side.name) for side in found.sides]
    console.print(Text(f"evenhand compare: {names[0]} with {', '.join(names[1:])}", style="bold"))
    sizes = ", ".join(f"{one_line(name)} {n:,}" for name, n in found.items.items())
    console.print(Text(f"{len(found.identities)} identities on {sizes}"))
    for line in found.left_out:
        console.print(Text(f"! left out: {one_line(line)}", style="yellow"))
    for line in found.caveats:
        console.print(Text(f"! {one_line(line)}", style="yellow"))
    console.print()
    console.print(_side_table(found))
    for change in found.changes:
        _print_change(found, change, console)


def _side_table(found: SideComparison) -> Table:
    table = titled_table("Each side, on what all of them have")
    for name in ("", "PB", "95 % interval", "plug-in", "noise floor"):
        table.add_column(name, justify="right" if name else "left", no_wrap=bool(name))
    axes = list(found.sides[0].axes)
    for axis in axes:
        table.add_column(AXIS_NAMES.get(axis, axis), justify="right", no_wrap=True)
    for side in found.sides:
        means = [number(side.axes[axis].mean) for axis in axes]
        table.add_row(escape(one_line(side.name)), *bias_cells(side.pb), *means)
    return table


def _print_change(found: SideComparison, change: SideChange, console: Console) -> None:
    name = one_line(found.sides[change.side].name)
    console.print()
    if len(found.changes) > 1:
        console.print(Text(name, style="bold underline"))
    sentences = side_change_sentences(change, found.margin)
    console.print(Text(" ".join(sentences), style="bold"))
    if not change.axes:
        return
    console.print()
    console.print(_change_table(change))
    console.print()
    console.print(_identity_table(found, change))


def _change_table(change: SideChange) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0))
    for name in ("", "before", "after", "change", "95 % interval", "p"):
        table.add_column(name, justify="right" if name else "left", no_wrap=True)
    biases = {"PB": change.bias} | {
        f"PB of {AXIS_NAMES.get(axis, axis)}": each.bias for axis, each in change.axes.items()
    }
    for name, bias in biases.items():
        if bias is not None:
            sizes = (f"{bias.before.estimate:.1f}", f"{bias.after.estimate:.1f}")
            table.add_row(name, *sizes, *_change_cells(bias))
    for axis, each in change.axes.items():
        table.add_row(f"mean {AXIS_NAMES.get(axis, axis)}", "", "", *_change_cells(each.mean))
    return table


def _change_cells(change: BiasChange | MeanChange) -> tuple[str, str, str]:
    low, high = change.interval
    return (
        signed(change.difference, 1),
        f"{signed(low, 1)} to {signed(high, 1)}",
        p_text(change.p_value).removeprefix("= "),
    )


def _identity_table(found: SideComparison, change: SideChange) -> Table:
    def size(each: tuple[str, int]) -> float:
        deltas = change.identities[each[1]].axes
        return sum(d.estimate**2 for axis, d in deltas.items() if axis != "over_refusal")

    people = [(who.text, n) for n, who in enumerate(found.identities)]
    shown = sorted(people, key=size, reverse=True)[:_MOST_SHOWN]
    axes = [axis for axis in change.axes if axis != "over_refusal"] or list(change.axes)
    table = titled_table(
        f"Changed most: {len(shown)} of {len(people)}; after less before (* p < 0.05 after Holm)"
    )
    table.add_column("I am ...")
    for axis in axes:
        table.add_column(AXIS_NAMES.get(axis, axis), no_wrap=True)
    for text, n in shown:
        deltas = change.identities[n].axes
        table.add_row(escape(one_line(text)), *(difference_cell(deltas.get(a)) for a in axes))
    return table
