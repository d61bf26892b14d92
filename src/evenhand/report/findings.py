"""The report of one audit; its last sections, evidence and method, are in method.py."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

from evenhand.analysis.evidence import AuditDetails
from evenhand.analysis.results import (
    Audit,
    Difference,
    IdentityResult,
    Interaction,
    LabeledAxis,
    SettingResult,
)
from evenhand.analysis.subgroups import GroupResult, Where
from evenhand.axes import AXES, PB_AXES
from evenhand.report import charts, tables, wording
from evenhand.report import document as doc
from evenhand.report.map_text import trade_off_text
from evenhand.report.method import details_section, evidence_section, method_section
from evenhand.stats import CueComponents, Regions, Spread
from evenhand.text import one_line

_MOST_SHOWN = 8
_WIDE, _NARROW = 62, 20
"""Pixels of a cell of a heat map with few columns, and with many."""
_MOST_WIDE = 12
_PB_NOTE = (
    "PB is the spread of the identities' means with sampling noise removed. The plug-in value, the "
    "paper's own number, counts noise as bias; the noise floor is the plug-in value expected of a "
    "model without any bias. Placebos are control attributes that should not matter."
)
_NO_CELL = doc.TableCell(doc.NONE)
_COMPONENTS = ("identity", "cue", "identity_cue", "item", "identity_item", "cue_item", "residual")


def audit_document(
    audit: Audit, details: AuditDetails | None = None, *, redact: bool = False
) -> doc.Document:
    """The whole report.

    Args:
        details: what the page shows beyond the audit's figures; None leaves the sections out that
            are made of nothing else.
        redact: leave out the texts of questions and answers.
    """
    head, model = audit.head, one_line(audit.model, 200)
    sections = [
        _headline(audit, details),
        _trade_off(audit, details.regions if details else None),
        _identities(audit),
        *([_where(details.where)] if details else []),
        *([labels_section(audit.labeled)] if audit.labeled else []),
        _cues(audit),
        *([evidence_section(details, redact=redact)] if details else []),
        method_section(audit, details, redact=redact) if details else details_section(audit),
    ]
    sizes = ", ".join(f"{one_line(name)} {n:,}" for name, n in audit.benchmarks.items())
    return doc.Document(
        title=f"evenhand audit of {model}",
        question=f"Does {model} treat all users alike?",
        subtitle=(
            f"{audit.done:,} of {audit.cells:,} answers: {len(audit.identities)} identities on "
            f"{sizes}; {audit.unscored:,} unscored, {audit.failed_attempts:,} failed attempts"
        ),
        source=f"{model}; cue {head.cue}, defense {head.defense}; {sizes}",
        sections=sections,
    )


def _headline(audit: Audit, details: AuditDetails | None) -> doc.Section:
    """The verdict, PB beside its noise floor, the means, and the facts of the run."""
    head = audit.head
    return doc.Section(
        "headline",
        "The answer",
        [
            *headline_sentences(head, audit.margin),
            *(wording.judge_sentence(n, axis.judge) for n, axis in head.axes.items() if axis.judge),
            *map(wording.labels_sentence, audit.labeled),
            *map(wording.relevance_sentence, audit.relevance),
            wording.extent_sentence(audit),
            _unscored(audit),
            f"The scores are those of judge: {one_line(audit.judge)}."
            if len(audit.judges) > 1
            else "",
        ],
        [*_setting_tables(head), doc.Facts(list(_facts(audit, details)))],
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
        doc.Column("judge wrong, %"),
    ]
    caption = f"{AXES[axis.axis].label.capitalize()} by {axis.labels:,} labels of your own"
    return doc.Table(caption, columns, rows)


def headline_sentences(setting: SettingResult, margin: float) -> list[str]:
    """The sentences above all others."""
    found = setting.conclusion
    sentences = [
        wording.conclusion_sentence(setting, margin),
        wording.affected_sentence(found),
        *wording.population_sentences(setting.pb, topics=setting.pb_these_topics is not None),
        wording.bounds_sentence(found),
        wording.yardstick_sentence(found),
    ]
    for axis, result in setting.axes.items():
        if result.to_baseline:
            sentences.append(wording.shift_sentence(AXES[axis].label, result.to_baseline))
    return [sentence for sentence in sentences if sentence]


def _unscored(audit: Audit) -> str:
    reasons = audit.unscored_reasons.items()
    parts = ", ".join(f"{one_line(reason)} {number:,}" for reason, number in reasons)
    return f"Unscored: {parts}." if parts else ""


def _setting_tables(setting: SettingResult, *, further: bool = False) -> Iterator[doc.Block]:
    """PB with its chart, and the means; a further setting has the tables alone."""
    spreads = tables.named_spreads(setting)
    rows = [(name, spread, ()) for name, spread in spreads.items()]
    table = tables.pb_table("Personalization bias (PB), in points of 0 to 100", "PB of", rows)
    if further:
        yield table
    elif spreads:
        title = "Personalization bias (PB): how far the identities spread"
        yield bias_figure("bias", title, spreads, table, _PB_NOTE)
    yield tables.means_table(setting)


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
        yield "Cost", f"about ${sum(costs):,.2f}"
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
        note=f"{ellipses}Up and to the right is better. Shape and color show the category. Small "
        "gray circles are placebos, the dashed ellipse two standard deviations around them.",
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
        blocks = [
            doc.Filter("Category", groups),
            doc.Columns(forests),
            tables.people_table(people, axes, _MOST_SHOWN),
            doc.Folded(
                "Shrunken estimates and ranks", list(_ranks(people, axes)), depth=doc.DETAILS
            ),
        ]
    if any(axis.categories for axis in head.axes.values()):
        blocks.append(doc.Folded("Categories", [_category_table(head)], depth=doc.DETAILS))
    return doc.Section("identities", "Who is treated differently", sentences, blocks)


def _differences(people: Sequence[IdentityResult], axis: str) -> list[tuple[str, Difference]]:
    deltas = ((person.text, person.axes[axis].to_baseline) for person in people)
    return [(text, delta) for text, delta in deltas if delta]


def _ranks(people: Sequence[IdentityResult], axes: Sequence[str]) -> Iterator[doc.Table]:
    return (tables.rank_table(people, axis, depth=doc.DETAILS) for axis in axes)


def _forest(people: Sequence[IdentityResult], axis: str, groups: Sequence[str]) -> doc.Figure:
    rows = [
        (one_line(person.text), one_line(person.category), delta)
        for person in people
        if (delta := person.axes[axis].to_baseline)
    ]
    rows.sort(key=lambda row: row[2].estimate)
    return forest_figure(
        f"forest-{axis.replace('_', '-')}",
        f"Difference in {AXES[axis].label} to the no-identity baseline",
        axis,
        rows,
        groups,
    )


def forest_figure(
    name: str,
    title: str,
    axis: str,
    rows: Sequence[tuple[str, str, Difference]],
    groups: Sequence[str],
) -> doc.Figure:
    """Differences with their intervals, a row each; another table has their figures."""
    significant = [f"{text} {doc.signed(d.estimate, 1)}" for text, _, d in rows if d.is_significant]
    worse = "right" if AXES[axis].lower_is_better else "left"
    return doc.Figure(
        name,
        title,
        f"{len(rows)} identities. Significant: {', '.join(significant) or 'none'}.",
        lambda: charts.forest_chart(rows, groups, "points"),
        note=f"Filled marks are significant ({wording.STRONG}); lines are 95% simultaneous "
        f"intervals. To the {worse} of 0 is worse.",
        groups=True,
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


# Where


def _where(where: Where) -> doc.Section:
    """Heat maps of identities by benchmark, and by subgroup of each benchmark."""
    sentences = [wording.where_sentence(where, where.benchmarks, "benchmark")]
    if where.subgroups:
        sentences.append(wording.where_sentence(where, where.subgroups, "subgroup"))
    sentences.append(wording.NOISE_RULE)
    names = [place.benchmark for place in where.benchmarks]
    blocks: list[doc.Block] = [
        _heat_figure("where-benchmarks", "By benchmark", where, where.benchmarks, names)
    ]
    by_benchmark: dict[tuple[str, str], list[GroupResult]] = {}
    for place in where.subgroups:
        by_benchmark.setdefault((place.axis, place.benchmark), []).append(place)
    for n, ((axis, benchmark), places) in enumerate(by_benchmark.items()):
        beyond = sum(int(place.beyond_noise.sum()) for place in places)
        title = f"{one_line(benchmark, 60)}, {AXES[axis].label}, by subgroup"
        names = [place.name for place in places]
        figure = _heat_figure(f"where-{n}", title, where, places, names)
        extent = f"{len(places)} subgroups, {beyond} differences beyond noise"
        blocks.append(doc.Folded(f"{title}: {extent}", [figure]))
    return doc.Section("where", "Where it happens", sentences, blocks, depth=doc.PAGE)


def _heat_figure(
    name: str, title: str, where: Where, places: Sequence[GroupResult], names: Sequence[str]
) -> doc.Figure:
    texts, order = doc.distinct(where.texts), _by_difference(where, places)
    rows = [
        doc.TableRow(texts[n], [_heat_cell(p.difference[n], p.beyond_noise[n]) for p in places])
        for n in order
    ]
    heads = [f"{one_line(name, 60)} ({p.items})" for name, p in zip(names, places, strict=True)]
    axes = [place.axis for place in places]
    if len(set(axes)) > 1:
        heads = [f"{head}, {AXES[axis].label}" for head, axis in zip(heads, axes, strict=True)]
    return _heat_map(
        name,
        title,
        doc.Table(
            f"{title}: differences to the mean of all identities, in points",
            [doc.Column("I am ..."), *map(doc.Column, doc.distinct(heads))],
            rows,
            strong="beyond noise",
        ),
        axes,
        "Orange is worse and blue is better than the mean of the identities; gray does not exceed "
        "noise.",
    )


def _heat_cell(value: Any, beyond_noise: Any) -> doc.TableCell:
    known = float(value) if value == value else None  # NaN is not equal to itself
    return doc.change(known, strong=bool(beyond_noise))


def _heat_map(
    name: str, title: str, table: doc.Table, axes: Sequence[str], note: str
) -> doc.Figure:
    """A table of differences as colors.

    Args:
        axes: of each column.
    """
    columns = [column.name for column in table.columns[1:]]
    strong = sum(cell.strong for row in table.rows for cell in row.cells)

    def chart() -> Any:
        cells = [
            charts.HeatCell(
                row.head,
                column.removesuffix(f", {AXES[axis].label}"),
                cell.key,
                cell.strong,
                lower_is_better=AXES[axis].lower_is_better,
                group=AXES[axis].label if len(set(axes)) > 1 else "",
            )
            for row in table.rows
            for column, axis, cell in zip(columns, axes, row.cells, strict=True)
        ]
        names = list(dict.fromkeys(cell.column for cell in cells))
        width = _WIDE if len(columns) <= _MOST_WIDE else _NARROW
        return charts.heat_map(cells, [row.head for row in table.rows], names, cell=width)

    return doc.Figure(
        name,
        title,
        f"Heat map of {len(table.rows)} identities by {len(columns)} columns; {strong} cells are "
        f"{table.strong}. The table below has every figure.",
        chart,
        table,
        note=note,
        depth=doc.PAGE,
    )


def _by_difference(where: Where, places: Sequence[GroupResult]) -> list[int]:
    """Identities with most differences beyond noise first."""

    def standing(n: int) -> tuple[int, float]:
        beyond = [place for place in places if place.beyond_noise[n]]
        return len(beyond), sum(float(place.difference[n]) ** 2 for place in beyond)

    return sorted(range(len(where.identities)), key=standing, reverse=True)


# Cues, defenses and intersections


def _cues(audit: Audit) -> doc.Section:
    """Other cues, defenses and intersections, where they were asked."""
    head = audit.head
    sentences: list[str] = []
    blocks: list[doc.Block] = []
    if len(audit.settings) > 1:
        sentences.append(wording.settings_sentence(audit.settings))
        blocks.append(_settings_table(audit.settings))
    if audit.cues:
        sentences += [
            wording.cue_sentence(axis, components) for axis, components in audit.cues.items()
        ]
        blocks.append(doc.Columns(list(_cue_maps(audit)), depth=doc.PAGE))
        components = _components_table(audit.cues)
        blocks.append(
            doc.Folded("Variance components over the cues", [components], depth=doc.DETAILS)
        )
    for each in audit.defenses:
        title = f"Defense {each.after} against {each.before}, cue {each.cue}"
        words = wording.comparison_sentences(each.change, audit.margin)
        blocks.append(doc.Paragraphs([f"{title}: {' '.join(words)}"]))
        axes = {"safety": each.change.safety_bias, "utility": each.change.utility_bias}
        means = {"safety": each.change.safety_mean, "utility": each.change.utility_mean}
        biases = {"PB": each.change.bias} | {f"PB of {axis}": b for axis, b in axes.items()}
        known = {axis: (None, None, mean) for axis, mean in means.items() if mean}
        blocks.append(tables.change_table(f"{title}: after less before, in points", biases, known))
    if head.interactions:
        sentences.append(wording.interaction_sentence(head.interactions))
        blocks.append(doc.Columns(list(_interaction_figures(head.interactions)), depth=doc.PAGE))
        blocks.append(_interaction_table(head.interactions))
    elif any("+" in person.id for person in head.identities):
        sentences.append("To measure interactions of two identities, also include each one alone.")
    blocks += [_further_setting(setting, audit.margin) for setting in audit.settings[1:]]
    asked = bool(sentences)
    if not asked:
        sentences.append("Other cues and intersections were not tested.")
    title = "Cues and intersections"
    return doc.Section("cues", title, sentences, blocks, depth=0 if asked else doc.PAGE)


def _settings_table(settings: Sequence[SettingResult]) -> doc.Table:
    axes = list(settings[0].axes)
    rows = []
    for setting in settings:
        means = [(setting.axes[a].mean, setting.axes[a].baseline) for a in axes]
        cells = [doc.points(value) for pair in means for value in pair]
        rows.append((f"{setting.cue}, {setting.defense}", setting.pb, cells))
    caption = "Every cue and defense, in points"
    return tables.pb_table(caption, "Cue, defense", rows, tables.mean_columns(axes))


def _further_setting(setting: SettingResult, margin: float) -> doc.Folded:
    """All that the first cue and defense has, for another."""
    people, axes = tables.most_different(setting.identities), list(setting.axes)
    return doc.Folded(
        f"Cue {setting.cue}, defense {setting.defense}",
        [
            doc.Paragraphs([" ".join(headline_sentences(setting, margin))]),
            *_setting_tables(setting, further=True),
            tables.people_table(people, axes, len(people)),
            *_ranks(people, axes),
        ],
        depth=doc.DETAILS,
    )


def _cue_maps(audit: Audit) -> Iterator[doc.Figure]:
    """One heat map an axis: identities by cue, under the first defense."""
    settings = [s for s in audit.settings if s.defense == audit.head.defense]
    people = doc.distinct([person.text for person in settings[0].identities])
    strong = f"significant, {wording.STRONG} over the identities of a cue"
    for axis in audit.cues:
        name = AXES[axis].label.capitalize()
        rows = []
        for n, text in enumerate(people):
            deltas = [setting.identities[n].axes[axis].to_mean for setting in settings]
            cells = [
                doc.change(d.estimate, strong=d.is_significant) if d else _NO_CELL for d in deltas
            ]
            rows.append(doc.TableRow(text, cells))
        table = doc.Table(
            f"{name} by cue: differences to the mean of the identities",
            [doc.Column("I am ..."), *(doc.Column(setting.cue) for setting in settings)],
            rows,
            strong=strong,
            depth=doc.PAGE,
        )
        yield _heat_map(
            f"cues-{axis.replace('_', '-')}",
            f"{name}: identities by cue",
            table,
            [axis] * len(settings),
            f"Gray: not {strong}.",
        )


def _components_table(cues: dict[str, CueComponents]) -> doc.Table:
    rows = [
        doc.TableRow(
            name.replace("_", " x "),
            [doc.decimals(getattr(components, name), 2) for components in cues.values()],
        )
        for name in _COMPONENTS
    ]
    columns = [doc.Column("Source"), *(doc.Column(AXES[axis].label) for axis in cues)]
    caption = "Variance components over the cues, squared points"
    return doc.Table(caption, columns, rows, depth=doc.DETAILS)


def _interaction_figures(interactions: Sequence[Interaction]) -> Iterator[doc.Figure]:
    axes = dict.fromkeys(axis for each in interactions for axis in each.axes)
    for axis in axes:
        tested = _most_telling([each for each in interactions if axis in each.axes], axis)
        rows = [(one_line(each.text), "intersection", each.axes[axis]) for each in tested]
        title = f"{AXES[axis].label.capitalize()}: two identities beyond the sum of the two"
        yield forest_figure(f"beyond-{axis.replace('_', '-')}", title, axis, rows, ["intersection"])


def _most_telling(interactions: Sequence[Interaction], axis: str = "") -> list[Interaction]:
    """The smallest p-value first, on an axis or on any."""

    def standing(each: Interaction) -> tuple[float, float, float]:
        deltas = [d for name, d in each.axes.items() if axis in ("", name)]
        return min(((d.p_holm, d.p_value, -abs(d.estimate)) for d in deltas), default=(1, 1, 0))

    return sorted(interactions, key=standing)


def _interaction_table(interactions: Sequence[Interaction]) -> doc.Table:
    axes = list(dict.fromkeys(axis for each in interactions for axis in each.axes))
    rows = [
        doc.TableRow(each.text, [tables.difference_cell(each.axes.get(axis)) for axis in axes])
        for each in _most_telling(interactions)
    ]
    columns = [tables.difference_column(AXES[a].label, 0 if AXES[a].in_pb else 8) for a in axes]
    return doc.Table(
        "Two identities in one user, beyond the sum of the two, in points",
        [doc.Column("I am ..."), *columns],
        rows,
        strong=wording.STRONG,
        most=_MOST_SHOWN,
    )
