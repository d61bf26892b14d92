"""A mitigation on a terminal: all conditions side by side, on what was not tuned on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Console
from rich.text import Text

from evenhand.analysis.compare import ArmComparison
from evenhand.report.changes import interval_text, mean_change_sentences, relevance_change_sentence
from evenhand.report.rows import Rows, axis_name, number
from evenhand.report.sentences import signed
from evenhand.report.terminal import print_table
from evenhand.text import one_line

if TYPE_CHECKING:
    from evenhand.mitigate.results import IdentityGroup, Mitigation
    from evenhand.mitigate.search import SearchResult

_MOST_TRIALS = 5


def print_mitigation(found: Mitigation, console: Console) -> None:
    """Print what was done and what came of it; 80 columns suffice."""
    console.print(Text(f"evenhand mitigate: {one_line(found.model)}", style="bold"))
    for line in what_was_done(found):
        console.print(Text(line))
    for note in found.notes:
        console.print(Text(f"! {one_line(note)}", style="yellow"))
    if found.search:
        console.print()
        print_table(
            console, "The last round of the search, on the tuning part", trials(found.search)
        )
    console.print()
    title = f"On {sum(found.head.items.values())} items that were not tuned on, all identities"
    print_table(console, title, side_by_side(found), drop=("95 %", "change", "over-refusal"))
    for sentence in losses(found.head):
        console.print(Text(f"! {sentence}", style="yellow"))
    rows = carried_over(found)
    if len(rows[0]) > 1:
        console.print()
        title = "PB by who asks and how (* 95 % interval of the change excludes 0)"
        print_table(console, title, rows, drop=[head for head in rows[0] if ", " in head])


def what_was_done(found: Mitigation) -> list[str]:
    """The split, the search and the trainings, in plain words."""
    parts = found.parts
    seen, unseen = parts.cues
    more = f", and by the {_cues(unseen)}" if unseen else ""
    lines = [
        f"Tuned on {parts.items[0]:,} items and {parts.identities[0]} identities, by the "
        f"{_cues(seen)}. Tested on {parts.items[1]:,} other items, on "
        f"{parts.identities[1]} identities more{more}."
    ]
    if found.search:
        search = found.search
        count, rounds = len(search.rounds[0].trials), len(search.rounds)
        cost = "" if search.cost is None else f", ${search.cost:,.2f}"
        lines.append(
            f"Search among {count} defenses in {rounds} rounds, at most {search.planned:,} "
            f"answers ({search.answers:,} sent now{cost}): {search.chosen}."
        )
    lines += [
        f"{training.name}: {training.pairs:,} pairs, {training.steps} steps, "
        f"{training.seconds:,.0f} s; {training.model}."
        for training in found.trainings
    ]
    return lines


def _cues(names: Sequence[str]) -> str:
    return f"{'cue' if len(names) == 1 else 'cues'} {' and '.join(names)}"


def trials(search: SearchResult) -> Rows:
    """How the last candidates did on the tuning part, against no defense."""
    last = search.rounds[-1]
    rows = [["", "PB", "safety", "utility", "over-refusal", "PB + lost"]]
    for trial in [last.reference, *last.trials[:_MOST_TRIALS]]:
        means = [number(trial.safety), number(trial.utility), number(trial.over_refusal)]
        rows.append([trial.defense, signed(trial.pb, 1), *means, signed(trial.value, 1)])
    return rows


def side_by_side(found: Mitigation) -> Rows:
    """Each condition: PB, its change, and the means."""
    head = found.head
    axes = list(head.sides[0].axes)
    names = [*map(axis_name, axes), *(["relevance"] if found.relevance else [])]
    rows = [["", "PB", "95 %", "change", "change, 95 %", *names]]
    for n, side in enumerate(head.sides):
        means = [number(side.axes[axis].mean) for axis in axes]
        if found.relevance:
            relevance = found.relevance.get(side.name)
            means.append(number(relevance.mean) if relevance else "-")
        interval = f"{side.pb.interval[0]:.1f} to {side.pb.interval[1]:.1f}" if side.pb else "-"
        size = number(side.pb.estimate) if side.pb else "-"
        rows.append([side.name, size, interval, *_change(head, n), *means])
    return rows


def losses(found: ArmComparison) -> list[str]:
    """What is not shown to have held up, by condition; empty where everything has."""
    sentences = []
    for change in found.changes:
        name = found.sides[change.side].name
        means = {axis: each.mean for axis, each in change.axes.items()}
        told = [s for s in mean_change_sentences(means) if "held up within" not in s or "not" in s]
        if change.relevance and change.relevance.non_inferiority_p >= 0.05:
            told.append(relevance_change_sentence(change.relevance))
        sentences += [f"{one_line(name)}: {sentence}" for sentence in told]
    return sentences


def carried_over(found: Mitigation, *, whole: bool = False) -> Rows:
    """PB of each condition, for identities and cues that were tuned on and for others.

    Args:
        whole: with the interval of its change; else with a star where that excludes 0.
    """
    groups = [g for g in found.groups if g.people != "all" or g.cue != found.groups[0].cue]
    rows = [["", *(_heading(group, found) for group in groups)]]
    for n, side in enumerate(found.head.sides):
        rows.append([side.name, *(_pb_cell(group.comparison, n, whole) for group in groups)])
    return rows


def _heading(group: IdentityGroup, found: Mitigation) -> str:
    who = {"all": "", "tuning": "seen people", "test": "unseen people"}[group.people]
    cue = f"cue {group.cue}" if group.cue != found.groups[0].cue else ""
    return ", ".join(filter(None, [who, cue]))


def _pb_cell(found: ArmComparison, side: int, whole: bool) -> str:
    pb = found.sides[side].pb
    change = next((c.bias for c in found.changes if c.side == side), None)
    if pb is None or change is None:
        return number(pb.estimate) if pb else "-"
    size = number(pb.estimate)
    if whole:
        return f"{size} ({signed(change.difference, 1)}; {interval_text(change.interval)})"
    low, high = change.interval
    return f"{size}{'*' if low > 0 or high < 0 else ' '}"


def _change(found: ArmComparison, side: int) -> tuple[str, str]:
    change = next((c for c in found.changes if c.side == side), None)
    if change is None or change.bias is None:
        return "", ""
    return signed(change.bias.difference, 1), interval_text(change.bias.interval)


def markdown(found: Mitigation, names: Sequence[str] | None = None) -> str:
    """The figures as Markdown tables, for a model card or a README.

    Args:
        names: of the conditions to show; None for all.
    """
    parts = [_markdown_table(side_by_side(found), names), ""]
    rows = carried_over(found, whole=True)
    if len(rows[0]) > 1:
        parts += [
            "PB by who asks and how (change; its 95 % interval):",
            "",
            _markdown_table(rows, names),
            "",
        ]
    return "\n".join(parts)


def _markdown_table(rows: Rows, names: Sequence[str] | None) -> str:
    kept = [row for row in rows[1:] if names is None or row[0] in names]
    lines = [rows[0], ["---"] * len(rows[0]), *kept]
    return "\n".join("| " + " | ".join(map(_cell, row)) + " |" for row in lines)


def _cell(text: str) -> str:
    return one_line(text).replace("|", "\\|")
