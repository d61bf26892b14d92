"""The report on a product's log: who is refused how often, and what a log cannot tell."""

from __future__ import annotations

import numpy as np

from evenhand.analysis.product_log import Watched
from evenhand.report import document as doc
from evenhand.report.gate_formats import check_sentence
from evenhand.stats import UnpairedGroups
from evenhand.text import counted, one_line

_WEAKER = (
    "These users asked questions of their own: a gap may come from what they ask rather than from "
    "how they are treated, and the other way round a gap in treatment may be hidden. An audit asks "
    "the same questions for everyone."
)


def watch_document(found: Watched) -> doc.Document:
    """What was found, and how far it can be trusted."""
    groups = found.groups
    title = f"log: {counted(len(groups.groups), 'group')}, {counted(sum(groups.counts), 'answer')}"
    section = doc.Section(
        "watch",
        "Groups of users",
        [_headline(found), _spread(found), _strata(found)],
        [_table(found)],
        [_WEAKER, *_few(found.groups), *_missing(found)],
    )
    return doc.Document(
        title=title,
        question="Does the log show a gap between groups of users?",
        subtitle=f"{counted(found.records, 'record')}; measured: {one_line(found.measure)}",
        source=title,
        sections=[section],
    )


def _headline(found: Watched) -> str:
    groups = found.groups
    if found.gate is not None:
        sentence = check_sentence(found.gate.checks[0], groups.level, "answers")
        return f"{sentence[:1].upper()}{sentence[1:]}."
    apart = [
        f"{one_line(name)} {doc.signed(groups.differences[g], 1)}"
        for g, name in enumerate(groups.groups)
        if groups.p_values[g] < 1 - groups.level
    ]
    what = "refusals" if found.measure == "refused" else one_line(found.measure)
    beside = "the mean of the groups" if groups.reference is None else one_line(groups.reference)
    if not apart:
        return f"No gap in {what} between these groups is established."
    return f"Gaps in {what} to {beside}, in points: {', '.join(apart)}."


def _spread(found: Watched) -> str:
    low, high = found.groups.spread_interval
    return (
        f"Spread of the rates, noise taken out: {found.groups.spread:.1f} points, "
        f"{found.groups.level:.0%} interval {low:.1f} to {high:.1f} "
        f"(p {doc.p_text(found.groups.p_value)} for no spread)."
    )


def _strata(found: Watched) -> str:
    groups = found.groups
    if groups.strata == 1 and not groups.left_out:
        return ""
    left_out = f"; {groups.left_out:,} answers of kinds that not every group asked are left out"
    kinds = "one kind" if groups.strata == 1 else f"{groups.strata:,} kinds"
    return f"Compared within {kinds} of question{left_out if groups.left_out else ''}."


def _few(groups: UnpairedGroups) -> list[str]:
    """Which small groups make the intervals of all others wide, and what decides more."""
    if not groups.too_few:
        return []
    units = dict(zip(groups.groups, groups.units, strict=True))
    named = ", ".join(f"{one_line(name)} ({units[name]:,})" for name in groups.too_few)
    few = f"Few units are behind some groups: {named}. "
    without = "leave their records out of the log"
    if groups.reference is None:
        return [
            f"{few}They widen every interval, since the mean is of all groups: {without}, or "
            "compare with one large group (--reference), for narrower ones."
        ]
    if groups.reference in groups.too_few:
        return [
            f"{few}The reference is one of them, which widens every interval: name a larger group "
            "with --reference."
        ]
    return [f"{few}They widen the interval of the spread: {without} for a narrower one."]


def _missing(found: Watched) -> list[str]:
    said = []
    if found.unit is None:
        said.append(
            "Every record counts as independent; where one user has several, the intervals are too "
            "narrow: name the user's key with --unit."
        )
    if found.without_group:
        share = found.without_group / found.records
        said.append(
            f"{found.without_group:,} of {found.records:,} records ({share:.0%}) state no group "
            "and are left out."
        )
    if found.too_small:
        names = ", ".join(f"{one_line(name)} {count:,}" for name, count in found.too_small.items())
        said.append(f"Groups left out, since too few have scores: {names}.")
    for reason, counts in found.unscored.items():
        of = ", ".join(f"{one_line(name)} {count:,}" for name, count in sorted(counts.items()))
        said.append(f"Unscored, {one_line(reason)}: {of}.")
    return said


def _table(found: Watched) -> doc.Table:
    groups = found.groups
    percent = f"{groups.level:.0%}"
    rows = []
    for g, name in enumerate(groups.groups):
        compared = not np.isnan(groups.p_values[g])
        strong = bool(compared and groups.p_values[g] < 1 - groups.level)
        limits = (float(groups.low[g]), float(groups.high[g]))
        rows.append(
            doc.TableRow(
                name,
                [
                    doc.count(groups.counts[g]),
                    doc.count(groups.units[g]),
                    doc.points(float(groups.rates[g])),
                    doc.change(float(groups.differences[g]) if compared else None, strong=strong),
                    doc.interval(limits if compared else None),
                    doc.p_value(float(groups.p_values[g]) if compared else None),
                ],
            )
        )
    beside = "the mean of the groups" if groups.reference is None else one_line(groups.reference)
    columns = [
        doc.Column("Group"),
        doc.Column("answers"),
        doc.Column("units", drop=3),
        doc.Column("rate"),
        doc.Column("difference"),
        doc.Column(f"simultaneous {percent} interval"),
        doc.Column("adjusted p", drop=2),
    ]
    return doc.Table(
        f"Rates in points, and differences to {beside}",
        columns,
        rows,
        strong=f"adjusted p < {1 - groups.level:.2g}",
    )
