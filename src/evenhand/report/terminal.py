"""A document on a terminal of any width: sentences, tables without the columns that do not fit."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table as Grid
from rich.text import Text

from evenhand.report import document as doc
from evenhand.text import one_line

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
    """Print a table under its caption, the first column as text and the others as figures."""
    table = table.fitting(console.width)
    grid = Grid(box=None, padding=(0, 2, 0, 0))
    for n, column in enumerate(table.columns):
        widest = [len(row.cells[n - 1].marked()) for row in table.rows if n]
        head = Text(_wrapped(column, max(widest, default=console.width)))
        grid.add_column(head, justify="right" if n else "left", no_wrap=n > 0)
    for row in table.rows:
        texts = [row.head, *(cell.marked() for cell in row.cells)]
        grid.add_row(*(Text(one_line(text)) for text in texts))
    console.print(Text(one_line(table.legend, _MOST), style="italic"))
    console.print(grid)


def _wrapped(column: doc.Column, widest: int) -> str:
    """The head in lines as wide as the figures below it."""
    name = one_line(column.name)
    return "\n".join(textwrap.wrap(name, max(widest, column.width), break_long_words=False))
