"""The page of a mitigation: what was done, what it carries over to, and all conditions compared."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from evenhand.report.changes import bias_change_sentence
from evenhand.report.html.compare import comparison_sections
from evenhand.report.html.page import render_page
from evenhand.report.html.parts import Cell, Row, Section, Table, clean, points
from evenhand.report.mitigation import carried_over, what_was_done
from evenhand.report.rows import Rows

if TYPE_CHECKING:
    from evenhand.mitigate.results import Mitigation
    from evenhand.mitigate.search import SearchResult


def mitigation_to_html(found: Mitigation) -> str:
    """The whole page."""
    title = f"Was the bias of {clean(found.model, 80)} brought down?"
    subtitle = (
        f"{found.parts.items[1]:,} questions that nothing was tuned on, "
        f"{len(found.head.identities)} identities"
    )
    answer, *others = comparison_sections(found.head)
    sections = [answer, *_carried_over(found), _what_was_done(found), *others]
    return render_page(title, subtitle, sections)


def _carried_over(found: Mitigation) -> list[Section]:
    rows = carried_over(found, whole=True)
    if len(rows[0]) < 2:
        return []
    sentences = []
    unseen = found.group("test")
    if unseen:
        sentences += [
            f"{clean(unseen.sides[change.side].name, 60)}, on identities that were not tuned on: "
            f"{bias_change_sentence(change.bias, found.margin)}"
            for change in unseen.changes
        ]
    table = _table("PB by who asks and how (change; its 95 % interval)", "Condition", rows)
    return [Section("carried-over", "Does it carry over?", sentences, [table])]


def _what_was_done(found: Mitigation) -> Section:
    blocks: list[Any] = []
    if found.search:
        blocks += [_round_table(found.search, n) for n in range(len(found.search.rounds))]
    notes = [clean(note, 600) for note in found.notes]
    sentences = [clean(line, 600) for line in what_was_done(found)]
    return Section("done", "What was done", sentences, blocks, warnings=notes)


def _round_table(search: SearchResult, number: int) -> Table:
    each = search.rounds[number]
    rows = [
        Row(
            clean(trial.defense, 60),
            [
                points(trial.pb),
                points(trial.safety),
                points(trial.utility),
                points(trial.over_refusal),
                points(trial.value),
            ],
        )
        for trial in [each.reference, *each.trials]
    ]
    return Table(
        f"Search, round {number + 1} of {len(search.rounds)}: {each.items:,} tuning questions",
        ["Defense", "PB", "safety", "utility", "over-refusal", "PB and points lost"],
        rows,
    )


def _table(caption: str, head: str, rows: Rows) -> Table:
    body = [Row(clean(row[0], 60), [Cell(text) for text in row[1:]]) for row in rows[1:]]
    return Table(caption, [head, *rows[0][1:]], body)
