"""A document as Markdown, for a pull request: the first section open, the others folded."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

from evenhand import __version__
from evenhand.report import document as doc
from evenhand.text import one_line

_SPECIAL = re.compile(r"([\\`*_{}\[\]#|~$]|[<:&](?=\S))")
_LINKS = re.compile(r"(www)\.", re.IGNORECASE)


def to_markdown(document: doc.Document, *, folded: bool = True) -> str:
    """The summary of a document: its first section, everything else folded, or below it."""
    first, *others = document.sections
    parts = [f"### {plain(document.title)}"]
    parts += [] if folded else [f"#### {plain(first.title)}"]
    parts += _section(first, first=True)
    for section in others:
        if section.depth == doc.SUMMARY and (inside := list(_section(section))):
            head = f"#### {plain(section.title)}"
            parts += [_folded(section.title, inside)] if folded else [head, *inside]
    parts.append(plain(document.subtitle))
    parts.append(f"<sub>made by evenhand {__version__}</sub>")
    return "\n\n".join(parts) + "\n"


def _section(section: doc.Section, *, first: bool = False) -> Iterator[str]:
    sentences = [plain(sentence) for sentence in section.sentences if sentence]
    if first and sentences:
        yield f"**{sentences.pop(0)}**"
    if sentences:
        yield " ".join(sentences)
    for line in section.warnings:
        yield f"> {plain(line)}"
    yield from _blocks(section.blocks)


def _blocks(blocks: Iterable[doc.Block]) -> Iterator[str]:
    for block in blocks:
        if block.depth > doc.SUMMARY:
            continue
        if isinstance(block, doc.Table) and block.rows:
            yield table(block)
        elif isinstance(block, doc.Figure) and block.table:
            yield from _blocks([block.table])
        elif isinstance(block, doc.Columns | doc.Folded):
            yield from _blocks(block.blocks)
        elif isinstance(block, doc.Paragraphs):
            yield from map(plain, block.texts)


def table(block: doc.Table) -> str:
    """A table under its caption; figures to the right."""
    head = [plain(column.name) or " " for column in block.columns]
    rule = ["---", *["---:"] * (len(head) - 1)]
    body = [[row.head, *(cell.marked() for cell in row.cells)] for row in block.rows]
    lines = [head, rule, *([plain(cell) or " " for cell in row] for row in body)]
    return "\n".join([plain(block.legend), "", *(f"| {' | '.join(line)} |" for line in lines)])


def plain(text: str) -> str:
    """Text from elsewhere that makes no markup, no link, no mention and no second line."""
    escaped = _SPECIAL.sub(r"\\\1", one_line(text, 2000)).replace("@", "@\u2060")
    return _LINKS.sub(r"\1\\.", escaped)


def _folded(title: str, parts: Sequence[str]) -> str:
    inside = "\n\n".join(parts)
    return f"<details><summary>{_html(title)}</summary>\n\n{inside}\n\n</details>"


def _html(text: str) -> str:
    """Text inside HTML, where Markdown's own escapes do not count."""
    line = one_line(text)
    return line.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
