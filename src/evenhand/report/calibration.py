"""How often a judge agrees with people, on a terminal."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table
from rich.text import Text

from evenhand.calibration.agreement import Agreement, Calibration
from evenhand.text import one_line

_FIGURES = ("accuracy", "kappa", "sensitivity", "specificity")


def print_calibration(found: Calibration, console: Console) -> None:
    """Print a calibration: the figures, the confusion, by model and by people's class."""
    console.print(Text(f"{one_line(found.judge)} on {one_line(found.labels)}", style="bold"))
    console.print(f"positive: {found.positive}; {found.overall.n:,} labeled answers\n")
    console.print(_figures(found.overall))
    console.print()
    console.print(_confusion(found.overall))
    if found.by_model:
        console.print()
        console.print(_by_model(found))
    console.print()
    console.print(_by_class(found))


def _figures(part: Agreement) -> Table:
    table = _table("", "value", "95 % interval")
    intervals = part.intervals()
    for name in _FIGURES:
        interval = intervals[name]
        reach = f"{interval[0]:.3f} to {interval[1]:.3f}" if interval else ""
        table.add_row(name, _number(getattr(part, name)), reach)
    table.add_row("unscored", f"{part.unscored:,}", "")
    return table


def _confusion(part: Agreement) -> Table:
    table = _table("people say", "judge: positive", "judge: negative", "unscored")
    table.add_row(
        "positive",
        f"{part.true_positives:,}",
        f"{part.false_negatives:,}",
        f"{part.unscored_positives:,}",
    )
    table.add_row(
        "negative",
        f"{part.false_positives:,}",
        f"{part.true_negatives:,}",
        f"{part.unscored_negatives:,}",
    )
    return table


def _by_model(found: Calibration) -> Table:
    table = _table("model", "n", *_FIGURES, "unscored")
    for name, part in found.by_model.items():
        figures = [_number(getattr(part, figure)) for figure in _FIGURES]
        table.add_row(one_line(name), f"{part.n:,}", *figures, f"{part.unscored:,}")
    return table


def _by_class(found: Calibration) -> Table:
    """What the judge makes of each of people's classes."""
    table = _table("people's class", "n", "judge: positive", "unscored")
    for name, part in found.by_class.items():
        said = part.true_positives + part.false_positives
        share = f"{100 * said / part.judged:.1f} %" if part.judged else ""
        table.add_row(one_line(name), f"{part.n:,}", share, f"{part.unscored:,}")
    return table


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for place, column in enumerate(columns):
        table.add_column(column, justify="right" if place else "left")
    return table


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"
