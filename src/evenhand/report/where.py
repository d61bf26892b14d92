"""Where identities differ: by benchmark and subgroup, by cue and defense, in intersections."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any
from urllib.parse import quote

from evenhand.analysis.evidence import GroupResult, Where
from evenhand.analysis.results import Audit, Interaction, SettingResult
from evenhand.axes import AXES
from evenhand.report import charts, tables, wording
from evenhand.report import document as doc
from evenhand.stats import CueComponents
from evenhand.text import one_line

_MOST_SHOWN = 8
_WIDE, _NARROW = 62, 20
"""Pixels of a cell of a heat map with few columns, and with many."""
_MOST_WIDE = 12
_NO_CELL = doc.TableCell(doc.NONE)
_COMPONENTS = ("identity", "cue", "identity_cue", "item", "identity_item", "cue_item", "residual")


def where_section(where: Where) -> doc.Section:
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
        doc.TableRow(
            texts[n],
            [_heat_cell(p.difference[n], p.beyond_noise[n]) for p in places],
            query=f"identity={quote(where.identities[n])}",
        )
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
            [
                doc.Column("I am ..."),
                *(
                    doc.Column(head, query=f"benchmark={quote(place.benchmark)}")
                    for head, place in zip(doc.distinct(heads), places, strict=True)
                ),
            ],
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
    table = _toned(table, axes)
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


def _toned(table: doc.Table, axes: Sequence[str]) -> doc.Table:
    """With the colors of its strong cells, as `charts.heat_map` has them."""
    strong = [abs(cell.key or 0.0) for row in table.rows for cell in row.cells if cell.strong]
    most = max([10.0, *strong])

    def tone(cell: doc.TableCell, axis: str) -> doc.TableCell:
        if not cell.strong or cell.key is None:
            return cell
        gain = -cell.key if AXES[axis].lower_is_better else cell.key
        return replace(cell, tone=gain / most)

    rows = [
        replace(row, cells=[tone(c, a) for c, a in zip(row.cells, axes, strict=True)])
        for row in table.rows
    ]
    return replace(table, rows=rows, is_heat_map=True)


def _by_difference(where: Where, places: Sequence[GroupResult]) -> list[int]:
    """Identities with most differences beyond noise first."""

    def standing(n: int) -> tuple[int, float]:
        beyond = [place for place in places if place.beyond_noise[n]]
        return len(beyond), sum(float(place.difference[n]) ** 2 for place in beyond)

    return sorted(range(len(where.identities)), key=standing, reverse=True)


def cues_section(audit: Audit) -> doc.Section:
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
        if any(each.axes for each in head.interactions):
            figures = list(interaction_figures(head.interactions))
            blocks.append(doc.Columns(figures, depth=doc.PAGE))
            blocks.append(interaction_table(head.interactions))
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
            doc.Paragraphs([" ".join(tables.headline_sentences(setting, margin))]),
            *tables.setting_tables(setting, further=True),
            tables.people_table(people, axes, len(people)),
            *tables.rank_tables(people, axes),
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


def interaction_figures(interactions: Sequence[Interaction]) -> Iterator[doc.Figure]:
    axes = dict.fromkeys(axis for each in interactions for axis in each.axes)
    for axis in axes:
        tested = _most_telling([each for each in interactions if axis in each.axes], axis)
        rows = [(one_line(each.text), "intersection", each.axes[axis]) for each in tested]
        title = f"{AXES[axis].label.capitalize()}: two identities beyond the sum of the two"
        yield tables.forest_figure(
            f"beyond-{axis.replace('_', '-')}", title, axis, rows, ["intersection"]
        )


def _most_telling(interactions: Sequence[Interaction], axis: str = "") -> list[Interaction]:
    """The smallest p-value first, on an axis or on any."""

    def standing(each: Interaction) -> tuple[float, float, float]:
        deltas = [d for name, d in each.axes.items() if axis in ("", name)]
        return min(((d.p_adjusted, d.p_value, -abs(d.estimate)) for d in deltas), default=(1, 1, 0))

    return sorted(interactions, key=standing)


def interaction_table(interactions: Sequence[Interaction]) -> doc.Table:
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
