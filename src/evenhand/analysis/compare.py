"""Runs compared side by side: before and after a change, base and tuned, model A and B."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from evenhand.analysis.arms import (
    Arm,
    Common,
    ReadArm,
    arm_names,
    caveats,
    find_common,
    read_arms,
)
from evenhand.analysis.grid import (
    AxisScores,
    UnitChoice,
    clusters_of,
    if_enough,
    mean_of,
    unit_notes,
)
from evenhand.analysis.relevance import RelevanceChange, relevance_change, relevance_scores
from evenhand.analysis.results import Difference
from evenhand.analysis.setting import differences, spread
from evenhand.axes import AXES, PB_AXES
from evenhand.stats import (
    AxisChange,
    BiasChange,
    Differences,
    ItemMean,
    Limit,
    Spread,
    classify,
    compare_audits,
    compare_axis,
    compare_logit,
    identity_changes,
    item_mean,
    logit_bias,
    personalization_bias,
)
from evenhand.stats.comparison import complete_cells
from evenhand.stats.scores import rows_are_identities
from evenhand.store.redaction import shown_name, shown_path

__all__ = [
    "Arm",
    "ArmAxis",
    "ArmChange",
    "ArmComparison",
    "ArmResult",
    "ComparedIdentity",
    "IdentityChange",
    "UnidentifiedChange",
    "compare_arms",
]


@dataclass(frozen=True)
class ArmAxis:
    """One axis of one side, on the common identities and items.

    Attributes:
        mean: over the identities; each benchmark counts the same.
        baseline: of the unidentified user.
        pb: spread of the identities.
    """

    mean: float | None
    baseline: float | None
    pb: Spread | None


@dataclass(frozen=True)
class ArmResult:
    """One side, on the common identities and items.

    Attributes:
        name: what tells it from the others.
        run: its folder.
        model: as its study names it.
        cue: id of the cue.
        defense: id of the defense.
        judge: whose scores of safety and over-refusal they are.
        pb: joint PB over safety and utility.
        axes: by name.
    """

    name: str
    run: str
    model: str
    cue: str
    defense: str
    judge: str
    pb: Spread | None
    axes: dict[str, ArmAxis]


@dataclass(frozen=True)
class ComparedIdentity:
    """Where one identity stands on every side.

    Attributes:
        id: of the identity.
        text: as the model is told it.
        category: of identities that belong together.
        means: axis -> its mean on each side, in the order of the sides; None where nothing of it
            has a score.
    """

    id: str
    text: str
    category: str
    means: dict[str, list[float | None]]


@dataclass(frozen=True)
class IdentityChange:
    """What changed for one identity from one side to another.

    Attributes:
        id: of the identity.
        axes: change of its mean, after less before; p-values and simultaneous intervals are for
            all the identities of the axis together.
        verdict: on safety and utility together: "gains both", "loses utility", "safety for
            utility", "untouched", "undecided", ...; None if there is too little data.
    """

    id: str
    axes: dict[str, Difference]
    verdict: str | None


@dataclass(frozen=True)
class UnidentifiedChange:
    """What changed for the unidentified user, on items with a score of that user on every side.

    Attributes:
        items: how many there are.
        changed: those among them that are scored otherwise.
        axes: axis -> change of the mean, after less before, in points.
    """

    items: int
    changed: int
    axes: dict[str, ItemMean]


@dataclass(frozen=True)
class ArmChange:
    """What changed from one side, the first unless stages are compared, to another.

    Attributes:
        side: place of the other in `ArmComparison.sides`.
        since: place of the one it is compared with.
        bias: change of the joint PB over safety and utility.
        axes: change of PB and of the mean on each axis.
        logit: by axis, change of the spread of the identities' log-odds.
        limits: by axis, the limit at which all identities are before and after: "floor",
            "ceiling" or None.
        relevance: whether the identity is still used where it should matter, over all
            identities that both sides asked there; None where such items were not asked.
        changed: cells that are scored otherwise, of `ArmComparison.cells`.
        unidentified: what changed for the unidentified user; None where a side has none.
    """

    side: int
    since: int
    bias: BiasChange | None
    axes: dict[str, AxisChange]
    logit: dict[str, BiasChange]
    limits: dict[str, tuple[Limit | None, Limit | None]]
    identities: list[IdentityChange]
    relevance: RelevanceChange | None
    changed: int = 0
    unidentified: UnidentifiedChange | None = None


@dataclass(frozen=True)
class ArmComparison:
    """Two or more sides compared, on the identities and items that all of them have.

    Attributes:
        margin: losses of so many points do not matter.
        items: number of common items, by benchmark.
        cells: pairs of an identity and an item that have a score on every side; every figure but
            the baselines' is of these.
        all_cells: pairs of a common identity and a common item.
        sides: the first is the one that others are compared with.
        identities: that all sides have.
        changes: one for each side but the first, against the first; of stages, against the stage
            before, and then of the last against the first.
        left_out: what not every side has, and is not compared.
        caveats: what else differs between the sides, and has a share in what is found.
        units: what was to be inferred to.
        notes: what the independent units of the sides are, in words; empty where they are items.
    """

    margin: float
    items: dict[str, int]
    cells: int
    all_cells: int
    sides: list[ArmResult]
    identities: list[ComparedIdentity]
    changes: list[ArmChange]
    left_out: list[str]
    caveats: list[str]
    units: UnitChoice = "auto"
    notes: list[str] = field(default_factory=list)


@rows_are_identities()
def compare_arms(
    sides: Sequence[Arm],
    *,
    margin: float,
    identities: Collection[str] | None = None,
    level: float = 0.95,
    stages: bool = False,
    units: UnitChoice = "auto",
) -> ArmComparison:
    """Compare each side with the first, item by item, on what all sides have.

    Args:
        sides: two or more.
        margin: the largest loss of a mean that would be accepted, in points, > 0.
        identities: ids of those to compare; None for all that the sides share.
        level: of the confidence intervals.
        stages: the sides are stages of one model, in their order: compare each with the one before
            it, and the last with the first.
        units: what to infer to, as for a report.

    Raises:
        UsageError: fewer than two sides, or the same side twice.
        RunFolderError: a run has not begun, or the sides share no identities or no items.
        UnknownName: a run has no such cue or defense.
        StoreError: a store cannot be read.
    """
    read = read_arms(sides, units)
    names = arm_names(read)
    common = find_common(read, names, identities)
    # Many small matrices: BLAS threads gain nothing, and on a busy machine they wait in vain.
    with threadpool_limits(limits=1, user_api="blas"):
        scores = [
            {axis: common.take(n, side, axis, _rows(side, common)) for axis in common.axes()}
            for n, side in enumerate(read)
        ]
        cells, of = _keep_complete(scores)
        alone = _unidentified(read, common)
        return ArmComparison(
            margin=margin,
            items=common.sizes(),
            cells=cells,
            all_cells=of,
            sides=[
                _side_result(side, name, mine, _baselines(n, side, common, alone), level)
                for n, (side, name, mine) in enumerate(zip(read, names, scores, strict=True))
            ],
            identities=[
                _identity(n, read[0], name, scores) for n, name in enumerate(common.people)
            ],
            changes=[
                _change(since, n, read, common.people, scores, alone, margin, level)
                for since, n in _compared_pairs(len(read), stages)
            ],
            left_out=common.left_out,
            caveats=caveats(read, names, common.people),
            units=units,
            notes=list(dict.fromkeys(n for side in read for n in unit_notes(side.grid.units))),
        )


def _keep_complete(scores: Sequence[dict[str, AxisScores | None]]) -> tuple[int, int]:
    """Take out the cells without a score on some side; how many are left, and of how many."""
    kept = total = 0
    for axis in scores[0]:
        sides = [side[axis] for side in scores]
        known = [side for side in sides if side is not None]
        for name in known[0] if len(known) == len(sides) else ():
            complete = complete_cells([side[name] for side in known], name)
            kept += int(np.isfinite(complete[0]).any(axis=2).sum())
            total += complete[0].shape[0] * complete[0].shape[1]
            for side, array in zip(known, complete, strict=True):
                side[name] = array
    return kept, total


def _rows(side: ReadArm, common: Common) -> list[int]:
    return [side.people[name] for name in common.people]


def _baselines(
    number: int,
    side: ReadArm,
    common: Common,
    alone: Sequence[dict[str, AxisScores | None]] | None,
) -> dict[str, float | None]:
    """Means of the unidentified user, on items with such a score on every side.

    Where some side has no such user, the others' means are of their own items.
    """
    if alone is not None:
        return {axis: mean_of(scores) for axis, scores in alone[number].items()}
    if side.baseline is None:
        return dict.fromkeys(common.axes())
    rows = [side.baseline]
    return {axis: mean_of(common.take(number, side, axis, rows)) for axis in common.axes()}


def _side_result(
    side: ReadArm,
    name: str,
    scores: dict[str, AxisScores | None],
    baselines: dict[str, float | None],
    level: float,
) -> ArmResult:
    return ArmResult(
        name=name,
        run=shown_path(str(side.side.store.folder)),
        model=shown_name(side.study.model),
        cue=side.cue,
        defense=side.defense,
        judge=side.judge,
        pb=spread(scores.get("safety"), scores.get("utility"), level),
        axes={
            axis: ArmAxis(_mean(mine), baselines[axis], spread(mine, None, level))
            for axis, mine in scores.items()
        },
    )


def _identity(
    row: int, side: ReadArm, name: str, scores: Sequence[dict[str, AxisScores | None]]
) -> ComparedIdentity:
    who = side.identity(name)
    means = {axis: [_identity_mean(side[axis], row) for side in scores] for axis in scores[0]}
    return ComparedIdentity(who.id, who.text, who.category, means)


def _axis_means(scores: AxisScores | None) -> NDArray[np.float64] | None:
    """Least-squares means of the identities, as those that a change is the difference of.

    None where there are too few scores for them, or none is missing, so that plain means do.
    """
    if scores is None or not any(np.isnan(array).any() for array in scores.values()):
        return None
    found = if_enough(lambda: personalization_bias(scores, None))
    return found.safety.means if found and found.safety else None


def _mean(scores: AxisScores | None) -> float | None:
    means = _axis_means(scores)
    return float(means.mean()) if means is not None else mean_of(scores)


def _identity_mean(scores: AxisScores | None, row: int) -> float | None:
    means = _axis_means(scores)
    if means is not None:
        return float(means[row])
    return mean_of(scores.rows(row, row + 1)) if scores else None


def _compared_pairs(sides: int, stages: bool) -> list[tuple[int, int]]:
    if not stages or sides == 2:
        return [(0, n) for n in range(1, sides)]
    return [*((n - 1, n) for n in range(1, sides)), (0, sides - 1)]


def _change(
    since: int,
    number: int,
    sides: Sequence[ReadArm],
    people: Sequence[str],
    scores: Sequence[dict[str, AxisScores | None]],
    alone: Sequence[dict[str, AxisScores | None]] | None,
    margin: float,
    level: float,
) -> ArmChange:
    before, after = scores[since], scores[number]
    axes, logits, limits = {}, {}, {}
    for axis in before:
        first, second = before[axis], after[axis]
        if first is None or second is None:
            continue
        change = _axis_change(first, second, axis, margin, level)
        logit = _logit_change(first, second, level)
        if change is not None:
            axes[axis] = change
        if logit is not None:
            logits[axis] = logit
            limits[axis] = (_limit(first), _limit(second))
    return ArmChange(
        side=number,
        since=since,
        bias=_joint_change(before, after, level),
        axes=axes,
        logit=logits,
        limits=limits,
        identities=_identity_changes(people, before, after, margin, level),
        relevance=relevance_change(
            *(
                relevance_scores(s.side.store, s.cue, s.defense)
                for s in (sides[since], sides[number])
            ),
            margin=margin,
        ),
        changed=_scored_otherwise(before, after),
        unidentified=_unidentified_change(alone[since], alone[number], level) if alone else None,
    )


def _unidentified(
    sides: Sequence[ReadArm], common: Common
) -> list[dict[str, AxisScores | None]] | None:
    """The unidentified user's scores on each side, on complete cells; None where one has none."""
    found: list[dict[str, AxisScores | None]] = []
    for n, side in enumerate(sides):
        if side.baseline is None:
            return None
        rows = [side.baseline]
        found.append({axis: common.take(n, side, axis, rows) for axis in common.axes()})
    _keep_complete(found)
    return found


def _unidentified_change(
    before: dict[str, AxisScores | None], after: dict[str, AxisScores | None], level: float
) -> UnidentifiedChange | None:
    items, axes = 0, {}
    for axis, first in before.items():
        second = after[axis]
        if first is None or second is None:
            continue
        # A benchmark's mean counts the same as another's, whatever its size.
        differences = []
        for name in first:
            change = 100 * (_of_items(second[name]) - _of_items(first[name]))
            differences.append(change[np.isfinite(change)])
        sizes = [each.size for each in differences if each.size]
        items += sum(sizes)
        weighted = [d * sum(sizes) / d.size / len(sizes) for d in differences if d.size]
        if sum(sizes) > 1:
            axes[axis] = item_mean(np.concatenate(weighted), level=level)
    changed = _scored_otherwise(before, after)
    return UnidentifiedChange(items, changed, axes) if items else None


def _scored_otherwise(
    before: dict[str, AxisScores | None], after: dict[str, AxisScores | None]
) -> int:
    """Cells whose mean score differs."""
    count = 0
    for axis, first in before.items():
        second = after[axis]
        if first is None or second is None:
            continue
        for name in first:
            change = _of_items(second[name]) - _of_items(first[name])
            count += int((np.abs(change[np.isfinite(change)]) > 1e-9).sum())
    return count


def _of_items(array: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean over the samples: (identities, items); NaN where a cell has no score."""
    scored = ~np.isnan(array)
    counts = scored.sum(axis=2)
    sums = np.where(scored, array, 0.0).sum(axis=2)
    return np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)


def _axis_change(
    before: AxisScores, after: AxisScores, axis: str, margin: float, level: float
) -> AxisChange | None:
    lower = AXES[axis].lower_is_better
    tied = clusters_of(before)
    return if_enough(
        lambda: compare_axis(
            before, after, margin=margin, lower_is_better=lower, level=level, clusters=tied
        )
    )


def _logit_change(before: AxisScores, after: AxisScores, level: float) -> BiasChange | None:
    tied = clusters_of(before)
    return if_enough(lambda: compare_logit(before, after, level=level, clusters=tied))


def _limit(scores: AxisScores) -> Limit | None:
    found = if_enough(lambda: logit_bias(scores))
    return found.limit if found else None


def _joint_change(
    before: dict[str, AxisScores | None], after: dict[str, AxisScores | None], level: float
) -> BiasChange | None:
    sides = [
        {axis: scores.of_axis(axis) for axis in PB_AXES if (scores := side.get(axis)) is not None}
        for side in (before, after)
    ]
    found = if_enough(
        lambda: compare_audits(
            before_safety=sides[0].get("safety"),
            before_utility=sides[0].get("utility"),
            after_safety=sides[1].get("safety"),
            after_utility=sides[1].get("utility"),
            level=level,
            clusters=clusters_of(*sides[0].values()),
        )
    )
    return found.bias if found else None


def _identity_changes(
    people: Sequence[str],
    before: dict[str, AxisScores | None],
    after: dict[str, AxisScores | None],
    margin: float,
    level: float,
) -> list[IdentityChange]:
    by_axis = {
        axis: differences(_of_identities(before, after, axis, level), margin) for axis in before
    }
    verdicts = _verdicts(before, after, margin, level)
    return [
        IdentityChange(
            id=name,
            axes={axis: values[n] for axis, values in by_axis.items() if values},
            verdict=verdicts[n] if verdicts else None,
        )
        for n, name in enumerate(people)
    ]


def _of_identities(
    before: dict[str, AxisScores | None],
    after: dict[str, AxisScores | None],
    axis: str,
    level: float,
) -> Differences | None:
    first, second = before.get(axis), after.get(axis)
    if first is None or second is None:
        return None
    tied = clusters_of(first)
    return if_enough(lambda: identity_changes(first, second, level=level, clusters=tied))


def _verdicts(
    before: dict[str, AxisScores | None],
    after: dict[str, AxisScores | None],
    margin: float,
    level: float,
) -> tuple[str, ...] | None:
    """What became of each identity, by the tests of the changes that are shown."""
    there = [axis for axis in PB_AXES if before.get(axis) is not None]
    found = [_of_identities(before, after, axis, level) for axis in there]
    if not found or any(each is None for each in found):
        return None
    known = [each for each in found if each is not None]
    verdicts = classify(known[0], known[-1], margin=margin)
    if len(there) == 2:
        return verdicts
    # One axis alone was given twice, so "both" stands for that one.
    return tuple(verdict.replace("both", there[0]) for verdict in verdicts)
