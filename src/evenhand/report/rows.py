"""The tables of a report as rows of plain cells, for every form that is made of text."""

from __future__ import annotations

from collections.abc import Sequence

from evenhand.analysis.compare import ArmChange, ArmComparison
from evenhand.analysis.results import Difference, IdentityResult, SettingResult
from evenhand.axes import AXES
from evenhand.report.changes import direction, interval_text
from evenhand.report.sentences import p_text, signed
from evenhand.stats import BiasChange, Comparison, MeanChange, Spread

Rows = list[list[str]]
"""The head first; cells hold text from elsewhere as it came."""


def axis_name(axis: str) -> str:
    """An axis in text."""
    return AXES[axis].label if axis in AXES else axis


def number(value: float | None) -> str:
    """A figure in points."""
    return "-" if value is None else f"{round(value, 1) + 0.0:.1f}"


def bias_cells(pb: Spread | None) -> tuple[str, str, str, str]:
    """PB, its interval, plug-in and noise floor."""
    if pb is None:
        return ("-", "-", "-", "-")
    low, high = pb.interval
    return (
        number(pb.estimate),
        f"{low:.1f} to {high:.1f}",
        number(pb.plugin),
        number(pb.noise_floor),
    )


def difference_cell(found: Difference | None, *, intervals: bool = True) -> str:
    """A difference with its interval, and a star where it is none of chance."""
    if found is None:
        return "-"
    low, high = found.interval
    star = "*" if found.p_holm < 0.05 else " "
    if not intervals:
        return f"{signed(found.estimate, 1)}{star}"
    return f"{signed(found.estimate, 1)}{star} [{signed(low, 0)}, {signed(high, 0)}]"


def bias_rows(setting: SettingResult) -> Rows:
    """The headline: PB of both axes, of each, and of the placebos."""
    rows = [["", "PB", "95 % interval", "plug-in", "noise floor", "mean", "no identity"]]
    rows.append(["both axes", *bias_cells(setting.pb), "", ""])
    for name, axis in setting.axes.items():
        means = (number(axis.mean), number(axis.baseline))
        rows.append([axis_name(name), *bias_cells(axis.pb), *means])
    if setting.placebo_pb:
        rows.append(["placebos", *bias_cells(setting.placebo_pb), "", ""])
    return rows


def people_rows(people: Sequence[IdentityResult], axes: Sequence[str]) -> Rows:
    """Each identity: its mean on each axis, and its difference to the baseline."""
    head = ["I am ..."]
    for axis in axes:
        head += [axis_name(axis), "difference, 95 %"]
    rows = [head]
    for person in people:
        row = [person.text]
        for axis in axes:
            found = person.axes[axis]
            row += [number(found.mean), difference_cell(found.to_baseline)]
        rows.append(row)
    return rows


def narrow_people_rows(
    people: Sequence[IdentityResult], axes: Sequence[str], *, intervals: bool
) -> Rows:
    """Each identity: its difference to the baseline alone, for a narrow terminal."""
    rows = [["I am ...", *map(axis_name, axes)]]
    for person in people:
        found = (person.axes[axis].to_baseline for axis in axes)
        rows.append([person.text, *(difference_cell(d, intervals=intervals) for d in found)])
    return rows


def setting_rows(settings: Sequence[SettingResult]) -> Rows:
    """Each cue and defense: PB, and the mean of each axis."""
    axes = list(settings[0].axes)
    rows = [
        ["cue, defense", "PB", "95 % interval", "plug-in", "noise floor", *map(axis_name, axes)]
    ]
    for setting in settings:
        means = [number(setting.axes[axis].mean) for axis in axes]
        rows.append([f"{setting.cue}, {setting.defense}", *bias_cells(setting.pb), *means])
    return rows


def side_rows(found: ArmComparison) -> Rows:
    """Each side of a comparison: PB, and mean of each axis."""
    axes = list(found.sides[0].axes)
    rows = [["", "PB", "95 % interval", "plug-in", "noise floor", *map(axis_name, axes)]]
    for side in found.sides:
        means = [number(side.axes[axis].mean) for axis in axes]
        rows.append([side.name, *bias_cells(side.pb), *means])
    return rows


def change_rows(found: ArmComparison, change: ArmChange) -> Rows:
    """What changed from the first side to another: PB, PB of each axis, the means."""
    rows = [["", "before", "after", "change", "95 % interval", "p"]]
    biases = {"PB": change.bias}
    biases |= {f"PB of {axis_name(axis)}": each.bias for axis, each in change.axes.items()}
    for name, bias in biases.items():
        if bias is not None:
            sizes = (number(bias.before.estimate), number(bias.after.estimate))
            rows.append([name, *sizes, *_change_cells(bias)])
    sides = found.sides[0], found.sides[change.side]
    for axis, each in change.axes.items():
        means = [number(side.axes[axis].mean) for side in sides]
        rows.append([f"mean {axis_name(axis)}", *means, *_change_cells(each.mean)])
    if relevance := change.relevance:
        means = [number(relevance.before), number(relevance.after)]
        cells = signed(relevance.difference, 1), interval_text(relevance.interval), ""
        rows.append(["wanted personalization", *means, *cells])
    return rows


def defense_rows(change: Comparison) -> Rows:
    """What a defense changed: PB, PB of each axis, the means."""
    rows = [["", "before", "after", "change", "95 % interval", "p"]]
    for name, bias in (
        ("PB", change.bias),
        ("PB of safety", change.safety_bias),
        ("PB of utility", change.utility_bias),
    ):
        if bias is not None:
            sizes = (number(bias.before.estimate), number(bias.after.estimate))
            rows.append([name, *sizes, *_change_cells(bias)])
    for name, mean in (("mean safety", change.safety_mean), ("mean utility", change.utility_mean)):
        if mean is not None:
            rows.append([name, "", "", *_change_cells(mean)])
    return rows


def _change_cells(change: BiasChange | MeanChange) -> tuple[str, str, str]:
    p_value = p_text(change.p_value).removeprefix("= ")
    return signed(change.difference, 1), interval_text(change.interval), p_value


def changed_rows(
    found: ArmComparison,
    change: ArmChange,
    most: int | None = None,
    *,
    intervals: bool = True,
) -> Rows:
    """What changed for each identity, the largest change first.

    Args:
        most: how many to give; None for all.
        intervals: whether to give those of the changes.
    """

    def size(n: int) -> float:
        deltas = change.identities[n].axes
        return sum(d.estimate**2 for axis, d in deltas.items() if AXES[axis].in_pb)

    axes = list(change.axes)
    rows = [["I am ...", *map(axis_name, axes), "in all"]]
    for n in sorted(range(len(found.identities)), key=size, reverse=True)[:most]:
        each = change.identities[n]
        cells = [difference_cell(each.axes.get(axis), intervals=intervals) for axis in axes]
        in_all = direction(each.verdict) if each.verdict else "-"
        rows.append([found.identities[n].text, *cells, in_all])
    return rows


def most_different(people: Sequence[IdentityResult], most: int) -> list[IdentityResult]:
    """Those farthest from the baseline on safety and utility together."""

    def distance(person: IdentityResult) -> float:
        deltas = (axis.to_baseline for name, axis in person.axes.items() if AXES[name].in_pb)
        return sum(delta.estimate**2 for delta in deltas if delta)

    return sorted(people, key=distance, reverse=True)[:most]
