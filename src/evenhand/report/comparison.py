"""The report of a comparison: what changed from the first arm to the others, or stage by stage."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import orjson

from evenhand.analysis.compare import ArmChange, ArmComparison
from evenhand.axes import AXES, PB_AXES
from evenhand.report import charts, tables, wording
from evenhand.report import document as doc
from evenhand.report.headline import comparison_headline
from evenhand.text import one_line

_MOST_SHOWN = 8
_CURVES = {
    "loss": "loss",
    "accuracy": "share of preferences right",
    "margin": "margin of the chosen answer",
}
_METHOD = (
    "Only identities and questions that every arm has are compared, item by item, so that the "
    "difficulty of the questions cancels. The test of a change of PB uses the exact variance of "
    "the difference of two correlated quadratic forms; its interval combines those of the two arms "
    "and their correlation (MOVER) and is never narrower than Student's t over the questions, as "
    "if at least one were answered otherwise. Non-inferiority of a mean is established where a "
    "one-sided t-test rejects a loss of the margin. Changes of identities have p-values adjusted "
    "for all identities of an axis (sign-flip and t-test, Sidak), and the simultaneous intervals "
    "that belong to them."
)


def comparison_document(
    comparison: ArmComparison, weights: Mapping[str, Path] | None = None
) -> doc.Document:
    """The whole report.

    Args:
        weights: folders of local weights, by the models' names in the comparison.
    """
    names = arm_names(comparison)
    sizes = ", ".join(f"{one_line(name)} {n:,}" for name, n in comparison.items.items())
    number = len(comparison.identities)
    people = f"{number} {'identity' if number == 1 else 'identities'}"
    return doc.Document(
        title=f"evenhand compare: {names[0]} with {', '.join(names[1:])}",
        question=f"What changed from {names[0]} to {_others(comparison)}?",
        subtitle=f"{people} on {sizes}; each arm was asked the same questions",
        source=f"{people}; {sizes}",
        sections=comparison_sections(comparison, weights),
        headline=comparison_headline(
            comparison, names, [step_name(comparison, each) for each in comparison.changes]
        ),
    )


def comparison_sections(
    comparison: ArmComparison, weights: Mapping[str, Path] | None = None
) -> list[doc.Section]:
    """The sections in their order; `weights` as in `comparison_document`."""
    sections = [_answer(comparison), _map(comparison), _changes(comparison)]
    sections += [_identities(comparison, each) for each in comparison.changes]
    if training := _training(comparison, weights or {}):
        sections.append(training)
    return [*sections, _limits(comparison)]


def arm_names(comparison: ArmComparison) -> list[str]:
    """Names of the arms, all different."""
    return doc.distinct([arm.name for arm in comparison.sides])


def in_stages(comparison: ArmComparison) -> bool:
    """Whether arms are compared with the one before them."""
    return any(each.since for each in comparison.changes)


def _others(comparison: ArmComparison) -> str:
    names = arm_names(comparison)[1:]
    return " to ".join(names) if in_stages(comparison) else wording.and_list(names)


def step_name(comparison: ArmComparison, each: ArmChange) -> str:
    """Name of the arm that is compared with the first; of a stage also of the one before."""
    names = arm_names(comparison)
    stages = in_stages(comparison)
    return f"{names[each.since]} to {names[each.side]}" if stages else names[each.side]


def _prefix(comparison: ArmComparison, each: ArmChange) -> str:
    """Which change is meant, where there are several."""
    return f"{step_name(comparison, each)}: " if len(comparison.changes) > 1 else ""


def _key(each: ArmChange) -> str:
    """Of a change, for the names of its sections and figures."""
    return f"{each.since}-{each.side}" if each.since else f"{each.side}"


def _answer(comparison: ArmComparison) -> doc.Section:
    sentences = [_stages_sentence(comparison)] if in_stages(comparison) else []
    for each in comparison.changes:
        words = wording.arm_change_sentences(each, comparison.margin)
        if comparison.cells and not each.changed:
            words.insert(0, _unchanged_sentence(comparison, each))
        prefix = _prefix(comparison, each)
        sentences += [f"{prefix}{' '.join(words)}"] if prefix else words
    names = arm_names(comparison)
    spreads = {n: arm.pb for n, arm in zip(names, comparison.sides, strict=True) if arm.pb}
    blocks: list[doc.Block] = [arms_table(comparison)]
    if spreads:
        note = (
            "All arms have the same identities and questions. Intervals of single arms may overlap "
            "although their difference is significant: see the changes below."
        )
        title = "Personalization bias (PB) of every arm"
        blocks = [tables.bias_figure("sides", title, spreads, arms_table(comparison), note)]
    for each in comparison.changes:
        blocks.append(_change_table(comparison, each))
        if each.logit:
            blocks.append(tables.logit_change_table(each))
    warnings = [f"left out: {line}" for line in comparison.left_out] + comparison.caveats
    return doc.Section("answer", "The answer", sentences, blocks, warnings=warnings)


def _unchanged_sentence(comparison: ArmComparison, each: ArmChange) -> str:
    words = f"all {comparison.cells:,} cells have the same score in both arms"
    if (alone := each.unidentified) is None:
        return f"On these questions nothing changed: {words}."
    if not alone.changed:
        return f"On these questions nothing changed, nor for the unidentified user: {words}."
    return (
        f"For the identities nothing changed on these questions: {words}. For the unidentified "
        f"user, {alone.changed:,} of {alone.items:,} items are scored otherwise."
    )


def _stages_sentence(comparison: ArmComparison) -> str:
    stages = zip(arm_names(comparison), (arm.pb for arm in comparison.sides), strict=True)
    spreads = [
        f"{name} {pb.estimate:.1f} ({wording.interval_text(pb.interval)})"
        if pb
        else f"{name} not estimable"
        for name, pb in stages
    ]
    return f"PB by stage, in points: {'; '.join(spreads)}."


def arms_table(comparison: ArmComparison) -> doc.Table:
    """PB and means of every arm."""
    axes = list(comparison.sides[0].axes)
    rows = []
    for name, arm in zip(arm_names(comparison), comparison.sides, strict=True):
        pairs = [(arm.axes[axis].mean, arm.axes[axis].baseline) for axis in axes]
        rows.append((name, arm.pb, [doc.points(value) for pair in pairs for value in pair]))
    caption = (
        f"Every arm, in points, on the same {comparison.cells:,} of {comparison.all_cells:,} cells "
        "(identity by item)"
    )
    return tables.pb_table(caption, "Arm", rows, tables.mean_columns(axes))


def _change_table(comparison: ArmComparison, each: ArmChange) -> doc.Table:
    arms = comparison.sides[each.since], comparison.sides[each.side]
    means = {
        axis: (arms[0].axes[axis].mean, arms[1].axes[axis].mean, c.mean)
        for axis, c in each.axes.items()
    }
    further = []
    if relevance := each.relevance:
        cells = [
            doc.points(relevance.before),
            doc.points(relevance.after),
            doc.change(relevance.difference),
        ]
        cells += [doc.interval(relevance.interval), doc.TableCell(doc.NONE)]
        further.append(doc.TableRow("appropriate personalization", cells))
    names = arm_names(comparison)
    caption = (
        f"From {names[each.since]} to {names[each.side]}: after less before, in points; "
        f"{each.changed:,} of {comparison.cells:,} cells are scored otherwise"
    )
    return tables.change_table(caption, tables.axis_biases(each.bias, each.axes), means, further)


def _map(comparison: ArmComparison) -> doc.Section:
    title = "From before to after"
    if not set(PB_AXES) <= set(comparison.sides[0].axes):
        sentence = "No map: the arms do not have both safety and utility in common."
        return doc.Section("map", title, [sentence], depth=doc.PAGE)
    sentence = (
        "Each line leads from where an identity stood before, thin and open, to where it stands "
        "after, thick and filled. Up and to the right is better; the closer together the "
        "identities are, the less bias."
    )
    figures = [_arrow_figure(comparison, each) for each in comparison.changes]
    return doc.Section("map", title, [sentence], figures, depth=doc.PAGE)


def _arrow_figure(comparison: ArmComparison, each: ArmChange) -> doc.Figure:
    people = []
    for who in comparison.identities:
        before, after = (_place(who.means, n) for n in (each.since, each.side))
        if before is not None and after is not None:
            people.append((one_line(who.text), one_line(who.category), before, after))
    arms = comparison.sides[each.since], comparison.sides[each.side]
    means = [(a.axes["safety"].mean or 0.0, a.axes["utility"].mean or 0.0) for a in arms]
    bases = [(a.axes["safety"].baseline, a.axes["utility"].baseline) for a in arms]
    known = [(s, u) for s, u in bases if s is not None and u is not None]
    rows = [
        doc.TableRow(
            text,
            [doc.TableCell(group), *map(doc.points, (before[0], after[0], before[1], after[1]))],
        )
        for text, group, before, after in people
    ]
    columns = ["I am ...", "category", "safety before", "after", "utility before", "after"]
    names = arm_names(comparison)
    title = f"{names[each.since]} to {names[each.side]}"
    moved = " and ".join(
        f"mean {axis} {means[0][n]:.1f} to {means[1][n]:.1f}" for n, axis in enumerate(PB_AXES)
    )
    return doc.Figure(
        f"arrows-{_key(each)}",
        title,
        f"Lines from before to after for {len(people)} identities: {moved}.",
        partial(
            _arrow_map, people, (means[0], means[1]), (known[0], known[1]) if known[1:] else None
        ),
        doc.Table(
            f"Places on the map, {title}, in points",
            list(map(doc.Column, columns)),
            rows,
            depth=doc.PAGE,
        ),
        zoom=True,
    )


def _arrow_map(*arguments: Any) -> Any:
    return charts.arrow_map(*arguments)


def _place(means: Mapping[str, Sequence[float | None]], arm: int) -> tuple[float, float] | None:
    safety, utility = means["safety"][arm], means["utility"][arm]
    return None if safety is None or utility is None else (safety, utility)


def _changes(comparison: ArmComparison) -> doc.Section:
    sentences = []
    for each in comparison.changes:
        words = wording.mean_change_sentences({axis: c.mean for axis, c in each.axes.items()})
        if each.relevance:
            words.append(wording.relevance_change_sentence(each.relevance))
        prefix = _prefix(comparison, each)
        sentences.append(prefix + (" ".join(words) or "too few scored answers in common."))
    figures = list(_change_figures(comparison))
    title = "How much, and what it cost"
    return doc.Section("changes", title, sentences, [doc.Columns(figures)], depth=doc.PAGE)


ChangeFigures = tuple[str, float, tuple[float, float], str, float | None]
"""Name, difference, interval, standing, non-inferiority margin with its sign."""


def _change_figures(comparison: ArmComparison) -> Iterator[doc.Figure]:
    margin = comparison.margin
    biases: list[ChangeFigures] = []
    means: list[ChangeFigures] = []
    for each in comparison.changes:
        prefix = _prefix(comparison, each).replace(": ", ", ")
        parts = {"both axes": each.bias} | {AXES[a].label: c.bias for a, c in each.axes.items()}
        for part, b in parts.items():
            if b is not None:
                row = (b.difference, b.interval, wording.standing("", b), None)
                biases.append((f"{prefix}{part}", *row))
        for axis, m in ((axis, c.mean) for axis, c in each.axes.items()):
            limit = margin if AXES[axis].lower_is_better else -margin
            mean_row = (m.difference, m.interval, wording.standing(axis, m), limit)
            means.append((f"{prefix}{AXES[axis].label}", *mean_row))
    if biases:
        note = "Left of the line there is less bias than before."
        yield _change_figure("bias-changes", "Change of PB", biases, "change of PB, points", note)
    if means:
        note = (
            f"The short upright mark is the non-inferiority margin, {margin:g} points. Of "
            "over-refusal, less is better."
        )
        title = "change of the mean, points"
        yield _change_figure("mean-changes", "Change of the means", means, title, note)


def _change_figure(
    name: str, title: str, rows: list[ChangeFigures], axis_title: str, note: str
) -> doc.Figure:
    words = "; ".join(f"{row[0]} {row[1]:+.1f} ({wording.interval_text(row[2])})" for row in rows)
    return doc.Figure(
        name,
        title,
        f"Changes in points: {words}.",
        lambda: charts.change_chart([charts.ChangeRow(*row) for row in rows], axis_title),
        note=note,
    )


def _identities(comparison: ArmComparison, each: ArmChange) -> doc.Section:
    axes = [axis for axis in each.axes if any(axis in who.axes for who in each.identities)]
    name, title = f"identities-{_key(each)}", "Who gained and who lost"
    if len(comparison.changes) > 1:
        title += f": {step_name(comparison, each)}"
    if not axes:
        return doc.Section(name, title, ["Too few scored answers in common to compare identities."])
    groups = list(dict.fromkeys(one_line(who.category) for who in comparison.identities))
    forests = [_forest(comparison, each, axis, groups) for axis in axes]
    blocks: list[doc.Block] = [
        doc.Filter("Category", groups),
        doc.Columns(forests, depth=doc.PAGE),
        _people_table(comparison, each, axes),
    ]
    sentences = wording.identity_change_sentences(each.identities, comparison.margin)
    return doc.Section(name, title, sentences, blocks)


def _people_table(comparison: ArmComparison, each: ArmChange, axes: Sequence[str]) -> doc.Table:
    def size(n: int) -> tuple[bool, float]:
        deltas = [d for a, d in each.identities[n].axes.items() if a in axes]
        return any(d.is_significant for d in deltas), sum(d.estimate**2 for d in deltas)

    columns = [doc.Column("I am ..."), doc.Column("category", drop=10)]
    for axis in axes:
        label = AXES[axis].label
        columns += [doc.Column(f"{label} before", 9), doc.Column(f"{label} after", 9)]
        columns.append(tables.difference_column(f"change of {label}", tables.axis_drop(axis, 0)))
    rows = []
    for n in sorted(range(len(comparison.identities)), key=size, reverse=True):
        who, changed = comparison.identities[n], each.identities[n]
        cells = [doc.TableCell(who.category)]
        for axis in axes:
            means = who.means[axis]
            cells += [doc.points(means[each.since]), doc.points(means[each.side])]
            cells.append(tables.difference_cell(changed.axes.get(axis)))
        cells.append(
            doc.TableCell(wording.direction(changed.verdict) if changed.verdict else doc.NONE)
        )
        rows.append(doc.TableRow(who.text, cells, who.category))
    return doc.Table(
        "Change of each identity in points, the largest first",
        [*columns, doc.Column("in all", drop=7)],
        rows,
        strong=wording.STRONG,
        most=_MOST_SHOWN,
    )


def _forest(
    comparison: ArmComparison, each: ArmChange, axis: str, groups: Sequence[str]
) -> doc.Figure:
    rows = [
        (one_line(who.text), one_line(who.category), changed.axes[axis])
        for who, changed in zip(comparison.identities, each.identities, strict=True)
        if axis in changed.axes
    ]
    name = f"changed-{_key(each)}-{axis.replace('_', '-')}"
    return tables.forest_figure(name, f"Change of {AXES[axis].label}", axis, rows, groups)


def _limits(comparison: ArmComparison) -> doc.Section:
    left_out = [f"Not compared: {one_line(line, 600)}." for line in comparison.left_out]
    sentences = [
        *(left_out or ["Every identity and question of every arm is compared."]),
        *(f"{one_line(line, 600)}." for line in (*comparison.caveats, *comparison.notes)),
    ]
    sizes = ", ".join(f"{one_line(name)} ({n:,})" for name, n in comparison.items.items())
    facts = [
        (name, f"{arm.model}, cue {arm.cue}, defense {arm.defense}, judge {arm.judge}")
        for name, arm in zip(arm_names(comparison), comparison.sides, strict=True)
    ]
    facts += [("Questions", sizes), ("Margin", f"{comparison.margin:g} points")]
    runs = " ".join(one_line(f"{arm.run}@{arm.cue}/{arm.defense}") for arm in comparison.sides)
    command = f"evenhand compare {runs} --margin {comparison.margin:g} --format html"
    command += " --stages" * in_stages(comparison)
    command += " --units items" * (comparison.units == "items")
    blocks: list[doc.Block] = [
        doc.Facts(facts),
        doc.Paragraphs([_METHOD]),
        doc.Paragraphs([command], code=True),
    ]
    title = "What is compared, and what is not"
    return doc.Section("limits", title, sentences, blocks, depth=doc.PAGE)


# Trainings behind the arms


def _training(comparison: ArmComparison, weights: Mapping[str, Path]) -> doc.Section | None:
    """Loss, preferences right and margin of every arm that was tuned; None where none was."""
    sentences: list[str] = []
    figures: list[doc.Figure] = []
    for n, model in enumerate(dict.fromkeys(arm.model for arm in comparison.sides)):
        training = read_training(f"hf/{weights[model]}" if model in weights else model)
        if training is None:
            continue
        steps, name = training["steps"], one_line(model, 80)
        first, last = steps[0], steps[-1]
        recipe = one_line(str(training.get("recipe", "")), 60)
        sentences.append(
            f"{name} was tuned on {training.get('pairs', 0):,} pairs ({recipe}) in "
            f"{len(steps):,} steps: the loss went from {first['loss']:.3f} to {last['loss']:.3f}, "
            f"preferences right from {first['accuracy']:.0%} to {last['accuracy']:.0%}."
        )
        figures += _curve_figures(n, name, steps)
    if not figures:
        return None
    return doc.Section(
        "training", "The training", sentences, [doc.Columns(figures)], depth=doc.PAGE
    )


def read_training(model: str) -> dict[str, Any] | None:
    """What a training left beside the weights of a model; None where it is not to be read."""
    if not model.startswith("hf/"):
        return None
    path = Path(model.removeprefix("hf/")) / "training" / "training.json"
    try:
        content = orjson.loads(path.read_bytes())
    except (OSError, ValueError):
        return None
    steps = content.get("steps") if isinstance(content, dict) else None
    if not isinstance(steps, list) or not isinstance(content.get("pairs", 0), int):
        return None
    known = [step for step in steps if _is_step(step)]
    return content | {"steps": known} if known else None


def _is_step(step: Any) -> bool:
    names = ("step", *_CURVES)
    return isinstance(step, dict) and all(isinstance(step.get(n), int | float) for n in names)


def _curve_figures(
    number: int, model: str, steps: Sequence[Mapping[str, float]]
) -> Iterator[doc.Figure]:
    where = [step["step"] for step in steps]
    for name, title in _CURVES.items():
        values = [step[name] for step in steps]
        yield doc.Figure(
            f"training-{number}-{name}",
            f"{title.capitalize()}: {model}",
            f"From {values[0]:.3f} at step {where[0]:g} to {values[-1]:.3f} at step "
            f"{where[-1]:g}; least {min(values):.3f}, most {max(values):.3f}.",
            partial(_curve, where, values, title),
        )


def _curve(steps: Sequence[float], values: Sequence[float], title: str) -> Any:
    return charts.curve_chart(steps, values, title)
