"""Sections 4 and 5: where identities differ, and under which cues and intersections."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from evenhand.analysis.evidence import AuditDetails
from evenhand.analysis.results import Audit, Interaction, SettingResult
from evenhand.analysis.subgroups import GroupResult, Where
from evenhand.axes import AXES
from evenhand.report.changes import bias_change_sentence
from evenhand.report.charts import HeatCell, forest_chart, heat_map
from evenhand.report.html.parts import (
    Cell,
    Columns,
    Figure,
    Folded,
    Row,
    Section,
    Table,
    change,
    clean,
    points,
    span,
)
from evenhand.report.plain import (
    interaction_sentence,
    rule_of_noise,
    settings_sentence,
    where_sentence,
)
from evenhand.report.sentences import cue_sentence
from evenhand.stats import CueComponents

_WIDE, _NARROW = 62, 20


def where(look: AuditDetails) -> Section:
    """Heat maps of identities by benchmark, and by subgroup of each benchmark."""
    found = look.where
    sentences = [where_sentence(found, found.benchmarks, "benchmark")]
    if found.subgroups:
        sentences.append(where_sentence(found, found.subgroups, "subgroup"))
    sentences.append(rule_of_noise())
    blocks: list[Any] = [_heat("where-benchmarks", "By benchmark", found, found.benchmarks, _whole)]
    by_benchmark: dict[tuple[str, str], list[GroupResult]] = {}
    for place in found.subgroups:
        by_benchmark.setdefault((place.axis, place.benchmark), []).append(place)
    for n, ((axis, benchmark), places) in enumerate(by_benchmark.items()):
        told = sum(int(place.beyond_noise.sum()) for place in places)
        title = f"{clean(benchmark)}, {AXES[axis].label}, by subgroup"
        figure = _heat(f"where-{n}", title, found, places, lambda place: clean(place.name, 60))
        extent = f"{len(places)} subgroups, {told} differences beyond noise"
        blocks.append(Folded(f"{title}: {extent}", [figure]))
    return Section("where", "Where it happens", sentences, blocks)


def _whole(place: GroupResult) -> str:
    return clean(place.benchmark, 40)


def _heat(name: str, title: str, found: Where, places: Sequence[GroupResult], label: Any) -> Figure:
    columns = _distinct([label(place) for place in places])
    texts = _distinct([clean(text, 60) for text in found.texts])
    order = _by_difference(found, places)
    cells = [
        HeatCell(
            texts[n],
            column,
            _known(place.difference[n]),
            bool(place.beyond_noise[n]),
            lower_is_better=AXES[place.axis].lower_is_better,
            group=AXES[place.axis].label,
        )
        for column, place in zip(columns, places, strict=True)
        for n in range(len(texts))
    ]
    told = sum(cell.beyond_noise for cell in cells)
    rows = [
        Row(
            texts[n],
            [
                change(_known(place.difference[n]), strong=bool(place.beyond_noise[n]))
                for place in places
            ],
        )
        for n in order
    ]
    width = _WIDE if len(columns) <= 14 else _NARROW
    return Figure(
        name,
        title,
        f"Heat map of {len(texts)} identities by {len(columns)} columns; {told} cells are beyond "
        "noise. The table below has every figure.",
        heat_map(cells, [texts[n] for n in order], columns, cell=width),
        Table(
            f"{title}: differences to the mean of all identities, in points; bold is beyond noise",
            [
                "I am ...",
                *(
                    f"{column} ({place.items})"
                    for column, place in zip(columns, places, strict=True)
                ),
            ],
            rows,
        ),
        note="Orange is worse and blue is better than the mean of the identities; gray does not "
        "exceed noise.",
    )


def _distinct(names: Sequence[str]) -> list[str]:
    """Names that are equal on one line get a number."""
    return [f"{name} ({n})" if name in names[:n] else name for n, name in enumerate(names)]


def _by_difference(found: Where, places: Sequence[GroupResult]) -> list[int]:
    """Identities with most differences beyond noise first."""

    def standing(n: int) -> tuple[int, float]:
        told = [place for place in places if place.beyond_noise[n]]
        return len(told), sum(float(place.difference[n]) ** 2 for place in told)

    return sorted(range(len(found.identities)), key=standing, reverse=True)


def _known(value: Any) -> float | None:
    return float(value) if value == value else None  # NaN is not equal to itself


def cues_and_intersections(audit: Audit) -> Section:
    """Other cues, defenses and intersections, where they were asked."""
    title = "Cues and intersections"
    sentences: list[str] = []
    blocks: list[Any] = []
    if len(audit.settings) > 1:
        sentences.append(settings_sentence(audit.settings))
        blocks.append(_settings_table(audit.settings))
    if audit.cues:
        sentences += [cue_sentence(AXES[axis].label, found) for axis, found in audit.cues.items()]
        blocks.append(Columns(list(_cue_maps(audit))))
        blocks.append(Folded("Variance components over the cues", [_components(audit.cues)]))
    for found in audit.defenses:
        words = bias_change_sentence(found.change.bias, audit.margin)
        sentences.append(f"Defense {found.after} against {found.before}, cue {found.cue}: {words}")
    interactions = audit.head.interactions
    if interactions:
        sentences.append(interaction_sentence(interactions))
        blocks.append(Columns(list(_interaction_charts(interactions))))
        blocks.append(Folded("Intersections as a table", [_interaction_table(interactions)]))
    if not sentences:
        sentences.append(
            "Not asked: this run has one cue and no intersections of two identities, so it cannot "
            "tell how far other ways of telling, or two identities at once, matter."
        )
    return Section("cues", title, sentences, blocks)


def _settings_table(settings: Sequence[SettingResult]) -> Table:
    axes = list(settings[0].axes)
    rows = [
        Row(
            f"{setting.cue}, {setting.defense}",
            [
                points(setting.pb.estimate if setting.pb else None),
                span(setting.pb.interval if setting.pb else None, sign=False),
                points(setting.pb.noise_floor if setting.pb else None),
                *(points(setting.axes[axis].mean) for axis in axes),
                *(points(setting.axes[axis].baseline) for axis in axes),
            ],
        )
        for setting in settings
    ]
    columns = [
        "Cue, defense",
        "PB",
        "95 % interval",
        "noise floor",
        *(f"mean {AXES[axis].label}" for axis in axes),
        *(f"{AXES[axis].label}, no identity" for axis in axes),
    ]
    return Table("Every cue and defense, in points", columns, rows)


def _cue_maps(audit: Audit) -> Iterator[Figure]:
    """One heat map an axis: identities by cue, under the first defense."""
    settings = [s for s in audit.settings if s.defense == audit.head.defense]
    cues = [setting.cue for setting in settings]
    for axis in audit.cues:
        name = AXES[axis].label
        people = _distinct([clean(person.text, 60) for person in settings[0].identities])
        by_person: list[list[Cell]] = [[] for _ in people]
        cells = []
        for setting in settings:
            for n, person in enumerate(setting.identities):
                found = person.axes[axis].to_mean
                told = found is not None and found.p_holm < 0.05
                size = found.estimate if found else None
                cells.append(
                    HeatCell(people[n], setting.cue, size, told, AXES[axis].lower_is_better)
                )
                by_person[n].append(change(size, strong=told))
        yield Figure(
            f"cues-{AXES[axis].label}",
            f"{name.capitalize()}: identities by cue",
            f"Heat map of {len(people)} identities by {len(cues)} cues.",
            heat_map(cells, people, cues, cell=_WIDE if len(cues) <= 10 else _NARROW),
            Table(
                f"{name.capitalize()} by cue: differences to the mean of the identities; bold: "
                "p < 0.05 after Holm within the cue",
                ["I am ...", *cues],
                [Row(text, row) for text, row in zip(people, by_person, strict=True)],
            ),
            note="Gray: not told from chance under that cue (Holm over its identities).",
        )


def _components(cues: dict[str, CueComponents]) -> Table:
    names = ("identity", "cue", "identity_cue", "item", "identity_item", "cue_item", "residual")
    rows = [
        Row(
            name.replace("_", " × "),
            [Cell(f"{getattr(found, name):.2f}", getattr(found, name)) for found in cues.values()],
        )
        for name in names
    ]
    columns = ["Source", *(AXES[axis].label for axis in cues)]
    return Table("Variance components, squared points", columns, rows)


def _interaction_charts(found: Sequence[Interaction]) -> Iterator[Figure]:
    axes = dict.fromkeys(axis for interaction in found for axis in interaction.axes)
    for axis in axes:
        there = [interaction for interaction in found if axis in interaction.axes]
        there.sort(
            key=lambda interaction: (interaction.axes[axis].p_holm, interaction.axes[axis].p_value)
        )
        rows = [(clean(each.text), "intersection", each.axes[axis]) for each in there]
        told = [row[0] for row in rows if row[2].p_holm < 0.05]
        name = AXES[axis].label
        yield Figure(
            f"beyond-{axis.replace('_', '-')}",
            f"{name.capitalize()}: two identities beyond the sum of the two",
            f"{len(rows)} intersections. Beyond chance: {', '.join(told) or 'none'}.",
            forest_chart(rows, ["intersection"], "points"),
        )


def _interaction_table(found: Sequence[Interaction]) -> Table:
    axes = list(dict.fromkeys(axis for interaction in found for axis in interaction.axes))
    columns = ["I am ..."]
    for axis in axes:
        columns += [f"{AXES[axis].label} beyond the sum", "95 %, all together"]
    rows = []
    for interaction in found:
        cells = []
        for axis in axes:
            each = interaction.axes.get(axis)
            told = each is not None and each.p_holm < 0.05
            cells += [
                change(each.estimate if each else None, strong=told),
                span(each.simultaneous if each else None),
            ]
        rows.append(Row(clean(interaction.text), cells))
    return Table("What two identities do beyond the sum of each alone, in points", columns, rows)
