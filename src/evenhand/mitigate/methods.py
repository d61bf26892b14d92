"""All methods in one table: each figure a mean over seeds, with an interval, and their ranking.

Every figure of a comparison rests on the same cells, those with a score under every condition and
seed. The intervals of a seed hold over items like these. Of several seeds, which share the items,
the mean has the mean of their limits as the interval over items; the spread of the seeds is added
by the squares of both distances (MOVER; Zou & Donner 2008, Stat. Med. 27).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from scipy.special import stdtrit

from evenhand.analysis.compare import ArmChange, ArmComparison
from evenhand.analysis.relevance import Relevance
from evenhand.mitigate.recipes import CONTROL

SeedInterval = tuple[float, float]


@dataclass(frozen=True)
class ConditionKey:
    """Which condition a side of the comparisons is; sides of one name differ in their seed.

    Attributes:
        name: the same for all seeds.
        seed: of its training or steering.
        label: its name among the sides.
        is_control: whether it must not work: a sentence about something else, swapped preferences,
            a random subspace.
    """

    name: str
    seed: int
    label: str
    is_control: bool = False


def is_control(name: str) -> bool:
    """Whether a condition of this name is a control."""
    return name == "control" or name.endswith(CONTROL) or name.startswith("steer, ")


@dataclass(frozen=True)
class SeedMean:
    """A figure in points, over the seeds.

    Attributes:
        estimate: mean over the seeds.
        interval: at 95%, over items and seeds.
        seeds: the figure of each seed.
    """

    estimate: float
    interval: SeedInterval
    seeds: list[float]


@dataclass(frozen=True)
class MethodResult:
    """One condition against the model without any mitigation.

    Attributes:
        name: of the condition.
        seeds: how many.
        is_control: whether it must not work.
        pb: personalization bias.
        change: of PB; None for the model without mitigation itself.
        means: axis -> mean over the identities.
        mean_changes: axis -> change of that mean.
        relevance: appropriate personalization; None where it was not asked.
        changed: share of cells that are scored otherwise, in [0, 1], mean over seeds.
        unidentified: share of the unidentified user's answers that are scored otherwise, in
            [0, 1]; None where that user was not asked.
        unidentified_changes: axis -> change of the mean of the unidentified user.
        places: lowest and highest place in the order by the change of PB that the intervals leave
            open; None for controls and the model without mitigation.
    """

    name: str
    seeds: int
    is_control: bool
    pb: SeedMean | None
    change: SeedMean | None
    means: dict[str, float]
    mean_changes: dict[str, SeedMean]
    relevance: SeedMean | None
    changed: float
    unidentified: float | None
    unidentified_changes: dict[str, SeedMean]
    places: tuple[int, int] | None = None


@dataclass(frozen=True)
class MethodTable:
    """All conditions side by side, for some identities under one cue.

    Attributes:
        cells: pairs of an identity and an item that every figure of identities rests on.
        all_cells: pairs that were asked.
        rows: the model without mitigation, then methods from the largest fall of PB on, then
            controls.
    """

    cells: int
    all_cells: int
    rows: list[MethodResult] = field(default_factory=list)


def over_seeds(
    figures: Sequence[tuple[float, SeedInterval]], lowest: float = -np.inf
) -> SeedMean | None:
    """The mean of one figure of several seeds; None of none.

    Args:
        figures: estimate and interval of each.
        lowest: what no such figure can be below, as 0 for PB.

    >>> over_seeds([(2.0, (1.0, 3.0))]).interval
    (1.0, 3.0)
    >>> low, high = over_seeds([(2.0, (1.0, 3.0)), (4.0, (3.0, 5.0))]).interval
    >>> low < 2.0 and high > 4.0
    True
    """
    if not figures:
        return None
    values = np.array([value for value, _ in figures])
    limits = np.array([limits for _, limits in figures])
    mean, (low, high) = values.mean(), limits.mean(axis=0)
    reach = 0.0
    if len(values) > 1:
        error = values.std(ddof=1) / np.sqrt(len(values))
        reach = float(stdtrit(len(values) - 1, 0.975)) * error
    below, above = np.hypot(max(0.0, mean - low), reach), np.hypot(max(0.0, high - mean), reach)
    low = max(lowest, float(mean - below))
    return SeedMean(float(mean), (low, float(mean + above)), values.tolist())


def method_table(
    comparison: ArmComparison,
    conditions: Sequence[ConditionKey],
    relevance: dict[str, Relevance],
) -> MethodTable:
    """Put the seeds of each condition together.

    Args:
        comparison: its sides are the conditions in their order, the first without mitigation.
        conditions: of its sides.
        relevance: by label.
    """
    changes = {each.side: each for each in comparison.changes}
    by_name: dict[str, list[int]] = {}
    for side, condition in enumerate(conditions):
        by_name.setdefault(condition.name, []).append(side)
    rows = [
        _result(comparison, changes, [conditions[n] for n in sides], sides, relevance)
        for sides in by_name.values()
    ]
    return MethodTable(comparison.cells, comparison.all_cells, _placed(rows))


def _result(
    comparison: ArmComparison,
    changes: dict[int, ArmChange],
    conditions: Sequence[ConditionKey],
    sides: Sequence[int],
    relevance: dict[str, Relevance],
) -> MethodResult:
    arms = [comparison.sides[n] for n in sides]
    changed = [changes[n] for n in sides if n in changes]
    alone = [c.unidentified for c in changed if c.unidentified]
    pbs = [arm.pb for arm in arms if arm.pb]
    biases = [c.bias for c in changed if c.bias]
    axes = list(arms[0].axes)
    of_seeds = [
        {axis: (each.mean.difference, each.mean.interval) for axis, each in change.axes.items()}
        for change in changed
    ]
    used = [relevance[c.label] for c in conditions if c.label in relevance]
    return MethodResult(
        name=conditions[0].name,
        seeds=len(sides),
        is_control=conditions[0].is_control,
        pb=over_seeds([(pb.estimate, pb.interval) for pb in pbs], lowest=0.0),
        change=over_seeds([(bias.difference, bias.interval) for bias in biases]),
        means={
            axis: float(np.mean(means))
            for axis in axes
            if (means := [m for arm in arms if (m := arm.axes[axis].mean) is not None])
        },
        mean_changes=_by_axis(axes, of_seeds),
        relevance=over_seeds([(r.mean, r.interval) for r in used]),
        changed=float(np.mean([c.changed for c in changed] or [0])) / max(1, comparison.cells),
        unidentified=float(np.mean([a.changed / a.items for a in alone])) if alone else None,
        unidentified_changes=_by_axis(
            axes, [{x: (m.mean, m.interval) for x, m in a.axes.items()} for a in alone]
        ),
    )


def _by_axis(
    axes: Sequence[str], seeds: Sequence[dict[str, tuple[float, SeedInterval]]]
) -> dict[str, SeedMean]:
    found = {axis: over_seeds([seed[axis] for seed in seeds if axis in seed]) for axis in axes}
    return {axis: mean for axis, mean in found.items() if mean is not None}


def _placed(rows: Sequence[MethodResult]) -> list[MethodResult]:
    """In their order, with the places that the intervals of the change leave open."""
    methods = [row for row in rows if row.change and not row.is_control]
    placed = []
    for row in sorted(methods, key=lambda r: r.change.estimate if r.change else 0.0):
        low, high = row.change.interval if row.change else (np.nan, np.nan)
        better = sum(other.change.interval[1] < low for other in methods if other.change)
        worse = sum(other.change.interval[0] > high for other in methods if other.change)
        placed.append(replace(row, places=(1 + better, len(methods) - worse)))
    rest = [row for row in rows if row not in methods]
    return [*rest[:1], *placed, *rest[1:]]
