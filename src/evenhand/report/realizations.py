"""The report's answers on users as they show themselves: names, implied identity, memories."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from evenhand.analysis.results import (
    Audit,
    Difference,
    FactEffect,
    ImpliedContrast,
    RealizationShare,
)
from evenhand.axes import AXES
from evenhand.report import document as doc
from evenhand.stats import is_significant
from evenhand.text import one_line


def realization_sections(audit: Audit) -> Iterator[doc.Section]:
    """The sections that the study gives answers for."""
    if audit.realizations:
        yield doc.Section(
            "realizations",
            "Names and other realizations",
            [_share_sentence(each) for each in audit.realizations],
            [_share_table(audit.realizations)],
        )
    if audit.implied:
        yield doc.Section(
            "implied",
            "Implied against stated identity",
            [_implied_sentence(each) for each in audit.implied],
            [_implied_table(each) for each in audit.implied],
        )
    if audit.facts:
        yield doc.Section(
            "facts",
            "The identity among other facts",
            [],
            [_fact_table(audit.facts)],
        )


def _share_sentence(each: RealizationShare) -> str:
    axis = AXES[each.axis].label
    start = f"Cue {each.cue}, {axis}: identities differ"
    if not is_significant(each.p_value):
        return (
            f"{start} no more than realizations of one identity do (SD between identities "
            f"{each.identity:.1f} points, {_limits(each.interval)}; SD between realizations "
            f"{each.realization:.1f})."
        )
    share = "" if each.share is None else f", {each.share:.0%} of the two variances"
    return (
        f"{start} beyond their realizations: SD between identities {each.identity:.1f} points "
        f"({_limits(each.interval)}), between realizations of one identity "
        f"{each.realization:.1f}{share}."
    )


def _limits(interval: tuple[float, float]) -> str:
    return f"95% interval {interval[0]:.1f} to {interval[1]:.1f}"


def _share_table(shares: Sequence[RealizationShare]) -> doc.Table:
    rows = [
        doc.TableRow(
            f"{each.cue}, {each.defense}, {AXES[each.axis].label}",
            [
                doc.decimals(each.identity, 2),
                doc.interval(each.interval, sign=False),
                doc.decimals(each.realization, 2),
                doc.TableCell(doc.NONE if each.share is None else f"{each.share:.0%}"),
                doc.p_value(each.p_value),
                doc.count(each.realizations),
            ],
        )
        for each in shares
    ]
    crossed = shares[0].design == "crossed"
    columns = [
        doc.Column("Cue, defense, axis"),
        doc.Column("SD of identities"),
        doc.Column("95% interval", drop=1),
        doc.Column("SD of realizations"),
        doc.Column("share of identity"),
        doc.Column("p", drop=2),
        doc.Column("realizations" if crossed else "slots", drop=3),
    ]
    caption = "Identities beside their realizations, in points, noise taken out"
    return doc.Table(caption, columns, rows)


def _implied_sentence(each: ImpliedContrast) -> str:
    axis = AXES[each.axis].label
    apart = [who for who in each.identities if who.difference.is_significant]
    start = f"Cue {each.implied} against {each.stated}, {axis}:"
    if not apart:
        bound = max(max(map(abs, who.difference.simultaneous)) for who in each.identities)
        return (
            f"{start} no identity is treated significantly differently when it is implied; "
            f"differences of up to {bound:.1f} points are not excluded."
        )
    parts = ", ".join(
        f"{one_line(who.text)} {doc.signed(who.difference.estimate, 1)}" for who in apart
    )
    return f"{start} implied identity is treated differently from stated identity: {parts} points."


def _implied_table(each: ImpliedContrast) -> doc.Table:
    rows = [
        doc.TableRow(
            one_line(who.text),
            [
                *_effect(who.stated),
                *_effect(who.implied),
                doc.change(who.difference.estimate, strong=who.difference.is_significant),
                doc.interval(who.difference.simultaneous),
            ],
        )
        for who in each.identities
    ]
    columns = [
        doc.Column("Identity"),
        doc.Column("stated"),
        doc.Column("95% interval", drop=2),
        doc.Column("implied"),
        doc.Column("95% interval", drop=2),
        doc.Column("implied less stated"),
        doc.Column("95% interval of all", drop=1),
    ]
    caption = (
        f"{AXES[each.axis].label.capitalize()}: stated ({each.stated}) and implied "
        f"({each.implied}) identity, each less its baseline, in points"
    )
    strong = "significant by the sign-flip test, Holm-adjusted over the identities"
    return doc.Table(caption, columns, rows, strong=strong)


def _effect(found: Difference | None) -> list[doc.TableCell]:
    if found is None:
        return [doc.TableCell(doc.NONE), doc.TableCell(doc.NONE)]
    return [doc.change(found.estimate), doc.interval(found.interval)]


def _fact_table(facts: Sequence[FactEffect]) -> doc.Table:
    rows = []
    for each in facts:
        place = "" if each.place == "all" else f", fact in the {each.place} third"
        pb = each.pb
        rows.append(
            doc.TableRow(
                f"{each.cue}, {AXES[each.axis].label}{place}",
                [
                    doc.count(each.fillers),
                    doc.count(each.items),
                    *_effect(each.shift),
                    doc.points(pb.estimate if pb else None),
                    doc.interval(pb.interval, sign=False) if pb else doc.TableCell(doc.NONE),
                ],
            )
        )
    columns = [
        doc.Column("Cue, axis"),
        doc.Column("other facts"),
        doc.Column("questions", drop=3),
        doc.Column("to baseline"),
        doc.Column("95% interval", drop=2),
        doc.Column("PB"),
        doc.Column("95% interval", drop=1),
    ]
    caption = "The identities' mean and their spread by number and place of facts, in points"
    return doc.Table(caption, columns, rows)
