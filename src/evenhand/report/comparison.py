"""Runs compared, on a terminal: who the sides are, what changed, and for whom."""

from __future__ import annotations

from rich.console import Console
from rich.text import Text

from evenhand.analysis.compare import ArmChange, ArmComparison
from evenhand.axes import AXES
from evenhand.report.changes import side_change_sentences
from evenhand.report.rows import change_rows, changed_rows, side_rows
from evenhand.report.terminal import ROOM_FOR_INTERVALS, print_table
from evenhand.text import one_line

_MOST_SHOWN = 8


def print_comparison(found: ArmComparison, console: Console) -> None:
    """Print what changed from the first side to each of the others; 80 columns suffice."""
    names = [one_line(side.name) for side in found.sides]
    console.print(Text(f"evenhand compare: {names[0]} with {', '.join(names[1:])}", style="bold"))
    sizes = ", ".join(f"{one_line(name)} {n:,}" for name, n in found.items.items())
    many = len(found.identities)
    console.print(Text(f"{many} {'identity' if many == 1 else 'identities'} on {sizes}"))
    for line in found.left_out:
        console.print(Text(f"! left out: {one_line(line, 600)}", style="yellow"))
    for line in found.caveats:
        console.print(Text(f"! {one_line(line, 600)}", style="yellow"))
    console.print()
    print_table(
        console,
        "Each side, on what all of them have",
        side_rows(found),
        drop=("noise floor", "plug-in", AXES["over_refusal"].label),
    )
    for change in found.changes:
        _print_change(found, change, console)


def _print_change(found: ArmComparison, change: ArmChange, console: Console) -> None:
    name = one_line(found.sides[change.side].name)
    console.print()
    if len(found.changes) > 1:
        console.print(Text(name, style="bold underline"))
    sentences = side_change_sentences(change, found.margin)
    console.print(Text(" ".join(sentences), style="bold"))
    if change.bias or change.axes:
        console.print()
        print_table(console, "", change_rows(found, change), drop=("before", "after", "p"))
    intervals = console.width >= ROOM_FOR_INTERVALS
    rows = changed_rows(found, change, _MOST_SHOWN, intervals=intervals)
    if any(each.axes for each in change.identities):
        console.print()
        title = (
            f"Changed most: {len(rows) - 1} of {len(found.identities)}; after less before "
            "(* p < 0.05 after Holm; in all: by intervals that hold for all together)"
        )
        print_table(console, title, rows, drop=("in all", AXES["over_refusal"].label))
