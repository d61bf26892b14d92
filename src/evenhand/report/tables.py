"""Tables and figures that reports share: PB, means, differences, changes; each built here once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from urllib.parse import quote

from evenhand.analysis.compare import ArmChange
from evenhand.analysis.results import (
    AxisResult,
    Difference,
    IdentityAxis,
    IdentityResult,
    SettingResult,
)
from evenhand.axes import AXES
from evenhand.report import charts, wording
from evenhand.report import document as doc
from evenhand.stats import AxisChange, BiasChange, MeanChange, Spread
from evenhand.text import counted

_SIMULTANEOUS = "95% simultaneous"
"""An interval that holds for all rows of the column together."""
_VERDICTS = {
    "untouched": "within margin",
    "undecided": "inconclusive",
    "safety for utility": "loses safety, gains utility",
    "utility for safety": "gains safety, loses utility",
}
_PB_NOTE = (
    "PB is the spread of the identities' means with sampling noise removed. The plug-in value, the "
    "paper's own number, counts noise as bias; the noise floor is the plug-in value expected of a "
    "model without any bias. Placebos are control attributes that should not matter."
)
PB_COLUMNS = (
    doc.Column("PB"),
    doc.Column("95% interval"),
    doc.Column("p of no bias", drop=5),
    doc.Column("plug-in", drop=6),
    doc.Column("noise floor", drop=7),
)


def axis_label(axis: str) -> str:
    """An axis as a row's name; which way is better where that is not plain."""
    return AXES[axis].label + (" (lower is better)" if AXES[axis].lower_is_better else "")


def axis_drop(axis: str, drop: int) -> int:
    """What is dropped first: the axes that do not count in PB."""
    return drop if AXES[axis].in_pb else max(drop, 8)


def pb_cells(pb: Spread | None) -> list[doc.TableCell]:
    """A spread in the order of `PB_COLUMNS`."""
    if pb is None:
        return [doc.TableCell(doc.NONE)] * len(PB_COLUMNS)
    return [
        doc.points(pb.estimate),
        doc.interval(pb.interval, sign=False),
        doc.p_value(pb.p_value),
        doc.points(pb.plugin),
        doc.points(pb.noise_floor),
    ]


def pb_table(
    caption: str,
    head: str,
    rows: Iterable[tuple[str, Spread | None, Sequence[doc.TableCell]]],
    further: Sequence[doc.Column] = (),
    *,
    depth: int = doc.SUMMARY,
) -> doc.Table:
    """PB of several things, one row each.

    Args:
        head: what the rows are.
        rows: name, spread, and the cells of the further columns.
    """
    made = [doc.TableRow(name, [*pb_cells(pb), *cells]) for name, pb, cells in rows]
    return doc.Table(caption, [doc.Column(head), *PB_COLUMNS, *further], made, depth=depth)


def named_spreads(setting: SettingResult) -> dict[str, Spread]:
    """What the headline shows, from top to bottom."""
    spreads = {
        "both axes": setting.pb,
        "both axes, these topics": setting.pb_these_topics,
        **{AXES[name].label: axis.pb for name, axis in setting.axes.items()},
        "placebos": setting.placebo_pb,
    }
    return {name: spread for name, spread in spreads.items() if spread}


def mean_columns(axes: Iterable[str]) -> list[doc.Column]:
    """Mean over the identities, and the baseline's, of each axis."""
    return [
        column
        for axis in axes
        for column in (
            doc.Column(f"mean {AXES[axis].label}", axis_drop(axis, 3)),
            doc.Column(f"{AXES[axis].label}, no identity", axis_drop(axis, 9)),
        )
    ]


def means_table(setting: SettingResult, *, depth: int = doc.SUMMARY) -> doc.Table:
    """Mean of each axis over the identities, beside the baseline's."""
    rows = [
        doc.TableRow(
            axis_label(name),
            [
                doc.points(axis.mean),
                doc.points(axis.baseline),
                doc.change(axis.to_baseline.estimate if axis.to_baseline else None),
                doc.interval(axis.to_baseline.interval if axis.to_baseline else None),
                doc.p_value(axis.to_baseline.p_value if axis.to_baseline else None),
            ],
        )
        for name, axis in setting.axes.items()
    ]
    columns = [
        doc.Column("Mean of"),
        doc.Column("identities"),
        doc.Column("no identity", drop=1),
        doc.Column("difference"),
        doc.Column("95% interval", drop=2),
        doc.Column("p", drop=3),
    ]
    caption = "Means of the identities and of the no-identity baseline, in points"
    return doc.Table(caption, columns, rows, depth=depth)


def benchmarks_table(axes: Mapping[str, AxisResult]) -> doc.Table:
    """PB on every benchmark, and on exactly these items where there are samples."""
    rows = []
    for axis, result in axes.items():
        for name, benchmark in result.benchmarks.items():
            means = [doc.points(benchmark.mean), doc.points(benchmark.baseline)]
            rows.append((f"{name}, {AXES[axis].label}", benchmark.pb, means))
        if result.pb_these_items:
            empty = [doc.TableCell(doc.NONE)] * 2
            rows.append((f"{AXES[axis].label}, exactly these items", result.pb_these_items, empty))
    further = [doc.Column("mean", drop=3), doc.Column("no identity", drop=4)]
    caption = "PB of each benchmark, in points"
    return pb_table(caption, "Benchmark", rows, further, depth=doc.DETAILS)


def difference_column(what: str, drop: int = 0) -> doc.Column:
    """The column of `difference_cell`."""
    return doc.Column(f"{what}, {_SIMULTANEOUS}", drop, short=what)


def difference_cell(difference: Difference | None) -> doc.TableCell:
    """A difference, strong where it is significant, with its simultaneous interval."""
    if difference is None:
        return doc.TableCell(doc.NONE)
    low, high = (doc.signed(limit, 0) for limit in difference.simultaneous)
    cell = doc.change(difference.estimate, strong=difference.is_significant)
    limits = doc.ANY if doc.says_nothing(difference.simultaneous) else f"{low}, {high}"
    return replace(cell, limits=f"[{limits}]")


def verdict_cell(verdict: str | None) -> doc.TableCell:
    """What becomes of an identity, in words."""
    return doc.TableCell(_VERDICTS.get(verdict, verdict) if verdict else doc.NONE)


def people_table(
    people: Sequence[IdentityResult], axes: Sequence[str], most: int, *, depth: int = doc.SUMMARY
) -> doc.Table:
    """Each identity: its mean on each axis, and its difference to the baseline."""
    columns = [doc.Column("I am ..."), doc.Column("category", drop=10)]
    for axis in axes:
        columns.append(doc.Column(AXES[axis].label, axis_drop(axis, 3)))
        columns.append(difference_column(f"{AXES[axis].label} difference", axis_drop(axis, 0)))
    rows = []
    for person in people:
        cells = [doc.TableCell(person.category)]
        for axis in axes:
            result = person.axes[axis]
            cells += [doc.points(result.mean), difference_cell(result.to_baseline)]
        rows.append(
            doc.TableRow(
                person.text,
                [*cells, verdict_cell(person.verdict)],
                person.category,
                f"identity={quote(person.id)}",
            )
        )
    return doc.Table(
        "Differences to the no-identity baseline in points, the largest first",
        [*columns, doc.Column("verdict", drop=9)],
        rows,
        strong=wording.STRONG,
        most=most,
        depth=depth,
    )


def most_different(people: Iterable[IdentityResult]) -> list[IdentityResult]:
    """Those first that differ from the baseline significantly, and most."""

    def standing(person: IdentityResult) -> tuple[bool, float]:
        deltas = [axis.to_baseline for axis in person.axes.values() if axis.to_baseline]
        return any(d.is_significant for d in deltas), sum(d.estimate**2 for d in deltas)

    return sorted(people, key=standing, reverse=True)


def rank_table(people: Sequence[IdentityResult], axis: str, *, depth: int) -> doc.Table:
    """Each identity beside the mean of all, the worst off first, whichever way the axis points."""
    last = sum(person.axes[axis].rank is not None for person in people) + 1
    rows = []
    for person in people:
        result = person.axes[axis]
        rank, limits = _rank(result, last if AXES[axis].lower_is_better else 0)
        cells = [
            doc.points(result.mean),
            difference_cell(result.to_mean),
            doc.change(result.shrunken),
            doc.TableCell(doc.NONE) if rank is None else doc.TableCell(f"{rank:.0f}", rank),
            doc.interval(limits, sign=False, digits=0),
        ]
        rows.append(doc.TableRow(person.text, cells, person.category))
    rows.sort(key=lambda row: (row.cells[3].key is None, row.cells[3].key or 0.0))
    columns = [
        doc.Column("I am ..."),
        doc.Column("mean", drop=5),
        difference_column("difference to the mean"),
        doc.Column("shrunken", drop=4),
        doc.Column("rank"),
        doc.Column("95% of the rank", drop=2),
    ]
    caption = (
        f"{AXES[axis].label.capitalize()} by identity: rank 1 is the worst off; the shrunken "
        "difference is the best estimate once noise is taken into account"
    )
    return doc.Table(caption, columns, rows, strong=wording.STRONG, depth=depth)


def _rank(result: IdentityAxis, turn: int) -> tuple[float | None, tuple[float, float] | None]:
    """Args: turn: what ranks are taken from, to begin at the other end; 0 to leave them."""
    rank, limits = result.rank, result.rank_interval
    if rank is None or limits is None or not turn:
        return rank, limits
    return turn - rank, (turn - limits[1], turn - limits[0])


def change_table(
    caption: str,
    biases: Mapping[str, BiasChange | None],
    means: Mapping[str, tuple[float | None, float | None, MeanChange]],
    further: Iterable[doc.TableRow] = (),
) -> doc.Table:
    """What changed: PB, PB of each axis, the means.

    Args:
        biases: by name.
        means: before, after and change, by axis.
        further: rows of the same columns.
    """
    rows = [
        doc.TableRow(
            name, [doc.points(b.before.estimate), doc.points(b.after.estimate), *_change_cells(b)]
        )
        for name, b in biases.items()
        if b is not None
    ]
    rows += [
        doc.TableRow(
            f"mean {axis_label(axis)}",
            [doc.points(before), doc.points(after), *_change_cells(mean)],
        )
        for axis, (before, after, mean) in means.items()
    ]
    columns = [
        doc.Column("Change of"),
        doc.Column("before", drop=3),
        doc.Column("after", drop=3),
        doc.Column("change"),
        doc.Column("95% interval"),
        doc.Column("p", drop=2),
    ]
    return doc.Table(caption, columns, [*rows, *further])


def axis_biases(
    bias: BiasChange | None, axes: Mapping[str, AxisChange]
) -> dict[str, BiasChange | None]:
    """Change of the joint PB and of that of each axis, by name."""
    return {"PB": bias} | {f"PB of {AXES[axis].label}": each.bias for axis, each in axes.items()}


def _change_cells(each: BiasChange | MeanChange) -> list[doc.TableCell]:
    return [doc.change(each.difference), doc.interval(each.interval), doc.p_value(each.p_value)]


def headline_sentences(setting: SettingResult, margin: float) -> list[str]:
    """The sentences above all others."""
    found = setting.conclusion
    sentences = [
        wording.conclusion_sentence(setting, margin),
        *found.cautions,
        wording.affected_sentence(found),
        *wording.population_sentences(setting.pb, topics=setting.pb_these_topics is not None),
        wording.bounds_sentence(found),
        wording.yardstick_sentence(found),
    ]
    for axis, result in setting.axes.items():
        if result.to_baseline:
            sentences.append(wording.shift_sentence(AXES[axis].label, result.to_baseline))
    return [sentence for sentence in sentences if sentence]


def setting_tables(setting: SettingResult, *, further: bool = False) -> Iterator[doc.Block]:
    """PB with its chart, and the means; a further setting has the tables alone."""
    spreads = named_spreads(setting)
    rows = [(name, spread, ()) for name, spread in spreads.items()]
    table = pb_table("Personalization bias (PB), in points of 0 to 100", "PB of", rows)
    if further:
        yield table
    elif spreads:
        title = "Personalization bias (PB): how far the identities spread"
        yield bias_figure("bias", title, spreads, table, _PB_NOTE)
    yield means_table(setting)
    if any(axis.logit for axis in setting.axes.values()):
        yield logit_table(setting)


_AT_LIMIT = {"floor": "all close to 0", "ceiling": "all close to 100"}
_LOGIT = "On the logit scale, on which models of different level compare: spread of the log-odds"


def logit_table(setting: SettingResult) -> doc.Table:
    """Every axis on the logit scale, a line each."""
    rows = []
    for name, axis in setting.axes.items():
        if (logit := axis.logit) is not None:
            rows.append(
                doc.TableRow(
                    axis_label(name),
                    [
                        doc.decimals(logit.pb, 2),
                        doc.interval(logit.interval, sign=False, digits=2),
                        doc.p_value(logit.p_value),
                        doc.TableCell(_AT_LIMIT.get(logit.limit or "", "no")),
                    ],
                )
            )
    columns = [
        doc.Column("PB of"),
        doc.Column("log-odds"),
        doc.Column("95% interval", drop=2),
        doc.Column("p", drop=1),
        doc.Column("near a limit", drop=3),
    ]
    return doc.Table(_LOGIT, columns, rows, depth=doc.DETAILS)


def logit_change_table(change: ArmChange) -> doc.Table:
    """The change of every axis on the logit scale, a line each."""
    rows = []
    for axis, each in change.logit.items():
        known = enumerate(change.limits[axis])
        room = [f"{_AT_LIMIT[at]} {('before', 'after')[n]}" for n, at in known if at]
        rows.append(
            doc.TableRow(
                axis_label(axis),
                [
                    doc.decimals(each.before.estimate, 2),
                    doc.decimals(each.after.estimate, 2),
                    doc.TableCell(doc.signed(each.difference, 2), each.difference),
                    doc.interval(each.interval, digits=2),
                    doc.p_value(each.p_value),
                    doc.TableCell("; ".join(room) or "no"),
                ],
            )
        )
    columns = [
        doc.Column("PB of"),
        doc.Column("before", drop=3),
        doc.Column("after", drop=3),
        doc.Column("change"),
        doc.Column("95% interval", drop=1),
        doc.Column("p", drop=2),
        doc.Column("near a limit", drop=4),
    ]
    return doc.Table(_LOGIT, columns, rows, depth=doc.DETAILS)


def bias_figure(
    name: str, title: str, spreads: dict[str, Spread], table: doc.Table, note: str
) -> doc.Figure:
    """PB of several things with intervals, plug-in values and noise floors."""
    words = "; ".join(
        f"{name} {s.estimate:.1f} ({s.interval[0]:.1f} to {s.interval[1]:.1f})"
        for name, s in spreads.items()
    )
    alt = f"PB with 95% intervals: {words}."
    return doc.Figure(name, title, alt, lambda: charts.bias_chart(spreads), table, note=note)


def forest_figure(
    name: str,
    title: str,
    axis: str,
    rows: Sequence[tuple[str, str, Difference]],
    groups: Sequence[str],
) -> doc.Figure:
    """Differences with their intervals, a row each; another table has their figures."""
    significant = [f"{text} {doc.signed(d.estimate, 1)}" for text, _, d in rows if d.is_significant]
    lower = AXES[axis].lower_is_better
    worse = "right" if lower else "left"
    return doc.Figure(
        name,
        title,
        f"{counted(len(rows), 'identity', 'identities')}. Significant: "
        f"{', '.join(significant) or 'none'}.",
        lambda: charts.forest_chart(rows, groups, "points", lower_is_better=lower),
        note=f"Filled marks are significant ({wording.STRONG}); lines are 95% simultaneous "
        f"intervals. To the {worse} of 0 is worse.",
        groups=True,
    )


def rank_tables(people: Sequence[IdentityResult], axes: Sequence[str]) -> Iterator[doc.Table]:
    return (rank_table(people, axis, depth=doc.DETAILS) for axis in axes)
