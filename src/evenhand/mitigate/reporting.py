"""A mitigation written down: report, summary and model cards, all conditions side by side."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import orjson

from evenhand.analysis.compare import ArmComparison
from evenhand.axes import AXES, TRADED_AXES
from evenhand.errors import StoreError
from evenhand.files import write_file
from evenhand.mitigate.results import IdentityGroup, Mitigation, TrainingResult
from evenhand.mitigate.search import SearchResult
from evenhand.report import document as doc
from evenhand.report import markdown, wording
from evenhand.report.comparison import arm_names, comparison_sections
from evenhand.report.formats import render
from evenhand.report.tables import axis_drop
from evenhand.stats import BiasChange, is_significant
from evenhand.stats.permutation import ALPHA
from evenhand.text import one_line

FORMAT = "evenhand mitigation 1"
_MOST_TRIALS = 6


def mitigation_document(mitigation: Mitigation) -> doc.Document:
    """The whole report; its last sections are those of the comparison of all conditions."""
    model, head = one_line(mitigation.model, 80), mitigation.head
    answer, *others = comparison_sections(head)
    items = f"{sum(head.items.values()):,} held-out items"
    blocks = [conditions_table(mitigation), *_on_the_page(answer.blocks)]
    carried = [_carried_over(mitigation)] if mitigation.groups[1:] else []
    return doc.Document(
        title=f"evenhand mitigate: {model}",
        question=f"Was the bias of {model} reduced?",
        subtitle=f"{items}, {len(head.identities)} identities; nothing was tuned on these items",
        source=f"{model}; {items}",
        sections=[
            replace(answer, blocks=blocks),
            *(section for section in carried if section.blocks),
            _what_was_done(mitigation),
            *(replace(each, blocks=_on_the_page(each.blocks), depth=doc.PAGE) for each in others),
        ],
    )


def _on_the_page(blocks: Iterable[doc.Block]) -> list[doc.Block]:
    return [replace(block, depth=doc.PAGE) for block in blocks]


def conditions_table(mitigation: Mitigation) -> doc.Table:
    """Each condition: PB, its change, and the means."""
    head = mitigation.head
    axes = list(head.sides[0].axes)
    columns = [
        doc.Column("Condition"),
        doc.Column("PB"),
        doc.Column("95% interval", drop=7),
        doc.Column("change", drop=5),
        doc.Column("95% of the change", drop=5),
        *(doc.Column(AXES[axis].label, axis_drop(axis, 0)) for axis in axes),
        *([doc.Column("relevance")] if mitigation.relevance else []),
    ]
    rows = []
    for n, (name, arm) in enumerate(zip(arm_names(head), head.sides, strict=True)):
        bias = _bias_change(head, n)
        cells = [
            doc.points(arm.pb.estimate if arm.pb else None),
            doc.interval(arm.pb.interval if arm.pb else None, sign=False),
            doc.change(bias.difference if bias else None),
            doc.interval(bias.interval if bias else None),
            *(doc.points(arm.axes[axis].mean) for axis in axes),
        ]
        if mitigation.relevance:
            relevance = mitigation.relevance.get(arm.name)
            cells.append(doc.points(relevance.mean if relevance else None))
        rows.append(doc.TableRow(name, cells))
    return doc.Table("Conditions on held-out items, all identities, in points", columns, rows)


def _bias_change(comparison: ArmComparison, arm: int) -> BiasChange | None:
    return next((each.bias for each in comparison.changes if each.side == arm), None)


def _carried_over(mitigation: Mitigation) -> doc.Section:
    """PB of each condition for held-out identities and other cues."""
    sentences = []
    if held_out := mitigation.group("test"):
        names = arm_names(held_out)
        sentences = [
            f"{names[each.side]}, on held-out identities: "
            f"{wording.bias_change_sentence(each.bias, mitigation.margin)}"
            for each in held_out.changes
        ]
    table = carried_over_table(mitigation)
    blocks = [table] if table.columns[1:] else []
    return doc.Section("carried-over", "Does it carry over?", sentences, blocks)


def carried_over_table(mitigation: Mitigation) -> doc.Table:
    """PB of each condition, for identities and cues that were tuned on and for others."""
    first = mitigation.groups[0].cue
    groups = [g for g in mitigation.groups if g.people != "all" or g.cue != first]
    rows = [
        doc.TableRow(name, [_carried_cell(group.comparison, n) for group in groups])
        for n, name in enumerate(arm_names(mitigation.head))
    ]
    return doc.Table(
        "PB by who asks and how, with its change and the 95% interval of the change",
        [doc.Column("Condition"), *(_carried_column(group, first) for group in groups)],
        rows,
        strong=f"the change is significant, p < {ALPHA:g}",
    )


def _carried_column(group: IdentityGroup, first_cue: str) -> doc.Column:
    who = {"all": "", "tuning": "tuning identities", "test": "held-out identities"}[group.people]
    cue = f"cue {group.cue}" if group.cue != first_cue else ""
    return doc.Column(", ".join(filter(None, [who, cue])), drop=4 if who and cue else 0)


def _carried_cell(comparison: ArmComparison, arm: int) -> doc.TableCell:
    pb, bias = comparison.sides[arm].pb, _bias_change(comparison, arm)
    cell = doc.points(pb.estimate if pb else None)
    if pb is None or bias is None:
        return cell
    limits = f"({doc.signed(bias.difference, 1)}; {wording.interval_text(bias.interval)})"
    return replace(cell, strong=is_significant(bias.p_value), limits=limits)


def _what_was_done(mitigation: Mitigation) -> doc.Section:
    """The split, the search and the trainings."""
    parts, search = mitigation.parts, mitigation.search
    tuning_cues, other_cues = parts.cues
    more = f", and with {_cues(other_cues)}" if other_cues else ""
    sentences = [
        f"Tuned on {parts.items[0]:,} items and {parts.identities[0]} identities, with "
        f"{_cues(tuning_cues)}. Tested on {parts.items[1]:,} held-out items, with "
        f"{parts.identities[1]} held-out identities in addition{more}."
    ]
    blocks: list[doc.Block] = []
    if search:
        candidates, rounds = len(search.rounds[0].trials), len(search.rounds)
        cost = "" if search.cost is None else f", ${search.cost:,.2f}"
        sentences.append(
            f"Search among {candidates} defenses in {rounds} rounds, at most {search.planned:,} "
            f"answers ({search.answers:,} sent now{cost}): {search.chosen}."
        )
        blocks = [_round_table(search, n) for n in range(rounds)]
    sentences += [
        f"{training.name}: {training.pairs:,} pairs{_left_out(training)}, {training.steps} steps, "
        f"{training.seconds:,.0f} s; {training.model}."
        for training in mitigation.trainings
    ]
    return doc.Section("done", "What was done", sentences, blocks, warnings=mitigation.notes)


def _left_out(training: TrainingResult) -> str:
    count = sum(training.left_out.values())
    return f" ({count:,} answers or pairs were left out; see its card)" if count else ""


def _cues(names: Sequence[str]) -> str:
    return f"{'cue' if len(names) == 1 else 'cues'} {wording.and_list(names)}"


def _round_table(search: SearchResult, number: int) -> doc.Table:
    each, last = search.rounds[number], number == len(search.rounds) - 1
    rows = [
        doc.TableRow(
            one_line(trial.defense, 60),
            [
                doc.points(trial.pb),
                *(doc.points(getattr(trial, axis)) for axis in TRADED_AXES),
                doc.points(trial.value),
            ],
        )
        for trial in [each.reference, *each.trials]
    ]
    columns = ["Defense", "PB", *(AXES[a].label for a in TRADED_AXES), "PB and points lost"]
    return doc.Table(
        f"Search, round {number + 1} of {len(search.rounds)}: {each.items:,} tuning questions",
        list(map(doc.Column, columns)),
        rows,
        most=_MOST_TRIALS,
        depth=doc.SUMMARY if last else doc.PAGE,
    )


def card_tables(mitigation: Mitigation, names: Collection[str]) -> str:
    """The figures of some conditions as Markdown tables, for a model card."""
    tables = [conditions_table(mitigation), carried_over_table(mitigation)]
    kept = [
        replace(table, rows=[row for row in table.rows if row.head in names])
        for table in tables
        if table.columns[1:]
    ]
    return "\n\n".join(map(markdown.table, kept)) + "\n"


def to_json(mitigation: Mitigation) -> str:
    """The whole result; `format` names its form."""
    options = orjson.OPT_INDENT_2 | orjson.OPT_SERIALIZE_NUMPY
    fields = {name: getattr(mitigation, name) for name in mitigation.__dataclass_fields__}
    return orjson.dumps({"format": FORMAT, **fields}, option=options).decode()


def write_results(mitigation: Mitigation, out: Path) -> Path:
    """Write OUT/summary.json, OUT/report.html and the cards of the tuned models.

    Returns:
        The page.

    Raises:
        StoreError: the folder cannot be written.
    """
    try:
        write_file(out / "summary.json", to_json(mitigation))
        if mitigation.trainings:
            from evenhand.mitigate.job import write_card

            for training in mitigation.trainings:
                tables = card_tables(mitigation, {training.name, "none"})
                write_card(Path(training.model.removeprefix("hf/")), tables)
    except OSError as error:
        raise StoreError(f"cannot write to {out}: {error.strerror}") from None
    page = out / "report.html"
    write_file(page, render(mitigation_document(mitigation), "html"))
    return page
