"""The page of a comparison: what changed from the first side to each of the others."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from evenhand.analysis.compare import ArmChange, ArmComparison
from evenhand.axes import AXES
from evenhand.report.changes import (
    and_list,
    direction,
    identity_change_sentences,
    mean_change_sentences,
    relevance_change_sentence,
    side_change_sentences,
)
from evenhand.report.charts import Change, arrow_map, bias_chart, change_chart, forest_chart
from evenhand.report.html.page import render_page
from evenhand.report.html.parts import (
    Cell,
    Choice,
    Columns,
    Facts,
    Figure,
    Row,
    Section,
    Table,
    Text,
    change,
    clean,
    minus,
    points,
    span,
)
from evenhand.report.html.training import training_section
from evenhand.report.rows import axis_name, change_rows
from evenhand.stats import BiasChange, MeanChange

_ERROR = 0.05


def comparison_to_html(found: ArmComparison) -> str:
    """The whole page."""
    names = arm_names(found)
    title = f"What changed from {names[0]} to {and_list(names[1:])}?"
    subtitle = f"{len(found.identities)} identities, asked the same questions on every side"
    return render_page(title, subtitle, comparison_sections(found))


def comparison_sections(found: ArmComparison) -> list[Section]:
    """The page's sections, in their order."""
    sections = [_answer(found), _map(found), _changes(found)]
    sections += [_identities(found, each) for each in found.changes]
    if training := training_section(found):
        sections.append(training)
    return [*sections, _limits(found)]


def arm_names(found: ArmComparison) -> list[str]:
    """Names of the sides, all different."""
    names = [clean(side.name, 60) for side in found.sides]
    return [f"{name} ({n})" if name in names[:n] else name for n, name in enumerate(names)]


def _answer(found: ArmComparison) -> Section:
    names = arm_names(found)
    sentences = []
    for each in found.changes:
        words = side_change_sentences(each, found.margin)
        sentences += [f"{names[each.side]}: {' '.join(words)}"] if len(names) > 2 else words
    blocks: list[Any] = []
    spreads = {name: s.pb for name, s in zip(names, found.sides, strict=True) if s.pb}
    if spreads:
        shown = "; ".join(
            f"{name} {s.estimate:.1f} ({s.interval[0]:.1f} to {s.interval[1]:.1f})"
            for name, s in spreads.items()
        )
        blocks.append(
            Figure(
                "sides",
                "Personalization bias (PB) on every side",
                f"PB with 95 % intervals: {shown}.",
                bias_chart(spreads),
                note="The same identities and questions on every side. Intervals of single sides "
                "may overlap where their difference is certain: see the changes below.",
            )
        )
    return Section(
        "answer",
        "The answer",
        sentences,
        [*blocks, _side_table(found, names)],
        warnings=[minus(clean(line, 600)) for line in found.caveats],
    )


def _side_table(found: ArmComparison, names: list[str]) -> Table:
    axes = list(found.sides[0].axes)
    rows = []
    for name, side in zip(names, found.sides, strict=True):
        cells = [
            points(side.pb.estimate if side.pb else None),
            span(side.pb.interval if side.pb else None, sign=False),
            points(side.pb.plugin if side.pb else None),
            points(side.pb.noise_floor if side.pb else None),
        ]
        cells += [points(side.axes[axis].mean) for axis in axes]
        cells += [points(side.axes[axis].baseline) for axis in axes]
        rows.append(Row(name, cells))
    columns = ["Side", "PB", "95 % interval", "as in the paper", "noise floor"]
    columns += [f"mean {axis_name(axis)}" for axis in axes]
    columns += [f"{axis_name(axis)}, no identity" for axis in axes]
    return Table("Every side on what all of them have, in points", columns, rows)


def _map(found: ArmComparison) -> Section:
    title = "From before to after"
    if not {"safety", "utility"} <= set(found.sides[0].axes):
        sentence = "No map: the sides do not have both safety and utility in common."
        return Section("map", title, [sentence])
    names = arm_names(found)
    sentences = [
        "Each line leads from where an identity stood before, thin and open, to where it stands "
        "after, thick and filled. Up and to the right is better; the closer together, the less "
        "bias."
    ]
    figures = [_arrows(found, each, names) for each in found.changes]
    return Section("map", title, sentences, figures)


def _arrows(found: ArmComparison, each: ArmChange, names: list[str]) -> Figure:
    people = []
    for who in found.identities:
        places = [_place(who.means, n) for n in (0, each.side)]
        if places[0] is not None and places[1] is not None:
            people.append((clean(who.text), clean(who.category), places[0], places[1]))
    sides = found.sides[0], found.sides[each.side]
    means = [(s.axes["safety"].mean or 0.0, s.axes["utility"].mean or 0.0) for s in sides]
    bases = [(s.axes["safety"].baseline, s.axes["utility"].baseline) for s in sides]
    known = [(safety, utility) for safety, utility in bases if None not in (safety, utility)]
    rows = [
        Row(text, [Cell(group), *map(points, (before[0], after[0], before[1], after[1]))])
        for text, group, before, after in people
    ]
    columns = ["I am ...", "category", "safety before", "after", "utility before", "after"]
    moved = f"mean safety {means[0][0]:.1f} to {means[1][0]:.1f}, mean utility {means[0][1]:.1f} to"
    title = f"{names[0]} to {names[each.side]}"
    return Figure(
        f"arrows-{each.side}",
        title,
        f"Lines from before to after for {len(people)} identities: {moved} {means[1][1]:.1f}.",
        arrow_map(
            people,
            (means[0], means[1]),
            ((_known(known[0]), _known(known[1])) if len(known) == 2 else None),
        ),
        Table(f"Places on the map, {title}, in points", columns, rows),
        zoom=True,
    )


def _place(means: dict[str, list[float | None]], side: int) -> tuple[float, float] | None:
    safety, utility = means["safety"][side], means["utility"][side]
    return None if safety is None or utility is None else (safety, utility)


def _known(place: tuple[float | None, float | None]) -> tuple[float, float]:
    return (place[0] or 0.0, place[1] or 0.0)


def _changes(found: ArmComparison) -> Section:
    names = arm_names(found)
    sentences, blocks = [], []
    for each in found.changes:
        prefix = f"{names[each.side]}: " if len(names) > 2 else ""
        words = mean_change_sentences({a: change.mean for a, change in each.axes.items()})
        if each.relevance:
            words.append(relevance_change_sentence(each.relevance))
        sentences.append(prefix + (" ".join(words) or "too few scored answers in common."))
        blocks.append(_change_table(found, each, names))
    figures = [figure for figure in (_bias_changes(found), _mean_changes(found)) if figure]
    return Section("changes", "How much, and what it cost", sentences, [Columns(figures), *blocks])


def _bias_changes(found: ArmComparison) -> Figure | None:
    rows = []
    for name, each in _named(found):
        parts = {"both axes": each.bias} | {
            axis_name(axis): change.bias for axis, change in each.axes.items()
        }
        for part, bias in parts.items():
            if bias is not None:
                rows.append(Change(f"{name}{part}", bias.difference, bias.interval, _less(bias)))
    if not rows:
        return None
    return Figure(
        "bias-changes",
        "Change of PB",
        _words(rows),
        change_chart(rows, "change of PB, points"),
        note="Left of the line there is less bias than before.",
    )


def _mean_changes(found: ArmComparison) -> Figure | None:
    rows = [
        Change(
            f"{name}{axis_name(axis)}",
            each.mean.difference,
            each.mean.interval,
            _standing(axis, each.mean),
            found.margin if AXES[axis].lower_is_better else -found.margin,
        )
        for name, side in _named(found)
        for axis, each in side.axes.items()
    ]
    if not rows:
        return None
    return Figure(
        "mean-changes",
        "Change of the means",
        _words(rows),
        change_chart(rows, "change of the mean, points"),
        note=f"The short upright mark is the largest loss that would be accepted, {found.margin:g} "
        "points. Of over-refusal, less is better.",
    )


def _named(found: ArmComparison) -> Iterator[tuple[str, ArmChange]]:
    names = arm_names(found)
    for each in found.changes:
        yield (f"{names[each.side]}, " if len(names) > 2 else ""), each


def _less(bias: BiasChange) -> str:
    low, high = bias.interval
    if bias.p_value < _ERROR and (high < 0 or low > 0):
        return "better" if high < 0 else "worse"
    return "not told from none"


def _standing(axis: str, mean: MeanChange) -> str:
    low, high = mean.interval
    if low <= 0 <= high:
        return "not told from none"
    return "worse" if (low > 0) == AXES[axis].lower_is_better else "better"


def _words(rows: list[Change]) -> str:
    words = (
        f"{row.name} {row.difference:+.1f} ({row.interval[0]:+.1f} to {row.interval[1]:+.1f})"
        for row in rows
    )
    return minus(f"Changes in points: {'; '.join(words)}.")


def _change_table(found: ArmComparison, each: ArmChange, names: list[str]) -> Table:
    head, *body = change_rows(found, each)
    rows = [Row(row[0], [Cell(minus(cell) or "–") for cell in row[1:]]) for row in body]
    caption = f"From {names[0]} to {names[each.side]}: after less before, in points"
    return Table(caption, ["Change of", *head[1:]], rows)


def _identities(found: ArmComparison, each: ArmChange) -> Section:
    names = arm_names(found)
    axes = [axis for axis in each.axes if any(axis in who.axes for who in each.identities)]
    order = sorted(range(len(found.identities)), key=lambda n: _told(each, n), reverse=True)
    groups = list(dict.fromkeys(clean(who.category) for who in found.identities))
    rows = [_identity_row(found, each, n, axes) for n in order]
    columns = ["I am ...", "category"]
    for axis in axes:
        columns += [f"{axis_name(axis)} before", "after", "change", "95 %"]
    table = Table(
        "Change of each identity in points; the intervals of an axis hold all together; "
        "* p < 0.05 after Holm; in all: by intervals that hold for safety and utility together",
        [*columns, "in all"],
        rows,
    )
    sentences = identity_change_sentences(each.identities, found.margin)
    name = f"identities-{each.side}"
    title = "Who gained and who lost"
    if len(names) > 2:
        title += f": {names[each.side]}"
    charts = [_forest(found, each, axis, groups) for axis in axes]
    if not charts:
        return Section(name, title, ["Too few scored answers in common to compare identities."])
    return Section(name, title, sentences, [Choice("Category", groups), Columns(charts), table])


def _told(each: ArmChange, n: int) -> tuple[bool, float]:
    deltas = each.identities[n].axes.values()
    return any(d.p_holm < _ERROR for d in deltas), sum(d.estimate**2 for d in deltas)


def _identity_row(found: ArmComparison, each: ArmChange, n: int, axes: list[str]) -> Row:
    who, changed = found.identities[n], each.identities[n]
    cells = [Cell(clean(who.category))]
    for axis in axes:
        delta = changed.axes.get(axis)
        told = delta is not None and delta.p_holm < _ERROR
        cell = change(delta.estimate if delta else None, strong=told)
        cells += [
            points(who.means[axis][0]),
            points(who.means[axis][each.side]),
            Cell(f"{cell.text} *", cell.key, strong=True) if told else cell,
            span(delta.simultaneous if delta else None, digits=0),
        ]
    cells.append(Cell(direction(changed.verdict) if changed.verdict else "–"))
    return Row(clean(who.text), cells, clean(who.category))


def _forest(found: ArmComparison, each: ArmChange, axis: str, groups: list[str]) -> Figure:
    people = [
        (clean(who.text), clean(who.category), changed.axes[axis])
        for who, changed in zip(found.identities, each.identities, strict=True)
        if axis in changed.axes
    ]
    people.sort(key=lambda person: person[2].estimate)
    told = [f"{text} {d.estimate:+.1f}" for text, _, d in people if d.p_holm < _ERROR]
    worse = "right" if AXES[axis].lower_is_better else "left"
    return Figure(
        f"changed-{each.side}-{AXES[axis].label}",
        f"Change of {axis_name(axis)}",
        f"{len(people)} identities. Beyond chance: {minus(', '.join(told)) or 'none'}.",
        forest_chart(people, groups, "points"),
        note=f"Filled marks changed beyond chance. To the {worse} of the line is worse.",
        groups=True,
    )


def _limits(found: ArmComparison) -> Section:
    left_out = [f"Not compared: {clean(line, 600)}." for line in found.left_out]
    sentences = [
        *([] if left_out else ["Every identity and question of every side is compared."]),
        *left_out,
        *(f"{clean(line, 600)}." for line in found.caveats),
    ]
    sizes = ", ".join(f"{clean(name)} ({n:,})" for name, n in found.items.items())
    facts = [
        (
            name,
            f"{clean(side.model)}, cue {clean(side.cue)}, defense {clean(side.defense)}, "
            f"judged by {clean(side.judge)}",
        )
        for name, side in zip(arm_names(found), found.sides, strict=True)
    ]
    facts += [("Questions", sizes), ("Margin", f"{found.margin:g} points")]
    runs = " ".join(
        f"{clean(side.run)}@{clean(side.cue)}/{clean(side.defense)}" for side in found.sides
    )
    return Section(
        "limits",
        "What is compared, and what is not",
        sentences,
        [
            Facts(facts),
            Text([_METHOD]),
            Text([f"evenhand compare {runs} --margin {found.margin:g} --format html"], code=True),
        ],
    )


_METHOD = (
    "Only identities and questions that every side has are compared, item by item, so that what "
    "is hard for all sides cancels. Whether the change of PB is chance is judged by the exact "
    "variance of the difference of two correlated quadratic forms; its interval combines those of "
    "the two sides and their correlation (MOVER). A mean held up where a one-sided t-test rejects "
    "a loss of the margin. Changes of identities have sign-flip p-values, adjusted by Holm over "
    "the identities of an axis, and intervals that hold for all of them together."
)
