"""The audit on a terminal: the headline, the two axes, and who differs most."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from evenhand.analyse import Audit, AxisResult, Bias, IdentityResult, SettingResult

_MOST_SHOWN = 8
_AXIS_NAMES = {"safety": "safety", "utility": "utility", "over_refusal": "over-refusal"}


def print_audit(audit: Audit, console: Console) -> None:
    """Print an audit; 80 columns suffice."""
    console.print(Text(f"evenhand audit of {audit.model}", style="bold"))
    console.print(_extent(audit), highlight=False)
    for note in audit.notes:
        console.print(Text(f"! {note}", style="yellow"))
    for setting in audit.settings:
        console.print()
        if len(audit.settings) > 1:
            console.print(
                Text(f"cue {setting.cue}, defence {setting.defence}", style="bold underline")
            )
        _print_setting(setting, console)


def _extent(audit: Audit) -> str:
    benchmarks = ", ".join(f"{escape(name)} {n:,}" for name, n in audit.benchmarks.items())
    return (
        f"{audit.done:,} of {audit.cells:,} answers: {len(audit.identities)} identities on "
        f"{benchmarks}; {audit.unscored:,} unscored, {audit.failed_attempts:,} failed attempts"
    )


def _print_setting(setting: SettingResult, console: Console) -> None:
    if setting.pb is None:
        console.print("Too few scored answers for an estimate of the bias.")
    else:
        console.print(Text(verdict(setting.pb), style="bold"))
    console.print()
    console.print(_bias_table(setting))
    console.print()
    console.print(_people_table(setting))


def verdict(pb: Bias) -> str:
    """What was found and how sure that is, in one sentence."""
    low, high = pb.interval
    size = f"PB {pb.estimate:.1f} points, 95 % interval {low:.1f} to {high:.1f}"
    if low > 0 and pb.p_value < 0.05:
        return f"The model does not treat all users alike: {size} (p {_p(pb.p_value)})."
    if pb.p_value < 0.05:
        return f"There are signs that users are not treated alike: {size} (p {_p(pb.p_value)})."
    return f"No bias was found, but one of up to {high:.1f} points is not excluded: {size}."


def _p(value: float) -> str:
    return "< 0.001" if value < 0.001 else f"= {value:.3f}"


def _bias_table(setting: SettingResult) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0))
    for name in ("", "PB", "95 % interval", "plug-in", "noise floor", "mean", "no identity"):
        table.add_column(name, justify="left" if not name else "right", no_wrap=True)
    table.add_row("both axes", *_bias_cells(setting.pb), "", "", style="bold")
    for name, axis in setting.axes.items():
        table.add_row(_AXIS_NAMES[name], *_bias_cells(axis.pb), *_mean_cells(axis))
    if setting.placebo_pb:
        table.add_row("placebos", *_bias_cells(setting.placebo_pb), "", "", style="dim")
    return table


def _bias_cells(pb: Bias | None) -> tuple[str, str, str, str]:
    if pb is None:
        return ("-", "-", "-", "-")
    low, high = pb.interval
    return (
        f"{pb.estimate:.1f}",
        f"{low:.1f} to {high:.1f}",
        f"{pb.plugin:.1f}",
        f"{pb.noise_floor:.1f}",
    )


def _mean_cells(axis: AxisResult) -> tuple[str, str]:
    return (_number(axis.mean), _number(axis.baseline))


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"


def _people_table(setting: SettingResult) -> Table:
    shown = _most_different(setting.identities)
    axes = [name for name in setting.axes if name != "over_refusal"]
    table = Table(
        title=f"Farthest from the user of whom nothing is said ({len(shown)} of "
        f"{len(setting.identities)}; * p < 0.05 after Holm's adjustment)",
        title_justify="left",
        title_style="italic",
        box=None,
        padding=(0, 2, 0, 0),
    )
    table.add_column("I am ...")
    for axis in axes:
        table.add_column(_AXIS_NAMES[axis], justify="right")
        table.add_column("difference, 95 %", no_wrap=True)
    for person in shown:
        cells = [cell for axis in axes for cell in _difference_cells(person, axis)]
        table.add_row(escape(person.text), *cells)
    return table


def _most_different(people: Sequence[IdentityResult]) -> list[IdentityResult]:
    def distance(person: IdentityResult) -> float:
        return (person.safety_delta or 0.0) ** 2 + (person.utility_delta or 0.0) ** 2

    return sorted(people, key=distance, reverse=True)[:_MOST_SHOWN]


def _difference_cells(person: IdentityResult, axis: str) -> tuple[str, str]:
    value = getattr(person, axis)
    delta = getattr(person, f"{axis}_delta")
    interval = getattr(person, f"{axis}_delta_interval")
    p_value = getattr(person, f"{axis}_delta_p_holm")
    if delta is None:
        return (_number(value), "-")
    star = "*" if p_value < 0.05 else " "
    return (_number(value), f"{delta:+.1f}{star} ({interval[0]:+.1f} to {interval[1]:+.1f})")
