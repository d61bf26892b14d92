"""The report's answers on users as they show themselves: names, implied identity, memories."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from evenhand.analysis.recognition import Recognition
from evenhand.analysis.results import (
    Audit,
    Difference,
    FactEffect,
    ImpliedContrast,
    RealizationShare,
)
from evenhand.axes import AXES
from evenhand.report import document as doc
from evenhand.report.wording import STRONG
from evenhand.run.probe import ProbeLayer
from evenhand.stats import is_significant
from evenhand.study.recognition import CANNOT_TELL
from evenhand.text import one_line

_LAYERS = 5
_NOTHING = doc.TableCell(doc.NONE)
_UNKNOWN = "not estimable"


def realization_sections(audit: Audit) -> Iterator[doc.Section]:
    """The sections that the study gives answers for."""
    if audit.realizations:
        yield doc.Section(
            "realizations",
            "Names and other realizations",
            [_share_sentence(each) for each in audit.realizations],
            [_share_table(audit.realizations)],
        )
    if audit.recognition:
        settings = list(dict.fromkeys((each.cue, each.defense) for each in audit.recognition))
        yield doc.Section(
            "recognition",
            "Whom the model takes the user for",
            [
                *(_recognition_sentence(audit.recognition, *setting) for setting in settings),
                "All other figures are by intention to treat: no answer is left out because the "
                "model did not recognize the user.",
            ],
            [
                block
                for setting in settings
                for block in _recognition_tables(audit.recognition, *setting)
            ],
        )
    if audit.probe:
        yield doc.Section(
            "probe",
            "Whether the identity is represented",
            [
                "A linear probe predicts the identity from the model's state at the end of the "
                "prompt; it is tested on held-out questions and names."
            ],
            [_probe_table(audit.probe)],
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


def _recognition_sentence(found: Sequence[Recognition], cue: str, defense: str) -> str:
    people = [e for e in found if (e.cue, e.defense) == (cue, defense) and e.identity != "baseline"]
    answers = sum(each.answers for each in people)
    recognized = sum(each.recognized * each.answers for each in people) / max(answers, 1)
    unsure = sum(each.taken_for.get(CANNOT_TELL, 0) for each in people)
    unclear = sum(each.unclear for each in people)
    none = f"; {100 * unclear / answers:.0f}% name none of the options" if unclear else ""
    return (
        f"Cue {cue}, defense {defense}: asked whom it takes the user for, the model names the "
        f"right identity in {recognized:.0f}% of {answers:,} answers and cannot tell in "
        f"{100 * unsure / max(answers, 1):.0f}%{none}."
    )


def _recognition_tables(
    found: Sequence[Recognition], cue: str, defense: str
) -> Iterator[doc.Block]:
    """The confusion matrix, and the share recognized by realization."""
    people = [each for each in found if (each.cue, each.defense) == (cue, defense)]
    options = list(dict.fromkeys(option for each in people for option in each.taken_for))
    rows = [
        doc.TableRow(
            one_line(each.text) or "no identity",
            [
                doc.points(each.recognized),
                doc.interval(each.interval, sign=False) if each.interval else _NOTHING,
                *(
                    doc.TableCell(f"{100 * each.taken_for.get(option, 0) / each.answers:.0f}")
                    for option in options
                ),
                doc.TableCell(f"{100 * each.unclear / each.answers:.0f}"),
                doc.count(each.answers),
            ],
        )
        for each in people
    ]
    columns = [
        doc.Column("User"),
        doc.Column("recognized, %"),
        doc.Column("95% interval", drop=1),
        *(doc.Column(one_line(option), drop=3) for option in options),
        doc.Column("unclear", drop=2),
        doc.Column("answers", drop=2),
    ]
    yield doc.Table(f"Taken for, in percent of the answers: cue {cue}, {defense}", columns, rows)
    named = [
        doc.TableRow(f"{one_line(each.text)}: {one_line(name)}", [doc.points(share)])
        for each in people
        for name, share in each.realizations.items()
    ]
    if named:
        table = doc.Table(
            f"Recognized by realization: cue {cue}, {defense}",
            [doc.Column("Realization"), doc.Column("recognized, %")],
            named,
        )
        yield doc.Folded(f"Recognized by realization, cue {cue}", [table], depth=doc.DETAILS)


def _probe_table(found: Sequence[ProbeLayer]) -> doc.Table:
    """A few layers of each cue and category, evenly from the embedding to the last."""
    rows = []
    for each in found:
        shown = {round(part * each.layers / (_LAYERS - 1)) for part in range(_LAYERS)}
        if each.layer in shown:
            name = f"{each.cue}, {each.defense}, {one_line(each.category)}"
            accuracy = doc.TableCell(
                f"{each.accuracy:.1f}", each.accuracy, strong=each.interval[0] > each.chance
            )
            limits = doc.interval(each.interval, sign=False)
            rows.append(
                doc.TableRow(
                    f"{name}, layer {each.layer} of {each.layers}",
                    [accuracy, limits, doc.points(each.chance)],
                )
            )
    columns = [
        doc.Column("Cue, defense, category, layer"),
        doc.Column("accuracy, %"),
        doc.Column("95% interval", drop=1),
        doc.Column("guessing, %"),
    ]
    caption = "Accuracy of the linear probe by layer"
    return doc.Table(caption, columns, rows, strong="the interval lies above guessing")


def _share_sentence(each: RealizationShare) -> str:
    axis = AXES[each.axis].label
    start = f"Cue {each.cue}, {axis}: identities differ"
    if not is_significant(each.p_value):
        return (
            f"{start} no more than realizations of one identity do (SD between identities "
            f"{each.identity:.1f} points, {_limits(each.interval)}; SD between realizations "
            f"{each.realization:.1f}). {_share_of_variance(each)}"
        )
    return (
        f"{start} beyond their realizations: SD between identities {each.identity:.1f} points "
        f"({_limits(each.interval)}), between realizations of one identity "
        f"{each.realization:.1f}. {_share_of_variance(each)}"
    )


def _share_of_variance(each: RealizationShare) -> str:
    start = "The identities' share of the two variances is"
    if each.share is None:
        return f"{start} {_UNKNOWN}."
    return f"{start} {each.share:.0%} (95% interval {_percent(each.share_interval)})."


def _percent(limits: tuple[float, float]) -> str:
    return f"{limits[0]:.0%} to {limits[1]:.0%}"


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
                doc.TableCell(_UNKNOWN if each.share is None else f"{each.share:.0%}", each.share),
                doc.TableCell(_percent(each.share_interval), each.share_interval[0]),
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
        doc.Column("95% interval of the share", drop=1),
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
    return doc.Table(caption, columns, rows, strong=STRONG)


def _effect(found: Difference | None) -> list[doc.TableCell]:
    if found is None:
        return [_NOTHING, _NOTHING]
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
                    doc.interval(pb.interval, sign=False) if pb else _NOTHING,
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
