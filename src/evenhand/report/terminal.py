"""A document on a terminal of any width: sentences, a map, the columns of tables that fit.

The map of the trade-off is in characters: who is safe and well served.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table as Grid
from rich.text import Text

from evenhand.analysis.results import IdentityResult, SettingResult
from evenhand.report import document as doc
from evenhand.text import one_line

# The map

BASELINE, MEAN, PLACEBO, SEVERAL = "@", "x", ".", "#"
_STYLES = ("cyan", "magenta", "green", "yellow", "blue", "red", "bright_cyan", "bright_magenta")
_HEIGHT = 14
_MARGIN = 7
"""Columns left of the map, for the figures of utility."""


@dataclass(frozen=True)
class _Mark:
    safety: float
    utility: float
    letter: str
    style: str


def trade_off_text(setting: SettingResult, width: int) -> Text | None:
    """The map and its key, as wide as that; None where too few have both safety and utility."""
    letters = _letters([person.category for person in setting.identities])
    people = _marks(setting.identities, letters)
    width = min(width, 78) - _MARGIN - 1
    if len(people) < 2 or width < 20:
        return None
    base = _marks([setting.baseline], {setting.baseline.category: (BASELINE, "bold")})
    placebos = _marks(setting.placebos, {"placebo": (PLACEBO, "dim")})
    middle = _Mark(
        sum(mark.safety for mark in people) / len(people),
        sum(mark.utility for mark in people) / len(people),
        MEAN,
        "bold",
    )
    # The later are drawn over the earlier; only identities count as several.
    return _draw(
        [*placebos, *people, middle, *base], width, _key(letters, bool(placebos), width + _MARGIN)
    )


def _letters(categories: Sequence[str]) -> dict[str, tuple[str, str]]:
    """A letter and a color for each category: the first of its name that is free."""
    found: dict[str, tuple[str, str]] = {}
    taken = {BASELINE, MEAN, PLACEBO, SEVERAL}
    for n, category in enumerate(dict.fromkeys(categories)):
        wanted = [c for c in one_line(category).lower() if c.isascii() and c.isalnum()]
        letter = next(
            (c for c in [*wanted, *"abcdefghijklmnopqrstuvwyz0123456789"] if c not in taken), "?"
        )
        taken.add(letter)
        found[category] = (letter, _STYLES[n % len(_STYLES)])
    return found


def _marks(people: Sequence[IdentityResult], letters: dict[str, tuple[str, str]]) -> list[_Mark]:
    found = []
    for person in people:
        axes = [person.axes.get(axis) for axis in ("safety", "utility")]
        safety, utility = (axis.mean if axis else None for axis in axes)
        if safety is not None and utility is not None:
            found.append(_Mark(safety, utility, *letters[person.category]))
    return found


def _key(letters: dict[str, tuple[str, str]], placebos: bool, width: int) -> Text:
    parts = [Text(f"{letter} {one_line(name)}", style) for name, (letter, style) in letters.items()]
    parts += [Text(f"{SEVERAL} several"), Text(f"{MEAN} mean"), Text(f"{BASELINE} no identity")]
    if placebos:
        parts.append(Text(f"{PLACEBO} placebo"))
    key, used = Text(), 0
    for part in parts:
        if used and used + len(part) + 2 > width:
            key.append("\n")
            used = 0
        key.append("  " if used else "").append(part)
        used += len(part) + 2
    return key


def _draw(marks: Sequence[_Mark], width: int, key: Text) -> Text:
    left, right = axis_ends([mark.safety for mark in marks])
    bottom, top = axis_ends([mark.utility for mark in marks])
    cells: dict[tuple[int, int], tuple[str, str]] = {}
    for mark in marks:
        column = round((mark.safety - left) / (right - left) * (width - 1))
        row = round((top - mark.utility) / (top - bottom) * (_HEIGHT - 1))
        there = cells.get((row, column), ("", ""))[0]
        several = there.isalnum() and there != MEAN and mark.letter.isalnum()
        several = (several or there == SEVERAL) and mark.letter not in (MEAN, BASELINE)
        cells[row, column] = (SEVERAL, "") if several else (mark.letter, mark.style)
    lines = Text().append("utility\n", "italic")
    for row in range(_HEIGHT):
        figure = {0: f"{top:.0f}", _HEIGHT - 1: f"{bottom:.0f}"}.get(row, "")
        line = Text(f"{figure:>{_MARGIN - 2}} |")
        for column in range(width):
            letter, style = cells.get((row, column), (" ", ""))
            line.append(letter, style)
        line.rstrip()
        lines.append(line).append("\n")
    lines.append(" " * (_MARGIN - 1) + "+" + "-" * width + "\n")
    scale = f"{left:.0f}".ljust(width - 4) + f"{right:.0f}".rjust(4)
    lines.append(" " * _MARGIN + "safety".center(width) + "\n", "italic")
    lines.append(" " * _MARGIN + scale + "\n")
    return lines.append(key)


def axis_ends(values: Sequence[float]) -> tuple[float, float]:
    """Whole points of 0 to 100 that hold all the values, at least two apart."""
    high = min(100.0, float(int(max(values)) + 1))
    return max(0.0, min(float(int(min(values))), high - 2)), max(high, 2.0)


# The document

_MOST = 2000
"""Characters of a sentence; what others name in it is cut before."""


def print_document(document: doc.Document, console: Console, *, details: bool = False) -> None:
    """Print a document; 80 columns suffice, and with fewer what matters less is left out.

    Args:
        details: all tables and all their rows.
    """
    depth = doc.DETAILS if details else doc.SUMMARY
    console.print(Text(one_line(document.title, _MOST), style="bold"))
    console.print(Text(one_line(document.subtitle, _MOST)))
    for n, section in enumerate(document.sections):
        _print_section(section, console, depth, first=not n)


def _print_section(section: doc.Section, console: Console, depth: int, *, first: bool) -> None:
    if section.depth > depth:
        return
    sentences = [one_line(sentence, _MOST) for sentence in section.sentences if sentence]
    if sentences or section.warnings:
        console.print()
    for n, sentence in enumerate(sentences):
        console.print(Text(sentence, style="bold" if first and not n else ""))
    for line in section.warnings:
        console.print(Text(f"! {one_line(line, 600)}", style="yellow"))
    print_blocks(section.blocks, console, depth)


def print_blocks(blocks: Sequence[doc.Block], console: Console, depth: int) -> None:
    """Print those that are not too deep, a blank line before each."""
    for block in blocks:
        if block.depth > depth:
            continue
        if isinstance(block, doc.Table) and block.rows:
            console.print()
            print_table(block if depth else block.shortened(), console)
        elif isinstance(block, doc.Paragraphs):
            console.print()
            for text in block.texts:
                console.print(Text(one_line(text, _MOST)))
        elif isinstance(block, doc.Figure):
            _print_figure(block, console, depth)
        elif isinstance(block, doc.Columns):
            print_blocks(block.blocks, console, depth)
        elif isinstance(block, doc.Folded):
            console.print()
            console.print(Text(one_line(block.title), style="bold underline"))
            print_blocks(block.blocks, console, depth)


def _print_figure(figure: doc.Figure, console: Console, depth: int) -> None:
    """Its table, and its drawing in characters."""
    if figure.table:
        print_blocks([figure.table], console, depth)
    if figure.drawing and (drawn := figure.drawing(console.width)) is not None:
        console.print()
        console.print(drawn)


def print_table(table: doc.Table, console: Console) -> None:
    """Print a table under its caption, and below it what there is no room for.

    What would lose its intervals is printed in several pieces.
    """
    fitted = table.in_pieces(console.width)
    console.print(Text(one_line(table.legend, _MOST), style="italic"))
    for n, piece in enumerate(fitted.pieces):
        if n:
            console.print()
        console.print(_grid(piece, console.width))
    if fitted.left_out:
        names = "; ".join(map(one_line, fitted.left_out))
        line = (
            f"Not shown in {console.width} columns: {names}. "
            f"A terminal with {table.width()} columns or a report in HTML shows all."
        )
        console.print(Text(one_line(line, _MOST), style="dim"))


def _grid(table: doc.Table, width: int) -> Grid:
    """The first column as text, the others as figures."""
    grid = Grid(box=None, padding=(0, 2, 0, 0))
    for n, column in enumerate(table.columns):
        widest = [len(row.cells[n - 1].marked()) for row in table.rows if n]
        head = Text(_wrapped(column, max(widest, default=width)))
        grid.add_column(head, justify="right" if n else "left", no_wrap=n > 0)
    for row in table.rows:
        texts = [row.head, *(cell.marked() for cell in row.cells)]
        grid.add_row(*(Text(one_line(text)) for text in texts))
    return grid


def _wrapped(column: doc.Column, widest: int) -> str:
    """The head in lines as wide as the figures below it."""
    name = one_line(column.name)
    return "\n".join(textwrap.wrap(name, max(widest, column.width), break_long_words=False))
