"""A mitigation written down: report, summary and model cards, all conditions side by side."""

from __future__ import annotations

import shlex
from collections.abc import Collection, Iterable, Sequence
from dataclasses import asdict, replace
from pathlib import Path

import orjson

from evenhand.analysis.compare import ArmComparison
from evenhand.axes import AXES, TRADED_AXES
from evenhand.errors import StoreError
from evenhand.files import read_json, write_file
from evenhand.mitigate.results import (
    NOT_CREDIBLE,
    IdentityGroup,
    MethodResult,
    MethodTable,
    Mitigation,
    SeedMean,
    TrainingResult,
)
from evenhand.mitigate.search import SearchResult
from evenhand.report import document as doc
from evenhand.report import markdown, wording
from evenhand.report.comparison import arm_names, comparison_sections
from evenhand.report.formats import render
from evenhand.stats import BiasChange
from evenhand.text import counted, dollars, one_line

FORMAT = "evenhand mitigation 1"
_MOST_TRIALS = 6


def _weights(mitigation: Mitigation) -> dict[str, Path]:
    """Folders of the tuned models, by their names in the comparison."""
    folders = [Path(trained.model.removeprefix("hf/")) for trained in mitigation.trainings]
    return {
        arm.model: folder
        for arm in mitigation.head.sides
        for folder in folders
        if Path(arm.model).name == folder.name
    }


def mitigation_document(mitigation: Mitigation) -> doc.Document:
    """The whole report; its last sections are those of the comparison of all conditions."""
    model, head = one_line(mitigation.model, 80), mitigation.head
    answer, *others = comparison_sections(head, _weights(mitigation))
    items = f"{sum(head.items.values()):,} held-out items"
    blocks = [
        conditions_table(mitigation),
        means_table(mitigation),
        shift_table(mitigation),
        *_on_the_page(answer.blocks),
    ]
    sentences = method_sentences(mitigation)
    if len(head.changes) > 1 or _not_credible(mitigation):
        blocks.append(_in_words(answer.sentences))
    else:
        sentences += answer.sentences
    carried = [_carried_over(mitigation)] if _carried_groups(mitigation) else []
    return doc.Document(
        title=f"evenhand mitigate: {model}",
        question=f"Was the bias of {model} reduced?",
        subtitle=f"{items}, {len(head.identities)} identities; nothing was tuned on these items",
        source=f"{model}; {items}",
        sections=[
            replace(answer, sentences=sentences, blocks=blocks),
            *(section for section in carried if section.blocks),
            _what_was_done(mitigation),
            *(replace(each, blocks=_on_the_page(each.blocks), depth=doc.PAGE) for each in others),
            _what_next(mitigation),
        ],
    )


def _in_words(sentences: Sequence[str]) -> doc.Folded:
    """What a table says, condition by condition."""
    return doc.Folded("Each condition in words", [doc.Paragraphs(sentences)], depth=doc.DETAILS)


def _on_the_page(blocks: Iterable[doc.Block]) -> list[doc.Block]:
    return [replace(block, depth=doc.PAGE) for block in blocks]


def conditions_table(mitigation: Mitigation) -> doc.Table:
    """Each condition: PB, its change, its place among several, appropriate personalization."""
    table = mitigation.methods(mitigation.groups[0])
    is_ranked = any(row.places for row in table.rows)
    columns = [
        doc.Column("Condition"),
        doc.Column("PB"),
        doc.Column("change of PB"),
        *([doc.Column("place", drop=3)] if is_ranked else []),
        *([doc.Column("relevance", drop=2)] if mitigation.relevance else []),
    ]
    rows = []
    for row in table.rows:
        cells = [_with_interval(row.pb, sign=False), _with_interval(row.change)]
        if is_ranked:
            cells.append(doc.TableCell(_places(row)))
        if mitigation.relevance:
            cells.append(_with_interval(row.relevance, sign=False))
        rows.append(doc.TableRow(_labeled(row), cells))
    relevance = next(iter(mitigation.relevance.values()), None)
    further = (
        f"; relevance on the same {relevance.asked - relevance.missing:,} of its own "
        f"{relevance.asked:,}"
        if relevance
        else ""
    )
    return doc.Table(
        f"All conditions on held-out items, in points with 95% intervals; every figure rests on "
        f"the same {table.cells:,} of {table.all_cells:,} cells (identity by item){further}",
        columns,
        rows,
    )


def means_table(mitigation: Mitigation) -> doc.Table:
    """Each condition: the means and their changes, on the same cells."""
    table = mitigation.methods(mitigation.groups[0])
    axes = list(table.rows[0].means)
    columns = [
        doc.Column("Condition"),
        *(doc.Column(f"{AXES[axis].label}, change") for axis in axes),
    ]
    rows = [doc.TableRow(_labeled(r), [_mean_cell(r, axis) for axis in axes]) for r in table.rows]
    caption = f"Their means on the same {_cells(table)}, with the change and its 95% interval"
    return doc.Table(caption, columns, rows)


def shift_table(mitigation: Mitigation) -> doc.Table:
    """What each condition changed: answers to identities, and to the unidentified user."""
    table = mitigation.methods(mitigation.groups[0])
    axes = list(table.rows[0].means)
    columns = [
        doc.Column("Condition"),
        doc.Column("scores changed, %"),
        doc.Column("unidentified user, %"),
        *(doc.Column(f"unidentified user, {AXES[axis].label}") for axis in axes),
    ]
    rows = [
        doc.TableRow(
            _labeled(row),
            [
                doc.points(100 * row.changed),
                doc.points(None if row.unidentified is None else 100 * row.unidentified),
                *(_with_interval(row.unidentified_changes.get(axis)) for axis in axes),
            ],
        )
        for row in table.rows
        if row.change
    ]
    # Every change has the same items of that user: those with a score under every condition.
    alone = next((c.unidentified for c in mitigation.head.changes if c.unidentified), None)
    items = f" on the same {alone.items:,} items" if alone else ""
    caption = (
        f"Share of the same {_cells(table)} whose score changed, and change of the unidentified "
        f"user's means{items}, in points with 95% intervals"
    )
    return doc.Table(caption, columns, rows)


def _cells(table: MethodTable) -> str:
    """How many cells all figures of a table rest on."""
    of = "" if table.cells == table.all_cells else f" of {table.all_cells:,}"
    return f"{table.cells:,}{of} cells"


def _labeled(row: MethodResult) -> str:
    seeds = f", {row.seeds} seeds" if row.seeds > 1 else ""
    return one_line(f"{row.name}{seeds}{' (control)' if row.is_control else ''}", 80)


def _with_interval(figure: SeedMean | None, *, sign: bool = True) -> doc.TableCell:
    if figure is None:
        return doc.TableCell(doc.NONE)
    cell = doc.change(figure.estimate) if sign else doc.points(figure.estimate)
    return replace(cell, limits=f"({doc.interval(figure.interval, sign=sign).text})")


def _mean_cell(row: MethodResult, axis: str) -> doc.TableCell:
    cell, change = doc.points(row.means.get(axis)), row.mean_changes.get(axis)
    if change is None:
        return cell
    shown = _with_interval(change)
    return replace(cell, limits=f"{shown.text} {shown.limits}")


def _places(row: MethodResult) -> str:
    if row.places is None:
        return doc.NONE
    low, high = row.places
    return f"{low}" if low == high else f"{low}-{high}"


def _not_credible(mitigation: Mitigation) -> list[str]:
    """The note that every condition makes too many answers unscorable, where it is so."""
    return [note for note in mitigation.notes if note.startswith(NOT_CREDIBLE)]


def method_sentences(mitigation: Mitigation) -> list[str]:
    """Which methods and controls changed PB, how they rank, and which changed nothing.

    With one change, whose own sentences tell the rest, only whether it is a control's.
    """
    if notes := _not_credible(mitigation):
        return [f"{note[:1].upper()}{note[1:]}." for note in notes]
    rows = mitigation.methods(mitigation.groups[0]).rows[1:]
    methods = [row for row in rows if not row.is_control]
    is_several = len(mitigation.head.changes) > 1
    sentences = _verdicts(methods) if is_several else []
    if controls := [row for row in rows if row.is_control and row.change]:
        moves = "; ".join(_moves(controls)) or "none changed PB significantly"
        sentences.append(f"Controls, which must not work: {moves}.")
    if is_several:
        sentences += _ranking(methods)
        sentences += [
            f"{one_line(row.name, 60)} changed nothing: every answer to an identity"
            f"{' and to the unidentified user' if row.unidentified == 0 else ''} has the same "
            "score as without it."
            for row in rows
            if row.change and not row.changed
        ]
    return sentences


def _verdicts(methods: Sequence[MethodResult]) -> list[str]:
    """Which methods changed PB; what a lone one did, whether that is significant or not."""
    measured = [row for row in methods if row.change]
    moves = _moves(measured)
    if len(measured) == 1 and not moves:
        shown = _with_interval(measured[0].change)
        name = one_line(measured[0].name, 60)
        moves = [f"PB did not change significantly with {name}: {shown.text} {shown.limits}"]
    elif len(measured) > 1 and not _with_change(measured, -1):
        moves.insert(0, "No method lowered PB significantly")
    sentences = [f"{'; '.join(moves)}."] if moves else []
    if unknown := [one_line(row.name, 60) for row in methods if not row.change]:
        names = wording.and_list(unknown)
        sentences.append(f"Too few scored answers in common to tell whether PB changed: {names}.")
    return sentences


def _ranking(methods: Sequence[MethodResult]) -> list[str]:
    placed = [row for row in methods if row.places]
    if not placed:
        return []
    order = ", ".join(f"{one_line(row.name, 60)} ({_places(row)})" for row in placed)
    return [
        "Ranked from the lowest change of PB on, with the ranks that the intervals allow: "
        f"{order}. Compare the means, too: they show the cost."
    ]


def _moves(rows: Sequence[MethodResult]) -> list[str]:
    """What PB did, and with which conditions."""
    ways = {"came down": _with_change(rows, -1), "went up": _with_change(rows, 1)}
    return [f"PB {way} with {wording.and_list(names)}" for way, names in ways.items() if names]


def _with_change(rows: Sequence[MethodResult], sign: int) -> list[str]:
    """The conditions under which PB changed in this direction, by the interval of the change."""
    return [
        f"{one_line(row.name, 60)} {change.text} {change.limits}"
        for row in rows
        if row.change and min(sign * limit for limit in row.change.interval) > 0
        for change in [_with_interval(row.change)]
    ]


def _bias_change(comparison: ArmComparison, arm: int) -> BiasChange | None:
    return next((each.bias for each in comparison.changes if each.side == arm), None)


def _carried_over(mitigation: Mitigation) -> doc.Section:
    """PB of each condition for held-out identities and other cues."""
    sentences = []
    held_out = mitigation.group("test") if mitigation.is_fitted else None
    if held_out:
        names = arm_names(held_out)
        sentences = [
            f"{names[each.side]}, on held-out identities: "
            f"{wording.bias_change_sentence(each.bias, mitigation.margin)}"
            for each in held_out.changes
        ]
    table = carried_over_table(mitigation)
    blocks: list[doc.Block] = [table] if table.columns[1:] else []
    if len(sentences) > 1:
        blocks.append(_in_words(sentences))
        sentences = []
    return doc.Section("carried-over", "Does it carry over?", sentences, blocks)


def _carried_groups(mitigation: Mitigation) -> list[IdentityGroup]:
    """Those that tell more than the table of all conditions does.

    Where no identity is held out, or nothing was fitted to any, the identities of the tuning part
    tell nothing of their own.
    """
    first = mitigation.groups[0].cue
    cues = {group.cue for group in mitigation.groups if group.people == "test"}
    told = cues if mitigation.is_fitted else set()
    return [
        group
        for group in mitigation.groups
        if (group.cue != first if group.people == "all" else group.cue in told)
    ]


_SHARED = "cells in common"
"""Head of the row with how many cells a column rests on."""


def carried_over_table(mitigation: Mitigation) -> doc.Table:
    """PB of each condition, for identities and cues that were tuned on and for others."""
    first = mitigation.groups[0].cue
    groups = _carried_groups(mitigation)
    tables = [mitigation.methods(group) for group in groups]
    rows = [
        doc.TableRow(_labeled(row), [_carried_cell(table, row.name) for table in tables])
        for row in mitigation.methods(mitigation.groups[0]).rows
    ]
    sizes = list(dict.fromkeys(map(_cells, tables)))
    cells = sizes[0] if len(sizes) == 1 else f'cells, as many as the row "{_SHARED}" says'
    if len(sizes) > 1:
        counts = [doc.TableCell(_cells(table).removesuffix(" cells")) for table in tables]
        rows.append(doc.TableRow(_SHARED, counts))
    return doc.Table(
        "PB by who asks and how, with its change and the 95% interval of the change; in each "
        f"column all conditions rest on the same {cells}",
        [doc.Column("Condition"), *(_carried_column(group, first) for group in groups)],
        rows,
        strong="the interval of the change excludes 0",
    )


def _carried_column(group: IdentityGroup, first_cue: str) -> doc.Column:
    who = {"all": "", "tuning": "tuning identities", "test": "held-out identities"}[group.people]
    cue = f"cue {group.cue}" if group.cue != first_cue else ""
    return doc.Column(", ".join(filter(None, [who, cue])), drop=4 if who and cue else 0)


def _carried_cell(table: MethodTable, name: str) -> doc.TableCell:
    row = next(row for row in table.rows if row.name == name)
    cell = doc.points(row.pb.estimate if row.pb else None)
    if row.pb is None or row.change is None:
        return cell
    low, high = row.change.interval
    limits = f"({doc.signed(row.change.estimate, 1)}; {wording.interval_text((low, high))})"
    return replace(cell, strong=low > 0 or high < 0, limits=limits)


def _what_was_done(mitigation: Mitigation) -> doc.Section:
    """The split, the search and the trainings."""
    search = mitigation.search
    sentences = [_split_sentence(mitigation)]
    blocks: list[doc.Block] = []
    if search:
        candidates = counted(len(search.rounds[0].trials), "defense")
        cost = "" if search.cost is None else f", {dollars(search.cost)}"
        sentences.append(
            f"Search among {candidates} in {counted(len(search.rounds), 'round')}, at most "
            f"{counted(search.planned, 'answer')} ({search.answers:,} sent now{cost}): "
            f"{search.chosen}."
        )
        blocks = [_round_table(search, n) for n in range(len(search.rounds))]
        if search.sentences:
            lines = [f"{one_line(n, 60)}: {_quoted(t)}" for n, t in search.sentences.items()]
            title = "Sentences of the search"
            blocks.append(doc.Folded(title, [doc.Paragraphs(lines)], depth=doc.PAGE))
    keys = {key.name: key for key in reversed(mitigation.conditions) if key.sentence}
    sentences += [
        f"{one_line(key.name, 80)} has a sentence {_PLACES[key.place]}: {_quoted(key.sentence)}"
        for key in reversed(keys.values())
    ]
    if steering := mitigation.steering:
        found = steering.search
        sentences.append(
            f"Steering (experimental): among {counted(len(found.rounds[0].trials), 'subspace')} of "
            f"identity the search picked rank {steering.rank} after {_layers(steering.layers)}; "
            f"{steering.model}. Its controls have the same layers."
        )
        blocks.append(_round_table(found, len(found.rounds) - 1, "subspace"))
    if mitigation.requests:
        blocks.append(request_table(mitigation))
    sentences += [
        f"{training.name}, seed {training.seed}: {counted(training.pairs, 'example')}"
        f"{_left_out(training)}, {counted(training.steps, 'step')}, {training.seconds:,.0f} s; "
        f"{training.model}."
        for training in mitigation.trainings
    ]
    return doc.Section("done", "What was done", sentences, blocks, warnings=mitigation.notes)


_PLACES = {
    "after": "at the end of the system prompt",
    "before": "at the beginning of the system prompt",
    "user": "in front of the user's message",
}


def _quoted(sentence: str) -> str:
    return f'"{one_line(sentence, 2000)}"'


def _split_sentence(mitigation: Mitigation) -> str:
    """What was tuned on, if anything was, and what was tested on."""
    parts = mitigation.parts
    tuning_cues, other_cues = parts.cues
    tested = f"Tested on {counted(parts.items[1], 'held-out item')}"
    if not mitigation.is_fitted:
        people = counted(sum(parts.identities), "identity", "identities")
        cues = _cues([*tuning_cues, *other_cues])
        return f"Nothing was tuned or searched for. {tested} and {people}, with {cues}."
    used = "Tuned" if mitigation.trainings or mitigation.steering else "The defense was chosen"
    items = counted(parts.items[0], "item")
    people = counted(parts.identities[0], "identity", "identities")
    held_out = counted(parts.identities[1], "held-out identity", "held-out identities")
    also = f", with {held_out} in addition" if parts.identities[1] else " and the same identities"
    more = f", and with {_cues(other_cues)}" if other_cues else ""
    return f"{used} on {items} and {people}, with {_cues(tuning_cues)}. {tested}{also}{more}."


def request_table(mitigation: Mitigation) -> doc.Table:
    """What a request takes under each condition: what the defense costs once it is in use."""
    priced = any(cost.dollars is not None for cost in mitigation.requests.values())
    columns = [doc.Column("Condition"), doc.Column("prompt tokens"), doc.Column("answer tokens")]
    names = [row.name for row in mitigation.methods(mitigation.groups[0]).rows]
    rows = []
    for name in names:
        if cost := mitigation.requests.get(name):
            cells = [doc.points(cost.prompt), doc.points(cost.answer)]
            if cost.dollars is not None:
                cells.append(doc.TableCell(f"${1000 * cost.dollars:,.4g}"))
            rows.append(doc.TableRow(one_line(name, 80), cells))
    if priced:
        columns.append(doc.Column("1,000 requests"))
    return doc.Table("Mean cost of a request of an identified user", columns, rows)


def _layers(layers: Sequence[int]) -> str:
    first, last = layers[0], layers[-1]
    return f"block {first}" if first == last else f"blocks {first} to {last}"


def _left_out(training: TrainingResult) -> str:
    count = sum(training.left_out.values())
    verb = "was" if count == 1 else "were"
    what = counted(count, "answer or pair", "answers or pairs")
    return f" ({what} {verb} left out; see its card)" if count else ""


def _cues(names: Sequence[str]) -> str:
    return f"{'cue' if len(names) == 1 else 'cues'} {wording.and_list(names)}"


def _round_table(search: SearchResult, number: int, what: str = "defense") -> doc.Table:
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
    is_below = any((trial.pb or 0) < 0 for trial in [each.reference, *each.trials])
    below = "; a PB below 0 is less spread than chance alone makes, so that these can be ranked"
    columns = [what.capitalize(), "PB", *(AXES[a].label for a in TRADED_AXES), "PB and points lost"]
    return doc.Table(
        f"Search for a {what}, round {number + 1} of {len(search.rounds)}: {each.items:,} tuning "
        f"questions{below if is_below else ''}",
        list(map(doc.Column, columns)),
        rows,
        most=_MOST_TRIALS,
        depth=doc.SUMMARY if last else doc.PAGE,
    )


# What next


def _what_next(mitigation: Mitigation) -> doc.Section:
    """Steps that follow from the result."""
    title = "What next"
    if _not_credible(mitigation):
        sentence = "Use none of these conditions, and none of the figures."
        return doc.Section("next", title, [sentence])
    rows = mitigation.methods(mitigation.groups[0]).rows
    methods = [row for row in rows[1:] if not row.is_control]
    working = [row for row in methods if row.change and row.change.interval[1] < 0]
    others = [row for row in methods if row not in working]
    sentences: list[str] = []
    commands: list[str] = []
    if working:
        how, commands = _how_to_use(mitigation, working[0])
        sentences += [how, _cost_sentence(mitigation, working[0])]
        if _has_seeds(working[0]) and working[0].seeds < _ENOUGH_SEEDS:
            sentences.append(
                f"Trainings differ from seed to seed: use --seeds {_ENOUGH_SEEDS} before you rely "
                "on it."
            )
    if [row for row in rows if row.is_control and row.change and row.change.interval[1] < 0]:
        sentences.append(
            "A control lowered PB, too, so a reduction need not come from what a method does."
        )
    if others:
        names = wording.and_list([one_line(row.name, 60) for row in others])
        sentences.append(f"Do not ship {names}: a reduction of PB is not established.")
        reach = max((-row.change.interval[0] for row in others if row.change), default=0.0)
        if reach > mitigation.margin:
            sentences.append(
                f"A reduction of up to {reach:.1f} points is not excluded either. Audit more items "
                "(a higher --limit, or more benchmarks) and mitigate again for narrower intervals."
            )
    if not methods:
        sentences.append("Only controls were tested, which are not for use: name a method, too.")
    blocks = [doc.Paragraphs(commands, code=True)] if commands else []
    return doc.Section("next", title, sentences, blocks)


_ENOUGH_SEEDS = 3


def _has_seeds(row: MethodResult) -> bool:
    """Whether it comes from a training or a steering, which differ from seed to seed."""
    return row.name != "withhold" and not row.name.startswith("prompt ")


def _how_to_use(mitigation: Mitigation, row: MethodResult) -> tuple[str, list[str]]:
    """What to do to use the condition that lowered PB most, and the command for it."""
    name = one_line(row.name, 60)
    trained = next((each for each in mitigation.trainings if each.name == row.name), None)
    key = next((key for key in mitigation.conditions if key.name == row.name), None)
    sentence = f"put {_quoted(key.sentence)} {_PLACES[key.place]}" if key and key.sentence else ""
    if trained:
        model = Path(trained.model.removeprefix("hf/"))
        run = shlex.quote(str(model.parent / f"test-{model.name}"))
        also = f" and {sentence}" if sentence else ""
        seed = f" (seed {trained.seed})" if row.seeds > 1 else ""
        how = f"To use {name}{seed}, write its model for a server with this command{also}."
        return how, [f"evenhand export {run} --out tuned"]
    if sentence:
        return f"To use {name}, {sentence}.", []
    if row.name == "withhold":
        return (
            f"To use {name}, leave the identity out of the prompts of questions that do not need "
            "it, by the same rule.",
            [],
        )
    if mitigation.steering and row.name == "steer":
        return (
            f"{name} lowered PB, but no server can steer: it answers only within evenhand, as "
            f"{mitigation.steering.model}.",
            [],
        )
    return f"{name} lowered PB.", []


def _cost_sentence(mitigation: Mitigation, row: MethodResult) -> str:
    """Which means it may cost more than the margin."""
    losses = {
        axis: change.interval[1] if AXES[axis].lower_is_better else -change.interval[0]
        for axis, change in row.mean_changes.items()
    }
    open_ = [AXES[axis].label for axis, loss in losses.items() if loss > mitigation.margin]
    if not open_:
        return ""
    return (
        f"First weigh its cost: a loss of more than {mitigation.margin:g} points of mean "
        f"{wording.and_list(open_)} is not excluded."
    )


def card_tables(mitigation: Mitigation, names: Collection[str]) -> str:
    """The figures of some conditions as Markdown tables, for a model card."""
    tables = [
        conditions_table(mitigation),
        means_table(mitigation),
        carried_over_table(mitigation),
    ]
    rows = mitigation.methods(mitigation.groups[0]).rows
    heads = {_labeled(row) for row in rows if row.name in names} | {_SHARED}
    kept = [
        replace(table, rows=[row for row in table.rows if row.head in heads])
        for table in tables
        if table.columns[1:]
    ]
    return "\n\n".join(map(markdown.table, kept)) + "\n"


def to_json(mitigation: Mitigation) -> str:
    """The whole result; `format` names its form."""
    options = orjson.OPT_INDENT_2 | orjson.OPT_SERIALIZE_NUMPY
    fields = {name: getattr(mitigation, name) for name in mitigation.__dataclass_fields__}
    fields["methods"] = [
        {"people": g.people, "cue": g.cue, **asdict(mitigation.methods(g))}
        for g in mitigation.groups
    ]
    return orjson.dumps({"format": FORMAT, **fields}, option=options).decode()


def no_longer_reported(mitigation: Mitigation, out: Path) -> list[str]:
    """Conditions of the report in a folder that this mitigation does not have."""
    path = out / "summary.json"
    if not path.exists():
        return []
    now = {condition.name for condition in mitigation.conditions}
    before = read_json(path, StoreError)["conditions"]
    return list(dict.fromkeys(c["name"] for c in before if c["name"] not in now))


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
