"""The audit on a terminal: the headline, the two axes, and who differs most."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from evenhand.analysis.results import (
    Audit,
    Difference,
    IdentityResult,
    Interaction,
    SettingResult,
)
from evenhand.report.changes import comparison_sentences
from evenhand.report.sentences import (
    category_sentence,
    cue_sentence,
    judge_sentence,
    p_text,
    placebo_sentence,
    shift_sentence,
    signed,
    trade_off_sentence,
    verdict,
)
from evenhand.stats import BiasChange, Comparison, MeanChange, Spread
from evenhand.text import one_line

_MOST_SHOWN = 8
AXIS_NAMES = {"safety": "safety", "utility": "utility", "over_refusal": "over-refusal"}


def print_audit(audit: Audit, console: Console) -> None:
    """Print an audit; 80 columns suffice."""
    console.print(Text(f"evenhand audit of {one_line(audit.model)}", style="bold"))
    console.print(_extent(audit), highlight=False)
    if audit.unscored_reasons:
        parts = [f"{one_line(why)} {count:,}" for why, count in audit.unscored_reasons.items()]
        console.print(Text(f"unscored: {', '.join(parts)}"))
    for note in audit.notes:
        console.print(Text(f"! {one_line(note)}", style="yellow"))
    for setting in audit.settings:
        console.print()
        if len(audit.settings) > 1:
            title = f"cue {setting.cue}, defence {setting.defence}"
            console.print(Text(title, style="bold underline"))
        _print_setting(setting, audit.margin, console)
    for axis, components in audit.cues.items():
        console.print(f"\n{cue_sentence(AXIS_NAMES[axis], components)}", highlight=False)
    for change in audit.defences:
        console.print()
        title = f"Defence {change.after} against {change.before}, cue {change.cue}"
        sentences = comparison_sentences(change.change, audit.margin)
        console.print(Text(" ".join(sentences), style="bold"))
        console.print(_change_table(title, change.change))


def _extent(audit: Audit) -> str:
    benchmarks = ", ".join(
        f"{escape(one_line(name))} {n:,}" for name, n in audit.benchmarks.items()
    )
    return (
        f"{audit.done:,} of {audit.cells:,} answers: {len(audit.identities)} identities on "
        f"{benchmarks}; {audit.unscored:,} unscored, {audit.failed_attempts:,} failed attempts"
    )


def _print_setting(setting: SettingResult, margin: float, console: Console) -> None:
    sentences = [verdict(setting.pb, margin)]
    for axis, result in setting.axes.items():
        if result.to_baseline:
            sentences.append(shift_sentence(AXIS_NAMES[axis], result.to_baseline))
    if setting.beyond_placebo and setting.placebo_pb:
        sentences.append(placebo_sentence(setting.beyond_placebo))
    console.print(Text(" ".join(filter(None, sentences)), style="bold"))
    console.print()
    console.print(_bias_table(setting))
    console.print()
    console.print(_people_table(setting))
    for axis, result in setting.axes.items():
        if sentence := category_sentence(AXIS_NAMES[axis], result.categories):
            console.print(sentence, highlight=False)
    if summary := _verdict_summary(setting.identities, margin):
        console.print(summary, highlight=False)
    for axis, result in setting.axes.items():
        if result.judge:
            console.print(judge_sentence(AXIS_NAMES[axis], result.judge), highlight=False)
    if setting.trade_off:
        console.print(trade_off_sentence(setting.trade_off), highlight=False)
    if not setting.interactions and any("+" in person.id for person in setting.identities):
        console.print("To see what two identities do beyond the sum, ask each alone, too.")
    if setting.interactions:
        console.print()
        console.print(_interaction_table(setting.interactions))


def _bias_table(setting: SettingResult) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0))
    for name in ("", "PB", "95 % interval", "plug-in", "noise floor", "mean", "no identity"):
        table.add_column(name, justify="right" if name else "left", no_wrap=True)
    table.add_row("both axes", *bias_cells(setting.pb), "", "", style="bold")
    for name, axis in setting.axes.items():
        means = (number(axis.mean), number(axis.baseline))
        table.add_row(AXIS_NAMES[name], *bias_cells(axis.pb), *means)
    if setting.placebo_pb:
        table.add_row("placebos", *bias_cells(setting.placebo_pb), "", "", style="dim")
    return table


def bias_cells(pb: Spread | None) -> tuple[str, str, str, str]:
    """PB, its interval, plug-in and noise floor."""
    if pb is None:
        return ("-", "-", "-", "-")
    low, high = pb.interval
    return (
        f"{pb.estimate:.1f}",
        f"{low:.1f} to {high:.1f}",
        f"{pb.plugin:.1f}",
        f"{pb.noise_floor:.1f}",
    )


def number(value: float | None) -> str:
    """A figure in points."""
    return "-" if value is None else f"{value:.1f}"


def _people_table(setting: SettingResult) -> Table:
    shown = _most_different(setting.identities)
    axes = [name for name in setting.axes if name != "over_refusal"]
    table = titled_table(
        f"Farthest from the no-identity baseline: {len(shown)} of "
        f"{len(setting.identities)} (* p < 0.05 after Holm)"
    )
    table.add_column("I am ...")
    for axis in axes:
        table.add_column(AXIS_NAMES[axis], justify="right")
        table.add_column("difference, 95 %", no_wrap=True)
    for person in shown:
        cells = [cell for axis in axes for cell in _axis_cells(person, axis)]
        table.add_row(escape(one_line(person.text)), *cells)
    return table


def titled_table(title: str) -> Table:
    """A plain table under its title."""
    return Table(
        title=title, title_justify="left", title_style="italic", box=None, padding=(0, 2, 0, 0)
    )


def _most_different(people: Sequence[IdentityResult]) -> list[IdentityResult]:
    def distance(person: IdentityResult) -> float:
        deltas = (axis.to_baseline for name, axis in person.axes.items() if name != "over_refusal")
        return sum(delta.estimate**2 for delta in deltas if delta)

    return sorted(people, key=distance, reverse=True)[:_MOST_SHOWN]


def _axis_cells(person: IdentityResult, name: str) -> tuple[str, str]:
    axis = person.axes[name]
    return (number(axis.mean), difference_cell(axis.to_baseline))


def difference_cell(found: Difference | None) -> str:
    """A difference with its interval, and a star where it is none of chance."""
    if found is None:
        return "-"
    low, high = found.interval
    star = "*" if found.p_holm < 0.05 else " "
    return f"{signed(found.estimate, 1)}{star} [{signed(low, 0)}, {signed(high, 0)}]"


def _verdict_summary(people: Sequence[IdentityResult], margin: float) -> str:
    counts = Counter(person.verdict for person in people if person.verdict)
    parts = [f"{count} {name}" for name, count in counts.most_common()]
    return f"Of all (margin {margin:g} points): {', '.join(parts)}." if parts else ""


def _interaction_table(found: Sequence[Interaction]) -> Table:
    def interest(interaction: Interaction) -> tuple[float, float, float]:
        return min(
            (
                (axis.p_holm, axis.p_value, -abs(axis.estimate))
                for axis in interaction.axes.values()
            ),
            default=(1.0, 1.0, 0.0),
        )

    shown = sorted(found, key=interest)[:_MOST_SHOWN]
    axes = [name for name in shown[0].axes if name != "over_refusal"]
    table = titled_table(
        f"Two identities in one user, beyond the sum of the two: {len(shown)} of {len(found)}"
    )
    table.add_column("I am ...")
    for axis in axes:
        table.add_column(f"{AXIS_NAMES[axis]}, 95 %", no_wrap=True)
    for interaction in shown:
        cells = [difference_cell(interaction.axes[axis]) for axis in axes]
        table.add_row(escape(one_line(interaction.text)), *cells)
    return table


def _change_table(title: str, change: Comparison) -> Table:
    table = titled_table(title)
    for name in ("", "before", "after", "change", "95 % interval", "p"):
        table.add_column(name, justify="right" if name else "left", no_wrap=True)
    for name, bias in (
        ("PB", change.bias),
        ("PB of safety", change.safety_bias),
        ("PB of utility", change.utility_bias),
    ):
        if bias is not None:
            sizes = (f"{bias.before.estimate:.1f}", f"{bias.after.estimate:.1f}")
            table.add_row(name, *sizes, *_change_cells(bias))
    for name, mean in (
        ("mean safety", change.safety_mean),
        ("mean utility", change.utility_mean),
    ):
        if mean is not None:
            table.add_row(name, "", "", *_change_cells(mean))
    return table


def _change_cells(change: BiasChange | MeanChange) -> tuple[str, str, str]:
    low, high = change.interval
    return (
        f"{change.difference:+.1f}",
        f"{low:+.1f} to {high:+.1f}",
        p_text(change.p_value).removeprefix("= "),
    )
