"""The tables of a document in LaTeX, for a paper: booktabs rules, rows by category."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import groupby

from evenhand import __version__
from evenhand.report.document import (
    SUMMARY,
    Document,
    Fitted,
    Table,
    TableCell,
    TableRow,
    minus,
    tables_of,
)
from evenhand.text import one_line

_WIDTH = 84
"""Characters of a line of figures that a page holds in small print."""
_SPECIAL = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "&": r"\&",
    "#": r"\#",
    "%": r"\%",
    "_": r"\_",
    "^": r"\textasciicircum{}",
    "~": r"\textasciitilde{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\textquotedbl{}",
    "'": "'",
    "`": r"\textasciigrave{}",
}


def to_latex(document: Document) -> str:
    """The tables of the summary, each with all its rows and a caption of its own."""
    sections = [section for section in document.sections if section.depth == SUMMARY]
    remarks = [line for each in sections for line in (*each.sentences, *each.warnings) if line]
    blocks = [block for section in sections for block in section.blocks]
    tables = [
        _table(table.fitting(_WIDTH), document.source, n)
        for n, table in enumerate(tables_of(blocks, SUMMARY), start=1)
    ]
    head = [
        f"% evenhand {__version__}: {plain(document.title)}",
        r"% needs \usepackage{booktabs} and \usepackage[T1]{fontenc}",
        *(f"% {plain(line)}" for line in remarks),
    ]
    return "\n".join([*head, *tables])


def _table(fitted: Fitted, source: str, number: int) -> str:
    [table] = fitted.pieces
    left_out = plain("; ".join(fitted.left_out))
    remark = f"% not shown for want of width: {left_out}\n" if left_out else ""
    heads = " & ".join(plain(column.name) for column in table.columns)
    body = "\n".join([rf"{heads} \\", r"\midrule", *_rows(table)])
    strong = f"; bold: {plain(table.strong)}" if table.strong else ""
    return (
        f"{remark}"
        "\\begin{table}\n\\centering\n\\small\n"
        f"\\begin{{tabular}}{{l{'r' * (len(table.columns) - 1)}}}\n\\toprule\n{body}\n"
        f"\\bottomrule\n\\end{{tabular}}\n"
        f"\\caption{{{plain(table.caption)}{strong}. {plain(source)}.}}\n"
        f"\\label{{tab:evenhand-{number}}}\n\\end{{table}}\n"
    )


def _rows(table: Table) -> Iterator[str]:
    """The rows, those of a group under its name."""
    groups = list(dict.fromkeys(row.group for row in table.rows))
    ordered = sorted(table.rows, key=lambda row: groups.index(row.group))
    for group, rows in groupby(ordered, key=lambda row: row.group):
        if group and len(groups) > 1:
            yield r"\addlinespace"
            yield rf"\multicolumn{{{len(table.columns)}}}{{l}}{{\emph{{{plain(group)}}}}} \\"
        yield from map(_row, rows)


def _row(row: TableRow) -> str:
    return rf"{' & '.join([plain(row.head), *map(_cell, row.cells)])} \\"


def _cell(cell: TableCell) -> str:
    if re.fullmatch(r"[+-][\d.]+", cell.text):
        text = f"${cell.text}$"
    else:
        text = plain(minus(cell.text)).replace("−", "$-$")
    limits = plain(minus(cell.limits)).replace("−", "$-$")
    strong = rf"\textbf{{{text}}}" if cell.strong else text
    return f"{strong} {limits}".rstrip()


def plain(text: str) -> str:
    """Text from elsewhere in which no character is a command."""
    return "".join(_SPECIAL.get(letter, letter) for letter in one_line(text, 2000))
