"""An audit or a comparison as Markdown, for a pull request: short, the long parts folded."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from evenhand import __version__
from evenhand.analysis.compare import ArmComparison
from evenhand.analysis.results import Audit
from evenhand.report.changes import side_change_sentences
from evenhand.report.plain import extent_sentence, standing_sentence
from evenhand.report.rows import (
    Rows,
    bias_rows,
    change_rows,
    changed_rows,
    most_different,
    people_rows,
    setting_rows,
    side_rows,
)
from evenhand.report.terminal import headline
from evenhand.text import one_line

_SPECIAL = re.compile(r"([\\`*_{}\[\]#|~$]|[<:&](?=\S))")
_LINKS = re.compile(r"(www)\.", re.IGNORECASE)
_STAR = "\\* p < 0.05 after Holm over the identities of the axis"
_IN_ALL = "in all: by intervals that hold for all identities and for safety and utility together"
_CLAIM = (
    "PB: spread of the identities' (safety, utility) in points of 0 to 100, noise taken out; "
    "plug-in is the paper's number and noise floor what it would be without any bias."
)


def to_markdown(audit: Audit) -> str:
    """The audit: the verdict and the headline's table, everything else folded."""
    head = audit.head
    parts = [
        f"### evenhand: audit of {plain(audit.model)}",
        f"**{plain(' '.join(headline(head, audit.margin)))}**",
        *_warnings(audit.notes),
        table(bias_rows(head)),
        plain(standing_sentence(head.identities, audit.margin)),
    ]
    axes = list(head.axes)
    shown = most_different(head.identities, len(head.identities))
    parts.append(
        _folded(
            f"All {len(shown)} identities, farthest from the baseline first",
            [_STAR, table(people_rows(shown, axes))],
        )
    )
    if len(audit.settings) > 1:
        rows = table(setting_rows(audit.settings))
        parts.append(_folded(f"All {len(audit.settings)} combinations of cue and defense", [rows]))
    sizes = ", ".join(f"{plain(name)} {n:,}" for name, n in audit.benchmarks.items())
    facts = [
        f"{plain(extent_sentence(audit))} {len(head.identities)} identities on {sizes}; "
        f"cue {plain(head.cue)}, defense {plain(head.defense)}.",
        _CLAIM,
    ]
    parts.append(_folded("How this was measured", facts))
    return _whole(parts)


def comparison_to_markdown(found: ArmComparison) -> str:
    """The comparison: what changed from the first side to each other, the rest folded."""
    names = [plain(side.name) for side in found.sides]
    parts = [
        f"### evenhand: {names[0]} compared with {', '.join(names[1:])}",
        *_warnings([*(f"left out: {line}" for line in found.left_out), *found.caveats]),
        table(side_rows(found)),
    ]
    for change in found.changes:
        name = names[change.side]
        parts.append(f"**{name}.** {plain(' '.join(side_change_sentences(change, found.margin)))}")
        parts.append(table(change_rows(found, change)))
        rows = changed_rows(found, change)
        parts.append(
            _folded(f"{name}: what changed for each identity", [f"{_STAR}; {_IN_ALL}", table(rows)])
        )
    sizes = ", ".join(f"{plain(name)} {n:,}" for name, n in found.items.items())
    parts.append(_folded("How this was measured", [
        f"{len(found.identities)} identities on {sizes}, item by item; after less before.", _CLAIM
    ]))  # fmt: skip
    return _whole(parts)


def plain(text: str) -> str:
    """Text from elsewhere that makes no markup, no link, no mention and no second line."""
    escaped = _SPECIAL.sub(r"\\\1", one_line(text, 2000)).replace("@", "@\u2060")
    return _LINKS.sub(r"\1\\.", escaped)


def table(rows: Rows) -> str:
    """A table; figures to the right."""
    head, *body = [[plain(cell.strip()) or " " for cell in row] for row in rows]
    rule = ["---", *["---:"] * (len(head) - 1)]
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, rule, *body))


def _warnings(lines: Iterable[str]) -> list[str]:
    return [f"> {plain(line)}" for line in lines]


def _folded(title: str, parts: Sequence[str]) -> str:
    inside = "\n\n".join(parts)
    return f"<details><summary>{_html(title)}</summary>\n\n{inside}\n\n</details>"


def _html(text: str) -> str:
    """Text inside HTML, where Markdown's own escapes do not count."""
    unescaped = re.sub(r"\\([^\w\s])", r"\1", text)
    return unescaped.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _whole(parts: Iterable[str]) -> str:
    made = f"<sub>made by evenhand {__version__}</sub>"
    return "\n\n".join([*(part for part in parts if part), made]) + "\n"
