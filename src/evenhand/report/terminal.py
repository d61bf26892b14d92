"""The audit on a terminal: the headline, the axes, who differs most, and the trade-off."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from evenhand.analysis.results import Audit, Interaction, SettingResult
from evenhand.axes import AVERAGED_AXES, AXES
from evenhand.report.changes import comparison_sentences
from evenhand.report.map_text import trade_off_text
from evenhand.report.plain import standing_sentence
from evenhand.report.rows import (
    Rows,
    axis_name,
    bias_rows,
    defense_rows,
    difference_cell,
    most_different,
    narrow_people_rows,
    people_rows,
    setting_rows,
)
from evenhand.report.sentences import (
    category_sentence,
    cue_sentence,
    judge_sentence,
    placebo_sentence,
    relevance_sentence,
    shift_sentence,
    trade_off_sentence,
    verdict,
)
from evenhand.text import one_line

_MOST_SHOWN = 8
_GAP = 2
"""Blanks between two columns."""
ROOM_FOR_INTERVALS = 56
"""Columns of a terminal on which two differences have room for their intervals."""


def print_audit(audit: Audit, console: Console) -> None:
    """Print an audit; 80 columns suffice, and with fewer what matters less is left out."""
    console.print(Text(f"evenhand audit of {one_line(audit.model)}", style="bold"))
    console.print(Text(_extent(audit)))
    if len(audit.judges) > 1:
        console.print(Text(f"judge: {one_line(audit.judge)}"))
    if audit.unscored_reasons:
        parts = [f"{one_line(why)} {count:,}" for why, count in audit.unscored_reasons.items()]
        console.print(Text(f"unscored: {', '.join(parts)}"))
    for note in audit.notes:
        console.print(Text(f"! {one_line(note, 600)}", style="yellow"))
    console.print()
    if len(audit.settings) > 1:
        print_table(
            console,
            f"All {len(audit.settings)} combinations of cue and defense; below, the first",
            setting_rows(audit.settings),
            drop=(
                "plug-in",
                "noise floor",
                *(AXES[name].label for name in reversed(AVERAGED_AXES)),
            ),
        )
        console.print()
    print_setting(audit.head, audit.margin, console)
    for axis, components in audit.cues.items():
        console.print()
        console.print(Text(cue_sentence(axis_name(axis), components)))
    for found in audit.relevance:
        console.print()
        console.print(Text(relevance_sentence(found)))
    for change in audit.defenses:
        console.print()
        sentences = comparison_sentences(change.change, audit.margin)
        console.print(Text(" ".join(sentences), style="bold"))
        title = f"Defense {change.after} against {change.before}, cue {change.cue}"
        print_table(console, title, defense_rows(change.change), drop=("before", "after", "p"))


def _extent(audit: Audit) -> str:
    benchmarks = ", ".join(f"{one_line(name)} {n:,}" for name, n in audit.benchmarks.items())
    return (
        f"{audit.done:,} of {audit.cells:,} answers: {len(audit.identities)} identities on "
        f"{benchmarks}; {audit.unscored:,} unscored, {audit.failed_attempts:,} failed attempts"
    )


def print_setting(setting: SettingResult, margin: float, console: Console) -> None:
    """Print what was found under one cue and defense."""
    console.print(Text(" ".join(headline(setting, margin)), style="bold"))
    console.print()
    print_table(
        console,
        "",
        bias_rows(setting),
        drop=("noise floor", "plug-in", "no identity", "mean"),
        styles={"both axes": "bold", "placebos": "dim"},
    )
    if any(axis.mean is not None for who in setting.identities for axis in who.axes.values()):
        console.print()
        _print_people(setting, console)
    for axis, result in setting.axes.items():
        if sentence := category_sentence(axis_name(axis), result.categories):
            console.print(Text(one_line(sentence, 600)))
    if summary := standing_sentence(setting.identities, margin):
        console.print(Text(summary))
    for axis, result in setting.axes.items():
        if result.judge:
            console.print(Text(judge_sentence(axis_name(axis), result.judge)))
    if setting.trade_off:
        console.print(Text(trade_off_sentence(setting.trade_off)))
    if (drawn := trade_off_text(setting, console.width)) is not None:
        console.print()
        console.print(drawn)
    if not setting.interactions and any("+" in person.id for person in setting.identities):
        console.print("To see what two identities do beyond the sum, ask each alone, too.")
    if setting.interactions:
        console.print()
        _print_interactions(setting.interactions, console)


def headline(setting: SettingResult, margin: float) -> list[str]:
    """The sentences above all others."""
    sentences = [verdict(setting.pb, margin)]
    for axis, result in setting.axes.items():
        if result.to_baseline:
            sentences.append(shift_sentence(axis_name(axis), result.to_baseline))
    if setting.beyond_placebo and setting.placebo_pb:
        sentences.append(placebo_sentence(setting.beyond_placebo))
    return [sentence for sentence in sentences if sentence]


def print_table(
    console: Console,
    title: str,
    rows: Rows,
    *,
    drop: Sequence[str] = (),
    styles: dict[str, str] | None = None,
) -> None:
    """Print rows under a title, the first column as text and the others as figures.

    Args:
        drop: names of the columns to leave out, in this order, where the terminal is too narrow.
        styles: of rows, by their first cell.
    """
    rows = _fitting(rows, console.width, drop)
    table = Table(box=None, padding=(0, _GAP, 0, 0))
    for n, name in enumerate(rows[0]):
        table.add_column(Text(name), justify="right" if n else "left", no_wrap=n > 0)
    for row in rows[1:]:
        table.add_row(*(Text(one_line(c)) for c in row), style=(styles or {}).get(row[0], ""))
    if title:
        console.print(Text(title, style="italic"))
    console.print(table)


def _fitting(rows: Rows, width: int, drop: Sequence[str]) -> Rows:
    """The rows without as many of the columns as the width demands; texts may be broken."""
    for name in drop:
        widest = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
        if min(widest[0], 20) + sum(widest[1:]) + _GAP * len(widest) <= width:
            break
        left = [n for n, head in enumerate(rows[0]) if head != name]
        rows = [[row[n] for n in left] for row in rows]
    return rows


def _print_people(setting: SettingResult, console: Console) -> None:
    shown = most_different(setting.identities, _MOST_SHOWN)
    title = (
        f"Farthest from the no-identity baseline: {len(shown)} of {len(setting.identities)} "
        "(* p < 0.05 after Holm)"
    )
    axes = [name for name in setting.axes if AXES[name].in_pb] or list(setting.axes)
    if console.width >= 76:
        print_table(console, title, people_rows(shown, axes))
    else:
        print_table(
            console,
            title,
            narrow_people_rows(shown, axes, intervals=console.width >= ROOM_FOR_INTERVALS),
        )


def _print_interactions(found: Sequence[Interaction], console: Console) -> None:
    def interest(interaction: Interaction) -> tuple[float, float, float]:
        return min(
            ((d.p_holm, d.p_value, -abs(d.estimate)) for d in interaction.axes.values()),
            default=(1.0, 1.0, 0.0),
        )

    shown = sorted(found, key=interest)[:_MOST_SHOWN]
    axes = [name for name in shown[0].axes if AXES[name].in_pb] or list(shown[0].axes)
    intervals = console.width >= ROOM_FOR_INTERVALS
    rows = [["I am ...", *(axis_name(axis) for axis in axes)]]
    for each in shown:
        cells = [difference_cell(each.axes.get(axis), intervals=intervals) for axis in axes]
        rows.append([each.text, *cells])
    title = f"Two identities in one user, beyond the sum of the two: {len(shown)} of {len(found)}"
    print_table(console, title, rows)
