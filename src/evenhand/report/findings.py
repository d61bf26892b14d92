"""The report of one audit; its last sections, evidence and method, are in method.py."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

from evenhand.analysis.evidence import AuditDetails
from evenhand.analysis.results import (
    Audit,
    Difference,
    IdentityResult,
    LabeledAxis,
    SettingResult,
)
from evenhand.axes import AXES, PB_AXES
from evenhand.report import charts, tables, wording
from evenhand.report import document as doc
from evenhand.report.headline import audit_headline
from evenhand.report.implicit import realization_sections
from evenhand.report.method import (
    answers_section,
    details_section,
    evidence_section,
    method_section,
)
from evenhand.report.terminal import trade_off_text
from evenhand.report.where import cues_section, where_section
from evenhand.stats import Regions
from evenhand.text import counted, dollars, one_line

_MOST_SHOWN = 8
_USUAL = ("system-1", "none")
"""The cue and defense of a study that names neither."""


def audit_document(
    audit: Audit,
    details: AuditDetails | None = None,
    answers: doc.AnswerBrowser | None = None,
) -> doc.Document:
    """The whole report.

    Args:
        details: what the page shows beyond the audit's figures; None leaves the sections out that
            are made of nothing else.
        answers: all of them; None where they cannot be browsed.
    """
    head, model = audit.head, one_line(audit.model, 200)
    sections = [
        _headline(audit, details),
        _trade_off(audit, details.regions if details else None),
        _identities(audit),
        *([where_section(details.where)] if details else []),
        *([labels_section(audit.labeled)] if audit.labeled else []),
        cues_section(audit),
        *realization_sections(audit),
        *([evidence_section(details)] if details else []),
        *([answers_section(answers, audit)] if answers else []),
        method_section(audit, details) if details else details_section(audit),
    ]
    sizes = ", ".join(f"{one_line(name)} {n:,}" for name, n in audit.benchmarks.items())
    return doc.Document(
        title=f"evenhand audit of {model}",
        question=f"Does {model} treat all users alike?",
        subtitle=(
            f"{audit.done:,} of {audit.cells:,} answers: "
            f"{counted(len(audit.identities), 'identity', 'identities')} on "
            f"{sizes}; {audit.unscored:,} unscored, {audit.failed_attempts:,} failed attempts"
            f"{_setting_shown(audit)}"
        ),
        source=f"{model}; cue {head.cue}, defense {head.defense}; {sizes}",
        sections=sections,
        headline=audit_headline(audit),
    )


def _setting_shown(audit: Audit) -> str:
    """Cue and defense of the first figures, where a reader could take them for others."""
    head = audit.head
    setting = f"cue {one_line(head.cue)}, defense {one_line(head.defense)}"
    if len(audit.settings) > 1:
        return f"; first figures: {setting}"
    return "" if (head.cue, head.defense) == _USUAL else f"; {setting}"


def _headline(audit: Audit, details: AuditDetails | None) -> doc.Section:
    """The verdict, PB beside its noise floor, the means, and the facts of the run."""
    head = audit.head
    return doc.Section(
        "headline",
        "The answer",
        [
            *tables.headline_sentences(head, audit.margin),
            *(wording.judge_sentence(n, axis.judge) for n, axis in head.axes.items() if axis.judge),
            *map(wording.labels_sentence, audit.labeled),
            *map(wording.relevance_sentence, audit.relevance),
            audit.frozen,
            wording.extent_sentence(audit),
            _unscored(audit),
            f"The scores are those of judge: {one_line(audit.judge)}."
            if len(audit.judges) > 1
            else "",
        ],
        [*tables.setting_tables(head), doc.Facts(list(_facts(audit, details)))],
        warnings=audit.notes,
    )


def labels_section(axes: Sequence[LabeledAxis]) -> doc.Section:
    """Rates by the user's own labels, and how often the judge was wrong for whom."""
    sentences = [
        *map(wording.labels_sentence, axes),
        *map(wording.labelers_sentence, axes[0].labelers),
        *(wording.undecided_sentence(axis) for axis in axes if axis.undecided),
    ]
    return doc.Section("labels", "Your own labels", sentences, [_labels_table(a) for a in axes])


def _labels_table(axis: LabeledAxis) -> doc.Table:
    rows = [
        doc.TableRow(
            one_line(each.identity),
            [
                doc.points(each.rate),
                doc.interval(each.interval, sign=False),
                doc.points(each.judge_error),
            ],
        )
        for each in axis.identities
    ]
    columns = [
        doc.Column("Identity"),
        doc.Column(AXES[axis.axis].label),
        doc.Column("95% interval", drop=1),
        doc.Column("judge off by" if AXES[axis.axis].is_graded else "judge wrong, %"),
    ]
    caption = f"{AXES[axis.axis].label.capitalize()} by {counted(axis.labels, 'label')} of your own"
    return doc.Table(caption, columns, rows)


def _unscored(audit: Audit) -> str:
    reasons = audit.unscored_reasons.items()
    parts = ", ".join(f"{one_line(reason)} {number:,}" for reason, number in reasons)
    return f"Unscored: {parts}." if parts else ""


def _facts(audit: Audit, details: AuditDetails | None) -> Iterator[tuple[str, str]]:
    """What was run; what is not known is left out."""
    yield "Model", audit.model
    yield "Cues", ", ".join(dict.fromkeys(setting.cue for setting in audit.settings))
    yield "Defenses", ", ".join(dict.fromkeys(setting.defense for setting in audit.settings))
    yield (
        "Users",
        f"{len(audit.identities)} identities, {len(audit.head.placebos)} placebos, and the "
        "no-identity baseline",
    )
    yield (
        "Benchmarks",
        ", ".join(f"{one_line(n)} ({size:,})" for n, size in audit.benchmarks.items()),
    )
    yield "Samples", f"{audit.samples} for each question and user"
    yield "Answers", f"{audit.done:,} of {audit.cells:,}"
    yield "Unscored", f"{audit.unscored:,}"
    yield "Failed attempts", f"{audit.failed_attempts:,}"
    if audit.prompt_tokens:
        yield (
            "Tokens",
            f"{audit.prompt_tokens:,} in prompts, {audit.completion_tokens:,} in answers",
        )
    sessions = details.record.sessions if details else ()
    costs = [session.cost for session in sessions if session.cost is not None]
    if costs:
        yield "Cost", f"about {dollars(sum(costs))}"
    if sessions:
        first, last = sessions[0].began, sessions[-1].ended or "not ended"
        yield "Asked", f"{_date(first)} to {_date(last)}"
        versions = {
            f"{name} {number}": None
            for session in sessions
            for name, number in session.versions.items()
        }
        yield "Versions", ", ".join(versions)


def _date(text: str) -> str:
    return text.replace("T", " ").replace("+00:00", " UTC")


# Safety and utility


def _trade_off(audit: Audit, regions: Regions | None) -> doc.Section:
    """Every identity's safety and utility; a sentence where the run has only one of them."""
    head, title = audit.head, "Safety and utility"
    standing = wording.standing_sentence(head.identities, audit.margin)
    missing = [a for a in PB_AXES if a not in head.axes or head.axes[a].mean is None]
    if missing:
        return doc.Section(
            "trade-off", title, [f"No map: the run has no scores of {' and '.join(missing)}."]
        )
    trend = wording.trade_off_sentence(head.trade_off)
    estimable = head.trade_off is not None and wording.is_estimable(head.trade_off)
    ellipses = (
        "An ellipse is a 95% confidence region of the identity's place among the others: all "
        "answer the same questions, so the questions' difficulty cancels. "
        if regions
        else ""
    )
    figure = doc.Figure(
        "map",
        "Each identity by safety and utility",
        _map_words(head.identities),
        lambda: charts.trade_off_map(head, regions),
        _map_table(head.identities, regions),
        note=f"Named identities differ significantly from the mean of the identities or from the "
        "no-identity baseline; point at any other to see who it is. Up and to the right is better. "
        f"{ellipses}The dashed ellipse is two standard deviations around the placebos.",
        zoom=True,
        drawing=partial(trade_off_text, head),
    )
    sentences = [trend, standing] if estimable or not standing else [standing, trend]
    return doc.Section("trade-off", title, sentences, [figure])


def _map_words(people: Sequence[IdentityResult]) -> str:
    def extremes(axis: str) -> str:
        known = [(p.axes[axis].mean, p.text) for p in people]
        placed = [(mean, one_line(text, 60)) for mean, text in known if mean is not None]
        (low, least), (high, most) = min(placed), max(placed)
        return f"{axis} from {low:.1f} ({least}) to {high:.1f} ({most})"

    return f"Scatter plot of {len(people)} identities: {extremes('safety')}; {extremes('utility')}."


def _map_table(people: Sequence[IdentityResult], regions: Regions | None) -> doc.Table:
    rows = []
    for n, person in enumerate(people):
        reach = [float(half) for half in regions.reach[n]] if regions else [None, None]
        cells = [doc.TableCell(person.category)]
        for axis, half in zip(PB_AXES, reach, strict=True):
            cells += [doc.points(person.axes[axis].mean), doc.points(half)]
        rows.append(doc.TableRow(person.text, cells))
    columns = map(doc.Column, ["I am ...", "category", "safety", "±", "utility", "±"])
    caption = "Places on the map, with the half axes of the ellipses, in points"
    return doc.Table(caption, list(columns), rows, depth=doc.PAGE)


# Identities


def _identities(audit: Audit) -> doc.Section:
    """Differences that stand out first; shrunken estimates, ranks and categories behind them."""
    head = audit.head
    people, axes = tables.most_different(head.identities), list(head.axes)
    groups = list(dict.fromkeys(one_line(person.category) for person in head.identities))
    sentences = [
        wording.difference_sentence(a, _differences(people, a), audit.margin) for a in axes
    ]
    sentences += [
        wording.category_sentence(AXES[name].label, axis.categories)
        for name, axis in head.axes.items()
    ]
    blocks: list[doc.Block] = []
    if any(person.axes[axis].mean is not None for person in people for axis in axes):
        forests = [_forest(people, axis, groups) for axis in axes if _differences(people, axis)]
        ranks = list(tables.rank_tables(people, axes))
        blocks = [
            doc.Filter("Category", groups),
            doc.Columns(forests),
            tables.people_table(people, axes, _MOST_SHOWN),
            doc.Folded("Shrunken estimates and ranks", ranks, depth=doc.DETAILS),
        ]
    if any(axis.categories for axis in head.axes.values()):
        blocks.append(doc.Folded("Categories", [_category_table(head)], depth=doc.DETAILS))
    return doc.Section("identities", "Who is treated differently", sentences, blocks)


def _differences(people: Sequence[IdentityResult], axis: str) -> list[tuple[str, Difference]]:
    deltas = ((person.text, person.axes[axis].to_baseline) for person in people)
    return [(text, delta) for text, delta in deltas if delta]


def _forest(people: Sequence[IdentityResult], axis: str, groups: Sequence[str]) -> doc.Figure:
    rows = [
        (one_line(person.text), one_line(person.category), delta)
        for person in people
        if (delta := person.axes[axis].to_baseline)
    ]
    return tables.forest_figure(
        f"forest-{axis.replace('_', '-')}",
        f"Difference in {AXES[axis].label} to the no-identity baseline",
        axis,
        rows,
        groups,
    )


def _category_table(setting: SettingResult) -> doc.Table:
    rows = [
        doc.TableRow(
            f"{category.name} ({category.size})",
            [
                doc.TableCell(AXES[name].label),
                tables.difference_cell(category.difference),
                doc.points(category.within.estimate if category.within else None),
                doc.interval(category.within.interval if category.within else None, sign=False),
            ],
        )
        for name, axis in setting.axes.items()
        for category in axis.categories
    ]
    columns = [
        doc.Column("Category"),
        doc.Column("axis"),
        tables.difference_column("difference"),
        doc.Column("PB within"),
        doc.Column("95% interval", drop=1),
    ]
    caption = "Categories against the mean of all identities, and the spread inside each"
    return doc.Table(caption, columns, rows, strong=wording.STRONG, depth=doc.DETAILS)
