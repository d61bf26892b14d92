"""What a page is made of: sections with sentences, tables, and charts with the table behind them.

Everything here is plain text; the templates escape it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import orjson
from markupsafe import Markup

from evenhand.report.sentences import signed
from evenhand.text import one_line


@dataclass(frozen=True)
class Cell:
    """A cell of a table.

    Attributes:
        text: what is shown.
        key: what the column is sorted by; None sorts by the text.
        strong: whether it stands out.
    """

    text: str
    key: float | None = None
    strong: bool = False


@dataclass(frozen=True)
class Row:
    """A row of a table; `group` is what a `Choice` limits rows to."""

    head: str
    cells: Sequence[Cell]
    group: str = ""


@dataclass(frozen=True)
class Table:
    """A table, sortable by every column.

    Attributes:
        caption: what it shows.
        columns: their names, that of the rows' heads first.
    """

    kind: ClassVar[str] = "table"
    caption: str
    columns: Sequence[str]
    rows: Sequence[Row]


@dataclass(frozen=True)
class Figure:
    """A chart, what it shows in words, and its figures as a table.

    Attributes:
        name: short and unique on the page.
        title: its heading.
        alt: the chart in words, for those who do not see it.
        chart: an Altair chart.
        table: its figures; None where a table on the page has them already.
        note: how to read it.
        zoom: whether it has buttons to zoom.
        groups: whether a `Choice` limits it, too.
    """

    kind: ClassVar[str] = "figure"
    name: str
    title: str
    alt: str
    chart: Any
    table: Table | None = None
    note: str = ""
    zoom: bool = False
    groups: bool = False

    @property
    def json(self) -> Markup:
        """The chart's specification, with nothing in it that could end a script element."""
        return Markup(script_json(self.chart.to_dict(validate=False)))


@dataclass(frozen=True)
class Columns:
    """Charts beside each other where there is room."""

    kind: ClassVar[str] = "columns"
    figures: Sequence[Figure]


@dataclass(frozen=True)
class Choice:
    """What the rows and charts of a section can be limited to."""

    kind: ClassVar[str] = "choice"
    label: str
    groups: Sequence[str]


@dataclass(frozen=True)
class Folded:
    """What is behind a heading until it is asked for."""

    kind: ClassVar[str] = "folded"
    title: str
    blocks: Sequence[Any]
    open: bool = False


@dataclass(frozen=True)
class Facts:
    """Names and what they are."""

    kind: ClassVar[str] = "facts"
    rows: Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Text:
    """Paragraphs; as code, they keep their lines."""

    kind: ClassVar[str] = "text"
    paragraphs: Sequence[str]
    code: bool = False


@dataclass(frozen=True)
class Section:
    """A section of a page.

    Attributes:
        name: for links to it.
        title: its heading.
        sentences: what was found, in plain words; the first is the most important.
        blocks: what follows.
        template: of a section that has blocks of a kind of its own.
        content: what that template needs.
    """

    name: str
    title: str
    sentences: Sequence[str]
    blocks: Sequence[Any] = ()
    template: str = ""
    content: Any = None
    warnings: Sequence[str] = field(default=())


def script_json(value: Any) -> str:
    """JSON that is safe inside a script element, whatever strings are in it."""
    text = orjson.dumps(value).decode()
    for sign in "<>&\u2028\u2029":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return text


def points(value: float | None) -> Cell:
    """A figure in points."""
    return Cell("–") if value is None else Cell(f"{value:.1f}", value)


def change(value: float | None, *, strong: bool = False) -> Cell:
    """A difference in points, with its sign."""
    return Cell("–") if value is None else Cell(minus(signed(value, 1)), value, strong)


def span(limits: tuple[float, float] | None, *, sign: bool = True, digits: int = 1) -> Cell:
    """An interval."""
    if limits is None:
        return Cell("–")
    low, high = (signed(v, digits) if sign else f"{v:.{digits}f}" for v in limits)
    return Cell(minus(f"{low} to {high}"), limits[0])


def minus(text: str) -> str:
    """With minus signs, as wide as a plus, before figures; hyphens within words stay."""
    return re.sub(r"(?<![\w.,-])-(?=\d)", "−", text)


def clean(text: str, most: int = 200) -> str:
    """A name from elsewhere, on one line of printable characters."""
    return one_line(text, most)
