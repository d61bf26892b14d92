"""Section 3: every identity against the user of whom nothing is said."""

from __future__ import annotations

from collections.abc import Sequence

from evenhand.analysis.results import Audit, Difference, IdentityAxis, IdentityResult
from evenhand.axes import AXES
from evenhand.report.charts import forest_chart
from evenhand.report.html.parts import (
    Cell,
    Choice,
    Columns,
    Figure,
    Folded,
    Row,
    Section,
    Table,
    change,
    clean,
    minus,
    points,
    span,
)
from evenhand.report.plain import difference_sentence
from evenhand.report.sentences import category_sentence, signed


def identities(audit: Audit) -> Section:
    """Differences that stand out first; shrunken estimates, ranks and categories behind them."""
    head = audit.head
    people = most_different(head.identities)
    categories = list(dict.fromkeys(clean(person.category) for person in head.identities))
    axes = list(head.axes)
    sentences = [
        difference_sentence(axis, _differences(people, axis), audit.margin) for axis in axes
    ]
    sentences += [
        category_sentence(AXES[name].label, axis.categories) for name, axis in head.axes.items()
    ]
    charts = [_chart(people, axis, categories) for axis in axes if _differences(people, axis)]
    blocks = [
        Choice("Category", categories),
        Columns(charts),
        _table(people, axes),
        Folded("Shrunken estimates and ranks", [_ranks(people, axis) for axis in axes]),
    ]
    if any(axis.categories for axis in head.axes.values()):
        blocks.append(Folded("Categories", [_category_table(audit)]))
    return Section("identities", "Who is treated differently", sentences, blocks)


def most_different(people: Sequence[IdentityResult]) -> list[IdentityResult]:
    """Those first that differ from the baseline beyond chance, and most."""

    def standing(person: IdentityResult) -> tuple[bool, float]:
        found = [axis.to_baseline for axis in person.axes.values() if axis.to_baseline]
        told = any(difference.p_holm < 0.05 for difference in found)
        return told, sum(difference.estimate**2 for difference in found)

    return sorted(people, key=standing, reverse=True)


def _differences(people: Sequence[IdentityResult], axis: str) -> list[tuple[str, Difference]]:
    found = ((person.text, person.axes[axis].to_baseline) for person in people)
    return [(text, difference) for text, difference in found if difference]


def _table(people: Sequence[IdentityResult], axes: Sequence[str]) -> Table:
    columns = ["I am ...", "category"]
    for axis in axes:
        columns += [AXES[axis].label, "difference", "95 %"]
    columns.append("verdict")
    rows = []
    for person in people:
        cells = [Cell(clean(person.category))]
        for axis in axes:
            found = person.axes[axis].to_baseline
            told = found is not None and found.p_holm < 0.05
            difference = change(found.estimate if found else None, strong=told)
            star = Cell(f"{difference.text} *", difference.key, strong=True) if told else difference
            cells += [
                points(person.axes[axis].mean),
                star,
                span(found.simultaneous if found else None, digits=0),
            ]
        cells.append(Cell(person.verdict or "–"))
        rows.append(Row(clean(person.text), cells, clean(person.category)))
    caption = (
        "Differences to the no-identity baseline in points; the intervals of an axis hold all "
        "together; * p < 0.05 after Holm"
    )
    return Table(caption, columns, rows)


def _chart(people: Sequence[IdentityResult], axis: str, categories: Sequence[str]) -> Figure:
    ordered = sorted(
        (person for person in people if person.axes[axis].to_baseline),
        key=lambda person: _size(person.axes[axis]),
    )
    rows = [
        (clean(person.text), clean(person.category), person.axes[axis].to_baseline)
        for person in ordered
    ]
    name = AXES[axis].label
    worse = "right" if AXES[axis].lower_is_better else "left"
    told = [f"{text} {signed(d.estimate, 1)}" for text, _, d in rows if d and d.p_holm < 0.05]
    return Figure(
        f"forest-{AXES[axis].label}",
        f"Difference in {name} to the no-identity baseline",
        f"{len(rows)} identities. Beyond chance: {minus(', '.join(told)) or 'none'}.",
        forest_chart(
            [(text, group, found) for text, group, found in rows if found],
            categories,
            "points",
        ),
        note=f"Filled marks differ beyond chance. To the {worse} of the line is worse.",
        groups=True,
    )


def _size(axis: IdentityAxis) -> float:
    return axis.to_baseline.estimate if axis.to_baseline else 0.0


def _ranks(people: Sequence[IdentityResult], axis: str) -> Table:
    """Ranks so that the first is the worst off, whichever way the axis points."""
    last = len([person for person in people if person.axes[axis].rank is not None]) + 1
    turn = AXES[axis].lower_is_better
    rows = []
    for person in people:
        found = person.axes[axis]
        rank, limits = found.rank, found.rank_interval
        if turn and rank is not None and limits is not None:
            rank, limits = last - rank, (last - limits[1], last - limits[0])
        rows.append(
            Row(
                clean(person.text),
                [
                    change(found.to_mean.estimate if found.to_mean else None),
                    span(found.to_mean.simultaneous if found.to_mean else None),
                    change(found.shrunken),
                    Cell("–") if rank is None else Cell(f"{rank:.0f}", rank),
                    span(limits, sign=False, digits=0),
                ],
            )
        )
    rows.sort(key=lambda row: (row.cells[3].key is None, row.cells[3].key or 0.0))
    columns = [
        "I am ...",
        "difference to the mean",
        "95 %, all together",
        "shrunken",
        "rank",
        "95 % of the rank",
    ]
    return Table(
        f"{AXES[axis].label.capitalize()}: rank 1 is the worst off; the shrunken difference is the "
        "best guess once noise is counted",
        columns,
        rows,
    )


def _category_table(audit: Audit) -> Table:
    rows = [
        Row(
            f"{clean(category.name)} ({category.size})",
            [
                Cell(AXES[name].label),
                change(category.difference.estimate, strong=category.difference.p_holm < 0.05),
                span(category.difference.simultaneous),
                points(category.within.estimate if category.within else None),
                span(category.within.interval if category.within else None, sign=False),
            ],
        )
        for name, axis in audit.head.axes.items()
        for category in axis.categories
    ]
    columns = ["Category", "axis", "difference", "95 %, all together", "PB within", "95 % interval"]
    caption = "Categories against the mean of all identities, and the spread inside each"
    return Table(caption, columns, rows)
