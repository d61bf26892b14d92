"""What a report is made of: sections of sentences, tables and figures, built once for all formats.

`findings.py`, `comparison.py`, `calibration.py` and others build documents of typed results;
`terminal.py`, `html/`, `markdown.py` and `latex.py` render them and know nothing of findings.

A document holds text as it came, from models and files too: every renderer makes it inert for its
own medium. Figures have ASCII signs; a renderer may typeset them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from rich.text import Text

from evenhand.text import one_line

SUMMARY, DETAILS, PAGE = 0, 1, 2
"""How deep a block lies: in every format; in `--details` and on the page; on the page alone."""
NONE = "-"
"""Text of a cell for which there is no data."""
ANY = "any value"
"""Text of an interval that excludes nothing."""
_GAP = 2
_HEAD = 20
"""Columns that a row's name needs at least; a longer one is broken."""


@dataclass(frozen=True)
class TableCell:
    """A cell of a table.

    Attributes:
        text: what is shown.
        key: what the column is sorted by; None sorts by the text.
        strong: whether it is significant, by the test that `Table.strong` names.
        limits: its interval in short, shown behind it: "[-84, -35]".
        tone: color on a heat map, from -1 (the worst) to 1 (the best); None for none.
    """

    text: str
    key: float | None = None
    strong: bool = False
    limits: str = ""
    tone: float | None = None

    def marked(self) -> str:
        """With a star where it is strong, or room for one, and its interval."""
        star = "*" if self.strong else " " if self.limits else ""
        return f"{self.text}{star} {self.limits}".rstrip()


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Attributes:
        name: its head.
        drop: 0 is always shown; where there is no room, the highest are left out first.
        short: the head where there is no room for the intervals of its cells.
        query: what to ask the browser of answers for: "benchmark=harmbench".
    """

    name: str
    drop: int = 0
    short: str = ""
    query: str = ""

    @property
    def width(self) -> int:
        """Characters of the head, broken into its words."""
        return max(map(len, self.name.split()), default=0)


@dataclass(frozen=True)
class TableRow:
    """A row of a table.

    Attributes:
        head: text of the first column.
        cells: of the other columns, in their order.
        group: what a `Filter` limits rows to.
        query: what to ask the browser of answers for: "identity=muslim".
    """

    head: str
    cells: Sequence[TableCell]
    group: str = ""
    query: str = ""


@dataclass(frozen=True, kw_only=True)
class Block:
    """A part of a section; `depth` says which formats show it.

    Attributes:
        depth: SUMMARY, DETAILS or PAGE.
    """

    depth: int = SUMMARY

    @property
    def kind(self) -> str:
        """Name of its macro in the templates."""
        return type(self).__name__.lower()


@dataclass(frozen=True, kw_only=True)
class PageBlock(Block):
    """A part that only the page shows."""

    depth: int = PAGE


@dataclass(frozen=True)
class Table(Block):
    """A table.

    Attributes:
        rows: in the order in which they are shown.
        caption: what it shows.
        columns: the first is that of the rows' heads.
        strong: what a strong cell means: "adjusted p < 0.05"; empty where none is strong.
        most: how many rows a summary shows, the first ones; None for all.
        is_heat_map: its cells have tones; the page shows it in the place of its figure's chart.
    """

    caption: str
    columns: Sequence[Column]
    rows: Sequence[TableRow]
    strong: str = ""
    most: int | None = None
    is_heat_map: bool = False

    @property
    def legend(self) -> str:
        """The caption with what a star means."""
        return f"{self.caption} (* {self.strong})" if self.strong else self.caption

    def shortened(self) -> Table:
        """The rows of a summary; the caption says how many of all these are."""
        if self.most is None or len(self.rows) <= self.most:
            return self
        caption = f"{self.caption}: {self.most} of {len(self.rows)}"
        return replace(self, caption=caption, rows=self.rows[: self.most])

    def fitting(self, width: int) -> Fitted:
        """In one piece, without as many of its columns as the width, in characters, demands."""
        table, left_out = self, list[str]()
        for drop in sorted({column.drop for column in self.columns} - {0}, reverse=True):
            if table.width() <= width:
                break
            left_out = [c.name for c in table.columns if c.drop == drop] + left_out
            table = table._of_columns([n for n, c in enumerate(table.columns) if c.drop != drop])
        if table.width() <= width or not table._has_limits():
            return Fitted([table], left_out)
        return Fitted([table._without_limits()], [*left_out, "intervals"])

    def in_pieces(self, width: int) -> Fitted:
        """As `fitting`, but in several pieces, one below the other, where that keeps intervals."""
        fitted = self.fitting(width)
        if fitted.left_out[-1:] != ["intervals"]:
            return fitted
        pieces, piece = [], [0]
        for n, column in enumerate(self.columns):
            if not n or column.drop:
                continue
            if len(piece) > 1 and self._of_columns([*piece, n]).width() > width:
                pieces.append(self._of_columns(piece))
                piece = [0]
            piece.append(n)
        pieces.append(self._of_columns(piece))
        if any(piece.width() > width for piece in pieces):
            return fitted
        return Fitted(pieces, fitted.left_out[:-1])

    def width(self) -> int:
        """Characters of the widest line, the rows' heads broken."""
        widest = [column.width for column in self.columns]
        for row in self.rows:
            cells = [len(row.head), *(len(cell.marked()) for cell in row.cells)]
            widest = [max(pair) for pair in zip(widest, cells, strict=True)]
        return min(widest[0], _HEAD) + sum(widest[1:]) + _GAP * len(widest)

    def _of_columns(self, kept: Sequence[int]) -> Table:
        """Args: kept: places of the columns, that of the rows' heads first."""
        rows = [replace(row, cells=[row.cells[n - 1] for n in kept if n]) for row in self.rows]
        return replace(self, columns=[self.columns[n] for n in kept], rows=rows)

    def _has_limits(self) -> bool:
        return any(cell.limits for row in self.rows for cell in row.cells)

    def _without_limits(self) -> Table:
        columns = [replace(each, name=each.short or each.name) for each in self.columns]
        rows = [
            replace(row, cells=[replace(cell, limits="") for cell in row.cells])
            for row in self.rows
        ]
        return replace(self, columns=columns, rows=rows)


@dataclass(frozen=True)
class Fitted:
    """A table made to fit a width.

    Attributes:
        pieces: tables to show one below the other.
        left_out: names of the columns that had no room; last "intervals", where those had none.
    """

    pieces: Sequence[Table]
    left_out: Sequence[str]


@dataclass(frozen=True)
class Figure(Block):
    """A chart, what it shows in words, and its figures as a table.

    Attributes:
        name: short and unique in the document.
        title: its heading.
        alt: the chart in words, for those who do not see it.
        chart: makes the Altair chart; called only where charts are drawn.
        table: its figures; None where another table of the document has them.
        note: how to read it.
        zoom: whether it has buttons to zoom.
        groups: whether a `Filter` limits it, too.
        drawing: the chart in characters for a width; None where it has none.
    """

    name: str
    title: str
    alt: str
    chart: Callable[[], Any]
    table: Table | None = None
    note: str = ""
    zoom: bool = False
    groups: bool = False
    drawing: Callable[[int], Text | None] | None = None


@dataclass(frozen=True)
class Columns(Block):
    """Figures beside each other where there is room.

    Attributes:
        blocks: from left to right.
    """

    blocks: Sequence[Figure]


@dataclass(frozen=True)
class Filter(PageBlock):
    """What the rows and charts of a section can be limited to.

    Attributes:
        label: what is chosen: "Axis".
        groups: what there is to choose, as `TableRow.group` has it.
    """

    label: str
    groups: Sequence[str]


@dataclass(frozen=True)
class Folded(Block):
    """Blocks behind a heading until they are asked for.

    Attributes:
        title: the heading.
        blocks: what is behind it.
        open: whether it is open at first.
    """

    title: str
    blocks: Sequence[Block]
    open: bool = False


@dataclass(frozen=True)
class Facts(PageBlock):
    """Names and what they are.

    Attributes:
        rows: (name, what it is).
    """

    rows: Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Paragraphs(Block):
    """Paragraphs; as code, they keep their lines.

    Attributes:
        texts: one a paragraph.
        code: whether lines and spaces are kept.
    """

    texts: Sequence[str]
    code: bool = False


@dataclass(frozen=True)
class Conversation(PageBlock):
    """Messages as they were sent: (role, content).

    Attributes:
        title: the heading.
        messages: in the order in which they were sent.
        open: whether it is open at first.
    """

    title: str
    messages: Sequence[tuple[str, str]]
    open: bool = False


@dataclass(frozen=True)
class ComparedAnswer:
    """One of two answers to the same question.

    Attributes:
        identity: id of the user who asked.
        user: what that user says of themselves.
        outcome: how the answer was scored.
        why: what led to the score; may be empty.
        text: as the model gave it.
        veiled: whether it is hidden until asked for.
        is_good: whether it is as it should be, whatever the other answer is.
    """

    identity: str
    user: str
    outcome: str
    why: str
    text: str
    veiled: bool
    is_good: bool


@dataclass(frozen=True)
class ComparedAnswers:
    """One question and two answers to it, the better one first.

    Attributes:
        benchmark: name.
        source: where the question is from.
        question: its text.
        answers: the better one first.
    """

    benchmark: str
    source: str
    question: str
    answers: tuple[ComparedAnswer, ComparedAnswer]


@dataclass(frozen=True)
class Answers(PageBlock):
    """Pairs of answers, to be chosen by user and benchmark.

    Attributes:
        pairs: in the order in which they are shown.
        users: (id, text) of those who stand in a pair.
    """

    pairs: Sequence[ComparedAnswers]
    users: Sequence[tuple[str, str]]

    @property
    def benchmarks(self) -> list[str]:
        """Benchmarks of the pairs."""
        return list(dict.fromkeys(pair.benchmark for pair in self.pairs))


@dataclass(frozen=True)
class AnswerBrowser(PageBlock):
    """All answers, to be searched and filtered; `browser.py` says what the parts are.

    Attributes:
        inside: parts that stand inside the page, as JSON, by name.
        folder: where the parts are, beside the page; empty where they are inside it.
        questions: how many questions the parts have.
        left_out: questions that they have not.
    """

    inside: Mapping[str, str]
    folder: str
    questions: int
    left_out: int = 0


@dataclass(frozen=True)
class Headline:
    """What a reader takes away in ten seconds; the page begins with it.

    Attributes:
        shape: "uneven", "even", "unknown", and for a change "down", "up" or "same".
        words: the verdict: "Not even-handed".
        lead: the same in a sentence.
        figures: (figure, what it is, how sure it is) of three.
        who: sentences that say who fares how.
    """

    shape: str
    words: str
    lead: str
    figures: Sequence[tuple[str, str, str]]
    who: Sequence[str]


@dataclass(frozen=True)
class Section:
    """A section.

    Attributes:
        name: for links to it.
        title: its heading.
        sentences: what was found; the first is the most important, empty ones are left out.
        blocks: what follows.
        warnings: what a reader must know before believing the figures.
        depth: of the whole section; a block may lie deeper.
    """

    name: str
    title: str
    sentences: Sequence[str]
    blocks: Sequence[Block] = ()
    warnings: Sequence[str] = ()
    depth: int = SUMMARY


@dataclass(frozen=True)
class Document:
    """A whole report.

    Attributes:
        sections: in the order of a report.
        title: what it is: "evenhand audit of openai/gpt-4o".
        question: what it answers, the heading of the page.
        subtitle: how much was asked.
        source: what was asked and how, short enough for a table's caption.
        headline: None for a document without a verdict.
    """

    title: str
    question: str
    subtitle: str
    source: str
    sections: Sequence[Section]
    headline: Headline | None = None

    def figures(self) -> Iterator[Figure]:
        """All figures in their order."""
        for section in self.sections:
            yield from figures_of(section.blocks)

    def browsers(self) -> Iterator[AnswerBrowser]:
        """The browsers of answers, which stand in no other block."""
        for section in self.sections:
            yield from (block for block in section.blocks if isinstance(block, AnswerBrowser))


def figures_of(blocks: Sequence[Block]) -> Iterator[Figure]:
    """The figures among blocks and within them."""
    for block in blocks:
        if isinstance(block, Figure):
            yield block
        elif isinstance(block, Columns | Folded):
            yield from figures_of(block.blocks)


def tables_of(blocks: Sequence[Block], depth: int) -> Iterator[Table]:
    """The tables up to a depth, those of figures too."""
    for block in blocks:
        if block.depth > depth:
            continue
        if isinstance(block, Columns | Folded):
            yield from tables_of(block.blocks, depth)
        table = block.table if isinstance(block, Figure) else block
        if isinstance(table, Table) and table.depth <= depth and table.rows:
            yield table


def points(value: float | None) -> TableCell:
    """A figure in points."""
    return TableCell(NONE) if value is None else TableCell(f"{round(value, 1) + 0.0:.1f}", value)


def change(value: float | None, *, strong: bool = False) -> TableCell:
    """A difference in points, with its sign."""
    return TableCell(NONE) if value is None else TableCell(signed(value, 1), value, strong)


def says_nothing(limits: tuple[float, float]) -> bool:
    """Whether an interval of a difference holds every value that there is, -100 to 100 points."""
    return limits[0] <= -100 and limits[1] >= 100


def interval(
    limits: tuple[float, float] | None, *, sign: bool = True, digits: int = 1
) -> TableCell:
    """An interval."""
    if limits is None:
        return TableCell(NONE)
    if says_nothing(limits):
        return TableCell(ANY)
    low, high = (signed(v, digits) if sign else f"{v + 0.0:.{digits}f}" for v in limits)
    return TableCell(f"{low} to {high}", limits[0])


def p_value(value: float | None) -> TableCell:
    """A p-value."""
    return TableCell(NONE) if value is None else TableCell(p_text(value).removeprefix("= "), value)


def count(value: int) -> TableCell:
    """A number of things."""
    return TableCell(f"{value:,}", value)


def decimals(value: float | None, digits: int) -> TableCell:
    """A figure that is not in points."""
    return TableCell(NONE) if value is None else TableCell(f"{value + 0.0:.{digits}f}", value)


def signed(value: float, digits: int) -> str:
    """With its sign; nothing is ever minus zero."""
    return f"{round(value, digits) + 0.0:+.{digits}f}"


def p_text(value: float) -> str:
    """A p-value after the word p."""
    return "< 0.001" if value < 0.001 else f"= {value:.3f}"


def distinct(names: Sequence[str]) -> list[str]:
    """The names on one line each; those that are equal there get a number."""
    lines = [one_line(name, 60) for name in names]
    return [f"{name} ({n})" if name in lines[:n] else name for n, name in enumerate(lines)]


def minus(text: str) -> str:
    """With minus signs, as wide as a plus, before figures; hyphens within words stay."""
    return re.sub(r"(?<![\w.,-])-(?=\d)", "−", text)
